//! GET_TABLE_STATS (1059): rows that a reader would see.

use protocol::fluss::error::ErrorCode;
use protocol::fluss::messages::{
    GetTableStatsRequest, GetTableStatsResponse, PbTableStatsRespForBucket,
};
use protocol::ids::TabletId;

use crate::fluss::error::Failure;
use crate::fluss::refusals::Refusals;
use crate::fluss::resolve;
use crate::fluss::wire::Context;

/// Counts the rows of the asked buckets.
pub async fn handle(
    context: &Context,
    request: GetTableStatsRequest,
) -> Result<GetTableStatsResponse, Failure> {
    resolve::check_bucket_count(request.buckets_req.len())?;
    let mut refusals = Refusals::new(context);
    let mut buckets_resp = Vec::with_capacity(request.buckets_req.len());
    for asked in request.buckets_req {
        let id = resolve::tablet_id(request.table_id, asked.partition_id, asked.bucket_id);
        let mut answer = PbTableStatsRespForBucket {
            partition_id: asked.partition_id,
            bucket_id: asked.bucket_id,
            ..PbTableStatsRespForBucket::default()
        };
        match row_count(context, id).await {
            Ok(rows) => answer.row_count = Some(rows),
            Err(failure) => {
                refusals.note(id, &failure);
                answer.error_code = Some(failure.code.code());
                answer.error_message = Some(failure.message);
            }
        }
        buckets_resp.push(answer);
    }
    Ok(GetTableStatsResponse { buckets_resp })
}

async fn row_count(context: &Context, id: TabletId) -> Result<i64, Failure> {
    let bucket = resolve::bucket(context.broker(), id).await?;
    let counted = match (&bucket.kv, &bucket.topic) {
        (None, None) => return Ok(bucket.tablet.row_count()),
        (None, Some(_)) => Ok(None),
        (Some(kv), _) => kv.row_count().await,
    };
    counted
        .map_err(|error| Failure::from(&error))?
        .ok_or_else(|| {
            let text = format!(
                "rows of table {} are not counted, as its changelog image is WAL",
                bucket.table.path
            );
            Failure::new(ErrorCode::InvalidTable, text)
        })
}
