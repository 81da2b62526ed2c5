//! LeaveGroup.

use futures::FutureExt;
use futures::future::BoxFuture;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

use super::context::{RequestContext, text};
use crate::coordinator::group::{
    GroupCoordinator, GroupError, InstanceId, LeaveOutcome, LeaveRequest, MemberId,
};

/// The first version that names several members.
const SEVERAL_MEMBERS: i16 = 3;

/// Takes members out of a group.
pub fn leave_group(
    coordinator: &GroupCoordinator,
    context: &RequestContext,
    request: LeaveGroupRequest,
) -> BoxFuture<'static, LeaveGroupResponse> {
    let version = context.version;
    let members = if version >= SEVERAL_MEMBERS {
        request
            .members
            .iter()
            .map(|m| {
                let instance = m
                    .group_instance_id
                    .as_ref()
                    .map(|id| InstanceId::from(id.as_str()));
                (MemberId::from(m.member_id.as_str()), instance)
            })
            .collect()
    } else {
        vec![(MemberId::from(request.member_id.as_str()), None)]
    };
    let left = coordinator.leave(LeaveRequest {
        group: request.group_id.as_str().into(),
        members,
    });
    left.map(move |outcome| respond(outcome, version)).boxed()
}

fn respond(outcome: Result<Vec<LeaveOutcome>, GroupError>, version: i16) -> LeaveGroupResponse {
    let response = LeaveGroupResponse::default();
    match outcome {
        Err(error) => response.with_error_code(error.code()),
        Ok(members) if version >= SEVERAL_MEMBERS => {
            response.with_members(members.into_iter().map(member).collect())
        }
        // The one member's outcome is the request's.
        Ok(members) => response.with_error_code(
            members
                .first()
                .map_or(0, |m| GroupError::code_of(&m.outcome)),
        ),
    }
}

fn member(member: LeaveOutcome) -> MemberResponse {
    let instance: Option<&str> = member.instance_id.as_deref();
    MemberResponse::default()
        .with_member_id(text(&member.member_id))
        .with_group_instance_id(instance.map(text))
        .with_error_code(GroupError::code_of(&member.outcome))
}
