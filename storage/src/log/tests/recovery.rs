//! What a start has to read, and what it says when files are gone.

use std::path::Path;

use super::super::{FlushMode, OfflineCause};
use super::*;

fn page_cache() -> LogConfig {
    LogConfig {
        flush_mode: FlushMode::PageCache,
        ..config()
    }
}

fn fill(log: &Log, count: u8) {
    for fill in 0..count {
        append(log, batch(fill, 900, 1)).unwrap();
    }
}

fn remove(simulation: &Simulation, name: &str) {
    let disk = simulation.env().disk;
    disk.remove_file(&Path::new(DIRECTORY).join(name)).unwrap();
}

fn remove_segments(simulation: &Simulation) {
    for entry in simulation.env().disk.list(Path::new(DIRECTORY)).unwrap() {
        if entry.name.ends_with(".log") {
            remove(simulation, &entry.name);
        }
    }
}

fn is_corrupt(log: &Log) -> bool {
    matches!(log.offline_cause(), Some(OfflineCause::Corrupt { .. }))
}

#[test]
fn a_start_reads_what_lies_behind_the_checkpoint_and_no_more() {
    for config in [config(), page_cache()] {
        let simulation = Simulation::new(1);
        let mode = config.flush_mode;
        let config = LogConfig {
            segment_bytes_max: 100_000,
            ..config
        };
        let log = open(&simulation, config.clone(), 1);
        fill(&log, 250);
        log.checkpoint().unwrap();
        fill(&log, 10);
        assert_eq!(log.bytes_behind(), 10 * (64 + 61 + 900 + 7));
        drop(log);
        simulation.disk.kill();
        let before = simulation.disk.counters().read_bytes;
        let log = open(&simulation, config, 2);
        let read = simulation.disk.counters().read_bytes - before;
        assert!(read < 40_000, "{mode:?}: {read} bytes read");
        assert_eq!(log.watermarks().high_watermark, Offset::new(260));
        assert_eq!(contents(&log, 250).len(), 10);
    }
}

#[test]
fn a_checkpoint_is_due_after_enough_bytes_and_settles_them() {
    let simulation = Simulation::new(1);
    let config = LogConfig {
        checkpoint_bytes: 5_000,
        ..page_cache()
    };
    let log = open(&simulation, config, 1);
    fill(&log, 4);
    assert!(!log.checkpoint_is_due());
    fill(&log, 1);
    assert!(log.checkpoint_is_due());
    log.checkpoint().unwrap();
    assert!(!log.checkpoint_is_due());
    let context = log.context().clone();
    assert_eq!((log.bytes_behind(), context.recovery_debt.bytes()), (0, 0));
    fill(&log, 1);
    assert!(context.recovery_debt.bytes() > 0);
    drop(log);
    assert_eq!(context.recovery_debt.bytes(), 0);
}

#[test]
fn in_page_cache_mode_a_log_serves_before_its_tail_is_written_again() {
    let simulation = Simulation::new(1);
    let log = open(&simulation, page_cache(), 1);
    fill(&log, 5);
    // The pages look clean from now on, though the disk has none of them.
    simulation.disk.fail_sync_after(0);
    log.sync().unwrap_err();
    drop(log);
    simulation.disk.kill();
    let syncs = simulation.disk.counters().file_syncs;
    let log = open(&simulation, page_cache(), 2);
    assert_eq!(simulation.disk.counters().file_syncs, syncs);
    assert_eq!(contents(&log, 0).len(), 5);
    assert_eq!(log.watermarks().synced_end, Offset::ZERO);
    fill(&log, 1);
    log.sync().unwrap();
    assert_eq!(log.watermarks().synced_end, Offset::new(6));
    drop(log);
    simulation.disk.crash(3);
    let log = open(&simulation, page_cache(), 3);
    assert_eq!(contents(&log, 0).len(), 6);
}

