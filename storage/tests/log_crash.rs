//! Crashes of a log on a simulated disk: what was acknowledged is there, once and in order, and
//! nothing that a reader saw vanishes. One seed in three runs in page-cache mode, where that holds
//! for kills, and for power losses as far as a sync had returned.
//!
//! `VLTAVA_CRASH_SEEDS` sets the number of seeds (default 50), `VLTAVA_CRASH_SEED` runs a single
//! one, `VLTAVA_CRASH_IGNORE_SYNC=1` turns syncing off, with which the test must fail.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::{context, kafka_batch, tablet};
use protocol::batch::{ProducerScheme, SourceBlock, UnassignedBatch};
use protocol::ids::{LeaderEpoch, Offset};
use storage::env::Randomness;
use storage::env::simulated::{SeededRandomness, Simulation};
use storage::log::{
    Append, AppendError, Expected, FlushMode, Log, LogConfig, LogContext, OfflineCause, ReadRange,
    Severity, verify,
};

const DIRECTORY: &str = "/data/logs/1/0";

/// What was tried at an offset, and what came of it.
#[derive(Clone)]
struct Entry {
    last: Offset,
    payload: Vec<u8>,
    source: Option<SourceBlock>,
}

/// How often what the test is about took place.
#[derive(Debug, Default, Clone, Copy)]
struct Done {
    rolls: usize,
    checkpoints: usize,
    /// Checkpoints that were due by themselves.
    due: usize,
    /// Page-cache mode: logs that served before what they found was written again.
    served_unsettled: usize,
    kills: usize,
    power_losses: usize,
    failed_syncs: usize,
}

struct World {
    seed: u64,
    random: SeededRandomness,
    simulation: Simulation,
    config: LogConfig,
    epoch: i32,
    /// Every frame that is or may be in the log, by base offset.
    model: BTreeMap<Offset, Entry>,
    /// What was promised: everything below is there for good.
    promised_end: Offset,
    /// What a power loss spares in page-cache mode.
    synced_end: Offset,
    done: Done,
    /// The start that DeleteRecords acknowledged, and the furthest that it tried.
    log_start: Offset,
    log_start_tried: Offset,
    next_sequence: i32,
    payloads: u64,
}

impl World {
    fn new(seed: u64) -> World {
        let random = SeededRandomness::new(seed ^ 0x5eed);
        let simulation = Simulation::new(seed);
        if std::env::var("VLTAVA_CRASH_IGNORE_SYNC").is_ok() {
            simulation.disk.ignore_syncs(true);
        }
        let config = LogConfig {
            segment_bytes_max: 300 + random.below(6_000),
            segment_ms_max: None,
            index_interval_bytes: 1 + random.below(1_000) as u32,
            flush_mode: if seed % 3 == 2 {
                FlushMode::PageCache
            } else {
                FlushMode::Fsync
            },
            checkpoint_bytes: 500 + random.below(8_000),
            retention_ms: None,
            ..LogConfig::default()
        };
        World {
            seed,
            random,
            simulation,
            config,
            epoch: 0,
            model: BTreeMap::new(),
            promised_end: Offset::ZERO,
            synced_end: Offset::ZERO,
            done: Done::default(),
            log_start: Offset::ZERO,
            log_start_tried: Offset::ZERO,
            next_sequence: 0,
            payloads: 0,
        }
    }

    fn context(&self) -> Arc<LogContext> {
        context(self.simulation.env())
    }

    /// Opens the log; `None` when the power went off meanwhile.
    fn open(&mut self) -> Option<Log> {
        self.epoch += 1;
        let log = Log::open(
            self.context(),
            tablet(),
            PathBuf::from(DIRECTORY),
            self.config.clone(),
            LeaderEpoch::new(self.epoch),
        );
        match log {
            Ok(log) => Some(log),
            Err(_) if self.simulation.disk.power_is_off() => None,
            Err(error) => panic!("seed {}: cannot open: {error}", self.seed),
        }
    }

    fn batch(&mut self, offset_count: i32, source: Option<SourceBlock>) -> UnassignedBatch {
        self.payloads += 1;
        let size = 1 + self.random.below(400) as usize;
        let mut payload = vec![(self.payloads % 251) as u8; size];
        payload.extend(self.payloads.to_le_bytes());
        kafka_batch(&payload, offset_count, source)
    }

