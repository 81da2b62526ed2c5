//! Tables and buckets as requests name them.

use std::sync::Arc;

use protocol::fluss::error::ErrorCode;
use protocol::fluss::messages::PbTablePath;
use protocol::ids::{BucketId, TableId, TablePartitionId, TabletId};
use storage::catalog::{CatalogView, Table, TablePath};

use super::error::Failure;
use crate::broker::Broker;
use crate::tablets::{OpenBucket, TabletError};

/// The path of a message.
pub fn path_of(path: &PbTablePath) -> TablePath {
    TablePath::new(path.database_name.as_str(), path.table_name.as_str())
}

/// The table of a path, or "table does not exist".
pub fn table<'v>(view: &'v CatalogView, path: &PbTablePath) -> Result<&'v Arc<Table>, Failure> {
    view.table_by_path(&path.database_name, &path.table_name)
        .ok_or_else(|| no_table(path))
}

/// That there is no such table.
pub fn no_table(path: &PbTablePath) -> Failure {
    let text = format!(
        "table {}.{} does not exist",
        path.database_name, path.table_name
    );
    Failure::new(ErrorCode::TableNotExist, text)
}

/// That there is no such partition, in the words that clients look for.
pub fn no_partition(table: &TablePath, name: &str) -> Failure {
    let text = format!("Table partition '{table}(p={name})' does not exist.");
    Failure::new(ErrorCode::PartitionNotExists, text)
}

/// That there is no such database.
pub fn no_database(name: &str) -> Failure {
    Failure::new(
        ErrorCode::DatabaseNotExist,
        format!("database {name} does not exist"),
    )
}

/// A bucket as requests that carry or fetch records name it, for [`bucket`]: the table is the one
/// of this number on the Fluss wire, which is not always that of its tablets.
pub fn tablet_id(table: i64, partition: Option<i64>, bucket: i32) -> TabletId {
    TabletId {
        table: TableId::new(table),
        table_partition: partition.map(TablePartitionId::new),
        bucket: BucketId::new(bucket),
    }
}

/// The most buckets that one request may name: what a client of a table with many partitions asks
/// for, with some 200 bytes of answer for each.
pub const BUCKETS_PER_REQUEST_MAX: usize = 1 << 16;

/// Refuses a request that names more buckets than an answer is made for.
pub fn check_bucket_count(count: usize) -> Result<(), Failure> {
    if count <= BUCKETS_PER_REQUEST_MAX {
        return Ok(());
    }
    let text = format!("{count} buckets in one request are more than {BUCKETS_PER_REQUEST_MAX}");
    Err(Failure::new(ErrorCode::RecordTooLarge, text))
}

/// The open tablet of a bucket as a request names it; opens it when it is not.
pub async fn bucket(broker: &Broker, named: TabletId) -> Result<Arc<OpenBucket>, Failure> {
    // Most tables have one number for everything.
    if let Some(bucket) = open_bucket(broker, named) {
        return Ok(bucket);
    }
    let opened = match tablet_of(&broker.catalog.view(), named) {
        Some(id) => broker.tablets.get(id).await,
        // Told without a thread that may wait: clients may ask for many that are not.
        None => Err(TabletError::Unknown(named)),
    };
    opened.map_err(|error| Failure::from(&error))
}

/// The tablet of a bucket, if it is open and its table has one number for everything.
pub fn open_bucket(broker: &Broker, named: TabletId) -> Option<Arc<OpenBucket>> {
    let bucket = broker.tablets.get_open(named)?;
    (bucket.table.fluss_id == named.table).then_some(bucket)
}

/// The tablet that a request names, if it exists.
pub fn tablet_of(view: &CatalogView, named: TabletId) -> Option<TabletId> {
    let table = view.table_of_fluss(named.table)?.id;
    Some(TabletId { table, ..named }).filter(|id| view.has_tablet(*id))
}
