//! Error codes of answers, under Kafka's names, for the metrics.

use kafka_protocol::messages::*;
use protocol::kafka::fetch_response::FetchAnswer;

use crate::metrics::ApiMeter;

/// Kafka's names of its error codes, from code 0 on (`common/protocol/Errors.java`).
static NAMES: [&str; 129] = [
    "NONE",
    "OFFSET_OUT_OF_RANGE",
    "CORRUPT_MESSAGE",
    "UNKNOWN_TOPIC_OR_PARTITION",
    "INVALID_FETCH_SIZE",
    "LEADER_NOT_AVAILABLE",
    "NOT_LEADER_OR_FOLLOWER",
    "REQUEST_TIMED_OUT",
    "BROKER_NOT_AVAILABLE",
    "REPLICA_NOT_AVAILABLE",
    "MESSAGE_TOO_LARGE",
    "STALE_CONTROLLER_EPOCH",
    "OFFSET_METADATA_TOO_LARGE",
    "NETWORK_EXCEPTION",
    "COORDINATOR_LOAD_IN_PROGRESS",
    "COORDINATOR_NOT_AVAILABLE",
    "NOT_COORDINATOR",
    "INVALID_TOPIC_EXCEPTION",
    "RECORD_LIST_TOO_LARGE",
    "NOT_ENOUGH_REPLICAS",
    "NOT_ENOUGH_REPLICAS_AFTER_APPEND",
    "INVALID_REQUIRED_ACKS",
    "ILLEGAL_GENERATION",
    "INCONSISTENT_GROUP_PROTOCOL",
    "INVALID_GROUP_ID",
    "UNKNOWN_MEMBER_ID",
    "INVALID_SESSION_TIMEOUT",
    "REBALANCE_IN_PROGRESS",
    "INVALID_COMMIT_OFFSET_SIZE",
    "TOPIC_AUTHORIZATION_FAILED",
    "GROUP_AUTHORIZATION_FAILED",
    "CLUSTER_AUTHORIZATION_FAILED",
    "INVALID_TIMESTAMP",
    "UNSUPPORTED_SASL_MECHANISM",
    "ILLEGAL_SASL_STATE",
    "UNSUPPORTED_VERSION",
    "TOPIC_ALREADY_EXISTS",
    "INVALID_PARTITIONS",
    "INVALID_REPLICATION_FACTOR",
    "INVALID_REPLICA_ASSIGNMENT",
    "INVALID_CONFIG",
    "NOT_CONTROLLER",
    "INVALID_REQUEST",
    "UNSUPPORTED_FOR_MESSAGE_FORMAT",
    "POLICY_VIOLATION",
    "OUT_OF_ORDER_SEQUENCE_NUMBER",
    "DUPLICATE_SEQUENCE_NUMBER",
    "INVALID_PRODUCER_EPOCH",
    "INVALID_TXN_STATE",
    "INVALID_PRODUCER_ID_MAPPING",
    "INVALID_TRANSACTION_TIMEOUT",
    "CONCURRENT_TRANSACTIONS",
    "TRANSACTION_COORDINATOR_FENCED",
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    "SECURITY_DISABLED",
    "OPERATION_NOT_ATTEMPTED",
    "KAFKA_STORAGE_ERROR",
    "LOG_DIR_NOT_FOUND",
    "SASL_AUTHENTICATION_FAILED",
    "UNKNOWN_PRODUCER_ID",
    "REASSIGNMENT_IN_PROGRESS",
    "DELEGATION_TOKEN_AUTH_DISABLED",
    "DELEGATION_TOKEN_NOT_FOUND",
    "DELEGATION_TOKEN_OWNER_MISMATCH",
    "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED",
    "DELEGATION_TOKEN_AUTHORIZATION_FAILED",
    "DELEGATION_TOKEN_EXPIRED",
    "INVALID_PRINCIPAL_TYPE",
    "NON_EMPTY_GROUP",
    "GROUP_ID_NOT_FOUND",
    "FETCH_SESSION_ID_NOT_FOUND",
    "INVALID_FETCH_SESSION_EPOCH",
    "LISTENER_NOT_FOUND",
    "TOPIC_DELETION_DISABLED",
    "FENCED_LEADER_EPOCH",
    "UNKNOWN_LEADER_EPOCH",
    "UNSUPPORTED_COMPRESSION_TYPE",
    "STALE_BROKER_EPOCH",
    "OFFSET_NOT_AVAILABLE",
    "MEMBER_ID_REQUIRED",
    "PREFERRED_LEADER_NOT_AVAILABLE",
    "GROUP_MAX_SIZE_REACHED",
    "FENCED_INSTANCE_ID",
    "ELIGIBLE_LEADERS_NOT_AVAILABLE",
    "ELECTION_NOT_NEEDED",
    "NO_REASSIGNMENT_IN_PROGRESS",
    "GROUP_SUBSCRIBED_TO_TOPIC",
    "INVALID_RECORD",
    "UNSTABLE_OFFSET_COMMIT",
    "THROTTLING_QUOTA_EXCEEDED",
    "PRODUCER_FENCED",
    "RESOURCE_NOT_FOUND",
    "DUPLICATE_RESOURCE",
    "UNACCEPTABLE_CREDENTIAL",
    "INCONSISTENT_VOTER_SET",
    "INVALID_UPDATE_VERSION",
    "FEATURE_UPDATE_FAILED",
    "PRINCIPAL_DESERIALIZATION_FAILURE",
    "SNAPSHOT_NOT_FOUND",
    "POSITION_OUT_OF_RANGE",
    "UNKNOWN_TOPIC_ID",
    "DUPLICATE_BROKER_REGISTRATION",
    "BROKER_ID_NOT_REGISTERED",
    "INCONSISTENT_TOPIC_ID",
    "INCONSISTENT_CLUSTER_ID",
    "TRANSACTIONAL_ID_NOT_FOUND",
    "FETCH_SESSION_TOPIC_ID_ERROR",
    "INELIGIBLE_REPLICA",
    "NEW_LEADER_ELECTED",
    "OFFSET_MOVED_TO_TIERED_STORAGE",
    "FENCED_MEMBER_EPOCH",
    "UNRELEASED_INSTANCE_ID",
    "UNSUPPORTED_ASSIGNOR",
    "STALE_MEMBER_EPOCH",
    "MISMATCHED_ENDPOINT_TYPE",
    "UNSUPPORTED_ENDPOINT_TYPE",
    "UNKNOWN_CONTROLLER_ID",
    "UNKNOWN_SUBSCRIPTION_ID",
    "TELEMETRY_TOO_LARGE",
    "INVALID_REGISTRATION",
    "TRANSACTION_ABORTABLE",
    "INVALID_RECORD_STATE",
    "SHARE_SESSION_NOT_FOUND",
    "INVALID_SHARE_SESSION_EPOCH",
    "FENCED_STATE_EPOCH",
    "INVALID_VOTER_KEY",
    "DUPLICATE_VOTER",
    "VOTER_NOT_FOUND",
    "INVALID_REGULAR_EXPRESSION",
];

