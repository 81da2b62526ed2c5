//! The APIs of the Fluss wire, in one table.
//!
//! The table says what this crate can encode. What a broker advertises and answers is a
//! [`ServedApis`], made from the keys that have a handler, so that an API without one is refused
//! on both occasions.
//!
//! Versions are those of a server without historical partitions (PRODUCE_LOG 1, PUT_KV 3), change
//! of the bucket count (ALTER_TABLE 1) and tagged values in snapshots (GET_KV_SNAPSHOT_METADATA 1).

use std::fmt;
use std::ops::RangeInclusive;

use super::messages::{self, ApiVersionsResponse, PbApiVersion};
use super::shape::Shaped;

/// The largest body of a request that carries no records: a table with thousands of columns fits.
pub const SMALL_BODY_BYTES_MAX: usize = 4 << 20;

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Api {
    /// Its key.
    pub key: ApiKey,
    /// The versions that are understood.
    pub versions: RangeInclusive<i16>,
    /// May be asked on a connection that has not authenticated yet.
    pub before_authentication: bool,
    /// The request carries records or keys, so its size has the listener's limit rather than
    /// [`SMALL_BODY_BYTES_MAX`].
    pub carries_records: bool,
}

/// A request message and what answers it.
pub trait Request: prost::Message + Default + Shaped {
    /// The API that it belongs to.
    const KEY: ApiKey;
    /// The message of a successful answer.
    type Response: prost::Message + Default;
}

macro_rules! apis {
    ($(($number:literal, $key:ident, $name:literal, $versions:expr, $access:ident, $size:ident,
        $request:ident => $response:ident),)*) => {
        /// The key of an API. Numbers as on the wire.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(i16)]
        pub enum ApiKey {
            $(#[doc = concat!("`", $number, "` ", $name, ".")] $key = $number,)*
        }

        /// All APIs, by number.
        pub static APIS: &[Api] = &[
            $(Api {
                key: ApiKey::$key,
                versions: $versions,
                before_authentication: apis!(@$access),
                carries_records: apis!(@$size),
            }),*
        ];

        impl ApiKey {
            /// The key of a number, if it is one.
            pub const fn from_code(code: i16) -> Option<Self> {
                match code {
                    $($number => Some(ApiKey::$key),)*
                    _ => None,
                }
            }

            /// The name that Fluss gives it, for logs and metrics.
            pub const fn name(self) -> &'static str {
                match self {
                    $(ApiKey::$key => $name,)*
                }
            }
        }

        $(impl Request for messages::$request {
            const KEY: ApiKey = ApiKey::$key;
            type Response = messages::$response;
        })*
    };
    (@open) => { true };
    (@guarded) => { false };
    (@data) => { true };
    (@small) => { false };
}

