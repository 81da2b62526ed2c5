//! A group log in memory, for tests.

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use parking_lot::Mutex;
use protocol::ids::Offset;

use super::log::{GroupLog, GroupLogError, LogBounds, LogRecord, ShardId};

#[derive(Default)]
struct Shard {
    start: usize,
    records: Vec<LogRecord>,
}

/// Keeps everything in memory. Clones share it.
#[derive(Clone, Default)]
pub struct MemoryGroupLog {
    shards: Arc<Mutex<HashMap<ShardId, Shard>>>,
    failure: Arc<Mutex<Option<GroupLogError>>>,
}

impl MemoryGroupLog {
    /// An empty log.
    pub fn new() -> Self {
        MemoryGroupLog::default()
    }

    /// Lets all appends fail from now on, or succeed again.
    pub fn fail_with(&self, failure: Option<GroupLogError>) {
        *self.failure.lock() = failure;
    }

    /// How many records can be replayed, over all shards.
    pub fn record_count(&self) -> usize {
        self.shards
            .lock()
            .values()
            .map(|shard| shard.records.len() - shard.start)
            .sum()
    }
}

fn offset(index: usize) -> Offset {
    Offset::new(i64::try_from(index).expect("a vector is shorter than an i64 counts"))
}

impl GroupLog for MemoryGroupLog {
    fn append(
        &self,
        shard: ShardId,
        records: Vec<LogRecord>,
    ) -> BoxFuture<'static, Result<Offset, GroupLogError>> {
        let outcome = match self.failure.lock().clone() {
            Some(failure) => Err(failure),
            None => {
                let mut shards = self.shards.lock();
                let shard = shards.entry(shard).or_default();
                shard.records.extend(records);
                Ok(offset(shard.records.len()))
            }
        };
        Box::pin(std::future::ready(outcome))
    }

    fn bounds(&self, shard: ShardId) -> BoxFuture<'static, Result<LogBounds, GroupLogError>> {
        let bounds = match self.shards.lock().get(&shard) {
            Some(shard) => LogBounds {
                start: offset(shard.start),
                end: offset(shard.records.len()),
            },
            None => LogBounds {
                start: Offset::ZERO,
                end: Offset::ZERO,
            },
        };
        Box::pin(std::future::ready(Ok(bounds)))
    }

    fn replay(
        &self,
        shard: ShardId,
        from: Offset,
    ) -> BoxStream<'static, Result<(Offset, LogRecord), GroupLogError>> {
        let records: Vec<_> = match self.shards.lock().get(&shard) {
            Some(shard) => shard
                .records
                .iter()
                .enumerate()
                .skip(shard.start)
                .map(|(index, record)| (offset(index), record.clone()))
                .filter(|(offset, _)| *offset >= from)
                .map(Ok)
                .collect(),
            None => Vec::new(),
        };
        stream::iter(records).boxed()
    }

    fn release_before(
        &self,
        shard: ShardId,
        offset: Offset,
    ) -> BoxFuture<'static, Result<(), GroupLogError>> {
        if let Some(shard) = self.shards.lock().get_mut(&shard) {
            let start = usize::try_from(offset.value()).unwrap_or(0);
            shard.start = shard.start.max(start.min(shard.records.len()));
        }
        Box::pin(std::future::ready(Ok(())))
    }
}
