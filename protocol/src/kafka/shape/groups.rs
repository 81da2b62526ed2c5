//! Requests of consumer groups, and the blobs that their members exchange.

use kafka_protocol::messages::{
    consumer_protocol_assignment, consumer_protocol_subscription, delete_groups_request,
    describe_groups_request, find_coordinator_request, heartbeat_request, join_group_request,
    leave_group_request, list_groups_request, offset_commit_request, offset_delete_request,
    offset_fetch_request, sync_group_request,
};

use super::{BOOL, INT8, INT32, INT64, Kind, NEVER, Shape, field};

// FindCoordinatorRequest, versions 0 to 6.
pub(super) static FIND_COORDINATOR: Shape =
    Shape::of::<find_coordinator_request::FindCoordinatorRequest>(
        3,
        &[
            field("key", Kind::String).until(3),
            field("key_type", INT8).since(1),
            field("coordinator_keys", Kind::Array(&Kind::String)).since(4),
        ],
    );

// JoinGroupRequest, versions 0 to 9.
pub(super) static JOIN_GROUP: Shape = Shape::of::<join_group_request::JoinGroupRequest>(
    6,
    &[
        field("group_id", Kind::String),
        field("session_timeout_ms", INT32),
        field("rebalance_timeout_ms", INT32).since(1),
        field("member_id", Kind::String),
        field("group_instance_id", Kind::String).since(5),
        field("protocol_type", Kind::String),
        field(
            "protocols",
            Kind::Array(&Kind::Struct(&JOIN_GROUP_PROTOCOL)),
        ),
        field("reason", Kind::String).since(8),
    ],
);
static JOIN_GROUP_PROTOCOL: Shape = Shape::of::<join_group_request::JoinGroupRequestProtocol>(
    6,
    &[field("name", Kind::String), field("metadata", Kind::Bytes)],
);

// SyncGroupRequest, versions 0 to 5.
pub(super) static SYNC_GROUP: Shape = Shape::of::<sync_group_request::SyncGroupRequest>(
    4,
    &[
        field("group_id", Kind::String),
        field("generation_id", INT32),
        field("member_id", Kind::String),
        field("group_instance_id", Kind::String).since(3),
        field("protocol_type", Kind::String).since(5),
        field("protocol_name", Kind::String).since(5),
        field(
            "assignments",
            Kind::Array(&Kind::Struct(&SYNC_GROUP_ASSIGNMENT)),
        ),
    ],
);
static SYNC_GROUP_ASSIGNMENT: Shape = Shape::of::<sync_group_request::SyncGroupRequestAssignment>(
    4,
    &[
        field("member_id", Kind::String),
        field("assignment", Kind::Bytes),
    ],
);

// HeartbeatRequest, versions 0 to 4.
pub(super) static HEARTBEAT: Shape = Shape::of::<heartbeat_request::HeartbeatRequest>(
    4,
    &[
        field("group_id", Kind::String),
        field("generation_id", INT32),
        field("member_id", Kind::String),
        field("group_instance_id", Kind::String).since(3),
    ],
);

// LeaveGroupRequest, versions 0 to 5.
pub(super) static LEAVE_GROUP: Shape = Shape::of::<leave_group_request::LeaveGroupRequest>(
    4,
    &[
        field("group_id", Kind::String),
        field("member_id", Kind::String).until(2),
        field("members", Kind::Array(&Kind::Struct(&MEMBER_IDENTITY))).since(3),
    ],
);
static MEMBER_IDENTITY: Shape = Shape::of::<leave_group_request::MemberIdentity>(
    4,
    &[
        field("member_id", Kind::String).since(3),
        field("group_instance_id", Kind::String).since(3),
        field("reason", Kind::String).since(5),
    ],
);

// OffsetCommitRequest, versions 2 to 9.
pub(super) static OFFSET_COMMIT: Shape = Shape::of::<offset_commit_request::OffsetCommitRequest>(
    8,
    &[
        field("group_id", Kind::String),
        field("generation_id_or_member_epoch", INT32),
        field("member_id", Kind::String),
        field("group_instance_id", Kind::String).since(7),
        field("retention_time_ms", INT64).until(4),
        field("topics", Kind::Array(&Kind::Struct(&OFFSET_COMMIT_TOPIC))),
    ],
);
static OFFSET_COMMIT_PARTITION: Shape =
    Shape::of::<offset_commit_request::OffsetCommitRequestPartition>(
        8,
        &[
            field("partition_index", INT32),
            field("committed_offset", INT64),
            field("committed_leader_epoch", INT32).since(6),
            field("committed_metadata", Kind::String),
        ],
    );
static OFFSET_COMMIT_TOPIC: Shape = Shape::of::<offset_commit_request::OffsetCommitRequestTopic>(
    8,
    &[
        field("name", Kind::String),
        field(
            "partitions",
            Kind::Array(&Kind::Struct(&OFFSET_COMMIT_PARTITION)),
        ),
    ],
);

