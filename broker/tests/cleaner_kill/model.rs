//! What is written, by numbers: everything about a record follows from its number and the seed.

use crate::PARTITIONS;
use crate::common::records::Row;

/// Stages between which keys may change their partition: a stage begins when all of the one before
/// is acknowledged.
pub(crate) const STAGES: usize = 4;
/// Each writes keys of its own, so that what is the last record of a key is known.
pub(crate) const PRODUCERS: usize = 4;
/// One record of so many is a tombstone.
const PER_TOMBSTONE: u64 = 20;
/// One key of so many has another partition in each stage.
const PER_MOVING_KEY: u64 = 8;
const VALUE_BYTES: usize = 100;
const TIME_MS: i64 = 1_700_000_000_000;
/// The header that has the number.
const HEADER: &str = "number";

/// All records of the topic, and where they are.
pub(crate) struct Model {
    pub(crate) topic: &'static str,
    pub(crate) delete_retention_ms: i64,
    /// On the Fluss wire.
    pub(crate) table: i64,
    seed: u64,
    /// Records of one producer in one stage.
    share: usize,
    keys: usize,
    /// By number; what was written after the stages has the numbers behind theirs.
    offsets: Vec<i64>,
    /// By partition and key, 1 + the number of the last record.
    last: Vec<Vec<u32>>,
}

fn mix(seed: u64, number: u64) -> u64 {
    let mut z = seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Model {
    /// Nothing is written yet.
    pub(crate) fn new((topic, retention): (&'static str, i64), seed: u64, records: usize) -> Model {
        let share = records / (STAGES * PRODUCERS);
        let keys = records / crate::PER_KEY;
        Model {
            topic,
            delete_retention_ms: retention,
            table: -1,
            seed,
            share,
            keys,
            offsets: vec![-1; share * STAGES * PRODUCERS],
            // Behind the keys, one of each partition for what is written later.
            last: vec![vec![0; keys + PARTITIONS]; PARTITIONS],
        }
    }

    pub(crate) fn keys(&self) -> usize {
        self.keys
    }

    /// The numbers of what a producer writes in a stage.
    pub(crate) fn share(&self, stage: usize, producer: usize) -> std::ops::Range<usize> {
        let first = (stage * PRODUCERS + producer) * self.share;
        first..first + self.share
    }

    /// Numbers of records that come after the stages: one for each partition.
    pub(crate) fn next_touches(&self) -> std::ops::Range<usize> {
        self.offsets.len()..self.offsets.len() + PARTITIONS
    }

    fn in_stages(&self) -> usize {
        self.share * STAGES * PRODUCERS
    }

    /// The key of a record.
    pub(crate) fn key(&self, number: usize) -> usize {
        if number >= self.in_stages() {
            return self.keys + (number - self.in_stages()) % PARTITIONS;
        }
        let producer = number / self.share % PRODUCERS;
        let keys = (self.keys / PRODUCERS) as u64;
        producer + PRODUCERS * (mix(self.seed, number as u64) % keys) as usize
    }

    /// The partition that it is written to.
    pub(crate) fn partition(&self, number: usize) -> usize {
        let key = self.key(number);
        if key >= self.keys {
            return key - self.keys;
        }
        let hash = mix(!self.seed, key as u64);
        let stage = number / self.share / PRODUCERS;
        let moves = hash.is_multiple_of(PER_MOVING_KEY);
        let moved = if moves { stage } else { 0 };
        (hash as usize / 64 + moved) % PARTITIONS
    }

    pub(crate) fn is_tombstone(&self, number: usize) -> bool {
        let hash = mix(self.seed ^ 1, number as u64);
        number < self.in_stages() && hash.is_multiple_of(PER_TOMBSTONE)
    }

    /// A key's bytes.
    pub(crate) fn name(key: usize) -> Vec<u8> {
        format!("key-{key:08}").into_bytes()
    }

    pub(crate) fn value(&self, number: usize) -> Option<Vec<u8>> {
        if self.is_tombstone(number) {
            return None;
        }
        let mut value = format!("{number}:").into_bytes();
        let mut word = number as u64;
        while value.len() < VALUE_BYTES {
            word = mix(self.seed, word);
            value.extend_from_slice(format!("{word:016x}").as_bytes());
        }
        value.truncate(VALUE_BYTES);
        Some(value)
    }

    pub(crate) fn row(&self, number: usize) -> Row {
        let stage = number / self.share / PRODUCERS;
        Row {
            key: Some(Model::name(self.key(number))),
            value: self.value(number),
            // Of records of one key and one commit time the one of the later stage counts.
            time_ms: TIME_MS + stage as i64,
            headers: vec![(HEADER.to_owned(), Some(number.to_string().into_bytes()))],
        }
    }

    /// The number that a record carries.
    pub(crate) fn number(row: &Row) -> usize {
        let number = row.headers.iter().find(|(key, _)| key == HEADER);
        let number = number.and_then(|(_, value)| value.as_deref());
        let text = std::str::from_utf8(number.expect("a number")).expect("text");
        text.parse().expect("a number")
    }

    /// A record was acknowledged at an offset.
    pub(crate) fn acknowledged(&mut self, number: usize, offset: i64) {
        if number >= self.offsets.len() {
            self.offsets.resize(number + 1, -1);
        }
        self.offsets[number] = offset;
        let (partition, key) = (self.partition(number), self.key(number));
        let last = &mut self.last[partition][key];
        *last = (*last).max(number as u32 + 1);
    }

    /// Asserts that what was read is a record of the model, at its offset; the number.
    pub(crate) fn check(&self, partition: usize, offset: i64, row: &Row) -> usize {
        let number = Model::number(row);
        assert_eq!(self.offsets[number], offset, "record {number} was moved");
        assert_eq!(self.partition(number), partition, "record {number}");
        assert_eq!(row, &self.row(number), "record {number} at {offset}");
        number
    }

    /// The last record of a key in a partition.
    pub(crate) fn last(&self, partition: usize, key: usize) -> Option<usize> {
        self.last[partition][key].checked_sub(1).map(|n| n as usize)
    }

    /// Tombstones that are the last records of their keys.
    pub(crate) fn tombstones(&self) -> usize {
        let all = (0..PARTITIONS).flat_map(|p| self.all_keys().map(move |key| (p, key)));
        all.filter_map(|(partition, key)| self.last(partition, key))
            .filter(|number| self.is_tombstone(*number))
            .count()
    }

    /// All keys that may have been written.
    pub(crate) fn all_keys(&self) -> std::ops::Range<usize> {
        0..self.keys + PARTITIONS
    }

    /// The value of a key in the table: its newest record in any partition counts.
    pub(crate) fn newest(&self, key: usize) -> Option<Vec<u8>> {
        let all = (0..PARTITIONS).filter_map(|partition| self.last(partition, key));
        self.value(all.max()?)
    }
}
