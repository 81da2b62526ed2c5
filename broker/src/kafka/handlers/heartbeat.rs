//! Heartbeat.

use futures::FutureExt;
use futures::future::BoxFuture;
use kafka_protocol::messages::{HeartbeatRequest as Request, HeartbeatResponse};

use super::context::RequestContext;
use crate::coordinator::group::{GroupCoordinator, GroupError, HeartbeatRequest, InstanceId};

/// Keeps a member's session alive.
pub fn heartbeat(
    coordinator: &GroupCoordinator,
    _context: &RequestContext,
    request: Request,
) -> BoxFuture<'static, HeartbeatResponse> {
    let kept = coordinator.heartbeat(HeartbeatRequest {
        group: request.group_id.as_str().into(),
        generation: request.generation_id,
        member_id: request.member_id.as_str().into(),
        instance_id: request
            .group_instance_id
            .as_ref()
            .map(|id| InstanceId::from(id.as_str())),
    });
    kept.map(|outcome| HeartbeatResponse::default().with_error_code(GroupError::code_of(&outcome)))
        .boxed()
}
