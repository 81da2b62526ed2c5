//! What the offline check of a log finds, and what it lets pass.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::path::{Path, PathBuf};

use common::{context, kafka_batch, tablet};
use protocol::ids::{LeaderEpoch, Offset};
use storage::env::simulated::Simulation;
use storage::env::{Disk, OpenMode};
use storage::log::frame::{ALIGNMENT, HEADER_LENGTH};
use storage::log::{Append, FrameScanner, Log, LogConfig, Step, check};

const DIRECTORY: &str = "/data/logs/1/0";
const SEGMENT_HEADER: u64 = 64;

/// Fields that the broker writes anew into what it sends: bytes of a stored Kafka batch that
/// nobody reads. The base offset, and the leader epoch; a magic byte is judged by whoever decodes.
const UNREAD: [std::ops::Range<u64>; 2] = [0..8, 12..17];

/// A log of two segments; all of it is synced, the last append apart when `unsynced`.
fn log(unsynced: bool) -> Simulation {
    let simulation = Simulation::new(1);
    let config = LogConfig {
        segment_bytes_max: 600,
        ..LogConfig::default()
    };
    let log = Log::open(
        context(simulation.env()),
        tablet(),
        PathBuf::from(DIRECTORY),
        config,
        LeaderEpoch::new(1),
    )
    .unwrap();
    let append = |number: u8| {
        let append = Append {
            batches: vec![kafka_batch(&[number; 50], 2, None)],
            expected_epoch: None,
            stamp_log_append_time: false,
        };
        log.append_group(&[append])[0].as_ref().unwrap();
    };
    for number in 0..5 {
        append(number);
        log.sync().unwrap();
    }
    if unsynced {
        append(5);
    } else {
        log.close().unwrap();
    }
    simulation
}

fn segments(disk: &dyn Disk) -> Vec<PathBuf> {
    let entries = disk.list(Path::new(DIRECTORY)).unwrap();
    let logs = entries.iter().filter(|entry| entry.name.ends_with(".log"));
    logs.map(|entry| Path::new(DIRECTORY).join(&entry.name))
        .collect()
}

/// The bytes of a segment in which a flipped bit must be found.
fn guarded(disk: &dyn Disk, path: &Path) -> Vec<u64> {
    let file = disk.open(path, OpenMode::Read).unwrap();
    let length = file.length().unwrap();
    let mut header = [0; SEGMENT_HEADER as usize];
    file.read_at(&mut header, 0).unwrap();
    let salt = u64::from_le_bytes(header[16..24].try_into().unwrap());
    let mut guarded: Vec<u64> = (0..SEGMENT_HEADER).collect();
    let mut scanner = FrameScanner::new(file, salt, SEGMENT_HEADER, length);
    while let Step::Frame { header, position } = scanner.next_header().unwrap() {
        let batch = position + HEADER_LENGTH as u64;
        let end = position + header.frame_length() as u64;
        let read = |byte: &u64| {
            !UNREAD
                .iter()
                .any(|unread| unread.contains(&byte.wrapping_sub(batch)))
        };
        guarded.extend((position..end).filter(read));
        assert_eq!(end % ALIGNMENT as u64, 0);
    }
    guarded
}

#[test]
fn a_sound_log_passes() {
    let simulation = log(false);
    let found = check(&*simulation.env().disk, Path::new(DIRECTORY)).unwrap();
    assert_eq!(found.finding, None);
    assert_eq!((found.start, found.end), (Offset::ZERO, Offset::new(10)));
    assert_eq!((found.frames, found.synced_end), (5, Offset::new(10)));
    assert!(found.segments > 1);
}

#[test]
fn a_bit_flipped_in_any_guarded_byte_of_what_was_synced_is_damage() {
    let simulation = log(false);
    let disk = simulation.env().disk;
    for path in segments(&*disk) {
        for position in guarded(&*disk, &path) {
            let bit = (position % 8) as u8;
            simulation.disk.flip_bit(&path, position, bit).unwrap();
            let finding = check(&*disk, Path::new(DIRECTORY)).unwrap().finding;
            let finding = finding.unwrap_or_else(|| panic!("{} byte {position}", path.display()));
            assert!(finding.is_damage, "{finding:?}");
            assert_eq!(finding.path, path);
            assert!(
                finding.position <= position,
                "{finding:?} for byte {position}"
            );
            simulation.disk.flip_bit(&path, position, bit).unwrap();
        }
    }
}

#[test]
fn a_missing_segment_is_damage() {
    for number in [0, 1] {
        let simulation = log(false);
        let disk = simulation.env().disk;
        let path = segments(&*disk)[number].clone();
        disk.remove_file(&path).unwrap();
        let finding = check(&*disk, Path::new(DIRECTORY)).unwrap().finding;
        // Without its first segment a log is one whose start has moved on.
        assert_eq!(finding.is_some_and(|found| found.is_damage), number > 0);
    }
}

#[test]
fn a_torn_tail_is_no_damage() {
    let simulation = log(true);
    let disk = simulation.env().disk;
    let path = segments(&*disk).pop().unwrap();
    let file = disk.open(&path, OpenMode::ReadWrite).unwrap();
    file.set_length(file.length().unwrap() - 20).unwrap();
    let found = check(&*disk, Path::new(DIRECTORY)).unwrap();
    let finding = found.finding.unwrap();
    assert!(!finding.is_damage, "{finding:?}");
    assert_eq!(
        (finding.offset, found.end),
        (Offset::new(10), Offset::new(10))
    );
}
