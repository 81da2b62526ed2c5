//! What one round does.

use std::path::Path;
use std::time::Duration;

use super::super::OffsetMap;
use super::*;
use crate::log::RememberedBatch;

/// Twelve records of three keys in three closed segments; `c` is deleted in the end.
fn three_segments(log: &Log) {
    for round in 0..3 {
        let value = format!("{round}");
        put(log, &[("a", Some(&value)), ("b", Some(&value))]);
        put(log, &[("a", Some(&value)), ("c", Some(&value))]);
        log.roll_active().unwrap();
    }
    put(log, &[("c", None)]);
    log.roll_active().unwrap();
}

#[test]
fn the_newest_record_of_each_key_stays_where_it_was_and_neighbours_become_one() {
    let simulation = Simulation::new(1);
    let log = open(&simulation, 1);
    three_segments(&log);
    let before = records_from(&log, 0);
    let done = clean(&log);
    assert_eq!(left(&log), named(&[(9, "b"), (10, "a"), (12, "c")]));
    for (offset, record) in records_from(&log, 0) {
        assert_eq!(before[&offset], record);
    }
    assert!(done.complete);
    assert_eq!((done.records_read, done.records_left), (13, 3));
    assert_eq!((done.segments_read, done.segments_left), (4, 1));
    assert_eq!(done.end, Offset::new(13));
    // From any offset on, a reader gets what is left from there.
    for from in 0..13 {
        let expected: Vec<i64> = [9, 10, 12].into_iter().filter(|o| *o >= from).collect();
        let found: Vec<i64> = records_from(&log, from).into_keys().collect();
        assert_eq!(found, expected, "from {from}");
    }
    assert_eq!(log.watermarks().log_end, Offset::new(13));
    assert_eq!(put(&log, &[("d", Some("1"))]), Offset::new(13));
    assert_eq!(
        files(&simulation),
        ["00000000000000000000.log", "00000000000000000013.log"]
    );
    assert_sound(&simulation);
}

#[test]
fn a_cleaned_log_opens_with_and_without_its_checkpoint() {
    let simulation = Simulation::new(1);
    let log = open(&simulation, 1);
    three_segments(&log);
    let producer = BatchProducer {
        id: 5,
        epoch: 1,
        base_sequence: 0,
    };
    let style = Style {
        producer: Some(producer),
        ..PLAIN
    };
    put_styled(&log, style, &[("a", Some("p")), ("a", Some("q"))]);
    log.roll_active().unwrap();
    put(&log, &[("a", Some("z"))]);
    log.roll_active().unwrap();
    clean(&log);
    let expected = left(&log);
    assert_eq!(expected, named(&[(9, "b"), (12, "c"), (15, "a")]));
    let producers = log.producers();
    log.close().unwrap();
    for lose_checkpoint in [false, true] {
        simulation.disk.kill();
        if lose_checkpoint {
            let path = Path::new(DIRECTORY).join("checkpoint");
            simulation.env().disk.remove_file(&path).unwrap();
        }
        let log = open(&simulation, 2);
        assert!(log.offline_cause().is_none());
        assert_eq!(left(&log), expected);
        assert_eq!(log.watermarks().log_end, Offset::new(16));
        let found = log.producers();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].1.last(), producers[0].1.last());
        assert_sound(&simulation);
    }
}

#[test]
fn a_tombstone_stays_for_its_time_and_then_is_forgotten() {
    for codec in Codec::ALL {
        let simulation = Simulation::new(1);
        let log = open(&simulation, 1);
        let style = Style { codec, ..PLAIN };
        put_styled(&log, style, &[("a", Some("1")), ("b", Some("1"))]);
        put_styled(&log, style, &[("a", None), ("c", Some("1"))]);
        log.roll_active().unwrap();
        let index = Index::of(&log);
        let done = clean_with(&log, &index).unwrap();
        let kept = named(&[(1, "b"), (2, "a"), (3, "c")]);
        assert_eq!((left(&log), done.tombstones_removed), (kept.clone(), 0));
        // The time counts from the first round that saw it, and more rounds do not prolong it.
        simulation
            .clock
            .advance(Duration::from_millis(HOUR_MS as u64 - 1));
        let again = clean_with(&log, &index).unwrap();
        assert_eq!((left(&log), again.bytes_written), (kept, 0));
        assert!(index.entries.lock().contains_key(&b"a"[..]));
        simulation.clock.advance(Duration::from_millis(1));
        let done = clean_with(&log, &index).unwrap();
        assert_eq!(done.tombstones_removed, 1);
        assert_eq!(left(&log), named(&[(1, "b"), (3, "c")]));
        assert!(!index.entries.lock().contains_key(&b"a"[..]));
    }
}

