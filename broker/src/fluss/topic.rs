//! Compacted topics as Fluss clients see them: tables with a key whose rows Kafka producers wrote.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::batch::UnassignedBatch;
use protocol::fluss::error::ErrorCode;
use protocol::fluss::kv_batch::KvBatchError;
use protocol::fluss::value::ValueLayout;
use protocol::ids::{BucketId, TabletId};
use protocol::kafka::partitioner::KeyPartitioner;
use protocol::raw::KEY;
use storage::kv::scan::{Scan, first_rows};
use storage::kv::topic::{
    InvalidUpsert, Owner, TopicIndexError, TopicTable, UpsertSpec, kafka_batches, raw_key,
};
use storage::log::{Append, AppendError, AppendTicket, Until};
use tokio::time::Instant;

use super::error::Failure;
use crate::broker::Broker;
use crate::config::{KEY_PARTITIONER, TimestampType};
use crate::tablets::OpenBucket;

/// How long a request waits for indexes that are behind their logs, as after a crash. They go on
/// meanwhile, and a later try finds them further.
const FOLLOW_WAIT: Duration = Duration::from_secs(20);

/// Larger batches of upserts are converted where they hold up nobody else.
const INLINE_BYTES_MAX: usize = 32 << 10;

/// One bucket of a compacted topic, and the others in which its keys may be.
pub struct TopicKeys {
    bucket: Arc<OpenBucket>,
    /// All buckets in their order.
    buckets: Vec<Arc<OpenBucket>>,
    table: TopicTable,
}

impl TopicKeys {
    /// The keys of a bucket. Opens the others.
    pub async fn open(broker: &Broker, bucket: Arc<OpenBucket>) -> Result<TopicKeys, Failure> {
        let id = bucket.tablet.log().log().id();
        let count = i32::try_from(bucket.table.bucket_count).unwrap_or(i32::MAX);
        let mut buckets = Vec::new();
        let mut indexes = Vec::new();
        for number in 0..count {
            let id = TabletId {
                bucket: BucketId::new(number),
                ..id
            };
            let other = broker.tablets.get(id).await;
            let other = other.map_err(|error| Failure::from(&error))?;
            // The topic is being changed.
            let index = other.topic.clone().ok_or_else(changed)?;
            if other.table.fluss_id != bucket.table.fluss_id {
                return Err(changed());
            }
            indexes.push(index);
            buckets.push(other);
        }
        let table = TopicTable::new(indexes, bucket.settings.key_owner);
        Ok(TopicKeys {
            bucket,
            buckets,
            table,
        })
    }

    fn number(&self) -> i32 {
        self.bucket.tablet.log().log().id().bucket.value()
    }

    fn place(&self) -> usize {
        usize::try_from(self.number()).unwrap_or(usize::MAX)
    }

