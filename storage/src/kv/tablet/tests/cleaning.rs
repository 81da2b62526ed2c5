//! The changelog under the cleaner.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use protocol::columnar::{ChangeTypes, Decoder, row_at};
use protocol::fluss::batch::{ChangeType, LogBatch};

use super::*;
use crate::kv::scan::Scanned;
use crate::log::cleaner::{CleanError, Cleaned, OffsetMap, Round};
use crate::log::{Expected, ReadRange, verify};

/// Keys of the tests that fill maps.
const KEYS: i32 = 20;
/// Room for 12 of them.
const MAP_BYTES: usize = 16 * 24;

/// One change of the changelog: offset, what, key, value.
type Change = (i64, ChangeType, i32, Option<i32>);

/// All changes that a reader from the start gets.
fn changes(fixture: &Fixture, kv: &KvTablet) -> Vec<Change> {
    let log = kv.inner.log.log();
    let end = log.watermarks().high_watermark;
    let (mut at, mut found) = (Offset::ZERO, Vec::new());
    while at < end {
        let range = ReadRange {
            offset: at,
            end,
            bytes_max: 1 << 20,
            at_least_one: true,
        };
        let run = log.read_run(range, true).unwrap().unwrap();
        at = run.next_offset().expect("a reader below the end gets on");
        for (header, bytes) in run.frames() {
            let batch = LogBatch::parse(&Bytes::copy_from_slice(bytes)).unwrap();
            assert!(batch.crc_holds());
            let delta = header.last_offset - header.base_offset;
            assert_eq!(i64::from(batch.header().last_offset_delta()), delta);
            let schema = &fixture.table.schemas[&batch.header().schema_id()];
            if batch.header().is_header_only() {
                continue;
            }
            let decoded = Decoder::default().decode(&batch, header.format, schema, None);
            let decoded = decoded.unwrap();
            let ChangeTypes::PerRow(types) = decoded.changes else {
                panic!("a changelog has change types");
            };
            let mut row = Vec::new();
            for (number, change) in types.into_iter().enumerate() {
                row_at(&decoded.rows, schema, number, &mut row);
                let (Datum::Int(key), value) = (&row[0], &row[1]) else {
                    panic!("{row:?}");
                };
                let value = match value {
                    Datum::Int(value) => Some(*value),
                    _ => None,
                };
                let offset = header.base_offset.value() + number as i64;
                found.push((offset, change, *key, value));
            }
        }
    }
    found
}

/// The rows that the changes add up to. Each change fits what was before it.
fn folded(changes: &[Change]) -> BTreeMap<i32, Option<i32>> {
    let mut rows = BTreeMap::new();
    for change in changes {
        let (_, what, key, value) = change;
        let before = match what {
            ChangeType::Insert => {
                assert_eq!(rows.insert(*key, *value), None, "{change:?} of {changes:?}");
                continue;
            }
            ChangeType::UpdateAfter => {
                rows.insert(*key, *value);
                continue;
            }
            ChangeType::UpdateBefore => rows.get(key).copied(),
            ChangeType::Delete => rows.remove(key),
            ChangeType::AppendOnly => panic!("not in a changelog"),
        };
        assert_eq!(before, Some(*value), "{change:?} of {changes:?}");
    }
    rows
}

fn clean(kv: &KvTablet) -> Cleaned {
    round(kv, Offset::ZERO, 1 << 16, &mut |_| true).unwrap()
}

/// A round over what is dirty from an offset on.
fn round(
    kv: &KvTablet,
    from: Offset,
    map_bytes: usize,
    pace: &mut dyn FnMut(u64) -> bool,
) -> Result<Cleaned, CleanError> {
    let log = kv.inner.log.log();
    let end = kv.flushed_end().unwrap();
    let mut format = kv.changelog_format().unwrap();
    let map = OffsetMap::of_log(log, from, end, map_bytes, &mut format, &mut |_| true)?;
    log.clean(Round {
        end,
        delete_retention_ms: 0,
        successors: &kv.successors(&map),
        format: &mut format,
        pace,
    })
}

/// Segments of a few batches, so that a round has several groups.
fn make_segments_small(kv: &KvTablet) {
    kv.inner.log.log().set_config(LogConfig {
        segment_bytes_max: 1200,
        ..LogConfig::default()
    });
}

/// What the records leave of the rows.
fn upsert(rows: &mut BTreeMap<i32, Option<i32>>, records: &[(i32, Option<i32>)]) {
    for (key, value) in records {
        match value {
            Some(value) => rows.insert(*key, Some(*value)),
            None => rows.remove(key),
        };
    }
}

