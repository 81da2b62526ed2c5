//! When a round is due.

use std::time::Duration;

use super::super::CompactionConfig;
use super::*;

fn compaction() -> CompactionConfig {
    CompactionConfig {
        dirty_ratio_min: 0.5,
        lag_min_ms: 0,
        lag_max_ms: None,
        delete_retention_ms: HOUR_MS,
    }
}

fn segment(log: &Log) {
    put(log, &[("a", Some("1")), ("b", Some("1"))]);
    log.roll_active().unwrap();
}

#[test]
fn a_round_is_due_when_more_than_the_ratio_is_dirty() {
    let simulation = Simulation::new(1);
    let log = open(&simulation, 1);
    let backlog = log.clean_backlog(&compaction()).unwrap();
    assert!(!backlog.is_due(&compaction()), "nothing is closed");
    segment(&log);
    segment(&log);
    let backlog = log.clean_backlog(&compaction()).unwrap();
    assert_eq!(backlog.first_uncleanable, Offset::new(4));
    assert!(backlog.is_due(&compaction()) && backlog.clean_bytes == 0);
    assert_eq!(clean(&log).end, Offset::new(4));
    let backlog = log.clean_backlog(&compaction()).unwrap();
    assert_eq!(
        (backlog.first_dirty, backlog.dirty_bytes),
        (Offset::new(4), 0)
    );
    assert!(!backlog.is_due(&compaction()));
    segment(&log);
    let dirty = log.clean_backlog(&compaction()).unwrap();
    assert!((dirty.dirty_ratio() - 0.5).abs() < 0.1, "{dirty:?}");
    segment(&log);
    assert!(
        log.clean_backlog(&compaction())
            .unwrap()
            .is_due(&compaction())
    );
    // What was cleaned is remembered over a restart.
    log.close().unwrap();
    simulation.disk.kill();
    let log = open(&simulation, 2);
    assert_eq!(
        log.clean_backlog(&compaction()).unwrap().first_dirty,
        Offset::new(4)
    );
}

#[test]
fn what_is_not_durable_yet_is_made_so_by_the_round() {
    let simulation = Simulation::new(1);
    let page_cache = LogConfig {
        flush_mode: crate::log::FlushMode::PageCache,
        ..config()
    };
    let log = open_with(&simulation, page_cache, 1);
    append(&log, PLAIN, &[("a", Some("1")), ("a", Some("2"))]);
    log.roll_active().unwrap();
    assert_eq!(log.watermarks().synced_end, Offset::ZERO);
    let backlog = log.clean_backlog(&compaction()).unwrap();
    assert!(backlog.is_due(&compaction()));
    clean(&log);
    assert_eq!(left(&log), named(&[(1, "a")]));
    assert_eq!(log.watermarks().synced_end, Offset::new(2));
}

#[test]
fn young_records_are_left_alone() {
    let simulation = Simulation::new(1);
    let log = open(&simulation, 1);
    let config = CompactionConfig {
        lag_min_ms: 1_000,
        ..compaction()
    };
    segment(&log);
    simulation.clock.advance(Duration::from_millis(900));
    segment(&log);
    assert_eq!(
        log.clean_backlog(&config).unwrap().first_uncleanable,
        Offset::ZERO
    );
    simulation.clock.advance(Duration::from_millis(200));
    assert_eq!(
        log.clean_backlog(&config).unwrap().first_uncleanable,
        Offset::new(2)
    );
    simulation.clock.advance(Duration::from_millis(900));
    // What somebody needs as it is.
    for (needed, uncleanable) in [(0, 0), (2, 2), (3, 2), (4, 4), (9, 4)] {
        let backlog = log.clean_backlog_below(&config, Offset::new(needed));
        let found = backlog.unwrap().first_uncleanable;
        assert_eq!(found, Offset::new(uncleanable), "{needed}");
    }
    assert_eq!(
        log.clean_backlog(&config).unwrap().first_uncleanable,
        Offset::new(4)
    );
}

#[test]
fn old_records_are_cleaned_however_few_and_the_active_segment_is_rolled_for_them() {
    let simulation = Simulation::new(1);
    let log = open(&simulation, 1);
    let config = CompactionConfig {
        dirty_ratio_min: 1.0,
        lag_max_ms: Some(5_000),
        ..compaction()
    };
    put(&log, &[("a", Some("1")), ("a", Some("2"))]);
    simulation.clock.advance(Duration::from_millis(4_999));
    assert!(!log.clean_backlog(&config).unwrap().is_due(&config));
    assert_eq!(log.segments().len(), 1);
    simulation.clock.advance(Duration::from_millis(1));
    log.clean_backlog(&config).unwrap();
    assert_eq!(log.segments().len(), 2);
    simulation.clock.advance(Duration::from_millis(1));
    let backlog = log.clean_backlog(&config).unwrap();
    assert_eq!((backlog.overdue_ms, backlog.is_due(&config)), (1, true));
}
