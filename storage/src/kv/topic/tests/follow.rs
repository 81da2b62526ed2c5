use protocol::row::Timestamp;

use super::*;
use crate::kv::scan::ScanError;
use crate::kv::topic::TopicIndexError;
use crate::log::AppendError;

#[tokio::test]
async fn what_was_acknowledged_is_found_by_the_next_lookup() {
    let world = World::new(1);
    assert_eq!(world.value(Owner::Probe, "a").await, None);
    for number in 0..50 {
        let value = number.to_string();
        world.put(0, "a", Some(&value)).await;
        assert_eq!(world.value(Owner::Probe, "a").await, Some(value));
    }
    world.put(0, "a", None).await;
    assert_eq!(world.value(Owner::Probe, "a").await, None);
    assert_eq!(world.rows(Owner::Probe, 0).await, []);
    world.put(0, "a", Some("")).await;
    assert_eq!(world.value(Owner::Probe, "a").await, Some(String::new()));
}

#[tokio::test]
async fn a_row_has_all_columns_and_a_record_without_key_none() {
    let world = World::new(1);
    let records = [
        (None, Some("old")),
        (Some("k"), Some("v")),
        (None, None),
        (Some(""), Some("empty")),
    ];
    world.append(0, batch(&records)).await;
    let keys = vec![Bytes::from_static(b"k"), Bytes::new()];
    let found = world
        .table(Owner::Probe)
        .lookup(keys, usize::MAX)
        .await
        .unwrap();
    let layout = RowLayout::of(
        protocol::fluss::options::KvFormat::Compacted,
        &raw_schema(true),
    );
    let mut columns = Vec::new();
    let value = found[0].clone().unwrap();
    layout.read(&value[2..], &mut columns).unwrap();
    let header = vec![Datum::String("h\u{fffd}"), Datum::Bytes(b"x")];
    let time = Timestamp {
        millis: TIME,
        nanos: 0,
    };
    assert_eq!(
        columns,
        [
            Datum::Bytes(b"k"),
            Datum::Bytes(b"v"),
            Datum::Timestamp(time),
            Datum::Array(vec![Datum::Row(header)]),
        ]
    );
    assert_eq!(row(found[1].as_ref().unwrap()).1, "empty");
    assert_eq!(world.buckets[0].lag(), Some(0));
}

#[tokio::test]
async fn an_index_goes_on_where_it_was_and_another_tables_is_made_again() {
    let mut world = World::new(1);
    for number in 0..100 {
        world.put(0, &format!("k{}", number % 7), Some("v")).await;
    }
    world.buckets[0].follow().await.unwrap();
    world.buckets[0].flush().unwrap();
    world.put(0, "k0", Some("after the flush")).await;
    world.buckets[0].follow().await.unwrap();
    for table in [1, 1, 9, 1] {
        world.reopen_index(0, table);
        assert_eq!(world.buckets[0].lag(), None);
        let found = world.value(Owner::Probe, "k0").await;
        assert_eq!(found.as_deref(), Some("after the flush"), "table {table}");
        assert_eq!(world.rows(Owner::Probe, 0).await.len(), 7);
    }
}

#[tokio::test]
async fn a_closed_index_is_not_opened_again_by_who_follows() {
    let mut world = World::new(1);
    world.put(0, "k0", Some("v")).await;
    world.buckets[0].follow().await.unwrap();
    let index = world.buckets[0].clone();
    index.close().unwrap();
    assert!(index.index_if_open().is_none());
    world.put(0, "k1", Some("v")).await;
    assert!(matches!(index.follow().await, Err(TopicIndexError::Closed)));
    assert!(index.index_if_open().is_none());
    // Its files are free, and have what it had.
    world.reopen_index(0, 1);
    assert!(world.value(Owner::Probe, "k1").await.is_some());
    world.buckets[0].discard();
    assert!(world.buckets[0].index_if_open().is_none());
}

#[tokio::test]
async fn an_index_takes_the_place_of_one_that_is_scanned() {
    let mut world = World::new(2);
    for bucket in 0..2 {
        let key = format!("k{bucket}");
        world.put(bucket, &key, Some("v")).await;
    }
    // Holds the other bucket's index too, to look for its keys there.
    let rows = Arc::new(world.table(Owner::Probe).rows(0).await.unwrap());
    let scan = Scan::open(rows, ValueLayout::Plain, u64::MAX, ());
    let scan = scan.await.unwrap();
    for bucket in 0..2 {
        world.buckets[bucket].retire();
        world.reopen_index(bucket, 2);
    }
    for bucket in 0..2 {
        let value = world.value(Owner::Probe, &format!("k{bucket}")).await;
        assert_eq!(value, Some("v".to_owned()));
    }
    let ended = scan.next(1 << 20).await;
    assert!(matches!(ended, Err(ScanError::Retired)), "{ended:?}");
}

