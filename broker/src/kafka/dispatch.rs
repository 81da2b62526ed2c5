//! One line per API of the Kafka wire: which handler answers it, and in which stages.

use std::future::Future;

use bytes::Bytes;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Encodable, HeaderVersion};
use protocol::kafka::request::{DECODED_BYTES_MAX, RequestError, RequestFrame};
use protocol::kafka::response;

use super::answer_errors::{self, ErrorCodes};
use super::handlers;
use super::wire::Context;
use crate::net::{Answer, Hold, Order, Started};

/// Decodes a request and starts its handler.
pub(super) async fn start(context: Context, frame: RequestFrame) -> Started {
    let key = frame.api.key;
    match dispatch(context.clone(), frame).await {
        Ok(started) => started,
        Err(error) => {
            tracing::info!(
                client = %context.peer.address,
                client_id = context.client_id.as_str(),
                api = ?key,
                version = context.version,
                %error,
                "closing a connection with an invalid request"
            );
            Started::now(Order::InOrder, Answer::Close("invalid request"))
        }
    }
}

/// The table. Stages:
/// - `whole`: over before the next request of the connection begins, as in Kafka;
/// - `later`: what must happen in order is done when the handler is called, and its future only
///   waits; the next request begins meanwhile;
/// - `own`: a function of this file.
macro_rules! table {
    ($($key:ident($request:ty) $stage:ident $handler:path;)+) => {
        /// The APIs that have a handler, in the order of the table.
        #[cfg(test)]
        const HANDLED: &[ApiKey] = &[$(ApiKey::$key),+];

        async fn dispatch(context: Context, frame: RequestFrame) -> Result<Started, RequestError> {
            match frame.api.key {
                $(ApiKey::$key => {
                    let request: $request = frame.decode(DECODED_BYTES_MAX)?;
                    Ok(table!(@$stage context, request, $handler))
                })+
                other => {
                    tracing::error!(api = ?other, "an API is advertised that has no handler");
                    Ok(Started::now(Order::InOrder, Answer::Close("no handler")))
                }
            }
        }
    };
    (@whole $context:ident, $request:ident, $handler:path) => {{
        let response = $handler(&$context, $request).await;
        Started::now(Order::InOrder, encode(&$context, &response))
    }};
    (@later $context:ident, $request:ident, $handler:path) => {{
        let response = $handler(&$context, $request);
        later($context, response)
    }};
    (@own $context:ident, $request:ident, $handler:path) => {
        $handler($context, $request).await
    };
}

table! {
    Produce(ProduceRequest) own produce;
    Fetch(FetchRequest) own fetch;
    ListOffsets(ListOffsetsRequest) whole handlers::list_offsets::handle;
    Metadata(MetadataRequest) whole handlers::metadata::handle;
    OffsetCommit(OffsetCommitRequest) later handlers::groups::offset_commit;
    OffsetFetch(OffsetFetchRequest) later handlers::groups::offset_fetch;
    FindCoordinator(FindCoordinatorRequest) whole handlers::groups::find_coordinator;
    JoinGroup(JoinGroupRequest) later handlers::groups::join_group;
    Heartbeat(HeartbeatRequest) later handlers::groups::heartbeat;
    LeaveGroup(LeaveGroupRequest) later handlers::groups::leave_group;
    SyncGroup(SyncGroupRequest) later handlers::groups::sync_group;
    DescribeGroups(DescribeGroupsRequest) later handlers::groups::describe_groups;
    ListGroups(ListGroupsRequest) later handlers::groups::list_groups;
    ApiVersions(ApiVersionsRequest) whole handlers::api_versions::handle;
    CreateTopics(CreateTopicsRequest) whole handlers::create_topics::handle;
    DeleteTopics(DeleteTopicsRequest) whole handlers::delete_topics::handle;
    DeleteRecords(DeleteRecordsRequest) whole handlers::delete_records::handle;
    InitProducerId(InitProducerIdRequest) whole handlers::init_producer_id::handle;
    OffsetForLeaderEpoch(OffsetForLeaderEpochRequest)
        whole handlers::offset_for_leader_epoch::handle;
    DescribeConfigs(DescribeConfigsRequest) whole handlers::describe_configs::handle;
    AlterConfigs(AlterConfigsRequest) whole handlers::alter_configs::handle;
    DescribeLogDirs(DescribeLogDirsRequest) whole handlers::describe_log_dirs::handle;
    CreatePartitions(CreatePartitionsRequest) whole handlers::create_partitions::handle;
    DeleteGroups(DeleteGroupsRequest) later handlers::groups::delete_groups;
    IncrementalAlterConfigs(IncrementalAlterConfigsRequest)
        whole handlers::alter_configs::handle_incremental;
    OffsetDelete(OffsetDeleteRequest) later handlers::groups::offset_delete;
    DescribeCluster(DescribeClusterRequest) whole handlers::describe_cluster::handle;
    DescribeProducers(DescribeProducersRequest) whole handlers::describe_producers::handle;
    DescribeTopicPartitions(DescribeTopicPartitionsRequest)
        whole handlers::describe_topic_partitions::handle;
}

async fn produce(context: Context, request: ProduceRequest) -> Started {
    let queued = handlers::produce::start(&context, request).await;
    if !queued.is_unacknowledged() {
        return later(context, queued.answer());
    }
    // Goes on without its connection, which a producer may end behind its last batch.
    let refused = tokio::spawn(async move {
        let answer = queued.answer().await;
        answer_errors::count(&answer, &context.meter) > 0
    });
    Started::later(Order::InOrder, async move {
        match refused.await {
            Ok(false) => Answer::Nothing,
            Ok(true) => Answer::Close("a batch with acks=0 was refused"),
            Err(_) => Answer::Close("nobody knows what became of a batch with acks=0"),
        }
    })
}

async fn fetch(context: Context, request: FetchRequest) -> Started {
    Started::later(Order::InTurn, async move {
        let (correlation_id, version) = (context.correlation_id, context.version);
        let (answer, grant) = handlers::fetch::handle(context.clone(), request).await;
        answer_errors::count(&answer, &context.meter);
        match chunks(&context, answer.encode(correlation_id, version)) {
            Answer::Chunks(chunks) => Answer::Held(chunks, Hold::new(grant)),
            other => other,
        }
    })
}

fn later<M: Encodable + HeaderVersion + ErrorCodes>(
    context: Context,
    response: impl Future<Output = M> + Send + 'static,
) -> Started {
    Started::later(
        Order::InOrder,
        async move { encode(&context, &response.await) },
    )
}

fn encode<M: Encodable + HeaderVersion + ErrorCodes>(context: &Context, message: &M) -> Answer {
    answer_errors::count(message, &context.meter);
    let encoded = response::encode(context.correlation_id, context.version, message);
    chunks(context, encoded.map(|bytes| vec![bytes]))
}

fn chunks(context: &Context, encoded: Result<Vec<Bytes>, response::EncodeError>) -> Answer {
    match encoded {
        Ok(chunks) => Answer::Chunks(chunks),
        Err(error) => {
            tracing::error!(client = %context.peer.address, %error, "an answer cannot be encoded");
            Answer::Close("an answer cannot be encoded")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::kafka::api::APIS;

    #[test]
    fn what_is_advertised_has_a_handler_and_nothing_else_has() {
        let advertised: Vec<ApiKey> = APIS.iter().map(|api| api.key).collect();
        assert_eq!(HANDLED, advertised);
    }
}
