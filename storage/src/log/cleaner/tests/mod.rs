//! The cleaner on a simulated disk.

mod backlog;
mod crash;
mod rounds;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use protocol::ids::{BucketId, LeaderEpoch, Offset, SchemaId, TableId, TabletId};
use protocol::kafka::batch::{BatchView, TimestampType};
use protocol::kafka::builder::{BatchBuilder, BatchOptions, BatchProducer};
use protocol::kafka::compression::Codec;
use protocol::kafka::validate::Scratch;

use super::{CleanError, Cleaned, KafkaFormat, Round, Successors, SuccessorsError};
use crate::buffers::BufferPool;
use crate::clock::CommitClock;
use crate::env::simulated::Simulation;
use crate::log::{
    Append, Expected, Log, LogConfig, LogContext, OpenFiles, ReadRange, Severity, verify,
};

const DIRECTORY: &str = "/logs/1/0";
const HOUR_MS: i64 = 60 * 60 * 1000;

type Key = Vec<u8>;
type Value = Option<Vec<u8>>;

fn config() -> LogConfig {
    LogConfig {
        segment_ms_max: None,
        retention_ms: None,
        segment_bytes_max: 2_000,
        index_interval_bytes: 200,
        ..LogConfig::default()
    }
}

fn tablet_id() -> TabletId {
    TabletId {
        table: TableId::new(1),
        table_partition: None,
        bucket: BucketId::new(0),
    }
}

fn open(simulation: &Simulation, epoch: i32) -> Log {
    open_with(simulation, config(), epoch)
}

fn open_with(simulation: &Simulation, config: LogConfig, epoch: i32) -> Log {
    let env = simulation.env();
    let context = Arc::new(LogContext {
        commit_clock: CommitClock::new(Arc::clone(&env.clock), 0),
        files: OpenFiles::new(2),
        buffers: BufferPool::new(8 << 20),
        recovery_debt: Arc::default(),
        env,
    });
    let directory = PathBuf::from(DIRECTORY);
    Log::open(
        context,
        tablet_id(),
        directory,
        config,
        LeaderEpoch::new(epoch),
    )
    .unwrap()
}

/// How a batch is made.
#[derive(Clone, Copy)]
struct Style {
    codec: Codec,
    producer: Option<BatchProducer>,
}

const PLAIN: Style = Style {
    codec: Codec::None,
    producer: None,
};

/// Appends one durable batch.
fn put_styled(log: &Log, style: Style, records: &[(&str, Option<&str>)]) -> Offset {
    let offset = append(log, style, records);
    log.sync().unwrap();
    offset
}

fn append(log: &Log, style: Style, records: &[(&str, Option<&str>)]) -> Offset {
    let mut builder = BatchBuilder::new(BatchOptions {
        codec: style.codec,
        timestamp_type: TimestampType::CreateTime,
        producer: style.producer,
        ..BatchOptions::default()
    });
    let now = log.context().env.clock.wall_ms();
    for (number, (key, value)) in records.iter().enumerate() {
        let (key, value) = (key.as_bytes(), value.map(str::as_bytes));
        builder.append(number as i32, now + number as i64, Some(key), value, []);
    }
    let batch = builder.finish_unassigned(SchemaId::new(1), 0);
    let append = Append {
        batches: vec![batch],
        expected_epoch: None,
        stamp_log_append_time: false,
    };
    log.append_group(&[append]).remove(0).unwrap().base_offset
}

fn put(log: &Log, records: &[(&str, Option<&str>)]) -> Offset {
    put_styled(log, PLAIN, records)
}

/// An index of a test: the newest offset of each key, and whether it is a tombstone.
#[derive(Default)]
struct Index {
    entries: Mutex<HashMap<Key, (Offset, bool)>>,
    known_end: Mutex<Offset>,
}

impl Index {
    /// The index of all that a reader sees.
    fn of(log: &Log) -> Index {
        let index = Index::default();
        index.follow(log);
        index
    }

