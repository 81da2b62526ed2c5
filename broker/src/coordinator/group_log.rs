//! The log of the group coordinator: the internal topic `__consumer_offsets`, one bucket per
//! shard, in Kafka's own format. Fluss clients see it as a read-only table.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{self, BoxStream, StreamExt};
use protocol::ids::{BucketId, Offset, TableId, TabletId};
use protocol::kafka::batch::BatchView;
use protocol::kafka::builder::{BatchBuilder, BatchOptions};
use protocol::kafka::validate::Scratch;
use protocol::raw::raw_schema;
use protocol::stored;
use storage::catalog::{Catalog, CreateTableError, NewName, NewTable, StringMap};
use storage::env::Clock;
use storage::log::{Append, AppendError, FrameRun, LogError, ReadRange, Until};

use super::group::{GroupLog, GroupLogError, LogBounds, LogRecord, ShardId};
use crate::tablets::{OpenBucket, TabletError, Tablets};

/// The table's name in the system database; the topic is `__consumer_offsets`.
const TABLE: &str = "consumer_offsets";
/// Read at once while replaying.
const REPLAY_BYTES: usize = 1 << 20;
/// A batch of ours is never larger than this when it is decompressed.
const BATCH_BYTES_MAX: usize = 64 << 20;

/// The internal topic as the coordinator's log.
pub struct TopicGroupLog {
    tablets: Arc<Tablets>,
    table: TableId,
    clock: Arc<dyn Clock>,
}

impl TopicGroupLog {
    /// The log over the internal topic, which is made when it does not exist. Waits for the disk.
    pub fn open(
        catalog: &Catalog,
        tablets: Arc<Tablets>,
        clock: Arc<dyn Clock>,
        shard_count: u32,
        segment_bytes: u32,
    ) -> Result<TopicGroupLog, CreateTableError> {
        let mut new = NewTable::log(
            NewName::Internal(TABLE.to_owned()),
            raw_schema(false),
            shard_count,
        );
        // The coordinator's checkpoints say what is no longer needed; time and size do not.
        new.kafka_configs = StringMap::from([
            ("retention.ms".to_owned(), "-1".to_owned()),
            ("retention.bytes".to_owned(), "-1".to_owned()),
            ("segment.bytes".to_owned(), segment_bytes.to_string()),
        ]);
        let table = match catalog.create_table(new) {
            Ok(table) => table.id,
            Err(CreateTableError::AlreadyExists { table, .. }) => table,
            Err(error) => return Err(error),
        };
        Ok(TopicGroupLog {
            tablets,
            table,
            clock,
        })
    }

    /// How many shards the log was made with: the hash of a group leads to one of them for good.
    pub fn shard_count(&self, catalog: &Catalog) -> u32 {
        catalog
            .view()
            .table(self.table)
            .map_or(1, |table| table.bucket_count)
    }

    fn id(&self, shard: ShardId) -> TabletId {
        TabletId {
            table: self.table,
            table_partition: None,
            bucket: BucketId::new(shard.0 as i32),
        }
    }

    /// The shard's bucket at once. It is open but for the first record of a new shard: its files
    /// are made then, which waits for the disk for a moment, once.
    fn bucket_now(&self, shard: ShardId) -> Result<Arc<OpenBucket>, GroupLogError> {
        let id = self.id(shard);
        if let Some(bucket) = self.tablets.get_open(id) {
            return Ok(bucket);
        }
        let open = || self.tablets.open_now(id).map_err(|e| open_error(&e));
        let multi_thread = tokio::runtime::Handle::try_current().is_ok_and(|handle| {
            handle.runtime_flavor() == tokio::runtime::RuntimeFlavor::MultiThread
        });
        if multi_thread {
            tokio::task::block_in_place(open)
        } else {
            open()
        }
    }

    fn batch(&self, records: &[LogRecord]) -> BatchBuilder {
        let now = self.clock.wall_ms();
        let mut builder = BatchBuilder::new(BatchOptions::default());
        for (delta, record) in (0..).zip(records) {
            builder.append(delta, now, Some(&record.key), record.value.as_deref(), []);
        }
        builder
    }
}

