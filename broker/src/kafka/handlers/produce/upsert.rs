//! Batches for a primary-key table: its rows are in several buckets, so the answer has no offset.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use protocol::batch::SourceBlock;
use protocol::kafka::compression::DecompressError;
use protocol::kafka::validate::{self, InvalidBatch, Scratch, ValidateConfig};
use storage::catalog::Topic;
use storage::kv::merge::MergeMode;
use storage::kv::tablet::InvalidPut;
use tokio::time::Instant;

use super::{DECOMPRESSED_BYTES_MAX, INLINE_BYTES_MAX, Refusal, refuse_batch, until};
use crate::kafka::error;
use crate::kafka::upserts::{LineError, Part, SplitError, Spread, Ticket};
use crate::kafka::wire::Context;
use crate::memory::Unpacked;
use crate::tablets::OpenBucket;

/// A batch as rows of its table's buckets.
struct Rebucketed {
    source: Option<SourceBlock>,
    parts: Vec<Part>,
}

/// Why a batch is refused. Nothing of it was written.
enum Invalid {
    Batch(InvalidBatch),
    Split(SplitError),
    Put(InvalidPut),
    Transactional,
}

/// Makes rows of a batch and queues them for their buckets.
pub(super) async fn queue(
    context: &Context,
    topic: &Topic,
    records: Bytes,
    config: ValidateConfig,
    partial: bool,
    acks: i16,
) -> Result<Ticket, Refusal> {
    let spread = Spread::new(topic, partial).map_err(|error| {
        let text = format!(
            "table {} takes no records from Kafka producers: {error}",
            topic.table.path
        );
        Refusal::new(ResponseError::InvalidRecord, text)
    })?;
    let broker = context.broker();
    let mut buckets = Vec::with_capacity(topic.bucket_count() as usize);
    for id in topic.tablets() {
        let bucket = match broker.tablets.get_open(id) {
            Some(bucket) => bucket,
            None => broker
                .tablets
                .get(id)
                .await
                .map_err(|e| error::of_tablet(&e))?,
        };
        buckets.push(bucket);
    }
    let inline = records.len() <= INLINE_BYTES_MAX;
    let all = buckets.clone();
    let check = move |limit| match rows(&spread, &all, records.clone(), &config, limit) {
        Err(invalid) if invalid.is_too_large() => Unpacked::TooLittle(Err(invalid)),
        done => Unpacked::Done(done),
    };
    let unpacking = &broker.unpacking;
    let checked = unpacking.check(inline, DECOMPRESSED_BYTES_MAX, check).await;
    let Rebucketed { source, parts } = checked.map_err(Refusal::from)?;
    let records: usize = parts.iter().map(|part| part.put.len()).sum();
    metrics::counter!("vltava_kv_put_records_total").increment(records as u64);
    metrics::counter!("vltava_upsert_records_total").increment(records as u64);
    metrics::counter!("vltava_upsert_parts_total").increment(parts.len() as u64);
    let now_ms = broker.env.clock.wall_ms();
    Ok(broker
        .upserts
        .put(source, buckets, parts, until(acks), now_ms))
}

fn rows(
    spread: &Spread,
    buckets: &[Arc<OpenBucket>],
    records: Bytes,
    config: &ValidateConfig,
    limit: usize,
) -> Result<Rebucketed, Invalid> {
    let config = ValidateConfig {
        max_decompressed_bytes: limit,
        // Nothing of the batch is kept.
        compression: None,
        ..*config
    };
    let batch = validate::validate(records.clone(), &config).map_err(Invalid::Batch)?;
    if batch.transactional {
        return Err(Invalid::Transactional);
    }
    let mut scratch = Scratch::new();
    let rows = spread.split(&records, limit, &mut scratch);
    let mut parts = Vec::new();
    for rows in rows.map_err(Invalid::Split)? {
        let bucket = usize::try_from(rows.bucket).ok();
        let bucket = bucket.and_then(|at| buckets.get(at)?.kv.clone());
        // The hash is taken modulo the number of buckets, which all have keys.
        let kv = bucket.expect("a row is in a bucket of its table");
        let put = kv.check(rows.records, &rows.targets, MergeMode::Engine);
        parts.push(Part {
            put: put.map_err(Invalid::Put)?,
            kv,
            first: rows.first,
            last: rows.last,
        });
    }
    Ok(Rebucketed {
        source: batch.source,
        parts,
    })
}

impl Invalid {
    fn is_too_large(&self) -> bool {
        let too_large = |error: &InvalidBatch| {
            matches!(
                error,
                InvalidBatch::Decompress(DecompressError::TooLarge { .. })
            )
        };
        match self {
            Invalid::Batch(error) | Invalid::Split(SplitError::Batch(error)) => too_large(error),
            Invalid::Split(SplitError::TooLarge(_)) => true,
            _ => false,
        }
    }
}

impl From<Invalid> for Refusal {
    fn from(invalid: Invalid) -> Refusal {
        match invalid {
            Invalid::Batch(error) | Invalid::Split(SplitError::Batch(error)) => refuse_batch(error),
            Invalid::Split(SplitError::TooLarge(bytes)) => Refusal::new(
                ResponseError::MessageTooLarge,
                SplitError::TooLarge(bytes).to_string(),
            ),
            Invalid::Split(error) => {
                let message = error.to_string();
                let record_errors = match error {
                    SplitError::Records { errors, .. } => errors,
                    _ => Vec::new(),
                };
                Refusal::new(ResponseError::InvalidRecord, message).of_records(record_errors)
            }
            Invalid::Put(error) => Refusal::new(error::of_invalid_put(&error), error.to_string()),
            Invalid::Transactional => Refusal::new(
                ResponseError::InvalidTxnState,
                "transactions cannot write to primary-key tables",
            ),
        }
    }
}

/// Waits for all buckets.
pub(super) async fn written(ticket: Ticket, deadline: Instant) -> Result<(), Refusal> {
    let failed = match tokio::time::timeout_at(deadline, ticket.answer()).await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(failed)) => failed,
        Err(_) => return Err(ResponseError::RequestTimedOut.into()),
    };
    let outcome = match &failed {
        LineError::Sequence(_) => "sequence",
        LineError::Refused(_) => "refused",
        LineError::Partly(_) => "partly",
    };
    metrics::counter!("vltava_upsert_failures_total", "outcome" => outcome).increment(1);
    let refusal = Refusal::new(error::of_line(&failed), failed.to_string());
    Err(match &failed {
        LineError::Partly(cause) => refusal.passing_as(error::of_kv(cause)),
        LineError::Sequence(_) | LineError::Refused(_) => refusal,
    })
}
