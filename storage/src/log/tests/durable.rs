use super::super::{FlushMode, OfflineCause};
use super::*;

#[test]
fn one_sync_covers_all_that_was_appended_before_it() {
    let simulation = Simulation::new(1);
    let log = open(&simulation, config(), 1);
    log.sync().unwrap();
    let before = simulation.disk.counters().file_syncs;
    for fill in 0..100 {
        append(&log, batch(fill, 100, 1)).unwrap();
    }
    assert_eq!(log.watermarks().high_watermark, Offset::ZERO);
    assert_eq!(log.sync().unwrap(), Offset::new(100));
    assert_eq!(simulation.disk.counters().file_syncs - before, 1);
    assert_eq!(log.watermarks().high_watermark, Offset::new(100));
    log.sync().unwrap();
    let syncs = simulation.disk.counters().file_syncs - before;
    assert_eq!(syncs, 1, "nothing new, nothing to sync");
}

#[test]
fn a_sync_covers_segments_that_were_closed_since_the_last_one() {
    let simulation = Simulation::new(1);
    let log = open(&simulation, with_segments_of(1000), 1);
    for fill in 0..20 {
        append(&log, batch(fill, 200, 1)).unwrap();
    }
    log.sync().unwrap();
    for segment in log.segments().iter() {
        let durable = simulation.disk.durable_length(segment.path()).unwrap();
        assert_eq!(durable, segment.length());
    }
    assert_eq!(log.watermarks().synced_end, Offset::new(20));
}

#[test]
fn a_failed_sync_takes_the_log_offline_for_writes_and_is_not_tried_again() {
    let simulation = Simulation::new(1);
    let log = open(&simulation, config(), 1);
    append(&log, batch(1, 10, 1)).unwrap();
    log.sync().unwrap();
    append(&log, batch(2, 10, 1)).unwrap();
    simulation.disk.fail_sync_after(0);
    assert!(matches!(log.sync(), Err(OfflineCause::SyncFailed { .. })));
    let syncs = simulation.disk.counters().file_syncs;
    assert!(matches!(log.sync(), Err(OfflineCause::SyncFailed { .. })));
    assert_eq!(simulation.disk.counters().file_syncs, syncs);
    let refused = append(&log, batch(3, 10, 1));
    assert!(matches!(
        refused,
        Err(AppendError::Offline(OfflineCause::SyncFailed { .. }))
    ));
    assert_eq!(log.watermarks().high_watermark, Offset::new(1));
    assert_eq!(contents(&log, 0), [(0, 1)], "reads go on");
}

#[test]
fn in_page_cache_mode_what_is_written_counts_at_once() {
    let simulation = Simulation::new(1);
    let config = LogConfig {
        flush_mode: FlushMode::PageCache,
        ..config()
    };
    let log = open(&simulation, config.clone(), 1);
    let before = simulation.disk.counters().file_syncs;
    append(&log, batch(1, 10, 3)).unwrap();
    let w = log.watermarks();
    assert_eq!(w.high_watermark, Offset::new(3));
    assert_eq!(w.synced_end, Offset::ZERO, "the two ends never mix");
    assert_eq!(simulation.disk.counters().file_syncs, before);
}

#[test]
fn a_change_to_page_cache_mode_makes_visible_what_waited_for_a_sync() {
    let simulation = Simulation::new(1);
    let log = open(&simulation, config(), 1);
    append(&log, batch(1, 10, 3)).unwrap();
    assert_eq!(log.watermarks().high_watermark, Offset::ZERO);
    log.set_config(LogConfig {
        flush_mode: FlushMode::PageCache,
        ..config()
    });
    assert_eq!(log.watermarks().high_watermark, Offset::new(3));
}

#[test]
fn a_closed_log_takes_no_appends_and_opens_without_recovery() {
    let simulation = Simulation::new(1);
    let log = open(&simulation, config(), 1);
    append(&log, batch(1, 10, 2)).unwrap();
    log.close().unwrap();
    let refused = append(&log, batch(2, 10, 1));
    assert!(matches!(
        refused,
        Err(AppendError::Offline(OfflineCause::Closed))
    ));
    assert_eq!(contents(&log, 0), [(0, 1)], "reads go on");
    drop(log);
    simulation.disk.crash(1);
    let log = open(&simulation, config(), 2);
    assert_eq!(log.watermarks().log_end, Offset::new(2));
    assert_eq!(log.watermarks().synced_end, Offset::new(2));
}
