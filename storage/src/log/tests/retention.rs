use std::time::Duration;

use super::*;
use crate::env::DirectoryEntry;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const DAY_MS: i64 = DAY.as_millis() as i64;

/// Names of the segment files.
fn files(simulation: &Simulation) -> Vec<String> {
    let entries = simulation.env().disk.list(DIRECTORY.as_ref()).unwrap();
    let is_segment = |e: &DirectoryEntry| e.name.ends_with(".log");
    entries
        .into_iter()
        .filter(is_segment)
        .map(|e| e.name)
        .collect()
}

#[test]
fn deleting_before_an_offset_removes_whole_segments_and_survives_a_crash() {
    let simulation = Simulation::new(1);
    let log = open(&simulation, with_segments_of(700), 1);
    for fill in 0..10 {
        append(&log, batch(fill, 500, 1)).unwrap();
    }
    log.sync().unwrap();
    assert_eq!(bases(&log).len(), 10);
    let before = files(&simulation).len();
    assert_eq!(log.delete_before(Offset::new(5)).unwrap(), Offset::new(5));
    assert_eq!(log.watermarks().log_start, Offset::new(5));
    assert!(files(&simulation).len() < before);
    assert_eq!(contents(&log, 5)[0].0, 5);
    assert_eq!(log.delete_before(Offset::new(3)).unwrap(), Offset::new(5));
    drop(log);
    simulation.disk.crash(9);
    let log = open(&simulation, with_segments_of(700), 2);
    assert_eq!(log.watermarks().log_start, Offset::new(5));
    assert_eq!(log.watermarks().log_end, Offset::new(10));
}

#[test]
fn nothing_above_the_high_watermark_is_deleted() {
    let simulation = Simulation::new(1);
    let log = open(&simulation, config(), 1);
    append(&log, batch(1, 10, 2)).unwrap();
    log.sync().unwrap();
    append(&log, batch(2, 10, 2)).unwrap();
    assert_eq!(log.delete_before(Offset::new(4)).unwrap(), Offset::new(2));
}

#[test]
fn by_size_the_oldest_closed_segments_go() {
    let simulation = Simulation::new(1);
    let config = LogConfig {
        retention_bytes: Some(2_000),
        ..with_segments_of(700)
    };
    let log = open(&simulation, config, 1);
    for fill in 0..20 {
        append(&log, batch(fill, 500, 1)).unwrap();
    }
    log.sync().unwrap();
    let before = log.size_bytes();
    let removed = log.enforce_retention().unwrap();
    assert!(removed.segments > 10);
    assert_eq!(removed.bytes, before - log.size_bytes());
    assert!(
        log.size_bytes() >= 2_000,
        "not below the limit, as in Kafka"
    );
    let start = log.watermarks().log_start;
    assert_eq!(start.value(), bases(&log)[0]);
    assert_eq!(log.enforce_retention().unwrap().segments, 0);
}

#[test]
fn by_time_segments_go_when_their_newest_record_is_too_old() {
    let simulation = Simulation::new(1);
    let config = LogConfig {
        retention_ms: Some(DAY_MS),
        ..with_segments_of(200)
    };
    let now = 1_700_000_000_000;
    let log = open(&simulation, config, 1);
    for time in [now - 2 * DAY_MS, now, now - 3 * DAY_MS, now] {
        append(&log, recorded_at(time)).unwrap();
    }
    log.sync().unwrap();
    assert_eq!(bases(&log), [0, 1, 2, 3]);
    log.enforce_retention().unwrap();
    assert_eq!(bases(&log), [1, 2, 3], "only a prefix goes");
}

#[test]
fn by_ttl_the_commit_time_counts_and_an_old_active_segment_is_rolled() {
    let simulation = Simulation::new(1);
    let config = LogConfig {
        ttl_ms: Some(DAY_MS),
        ..config()
    };
    let log = open(&simulation, config, 1);
    append(&log, recorded_at(1)).unwrap();
    append(&log, recorded_at(i64::MAX)).unwrap();
    log.sync().unwrap();
    assert_eq!(log.enforce_retention().unwrap().segments, 0);
    simulation.clock.advance(DAY + Duration::from_millis(1));
    assert_eq!(log.enforce_retention().unwrap().segments, 1);
    let w = log.watermarks();
    assert_eq!((w.log_start, w.log_end), (Offset::new(2), Offset::new(2)));
    assert_eq!(bases(&log), [2]);
    append(&log, recorded_at(1)).unwrap();
    assert_eq!(log.watermarks().log_end, Offset::new(3), "offsets go on");
}

#[test]
fn a_reader_below_the_new_start_is_told_so() {
    let simulation = Simulation::new(1);
    let log = open(&simulation, with_segments_of(700), 1);
    for fill in 0..10 {
        append(&log, batch(fill, 500, 1)).unwrap();
    }
    log.sync().unwrap();
    let held = log.segments();
    log.delete_before(Offset::new(8)).unwrap();
    let refused = log.read_run(range(2, 10), true);
    assert!(matches!(
        refused,
        Err(super::super::ReadError::OutOfRange { log_start, .. }) if log_start == Offset::new(8)
    ));
    assert!(
        held.len() > log.segments().len(),
        "open readers keep what they hold"
    );
}