// OffsetFetchRequest, versions 1 to 9.
pub(super) static OFFSET_FETCH: Shape = Shape::of::<offset_fetch_request::OffsetFetchRequest>(
    6,
    &[
        field("group_id", Kind::String).until(7),
        field("topics", Kind::Array(&Kind::Struct(&OFFSET_FETCH_TOPIC))).until(7),
        field("groups", Kind::Array(&Kind::Struct(&OFFSET_FETCH_GROUP))).since(8),
        field("require_stable", BOOL).since(7),
    ],
);
static OFFSET_FETCH_GROUP: Shape = Shape::of::<offset_fetch_request::OffsetFetchRequestGroup>(
    6,
    &[
        field("group_id", Kind::String).since(8),
        field("member_id", Kind::String).since(9),
        field("member_epoch", INT32).since(9),
        field("topics", Kind::Array(&Kind::Struct(&OFFSET_FETCH_TOPICS))).since(8),
    ],
);
static OFFSET_FETCH_TOPIC: Shape = Shape::of::<offset_fetch_request::OffsetFetchRequestTopic>(
    6,
    &[
        field("name", Kind::String).until(7),
        field("partition_indexes", Kind::Array(&INT32)).until(7),
    ],
);
static OFFSET_FETCH_TOPICS: Shape = Shape::of::<offset_fetch_request::OffsetFetchRequestTopics>(
    6,
    &[
        field("name", Kind::String).since(8),
        field("partition_indexes", Kind::Array(&INT32)).since(8),
    ],
);

// OffsetDeleteRequest, versions 0 to 0.
pub(super) static OFFSET_DELETE: Shape = Shape::of::<offset_delete_request::OffsetDeleteRequest>(
    NEVER,
    &[
        field("group_id", Kind::String),
        field("topics", Kind::Array(&Kind::Struct(&OFFSET_DELETE_TOPIC))),
    ],
);
static OFFSET_DELETE_PARTITION: Shape = Shape::of::<
    offset_delete_request::OffsetDeleteRequestPartition,
>(NEVER, &[field("partition_index", INT32)]);
static OFFSET_DELETE_TOPIC: Shape = Shape::of::<offset_delete_request::OffsetDeleteRequestTopic>(
    NEVER,
    &[
        field("name", Kind::String),
        field(
            "partitions",
            Kind::Array(&Kind::Struct(&OFFSET_DELETE_PARTITION)),
        ),
    ],
);

// ListGroupsRequest, versions 0 to 5.
pub(super) static LIST_GROUPS: Shape = Shape::of::<list_groups_request::ListGroupsRequest>(
    3,
    &[
        field("states_filter", Kind::Array(&Kind::String)).since(4),
        field("types_filter", Kind::Array(&Kind::String)).since(5),
    ],
);

// DescribeGroupsRequest, versions 0 to 6.
pub(super) static DESCRIBE_GROUPS: Shape =
    Shape::of::<describe_groups_request::DescribeGroupsRequest>(
        5,
        &[
            field("groups", Kind::Array(&Kind::String)),
            field("include_authorized_operations", BOOL).since(3),
        ],
    );

// DeleteGroupsRequest, versions 0 to 2.
pub(super) static DELETE_GROUPS: Shape = Shape::of::<delete_groups_request::DeleteGroupsRequest>(
    2,
    &[field("groups_names", Kind::Array(&Kind::String))],
);

// ConsumerProtocolSubscription, versions 0 to 3.
pub(super) static CONSUMER_PROTOCOL_SUBSCRIPTION: Shape =
    Shape::of::<consumer_protocol_subscription::ConsumerProtocolSubscription>(
        NEVER,
        &[
            field("topics", Kind::Array(&Kind::String)),
            field("user_data", Kind::Bytes),
            field(
                "owned_partitions",
                Kind::Array(&Kind::Struct(
                    &CONSUMER_PROTOCOL_SUBSCRIPTION_TOPIC_PARTITION,
                )),
            )
            .since(1),
            field("generation_id", INT32).since(2),
            field("rack_id", Kind::String).since(3),
        ],
    );
static CONSUMER_PROTOCOL_SUBSCRIPTION_TOPIC_PARTITION: Shape =
    Shape::of::<consumer_protocol_subscription::TopicPartition>(
        NEVER,
        &[
            field("topic", Kind::String).since(1),
            field("partitions", Kind::Array(&INT32)).since(1),
        ],
    );

// ConsumerProtocolAssignment, versions 0 to 3.
pub(super) static CONSUMER_PROTOCOL_ASSIGNMENT: Shape =
    Shape::of::<consumer_protocol_assignment::ConsumerProtocolAssignment>(
        NEVER,
        &[
            field(
                "assigned_partitions",
                Kind::Array(&Kind::Struct(&CONSUMER_PROTOCOL_ASSIGNMENT_TOPIC_PARTITION)),
            ),
            field("user_data", Kind::Bytes),
        ],
    );
static CONSUMER_PROTOCOL_ASSIGNMENT_TOPIC_PARTITION: Shape =
    Shape::of::<consumer_protocol_assignment::TopicPartition>(
        NEVER,
        &[
            field("topic", Kind::String),
            field("partitions", Kind::Array(&INT32)),
        ],
    );
