//! PRODUCE_LOG (1014). The first stage validates the batches and queues them, so that requests of
//! one connection are appended in their order; the second waits for what `acks` asks for. Each
//! bucket succeeds or fails for itself.

use std::sync::Arc;

use bytes::Bytes;
use protocol::batch::{BatchFormat, UnassignedBatch};
use protocol::fluss::batch::{InvalidBatch, Limits, ValidateContext, Validator};
use protocol::fluss::error::ErrorCode;
use protocol::fluss::messages::{PbProduceLogRespForBucket, ProduceLogRequest, ProduceLogResponse};
use protocol::fluss::options::LogFormat;
use protocol::ids::{BucketId, SchemaId, TablePartitionId, TabletId};
use protocol::raw;
use storage::catalog::{Origin, TableKind};
use storage::log::{Append, AppendTicket, Until};
use storage::tablet::TableShape;
use tokio::time::Instant;

use crate::fluss::acks;
use crate::fluss::error::Failure;
use crate::fluss::refusals::Refusals;
use crate::fluss::resolve;
use crate::fluss::wire::Context;
use crate::memory::{Unpacked, Unpacking};
use crate::tablets::OpenBucket;

/// Batches above this size are validated off the connection threads: below it, handing them over
/// costs more than the work.
const INLINE_BYTES_MAX: usize = 32 << 10;

/// A produce request whose batches are queued.
pub struct Queued {
    until: Until,
    deadline: Instant,
    buckets: Vec<Bucket>,
}

struct Bucket {
    id: TabletId,
    outcome: Result<AppendTicket, Failure>,
}

/// Validates and queues all batches of a request.
pub async fn start(context: &Context, request: ProduceLogRequest) -> Result<Queued, Failure> {
    let until = acks::until(request.acks)?;
    resolve::check_bucket_count(request.buckets_req.len())?;
    let mut queued = Queued {
        until,
        deadline: acks::deadline(request.timeout_ms),
        buckets: Vec::with_capacity(request.buckets_req.len()),
    };
    for asked in request.buckets_req {
        let id = resolve::tablet_id(request.table_id, asked.partition_id, asked.bucket_id);
        let outcome = queue(context, id, asked.records, until).await;
        queued.buckets.push(Bucket { id, outcome });
    }
    Ok(queued)
}

async fn queue(
    context: &Context,
    id: TabletId,
    records: Bytes,
    until: Until,
) -> Result<AppendTicket, Failure> {
    let bucket = resolve::bucket(context.broker(), id).await?;
    check_writable(&bucket)?;
    acks::check_replicas(&bucket, until)?;
    let unpacking = &context.broker().unpacking;
    let batches = validated(unpacking, bucket.tablet.shape(), id.bucket, records).await;
    let batches = batches.map_err(|error| Failure::from(&error))?;
    if batches.is_empty() {
        return Err(Failure::new(ErrorCode::CorruptRecord, "no record batch"));
    }
    let append = Append {
        batches,
        expected_epoch: None,
        stamp_log_append_time: false,
    };
    Ok(bucket.tablet.append(append, until))
}

fn check_writable(bucket: &OpenBucket) -> Result<(), Failure> {
    let table = &bucket.table;
    let refuse = |reason: &str| {
        Err(Failure::new(
            ErrorCode::InvalidTable,
            format!("table {} {reason}", table.path),
        ))
    };
    match (table.origin, table.kind) {
        (Origin::Internal, _) => refuse("belongs to the broker and is only read"),
        (_, TableKind::PrimaryKey) => refuse("has a primary key: rows are put, not appended"),
        (Origin::Kafka | Origin::Fluss, TableKind::Log) => Ok(()),
    }
}

/// Validates all batches of a bucket; such that are large, or are when they are decompressed, where
/// they hold up nobody else.
async fn validated(
    unpacking: &Unpacking,
    shape: Arc<TableShape>,
    bucket: BucketId,
    records: Bytes,
) -> Result<Vec<UnassignedBatch>, InvalidBatch> {
    let inline = records.len() <= INLINE_BYTES_MAX;
    let most = Limits::default().decoded_bytes_max;
    let check = move |limit| match validate(&shape, bucket, records.clone(), limit) {
        Err(error) if error.is_beyond_decoded_limit() => Unpacked::TooLittle(Err(error)),
        done => Unpacked::Done(done),
    };
    unpacking.check(inline, most, check).await
}

fn validate(
    shape: &TableShape,
    bucket: BucketId,
    records: Bytes,
    decoded_bytes_max: usize,
) -> Result<Vec<UnassignedBatch>, InvalidBatch> {
    let context = ValidateContext {
        format: match shape.log_format {
            LogFormat::Arrow => BatchFormat::FlussArrow,
            LogFormat::Indexed => BatchFormat::FlussIndexed,
            LogFormat::Compacted => BatchFormat::FlussCompacted,
        },
        bucket,
        append_only: true,
        record_time_column: shape.raw.then_some(raw::TIMESTAMP),
        limits: Limits {
            decoded_bytes_max,
            ..Limits::default()
        },
    };
    let schemas = |id: SchemaId| shape.schema(id).cloned();
    Validator::new().validate_all(records, &context, &schemas)
}

impl Queued {
    /// Waits for the logs and builds the answer.
    pub async fn answer(self, context: &Context) -> ProduceLogResponse {
        let mut refusals = Refusals::new(context);
        let mut buckets_resp = Vec::with_capacity(self.buckets.len());
        for bucket in self.buckets {
            let answer = PbProduceLogRespForBucket {
                partition_id: bucket.id.table_partition.map(TablePartitionId::value),
                bucket_id: bucket.id.bucket.value(),
                ..PbProduceLogRespForBucket::default()
            };
            let written = match bucket.outcome {
                Ok(ticket) => written(ticket, self.until, self.deadline).await,
                Err(failure) => Err(failure),
            };
            buckets_resp.push(match written {
                Ok(base_offset) => PbProduceLogRespForBucket {
                    base_offset: Some(base_offset),
                    ..answer
                },
                Err(failure) => {
                    refusals.note(bucket.id, &failure);
                    PbProduceLogRespForBucket {
                        error_code: Some(failure.code.code()),
                        error_message: Some(failure.message),
                        ..answer
                    }
                }
            });
        }
        ProduceLogResponse { buckets_resp }
    }
}

/// The base offset of what was written. Only a write that must be durable has a time limit: the
/// others wait for one write call.
async fn written(ticket: AppendTicket, until: Until, deadline: Instant) -> Result<i64, Failure> {
    let answered = match until {
        Until::Durable => tokio::time::timeout_at(deadline, ticket)
            .await
            .map_err(|_| Failure::new(ErrorCode::RequestTimeOut, "the write is not yet durable"))?,
        Until::Appended => ticket.await,
    };
    match answered {
        Ok(Ok(appended)) => Ok(appended.base_offset.value()),
        Ok(Err(error)) => Err(Failure::from(&error)),
        // The log's thread is gone: the broker stops.
        Err(_) => Err(Failure::new(
            ErrorCode::NotLeaderOrFollower,
            "the server stops",
        )),
    }
}
