//! The APIs of the Kafka wire and the versions that we speak.
//!
//! One row per API: dispatch, ApiVersions answers and the documentation come from it. The versions
//! are those that Kafka 4.3.1 advertises, as far as the message crate has them (it lacks
//! ListOffsets 11, OffsetCommit 10, OffsetFetch 10 and DescribeLogDirs 5).

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiKey, ApiVersionsResponse};

use crate::kafka::response;

/// An API and its versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Api {
    /// Its name, such as `Produce`.
    pub name: &'static str,
    /// Its number.
    pub key: ApiKey,
    /// The lowest version that is advertised.
    pub min: i16,
    /// The highest version that is advertised and served.
    pub max: i16,
    /// The lowest version that is served.
    pub served_min: i16,
}

impl Api {
    /// True when requests of the version are served.
    pub const fn serves(&self, version: i16) -> bool {
        self.served_min <= version && version <= self.max
    }
}

const fn api(name: &'static str, key: ApiKey, min: i16, max: i16) -> Api {
    Api {
        name,
        key,
        min,
        max,
        served_min: min,
    }
}

/// Every API that is served, by number.
pub static APIS: [Api; 29] = [
    // Kafka 4 advertises 0 to 2, because librdkafka looks for them, and refuses them.
    Api {
        served_min: 3,
        ..api("Produce", ApiKey::Produce, 0, 13)
    },
    api("Fetch", ApiKey::Fetch, 4, 18),
    api("ListOffsets", ApiKey::ListOffsets, 1, 10),
    api("Metadata", ApiKey::Metadata, 0, 13),
    api("OffsetCommit", ApiKey::OffsetCommit, 2, 9),
    api("OffsetFetch", ApiKey::OffsetFetch, 1, 9),
    api("FindCoordinator", ApiKey::FindCoordinator, 0, 6),
    api("JoinGroup", ApiKey::JoinGroup, 0, 9),
    api("Heartbeat", ApiKey::Heartbeat, 0, 4),
    api("LeaveGroup", ApiKey::LeaveGroup, 0, 5),
    api("SyncGroup", ApiKey::SyncGroup, 0, 5),
    api("DescribeGroups", ApiKey::DescribeGroups, 0, 6),
    api("ListGroups", ApiKey::ListGroups, 0, 5),
    api("ApiVersions", ApiKey::ApiVersions, 0, 4),
    api("CreateTopics", ApiKey::CreateTopics, 2, 7),
    api("DeleteTopics", ApiKey::DeleteTopics, 1, 6),
    api("DeleteRecords", ApiKey::DeleteRecords, 0, 2),
    api("InitProducerId", ApiKey::InitProducerId, 0, 5),
    api("OffsetForLeaderEpoch", ApiKey::OffsetForLeaderEpoch, 2, 4),
    api("DescribeConfigs", ApiKey::DescribeConfigs, 1, 4),
    api("AlterConfigs", ApiKey::AlterConfigs, 0, 2),
    api("DescribeLogDirs", ApiKey::DescribeLogDirs, 1, 4),
    api("CreatePartitions", ApiKey::CreatePartitions, 0, 3),
    api("DeleteGroups", ApiKey::DeleteGroups, 0, 2),
    api(
        "IncrementalAlterConfigs",
        ApiKey::IncrementalAlterConfigs,
        0,
        1,
    ),
    api("OffsetDelete", ApiKey::OffsetDelete, 0, 0),
    api("DescribeCluster", ApiKey::DescribeCluster, 0, 2),
    api("DescribeProducers", ApiKey::DescribeProducers, 0, 0),
    api(
        "DescribeTopicPartitions",
        ApiKey::DescribeTopicPartitions,
        0,
        0,
    ),
];

/// The row of an API, by its number on the wire.
pub fn find(key: i16) -> Option<&'static Api> {
    APIS.iter().find(|api| api.key as i16 == key)
}

/// The APIs and versions as an ApiVersions answer lists them.
pub fn advertised() -> Vec<ApiVersion> {
    APIS.iter().map(advertise).collect()
}

fn advertise(api: &Api) -> ApiVersion {
    ApiVersion::default()
        .with_api_key(api.key as i16)
        .with_min_version(api.min)
        .with_max_version(api.max)
}

/// The answer to an ApiVersions request of a version that we do not speak: in version 0, which
/// every client reads, with the versions of ApiVersions itself, so that the client can ask again.
pub fn unsupported_api_versions(correlation_id: i32) -> Bytes {
    let own = APIS.iter().filter(|api| api.key == ApiKey::ApiVersions);
    let answer = ApiVersionsResponse::default()
        .with_error_code(ResponseError::UnsupportedVersion.code())
        .with_api_keys(own.map(advertise).collect());
    response::encode(correlation_id, 0, &answer)
        .expect("a short message of version 0 can be encoded")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::shape::Shape;

    #[test]
    fn rows_are_in_order_and_complete() {
        assert!(APIS.is_sorted_by_key(|api| api.key as i16));
        for api in &APIS {
            assert!(
                Shape::of_request(api.key).is_some(),
                "{} has no shape",
                api.name
            );
            let known = api.key.valid_versions();
            assert!(
                known.min <= api.served_min && api.max <= known.max,
                "{}",
                api.name
            );
        }
    }

    #[test]
    fn an_unknown_api_versions_version_is_answered_in_version_0() {
        let answer = unsupported_api_versions(9);
        // length, correlation id, error 35, one row: key 18, versions 0 to 4
        let expected = [
            0, 0, 0, 16, 0, 0, 0, 9, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4,
        ];
        assert_eq!(answer[..], expected);
    }
}