/// Kafka's name of an error code.
fn name(code: i16) -> &'static str {
    let known = usize::try_from(code).ok().and_then(|code| NAMES.get(code));
    known.copied().unwrap_or("UNKNOWN_SERVER_ERROR")
}

/// Counts the errors of an answer, and gives how many they are.
pub(super) fn count(answer: &impl ErrorCodes, meter: &ApiMeter) -> usize {
    let mut errors = 0;
    answer.each_code(&mut |code| {
        if code != 0 {
            errors += 1;
            meter.failed(name(code), 1);
        }
    });
    errors
}

/// An answer whose error codes can be seen, wherever they stand in it.
pub(super) trait ErrorCodes {
    /// Shows every code, 0 included.
    fn each_code(&self, see: &mut dyn FnMut(i16));
}

/// The places of the codes: `error_code` in the message itself, `list[…]` in each element of a list.
macro_rules! codes {
    ($($answer:ident { $($place:tt)+ })+) => {
        $(impl ErrorCodes for $answer {
            fn each_code(&self, see: &mut dyn FnMut(i16)) {
                codes!(@place self, see, $($place)+);
            }
        })+
    };
    (@place $of:ident, $see:ident,) => {};
    (@place $of:ident, $see:ident, error_code $($rest:tt)*) => {
        $see($of.error_code);
        codes!(@place $of, $see, $($rest)*);
    };
    (@place $of:ident, $see:ident, $list:ident[$($inner:tt)+] $($rest:tt)*) => {
        for element in &$of.$list {
            codes!(@place element, $see, $($inner)+);
        }
        codes!(@place $of, $see, $($rest)*);
    };
}

