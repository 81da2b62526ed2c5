//! GET_TABLE_STATS (1059): rows that a reader would see.

use protocol::fluss::messages::{
    GetTableStatsRequest, GetTableStatsResponse, PbTableStatsRespForBucket,
};

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
        match resolve::bucket(context.broker(), id).await {
            Ok(bucket) => answer.row_count = Some(bucket.tablet.row_count()),
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
