use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::*;

#[test]
fn a_segment_is_rolled_before_it_would_become_too_long() {
    let simulation = Simulation::new(1);
    let log = open(&simulation, with_segments_of(1000), 1);
    for fill in 0..9 {
        append(&log, batch(fill, 200, 2)).unwrap();
    }
    // 64 bytes of header, then frames of 328.
    assert_eq!(bases(&log), [0, 4, 8, 12, 16]);
    for segment in log.segments().iter() {
        assert!(segment.length() <= 1000);
    }
    log.sync().unwrap();
    assert_eq!(contents(&log, 0).len(), 9);
}

#[test]
fn one_call_fills_several_segments_and_keeps_the_order() {
    let simulation = Simulation::new(1);
    let log = open(&simulation, with_segments_of(1000), 1);
    let appends: Vec<_> = (0..20).map(|n| append_of([batch(n, 150, 1)])).collect();
    let results = log.append_group(&appends);
    for (offset, result) in (0..).zip(results) {
        assert_eq!(result.unwrap().base_offset, Offset::new(offset));
    }
    log.sync().unwrap();
    let expected: Vec<_> = (0..20).map(|n| (i64::from(n), n)).collect();
    assert_eq!(contents(&log, 0), expected);
}

#[test]
fn a_segment_is_rolled_when_its_first_batch_is_old() {
    let simulation = Simulation::new(1);
    let config = LogConfig {
        segment_ms_max: Some(60_000),
        ..config()
    };
    let log = open(&simulation, config, 1);
    append(&log, batch(1, 10, 1)).unwrap();
    simulation.clock.advance(Duration::from_secs(59));
    append(&log, batch(2, 10, 1)).unwrap();
    assert_eq!(bases(&log), [0]);
    simulation.clock.advance(Duration::from_secs(1));
    append(&log, batch(3, 10, 1)).unwrap();
    assert_eq!(bases(&log), [0, 2]);
    simulation.clock.advance(Duration::from_secs(59));
    append(&log, batch(4, 10, 1)).unwrap();
    assert_eq!(
        bases(&log),
        [0, 2],
        "the age counts from the new segment's first"
    );
}

#[test]
fn a_batch_longer_than_a_segment_gets_one_of_its_own() {
    let simulation = Simulation::new(1);
    let log = open(&simulation, with_segments_of(1000), 1);
    append(&log, batch(1, 100, 1)).unwrap();
    append(&log, batch(2, 50_000, 1)).unwrap();
    append(&log, batch(3, 100, 1)).unwrap();
    assert_eq!(bases(&log), [0, 1, 2]);
    log.sync().unwrap();
    assert_eq!(contents(&log, 0), [(0, 1), (1, 2), (2, 3)]);
}

#[test]
fn a_full_disk_fails_the_write_leaves_reads_and_writes_go_on_when_there_is_space() {
    let simulation = Simulation::new(1);
    let log = open(&simulation, config(), 1);
    append(&log, batch(1, 1000, 1)).unwrap();
    log.sync().unwrap();
    let disk = &simulation.disk;
    disk.set_capacity_bytes(disk.used_bytes() + 500);
    for _ in 0..3 {
        let refused = append(&log, batch(2, 1000, 1));
        assert!(matches!(refused, Err(AppendError::DiskFull)));
    }
    assert_eq!(contents(&log, 0), [(0, 1)]);
    assert!(append(&log, batch(3, 10, 1)).is_ok(), "what fits is taken");
    disk.set_capacity_bytes(1 << 30);
    let appended = append(&log, batch(4, 1000, 1)).unwrap();
    assert_eq!(appended.base_offset, Offset::new(2), "no offset was lost");
    log.sync().unwrap();
    assert_eq!(contents(&log, 0), [(0, 1), (1, 3), (2, 4)]);
    drop(log);
    simulation.disk.crash(3);
    let log = open(&simulation, config(), 2);
    assert_eq!(contents(&log, 0), [(0, 1), (1, 3), (2, 4)]);
}

/// Counts the errors that this thread logs.
#[derive(Clone, Default)]
struct Errors(Arc<AtomicUsize>);

impl Subscriber for Errors {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() == Level::ERROR
    }

    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn a_full_disk_is_told_once_a_minute() {
    // In the segment there is, and where a new one would begin.
    for segment_bytes in [1 << 20, 1000] {
        let simulation = Simulation::new(1);
        let errors = Errors::default();
        let _counting = tracing::subscriber::set_default(errors.clone());
        let told = || errors.0.load(Ordering::Relaxed);
        let log = open(&simulation, with_segments_of(segment_bytes), 1);
        append(&log, batch(1, 900, 1)).unwrap();
        let disk = &simulation.disk;
        disk.set_capacity_bytes(disk.used_bytes());
        for expected in [1, 2] {
            for _ in 0..5 {
                assert!(append(&log, batch(2, 900, 1)).is_err());
            }
            assert_eq!(told(), expected, "segments of {segment_bytes}");
            simulation.clock.advance(Duration::from_secs(60));
        }
    }
}

#[test]
fn a_failed_write_takes_the_sequence_back() {
    let simulation = Simulation::new(1);
    let log = open(&simulation, config(), 1);
    append(&log, in_sequence(0, 2)).unwrap();
    let disk = &simulation.disk;
    disk.set_capacity_bytes(disk.used_bytes() + 100);
    assert!(append(&log, in_sequence(2, 3)).is_err());
    disk.set_capacity_bytes(1 << 30);
    let appended = append(&log, in_sequence(2, 3)).unwrap();
    assert!(!appended.duplicate, "the retry is no duplicate");
    assert_eq!(appended.base_offset, Offset::new(2));
}

