//! SyncGroup.

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};

use super::context::{RequestContext, text};
use crate::coordinator::group::{GroupCoordinator, InstanceId, MemberId, SyncRequest};

/// Hands in or asks for an assignment; answers when there is one.
pub fn sync_group(
    coordinator: &GroupCoordinator,
    _context: &RequestContext,
    request: SyncGroupRequest,
) -> BoxFuture<'static, SyncGroupResponse> {
    let assignments = request
        .assignments
        .iter()
        // Copied: kept for as long as the generation, it would keep the whole frame.
        .map(|a| {
            (
                MemberId::from(a.member_id.as_str()),
                Bytes::copy_from_slice(&a.assignment),
            )
        })
        .collect();
    let synced = coordinator.sync(SyncRequest {
        group: request.group_id.as_str().into(),
        generation: request.generation_id,
        member_id: request.member_id.as_str().into(),
        instance_id: request
            .group_instance_id
            .as_ref()
            .map(|id| InstanceId::from(id.as_str())),
        protocol_type: request
            .protocol_type
            .as_ref()
            .map(|name| name.as_str().into()),
        protocol_name: request
            .protocol_name
            .as_ref()
            .map(|name| name.as_str().into()),
        assignments,
    });
    synced
        .map(|outcome| match outcome {
            Err(error) => SyncGroupResponse::default().with_error_code(error.code()),
            Ok(synced) => SyncGroupResponse::default()
                .with_protocol_type(synced.protocol_type.as_deref().map(text))
                .with_protocol_name(synced.protocol_name.as_deref().map(text))
                .with_assignment(synced.assignment),
        })
        .boxed()
}
