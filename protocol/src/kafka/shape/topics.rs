//! Requests about topics and their settings.

use kafka_protocol::messages::{
    alter_configs_request, create_partitions_request, create_topics_request, delete_topics_request,
    describe_configs_request, describe_topic_partitions_request, incremental_alter_configs_request,
    metadata_request,
};

use super::{BOOL, INT8, INT16, INT32, Kind, Shape, UUID, field};

// MetadataRequest, versions 0 to 13.
pub(super) static METADATA: Shape = Shape::of::<metadata_request::MetadataRequest>(
    9,
    &[
        field("topics", Kind::Array(&Kind::Struct(&METADATA_TOPIC))),
        field("allow_auto_topic_creation", BOOL).since(4),
        field("include_cluster_authorized_operations", BOOL)
            .since(8)
            .until(10),
        field("include_topic_authorized_operations", BOOL).since(8),
    ],
);
static METADATA_TOPIC: Shape = Shape::of::<metadata_request::MetadataRequestTopic>(
    9,
    &[
        field("topic_id", UUID).since(10),
        field("name", Kind::String),
    ],
);

// CreateTopicsRequest, versions 2 to 7.
pub(super) static CREATE_TOPICS: Shape = Shape::of::<create_topics_request::CreateTopicsRequest>(
    5,
    &[
        field("topics", Kind::Array(&Kind::Struct(&CREATABLE_TOPIC))),
        field("timeout_ms", INT32),
        field("validate_only", BOOL),
    ],
);
static CREATABLE_REPLICA_ASSIGNMENT: Shape =
    Shape::of::<create_topics_request::CreatableReplicaAssignment>(
        5,
        &[
            field("partition_index", INT32),
            field("broker_ids", Kind::Array(&INT32)),
        ],
    );
static CREATABLE_TOPIC: Shape = Shape::of::<create_topics_request::CreatableTopic>(
    5,
    &[
        field("name", Kind::String),
        field("num_partitions", INT32),
        field("replication_factor", INT16),
        field(
            "assignments",
            Kind::Array(&Kind::Struct(&CREATABLE_REPLICA_ASSIGNMENT)),
        ),
        field(
            "configs",
            Kind::Array(&Kind::Struct(&CREATABLE_TOPIC_CONFIG)),
        ),
    ],
);
static CREATABLE_TOPIC_CONFIG: Shape = Shape::of::<create_topics_request::CreatableTopicConfig>(
    5,
    &[field("name", Kind::String), field("value", Kind::String)],
);

// DeleteTopicsRequest, versions 1 to 6.
pub(super) static DELETE_TOPICS: Shape = Shape::of::<delete_topics_request::DeleteTopicsRequest>(
    4,
    &[
        field("topics", Kind::Array(&Kind::Struct(&DELETE_TOPIC_STATE))).since(6),
        field("topic_names", Kind::Array(&Kind::String)).until(5),
        field("timeout_ms", INT32),
    ],
);
static DELETE_TOPIC_STATE: Shape = Shape::of::<delete_topics_request::DeleteTopicState>(
    4,
    &[
        field("name", Kind::String).since(6),
        field("topic_id", UUID).since(6),
    ],
);

// CreatePartitionsRequest, versions 0 to 3.
pub(super) static CREATE_PARTITIONS: Shape =
    Shape::of::<create_partitions_request::CreatePartitionsRequest>(
        2,
        &[
            field(
                "topics",
                Kind::Array(&Kind::Struct(&CREATE_PARTITIONS_TOPIC)),
            ),
            field("timeout_ms", INT32),
            field("validate_only", BOOL),
        ],
    );
static CREATE_PARTITIONS_ASSIGNMENT: Shape = Shape::of::<
    create_partitions_request::CreatePartitionsAssignment,
>(2, &[field("broker_ids", Kind::Array(&INT32))]);
static CREATE_PARTITIONS_TOPIC: Shape = Shape::of::<create_partitions_request::CreatePartitionsTopic>(
    2,
    &[
        field("name", Kind::String),
        field("count", INT32),
        field(
            "assignments",
            Kind::Array(&Kind::Struct(&CREATE_PARTITIONS_ASSIGNMENT)),
        ),
    ],
);