impl GroupLog for TopicGroupLog {
    fn append(
        &self,
        shard: ShardId,
        records: Vec<LogRecord>,
    ) -> BoxFuture<'static, Result<Offset, GroupLogError>> {
        let bytes: usize = records.iter().map(LogRecord::size).sum();
        if bytes > BATCH_BYTES_MAX / 2 {
            return async { Err(GroupLogError::TooLarge) }.boxed();
        }
        let bucket = match self.bucket_now(shard) {
            Ok(bucket) => bucket,
            Err(error) => return async { Err(error) }.boxed(),
        };
        let shape = bucket.tablet.shape();
        let batch = self
            .batch(&records)
            .finish_unassigned(shape.latest, shard.0 as i32);
        let append = Append {
            batches: vec![batch],
            expected_epoch: None,
            stamp_log_append_time: false,
        };
        // Queued now, so that appends keep the order of the calls.
        let ticket = bucket.tablet.append(append, Until::Durable);
        async move {
            match ticket.await {
                Ok(Ok(appended)) => Ok(appended.last_offset.next()),
                Ok(Err(AppendError::Offline(_))) | Err(_) => Err(GroupLogError::Offline),
                Ok(Err(_)) => Err(GroupLogError::TryAgain),
            }
        }
        .boxed()
    }

    fn bounds(&self, shard: ShardId) -> BoxFuture<'static, Result<LogBounds, GroupLogError>> {
        let (tablets, id) = (Arc::clone(&self.tablets), self.id(shard));
        async move {
            let task = tokio::task::spawn_blocking(move || {
                if !tablets.has_files(id) {
                    return Ok(LogBounds {
                        start: Offset::ZERO,
                        end: Offset::ZERO,
                    });
                }
                let bucket = tablets.open_now(id).map_err(|e| open_error(&e))?;
                let w = bucket.tablet.watermarks();
                Ok(LogBounds {
                    start: w.log_start,
                    end: w.high_watermark,
                })
            });
            task.await.unwrap_or(Err(GroupLogError::Offline))
        }
        .boxed()
    }

    fn replay(
        &self,
        shard: ShardId,
        from: Offset,
    ) -> BoxStream<'static, Result<(Offset, LogRecord), GroupLogError>> {
        let bucket = match self.bucket_now(shard) {
            Ok(bucket) => bucket,
            Err(error) => return stream::iter([Err(error)]).boxed(),
        };
        let end = bucket.tablet.watermarks().high_watermark;
        let state = (bucket, from, VecDeque::new());
        stream::try_unfold(state, move |(bucket, mut next, mut ready)| async move {
            while ready.is_empty() && next < end {
                let range = ReadRange {
                    offset: next,
                    end,
                    bytes_max: REPLAY_BYTES,
                    at_least_one: true,
                };
                let run = bucket.tablet.log().read_run(range).await;
                let run = run.map_err(|error| GroupLogError::Damaged(error.to_string()))?;
                let Some(after) = run.next_offset() else {
                    break;
                };
                ready = records_of(&run, next)?;
                next = after;
            }
            Ok(ready
                .pop_front()
                .map(|record| (record, (bucket, next, ready))))
        })
        .boxed()
    }

    fn release_before(
        &self,
        shard: ShardId,
        offset: Offset,
    ) -> BoxFuture<'static, Result<(), GroupLogError>> {
        let (tablets, id) = (Arc::clone(&self.tablets), self.id(shard));
        async move {
            let Some(bucket) = tablets.get_open(id) else {
                return Ok(());
            };
            let task = tokio::task::spawn_blocking(move || {
                bucket.tablet.log().log().delete_before(offset).map(|_| ())
            });
            match task.await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(LogError::Offline(_))) | Err(_) => Err(GroupLogError::Offline),
                Ok(Err(_)) => Err(GroupLogError::TryAgain),
            }
        }
        .boxed()
    }
}

/// The records of a run from an offset on.
fn records_of(
    run: &FrameRun,
    from: Offset,
) -> Result<VecDeque<(Offset, LogRecord)>, GroupLogError> {
    let damaged = |what: String| GroupLogError::Damaged(what);
    let mut scratch = Scratch::new();
    let mut found = VecDeque::new();
    for (header, bytes) in run.frames() {
        let batch = BatchView::parse(bytes).map_err(|error| damaged(error.to_string()))?;
        if !stored::crc_holds(header.format, bytes) {
            return Err(damaged(format!(
                "wrong CRC at offset {}",
                header.base_offset
            )));
        }
        let records = scratch
            .records(&batch, BATCH_BYTES_MAX)
            .map_err(|error| damaged(error.to_string()))?;
        for record in records {
            let record = record.map_err(|error| damaged(error.to_string()))?;
            let offset = header.base_offset + i64::from(record.offset_delta);
            let Some(key) = record.key.filter(|_| offset >= from) else {
                continue;
            };
            let record = LogRecord {
                key: Bytes::copy_from_slice(key),
                value: record.value.map(Bytes::copy_from_slice),
            };
            found.push_back((offset, record));
        }
    }
    Ok(found)
}

fn open_error(error: &TabletError) -> GroupLogError {
    match error {
        TabletError::Unknown(_) | TabletError::Closed(_) => GroupLogError::Offline,
        TabletError::Keys { .. } | TabletError::Open { .. } => {
            GroupLogError::Damaged(error.to_string())
        }
    }
}
