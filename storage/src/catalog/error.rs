//! What can go wrong, one enum per operation.

use protocol::ids::{TableId, TablePartitionId};

use super::names::{NameError, TablePath};
use super::store::StoreError;

/// The catalog cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenCatalogError {
    /// The store cannot be opened or read.
    #[error("catalog store")]
    Store(#[from] StoreError),
    /// A record is damaged, or contradicts another one.
    #[error("catalog record {key}: {reason}")]
    Corrupt {
        /// The record's key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The data directory was written by another version.
    #[error("data format version {found}, this program reads {supported}")]
    DataFormat {
        /// What is there.
        found: u32,
        /// What can be read.
        supported: u32,
    },
    /// The configured default database has an illegal name.
    #[error("default database {name:?}")]
    DefaultDatabase {
        /// The name.
        name: String,
        /// What is wrong with it.
        #[source]
        source: NameError,
    },
}

/// A change could not be made durable.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The disk is full. Nothing was changed; a later try may succeed.
    #[error("disk is full")]
    Full(#[source] std::io::Error),
    /// The store failed. Whether the change happened is not known before the next start, and the
    /// catalog takes no further one until then.
    #[error("catalog store")]
    Store(#[source] StoreError),
    /// An earlier change failed.
    #[error("catalog takes no more changes: one failed, or it is closed")]
    Offline,
}

/// A database was not made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the variants say it")]
pub enum CreateDatabaseError {
    #[error("database {0} exists")]
    AlreadyExists(String),
    #[error("database name {name:?}")]
    Name { name: String, source: NameError },
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// A database was not changed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the variants say it")]
pub enum AlterDatabaseError {
    #[error("unknown database {0}")]
    Unknown(String),
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// A database was not dropped.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the variants say it")]
pub enum DropDatabaseError {
    #[error("unknown database {0}")]
    Unknown(String),
    #[error("database {database} has {table_count} tables")]
    NotEmpty {
        database: String,
        table_count: usize,
    },
    #[error("database {0} cannot be dropped")]
    Protected(String),
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// A table was not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateTableError {
    /// There is a table of the asked name.
    #[error("{name} exists")]
    AlreadyExists {
        /// The asked name.
        name: String,
        /// The table that has it.
        table: TableId,
    },
    /// The name that the table would have on the other wire belongs to another table. To clients
    /// this is "already exists" as well.
    #[error("{name} would also be {other_name}, which belongs to {owner}")]
    Claimed {
        /// The asked name.
        name: String,
        /// The name on the other wire.
        other_name: String,
        /// Path of the table that has it.
        owner: TablePath,
    },
    /// The database does not exist.
    #[error("unknown database {0}")]
    UnknownDatabase(String),
    /// The name is no name.
    #[error("name {name:?}")]
    Name {
        /// The asked name.
        name: String,
        /// What is wrong with it.
        source: NameError,
    },
    /// Only the broker itself may use this name.
    #[error("{0} is reserved for the broker")]
    Reserved(String),
    /// A table has at least one bucket, and no more than bucket ids.
    #[error("bucket count {0}")]
    BucketCount(u32),
    /// The schema breaks a rule, and could not be read back.
    #[error("schema: {0}")]
    Schema(String),
    /// The change could not be stored.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// A table was not changed.
#[derive(Debug, thiserror::Error)]
pub enum AlterTableError {
    /// There is no such table.
    #[error("unknown table {0}")]
    Unknown(TableId),
    /// Buckets are only ever added.
    #[error("bucket count {asked} instead of {current}")]
    BucketCount {
        /// What there is.
        current: u32,
        /// What was asked.
        asked: u32,
    },
    /// The schema ids of the table are used up.
    #[error("table {0} has no schema id left")]
    TooManySchemas(TableId),
    /// Only tables that Kafka clients made get a key or lose it.
    #[error("table {0} keeps its key, or goes on without one")]
    Kind(TableId),
    /// The schema breaks a rule, and could not be read back.
    #[error("schema: {0}")]
    Schema(String),
    /// The change could not be stored.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// A table was not dropped.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the variants say it")]
pub enum DropTableError {
    #[error("unknown table {0}")]
    Unknown(TableId),
    #[error("table {0} belongs to the broker")]
    Protected(TableId),
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Numbers for a table's rows were not handed out.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the variants say it")]
pub enum TakeRowNumbersError {
    #[error("unknown table {0}")]
    Unknown(TableId),
    #[error("the numbers of table {0} are used up")]
    Exhausted(TableId),
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// A job's offsets are not kept, read or forgotten.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the variants say it")]
pub enum ProducerOffsetsError {
    #[error("invalid producer id: {0}")]
    Name(#[from] NameError),
    #[error("the offsets of too many producers are kept")]
    TooMany,
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// A table partition was not made.
#[derive(Debug, thiserror::Error)]
pub enum CreatePartitionError {
    /// There is no such table.
    #[error("unknown table {0}")]
    UnknownTable(TableId),
    /// The table has no partition keys.
    #[error("table {0} is not partitioned")]
    NotPartitioned(TableId),
    /// The table has another number of partition keys.
    #[error("{found} partition values for {expected} partition keys")]
    ValueCount {
        /// How many there are.
        found: usize,
        /// How many there must be.
        expected: usize,
    },
    /// A value cannot be part of a name.
    #[error("partition {name:?}")]
    Name {
        /// The values joined by `$`.
        name: String,
        /// What is wrong with it.
        source: NameError,
    },
    /// It exists.
    #[error("partition {name} of table {table} exists")]
    AlreadyExists {
        /// The table.
        table: TableId,
        /// The partition's name.
        name: String,
        /// The partition that has it.
        partition: TablePartitionId,
    },
    /// The topic that it would be belongs to another table.
    #[error("partition {name} would be topic {topic}, which belongs to {owner}")]
    Claimed {
        /// The partition's name.
        name: String,
        /// The topic.
        topic: String,
        /// Path of the table that has it.
        owner: TablePath,
    },
    /// The change could not be stored.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// A table partition was not changed or dropped.
#[derive(Debug, thiserror::Error)]
pub enum AlterPartitionError {
    /// There is no such partition.
    #[error("unknown table partition {0}")]
    Unknown(TablePartitionId),
    /// Buckets are only ever added.
    #[error("bucket count {asked} instead of {current}")]
    BucketCount {
        /// What there is.
        current: u32,
        /// What was asked.
        asked: u32,
    },
    /// The change could not be stored.
    #[error(transparent)]
    Write(#[from] WriteError),
}
