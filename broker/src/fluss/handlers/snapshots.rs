//! Snapshots: of an index, which none is taken of yet, and of a lake, which nothing is written to.

use protocol::fluss::error::ErrorCode;
use protocol::fluss::messages::{
    GetLakeSnapshotRequest, GetLakeSnapshotResponse, GetLatestKvSnapshotsRequest,
    GetLatestKvSnapshotsResponse, PbKvSnapshot,
};
use storage::catalog::TableKind;

use crate::fluss::error::Failure;
use crate::fluss::resolve;
use crate::fluss::wire::Context;

/// GET_LATEST_KV_SNAPSHOTS (1023): none is taken of an index yet, so that its readers begin at the
/// start of the changelog.
pub fn latest_kv(
    context: &Context,
    request: GetLatestKvSnapshotsRequest,
) -> Result<GetLatestKvSnapshotsResponse, Failure> {
    let view = context.broker().catalog.view();
    let table = resolve::table(&view, &request.table_path)?;
    if table.kind == TableKind::Log {
        let text = format!("table {} has no primary key", table.path);
        return Err(Failure::new(ErrorCode::NonPrimaryKeyTable, text));
    }
    let (partition_id, bucket_count) = match request.partition_name.as_deref() {
        None => (None, table.bucket_count),
        Some(name) => {
            let partition = view
                .partition_by_name(table.id, name)
                .ok_or_else(|| resolve::no_partition(&table.path, name))?;
            (Some(partition.id.value()), partition.bucket_count)
        }
    };
    let bucket = |bucket: u32| PbKvSnapshot {
        bucket_id: i32::try_from(bucket).unwrap_or(i32::MAX),
        snapshot_id: None,
        log_offset: None,
    };
    Ok(GetLatestKvSnapshotsResponse {
        table_id: table.id.value(),
        partition_id,
        latest_snapshots: (0..bucket_count).map(bucket).collect(),
    })
}

/// GET_LAKE_SNAPSHOT (1032): nothing is written to a lake.
pub fn lake(
    context: &Context,
    request: GetLakeSnapshotRequest,
) -> Result<GetLakeSnapshotResponse, Failure> {
    let view = context.broker().catalog.view();
    let table = resolve::table(&view, &request.table_path)?;
    let text = format!("table {} has no lake snapshot", table.path);
    Err(Failure::new(ErrorCode::LakeSnapshotNotExist, text))
}