    /// What the lane and the sync threads of a broker do: append, and write a checkpoint when it
    /// is due.
    fn append(&mut self, log: &Log) {
        let segments = log.segments().len();
        self.append_some(log);
        self.done.rolls += log.segments().len().saturating_sub(segments);
        if log.checkpoint_is_due() && self.random.once_in(2) {
            self.done.due += 1;
            self.done.checkpoints += usize::from(log.checkpoint().is_ok());
        }
    }

    fn append_some(&mut self, log: &Log) {
        let mut appends = Vec::new();
        for _ in 0..1 + self.random.below(3) {
            let idempotent = self.random.once_in(2);
            let mut batches = Vec::new();
            let batch_count = if idempotent {
                1
            } else {
                1 + self.random.below(2)
            };
            for _ in 0..batch_count {
                let records = 1 + self.random.below(4) as i32;
                let source = idempotent.then(|| {
                    let source = source(self.next_sequence, records);
                    self.next_sequence += records;
                    source
                });
                batches.push(self.batch(records, source));
            }
            appends.push(Append {
                batches,
                expected_epoch: None,
                stamp_log_append_time: false,
            });
        }
        let results = log.append_group(&appends);
        for (append, result) in appends.iter().zip(results) {
            match result {
                Ok(appended) => {
                    assert!(!appended.duplicate, "seed {}", self.seed);
                    let mut base = appended.base_offset;
                    for batch in &append.batches {
                        let last = base + i64::from(batch.last_offset_delta);
                        let entry = Entry {
                            last,
                            payload: batch.bytes.to_vec(),
                            source: batch.source,
                        };
                        self.model.insert(base, entry);
                        base = last.next();
                    }
                }
                // The sequence numbers were not used: the next append begins where the log is.
                Err(error) => {
                    self.next_sequence = self.last_sequence_of(log);
                    assert!(
                        matches!(
                            error,
                            AppendError::Offline(_)
                                | AppendError::Io(_)
                                | AppendError::DiskFull
                                | AppendError::OutOfOrderSequence { .. }
                        ),
                        "seed {}: {error}",
                        self.seed
                    );
                }
            }
        }
    }

    fn last_sequence_of(&self, log: &Log) -> i32 {
        log.producers()
            .first()
            .map_or(0, |(_, entry)| entry.last().last_sequence + 1)
    }

    fn note_promise(&mut self, log: &Log) {
        let w = log.watermarks();
        assert!(w.high_watermark <= w.log_end, "seed {}", self.seed);
        self.promised_end = self.promised_end.max(w.high_watermark);
        self.synced_end = self.synced_end.max(w.synced_end);
        self.done.failed_syncs += usize::from(matches!(
            log.offline_cause(),
            Some(OfflineCause::SyncFailed { .. })
        ));
    }

    fn kill(&mut self) {
        self.done.kills += 1;
        self.simulation.disk.kill();
    }

    fn lose_power(&mut self) {
        self.done.power_losses += 1;
        self.simulation.disk.crash(self.random.next_u64());
        if self.config.flush_mode == FlushMode::PageCache {
            self.promised_end = self.synced_end;
        }
    }

    /// Everything readable is what the model has, and everything promised is readable.
    fn check(&mut self, log: &Log) {
        let w = log.watermarks();
        let seed = self.seed;
        assert!(
            w.high_watermark >= self.promised_end,
            "seed {seed}: {} was promised, {w:?}",
            self.promised_end
        );
        let starts = self.log_start..=self.log_start_tried;
        assert!(
            starts.contains(&w.log_start),
            "seed {seed}: {starts:?}, {w:?}"
        );
        let mut offset = w.log_start;
        while offset < w.high_watermark {
            let bytes_max = 1 + self.random.below(3_000) as usize;
            let range = ReadRange {
                offset,
                end: w.high_watermark,
                bytes_max,
                at_least_one: true,
            };
            let run = log.read_run(range, true).unwrap().unwrap();
            assert!(!run.is_empty(), "seed {seed}: nothing at {offset}, {w:?}");
            for (header, batch) in run.frames() {
                let entry = self.model.get(&header.base_offset);
                let entry =
                    entry.unwrap_or_else(|| panic!("seed {seed}: unknown frame at {offset}"));
                assert_eq!(entry.last, header.last_offset, "seed {seed}");
                assert_eq!(
                    entry.payload, batch,
                    "seed {seed}: offset {}",
                    header.base_offset
                );
                assert!(header.base_offset <= offset, "seed {seed}: gap at {offset}");
                offset = header.last_offset.next();
            }
        }
    }

