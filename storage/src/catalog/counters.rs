//! Numbers that are never handed out twice.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::record::{self, COUNTER_PREFIX};
use super::store::RecordChange;

/// A counter by its name, which is part of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counter {
    /// The next table id.
    TableId,
    /// The next table partition id.
    PartitionId,
    /// The first producer id outside all reserved blocks.
    ProducerId,
    /// The epoch of the last start; 0 before the first one.
    BrokerEpoch,
    /// Commit times below this one may have been handed out.
    CommitTimeFloor,
}

const ALL: [Counter; 5] = [
    Counter::TableId,
    Counter::PartitionId,
    Counter::ProducerId,
    Counter::BrokerEpoch,
    Counter::CommitTimeFloor,
];

impl Counter {
    fn name(self) -> &'static str {
        match self {
            Counter::TableId => "table-id",
            Counter::PartitionId => "partition-id",
            Counter::ProducerId => "producer-id",
            Counter::BrokerEpoch => "broker-epoch",
            Counter::CommitTimeFloor => "commit-time-floor",
        }
    }

    /// What a counter is before it was ever stored. Ids of tables and partitions start at 1, so
    /// that a 0 in a message is never a real one.
    fn start(self) -> i64 {
        match self {
            Counter::TableId | Counter::PartitionId => 1,
            Counter::ProducerId | Counter::BrokerEpoch | Counter::CommitTimeFloor => 0,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct CounterRecord {
    value: i64,
}

/// The change that stores a counter's value.
pub(super) fn change(counter: Counter, value: i64) -> RecordChange {
    record::put(
        format!("{COUNTER_PREFIX}{}", counter.name()),
        &CounterRecord { value },
    )
}

/// All counters.
#[derive(Debug, Clone)]
pub(super) struct Counters {
    values: [i64; ALL.len()],
}

impl Default for Counters {
    fn default() -> Self {
        Counters {
            values: ALL.map(Counter::start),
        }
    }
}

impl Counters {
    pub(super) fn get(&self, counter: Counter) -> i64 {
        self.values[counter as usize]
    }

    /// Sets a counter to what has been stored.
    pub(super) fn set(&mut self, counter: Counter, value: i64) {
        self.values[counter as usize] = value;
    }

    /// Takes `count` numbers and returns them with the change that stores it. When that fails they
    /// are left out for good.
    pub(super) fn take(&mut self, counter: Counter, count: i64) -> (Range<i64>, RecordChange) {
        let start = self.get(counter);
        let end = start.checked_add(count).expect("63 bits are not used up");
        self.set(counter, end);
        (start..end, change(counter, end))
    }

    /// Reads the record of a counter; counters of later versions are passed over.
    pub(super) fn load(&mut self, key: &str, value: &[u8]) -> Result<(), String> {
        let name = key.strip_prefix(COUNTER_PREFIX).unwrap_or(key);
        let stored: CounterRecord = record::read(key, value)?;
        if let Some(counter) = ALL.into_iter().find(|counter| counter.name() == name) {
            self.values[counter as usize] = stored.value;
        }
        Ok(())
    }
}