#[test]
fn a_newer_record_than_the_removed_tombstone_is_not_forgotten() {
    let simulation = Simulation::new(1);
    let log = open(&simulation, 1);
    put(&log, &[("a", None), ("b", Some("1"))]);
    log.roll_active().unwrap();
    let index = Index::of(&log);
    clean_with(&log, &index).unwrap();
    simulation.clock.advance(Duration::from_secs(3600));
    put(&log, &[("a", Some("2"))]);
    index.follow(&log);
    let done = clean_with(&log, &index).unwrap();
    assert_eq!(done.tombstones_removed, 0);
    assert_eq!(left(&log), named(&[(1, "b"), (2, "a")]));
    assert!(index.entries.lock().contains_key(&b"a"[..]));
}

#[test]
fn the_newest_batch_of_a_producer_stays_though_it_is_empty() {
    let simulation = Simulation::new(1);
    let log = open(&simulation, 1);
    for base_sequence in [0, 2] {
        let producer = BatchProducer {
            id: 5,
            epoch: 1,
            base_sequence,
        };
        let style = Style {
            codec: Codec::Zstd,
            producer: Some(producer),
        };
        put_styled(&log, style, &[("a", Some("1")), ("a", Some("2"))]);
    }
    put(&log, &[("a", Some("3")), ("b", Some("3"))]);
    put(&log, &[("a", Some("4"))]);
    log.roll_active().unwrap();
    put(&log, &[("a", Some("5"))]);
    log.sync().unwrap();
    clean(&log);
    // The frame of offset 6 is the last of the range: it stays, empty, for who reads on from it.
    let kept: Vec<(i64, i64, i32)> = frames(&log);
    assert_eq!(kept, [(2, 3, 0), (4, 5, 1), (6, 6, 0), (7, 7, 1)]);
    let producers = log.producers();
    log.close().unwrap();
    simulation.disk.kill();
    let path = Path::new(DIRECTORY).join("checkpoint");
    simulation.env().disk.remove_file(&path).unwrap();
    let log = open(&simulation, 2);
    let last: RememberedBatch = *log.producers()[0].1.last();
    assert_eq!(last, *producers[0].1.last());
    assert_eq!((last.first_sequence, last.last_sequence), (2, 3));
}

/// Base offset, last offset and record count of each frame.
fn frames(log: &Log) -> Vec<(i64, i64, i32)> {
    let end = log.watermarks().high_watermark;
    let (mut at, mut found) = (log.watermarks().log_start, Vec::new());
    while at < end {
        let range = ReadRange {
            offset: at,
            end,
            bytes_max: 1 << 20,
            at_least_one: true,
        };
        let run = log.read_run(range, true).unwrap().unwrap();
        for (header, batch) in run.frames() {
            let count = BatchView::parse(batch).unwrap().record_count();
            found.push((
                header.base_offset.value(),
                header.last_offset.value(),
                count,
            ));
        }
        at = run.next_offset().unwrap();
    }
    found
}

#[test]
fn what_comes_after_is_not_durable_or_not_known_keeps_a_record() {
    let simulation = Simulation::new(1);
    let log = open_with(
        &simulation,
        LogConfig {
            flush_mode: crate::log::FlushMode::PageCache,
            ..config()
        },
        1,
    );
    put(&log, &[("a", Some("1")), ("b", Some("1"))]);
    put(&log, &[("a", Some("2"))]);
    log.roll_active().unwrap();
    // The index stops before the second `a`: nothing above is judged.
    let index = Index::of(&log);
    *index.known_end.lock() = Offset::new(2);
    index
        .entries
        .lock()
        .insert(b"a".to_vec(), (Offset::ZERO, false));
    let done = clean_with(&log, &index).unwrap();
    assert_eq!(done.end, Offset::new(2));
    assert_eq!(left(&log).len(), 3);
    // An index that is ahead of what is durable: the old record stays.
    index
        .entries
        .lock()
        .insert(b"a".to_vec(), (Offset::new(50), false));
    clean_with(&log, &index).unwrap();
    assert_eq!(left(&log).len(), 3);
}

#[test]
fn readers_go_on_with_the_old_files() {
    let simulation = Simulation::new(1);
    let log = open(&simulation, 1);
    three_segments(&log);
    let old = log.segments();
    let before = records_from(&log, 0).len();
    clean(&log);
    let mut records = 0;
    for segment in old.iter() {
        // Another segment's file is opened between: of two files that are open one is closed.
        records_from(&log, 0);
        let mut scanner = crate::log::FrameScanner::new(
            segment.file().unwrap(),
            segment.header().salt,
            64,
            segment.length(),
        );
        assert_eq!(
            segment.position_of_offset(segment.base()).unwrap(),
            64,
            "the index of an old segment is not that of the new one"
        );
        while let crate::log::Step::Frame { header, .. } = scanner.next_frame().unwrap() {
            records += (header.last_offset - header.base_offset + 1) as usize;
        }
    }
    assert_eq!(records, before);
    assert_eq!(left(&log).len(), 3);
}

