use super::super::{HeadRange, HeadRun, ReadError};
use super::*;

fn filled(config: LogConfig, sizes: &[usize]) -> (Simulation, Log) {
    let simulation = Simulation::new(1);
    let log = open(&simulation, config, 1);
    for (fill, size) in (0..).zip(sizes) {
        append(&log, batch(fill, *size, 2)).unwrap();
    }
    log.sync().unwrap();
    (simulation, log)
}

fn heads(log: &Log, offset: i64, end: i64, window: usize) -> HeadRun {
    let range = HeadRange {
        offset: Offset::new(offset),
        end: Offset::new(end),
        window,
    };
    log.read_heads(range, true).unwrap().unwrap()
}

#[test]
fn a_run_says_whether_more_of_the_range_may_come() {
    let (_simulation, log) = filled(config(), &[100; 10]);
    let size = 161;
    let run = |bytes_max| {
        let range = ReadRange {
            bytes_max,
            ..range(0, 20)
        };
        log.read_run(range, true).unwrap().unwrap()
    };
    let limited = run(3 * size);
    assert_eq!(limited.frames().len(), 3);
    assert!(limited.is_exhausted(), "the next one does not fit");
    let all = run(1 << 20);
    assert_eq!(all.frames().len(), 10);
    let below = log.read_run(range(0, 5), true).unwrap().unwrap();
    assert_eq!(
        below.next_offset(),
        Some(Offset::new(4)),
        "not half a frame"
    );
    assert!(below.is_exhausted());
}

#[test]
fn more_open_segments_than_file_handles_are_read() {
    let (_simulation, log) = filled(with_segments_of(300), &[100; 40]);
    assert!(log.segments().len() > 20);
    for round in 0..2 {
        assert_eq!(contents(&log, 0).len(), 40, "round {round}");
        log.unload_indexes();
    }
}

#[test]
fn a_read_that_may_not_wait_touches_no_disk_to_find_its_place() {
    let (simulation, log) = filled(with_segments_of(300), &[100; 10]);
    log.unload_indexes();
    let before = simulation.disk.counters().reads;
    assert!(log.read_run(range(0, 20), false).unwrap().is_none());
    assert_eq!(simulation.disk.counters().reads, before);
    assert!(log.read_run(range(0, 20), true).unwrap().is_some());
    assert!(log.read_run(range(0, 20), false).unwrap().is_some());
    simulation.disk.pretend_uncached(true);
    assert!(log.read_run(range(0, 20), false).unwrap().is_none());
}

#[test]
fn heads_give_whole_small_batches_and_the_beginning_of_a_large_one() {
    let (simulation, log) = filled(config(), &[100, 100, 50_000, 100]);
    let run = heads(&log, 0, 8, 2_000);
    let found: Vec<_> = run
        .heads()
        .map(|(header, loaded)| (header.base_offset.value(), loaded.len()))
        .collect();
    assert_eq!(found.len(), 3);
    assert_eq!(found[..2], [(0, 161), (2, 161)]);
    assert!(found[2].1 < 2_000);

    let mut part = [0; 10];
    assert!(run.read_part(2, 40_000, &mut part, false).unwrap());
    assert_eq!(part, [2; 10]);
    assert!(run.read_part(1, 151, &mut part, false).unwrap());
    assert_eq!(part, [1; 10]);
    simulation.disk.pretend_uncached(true);
    assert!(!run.read_part(2, 40_000, &mut part, false).unwrap());
    assert!(run.read_part(2, 50_051, &mut part, true).unwrap());

    let run = heads(&log, 5, 8, 2_000);
    assert_eq!(run.heads().next().unwrap().0.base_offset, Offset::new(4));
}

#[test]
fn heads_stop_before_the_end_and_find_any_offset_with_any_window() {
    let sizes: Vec<usize> = (0..60).map(|n| n * 37 % 900).collect();
    let coarse = LogConfig {
        index_interval_bytes: 20_000,
        ..with_segments_of(9_000)
    };
    let (_simulation, log) = filled(coarse, &sizes);
    for window in [1, 200, 1_000, 100_000] {
        for offset in 0..120 {
            let run = heads(&log, offset, 120, window);
            let (header, loaded) = run.heads().next().unwrap();
            assert_eq!(
                header.base_offset.value(),
                offset / 2 * 2,
                "window {window}"
            );
            assert!(loaded.len() <= header.batch_length as usize);
            let ended = heads(&log, offset, offset / 2 * 2 + 1, window);
            assert!(ended.is_empty());
        }
    }
    assert!(heads(&log, 120, 120, 100).is_empty());
}

#[test]
fn damage_is_named_and_not_returned() {
    let (simulation, log) = filled(config(), &[100; 3]);
    let path = log.segments()[0].path().to_path_buf();
    // The frame of offset 2 begins after the segment header and one frame of 232 bytes.
    simulation.disk.flip_bit(&path, 64 + 232 + 20, 3).unwrap();
    let run = read(&log, 0);
    assert_eq!(run.frames().len(), 1, "what lies before it is good");
    for result in [
        log.read_run(range(2, 6), true).err(),
        log.read_heads(
            HeadRange {
                offset: Offset::new(2),
                end: Offset::new(6),
                window: 1_000,
            },
            true,
        )
        .err(),
    ] {
        assert!(matches!(result, Some(ReadError::Corrupt(_))), "{result:?}");
    }
}
