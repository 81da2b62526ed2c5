//! Snapshots of the indexes of primary-key tables: which there are, what they consist of, and
//! leases that keep them. Who is told of none reads the changelog from its start.

use std::sync::Arc;
use std::time::Duration;

use protocol::fluss::error::ErrorCode;
use protocol::fluss::messages::{
    AcquireKvSnapshotLeaseRequest, AcquireKvSnapshotLeaseResponse, DropKvSnapshotLeaseRequest,
    DropKvSnapshotLeaseResponse, GetKvSnapshotMetadataRequest, GetKvSnapshotMetadataResponse,
    GetLatestKvSnapshotsRequest, GetLatestKvSnapshotsResponse, ListKvSnapshotsRequest,
    ListKvSnapshotsResponse, PbKvSnapshot, PbKvSnapshotLeaseForBucket, PbKvSnapshotLeaseForTable,
    PbRemotePathAndLocalFile, ReleaseKvSnapshotLeaseRequest, ReleaseKvSnapshotLeaseResponse,
};
use protocol::fluss::options::TableConfig;
use protocol::ids::{TableId, TablePartitionId, TabletId};
use storage::catalog::{CatalogView, SnapshotEntry, Table, TableKind};
use tiering::kv_snapshot::{KvSnapshots, LeaseError, ReadSnapshotError};
use tiering::remote::GetError;

use crate::config::Announce;
use crate::fluss::error::Failure;
use crate::fluss::resolve;
use crate::fluss::wire::Context;

/// The layout of values that clients know from version 1 of GET_KV_SNAPSHOT_METADATA on.
const TAGGED_VALUES: i32 = 2;

/// GET_LATEST_KV_SNAPSHOTS (1023): one entry for each bucket of a table or partition.
pub fn latest(
    context: &Context,
    request: GetLatestKvSnapshotsRequest,
) -> Result<GetLatestKvSnapshotsResponse, Failure> {
    let view = context.broker().catalog.view();
    let table = resolve::table(&view, &request.table_path)?;
    check_keyed(table)?;
    let partition = match (request.partition_name, table.is_partitioned()) {
        (None, false) => None,
        (Some(name), true) => match view.partition_by_name(table.id, &name) {
            Some(partition) => Some(partition.id),
            None => return Err(resolve::no_partition(&table.path, &name)),
        },
        (Some(_), false) => {
            let text = format!("table {} is not partitioned", table.path);
            return Err(Failure::new(ErrorCode::TableNotPartitioned, text));
        }
        (None, true) => {
            let text = format!(
                "table {} is partitioned, and no partition is named",
                table.path
            );
            return Err(Failure::new(ErrorCode::PartitionNotExists, text));
        }
    };
    let latest_snapshots = tablets(&view, table, partition)
        .map(|id| {
            let newest = announced(context, id);
            PbKvSnapshot {
                bucket_id: id.bucket.value(),
                snapshot_id: newest.as_ref().map(|snapshot| snapshot.id),
                log_offset: newest.map(|snapshot| snapshot.log_offset.value()),
            }
        })
        .collect();
    Ok(GetLatestKvSnapshotsResponse {
        // As GET_TABLE_INFO tells it: readers compare the two.
        table_id: table.fluss_id.value(),
        partition_id: partition.map(TablePartitionId::value),
        latest_snapshots,
    })
}

/// The newest snapshot of a bucket, when this client is to know.
fn announced(context: &Context, id: TabletId) -> Option<SnapshotEntry> {
    let broker = context.broker();
    match broker.config().announce_snapshots() {
        Announce::All => {}
        Announce::Local if context.peer.address.ip().to_canonical().is_loopback() => {}
        Announce::Local | Announce::None => return None,
    }
    let newest = broker.snapshots.newest(id)?;
    // The changelog is read on from there.
    let readable = broker.tablets.get_open(id).is_none_or(|bucket| {
        let ends = bucket.tablet.log().log().watermarks();
        (ends.log_start..=ends.log_end).contains(&newest.log_offset)
    });
    readable.then_some(newest)
}