apis! {
    (1000, ApiVersions, "API_VERSIONS", 0..=0, open, small, ApiVersionsRequest => ApiVersionsResponse),
    (1001, CreateDatabase, "CREATE_DATABASE", 0..=0, guarded, small, CreateDatabaseRequest => CreateDatabaseResponse),
    (1002, DropDatabase, "DROP_DATABASE", 0..=0, guarded, small, DropDatabaseRequest => DropDatabaseResponse),
    (1003, ListDatabases, "LIST_DATABASES", 0..=0, guarded, small, ListDatabasesRequest => ListDatabasesResponse),
    (1004, DatabaseExists, "DATABASE_EXISTS", 0..=0, guarded, small, DatabaseExistsRequest => DatabaseExistsResponse),
    (1005, CreateTable, "CREATE_TABLE", 0..=0, guarded, small, CreateTableRequest => CreateTableResponse),
    (1006, DropTable, "DROP_TABLE", 0..=0, guarded, small, DropTableRequest => DropTableResponse),
    (1007, GetTableInfo, "GET_TABLE_INFO", 0..=0, guarded, small, GetTableInfoRequest => GetTableInfoResponse),
    (1008, ListTables, "LIST_TABLES", 0..=0, guarded, small, ListTablesRequest => ListTablesResponse),
    (1009, ListPartitionInfos, "LIST_PARTITION_INFOS", 0..=0, guarded, small, ListPartitionInfosRequest => ListPartitionInfosResponse),
    (1010, TableExists, "TABLE_EXISTS", 0..=0, guarded, small, TableExistsRequest => TableExistsResponse),
    (1011, GetTableSchema, "GET_TABLE_SCHEMA", 0..=0, guarded, small, GetTableSchemaRequest => GetTableSchemaResponse),
    (1012, GetMetadata, "GET_METADATA", 0..=0, guarded, small, MetadataRequest => MetadataResponse),
    (1014, ProduceLog, "PRODUCE_LOG", 0..=0, guarded, data, ProduceLogRequest => ProduceLogResponse),
    (1015, FetchLog, "FETCH_LOG", 0..=0, guarded, small, FetchLogRequest => FetchLogResponse),
    (1016, PutKv, "PUT_KV", 0..=2, guarded, data, PutKvRequest => PutKvResponse),
    (1017, Lookup, "LOOKUP", 0..=1, guarded, data, LookupRequest => LookupResponse),
    (1021, ListOffsets, "LIST_OFFSETS", 0..=0, guarded, small, ListOffsetsRequest => ListOffsetsResponse),
    (1023, GetLatestKvSnapshots, "GET_LATEST_KV_SNAPSHOTS", 0..=0, guarded, small, GetLatestKvSnapshotsRequest => GetLatestKvSnapshotsResponse),
    (1024, GetKvSnapshotMetadata, "GET_KV_SNAPSHOT_METADATA", 0..=1, guarded, small, GetKvSnapshotMetadataRequest => GetKvSnapshotMetadataResponse),
    (1025, GetFileSystemSecurityToken, "GET_FILESYSTEM_SECURITY_TOKEN", 0..=0, guarded, small, GetFileSystemSecurityTokenRequest => GetFileSystemSecurityTokenResponse),
    (1026, InitWriter, "INIT_WRITER", 0..=0, guarded, small, InitWriterRequest => InitWriterResponse),
    (1030, CommitLakeTableSnapshot, "COMMIT_LAKE_TABLE_SNAPSHOT", 0..=0, guarded, small, CommitLakeTableSnapshotRequest => CommitLakeTableSnapshotResponse),
    (1032, GetLakeSnapshot, "GET_LAKE_SNAPSHOT", 0..=0, guarded, small, GetLakeSnapshotRequest => GetLakeSnapshotResponse),
    (1033, LimitScan, "LIMIT_SCAN", 0..=0, guarded, small, LimitScanRequest => LimitScanResponse),
    (1034, PrefixLookup, "PREFIX_LOOKUP", 0..=1, guarded, data, PrefixLookupRequest => PrefixLookupResponse),
    (1035, GetDatabaseInfo, "GET_DATABASE_INFO", 0..=0, guarded, small, GetDatabaseInfoRequest => GetDatabaseInfoResponse),
    (1036, CreatePartition, "CREATE_PARTITION", 0..=0, guarded, small, CreatePartitionRequest => CreatePartitionResponse),
    (1037, DropPartition, "DROP_PARTITION", 0..=0, guarded, small, DropPartitionRequest => DropPartitionResponse),
    (1038, Authenticate, "AUTHENTICATE", 0..=0, open, small, AuthenticateRequest => AuthenticateResponse),
    (1039, CreateAcls, "CREATE_ACLS", 0..=0, guarded, small, CreateAclsRequest => CreateAclsResponse),
    (1040, ListAcls, "LIST_ACLS", 0..=0, guarded, small, ListAclsRequest => ListAclsResponse),
    (1041, DropAcls, "DROP_ACLS", 0..=0, guarded, small, DropAclsRequest => DropAclsResponse),
    (1042, LakeTieringHeartbeat, "LAKE_TIERING_HEARTBEAT", 0..=0, guarded, small, LakeTieringHeartbeatRequest => LakeTieringHeartbeatResponse),
    (1044, AlterTable, "ALTER_TABLE", 0..=0, guarded, small, AlterTableRequest => AlterTableResponse),
    (1045, DescribeClusterConfigs, "DESCRIBE_CLUSTER_CONFIGS", 0..=0, guarded, small, DescribeClusterConfigsRequest => DescribeClusterConfigsResponse),
    (1046, AlterClusterConfigs, "ALTER_CLUSTER_CONFIGS", 0..=0, guarded, small, AlterClusterConfigsRequest => AlterClusterConfigsResponse),
    (1047, AddServerTag, "ADD_SERVER_TAG", 0..=0, guarded, small, AddServerTagRequest => AddServerTagResponse),
    (1048, RemoveServerTag, "REMOVE_SERVER_TAG", 0..=0, guarded, small, RemoveServerTagRequest => RemoveServerTagResponse),
    (1049, Rebalance, "REBALANCE", 0..=0, guarded, small, RebalanceRequest => RebalanceResponse),
    (1050, ListRebalanceProgress, "LIST_REBALANCE_PROGRESS", 0..=0, guarded, small, ListRebalanceProgressRequest => ListRebalanceProgressResponse),
    (1051, CancelRebalance, "CANCEL_REBALANCE", 0..=0, guarded, small, CancelRebalanceRequest => CancelRebalanceResponse),
    (1052, PrepareLakeTableSnapshot, "PREPARE_LAKE_TABLE_SNAPSHOT", 0..=0, guarded, small, PrepareLakeTableSnapshotRequest => PrepareLakeTableSnapshotResponse),
    (1053, RegisterProducerOffsets, "REGISTER_PRODUCER_OFFSETS", 0..=0, guarded, small, RegisterProducerOffsetsRequest => RegisterProducerOffsetsResponse),
    (1054, GetProducerOffsets, "GET_PRODUCER_OFFSETS", 0..=0, guarded, small, GetProducerOffsetsRequest => GetProducerOffsetsResponse),
    (1055, DeleteProducerOffsets, "DELETE_PRODUCER_OFFSETS", 0..=0, guarded, small, DeleteProducerOffsetsRequest => DeleteProducerOffsetsResponse),
    (1056, AcquireKvSnapshotLease, "ACQUIRE_KV_SNAPSHOT_LEASE", 0..=0, guarded, small, AcquireKvSnapshotLeaseRequest => AcquireKvSnapshotLeaseResponse),
    (1057, ReleaseKvSnapshotLease, "RELEASE_KV_SNAPSHOT_LEASE", 0..=0, guarded, small, ReleaseKvSnapshotLeaseRequest => ReleaseKvSnapshotLeaseResponse),
    (1058, DropKvSnapshotLease, "DROP_KV_SNAPSHOT_LEASE", 0..=0, guarded, small, DropKvSnapshotLeaseRequest => DropKvSnapshotLeaseResponse),
    (1059, GetTableStats, "GET_TABLE_STATS", 0..=0, guarded, small, GetTableStatsRequest => GetTableStatsResponse),
    (1060, AlterDatabase, "ALTER_DATABASE", 0..=0, guarded, small, AlterDatabaseRequest => AlterDatabaseResponse),
    (1061, ScanKv, "SCAN_KV", 0..=0, guarded, small, ScanKvRequest => ScanKvResponse),
    (1062, GetClusterHealth, "GET_CLUSTER_HEALTH", 0..=0, guarded, small, GetClusterHealthRequest => GetClusterHealthResponse),
    (1063, ListRemoteLogManifests, "LIST_REMOTE_LOG_MANIFESTS", 0..=0, guarded, small, ListRemoteLogManifestsRequest => ListRemoteLogManifestsResponse),
    (1064, ListKvSnapshots, "LIST_KV_SNAPSHOTS", 0..=0, guarded, small, ListKvSnapshotsRequest => ListKvSnapshotsResponse),
    (1065, AddServerTagByRack, "ADD_SERVER_TAG_BY_RACK", 0..=0, guarded, small, AddServerTagByRackRequest => AddServerTagByRackResponse),
    (1066, RemoveServerTagByRack, "REMOVE_SERVER_TAG_BY_RACK", 0..=0, guarded, small, RemoveServerTagByRackRequest => RemoveServerTagByRackResponse),
}

