//! The changelog under the cleaner.

use std::collections::BTreeMap;

use proptest::prelude::*;
use protocol::columnar::{ChangeTypes, Decoder, row_at};
use protocol::fluss::batch::{ChangeType, LogBatch};

use super::*;
use crate::log::ReadRange;
use crate::log::cleaner::{Cleaned, OffsetMap, Round};

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
    let log = kv.inner.log.log();
    let end = kv.flushed_end().unwrap();
    let mut format = kv.changelog_format().unwrap();
    let map = OffsetMap::of_log(log, Offset::ZERO, end, 1 << 16, &mut format, &mut |_| true);
    log.clean(Round {
        end,
        delete_retention_ms: 0,
        successors: &map.unwrap(),
        format: &mut format,
        pace: &mut |_| true,
    })
    .unwrap()
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
}