    /// After a crash: takes what was not promised and is gone out of the model.
    fn recovered(&mut self, log: &Log) {
        let w = log.watermarks();
        assert!(
            log.offline_cause().is_none(),
            "seed {}: {:?}",
            self.seed,
            log.offline_cause()
        );
        self.check(log);
        self.check_files(false);
        (self.log_start, self.log_start_tried) = (w.log_start, w.log_start);
        self.model.retain(|base, _| *base < w.log_end);
        self.next_sequence = self.last_sequence_of(log);
        self.check_producers(log);
        self.check_times(log);
        self.promised_end = w.high_watermark;
        self.synced_end = w.synced_end;
        self.done.served_unsettled += usize::from(w.synced_end < w.high_watermark);
    }

    /// The offline check agrees: no crash damages a log, and none is torn after recovery.
    fn check_files(&self, may_be_torn: bool) {
        let disk = self.simulation.env().disk;
        let directory = Path::new(DIRECTORY);
        if !disk.exists(directory).is_ok_and(|there| there) {
            return;
        }
        let expected = Expected {
            tablet: Some(tablet()),
            epoch: Some(LeaderEpoch::new(self.epoch)),
        };
        let verified = match verify(&*disk, directory, expected) {
            Err(_) if self.simulation.disk.power_is_off() => return,
            verified => verified.unwrap(),
        };
        let wrong: Vec<_> = verified
            .findings
            .iter()
            .filter(|f| match f.severity {
                Severity::Damage => true,
                Severity::Torn => !may_be_torn,
                Severity::Derived => false,
            })
            .collect();
        assert!(wrong.is_empty(), "seed {}: {wrong:?}", self.seed);
    }

    /// The newest batches of the producer are known as duplicates, at their old offsets.
    fn check_producers(&self, log: &Log) {
        let newest: Vec<_> = self
            .model
            .iter()
            .rev()
            .filter(|(_, entry)| entry.source.is_some())
            .take(5)
            .map(|(base, entry)| (*base, entry.source.unwrap()))
            .collect();
        let known = log.producers();
        for (base, source) in newest.iter().filter(|(base, _)| *base >= self.log_start) {
            let found = known.iter().any(|(_, entry)| {
                entry
                    .batches
                    .iter()
                    .any(|b| b.first_sequence == source.first_sequence && b.base_offset == *base)
            });
            assert!(
                found,
                "seed {}: the batch at {base} is not known, {known:?}",
                self.seed
            );
        }
    }

    /// The time index leads to the same frame as walking the log.
    fn check_times(&self, log: &Log) {
        let now = self.simulation.env().clock.wall_ms();
        for _ in 0..3 {
            let time = now - self.random.below(100_000) as i64;
            let found = log.first_committed_at(time).unwrap();
            if let Some(header) = found {
                assert!(header.commit_time >= time && header.last_offset >= self.log_start);
            }
        }
    }

    fn run(&mut self) {
        let Some(mut log) = self.open() else {
            unreachable!("the power is on")
        };
        for _ in 0..60 {
            self.simulation
                .clock
                .advance(Duration::from_millis(self.random.below(50)));
            match self.random.below(20) {
                0..=8 => self.append(&log),
                9..=12 => drop(log.sync()),
                13 => self.done.checkpoints += usize::from(log.checkpoint().is_ok()),
                14 => {
                    let w = log.watermarks();
                    let span = (w.high_watermark - w.log_start) as u64;
                    let to = w.log_start + self.random.below(span + 1) as i64;
                    // Whether a failed move took place is only known after recovery.
                    self.log_start_tried = self.log_start_tried.max(to);
                    if let Ok(start) = log.delete_before(to) {
                        self.log_start = start;
                    }
                }
                15 if self.random.once_in(4) => {
                    self.simulation.disk.fail_sync_after(self.random.below(3))
                }
                16 => {
                    drop(log.roll_active());
                    self.done.rolls += 1;
                }
                17 => {
                    drop(log.close());
                    self.note_promise(&log);
                    drop(log);
                    log = self.reopen();
                    continue;
                }
                18 => self.simulation.disk.cut_power_after(self.random.below(12)),
                _ => {
                    self.simulation.disk.cut_power_after(u64::MAX);
                    self.check(&log);
                }
            }
            self.note_promise(&log);
            let failed = log.offline_cause().is_some() || self.simulation.disk.power_is_off();
            if failed || self.random.once_in(15) {
                drop(log);
                if self.random.once_in(3) && !self.simulation.disk.power_is_off() {
                    self.kill();
                } else {
                    self.lose_power();
                }
                log = self.reopen();
            }
        }
    }