impl ApiKey {
    /// The number as the wire writes it.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// Its row in the table.
    pub fn api(self) -> &'static Api {
        APIS.iter()
            .find(|api| api.key == self)
            .expect("the table has a row for each key")
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The APIs that a broker has handlers for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServedApis(u128);

impl ServedApis {
    /// The APIs of the keys.
    pub fn new(keys: impl IntoIterator<Item = ApiKey>) -> Self {
        ServedApis(keys.into_iter().fold(0, |set, key| set | bit(key)))
    }

    /// True when there is a handler.
    pub const fn contains(self, key: ApiKey) -> bool {
        self.0 & bit(key) != 0
    }

    /// The API of a request header, if it is served in this version.
    pub fn resolve(self, key: i16, version: i16) -> Option<&'static Api> {
        let key = ApiKey::from_code(key).filter(|key| self.contains(*key))?;
        Some(key.api()).filter(|api| api.versions.contains(&version))
    }

    /// The answer to API_VERSIONS. It has no server type: one process is coordinator and tablet
    /// server, and clients drop a connection whose type differs from the role they looked for.
    pub fn answer(self) -> ApiVersionsResponse {
        let served = APIS.iter().filter(|api| self.contains(api.key));
        ApiVersionsResponse {
            api_versions: served
                .map(|api| PbApiVersion {
                    api_key: i32::from(api.key.code()),
                    min_version: i32::from(*api.versions.start()),
                    max_version: i32::from(*api.versions.end()),
                })
                .collect(),
            server_type: None,
        }
    }
}

