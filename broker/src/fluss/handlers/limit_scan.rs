//! LIMIT_SCAN (1033): the last rows of a bucket, in whole batches; clients cut them.

use bytes::Bytes;
use protocol::fluss::frame::FrameTooLong;
use protocol::fluss::messages::{LimitScanRequest, LimitScanResponse};
use protocol::fluss::records_answer::encode_limit_scan;
use protocol::ids::TabletId;
use storage::tablet::FlussRead;

use crate::fluss::error::Failure;
use crate::fluss::refusals::Refusals;
use crate::fluss::resolve;
use crate::fluss::wire::Context;

/// Reads the last rows. What is wrong with the bucket stands in the answer.
pub async fn handle(
    context: &Context,
    request: LimitScanRequest,
) -> Result<Result<Vec<Bytes>, FrameTooLong>, Failure> {
    let id = resolve::tablet_id(request.table_id, request.partition_id, request.bucket_id);
    let (answer, records) = match scan(context, id, request.limit).await {
        Ok(records) => {
            let answer = LimitScanResponse {
                is_log_table: Some(true),
                ..LimitScanResponse::default()
            };
            (answer, Some(records))
        }
        Err(failure) => {
            Refusals::new(context).note(id, &failure);
            let answer = LimitScanResponse {
                error_code: Some(failure.code.code()),
                error_message: Some(failure.message),
                ..LimitScanResponse::default()
            };
            (answer, None)
        }
    };
    Ok(encode_limit_scan(context.request_id, answer, records))
}

async fn scan(context: &Context, id: TabletId, limit: i32) -> Result<Vec<Bytes>, Failure> {
    let broker = context.broker();
    let bucket = resolve::bucket(broker, id).await?;
    let watermarks = bucket.tablet.watermarks();
    let end = watermarks.last_stable.min(watermarks.high_watermark);
    let rows = (end - watermarks.log_start).min(i64::from(limit.max(0)));
    if rows <= 0 {
        return Ok(Vec::new());
    }
    let read = FlussRead {
        offset: end + -rows,
        bytes_max: broker.config().fetch().answer_bytes_max,
        at_least_one: true,
        projection: None,
        filter: None,
    };
    let batches = bucket
        .tablet
        .read_fluss(read)
        .await
        .map_err(|error| Failure::from(&error))?;
    Ok(batches.chunks)
}
