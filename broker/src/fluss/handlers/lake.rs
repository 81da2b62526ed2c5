//! Snapshots of tables in a lake.

use protocol::fluss::error::ErrorCode;
use protocol::fluss::messages::{GetLakeSnapshotRequest, GetLakeSnapshotResponse};

use crate::fluss::error::Failure;
use crate::fluss::resolve;
use crate::fluss::wire::Context;

/// GET_LAKE_SNAPSHOT (1032): nothing is written to a lake.
pub fn snapshot(
    context: &Context,
    request: GetLakeSnapshotRequest,
) -> Result<GetLakeSnapshotResponse, Failure> {
    let view = context.broker().catalog.view();
    let table = resolve::table(&view, &request.table_path)?;
    let text = format!("table {} has no lake snapshot", table.path);
    Err(Failure::new(ErrorCode::LakeSnapshotNotExist, text))
}
