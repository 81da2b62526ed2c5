//! The committed offsets of one group.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::names::TopicName;

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The offset to read next.
    pub offset: i64,
    /// Leader epoch of the last record read; -1 when the client gave none.
    pub leader_epoch: i32,
    /// Kept beside it for the client.
    pub metadata: Arc<str>,
    /// When it was committed, epoch milliseconds.
    pub commit_time_ms: i64,
    /// When it expires, epoch milliseconds, if the commit said so (OffsetCommit 2 to 4).
    pub expire_time_ms: Option<i64>,
}

/// A committed or removed offset on its way through the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetChange {
    /// The topic.
    pub topic: TopicName,
    /// The partition.
    pub partition: i32,
    /// The new offset; none when it is removed.
    pub value: Option<CommittedOffset>,
}

/// What is committed, and what is being written.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    committed: BTreeMap<TopicName, BTreeMap<i32, CommittedOffset>>,
    /// Writes on their way, per partition.
    writing: HashMap<(TopicName, i32), u32>,
}

impl Offsets {
    pub(super) fn get(&self, topic: &TopicName, partition: i32) -> Option<&CommittedOffset> {
        self.committed.get(topic)?.get(&partition)
    }

    pub(super) fn topics(
        &self,
    ) -> impl Iterator<Item = (&TopicName, &BTreeMap<i32, CommittedOffset>)> {
        self.committed.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.committed.is_empty()
    }

    pub(super) fn is_writing_any(&self) -> bool {
        !self.writing.is_empty()
    }

    pub(super) fn is_writing(&self, topic: &TopicName, partition: i32) -> bool {
        self.writing.contains_key(&(topic.clone(), partition))
    }

    /// Partitions of which there is an offset, or will be one when a write is through.
    pub(super) fn partitions(&self) -> Vec<(TopicName, i32)> {
        let mut partitions: Vec<(TopicName, i32)> = self
            .committed
            .iter()
            .flat_map(|(topic, offsets)| offsets.keys().map(move |p| (topic.clone(), *p)))
            .chain(self.writing.keys().cloned())
            .collect();
        partitions.sort();
        partitions.dedup();
        partitions
    }

    /// Notes that changes are on their way.
    pub(super) fn begin(&mut self, changes: &[OffsetChange]) {
        for change in changes {
            *self
                .writing
                .entry((change.topic.clone(), change.partition))
                .or_default() += 1;
        }
    }

    /// Ends what [`Offsets::begin`] began; `durable` makes the changes visible.
    pub(super) fn finish(&mut self, changes: Vec<OffsetChange>, durable: bool) {
        for change in changes {
            let place = (change.topic.clone(), change.partition);
            if let Some(count) = self.writing.get_mut(&place) {
                *count -= 1;
                if *count == 0 {
                    self.writing.remove(&place);
                }
            }
            if durable {
                self.apply(change);
            }
        }
    }

    /// Makes one change visible.
    pub(super) fn apply(&mut self, change: OffsetChange) {
        match change.value {
            Some(value) => {
                self.committed
                    .entry(change.topic)
                    .or_default()
                    .insert(change.partition, value);
            }
            None => {
                if let Some(partitions) = self.committed.get_mut(&change.topic) {
                    partitions.remove(&change.partition);
                    if partitions.is_empty() {
                        self.committed.remove(&change.topic);
                    }
                }
            }
        }
    }
}
