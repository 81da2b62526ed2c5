//! DescribeGroups.

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use kafka_protocol::messages::describe_groups_response::{
    DescribedGroup as Described, DescribedGroupMember,
};
use kafka_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse, GroupId};

use super::context::{RequestContext, text};
use crate::coordinator::group::{
    DescribedGroup, DescribedMember, GroupCoordinator, GroupError, GroupState,
};

/// From here on a group that does not exist is an error (KIP-1043).
const GROUP_NOT_FOUND: i16 = 6;
/// What may be done with a group, as a bit field of Kafka's operations: read, delete, describe,
/// describe configs, alter configs. Without an authorizer everyone may.
const ALL_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

/// Describes groups and their members.
pub fn describe_groups(
    coordinator: &GroupCoordinator,
    context: &RequestContext,
    request: DescribeGroupsRequest,
) -> BoxFuture<'static, DescribeGroupsResponse> {
    let version = context.version;
    let with_operations = request.include_authorized_operations;
    let groups = request.groups.into_iter().map(|id| {
        let described = coordinator.describe(id.as_str().into());
        described.map(move |outcome| respond(id, outcome, version, with_operations))
    });
    let groups = join_all(groups);
    groups
        .map(|groups| DescribeGroupsResponse::default().with_groups(groups))
        .boxed()
}

fn respond(
    id: GroupId,
    outcome: Result<Option<DescribedGroup>, GroupError>,
    version: i16,
    with_operations: bool,
) -> Described {
    let answer = match outcome {
        Err(error) => {
            return Described::default()
                .with_group_id(id)
                .with_error_code(error.code());
        }
        Ok(None) if version >= GROUP_NOT_FOUND => {
            let message = format!("Group {} not found.", id.as_str());
            return Described::default()
                .with_group_id(id)
                .with_group_state(text(GroupState::Dead.name()))
                .with_error_code(GroupError::GroupNotFound.code())
                .with_error_message(Some(text(&message)));
        }
        Ok(None) => Described::default()
            .with_group_id(id)
            .with_group_state(text(GroupState::Dead.name())),
        Ok(Some(group)) => Described::default()
            .with_group_id(id)
            .with_group_state(text(group.state.name()))
            .with_protocol_type(text(group.protocol_type.as_deref().unwrap_or_default()))
            .with_protocol_data(text(group.protocol_name.as_deref().unwrap_or_default()))
            .with_members(group.members.into_iter().map(member).collect()),
    };
    if with_operations {
        answer.with_authorized_operations(ALL_OPERATIONS)
    } else {
        answer
    }
}

fn member(member: DescribedMember) -> DescribedGroupMember {
    let instance: Option<&str> = member.instance_id.as_deref();
    DescribedGroupMember::default()
        .with_member_id(text(&member.member_id))
        .with_group_instance_id(instance.map(text))
        .with_client_id(text(&member.client_id))
        .with_client_host(text(&member.client_host))
        .with_member_metadata(member.metadata)
        .with_member_assignment(member.assignment)
}
