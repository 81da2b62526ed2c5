//! Upserts and deletes of Fluss clients as the Kafka batches that they are in a compacted topic.
//!
//! ```text
//! rows of one KV batch      a=1  b=2  delete c        sent to bucket 0, by Fluss's hash
//! Kafka batches             bucket 0: b=2 │ bucket 1: (none) │ bucket 2: a=1, c=tombstone
//! ```
//!
//! A key goes where the topic's producers would put it. Of an idempotent writer every bucket gets a
//! batch, also one without records: so the sequence has no gaps anywhere, a retry is judged by each
//! bucket for itself, and completes what was half done.
//!
//! *Invariant*: a bucket that lacks a batch of a writer takes none that follows it. So whatever
//! batch is acknowledged, all before it are in all buckets. Fluss clients rely on it: they take a
//! batch for written when a later one was acknowledged and the retry is out of order. Therefore a
//! writer that a bucket does not know begins with 0, also where the bucket is younger than the
//! writer; such a writer is refused and goes on under another id.

use bytes::Bytes;
use protocol::batch::{SourceBlock, UnassignedBatch};
use protocol::fluss::key::KeyEncoder;
use protocol::fluss::kv_batch::{KvBatch, KvBatchError};
use protocol::fluss::options::KvFormat;
use protocol::ids::{BucketId, SchemaId};
use protocol::kafka::builder::{BatchBuilder, BatchOptions};
use protocol::kafka::partitioner::KeyPartitioner;
use protocol::kafka::record::Header;
use protocol::raw::{HEADERS, KEY, TIMESTAMP, VALUE, raw_schema};
use protocol::row::{Datum, RowLayout};
use protocol::schema::DataType;
use thiserror::Error;

/// Why a batch of a Fluss client is not taken.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum InvalidUpsert {
    #[error(transparent)]
    Batch(#[from] KvBatchError),
    #[error("schema {0} is none of the table's")]
    Schema(SchemaId),
    #[error("key of record {0} is none of the table's, or is not that of its row")]
    Key(usize),
    #[error("the records for bucket {bucket} take {bytes} bytes, more than {max}")]
    TooLarge {
        bucket: i32,
        bytes: usize,
        max: usize,
    },
}

/// What upserts become Kafka records by.
#[derive(Debug, Clone)]
pub struct UpsertSpec {
    /// All schemas that clients may know. They differ in nothing but the key.
    pub schemas: Vec<SchemaId>,
    /// The newest of them: the topic got another with each change of its kind, and clients count
    /// the batches for each kind from 0.
    pub latest_schema: SchemaId,
    /// How producers choose a bucket.
    pub partitioner: KeyPartitioner,
    /// Where keys go that producers put anywhere: the bucket that the client chose.
    pub asked_bucket: i32,
    /// Buckets of the topic.
    pub bucket_count: i32,
    /// The time of records whose row has none, epoch milliseconds.
    pub now_ms: i64,
    /// Largest KV batch.
    pub bytes_max: usize,
    /// Largest Kafka batch (`max.message.bytes`).
    pub batch_bytes_max: usize,
}