    /// Opens the log after a crash, often crashing again during or right after recovery.
    fn reopen(&mut self) -> Log {
        loop {
            self.check_files(true);
            if self.random.once_in(2) {
                self.simulation.disk.cut_power_after(self.random.below(15));
            }
            let opened = self.open();
            let again = self.random.once_in(3);
            if let Some(log) = opened
                && !self.simulation.disk.power_is_off()
                && !again
            {
                // Nothing may be cut off in the checks.
                self.simulation.disk.cut_power_after(u64::MAX);
                self.recovered(&log);
                return log;
            }
            self.lose_power();
        }
    }
}

fn source(first: i32, records: i32) -> SourceBlock {
    SourceBlock {
        scheme: ProducerScheme::Kafka,
        producer_id: 7,
        producer_epoch: 0,
        source_partition: 0,
        first_sequence: first,
        last_sequence: first + records - 1,
    }
}

fn seeds() -> Vec<u64> {
    if let Ok(seed) = std::env::var("VLTAVA_CRASH_SEED") {
        return vec![seed.parse().expect("a number")];
    }
    let count = std::env::var("VLTAVA_CRASH_SEEDS").map_or(50, |n| n.parse().expect("a number"));
    (0..count).collect()
}

#[test]
fn what_was_promised_survives_every_crash() {
    let mut done = Done::default();
    let seeds = seeds();
    for seed in &seeds {
        let mut world = World::new(*seed);
        world.run();
        let Done {
            rolls,
            checkpoints,
            due,
            served_unsettled,
            kills,
            power_losses,
            failed_syncs,
        } = world.done;
        done.rolls += rolls;
        done.checkpoints += checkpoints;
        done.due += due;
        done.served_unsettled += served_unsettled;
        done.kills += kills;
        done.power_losses += power_losses;
        done.failed_syncs += failed_syncs;
    }
    println!("{} seeds: {done:?}", seeds.len());
    // A test in which little happens proves little.
    if seeds.len() >= 50 {
        let least = seeds.len();
        for count in [done.rolls, done.checkpoints, done.kills, done.power_losses] {
            assert!(count >= least, "{done:?}");
        }
        for count in [done.due, done.served_unsettled, done.failed_syncs] {
            assert!(count >= least / 5, "{done:?}");
        }
    }
}

/// Every byte of a synced log, flipped: recovery or the offline check reports it.
#[test]
fn a_flipped_bit_below_the_synced_end_is_never_cut() {
    let simulation = Simulation::new(1);
    let config = LogConfig {
        segment_bytes_max: 700,
        ..LogConfig::default()
    };
    let directory = Path::new(DIRECTORY);
    let open = |epoch| {
        Log::open(
            context(simulation.env()),
            tablet(),
            directory.to_path_buf(),
            config.clone(),
            LeaderEpoch::new(epoch),
        )
    };
    let log = open(1).unwrap();
    for n in 0..6u8 {
        let batches = vec![kafka_batch(&[n; 150], 2, None)];
        let append = Append {
            batches,
            expected_epoch: None,
            stamp_log_append_time: false,
        };
        log.append_group(&[append]).remove(0).unwrap();
        log.sync().unwrap();
    }
    // No checkpoint: what vouches for the synced end are the later frames alone.
    let end = log.watermarks().log_end;
    let recorded = log.watermarks().log_end + -2;
    drop(log);
    let names: Vec<_> = simulation.env().disk.list(directory).unwrap();
    let mut flipped = 0;
    for entry in names.iter().filter(|e| e.name.ends_with(".log")) {
        let path = directory.join(&entry.name);
        for position in 0..entry.length {
            simulation.disk.kill();
            simulation
                .disk
                .flip_bit(&path, position, (position % 8) as u8)
                .unwrap();
            let log = open(2);
            let reported = match &log {
                Ok(log) => {
                    matches!(log.offline_cause(), Some(OfflineCause::Corrupt { .. }))
                        || log.watermarks().log_end >= recorded
                }
                Err(_) => true,
            };
            assert!(reported, "{} byte {position} was cut", entry.name);
            if let Ok(log) = log
                && log.offline_cause().is_none()
                && log.watermarks().log_end < end
            {
                // The last frame lies above the recorded synced end: a torn tail to recovery.
                return;
            }
            simulation
                .disk
                .flip_bit(&path, position, (position % 8) as u8)
                .unwrap();
            flipped += 1;
        }
    }
    assert!(flipped > 500);
}
