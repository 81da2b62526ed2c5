//! Requests about the broker, and those that open a connection.

use kafka_protocol::messages::{
    api_versions_request, describe_cluster_request, describe_log_dirs_request,
    describe_producers_request, sasl_authenticate_request, sasl_handshake_request,
};

use super::{BOOL, INT8, INT32, Kind, NEVER, Shape, field};

// ApiVersionsRequest, versions 0 to 4.
pub(super) static API_VERSIONS: Shape = Shape::of::<api_versions_request::ApiVersionsRequest>(
    3,
    &[
        field("client_software_name", Kind::String).since(3),
        field("client_software_version", Kind::String).since(3),
    ],
);

// SaslHandshakeRequest, versions 0 to 1.
pub(super) static SASL_HANDSHAKE: Shape = Shape::of::<sasl_handshake_request::SaslHandshakeRequest>(
    NEVER,
    &[field("mechanism", Kind::String)],
);

// SaslAuthenticateRequest, versions 0 to 2.
pub(super) static SASL_AUTHENTICATE: Shape = Shape::of::<
    sasl_authenticate_request::SaslAuthenticateRequest,
>(2, &[field("auth_bytes", Kind::Bytes)]);

// DescribeClusterRequest, versions 0 to 2.
pub(super) static DESCRIBE_CLUSTER: Shape =
    Shape::of::<describe_cluster_request::DescribeClusterRequest>(
        0,
        &[
            field("include_cluster_authorized_operations", BOOL),
            field("endpoint_type", INT8).since(1),
            field("include_fenced_brokers", BOOL).since(2),
        ],
    );

// DescribeLogDirsRequest, versions 1 to 4.
pub(super) static DESCRIBE_LOG_DIRS: Shape =
    Shape::of::<describe_log_dirs_request::DescribeLogDirsRequest>(
        2,
        &[field(
            "topics",
            Kind::Array(&Kind::Struct(&DESCRIBABLE_LOG_DIR_TOPIC)),
        )],
    );
static DESCRIBABLE_LOG_DIR_TOPIC: Shape =
    Shape::of::<describe_log_dirs_request::DescribableLogDirTopic>(
        2,
        &[
            field("topic", Kind::String),
            field("partitions", Kind::Array(&INT32)),
        ],
    );

// DescribeProducersRequest, versions 0 to 0.
pub(super) static DESCRIBE_PRODUCERS: Shape =
    Shape::of::<describe_producers_request::DescribeProducersRequest>(
        0,
        &[field("topics", Kind::Array(&Kind::Struct(&TOPIC)))],
    );
static TOPIC: Shape = Shape::of::<describe_producers_request::TopicRequest>(
    0,
    &[
        field("name", Kind::String),
        field("partition_indexes", Kind::Array(&INT32)),
    ],
);