#[tokio::test]
async fn an_index_does_not_show_what_the_log_lost_and_grew_over() {
    let mut world = World::with(1, FlushMode::PageCache);
    world.put(0, "k0", Some("v")).await;
    world.buckets[0].log().log().sync().unwrap();
    for number in 1..6 {
        world.put(0, &format!("k{number}"), Some("v")).await;
    }
    assert!(world.value(Owner::Probe, "k5").await.is_some());
    // RocksDB wrote its files, the system lost the log's.
    world.buckets[0].flush().unwrap();
    world.simulation.disk.crash(1);
    world.open(1, FlushMode::PageCache, 2);
    let end = world.buckets[0].log().log().watermarks().log_end;
    assert!(end < Offset::new(6), "the crash kept everything");
    for _ in 0..9 {
        world.put(0, "new", Some("v")).await;
    }
    for number in 0..6 {
        let found = world.value(Owner::Probe, &format!("k{number}")).await;
        assert_eq!(found.is_some(), number < end.value(), "k{number}");
    }
    assert!(world.value(Owner::Probe, "new").await.is_some());
}

#[tokio::test]
async fn a_damaged_index_is_made_again() {
    let mut world = World::new(1);
    for number in 0..100 {
        world.put(0, &format!("k{number}"), Some("v")).await;
    }
    world.buckets[0].follow().await.unwrap();
    world.buckets[0].flush().unwrap();
    let log = world.buckets[0].log().clone();
    world.buckets.clear();
    damage_tables(world.files.path());
    world.buckets.push(world.index(log, TableId::new(1)));
    // The first one may meet the damage where it reads.
    let first = world.table(Owner::Probe);
    let _ = first
        .lookup(vec![Bytes::from_static(b"k5")], usize::MAX)
        .await;
    drop(first);
    assert!(world.value(Owner::Probe, "k5").await.is_some());
    assert_eq!(world.rows(Owner::Probe, 0).await.len(), 100);
}

#[allow(clippy::disallowed_methods, reason = "RocksDB's files are real")]
fn damage_tables(root: &std::path::Path) {
    let mut damaged = 0;
    for entry in std::fs::read_dir(root.join("0")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "sst") {
            let mut bytes = std::fs::read(&path).unwrap();
            bytes.iter_mut().take(200).for_each(|byte| *byte ^= 0x55);
            std::fs::write(&path, bytes).unwrap();
            damaged += 1;
        }
    }
    assert!(damaged > 0);
}

#[tokio::test]
async fn deleted_records_are_not_found_any_more() {
    let mut world = World::new(1);
    for number in 0..10 {
        world.put(0, &format!("k{number}"), Some("v")).await;
    }
    world.buckets[0].follow().await.unwrap();
    let log = world.buckets[0].log().clone();
    log.log().delete_before(Offset::new(4)).unwrap();
    assert_eq!(world.value(Owner::Probe, "k3").await, None);
    assert!(world.value(Owner::Probe, "k4").await.is_some());
    assert_eq!(world.rows(Owner::Probe, 0).await.len(), 6);
    // All of what the index has goes, and what it lacks begins behind.
    world.put(0, "k0", Some("v")).await;
    log.log().delete_before(Offset::new(11)).unwrap();
    world.put(0, "k1", Some("v")).await;
    world.reopen_index(0, 1);
    assert_eq!(world.value(Owner::Probe, "k0").await, None);
    assert_eq!(
        world.rows(Owner::Probe, 0).await,
        [("k1".into(), "v".into())]
    );
}

#[tokio::test]
async fn an_unreadable_log_is_told_and_followed_once_it_is_readable() {
    let world = World::new(1);
    world.put(0, "a", Some("1")).await;
    let segment = world.buckets[0].log().log().segments()[0].path().to_owned();
    world.simulation.disk.fail_reads(&segment, true);
    let keys = || vec![Bytes::from_static(b"a")];
    let table = world.table(Owner::Probe);
    assert!(table.lookup(keys(), usize::MAX).await.is_err());
    world.simulation.disk.fail_reads(&segment, false);
    assert!(table.lookup(keys(), usize::MAX).await.unwrap()[0].is_some());
}

#[tokio::test]
async fn what_is_not_durable_is_not_found() {
    let world = World::new(1);
    world.put(0, "a", Some("1")).await;
    let append = Append {
        batches: vec![batch(&[(Some("a"), Some("2"))]).finish_unassigned(SCHEMA, 0)],
        expected_epoch: None,
        stamp_log_append_time: false,
    };
    let log = world.buckets[0].log().log();
    let appended: Vec<Result<_, AppendError>> = log.append_group(&[append]);
    assert!(appended[0].is_ok());
    assert_eq!(world.value(Owner::Probe, "a").await.as_deref(), Some("1"));
    log.sync().unwrap();
    assert_eq!(world.value(Owner::Probe, "a").await.as_deref(), Some("2"));
}