    /// The values of keys in their order; none where they take more than `bytes_max`. The client's
    /// hash chose the bucket, which says nothing.
    pub async fn lookup(
        &self,
        keys: &[Bytes],
        bytes_max: usize,
    ) -> Result<Option<Vec<Option<Bytes>>>, Failure> {
        let schema = &self.bucket.table.schema().schema;
        let key_type = &schema.columns[KEY].data_type;
        let raw = |(index, encoded): (usize, &Bytes)| {
            let key = raw_key(encoded, key_type).ok_or_else(|| {
                let text = format!("key {index} is none of table {}", self.bucket.table.path);
                Failure::new(ErrorCode::CorruptRecord, text)
            })?;
            Ok(encoded.slice_ref(key))
        };
        let keys = keys.iter().enumerate().map(raw);
        let keys = keys.collect::<Result<Vec<_>, Failure>>()?;
        let fitting = async {
            match self.table.lookup(keys, bytes_max).await {
                Ok(values) => Ok(Some(values)),
                Err(TopicIndexError::AnswerTooLarge { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        };
        in_time(fitting).await
    }

    /// The first rows of the bucket by their keys, as [`first_rows`] finds them.
    pub async fn first_rows<E: Send + 'static>(
        &self,
        rows_max: usize,
        bytes_max: usize,
        grow: impl FnMut(usize) -> Result<usize, E> + Send + 'static,
    ) -> Result<Result<Bytes, E>, Failure> {
        let rows = in_time(self.table.rows(self.place())).await?;
        let scan = move || first_rows(&rows, ValueLayout::Plain, rows_max, bytes_max, grow);
        match tokio::task::spawn_blocking(scan).await {
            Ok(found) => found.map_err(|error| Failure::from(&TopicIndexError::Index(error))),
            // The runtime is going down.
            Err(_) => Err(Failure::from(&TopicIndexError::Closed)),
        }
    }

    /// A scan of the bucket's rows.
    pub async fn scan(&self, rows_max: u64, held: impl Send + 'static) -> Result<Scan, Failure> {
        let rows = in_time(self.table.rows(self.place())).await?;
        let scan = Scan::open(Arc::new(rows), ValueLayout::Plain, rows_max, held).await;
        scan.map_err(|error| Failure::from(&error))
    }

    /// That rows cannot be looked up by a part of the key.
    pub fn no_prefix(&self) -> Failure {
        let text = format!(
            "table {} has one key column: there is no prefix of its key to look up by",
            self.bucket.table.path
        );
        Failure::new(ErrorCode::InvalidTable, text)
    }

    /// That missing keys cannot be inserted.
    pub fn no_insert(&self) -> Failure {
        let text = format!(
            "keys that are missing cannot be inserted into table {}: a record without value deletes",
            self.bucket.table.path
        );
        Failure::new(ErrorCode::InvalidTable, text)
    }

    /// Appends upserts and deletes to the buckets of their keys. There is no merge engine, so that
    /// all merge modes mean the same.
    pub async fn put(
        &self,
        broker: &Broker,
        records: Bytes,
        targets: &[i32],
        until: Until,
    ) -> Result<TopicPut, Failure> {
        let partitioner = self.partitioner()?;
        self.check_targets(targets)?;
        let settings = &self.bucket.settings;
        let spec = UpsertSpec {
            schemas: self.bucket.table.schemas.iter().map(|s| s.id).collect(),
            latest_schema: self.bucket.table.schema().id,
            partitioner,
            asked_bucket: self.number(),
            bucket_count: i32::try_from(self.buckets.len()).unwrap_or(i32::MAX),
            now_ms: broker.env.clock.wall_ms(),
            bytes_max: broker.config().kv_limits().batch_bytes_max,
            batch_bytes_max: settings.batch_bytes_max,
        };
        let batches = match records.len() {
            ..=INLINE_BYTES_MAX => kafka_batches(records, &spec),
            _ => {
                let task = tokio::task::spawn_blocking(move || kafka_batches(records, &spec));
                // A panic goes on to the connection, which answers it.
                task.await
                    .unwrap_or_else(|error| std::panic::resume_unwind(Box::new(error.to_string())))
            }
        };
        let batches = batches.map_err(|error| Failure::from(&error))?;
        let stamp_log_append_time = settings.timestamp_type == TimestampType::LogAppendTime;
        let append = |(bucket, batch): (&Arc<OpenBucket>, Option<UnassignedBatch>)| {
            let append = Append {
                batches: vec![batch?],
                expected_epoch: None,
                stamp_log_append_time,
            };
            Some(bucket.tablet.append(append, until))
        };
        let records = batches.iter().flatten().map(|batch| batch.record_count);
        Ok(TopicPut {
            records: records.map(|count| count as usize).sum(),
            tickets: self.buckets.iter().zip(batches).map(append).collect(),
            own: Arc::clone(&self.bucket),
        })
    }

    fn partitioner(&self) -> Result<KeyPartitioner, Failure> {
        match self.bucket.settings.key_owner {
            Owner::Known(function) => Ok(function),
            Owner::Probe => {
                let text = format!(
                    "table {} is a compacted topic that Kafka producers write: to put rows, set its \
                     {KEY_PARTITIONER} to the function that they choose partitions by",
                    self.bucket.table.path
                );
                Err(Failure::new(ErrorCode::InvalidConfig, text))
            }
        }
    }

    /// A record has all of its columns, or is a tombstone.
    fn check_targets(&self, targets: &[i32]) -> Result<(), Failure> {
        let columns = self.bucket.table.schema().schema.columns.len();
        let all = (0..columns).all(|column| {
            let column = i32::try_from(column).unwrap_or(i32::MAX);
            targets.contains(&column)
        });
        if targets.is_empty() || all {
            return Ok(());
        }
        let text = "rows of a topic are put with all their columns";
        Err(Failure::new(ErrorCode::InvalidTargetColumn, text))
    }
}

/// Upserts that are queued in the logs of their buckets.
pub struct TopicPut {
    /// One for each bucket.
    tickets: Vec<Option<AppendTicket>>,
    own: Arc<OpenBucket>,
    records: usize,
}

impl TopicPut {
    /// Records that are put.
    pub fn len(&self) -> usize {
        self.records
    }

    /// True when nothing is put.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// The end of the asked bucket's log, once everything is appended. A retry completes what was
    /// appended in part.
    pub async fn written(self, deadline: Instant) -> Result<i64, Failure> {
        let own = self.own.tablet.log().log().id().bucket.value();
        let mut end = None;
        for (bucket, ticket) in (0..).zip(self.tickets) {
            let Some(ticket) = ticket else {
                continue;
            };
            let appended = match tokio::time::timeout_at(deadline, ticket).await {
                Ok(Ok(appended)) => appended.map_err(|error| refused(&error))?,
                Ok(Err(_)) => {
                    let text = "the broker stops";
                    return Err(Failure::new(ErrorCode::NotLeaderOrFollower, text));
                }
                Err(_) => {
                    let text = "the write is not yet acknowledged";
                    return Err(Failure::new(ErrorCode::RequestTimeOut, text));
                }
            };
            if bucket == own {
                end = Some(appended.last_offset.next());
            }
        }
        Ok(end.unwrap_or(self.own.tablet.watermarks().log_end).value())
    }
}

/// Of a put, whose version says whether the client knows the code of a busy bucket.
fn refused(error: &AppendError) -> Failure {
    match error {
        AppendError::QueueFull => Failure::new(ErrorCode::StorageBackpressure, error.to_string()),
        _ => error.into(),
    }
}

/// Waits for indexes, but not for long.
async fn in_time<T>(work: impl Future<Output = Result<T, TopicIndexError>>) -> Result<T, Failure> {
    match tokio::time::timeout(FOLLOW_WAIT, work).await {
        Ok(outcome) => outcome.map_err(|error| Failure::from(&error)),
        Err(_) => {
            let text = "the index is still being brought up to the log";
            Err(Failure::new(ErrorCode::RequestTimeOut, text))
        }
    }
}

fn changed() -> Failure {
    let text = "the topic's cleanup policy is being changed";
    Failure::new(ErrorCode::UnknownTableOrBucket, text)
}

impl From<&TopicIndexError> for Failure {
    fn from(error: &TopicIndexError) -> Self {
        let code = match error {
            TopicIndexError::Log(error) => return error.into(),
            TopicIndexError::AnswerTooLarge { .. } => ErrorCode::RecordTooLarge,
            TopicIndexError::Index(_)
            | TopicIndexError::Frame { .. }
            | TopicIndexError::Entry
            | TopicIndexError::BeingCleaned
            | TopicIndexError::Closed => ErrorCode::KvStorage,
        };
        Failure::new(code, error.to_string())
    }
}

impl From<&InvalidUpsert> for Failure {
    fn from(error: &InvalidUpsert) -> Self {
        let code = match error {
            InvalidUpsert::Schema(_) => ErrorCode::SchemaNotExist,
            InvalidUpsert::TooLarge { .. }
            | InvalidUpsert::Batch(KvBatchError::TooLarge { .. }) => ErrorCode::RecordTooLarge,
            InvalidUpsert::Batch(_) | InvalidUpsert::Key(_) => ErrorCode::CorruptRecord,
        };
        Failure::new(code, error.to_string())
    }
}