// DescribeTopicPartitionsRequest, versions 0 to 0.
pub(super) static DESCRIBE_TOPIC_PARTITIONS: Shape =
    Shape::of::<describe_topic_partitions_request::DescribeTopicPartitionsRequest>(
        0,
        &[
            field("topics", Kind::Array(&Kind::Struct(&TOPIC))),
            field("response_partition_limit", INT32),
            field("cursor", Kind::OptionalStruct(&CURSOR)),
        ],
    );
static CURSOR: Shape = Shape::of::<describe_topic_partitions_request::Cursor>(
    0,
    &[
        field("topic_name", Kind::String),
        field("partition_index", INT32),
    ],
);
static TOPIC: Shape =
    Shape::of::<describe_topic_partitions_request::TopicRequest>(0, &[field("name", Kind::String)]);

// DescribeConfigsRequest, versions 1 to 4.
pub(super) static DESCRIBE_CONFIGS: Shape =
    Shape::of::<describe_configs_request::DescribeConfigsRequest>(
        4,
        &[
            field(
                "resources",
                Kind::Array(&Kind::Struct(&DESCRIBE_CONFIGS_RESOURCE)),
            ),
            field("include_synonyms", BOOL),
            field("include_documentation", BOOL).since(3),
        ],
    );
static DESCRIBE_CONFIGS_RESOURCE: Shape =
    Shape::of::<describe_configs_request::DescribeConfigsResource>(
        4,
        &[
            field("resource_type", INT8),
            field("resource_name", Kind::String),
            field("configuration_keys", Kind::Array(&Kind::String)),
        ],
    );

// AlterConfigsRequest, versions 0 to 2.
pub(super) static ALTER_CONFIGS: Shape = Shape::of::<alter_configs_request::AlterConfigsRequest>(
    2,
    &[
        field(
            "resources",
            Kind::Array(&Kind::Struct(&ALTER_CONFIGS_RESOURCE)),
        ),
        field("validate_only", BOOL),
    ],
);
static ALTER_CONFIGS_RESOURCE: Shape = Shape::of::<alter_configs_request::AlterConfigsResource>(
    2,
    &[
        field("resource_type", INT8),
        field("resource_name", Kind::String),
        field("configs", Kind::Array(&Kind::Struct(&ALTERABLE_CONFIG))),
    ],
);
static ALTERABLE_CONFIG: Shape = Shape::of::<alter_configs_request::AlterableConfig>(
    2,
    &[field("name", Kind::String), field("value", Kind::String)],
);

// IncrementalAlterConfigsRequest, versions 0 to 1.
pub(super) static INCREMENTAL_ALTER_CONFIGS: Shape =
    Shape::of::<incremental_alter_configs_request::IncrementalAlterConfigsRequest>(
        1,
        &[
            field(
                "resources",
                Kind::Array(&Kind::Struct(
                    &INCREMENTAL_ALTER_CONFIGS_ALTER_CONFIGS_RESOURCE,
                )),
            ),
            field("validate_only", BOOL),
        ],
    );
static INCREMENTAL_ALTER_CONFIGS_ALTER_CONFIGS_RESOURCE: Shape =
    Shape::of::<incremental_alter_configs_request::AlterConfigsResource>(
        1,
        &[
            field("resource_type", INT8),
            field("resource_name", Kind::String),
            field(
                "configs",
                Kind::Array(&Kind::Struct(&INCREMENTAL_ALTER_CONFIGS_ALTERABLE_CONFIG)),
            ),
        ],
    );
static INCREMENTAL_ALTER_CONFIGS_ALTERABLE_CONFIG: Shape =
    Shape::of::<incremental_alter_configs_request::AlterableConfig>(
        1,
        &[
            field("name", Kind::String),
            field("config_operation", INT8),
            field("value", Kind::String),
        ],
    );
