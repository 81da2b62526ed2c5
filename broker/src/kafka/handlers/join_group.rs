//! JoinGroup.

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};

use super::context::{RequestContext, text};
use crate::coordinator::group::{
    GroupCoordinator, InstanceId, JoinAnswer, JoinRequest, Joined, JoinedMember, Protocol,
};

/// From here on a new member is sent away once to come back with its id (KIP-394).
const KNOWN_MEMBER_ID: i16 = 4;
/// From here on the protocol's name may be null.
const NULLABLE_PROTOCOL: i16 = 7;
/// From here on a leader can be told to skip the assignment (KIP-814).
const SKIP_ASSIGNMENT: i16 = 9;

/// Joins a group; answers when the generation is complete.
pub fn join_group(
    coordinator: &GroupCoordinator,
    context: &RequestContext,
    request: JoinGroupRequest,
) -> BoxFuture<'static, JoinGroupResponse> {
    let version = context.version;
    let rebalance_timeout_ms = match version {
        // Version 0 has none.
        0 => request.session_timeout_ms,
        _ => request.rebalance_timeout_ms,
    };
    let protocols = request
        .protocols
        .iter()
        .map(|protocol| Protocol {
            name: protocol.name.as_str().into(),
            // Copied: kept for as long as the member, it would keep the whole frame.
            metadata: Bytes::copy_from_slice(&protocol.metadata),
        })
        .collect();
    let joined = coordinator.join(JoinRequest {
        group: request.group_id.as_str().into(),
        member_id: request.member_id.as_str().into(),
        instance_id: request
            .group_instance_id
            .as_ref()
            .map(|id| InstanceId::from(id.as_str())),
        client_id: context.client_id.clone(),
        client_host: context.client_host.clone(),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms,
        protocol_type: request.protocol_type.as_str().into(),
        protocols,
        requires_known_member_id: version >= KNOWN_MEMBER_ID,
        supports_skipping_assignment: version >= SKIP_ASSIGNMENT,
        fresh_id: coordinator.fresh_id(),
    });
    joined.map(move |answer| respond(answer, version)).boxed()
}

fn respond(answer: JoinAnswer, version: i16) -> JoinGroupResponse {
    let JoinAnswer { member_id, outcome } = answer;
    let response = JoinGroupResponse::default().with_member_id(text(&member_id));
    let no_name = (version < NULLABLE_PROTOCOL).then(|| text(""));
    match outcome {
        Err(error) => response
            .with_error_code(error.code())
            .with_protocol_type(None)
            .with_protocol_name(no_name),
        Ok(Joined {
            generation,
            protocol_type,
            protocol_name,
            leader,
            skip_assignment,
            members,
        }) => response
            .with_generation_id(generation)
            .with_protocol_type(protocol_type.as_deref().map(text))
            .with_protocol_name(protocol_name.as_deref().map(text).or(no_name))
            .with_leader(text(&leader))
            // The field exists from version 9 on, and is true only for clients that have it.
            .with_skip_assignment(skip_assignment)
            .with_members(members.into_iter().map(member).collect()),
    }
}

fn member(member: JoinedMember) -> JoinGroupResponseMember {
    let instance: Option<&str> = member.instance_id.as_deref();
    JoinGroupResponseMember::default()
        .with_member_id(text(&member.member_id))
        .with_group_instance_id(instance.map(text))
        .with_metadata(member.metadata)
}