    fn follow(&self, log: &Log) {
        let mut entries = self.entries.lock();
        for (offset, (key, value)) in records_from(log, self.known_end.lock().value()) {
            entries.insert(key, (Offset::new(offset), value.is_none()));
        }
        *self.known_end.lock() = log.watermarks().high_watermark;
    }
}

impl Successors for Index {
    fn known_end(&self) -> Result<Offset, SuccessorsError> {
        Ok(*self.known_end.lock())
    }

    fn newest(
        &self,
        keys: &[&[u8]],
        found: &mut Vec<Option<Offset>>,
    ) -> Result<(), SuccessorsError> {
        let entries = self.entries.lock();
        found.clear();
        found.extend(keys.iter().map(|key| entries.get(*key).map(|(o, _)| *o)));
        Ok(())
    }

    fn forget(&self, gone: &[(&[u8], Offset)]) -> Result<(), SuccessorsError> {
        let mut entries = self.entries.lock();
        for (key, offset) in gone {
            if entries.get(*key) == Some(&(*offset, true)) {
                entries.remove(*key);
            }
        }
        Ok(())
    }
}

fn clean_with(log: &Log, successors: &dyn Successors) -> Result<Cleaned, CleanError> {
    log.clean(Round {
        end: log.watermarks().high_watermark,
        delete_retention_ms: HOUR_MS,
        successors,
        format: &mut KafkaFormat::default(),
        pace: &mut |_| true,
    })
}

fn clean(log: &Log) -> Cleaned {
    clean_with(log, &Index::of(log)).unwrap()
}

/// Records from `offset` on, by their offsets, as a reader gets them.
fn records_from(log: &Log, offset: i64) -> BTreeMap<i64, (Key, Value)> {
    let end = log.watermarks().high_watermark;
    let mut found = BTreeMap::new();
    let mut at = Offset::new(offset).max(log.watermarks().log_start);
    while at < end {
        let range = ReadRange {
            offset: at,
            end,
            bytes_max: 1 << 20,
            at_least_one: true,
        };
        let run = log.read_run(range, true).unwrap().unwrap();
        let next = run
            .next_offset()
            .expect("a reader below the end finds something");
        assert!(next > at);
        for (header, batch) in run.frames() {
            let view = BatchView::parse(batch).unwrap();
            assert!(view.crc_is_valid());
            let length = header.last_offset - header.base_offset;
            assert_eq!(i64::from(view.last_offset_delta()), length);
            let mut scratch = Scratch::new();
            for record in scratch.records(&view, 1 << 20).unwrap() {
                let record = record.unwrap();
                let offset = header.base_offset + i64::from(record.offset_delta);
                if offset >= at {
                    let key = record.key.unwrap().to_vec();
                    let value = record.value.map(<[u8]>::to_vec);
                    assert_eq!(found.insert(offset.value(), (key, value)), None);
                }
            }
        }
        at = next;
    }
    found
}

/// Offsets and keys that are left.
fn left(log: &Log) -> Vec<(i64, String)> {
    let records = records_from(log, 0).into_iter();
    records
        .map(|(offset, (key, _))| (offset, String::from_utf8(key).unwrap()))
        .collect()
}

fn named(expected: &[(i64, &str)]) -> Vec<(i64, String)> {
    let named = expected.iter();
    named.map(|(o, key)| (*o, (*key).to_owned())).collect()
}

/// Nothing that `vltava check` calls damage. Gives the frames that it counts.
fn assert_sound(simulation: &Simulation) -> u64 {
    let disk = simulation.env().disk;
    let verified = verify(&*disk, &PathBuf::from(DIRECTORY), Expected::default()).unwrap();
    let damage: Vec<_> = verified
        .findings
        .iter()
        .filter(|finding| finding.severity != Severity::Derived)
        .collect();
    assert!(damage.is_empty(), "{damage:?}");
    verified.frames
}

fn files(simulation: &Simulation) -> Vec<String> {
    let entries = simulation.env().disk.list(&PathBuf::from(DIRECTORY));
    let names = entries.unwrap().into_iter().map(|entry| entry.name);
    names
        .filter(|name| name.ends_with(".log") || name.ends_with(".tmp"))
        .collect()
}