codes! {
    ProduceResponse { responses[partition_responses[error_code]] }
    FetchAnswer { error_code topics[partitions[error_code]] }
    ListOffsetsResponse { topics[partitions[error_code]] }
    MetadataResponse { error_code topics[error_code] }
    OffsetCommitResponse { topics[partitions[error_code]] }
    OffsetFetchResponse { error_code topics[partitions[error_code]] groups[error_code topics[partitions[error_code]]] }
    FindCoordinatorResponse { error_code coordinators[error_code] }
    JoinGroupResponse { error_code }
    HeartbeatResponse { error_code }
    LeaveGroupResponse { error_code members[error_code] }
    SyncGroupResponse { error_code }
    DescribeGroupsResponse { groups[error_code] }
    ListGroupsResponse { error_code }
    ApiVersionsResponse { error_code }
    CreateTopicsResponse { topics[error_code] }
    DeleteTopicsResponse { responses[error_code] }
    DeleteRecordsResponse { topics[partitions[error_code]] }
    InitProducerIdResponse { error_code }
    OffsetForLeaderEpochResponse { topics[partitions[error_code]] }
    DescribeConfigsResponse { results[error_code] }
    AlterConfigsResponse { responses[error_code] }
    DescribeLogDirsResponse { error_code results[error_code] }
    CreatePartitionsResponse { results[error_code] }
    DeleteGroupsResponse { results[error_code] }
    IncrementalAlterConfigsResponse { responses[error_code] }
    OffsetDeleteResponse { error_code topics[partitions[error_code]] }
    DescribeClusterResponse { error_code }
    DescribeProducersResponse { topics[partitions[error_code]] }
    DescribeTopicPartitionsResponse { topics[error_code] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::ResponseError;

    #[test]
    fn codes_have_kafkas_names() {
        assert_eq!(
            name(ResponseError::OffsetOutOfRange.code()),
            "OFFSET_OUT_OF_RANGE"
        );
        assert_eq!(
            name(ResponseError::PolicyViolation.code()),
            "POLICY_VIOLATION"
        );
        assert_eq!(
            name(ResponseError::UnknownTopicId.code()),
            "UNKNOWN_TOPIC_ID"
        );
        assert_eq!(
            name(ResponseError::MismatchedEndpointType.code()),
            "MISMATCHED_ENDPOINT_TYPE"
        );
        assert_eq!(name(-1), "UNKNOWN_SERVER_ERROR");
        assert_eq!(name(i16::MAX), "UNKNOWN_SERVER_ERROR");
    }

    #[test]
    fn every_code_of_an_answer_is_seen() {
        let partition = |code| {
            list_offsets_response::ListOffsetsPartitionResponse::default().with_error_code(code)
        };
        let topic = list_offsets_response::ListOffsetsTopicResponse::default()
            .with_partitions(vec![partition(0), partition(3)]);
        let answer = ListOffsetsResponse::default().with_topics(vec![topic.clone(), topic]);
        let mut seen = Vec::new();
        answer.each_code(&mut |code| seen.push(code));
        assert_eq!(seen, [0, 3, 0, 3]);
    }
}