/// GET_KV_SNAPSHOT_METADATA (1024): the files of a snapshot.
pub async fn metadata(
    context: &Context,
    request: GetKvSnapshotMetadataRequest,
) -> Result<GetKvSnapshotMetadataResponse, Failure> {
    let id = resolve::tablet_id(request.table_id, request.partition_id, request.bucket_id);
    let broker = context.broker();
    if let Some(table) = broker.catalog.view().table_of_fluss(id.table) {
        check_layout(context.version, table)?;
    }
    let snapshot = broker.snapshots.read(id, request.snapshot_id).await;
    let snapshot = snapshot.map_err(|error| Failure::from(&error))?;
    let snapshot_files = snapshot.files().map(|file| PbRemotePathAndLocalFile {
        remote_path: broker.snapshots.uri_of(&file.object),
        local_file_name: file.name.clone(),
    });
    Ok(GetKvSnapshotMetadataResponse {
        log_offset: snapshot.log_offset.value(),
        snapshot_files: snapshot_files.collect(),
    })
}

/// LIST_KV_SNAPSHOTS (1064): all that there are, of a table or partition.
pub fn list(
    context: &Context,
    request: ListKvSnapshotsRequest,
) -> Result<ListKvSnapshotsResponse, Failure> {
    let view = context.broker().catalog.view();
    let table = keyed_table(&view, request.table_id)?;
    let partition = request.partition_id.map(TablePartitionId::new);
    if partition.is_some_and(|id| view.partition(id).is_none_or(|p| p.table != table.id)) {
        let text = format!("table {} has no such partition", table.path);
        return Err(Failure::new(ErrorCode::PartitionNotExists, text));
    }
    let snapshots = &context.broker().snapshots;
    let active = tablets(&view, table, partition).flat_map(|id| {
        snapshots
            .all(id)
            .into_iter()
            .map(move |snapshot| PbKvSnapshot {
                bucket_id: id.bucket.value(),
                snapshot_id: Some(snapshot.id),
                log_offset: Some(snapshot.log_offset.value()),
            })
    });
    Ok(ListKvSnapshotsResponse {
        table_id: request.table_id,
        partition_id: request.partition_id,
        active_snapshots: active.collect(),
    })
}

/// ACQUIRE_KV_SNAPSHOT_LEASE (1056): snapshots that a client is about to read; without any, the
/// lease is prolonged.
pub async fn acquire(
    context: &Context,
    request: AcquireKvSnapshotLeaseRequest,
) -> Result<AcquireKvSnapshotLeaseResponse, Failure> {
    let asked = &request.snapshots_to_lease;
    resolve::check_bucket_count(asked.iter().map(|table| table.bucket_snapshots.len()).sum())?;
    let view = context.broker().catalog.view();
    let mut wanted = Vec::new();
    for table in asked {
        keyed_table(&view, table.table_id)?;
        wanted.extend(table.bucket_snapshots.iter().map(|bucket| {
            let (partition, number) = (bucket.partition_id, bucket.bucket_id);
            let id = resolve::tablet_id(table.table_id, partition, number);
            (id, bucket.snapshot_id)
        }));
    }
    let duration_ms = u64::try_from(request.lease_duration_ms).unwrap_or_default();
    let duration = Duration::from_millis(duration_ms);
    let gone = finished(context, move |snapshots| async move {
        snapshots
            .acquire(&request.lease_id, duration, &wanted)
            .await
    });
    let gone = gone.await?;
    Ok(AcquireKvSnapshotLeaseResponse {
        unavailable_snapshots: by_table(gone),
    })
}

fn by_table(mut snapshots: Vec<(TabletId, i64)>) -> Vec<PbKvSnapshotLeaseForTable> {
    snapshots.sort_unstable();
    let tables = snapshots.chunk_by(|(one, _), (other, _)| one.table == other.table);
    let tables = tables.map(|snapshots| {
        let buckets = snapshots
            .iter()
            .map(|(id, snapshot)| PbKvSnapshotLeaseForBucket {
                partition_id: id.table_partition.map(TablePartitionId::value),
                bucket_id: id.bucket.value(),
                snapshot_id: *snapshot,
            });
        PbKvSnapshotLeaseForTable {
            table_id: snapshots.first().map_or(-1, |(id, _)| id.table.value()),
            bucket_snapshots: buckets.collect(),
        }
    });
    tables.collect()
}

