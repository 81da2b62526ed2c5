//! DeleteGroups.

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use super::context::RequestContext;
use crate::coordinator::group::{GroupCoordinator, GroupError};

/// Removes empty groups with their offsets.
pub fn delete_groups(
    coordinator: &GroupCoordinator,
    _context: &RequestContext,
    request: DeleteGroupsRequest,
) -> BoxFuture<'static, DeleteGroupsResponse> {
    let results = request.groups_names.into_iter().map(|id| {
        let deleted = coordinator.delete_group(id.as_str().into());
        deleted.map(move |outcome| {
            DeletableGroupResult::default()
                .with_group_id(id)
                .with_error_code(GroupError::code_of(&outcome))
        })
    });
    let results = join_all(results);
    results
        .map(|results| DeleteGroupsResponse::default().with_results(results))
        .boxed()
}
