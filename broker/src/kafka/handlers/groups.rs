//! The group handlers as the dispatch calls them: with this broker's coordinator, its topics and
//! its address.

use std::sync::Arc;

use futures::future::BoxFuture;
use kafka_protocol::messages::*;
use storage::catalog::CatalogView;

use super::context::RequestContext;
use super::{
    delete_groups, describe_groups, find_coordinator, heartbeat, join_group, leave_group,
    list_groups, offset_commit, offset_delete, offset_fetch, sync_group,
};
use crate::kafka::wire::Context;

/// FindCoordinator.
pub async fn find_coordinator(
    context: &Context,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let endpoint = context.broker().endpoint_for(&context.peer);
    let endpoint = find_coordinator::Endpoint {
        node_id: context.broker().node_id,
        host: endpoint.host,
        port: i32::from(endpoint.port),
    };
    find_coordinator::find_coordinator(&endpoint, &of(context), request)
}

macro_rules! by_coordinator {
    ($($(#[$doc:meta])* $name:ident: $request:ty => $response:ty;)+) => {
        $($(#[$doc])*
        pub fn $name(context: &Context, request: $request) -> BoxFuture<'static, $response> {
            $name::$name(&context.broker().groups, &of(context), request)
        })+
    };
}

by_coordinator! {
    /// JoinGroup.
    join_group: JoinGroupRequest => JoinGroupResponse;
    /// SyncGroup.
    sync_group: SyncGroupRequest => SyncGroupResponse;
    /// Heartbeat.
    heartbeat: HeartbeatRequest => HeartbeatResponse;
    /// LeaveGroup.
    leave_group: LeaveGroupRequest => LeaveGroupResponse;
    /// OffsetFetch.
    offset_fetch: OffsetFetchRequest => OffsetFetchResponse;
    /// DescribeGroups.
    describe_groups: DescribeGroupsRequest => DescribeGroupsResponse;
    /// ListGroups.
    list_groups: ListGroupsRequest => ListGroupsResponse;
    /// DeleteGroups.
    delete_groups: DeleteGroupsRequest => DeleteGroupsResponse;
}

/// OffsetCommit.
pub fn offset_commit(
    context: &Context,
    request: OffsetCommitRequest,
) -> BoxFuture<'static, OffsetCommitResponse> {
    let view = context.broker().catalog.view();
    let exists = |topic: &str, partition| exists(&view, topic, partition);
    offset_commit::offset_commit(&context.broker().groups, &of(context), exists, request)
}

/// OffsetDelete.
pub fn offset_delete(
    context: &Context,
    request: OffsetDeleteRequest,
) -> BoxFuture<'static, OffsetDeleteResponse> {
    let view = context.broker().catalog.view();
    let exists = |topic: &str, partition| exists(&view, topic, partition);
    offset_delete::offset_delete(&context.broker().groups, &of(context), exists, request)
}

fn exists(view: &Arc<CatalogView>, topic: &str, partition: i32) -> bool {
    let topic = view.topic(topic);
    topic.is_some_and(|topic| topic.tablet(partition).is_some())
}

fn of(context: &Context) -> RequestContext {
    RequestContext {
        client_id: context.client_id.as_str().into(),
        client_host: format!("/{}", context.peer.address.ip()).into(),
        version: context.version,
    }
}