/// RELEASE_KV_SNAPSHOT_LEASE (1057): buckets whose snapshots were read. A table may be gone by then.
pub async fn release(
    context: &Context,
    request: ReleaseKvSnapshotLeaseRequest,
) -> Result<ReleaseKvSnapshotLeaseResponse, Failure> {
    let buckets = request.buckets_to_release;
    resolve::check_bucket_count(buckets.len())?;
    let ids: Vec<_> = buckets
        .iter()
        .map(|bucket| resolve::tablet_id(bucket.table_id, bucket.partition_id, bucket.bucket_id))
        .collect();
    let released = finished(context, move |snapshots| async move {
        snapshots.release(&request.lease_id, &ids).await
    });
    released.await.map(|()| ReleaseKvSnapshotLeaseResponse {})
}

/// DROP_KV_SNAPSHOT_LEASE (1058).
pub async fn drop_lease(
    context: &Context,
    request: DropKvSnapshotLeaseRequest,
) -> Result<DropKvSnapshotLeaseResponse, Failure> {
    let dropped = finished(context, move |snapshots| async move {
        snapshots.drop_lease(&request.lease_id).await
    });
    dropped.await.map(|()| DropKvSnapshotLeaseResponse {})
}

/// Runs a change of leases to its end, also when the client goes away meanwhile.
async fn finished<T, F>(
    context: &Context,
    change: impl FnOnce(Arc<KvSnapshots>) -> F + Send + 'static,
) -> Result<T, Failure>
where
    T: Send + 'static,
    F: Future<Output = Result<T, LeaseError>> + Send + 'static,
{
    let snapshots = Arc::clone(&context.broker().snapshots);
    let change = tokio::spawn(async move { change(snapshots).await });
    match change.await {
        Ok(result) => result.map_err(|error| Failure::from(&error)),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Failure::new(
            ErrorCode::UnknownServerError,
            "the server stops",
        )),
    }
}

fn keyed_table(view: &CatalogView, id: i64) -> Result<&Table, Failure> {
    let table = view
        .table_of_fluss(TableId::new(id))
        .ok_or_else(|| Failure::new(ErrorCode::TableNotExist, format!("there is no table {id}")))?;
    check_keyed(table)?;
    Ok(table)
}

fn check_keyed(table: &Table) -> Result<(), Failure> {
    match table.kind {
        TableKind::PrimaryKey => Ok(()),
        TableKind::Log => {
            let text = format!("table {} has no primary key", table.path);
            Err(Failure::new(ErrorCode::NonPrimaryKeyTable, text))
        }
    }
}

/// Values with a tag in front of them would be read wrongly by a client that does not know them.
fn check_layout(version: i16, table: &Table) -> Result<(), Failure> {
    let config = TableConfig::parse(&table.properties);
    let layout = config.map(|config| config.kv_value_layout_version);
    if version > 0 || layout != Ok(Some(TAGGED_VALUES)) {
        return Ok(());
    }
    let text = format!(
        "table {} has values of layout version {TAGGED_VALUES}, which the client is too old for",
        table.path
    );
    Err(Failure::new(ErrorCode::UnsupportedVersion, text))
}

fn tablets(
    view: &CatalogView,
    table: &Table,
    partition: Option<TablePartitionId>,
) -> impl Iterator<Item = TabletId> {
    let count = match partition.and_then(|id| view.partition(id)) {
        Some(partition) => partition.bucket_count,
        None => table.bucket_count,
    };
    let table = table.id.value();
    let partition = partition.map(TablePartitionId::value);
    // Bucket ids are i32 on both wires, and counts are checked when tables are made.
    let count = i32::try_from(count).unwrap_or(i32::MAX);
    (0..count).map(move |bucket| resolve::tablet_id(table, partition, bucket))
}

impl From<&ReadSnapshotError> for Failure {
    fn from(error: &ReadSnapshotError) -> Self {
        let code = match error {
            ReadSnapshotError::NotExist { .. }
            | ReadSnapshotError::Get(GetError::NotFound(_) | GetError::Range { .. })
            | ReadSnapshotError::TooLarge { .. }
            | ReadSnapshotError::Invalid { .. }
            | ReadSnapshotError::Folder(_) => ErrorCode::KvSnapshotNotExist,
            ReadSnapshotError::Get(GetError::Remote(_)) => ErrorCode::Storage,
        };
        Failure::new(code, error.to_string())
    }
}

impl From<&LeaseError> for Failure {
    fn from(error: &LeaseError) -> Self {
        let code = match error {
            LeaseError::Write(_) => ErrorCode::Storage,
            // Fluss has no limits, and no codes for them.
            LeaseError::Id(_) | LeaseError::TooMany => ErrorCode::UnknownServerError,
        };
        Failure::new(code, error.to_string())
    }
}