/// The index is lost, and made anew from what is left, with its count of rows.
async fn check_rebuilt(
    fixture: &mut Fixture,
    kv: KvTablet,
    rows: &BTreeMap<i32, Option<i32>>,
) -> KvTablet {
    power_off(kv);
    *fixture.store.index.lock() = None;
    let kv = fixture.open();
    for key in 0..KEYS {
        let expected = rows.get(&key).copied().flatten();
        assert_eq!(fixture.get(&kv, key).await, expected);
    }
    assert_eq!(kv.row_count().await.unwrap(), Some(rows.len() as i64));
    kv
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_map_that_fills_inside_a_batch_takes_no_insert_of_an_update_that_stays() {
    let mut fixture = Fixture::new(FlushMode::Fsync);
    let kv = fixture.open();
    let mut rows = BTreeMap::new();
    // The second batch has more keys than there is room for.
    let second: Vec<_> = (0..KEYS)
        .map(|key| (key, (key != 1).then_some(7)))
        .collect();
    for records in [&[(0, Some(5)), (1, Some(6))][..], &second] {
        fixture.put(&kv, None, records).answer().await.unwrap();
        upsert(&mut rows, records);
    }
    let log = kv.inner.log.log();
    log.roll_active().unwrap();
    let end = log.watermarks().high_watermark;
    let done = round(&kv, Offset::ZERO, MAP_BYTES, &mut |_| true).unwrap();
    assert!(done.complete && done.end < end, "{done:?}");
    assert_eq!(folded(&changes(&fixture, &kv)), rows);
    let kv = check_rebuilt(&mut fixture, kv, &rows).await;
    power_off(kv);
}

/// Frames of the log, which must be sound.
fn checked(fixture: &Fixture) -> u64 {
    let disk = fixture.simulation.env().disk;
    let checked = verify(&*disk, Path::new(LOG_DIRECTORY), Expected::default()).unwrap();
    assert!(!checked.is_damaged(), "{:?}", checked.findings);
    checked.frames
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_loss_at_any_step_of_a_round_leaves_all_of_it_or_nothing() {
    let mut ends = Vec::new();
    for (after, seed) in (0..).flat_map(|after| [None, Some(1), Some(2)].map(|seed| (after, seed)))
    {
        let mut fixture = Fixture::new(FlushMode::Fsync);
        let kv = fixture.open();
        make_segments_small(&kv);
        let mut rows = BTreeMap::new();
        for n in 0..12 {
            let records = [
                (n % 3, Some(n)),
                (5, (n % 2 == 0).then_some(n)),
                (6 + n, Some(n)),
            ];
            fixture.put(&kv, None, &records).answer().await.unwrap();
            upsert(&mut rows, &records);
            kv.inner.log.log().roll_active().unwrap();
        }
        let before = changes(&fixture, &kv).len();
        kv.flushed_end().unwrap();
        fixture.simulation.disk.cut_power_after(after);
        // It fails where the power went.
        drop(round(&kv, Offset::ZERO, 1 << 16, &mut |_| true));
        let is_over = !fixture.simulation.disk.power_is_off();
        power_off(kv);
        match seed {
            Some(seed) => fixture.simulation.disk.crash(seed),
            None => fixture.simulation.disk.kill(),
        }
        // What `vltava check` counts is what the start goes on with.
        let counted = checked(&fixture);
        power_off(fixture.open());
        fixture.simulation.disk.kill();
        assert_eq!(checked(&fixture), counted, "after {after}, {seed:?}");
        let kv = fixture.open();
        assert!(kv.inner.log.log().offline_cause().is_none());
        let left = changes(&fixture, &kv);
        assert_eq!(folded(&left), rows, "after {after}, {seed:?}");
        ends.push(left.len() == before);
        let kv = check_rebuilt(&mut fixture, kv, &rows).await;
        // A power loss may have taken the empty segment at the end.
        kv.inner.log.log().roll_active().unwrap();
        clean(&kv);
        assert_eq!(changes(&fixture, &kv).len(), rows.len());
        power_off(kv);
        if is_over && seed == Some(2) {
            break;
        }
    }
    assert!(ends.contains(&true) && ends.contains(&false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_go_as_pairs_and_what_is_left_of_one_is_an_insert() {
    for log_format in [LogFormat::Arrow, LogFormat::Compacted] {
        let mut fixture = Fixture::new(FlushMode::Fsync);
        fixture.log_format = log_format;
        let kv = fixture.open();
        let first = [(1, Some(10)), (2, Some(20)), (1, Some(11)), (3, Some(30))];
        for records in [&first[..], &[(1, Some(12)), (2, None), (4, Some(40))]] {
            let put = fixture.put(&kv, Some((5, (records.len() == 3).into())), records);
            put.answer().await.unwrap();
        }
        let log = kv.inner.log.log();
        log.roll_active().unwrap();
        let put = fixture.put(&kv, None, &[(4, Some(41))]);
        put.answer().await.unwrap();
        let before = changes(&fixture, &kv);
        let rows = folded(&before);
        let done = clean(&kv);
        assert!(done.complete);
        let after = changes(&fixture, &kv);
        assert_eq!(folded(&after), rows, "{log_format:?}");
        // 0 +I1 1 +I2 2 -U1 3 +U1 4 +I3 | 5 -U1 6 +U1 7 -D2 8 +I4 | 9 -U4 10 +U4
        assert_eq!(
            after,
            [
                (4, ChangeType::Insert, 3, Some(30)),
                (6, ChangeType::Insert, 1, Some(12)),
                (8, ChangeType::Insert, 4, Some(40)),
                (9, ChangeType::UpdateBefore, 4, Some(40)),
                (10, ChangeType::UpdateAfter, 4, Some(41)),
            ]
        );
        assert_eq!(log.producers()[0].1.last().last_sequence, 1);
    }
}

impl Fixture {
    /// The index is found damaged.
    fn lose(&self, kv: &KvTablet) {
        let mut slot = kv.inner.core.lock();
        let damaged = IndexError::Corrupt("the test wants it".to_owned());
        kv.inner.lose_index(&mut slot, &damaged);
    }

    /// Rows 1 to 3, of which 1 is deleted, in closed segments.
    async fn with_a_deletion(&mut self) -> KvTablet {
        let kv = self.open();
        for records in [
            &[(1, Some(1)), (2, Some(2))][..],
            &[(1, None)],
            &[(3, Some(3))],
        ] {
            self.put(&kv, None, records).answer().await.unwrap();
            kv.inner.log.log().roll_active().unwrap();
        }
        kv
    }

    async fn check_the_deletion(&self, kv: &KvTablet) {
        for (key, value) in [(1, None), (2, Some(2)), (3, Some(3))] {
            assert_eq!(self.get(kv, key).await, value);
        }
        assert_eq!(kv.row_count().await.unwrap(), Some(2));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_is_lost_ends_the_round_before_it_is_made_again() {
    let mut fixture = Fixture::new(FlushMode::Fsync);
    let kv = fixture.with_a_deletion().await;
    make_segments_small(&kv);
    let before = changes(&fixture, &kv);
    let log = kv.inner.log.log();
    let mut opening = None;
    let done = round(&kv, Offset::ZERO, 1 << 16, &mut |_| {
        if opening.is_none() {
            fixture.lose(&kv);
            let kv = kv.clone();
            opening = Some(std::thread::spawn(move || kv.flushed_end().map(drop)));
            while !log.round_shall_end() {
                std::thread::yield_now();
            }
        }
        true
    });
    assert!(!done.unwrap().complete);
    opening.unwrap().join().unwrap().unwrap();
    assert_eq!(changes(&fixture, &kv), before);
    fixture.check_the_deletion(&kv).await;
    assert!(clean(&kv).complete, "the next one goes on");
    power_off(kv);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_round_goes_as_far_as_the_index_that_is_open_is_on_disk() {
    let mut fixture = Fixture::new(FlushMode::Fsync);
    let kv = fixture.with_a_deletion().await;
    let end = kv.flushed_end().unwrap();
    let log = kv.inner.log.log();
    let mut format = kv.changelog_format().unwrap();
    let map = OffsetMap::of_log(log, Offset::ZERO, end, 1 << 16, &mut format, &mut |_| true);
    let map = map.unwrap();
    let mut clean = || {
        log.clean(Round {
            end,
            delete_retention_ms: 0,
            successors: &kv.successors(&map),
            format: &mut format,
            pace: &mut |_| true,
        })
    };
    // Lost after it was flushed.
    fixture.lose(&kv);
    assert!(matches!(clean(), Err(CleanError::Successors(_))));
    // Made again from what it will not find any more after the round, and not flushed.
    fixture.check_the_deletion(&kv).await;
    assert!(clean().unwrap().complete);
    power_off(kv);
    {
        let index = fixture.store.index.lock();
        let index = index.as_ref().unwrap();
        index.crash(0);
        assert!(index.state().applied >= end, "{:?}", index.state());
    }
    let kv = fixture.open();
    fixture.check_the_deletion(&kv).await;
    power_off(kv);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_that_a_scan_finds_has_the_index_made_again() {
    let mut fixture = Fixture::new(FlushMode::Fsync);
    let kv = fixture.with_a_deletion().await;
    let rows = kv.rows().await.unwrap();
    let old = Arc::downgrade(&kv.index_if_open().unwrap());
    let damaged = IndexError::Corrupt("the test wants it".to_owned());
    Scanned::failed(&rows, &IndexError::Failed("it passes".to_owned()));
    Scanned::failed(&rows, &damaged);
    while kv.index_if_open().is_some() {
        std::thread::yield_now();
    }
    // Its scan ends, and lets go of it.
    assert!(*rows.retirement().unwrap().borrow());
    drop(rows);
    fixture.check_the_deletion(&kv).await;
    assert_eq!(*fixture.store.opened.lock(), [true, true]);
    // Who found it with the old one has nothing to say of the one that took its place.
    kv.inner.found_damaged(&old, &damaged);
    let put = fixture.put(&kv, None, &[(2, Some(2))]);
    put.answer().await.unwrap();
    assert_eq!(fixture.store.opened.lock().len(), 2);
    power_off(kv);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_compacted_changelog_makes_the_same_table(
        batches in proptest::collection::vec(
            (proptest::collection::vec((0i32..6, proptest::option::weighted(0.7, 0i32..9)), 1..6),
             any::<bool>(), prop::bool::weighted(0.2)),
            1..30,
        ),
        arrow: bool,
        lost: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        runtime.block_on(async {
            let mut fixture = Fixture::new(FlushMode::Fsync);
            fixture.log_format = if arrow { LogFormat::Arrow } else { LogFormat::Compacted };
            let kv = fixture.open();
            let mut rows = BTreeMap::new();
            for (records, roll, cleans) in batches {
                fixture.put(&kv, None, &records).answer().await.unwrap();
                for (key, value) in records {
                    match value {
                        Some(value) => rows.insert(key, Some(value)),
                        None => rows.remove(&key),
                    };
                }
                if roll {
                    kv.inner.log.log().roll_active().unwrap();
                }
                if cleans {
                    clean(&kv);
                }
                assert_eq!(folded(&changes(&fixture, &kv)), rows);
            }
            // An index that is lost is made anew from what is left, with its count of rows; one that
            // has what it had flushed goes on from there.
            power_off(kv);
            fixture.simulation.disk.crash(1);
            match lost {
                true => *fixture.store.index.lock() = None,
                false => fixture.store.index.lock().as_ref().unwrap().crash(0),
            }
            let kv = fixture.open();
            for key in 0..6 {
                assert_eq!(fixture.get(&kv, key).await, rows.get(&key).copied().flatten());
            }
            assert_eq!(kv.row_count().await.unwrap(), Some(rows.len() as i64));
            power_off(kv);
        });
    }
    #[test]
    fn a_round_that_is_cut_short_or_out_of_room_leaves_a_changelog(
        batches in proptest::collection::vec(
            (proptest::collection::vec((0..KEYS, proptest::option::weighted(0.7, 0i32..9)), 1..12),
             prop::bool::weighted(0.7), proptest::option::weighted(0.4, 0usize..20)),
            1..30,
        ),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        runtime.block_on(async {
            let mut fixture = Fixture::new(FlushMode::Fsync);
            let mut kv = fixture.open();
            make_segments_small(&kv);
            let mut rows = BTreeMap::new();
            let mut dirty = Offset::ZERO;
            for (records, roll, stops_after) in batches {
                fixture.put(&kv, None, &records).answer().await.unwrap();
                upsert(&mut rows, &records);
                if roll {
                    kv.inner.log.log().roll_active().unwrap();
                }
                let Some(mut steps) = stops_after else {
                    continue;
                };
                // Whoever reads meanwhile finds a changelog after every step.
                let done = round(&kv, dirty, MAP_BYTES, &mut |_| {
                    assert_eq!(folded(&changes(&fixture, &kv)), rows);
                    steps = steps.saturating_sub(1);
                    steps > 0
                });
                dirty = done.unwrap().end;
                assert_eq!(folded(&changes(&fixture, &kv)), rows);
                kv = check_rebuilt(&mut fixture, kv, &rows).await;
                make_segments_small(&kv);
            }
            power_off(kv);
        });
    }
}
