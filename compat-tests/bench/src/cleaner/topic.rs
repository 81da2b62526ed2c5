//! Records over few keys, and the last value of each.

use crate::error::Outcome;
use crate::fluss::rows::Random;
use crate::kafka::batch;
use crate::kafka::wire::{self, Connection};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Records in one batch: about what Kafka's producers collect by default.
const PER_BATCH: usize = 128;
/// Requests under way, of one batch each.
const IN_FLIGHT: usize = 5;
const VALUE_BYTES: usize = 100;
const KEY_BYTES: usize = 12;
/// A record with its lengths, offset and time, and its share of a batch header: cleaned batches hold few records.
pub const RECORD_BYTES_MAX: u64 = (VALUE_BYTES + KEY_BYTES + 12) as u64;
const LIMIT: Duration = Duration::from_secs(300);

/// What was written: by key the number of its last record.
pub struct Model {
    random: Random,
    last: Vec<u64>,
}

impl Model {
    pub fn new(seed: u64, keys: usize) -> Self {
        Self {
            random: Random(seed),
            // Numbers begin with 1: none was written yet.
            last: vec![0; keys],
        }
    }

    /// Writes `records` records, each of a random key, to partition 0.
    pub fn produce(&mut self, address: &str, topic: &str, records: usize) -> Outcome<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let now = i64::try_from(now)?;
        let mut connection = Connection::open(address)?;
        let mut under_way = 0;
        let mut number = 0;
        while number < records {
            let count = PER_BATCH.min(records - number);
            let keyed: Vec<_> = (0..count).map(|_| self.record(&mut number)).collect();
            let batch = batch::encode_keyed(&keyed, now)?;
            if under_way == IN_FLIGHT {
                wire::check_produced(connection.receive()?)?;
                under_way -= 1;
            }
            connection.send(&mut wire::produce(topic, &[(0, &batch.bytes)]))?;
            under_way += 1;
        }
        for _ in 0..under_way {
            wire::check_produced(connection.receive()?)?;
        }
        Ok(())
    }

    fn record(&mut self, number: &mut usize) -> (Vec<u8>, Vec<u8>) {
        *number += 1;
        let key = (self.random.next() % self.last.len() as u64) as usize;
        self.last[key] = *number as u64;
        let mut value = format!("{number:020}").into_bytes();
        while value.len() < VALUE_BYTES {
            value.extend(self.random.next().to_le_bytes());
        }
        value.truncate(VALUE_BYTES);
        (format!("key-{key:08}").into_bytes(), value)
    }

    /// Reads partition 0 from the start: the last value of every key must be the one that was written last. Returns how
    /// many records there are.
    pub fn check(&self, address: &str, topic: &str) -> Outcome<usize> {
        let mut connection = Connection::open(address)?;
        let end = self.last.iter().copied().max().unwrap_or(0);
        let mut found = vec![0; self.last.len()];
        let mut position = 0;
        let mut records = 0;
        let began = Instant::now();
        while (position as u64) < end {
            let mut request = wire::fetch(topic, &[(0, position)]);
            let mut outcome = Ok(());
            wire::fetched(connection.ask(&mut request)?, |_, batches| {
                position = batch::contents(batches).next_offset.unwrap_or(position);
                outcome = batch::each_record(batches, |key, value| {
                    records += 1;
                    if let (Some(key), Some(number)) = (key_number(key), value_number(value))
                        && let Some(last) = found.get_mut(key)
                    {
                        *last = number;
                    }
                });
            })?;
            outcome?;
            if began.elapsed() > LIMIT {
                return Err(format!("read up to {position} of {end}").into());
            }
        }
        match (0..found.len()).find(|key| found[*key] != self.last[*key]) {
            None => Ok(records),
            Some(key) => Err(format!(
                "key {key} ends with record {}, {} was written last",
                found[key], self.last[key]
            )
            .into()),
        }
    }
}

fn key_number(key: &[u8]) -> Option<usize> {
    std::str::from_utf8(key.strip_prefix(b"key-")?)
        .ok()?
        .parse()
        .ok()
}

fn value_number(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value.get(..20)?).ok()?.parse().ok()
}