/// Keys lie in 1000..1128, checked by a test.
const fn bit(key: ApiKey) -> u128 {
    1 << (key.code() - 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_leads_back_to_its_key() {
        for api in APIS {
            assert_eq!(ApiKey::from_code(api.key.code()), Some(api.key));
            assert!((1000..1128).contains(&api.key.code()));
            assert_eq!(api.key.api(), api);
        }
        assert!(
            APIS.windows(2)
                .all(|pair| pair[0].key.code() < pair[1].key.code())
        );
    }

    #[test]
    fn only_what_is_served_is_advertised_and_resolved() {
        let served = ServedApis::new([ApiKey::ApiVersions, ApiKey::PutKv]);
        let answer = served.answer();
        assert_eq!(answer.server_type, None);
        assert_eq!(
            answer.api_versions,
            vec![
                PbApiVersion {
                    api_key: 1000,
                    min_version: 0,
                    max_version: 0
                },
                PbApiVersion {
                    api_key: 1016,
                    min_version: 0,
                    max_version: 2
                },
            ]
        );
        assert_eq!(
            served.resolve(1016, 2).map(|api| api.key),
            Some(ApiKey::PutKv)
        );
        assert_eq!(served.resolve(1016, 3), None);
        assert_eq!(served.resolve(1015, 0), None);
        assert_eq!(served.resolve(-1, 0), None);
    }

    #[test]
    fn only_two_apis_come_before_authentication() {
        let open: Vec<_> = APIS
            .iter()
            .filter(|api| api.before_authentication)
            .map(|api| api.key)
            .collect();
        assert_eq!(open, vec![ApiKey::ApiVersions, ApiKey::Authenticate]);
    }
}
