//! A compacted log of many keys in a directory, and an index of it that takes no memory.

use std::path::Path;
use std::sync::Arc;

use protocol::ids::{BucketId, LeaderEpoch, Offset, SchemaId, TableId, TabletId};
use protocol::kafka::batch::BatchView;
use protocol::kafka::builder::{BatchBuilder, BatchOptions};
use protocol::kafka::validate::Scratch;
use storage::buffers::BufferPool;
use storage::clock::CommitClock;
use storage::env::Env;
use storage::log::cleaner::{Successors, SuccessorsError};
use storage::log::{Append, FlushMode, Log, LogConfig, LogContext, OpenFiles, ReadRange};

/// Records of a batch.
const BATCH: u64 = 200;
/// Bytes of a value.
const VALUE_BYTES: usize = 100;

/// Record `n` has key `n * STEP % keys`: every key once in each `keys` records, in mixed order.
pub(crate) struct Keys {
    /// How many there are; not a multiple of [`STEP`].
    pub(crate) keys: u64,
    /// Records in all, a multiple of `keys`.
    pub(crate) records: u64,
}

/// A prime.
const STEP: u64 = 7_919;

impl Keys {
    fn key(&self, record: u64) -> u64 {
        record % self.keys * STEP % self.keys
    }

    /// The newest record of a key.
    fn newest(&self, key: u64) -> u64 {
        // Its place among the last `keys` records: the inverse of STEP, by Euclid's algorithm.
        let (mut a, mut b, mut x, mut y) = (i128::from(STEP), i128::from(self.keys), 1, 0);
        while b != 0 {
            let quotient = a / b;
            (a, b) = (b, a - quotient * b);
            (x, y) = (y, x - quotient * y);
        }
        let inverse = x.rem_euclid(i128::from(self.keys)) as u64;
        let place = (u128::from(key) * u128::from(inverse) % u128::from(self.keys)) as u64;
        self.records - self.keys + place
    }
}

/// The log with all records, in closed segments but for the last.
pub(crate) fn filled(directory: &Path, keys: &Keys, segment_bytes_max: u64) -> Log {
    let env = Env::real();
    let context = Arc::new(LogContext {
        commit_clock: CommitClock::new(Arc::clone(&env.clock), 0),
        files: OpenFiles::new(16),
        buffers: BufferPool::new(8 << 20),
        recovery_debt: Arc::default(),
        env,
    });
    let tablet = TabletId {
        table: TableId::new(1),
        table_partition: None,
        bucket: BucketId::new(0),
    };
    let config = LogConfig {
        segment_bytes_max,
        flush_mode: FlushMode::PageCache,
        ..LogConfig::default()
    };
    let log = Log::open(
        context,
        tablet,
        directory.to_path_buf(),
        config,
        LeaderEpoch::new(1),
    )
    .unwrap();
    let mut record = 0;
    while record < keys.records {
        let mut builder = BatchBuilder::new(BatchOptions::default());
        for delta in 0..BATCH.min(keys.records - record) {
            let key = keys.key(record + delta).to_be_bytes();
            let mut value = [b'v'; VALUE_BYTES];
            value[..8].copy_from_slice(&(record + delta).to_be_bytes());
            let time = 1_700_000_000_000;
            builder.append(delta as i32, time, Some(&key), Some(&value), []);
        }
        record += builder.record_count() as u64;
        let append = Append {
            batches: vec![builder.finish_unassigned(SchemaId::new(1), 0)],
            expected_epoch: None,
            stamp_log_append_time: false,
        };
        log.append_group(&[append]).remove(0).unwrap();
    }
    log.roll_active().unwrap();
    log.checkpoint().unwrap();
    log
}

impl Successors for Keys {
    fn known_end(&self) -> Result<Offset, SuccessorsError> {
        Ok(Offset::new(self.records as i64))
    }

    fn newest(
        &self,
        keys: &[&[u8]],
        found: &mut Vec<Option<Offset>>,
    ) -> Result<(), SuccessorsError> {
        found.clear();
        found.extend(keys.iter().map(|key| {
            let key = <[u8; 8]>::try_from(*key).ok().map(u64::from_be_bytes)?;
            Some(Offset::new(self.newest(key) as i64))
        }));
        Ok(())
    }

    fn forget(&self, _: &[(&[u8], Offset)]) -> Result<(), SuccessorsError> {
        Ok(())
    }
}

/// Reads from the start: every record that is left is the newest of its key. Returns how many.
pub(crate) fn check(log: &Log, keys: &Keys) -> u64 {
    let end = log.watermarks().high_watermark;
    let (mut at, mut left) = (Offset::ZERO, 0);
    let mut scratch = Scratch::new();
    while at < end {
        let range = ReadRange {
            offset: at,
            end,
            bytes_max: 1 << 20,
            at_least_one: true,
        };
        let run = log.read_run(range, true).unwrap().unwrap();
        at = run.next_offset().expect("a reader below the end gets on");
        for (header, batch) in run.frames() {
            let view = BatchView::parse(batch).unwrap();
            for record in scratch.records(&view, 1 << 20).unwrap() {
                let record = record.unwrap();
                let key = u64::from_be_bytes(record.key.unwrap().try_into().unwrap());
                let offset = header.base_offset.value() + i64::from(record.offset_delta);
                assert_eq!(keys.newest(key), offset as u64);
                left += 1;
            }
        }
    }
    left
}