#[test]
fn a_segment_without_anything_to_remove_is_not_written_again() {
    let simulation = Simulation::new(1);
    let log = open(&simulation, 1);
    put(&log, &[("a", Some("1")), ("b", Some("1"))]);
    log.roll_active().unwrap();
    let generation = log.segments()[0].header().generation;
    let done = clean(&log);
    assert_eq!((done.bytes_written, done.segments_left), (0, 1));
    assert_eq!(log.segments()[0].header().generation, generation);
    // A later frame that changes takes those before it along.
    put(&log, &[("a", Some("2"))]);
    put(&log, &[("c", Some("2"))]);
    clean(&log);
    log.roll_active().unwrap();
    clean(&log);
    assert_eq!(left(&log), named(&[(1, "b"), (2, "a"), (3, "c")]));
    assert_ne!(log.segments()[0].header().generation, generation);
}

#[test]
fn a_full_disk_or_a_stop_leaves_the_log_as_it_was() {
    let simulation = Simulation::new(1);
    let log = open(&simulation, 1);
    three_segments(&log);
    let before = left(&log);
    let index = Index::of(&log);
    let stopped = log.clean(Round {
        end: Offset::new(13),
        delete_retention_ms: HOUR_MS,
        successors: &index,
        format: &mut KafkaFormat::default(),
        pace: &mut |_| false,
    });
    assert!(!stopped.unwrap().complete);
    log.checkpoint().unwrap();
    simulation
        .disk
        .set_capacity_bytes(simulation.disk.used_bytes() + 450);
    assert!(matches!(clean_with(&log, &index), Err(CleanError::Log(_))));
    assert!(log.offline_cause().is_none());
    assert_eq!(left(&log), before);
    simulation.disk.set_capacity_bytes(1 << 30);
    clean(&log);
    assert_eq!(left(&log).len(), 3);
    assert_eq!(files(&simulation).len(), 2);
}

#[test]
fn records_without_a_key_and_below_the_log_start_go() {
    let simulation = Simulation::new(1);
    let log = open(&simulation, 1);
    put(
        &log,
        &[("a", Some("1")), ("b", Some("1")), ("c", Some("1"))],
    );
    log.roll_active().unwrap();
    put(&log, &[("d", Some("1"))]);
    log.delete_before(Offset::new(1)).unwrap();
    clean(&log);
    assert_eq!(frames(&log)[0], (0, 2, 2));
    assert_eq!(left(&log), named(&[(1, "b"), (2, "c"), (3, "d")]));
}

#[test]
fn a_map_of_fixed_size_cleans_part_after_part() {
    let simulation = Simulation::new(1);
    let log = open(&simulation, 1);
    let keys: Vec<String> = (0..40).map(|n| format!("key {n}")).collect();
    for round in 0..3 {
        let value = format!("{round}");
        for key in &keys {
            put(&log, &[(key, Some(&value))]);
        }
    }
    log.roll_active().unwrap();
    put(&log, &[("other", None)]);
    // Room for 12 keys: three rounds and more.
    let mut from = Offset::ZERO;
    let mut rounds = 0;
    while from < Offset::new(120) {
        let map = OffsetMap::of_log(
            &log,
            from,
            Offset::new(120),
            16 * 24,
            &mut KafkaFormat::default(),
            &mut |_| true,
        )
        .unwrap();
        let done = clean_with(&log, &map).unwrap();
        assert!(done.end > from, "a round gets on");
        from = done.end;
        rounds += 1;
    }
    assert!(rounds >= 4, "{rounds}");
    let records = records_from(&log, 0);
    for (number, key) in keys.iter().enumerate() {
        let newest = records.iter().filter(|(_, (k, _))| k == key.as_bytes());
        let (offset, (_, value)) = newest.clone().next_back().unwrap();
        assert_eq!(
            (*offset, value.as_deref()),
            (80 + number as i64, Some(&b"2"[..]))
        );
    }
    // With room for all, one more round leaves one record of each key.
    let map = OffsetMap::of_log(
        &log,
        Offset::ZERO,
        Offset::new(120),
        64 * 24,
        &mut KafkaFormat::default(),
        &mut |_| true,
    )
    .unwrap();
    clean_with(&log, &map).unwrap();
    assert_eq!(records_from(&log, 0).len(), 41);
}