/// The Kafka batch of each bucket, in the order of the buckets; none where there is nothing to
/// append.
///
/// # Errors
/// The client is wrong.
pub fn kafka_batches(
    records: Bytes,
    spec: &UpsertSpec,
) -> Result<Vec<Option<UnassignedBatch>>, InvalidUpsert> {
    let batch = KvBatch::parse(records, spec.bytes_max)?;
    let schema_id = batch.schema_id();
    if !spec.schemas.contains(&schema_id) {
        return Err(InvalidUpsert::Schema(schema_id));
    }
    let schema = raw_schema(true);
    let layout = RowLayout::of(KvFormat::Compacted, &schema);
    batch.check_rows(&layout)?;
    let key_type = &schema.columns[KEY].data_type;
    let mut buckets: Vec<Bucket> = Vec::new();
    buckets.resize_with(
        usize::try_from(spec.bucket_count).unwrap_or(0),
        Bucket::default,
    );
    let mut row = Vec::new();
    for (index, record) in batch.records().enumerate() {
        let key = raw_key(record.key, key_type).ok_or(InvalidUpsert::Key(index))?;
        let bucket = spec.partitioner.partition(key, spec.bucket_count);
        let bucket = usize::try_from(bucket.unwrap_or(spec.asked_bucket)).ok();
        let bucket = bucket.and_then(|bucket| buckets.get_mut(bucket));
        let bucket = bucket.ok_or(InvalidUpsert::Key(index))?;
        match record.row {
            None => bucket.append(spec.now_ms, key, None, &[]),
            Some(bytes) => {
                layout
                    .read(bytes, &mut row)
                    .map_err(|source| KvBatchError::Row { index, source })?;
                if row.get(KEY) != Some(&Datum::Bytes(key)) {
                    return Err(InvalidUpsert::Key(index));
                }
                bucket.append_row(spec.now_ms, key, &row);
            }
        }
    }
    let source = batch.writer().map(|(writer_id, sequence)| SourceBlock {
        producer_epoch: spec.latest_schema.value(),
        ..SourceBlock::of_fluss(writer_id, sequence, BucketId::new(spec.asked_bucket))
    });
    let finish = |(number, bucket): (i32, Bucket)| {
        if bucket.batch.is_empty() && source.is_none() {
            return Ok(None);
        }
        let batch = bucket.batch.finish_unassigned(schema_id, spec.asked_bucket);
        let (bytes, max) = (batch.bytes.len(), spec.batch_bytes_max);
        if bytes > max && batch.record_count > 0 {
            let bucket = number;
            return Err(InvalidUpsert::TooLarge { bucket, bytes, max });
        }
        Ok(Some(UnassignedBatch { source, ..batch }))
    };
    (0..).zip(buckets).map(finish).collect()
}

/// The key of a Kafka record in the key that a Fluss client encoded.
pub fn raw_key<'k>(encoded: &'k [u8], key_type: &DataType) -> Option<&'k [u8]> {
    let mut values = Vec::with_capacity(1);
    let types = std::iter::once(key_type);
    KeyEncoder::Compacted
        .decode(encoded, types, &mut values)
        .ok()?;
    match values.as_slice() {
        [Datum::Bytes(key)] => Some(key),
        _ => None,
    }
}

struct Bucket {
    batch: BatchBuilder,
}

impl Default for Bucket {
    fn default() -> Self {
        Bucket {
            batch: BatchBuilder::new(BatchOptions::default()),
        }
    }
}

impl Bucket {
    fn append(&mut self, time_ms: i64, key: &[u8], value: Option<&[u8]>, headers: &[Header<'_>]) {
        let delta = self.batch.next_offset_delta();
        let headers = headers.iter().copied();
        self.batch.append(delta, time_ms, Some(key), value, headers);
    }

    /// A row without a value is a tombstone, as its record is to Kafka consumers.
    fn append_row(&mut self, now_ms: i64, key: &[u8], row: &[Datum<'_>]) {
        let value = bytes_of(row.get(VALUE));
        let time_ms = match row.get(TIMESTAMP) {
            Some(Datum::Timestamp(time)) => time.millis,
            _ => now_ms,
        };
        let headers: Vec<Header<'_>> = match row.get(HEADERS) {
            Some(Datum::Array(headers)) => headers.iter().map(header_of).collect(),
            _ => Vec::new(),
        };
        self.append(time_ms, key, value, &headers);
    }
}

fn bytes_of<'a>(datum: Option<&Datum<'a>>) -> Option<&'a [u8]> {
    match datum {
        Some(Datum::Bytes(bytes)) => Some(bytes),
        _ => None,
    }
}

/// Kafka has no null keys: a null header, or one with a null key, has the empty key.
fn header_of<'a>(header: &Datum<'a>) -> Header<'a> {
    let fields = match header {
        Datum::Row(fields) => fields.as_slice(),
        _ => &[],
    };
    let key = match fields.first() {
        Some(Datum::String(key)) => key.as_bytes(),
        _ => &[],
    };
    Header {
        key,
        value: bytes_of(fields.get(1)),
    }
}
