//! Snapshots of what log tables do not have: an index, a lake.

use protocol::fluss::error::ErrorCode;
use protocol::fluss::messages::{
    GetLakeSnapshotRequest, GetLakeSnapshotResponse, GetLatestKvSnapshotsRequest,
    GetLatestKvSnapshotsResponse,
};

use crate::fluss::error::Failure;
use crate::fluss::resolve;
use crate::fluss::wire::Context;

/// GET_LATEST_KV_SNAPSHOTS (1023): there are log tables only.
pub fn latest_kv(
    context: &Context,
    request: GetLatestKvSnapshotsRequest,
) -> Result<GetLatestKvSnapshotsResponse, Failure> {
    let view = context.broker().catalog.view();
    let table = resolve::table(&view, &request.table_path)?;
    let text = format!("table {} has no primary key", table.path);
    Err(Failure::new(ErrorCode::NonPrimaryKeyTable, text))
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
