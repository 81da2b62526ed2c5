//! Requests that write, read and place records.

use kafka_protocol::messages::{
    delete_records_request, fetch_request, init_producer_id_request, list_offsets_request,
    offset_for_leader_epoch_request, produce_request,
};

use super::{INT8, INT16, INT32, INT64, Kind, Shape, UUID, field};

// ProduceRequest, versions 3 to 13.
pub(super) static PRODUCE: Shape = Shape::of::<produce_request::ProduceRequest>(
    9,
    &[
        field("transactional_id", Kind::String),
        field("acks", INT16),
        field("timeout_ms", INT32),
        field(
            "topic_data",
            Kind::Array(&Kind::Struct(&TOPIC_PRODUCE_DATA)),
        ),
    ],
);
static PARTITION_PRODUCE_DATA: Shape = Shape::of::<produce_request::PartitionProduceData>(
    9,
    &[field("index", INT32), field("records", Kind::Bytes)],
);
static TOPIC_PRODUCE_DATA: Shape = Shape::of::<produce_request::TopicProduceData>(
    9,
    &[
        field("name", Kind::String).until(12),
        field("topic_id", UUID).since(13),
        field(
            "partition_data",
            Kind::Array(&Kind::Struct(&PARTITION_PRODUCE_DATA)),
        ),
    ],
);

// FetchRequest, versions 4 to 18.
pub(super) static FETCH: Shape = Shape::of::<fetch_request::FetchRequest>(
    12,
    &[
        field("replica_id", INT32).until(14),
        field("max_wait_ms", INT32),
        field("min_bytes", INT32),
        field("max_bytes", INT32),
        field("isolation_level", INT8),
        field("session_id", INT32).since(7),
        field("session_epoch", INT32).since(7),
        field("topics", Kind::Array(&Kind::Struct(&FETCH_TOPIC))),
        field(
            "forgotten_topics_data",
            Kind::Array(&Kind::Struct(&FORGOTTEN_TOPIC)),
        )
        .since(7),
        field("rack_id", Kind::String).since(11),
        field("cluster_id", Kind::String).tagged(0),
        field("replica_state", Kind::Struct(&REPLICA_STATE))
            .tagged(1)
            .since(15),
    ],
);
static FETCH_PARTITION: Shape = Shape::of::<fetch_request::FetchPartition>(
    12,
    &[
        field("partition", INT32),
        field("current_leader_epoch", INT32).since(9),
        field("fetch_offset", INT64),
        field("last_fetched_epoch", INT32).since(12),
        field("log_start_offset", INT64).since(5),
        field("partition_max_bytes", INT32),
        field("replica_directory_id", UUID).tagged(0).since(17),
        field("high_watermark", INT64).tagged(1).since(18),
    ],
);
static FETCH_TOPIC: Shape = Shape::of::<fetch_request::FetchTopic>(
    12,
    &[
        field("topic", Kind::String).until(12),
        field("topic_id", UUID).since(13),
        field("partitions", Kind::Array(&Kind::Struct(&FETCH_PARTITION))),
    ],
);
static FORGOTTEN_TOPIC: Shape = Shape::of::<fetch_request::ForgottenTopic>(
    12,
    &[
        field("topic", Kind::String).since(7).until(12),
        field("topic_id", UUID).since(13),
        field("partitions", Kind::Array(&INT32)).since(7),
    ],
);
static REPLICA_STATE: Shape = Shape::of::<fetch_request::ReplicaState>(
    12,
    &[
        field("replica_id", INT32).since(15),
        field("replica_epoch", INT64).since(15),
    ],
);

// ListOffsetsRequest, versions 1 to 10.
pub(super) static LIST_OFFSETS: Shape = Shape::of::<list_offsets_request::ListOffsetsRequest>(
    6,
    &[
        field("replica_id", INT32),
        field("isolation_level", INT8).since(2),
        field("topics", Kind::Array(&Kind::Struct(&LIST_OFFSETS_TOPIC))),
        field("timeout_ms", INT32).since(10),
    ],
);
static LIST_OFFSETS_PARTITION: Shape = Shape::of::<list_offsets_request::ListOffsetsPartition>(
    6,
    &[
        field("partition_index", INT32),
        field("current_leader_epoch", INT32).since(4),
        field("timestamp", INT64),
    ],
);
static LIST_OFFSETS_TOPIC: Shape = Shape::of::<list_offsets_request::ListOffsetsTopic>(
    6,
    &[
        field("name", Kind::String),
        field(
            "partitions",
            Kind::Array(&Kind::Struct(&LIST_OFFSETS_PARTITION)),
        ),
    ],
);

// OffsetForLeaderEpochRequest, versions 2 to 4.
pub(super) static OFFSET_FOR_LEADER_EPOCH: Shape =
    Shape::of::<offset_for_leader_epoch_request::OffsetForLeaderEpochRequest>(
        4,
        &[
            field("replica_id", INT32).since(3),
            field(
                "topics",
                Kind::Array(&Kind::Struct(&OFFSET_FOR_LEADER_TOPIC)),
            ),
        ],
    );
static OFFSET_FOR_LEADER_PARTITION: Shape =
    Shape::of::<offset_for_leader_epoch_request::OffsetForLeaderPartition>(
        4,
        &[
            field("partition", INT32),
            field("current_leader_epoch", INT32),
            field("leader_epoch", INT32),
        ],
    );
static OFFSET_FOR_LEADER_TOPIC: Shape =
    Shape::of::<offset_for_leader_epoch_request::OffsetForLeaderTopic>(
        4,
        &[
            field("topic", Kind::String),
            field(
                "partitions",
                Kind::Array(&Kind::Struct(&OFFSET_FOR_LEADER_PARTITION)),
            ),
        ],
    );

// DeleteRecordsRequest, versions 0 to 2.
pub(super) static DELETE_RECORDS: Shape = Shape::of::<delete_records_request::DeleteRecordsRequest>(
    2,
    &[
        field("topics", Kind::Array(&Kind::Struct(&DELETE_RECORDS_TOPIC))),
        field("timeout_ms", INT32),
    ],
);
static DELETE_RECORDS_PARTITION: Shape = Shape::of::<delete_records_request::DeleteRecordsPartition>(
    2,
    &[field("partition_index", INT32), field("offset", INT64)],
);
static DELETE_RECORDS_TOPIC: Shape = Shape::of::<delete_records_request::DeleteRecordsTopic>(
    2,
    &[
        field("name", Kind::String),
        field(
            "partitions",
            Kind::Array(&Kind::Struct(&DELETE_RECORDS_PARTITION)),
        ),
    ],
);

// InitProducerIdRequest, versions 0 to 5.
pub(super) static INIT_PRODUCER_ID: Shape =
    Shape::of::<init_producer_id_request::InitProducerIdRequest>(
        2,
        &[
            field("transactional_id", Kind::String),
            field("transaction_timeout_ms", INT32),
            field("producer_id", INT64).since(3),
            field("producer_epoch", INT16).since(3),
        ],
    );