#[test]
fn in_fsync_mode_the_tail_is_on_disk_before_the_log_serves() {
    let simulation = Simulation::new(1);
    let log = open(&simulation, config(), 1);
    fill(&log, 5);
    simulation.disk.fail_sync_after(0);
    log.sync().unwrap_err();
    drop(log);
    simulation.disk.kill();
    let log = open(&simulation, config(), 2);
    assert_eq!(log.watermarks().synced_end, Offset::new(5));
    drop(log);
    simulation.disk.crash(3);
    assert_eq!(contents(&open(&simulation, config(), 3), 0).len(), 5);
}

#[test]
fn lost_segments_are_told_at_every_start_until_the_loss_is_accepted() {
    let simulation = Simulation::new(1);
    let log = open(&simulation, config(), 1);
    fill(&log, 5);
    log.close().unwrap();
    remove_segments(&simulation);
    for epoch in 2..5 {
        let log = open(&simulation, config(), epoch);
        assert!(is_corrupt(&log), "{:?}", log.offline_cause());
        assert!(matches!(
            append(&log, batch(1, 10, 1)),
            Err(AppendError::Offline(_))
        ));
        log.close().unwrap();
        drop(log);
        simulation.disk.crash(u64::from(epoch.unsigned_abs()));
    }
    accept_loss(&simulation);
    let log = open(&simulation, config(), 5);
    assert!(log.offline_cause().is_none());
    assert_eq!(log.watermarks().log_start, Offset::new(5));
    let appended = append(&log, batch(9, 10, 1)).unwrap();
    assert_eq!(
        appended.base_offset,
        Offset::new(5),
        "no offset is used twice"
    );
    log.close().unwrap();
    remove_segments(&simulation);
    assert!(is_corrupt(&open(&simulation, config(), 6)), "accepted once");
}

#[test]
fn a_lost_first_segment_is_told_and_can_be_accepted() {
    let simulation = Simulation::new(1);
    let log = open(&simulation, with_segments_of(2_000), 1);
    fill(&log, 6);
    log.close().unwrap();
    let second = log.segments()[1].base();
    remove(&simulation, "00000000000000000000.log");
    for epoch in 2..4 {
        assert!(is_corrupt(&open(&simulation, config(), epoch)));
    }
    accept_loss(&simulation);
    for epoch in 4..6 {
        let log = open(&simulation, config(), epoch);
        assert!(log.offline_cause().is_none());
        assert_eq!(log.watermarks().log_start, second);
        assert_eq!(log.watermarks().log_end, Offset::new(6));
    }
}

fn accept_loss(simulation: &Simulation) {
    use crate::env::OpenMode;
    let path = Path::new(DIRECTORY).join("accept-loss");
    let disk = simulation.env().disk;
    disk.open(&path, OpenMode::CreateNew).unwrap();
}

#[test]
fn a_lost_or_damaged_checkpoint_costs_time_and_no_record() {
    for damaged in [false, true] {
        let simulation = Simulation::new(1);
        let log = open(&simulation, with_segments_of(2_000), 1);
        append(&log, in_sequence(0, 3)).unwrap();
        fill(&log, 6);
        log.sync().unwrap();
        log.delete_before(Offset::new(2)).unwrap();
        log.close().unwrap();
        let known = log.producers();
        drop(log);
        let path = Path::new(DIRECTORY).join("checkpoint");
        if damaged {
            simulation.disk.flip_bit(&path, 30, 1).unwrap();
        } else {
            remove(&simulation, "checkpoint");
        }
        let log = open(&simulation, config(), 2);
        assert!(log.offline_cause().is_none());
        let w = log.watermarks();
        assert_eq!((w.log_start, w.log_end), (Offset::ZERO, Offset::new(9)));
        assert_eq!(log.producers(), known);
    }
}

#[test]
fn a_damaged_checkpoint_alone_says_that_there_was_a_log() {
    let simulation = Simulation::new(1);
    let log = open(&simulation, config(), 1);
    fill(&log, 2);
    log.close().unwrap();
    remove_segments(&simulation);
    let path = Path::new(DIRECTORY).join("checkpoint");
    simulation.disk.flip_bit(&path, 30, 1).unwrap();
    assert!(is_corrupt(&open(&simulation, config(), 2)));
}
