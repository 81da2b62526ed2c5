use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use protocol::batch::{BatchFormat, UnassignedBatch};
use protocol::ids::{BucketId, LeaderEpoch, Offset, SchemaId, TableId, TabletId};

use super::*;
use crate::buffers::BufferPool;
use crate::clock::CommitClock;
use crate::env::simulated::Simulation;
use crate::log::{Append, Log, LogConfig, LogContext, OpenFiles};

const DIRECTORY: &str = "/data/logs/1/0";

/// Kafka batches: the bytes of these fields are the log's to assign, no CRC covers them.
const ASSIGNED: [std::ops::Range<u64>; 2] = [0..8, 12..16];

fn tablet(bucket: i32) -> TabletId {
    TabletId {
        table: TableId::new(1),
        table_partition: None,
        bucket: BucketId::new(bucket),
    }
}

fn batch(fill: u8, records: i32) -> UnassignedBatch {
    let mut bytes = vec![0u8; 61];
    bytes.extend_from_slice(&[fill; 150]);
    let length = (bytes.len() - 12) as i32;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[16] = 2;
    bytes[23..27].copy_from_slice(&(records - 1).to_be_bytes());
    bytes[57..61].copy_from_slice(&records.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    UnassignedBatch {
        bytes: Bytes::from(bytes),
        format: BatchFormat::Kafka,
        schema_id: SchemaId::new(1),
        record_count: records,
        last_offset_delta: records - 1,
        record_time_max: 1_600_000_000_000 + i64::from(fill),
        transactional: false,
        control: false,
        source: None,
    }
}

fn open(simulation: &Simulation, epoch: i32) -> Log {
    let env = simulation.env();
    let context = LogContext {
        commit_clock: CommitClock::new(Arc::clone(&env.clock), 0),
        files: OpenFiles::new(3),
        buffers: BufferPool::new(1 << 20),
        recovery_debt: Arc::default(),
        env,
    };
    let config = LogConfig {
        segment_bytes_max: 900,
        index_interval_bytes: 1,
        ..LogConfig::default()
    };
    let directory = DIRECTORY.into();
    Log::open(
        Arc::new(context),
        tablet(0),
        directory,
        config,
        LeaderEpoch::new(epoch),
    )
    .unwrap()
}

fn append(log: &Log, fill: u8) {
    let append = Append {
        batches: vec![batch(fill, 2)],
        expected_epoch: None,
        stamp_log_append_time: false,
    };
    log.append_group(&[append]).remove(0).unwrap();
}

/// Nine batches of two records each in segments of three, cleanly closed.
fn closed_log() -> Simulation {
    let simulation = Simulation::new(1);
    let log = open(&simulation, 1);
    for n in 0..9 {
        append(&log, n);
        log.sync().unwrap();
    }
    log.close().unwrap();
    simulation
}

fn verify_with(simulation: &Simulation, expected: Expected) -> Verified {
    verify(&*simulation.env().disk, Path::new(DIRECTORY), expected).unwrap()
}

fn verified(simulation: &Simulation) -> Verified {
    verify_with(simulation, Expected::default())
}

fn log_files(simulation: &Simulation) -> Vec<(PathBuf, u64)> {
    let directory = Path::new(DIRECTORY);
    let entries = simulation.env().disk.list(directory).unwrap();
    entries
        .into_iter()
        .filter(|entry| entry.name.ends_with(".log"))
        .map(|entry| (directory.join(entry.name), entry.length))
        .collect()
}

#[test]
fn a_closed_log_is_clean() {
    let simulation = closed_log();
    let expected = Expected {
        tablet: Some(tablet(0)),
        epoch: Some(LeaderEpoch::new(1)),
    };
    let verified = verify_with(&simulation, expected);
    assert_eq!(verified.findings, []);
    assert_eq!(verified.frames, 9);
    assert_eq!(verified.segments, log_files(&simulation).len());
    assert!(verified.segments > 2);
    assert_eq!(
        (verified.log_start, verified.log_end),
        (Offset::ZERO, Offset::new(18))
    );
    assert_eq!(verified.synced_end, Offset::new(18));
}

#[test]
fn every_flipped_byte_of_a_synced_log_is_reported() {
    let simulation = closed_log();
    for (path, length) in log_files(&simulation) {
        let frame = (length - HEADER_LENGTH) / ((length - HEADER_LENGTH) / 280).max(1);
        for position in 0..length {
            let bit = (position % 8) as u8;
            simulation.disk.flip_bit(&path, position, bit).unwrap();
            let verified = verified(&simulation);
            simulation.disk.flip_bit(&path, position, bit).unwrap();
            // Behind the segment header, the frame header comes first, then the batch.
            let in_frame = position.checked_sub(HEADER_LENGTH).map(|p| p % frame);
            let in_batch = in_frame.and_then(|p| p.checked_sub(64));
            if in_batch.is_some_and(|p| ASSIGNED.iter().any(|field| field.contains(&p))) {
                continue;
            }
            assert!(verified.is_damaged(), "{} byte {position}", path.display());
            let first = &verified.findings[0];
            assert_eq!(first.path, path);
            let named = first.position.unwrap();
            assert!(named <= position && position < named + frame, "{first:?}");
        }
    }
    assert_eq!(verified(&simulation).findings, []);
}

#[test]
fn a_flipped_byte_of_a_checkpoint_is_reported() {
    let simulation = closed_log();
    let path = checkpoint::path(Path::new(DIRECTORY));
    simulation.disk.flip_bit(&path, 30, 2).unwrap();
    assert!(verified(&simulation).is_damaged());
}

#[test]
fn a_damaged_index_is_no_damage_of_the_log() {
    let simulation = closed_log();
    let path = log_files(&simulation)[0].0.with_extension("index");
    simulation.disk.flip_bit(&path, 30, 2).unwrap();
    let verified = verified(&simulation);
    assert!(!verified.is_damaged());
    assert_eq!(verified.findings[0].severity, Severity::Derived);
}

#[test]
fn a_missing_segment_is_reported_wherever_it_stood() {
    let count = log_files(&closed_log()).len();
    for number in 0..count {
        let simulation = closed_log();
        let (path, _) = &log_files(&simulation)[number];
        simulation.env().disk.remove_file(path).unwrap();
        assert!(verified(&simulation).is_damaged(), "segment {number}");
    }
}

#[test]
fn an_unsynced_tail_is_torn_and_not_damaged() {
    let simulation = Simulation::new(1);
    let log = open(&simulation, 1);
    append(&log, 1);
    log.sync().unwrap();
    append(&log, 2);
    drop(log);
    let (path, length) = log_files(&simulation)[0].clone();
    simulation.disk.flip_bit(&path, length - 9, 1).unwrap();
    let verified = verified(&simulation);
    assert!(!verified.is_damaged());
    assert_eq!(verified.findings.len(), 1);
    assert_eq!(verified.findings[0].severity, Severity::Torn);
    assert_eq!(verified.findings[0].offset, Some(Offset::new(2)));
}

#[test]
fn files_of_another_tablet_or_of_the_future_are_reported() {
    let simulation = closed_log();
    let another = Expected {
        tablet: Some(tablet(1)),
        epoch: None,
    };
    assert!(verify_with(&simulation, another).is_damaged());
    let past = Expected {
        tablet: None,
        epoch: Some(LeaderEpoch::new(0)),
    };
    assert!(verify_with(&simulation, past).is_damaged());
}

#[test]
fn an_empty_directory_is_an_empty_log() {
    let simulation = Simulation::new(1);
    let directory = Path::new(DIRECTORY);
    simulation.env().disk.create_directories(directory).unwrap();
    assert_eq!(verified(&simulation), Verified::default());
}
