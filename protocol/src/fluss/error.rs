//! The error codes of the Fluss wire.
//!
//! Code 0 is not among them: success is an absent `error_code`, because Java peers take a present
//! zero as a failure.

/// Writes the enum and its lookups from one table: code, name, whether clients retry by
/// themselves, and a text for logs. Clients know a text of their own for each code, so ours is
/// only sent where it says more.
macro_rules! error_codes {
    ($(($code:literal, $name:ident, $class:ident, $text:literal),)*) => {
        /// Why a request, or one bucket of it, failed. Numbers as on the wire.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(i32)]
        pub enum ErrorCode {
            $(#[doc = concat!("`", $code, "`: ", $text, ".")] $name = $code,)*
        }

        impl ErrorCode {
            /// All codes, by number.
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$name),*];

            /// The code of a number, if it is one.
            pub const fn from_code(code: i32) -> Option<Self> {
                match code {
                    $($code => Some(ErrorCode::$name),)*
                    _ => None,
                }
            }

            /// The name of the code, for metrics.
            pub const fn name(self) -> &'static str {
                match self {
                    $(ErrorCode::$name => stringify!($name),)*
                }
            }

            /// A short text, lower case.
            pub const fn text(self) -> &'static str {
                match self {
                    $(ErrorCode::$name => $text,)*
                }
            }

            /// True when clients repeat the request by themselves.
            pub const fn is_retriable(self) -> bool {
                match self {
                    $(ErrorCode::$name => error_codes!(@$class),)*
                }
            }
        }
    };
    (@retriable) => { true };
    (@final) => { false };
}

error_codes! {
    (-1, UnknownServerError, final, "unexpected error in the server"),
    (1, Network, retriable, "the server disconnected"),
    (2, UnsupportedVersion, final, "API or version not supported"),
    (3, CorruptMessage, retriable, "message corrupt"),
    (4, DatabaseNotExist, final, "database does not exist"),
    (5, DatabaseNotEmpty, final, "database is not empty"),
    (6, DatabaseAlreadyExist, final, "database already exists"),
    (7, TableNotExist, final, "table does not exist"),
    (8, TableAlreadyExist, final, "table already exists"),
    (9, SchemaNotExist, retriable, "schema does not exist"),
    (10, LogStorage, retriable, "log storage failed"),
    (11, KvStorage, retriable, "index storage failed"),
    (12, NotLeaderOrFollower, retriable, "not the leader of the bucket"),
    (13, RecordTooLarge, final, "record too large"),
    (14, CorruptRecord, retriable, "record batch corrupt"),
    (15, InvalidTable, final, "invalid table"),
    (16, InvalidDatabase, final, "invalid database"),
    (17, InvalidReplicationFactor, final, "replication factor larger than the number of servers"),
    (18, InvalidRequiredAcks, final, "acks must be -1, 0 or 1"),
    (19, LogOffsetOutOfRange, final, "log offset out of range"),
    (20, NonPrimaryKeyTable, final, "not a primary-key table"),
    (21, UnknownTableOrBucket, retriable, "unknown table or bucket"),
    (22, InvalidUpdateVersion, final, "invalid update version"),
    (23, InvalidCoordinator, final, "invalid coordinator"),
    (24, FencedLeaderEpoch, final, "leader epoch fenced"),
    (25, RequestTimeOut, retriable, "request timed out"),
    (26, Storage, retriable, "storage failed"),
    (27, OperationNotAttempted, final, "operation not attempted"),
    (28, NotEnoughReplicasAfterAppend, retriable, "appended, but to too few replicas"),
    (29, NotEnoughReplicas, retriable, "too few replicas in sync"),
    (30, SecurityToken, final, "no file system token"),
    (31, OutOfOrderSequence, final, "batch sequence out of order"),
    (32, DuplicateSequence, final, "batch sequence is a duplicate"),
    (33, UnknownWriterId, final, "unknown writer id"),
    (34, InvalidColumnProjection, final, "invalid column projection"),
    (35, InvalidTargetColumn, final, "invalid target column"),
    (36, PartitionNotExists, final, "partition does not exist"),
    (37, TableNotPartitioned, final, "table is not partitioned"),
    (38, InvalidTimestamp, final, "invalid timestamp"),
    (39, InvalidConfig, final, "invalid configuration"),
    (40, LakeStorageNotConfigured, final, "lake storage is not configured"),
    (41, KvSnapshotNotExist, final, "index snapshot does not exist"),
    (42, PartitionAlreadyExists, final, "partition already exists"),
    (43, PartitionSpecInvalid, final, "invalid partition"),
    (44, LeaderNotAvailable, retriable, "leader not available"),
    (45, PartitionMaxNum, final, "too many partitions"),
    (46, Authenticate, final, "authentication failed"),
    (47, SecurityDisabled, final, "security is disabled"),
    (48, Authorization, final, "not authorized"),
    (49, BucketMaxNum, final, "too many buckets"),
    (50, FencedTieringEpoch, final, "tiering epoch fenced"),
    (51, RetriableAuthenticate, final, "authentication failed, may be retried"),
    (52, InvalidServerRackInfo, final, "invalid server rack"),
    (53, LakeSnapshotNotExist, final, "lake snapshot does not exist"),
    (54, LakeTableAlreadyExist, final, "lake table already exists"),
    (55, IneligibleReplica, final, "ineligible replica"),
    (56, InvalidAlterTable, final, "invalid change of a table"),
    (57, DeletionDisabled, final, "deletes are disabled on this table"),
    (58, ServerNotExist, final, "server does not exist"),
    (59, ServerTagAlreadyExist, final, "server tag already exists"),
    (60, ServerTagNotExist, final, "server tag does not exist"),
    (61, RebalanceFailure, final, "rebalance failed"),
    (62, NoRebalanceInProgress, final, "no rebalance in progress"),
    (63, InvalidProducerId, final, "invalid producer id"),
    (64, Config, final, "configuration error"),
    (65, NotCoordinatorLeader, final, "not the leading coordinator"),
    (66, ScannerExpired, final, "scanner expired"),
    (67, UnknownScannerId, final, "unknown scanner id"),
    (68, InvalidScanRequest, final, "invalid scan request"),
    (69, TooManyScanners, final, "too many scanners"),
    (70, DiskWriteLocked, retriable, "disk is too full for writes"),
    (71, InsufficientKvLeaderReplicaCapacity, final, "too little capacity for index leaders"),
    (72, StorageBackpressure, retriable, "too many writes for the index storage"),
    (73, HistoricalPartitionThrottled, retriable, "historical partition throttled"),
    (74, InvalidBucketRouting, final, "bucket count of the sender is stale"),
}

impl ErrorCode {
    /// The number as the wire writes it.
    pub const fn code(self) -> i32 {
        self as i32
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_leads_back_to_its_code() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_code(code.code()), Some(*code));
        }
        assert_eq!(ErrorCode::ALL.len(), 75);
    }

    #[test]
    fn success_is_no_code() {
        assert_eq!(ErrorCode::from_code(0), None);
        assert_eq!(ErrorCode::from_code(75), None);
    }

    #[test]
    fn clients_retry_what_a_refresh_or_time_mends() {
        assert!(ErrorCode::NotLeaderOrFollower.is_retriable());
        assert!(ErrorCode::SchemaNotExist.is_retriable());
        assert!(!ErrorCode::OutOfOrderSequence.is_retriable());
        assert!(!ErrorCode::InvalidBucketRouting.is_retriable());
    }
}
