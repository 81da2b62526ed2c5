//! LIMIT_SCAN (1033): of a log the last rows of a bucket, in whole batches that clients cut; of a
//! primary-key table the first rows by their keys, in one batch of values.

use bytes::Bytes;
use protocol::fluss::messages::{LimitScanRequest, LimitScanResponse};
use protocol::fluss::records_answer::encode_limit_scan;
use protocol::fluss::value::ValueBatchBuilder;
use storage::tablet::FlussRead;

use crate::fluss::error::Failure;
use crate::fluss::keyed::{self, Asked, Keys};
use crate::fluss::refusals::Refusals;
use crate::fluss::resolve;
use crate::fluss::wire::{Context, Records};
use crate::memory::Grant;
use crate::tablets::OpenBucket;

/// Reads the last rows. What is wrong with the bucket stands in the answer.
pub async fn handle(context: &Context, request: LimitScanRequest) -> Result<Records, Failure> {
    let id = resolve::tablet_id(request.table_id, request.partition_id, request.bucket_id);
    let asked = Asked {
        id,
        routing_bucket_count: request.routing_bucket_count,
    };
    let (answer, records, grant) = match scan(context, asked, request.limit).await {
        Ok(found) => {
            let answer = LimitScanResponse {
                is_log_table: Some(found.is_log),
                ..LimitScanResponse::default()
            };
            (answer, Some(found.records), found.grant)
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

/// What a scan found.
struct Found {
    is_log: bool,
    records: Vec<Bytes>,
    grant: Option<Grant>,
}

async fn scan(context: &Context, asked: Asked, limit: i32) -> Result<Found, Failure> {
    let bucket = resolve::bucket(context.broker(), asked.id).await?;
    match bucket.kv.is_some() || bucket.topic.is_some() {
        false => last_of_log(context, &bucket, limit).await,
        true => first_by_key(context, asked, limit).await,
    }
}

async fn last_of_log(context: &Context, bucket: &OpenBucket, limit: i32) -> Result<Found, Failure> {
    let watermarks = bucket.tablet.watermarks();
    let end = watermarks.last_stable.min(watermarks.high_watermark);
    let rows = (end - watermarks.log_start).min(i64::from(limit.max(0)));
    if rows <= 0 {
        return Ok(Found {
            is_log: true,
            records: Vec::new(),
            grant: None,
        });
    }
    let grant = context.memory(bytes_max(context)).await?;
    let read = FlussRead {
        offset: end + -rows,
        bytes_max: grant.bytes(),
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
    Ok(Found {
        is_log: true,
        records: batches.chunks,
        grant: Some(grant),
    })
}

async fn first_by_key(context: &Context, asked: Asked, limit: i32) -> Result<Found, Failure> {
    let (_, kv) = keyed::bucket(context, asked).await?;
    let grant = context.memory(bytes_max(context)).await?;
    let limit = usize::try_from(limit).unwrap_or(0);
    let rows = match kv {
        Keys::Table(kv) => {
            let rows = kv.first_rows(limit, grant.bytes()).await;
            rows.map_err(|error| Failure::from(&error))?
        }
        Keys::Topic(topic) => topic.first_rows(limit, grant.bytes()).await?,
    };
    let mut batch = ValueBatchBuilder::new();
    for row in rows {
        batch.append(&row);
    }
    let records = batch.finish();
    let grant = grant.settle(records.len());
    Ok(Found {
        is_log: false,
        records: vec![records],
        grant: Some(grant),
    })
}

/// Most bytes of an answer.
fn bytes_max(context: &Context) -> usize {
    context.broker().config().fetch().answer_bytes_max
}
