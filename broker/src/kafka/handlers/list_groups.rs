//! ListGroups.

use futures::FutureExt;
use futures::future::BoxFuture;
use kafka_protocol::messages::list_groups_response::ListedGroup as Listed;
use kafka_protocol::messages::{GroupId, ListGroupsRequest, ListGroupsResponse};
use kafka_protocol::protocol::StrBytes;

use super::context::{RequestContext, text};
use crate::coordinator::group::{GroupCoordinator, ListedGroup};

/// All groups here are of this type.
const TYPE: &str = "classic";

/// Lists the groups that pass both filters. An empty filter lets all pass.
pub fn list_groups(
    coordinator: &GroupCoordinator,
    _context: &RequestContext,
    request: ListGroupsRequest,
) -> BoxFuture<'static, ListGroupsResponse> {
    let listed = coordinator.list();
    async move {
        let passes = |filter: &[StrBytes], value: &str| {
            filter.is_empty()
                || filter
                    .iter()
                    .any(|wanted| wanted.trim().eq_ignore_ascii_case(value))
        };
        match listed.await {
            Err(error) => ListGroupsResponse::default().with_error_code(error.code()),
            Ok(groups) => {
                let groups = groups
                    .into_iter()
                    .filter(|group| passes(&request.states_filter, group.state.name()))
                    .filter(|_| passes(&request.types_filter, TYPE))
                    .map(listed_group)
                    .collect();
                ListGroupsResponse::default().with_groups(groups)
            }
        }
    }
    .boxed()
}

fn listed_group(group: ListedGroup) -> Listed {
    Listed::default()
        .with_group_id(GroupId(text(&group.group)))
        .with_protocol_type(text(group.protocol_type.as_deref().unwrap_or_default()))
        .with_group_state(text(group.state.name()))
        .with_group_type(text(TYPE))
}