#[test]
fn an_append_of_another_epoch_is_fenced() {
    let simulation = Simulation::new(1);
    let log = open(&simulation, config(), 5);
    let expecting = |epoch| Append {
        expected_epoch: Some(LeaderEpoch::new(epoch)),
        ..append_of([batch(1, 10, 1)])
    };
    for epoch in [4, 6] {
        let refused = log.append_group(&[expecting(epoch)]).remove(0);
        assert!(matches!(
            refused,
            Err(AppendError::FencedLeader { current, expected })
                if current == LeaderEpoch::new(5) && expected == LeaderEpoch::new(epoch)
        ));
    }
    let appended = log.append_group(&[expecting(5)]).remove(0).unwrap();
    assert_eq!(appended.leader_epoch, LeaderEpoch::new(5));
    assert_eq!(appended.base_offset, Offset::ZERO);
}

#[test]
fn each_start_writes_under_its_own_epoch_and_says_where_the_older_ones_ended() {
    let simulation = Simulation::new(1);
    for epoch in [1, 4] {
        let log = open(&simulation, config(), epoch);
        append(&log, batch(1, 10, 3)).unwrap();
        log.close().unwrap();
    }
    let log = open(&simulation, config(), 9);
    let end_of = |epoch| log.end_of_epoch(LeaderEpoch::new(epoch));
    assert_eq!(end_of(0), None);
    assert_eq!(end_of(2), Some((LeaderEpoch::new(1), Offset::new(3))));
    assert_eq!(end_of(9), Some((LeaderEpoch::new(4), Offset::new(6))));
    assert_eq!(log.epoch_at(Offset::new(3)), Some(LeaderEpoch::new(4)));
}

#[test]
fn batches_of_one_append_are_all_taken_or_none() {
    let simulation = Simulation::new(1);
    let log = open(&simulation, config(), 1);
    let results = log.append_group(&[
        append_of([in_sequence(0, 1), in_sequence(1, 1)]),
        append_of([in_sequence(2, 1), in_sequence(9, 1)]),
        append_of([in_sequence(2, 1)]),
    ]);
    assert_eq!(results[0].as_ref().unwrap().last_offset, Offset::new(1));
    assert!(matches!(
        results[1],
        Err(AppendError::OutOfOrderSequence {
            expected: 3,
            found: 9,
            ..
        })
    ));
    let third = results[2].as_ref().unwrap();
    assert!(!third.duplicate);
    assert_eq!(third.base_offset, Offset::new(2));
    log.sync().unwrap();
    assert_eq!(contents(&log, 0).len(), 3);
}

#[test]
fn a_retried_batch_is_a_duplicate_before_and_after_every_kind_of_restart() {
    let simulation = Simulation::new(1);
    let retry = |log: &Log| {
        for (first, base) in [(0, 0), (2, 2)] {
            let again = append(log, in_sequence(first, 2)).unwrap();
            assert!(again.duplicate);
            assert_eq!(again.base_offset, Offset::new(base));
            assert_eq!(again.last_offset, Offset::new(base + 1));
        }
        assert_eq!(log.watermarks().log_end, Offset::new(4));
    };
    let log = open(&simulation, config(), 1);
    append(&log, in_sequence(0, 2)).unwrap();
    append(&log, in_sequence(2, 2)).unwrap();
    retry(&log);
    log.close().unwrap();
    let log = open(&simulation, config(), 2);
    retry(&log);
    drop(log);
    simulation.disk.kill();
    let log = open(&simulation, config(), 3);
    retry(&log);
    log.sync().unwrap();
    drop(log);
    simulation.disk.crash(5);
    let log = open(&simulation, config(), 4);
    retry(&log);
    let refused = append(&log, in_sequence(7, 1));
    assert!(matches!(
        refused,
        Err(AppendError::OutOfOrderSequence { .. })
    ));
    assert!(!append(&log, in_sequence(4, 1)).unwrap().duplicate);
}

#[test]
fn a_stamped_batch_has_its_commit_time_and_a_valid_crc() {
    let simulation = Simulation::new(1);
    let log = open(&simulation, config(), 1);
    let stamped = Append {
        stamp_log_append_time: true,
        ..append_of([batch(1, 50, 2)])
    };
    let appended = log.append_group(&[stamped]).remove(0).unwrap();
    log.sync().unwrap();
    let run = read(&log, 0);
    let (header, bytes) = run.frames().next().unwrap();
    assert_eq!(header.commit_time, appended.commit_time);
    assert_eq!(header.record_time_max, appended.commit_time);
    let view = protocol::kafka::batch::BatchView::parse(bytes).unwrap();
    assert_eq!(view.max_timestamp(), appended.commit_time);
    assert!(view.crc_is_valid());
}

#[test]
fn commit_times_never_go_back_when_the_clock_does() {
    let simulation = Simulation::new(1);
    let log = open(&simulation, config(), 1);
    let first = append(&log, batch(1, 10, 1)).unwrap().commit_time;
    simulation.clock.set_wall_ms(first - 100_000);
    let second = append(&log, batch(2, 10, 1)).unwrap().commit_time;
    assert!(second >= first);
    log.close().unwrap();
    let log = open(&simulation, config(), 2);
    let third = append(&log, batch(3, 10, 1)).unwrap().commit_time;
    assert!(third >= second);
}
