//! Offsets that a job of a Fluss client leaves under a name of its own, to find them when it is
//! started again: where its tables ended before it wrote to them first.

use std::collections::BTreeMap;

use protocol::ids::{BucketId, TableId, TablePartitionId, TabletId};
use serde::{Deserialize, Serialize};

use super::Catalog;
use super::error::ProducerOffsetsError;
use super::names::{NameError, check_fluss_name};
use super::record::{self, PRODUCER_OFFSETS_PREFIX};
use super::store::RecordChange;

/// Jobs whose offsets are kept at a time: each is a record of the catalog, and all are in memory.
const PRODUCERS_MAX: usize = 1_000;
/// Offsets of all jobs together.
const OFFSETS_MAX: usize = 1 << 20;

/// What a job left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerOffsets {
    /// The offset behind the last record of each bucket.
    pub offsets: BTreeMap<TabletId, i64>,
    /// When they are forgotten, epoch milliseconds.
    pub expires_ms: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct ProducerOffsetsRecord {
    expires_ms: i64,
    offsets: Vec<OffsetRecord>,
}

#[derive(Debug, Serialize, Deserialize)]
struct OffsetRecord {
    table: TableId,
    #[serde(default)]
    table_partition: Option<TablePartitionId>,
    bucket: BucketId,
    offset: i64,
}

impl Catalog {
    /// Keeps the offsets of `producer` for `ttl_ms` milliseconds, unless some are kept already:
    /// then nothing changes, and the answer is false. Waits for the disk.
    pub fn register_producer_offsets(
        &self,
        producer: &str,
        offsets: BTreeMap<TabletId, i64>,
        ttl_ms: i64,
    ) -> Result<bool, ProducerOffsetsError> {
        check_fluss_name(producer)?;
        let now = self.env.clock.wall_ms();
        let mut writer = self.writer.lock();
        let known = &writer.producer_offsets;
        if known
            .get(producer)
            .is_some_and(|kept| kept.expires_ms > now)
        {
            return Ok(false);
        }
        let expired = known.iter().filter(|(_, kept)| kept.expires_ms <= now);
        let expired: Vec<_> = expired.map(|(producer, _)| producer.clone()).collect();
        let live = || known.values().filter(|kept| kept.expires_ms > now);
        let held: usize = live().map(|kept| kept.offsets.len()).sum();
        if live().count() >= PRODUCERS_MAX || held + offsets.len() > OFFSETS_MAX {
            return Err(ProducerOffsetsError::TooMany);
        }
        let kept = ProducerOffsets {
            offsets,
            expires_ms: now.saturating_add(ttl_ms.max(0)),
        };
        let mut changes: Vec<_> = expired.iter().map(|producer| forget(producer)).collect();
        let stored = ProducerOffsetsRecord::from(&kept);
        changes.push(record::put(key(producer), &stored));
        self.commit(&mut writer, &changes)?;
        for producer in expired {
            writer.producer_offsets.remove(&producer);
        }
        writer.producer_offsets.insert(producer.to_owned(), kept);
        Ok(true)
    }

    /// What `producer` left, unless its time is over.
    ///
    /// # Errors
    /// There can be no producer of that name.
    pub fn producer_offsets(&self, producer: &str) -> Result<Option<ProducerOffsets>, NameError> {
        check_fluss_name(producer)?;
        let now = self.env.clock.wall_ms();
        let writer = self.writer.lock();
        let kept = writer.producer_offsets.get(producer);
        Ok(kept.filter(|kept| kept.expires_ms > now).cloned())
    }

    /// Forgets what `producer` left; nothing is no error. Waits for the disk.
    pub fn forget_producer_offsets(&self, producer: &str) -> Result<(), ProducerOffsetsError> {
        check_fluss_name(producer)?;
        let mut writer = self.writer.lock();
        if writer.producer_offsets.contains_key(producer) {
            self.commit(&mut writer, &[forget(producer)])?;
            writer.producer_offsets.remove(producer);
        }
        Ok(())
    }
}

impl From<&ProducerOffsets> for ProducerOffsetsRecord {
    fn from(kept: &ProducerOffsets) -> Self {
        let offset = |(id, offset): (&TabletId, &i64)| OffsetRecord {
            table: id.table,
            table_partition: id.table_partition,
            bucket: id.bucket,
            offset: *offset,
        };
        ProducerOffsetsRecord {
            expires_ms: kept.expires_ms,
            offsets: kept.offsets.iter().map(offset).collect(),
        }
    }
}

/// Reads what a producer left; the reason, when it is damaged.
pub(super) fn read(key: &str, value: &[u8]) -> Result<(String, ProducerOffsets), String> {
    let stored: ProducerOffsetsRecord = record::read(key, value)?;
    let offset = |stored: OffsetRecord| {
        let id = TabletId {
            table: stored.table,
            table_partition: stored.table_partition,
            bucket: stored.bucket,
        };
        (id, stored.offset)
    };
    let kept = ProducerOffsets {
        offsets: stored.offsets.into_iter().map(offset).collect(),
        expires_ms: stored.expires_ms,
    };
    let producer = key.strip_prefix(PRODUCER_OFFSETS_PREFIX).unwrap_or(key);
    Ok((producer.to_owned(), kept))
}

fn forget(producer: &str) -> RecordChange {
    RecordChange::Delete { key: key(producer) }
}

fn key(producer: &str) -> String {
    format!("{PRODUCER_OFFSETS_PREFIX}{producer}")
}
