//! LIMIT_SCAN (1033): the last rows of a bucket, in whole batches; clients cut them.

use std::time::Duration;

use bytes::Bytes;
use protocol::fluss::error::ErrorCode;
use protocol::fluss::messages::{LimitScanRequest, LimitScanResponse};
use protocol::fluss::records_answer::encode_limit_scan;
use protocol::ids::TabletId;
use storage::tablet::FlussRead;
use tokio::time::Instant;

use crate::fluss::error::Failure;
use crate::fluss::refusals::Refusals;
use crate::fluss::resolve;
use crate::fluss::wire::{Context, Records};
use crate::memory::Grant;

/// How long a scan waits for memory.
const MEMORY_WAIT: Duration = Duration::from_secs(5);

/// Reads the last rows. What is wrong with the bucket stands in the answer.
pub async fn handle(context: &Context, request: LimitScanRequest) -> Result<Records, Failure> {
    let id = resolve::tablet_id(request.table_id, request.partition_id, request.bucket_id);
    let (answer, records, grant) = match scan(context, id, request.limit).await {
        Ok((records, grant)) => {
            let answer = LimitScanResponse {
                is_log_table: Some(true),
                ..LimitScanResponse::default()
            };
            (answer, Some(records), grant)
        }
        Err(failure) => {
            Refusals::new(context).note(id, &failure);
            let answer = LimitScanResponse {
                error_code: Some(failure.code.code()),
                error_message: Some(failure.message),
                ..LimitScanResponse::default()
            };
            (answer, None, None)
        }
    };
    Ok(Records {
        chunks: encode_limit_scan(context.request_id, answer, records),
        grant,
    })
}

async fn scan(
    context: &Context,
    id: TabletId,
    limit: i32,
) -> Result<(Vec<Bytes>, Option<Grant>), Failure> {
    let broker = context.broker();
    let bucket = resolve::bucket(broker, id).await?;
    let watermarks = bucket.tablet.watermarks();
    let end = watermarks.last_stable.min(watermarks.high_watermark);
    let rows = (end - watermarks.log_start).min(i64::from(limit.max(0)));
    if rows <= 0 {
        return Ok((Vec::new(), None));
    }
    let bytes_max = broker.config().fetch().answer_bytes_max;
    let deadline = Instant::now() + MEMORY_WAIT;
    let memory = &broker.fetch_memory;
    let grant = memory.grant_whole(&context.fetch_share, bytes_max, deadline);
    let grant = grant.await.ok_or_else(|| {
        let text = "too many answers wait for their clients";
        Failure::new(ErrorCode::RequestTimeOut, text)
    })?;
    let read = FlussRead {
        offset: end + -rows,
        bytes_max,
        at_least_one: true,
        projection: None,
        filter: None,
    };
    let batches = bucket
        .tablet
        .read_fluss(read)
        .await
        .map_err(|error| Failure::from(&error))?;
    let grant = grant.settle(batches.chunks.iter().map(Bytes::len).sum());
    Ok((batches.chunks, Some(grant)))
}
