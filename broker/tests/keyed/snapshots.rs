//! Snapshots of indexes: made, told of, leased, read as a database, and taken back.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::fluss::error::ErrorCode;
use protocol::fluss::messages::*;
use protocol::ids::{LeaderEpoch, Offset};
use protocol::schema::TypeKind;
use storage::kv::index::rocks::{RocksConfig, RocksIndex, RocksShared};
use storage::kv::index::{Index, IndexSpec, LogEnds};
use tempfile::TempDir;

use super::common::TestBroker;
use super::common::fluss::{Client, log_table, path};
use super::common::keyed::{Keyed, lookup, put, row};

/// Milliseconds.
const OFTEN: (&str, &str) = ("kv.snapshot.interval", "20");

async fn latest(client: &mut Client, table: &str) -> GetLatestKvSnapshotsResponse {
    let request = GetLatestKvSnapshotsRequest {
        table_path: path(table),
        partition_name: None,
    };
    client.ask(request).await.expect("an answer")
}

fn list(table_id: i64) -> ListKvSnapshotsRequest {
    ListKvSnapshotsRequest {
        table_id,
        partition_id: None,
    }
}

/// Waits until the newest snapshot of bucket 0 has this log offset; its id.
async fn snapshot_at(client: &mut Client, table: i64, offset: i64) -> i64 {
    for _ in 0..500 {
        let all = client.ask(list(table)).await.expect("a list");
        let newest = all.active_snapshots.iter().rfind(|s| s.bucket_id == 0);
        if let Some(newest) = newest.filter(|s| s.log_offset == Some(offset)) {
            return newest.snapshot_id.expect("its id");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no snapshot with offset {offset}");
}

fn metadata(table_id: i64, snapshot_id: i64) -> GetKvSnapshotMetadataRequest {
    GetKvSnapshotMetadataRequest {
        table_id,
        partition_id: None,
        bucket_id: 0,
        snapshot_id,
    }
}

fn acquire(table_id: i64, bucket_id: i32, snapshot_id: i64) -> AcquireKvSnapshotLeaseRequest {
    AcquireKvSnapshotLeaseRequest {
        lease_id: "job".into(),
        lease_duration_ms: 3_600_000,
        snapshots_to_lease: vec![PbKvSnapshotLeaseForTable {
            table_id,
            bucket_snapshots: vec![PbKvSnapshotLeaseForBucket {
                partition_id: None,
                bucket_id,
                snapshot_id,
            }],
        }],
    }
}

/// Copies the files of a snapshot as clients do.
fn download(files: &[PbRemotePathAndLocalFile], directory: &Path) {
    for file in files {
        let source = file.remote_path.strip_prefix("file://").expect("a URI");
        fs::copy(source, directory.join(&file.local_file_name)).expect("copied");
    }
}

struct Anything;

impl LogEnds for Anything {
    fn log_start(&self) -> Offset {
        Offset::ZERO
    }

    fn log_end(&self) -> Offset {
        Offset::new(i64::MAX)
    }

    fn epoch_at(&self, _: Offset) -> Option<LeaderEpoch> {
        Some(LeaderEpoch::new(1))
    }
}

/// The values in a directory that is a database of a table's bucket 0.
fn values(table: i64, directory: &Path) -> Vec<Vec<u8>> {
    let mut identity = [0; 16];
    identity[..8].copy_from_slice(&table.to_le_bytes());
    identity[12..].copy_from_slice(&(-1i32).to_le_bytes());
    let spec = IndexSpec {
        directory: directory.to_owned(),
        identity,
        counts_rows: true,
        prefix: Vec::new(),
    };
    let shared = RocksShared::new(RocksConfig::default()).expect("memory");
    let index = RocksIndex::open(&spec, &shared, &Anything).expect("a database");
    let mut values = Vec::new();
    let view = index.view().expect("a view");
    let scanned = view.scan(None, &mut |_, value| {
        values.push(value.to_vec());
        std::ops::ControlFlow::Continue(())
    });
    scanned.expect("scanned");
    values
}

async fn put_rows(
    client: &mut Client,
    keyed: &Keyed,
    table: i64,
    ids: std::ops::Range<i32>,
) -> i64 {
    let rows: Vec<_> = ids.map(|id| row(id, "row", 1)).collect();
    let batch = keyed.upserts(None, &rows);
    client.put(put(table, 0, batch)).await.expect("put")
}

#[tokio::test]
async fn where_none_are_made_any_more_the_old_ones_go_unless_they_are_leased() {
    let files = TempDir::new().expect("a directory");
    let directory = |name: &str| files.path().join(name).to_str().expect("UTF-8").to_owned();
    let (data, remote) = (directory("data"), directory("remote"));
    let settings = [("data.dir", data.as_str()), ("remote.data.dir", &remote)];
    let broker = TestBroker::start_with(settings.into_iter().chain([OFTEN])).await;
    let mut client = Client::connect(broker.fluss()).await;
    let keyed = Keyed::new();
    let mut tables = Vec::new();
    for name in ["leased", "not"] {
        let table = client.create_table(&path(name), &keyed.table(1, &[])).await;
        let end = put_rows(&mut client, &keyed, table, 0..10).await;
        tables.push((table, snapshot_at(&mut client, table, end).await));
    }
    let [(leased, first), (not, _)] = tables[..] else {
        panic!("{tables:?}");
    };
    client.ask(acquire(leased, 0, first)).await.expect("leased");
    broker.stop().await;

    let none = ("kv.snapshot.interval", "0");
    let broker = TestBroker::start_with(settings.into_iter().chain([none])).await;
    let mut client = Client::connect(broker.fluss()).await;
    let gone = async {
        while !client
            .ask(list(not))
            .await
            .expect("a list")
            .active_snapshots
            .is_empty()
        {
            tokio::task::yield_now().await;
        }
    };
    let gone = tokio::time::timeout(Duration::from_secs(20), gone).await;
    gone.expect("nobody has leased it");
    let left = client.ask(list(leased)).await.expect("a list");
    assert_eq!(left.active_snapshots.len(), 1);
    let keys = vec![keyed.key(&row(3, "row", 1))];
    let found = client.look_up(lookup(not, 0, keys)).await.expect("a value");
    assert_eq!(found.iter().flatten().count(), 1);
    broker.stop().await;
}

#[tokio::test]
async fn a_snapshot_is_told_of_leased_and_read_as_a_database() {
    let remote = TempDir::new().expect("a directory");
    let directory = remote.path().to_str().expect("UTF-8");
    let settings = [
        OFTEN,
        ("remote.data.dir", directory),
        ("kv.snapshot.num-retained", "1"),
    ];
    let broker = TestBroker::start_with(settings).await;
    let mut client = Client::connect(broker.fluss()).await;
    let keyed = Keyed::new();
    let table = client.create_table(&path("t"), &keyed.table(2, &[])).await;
    let none = latest(&mut client, "t").await.latest_snapshots;
    assert_eq!(none.len(), 2, "one entry for each bucket");
    assert!(
        none.iter()
            .all(|s| s.snapshot_id.is_none() && s.log_offset.is_none())
    );

    let end = put_rows(&mut client, &keyed, table, 0..100).await;
    let first = snapshot_at(&mut client, table, end).await;
    let told = latest(&mut client, "t").await;
    assert_eq!(told.table_id, table);
    let expected = PbKvSnapshot {
        bucket_id: 0,
        snapshot_id: Some(first),
        log_offset: Some(end),
    };
    assert_eq!(told.latest_snapshots[0], expected);
    assert_eq!(told.latest_snapshots[1].snapshot_id, None);

    // Leased, it outlives the ones that follow, also over a restart.
    let gone = client.ask(acquire(table, 0, first)).await.expect("leased");
    assert!(gone.unavailable_snapshots.is_empty());
    let gone = client.ask(acquire(table, 1, 7)).await.expect("leased");
    let asked = acquire(table, 1, 7).snapshots_to_lease;
    assert_eq!(gone.unavailable_snapshots, asked);
    let end = put_rows(&mut client, &keyed, table, 50..150).await;
    snapshot_at(&mut client, table, end).await;
    let broker = broker.restart().await;
    let mut client = Client::connect(broker.fluss()).await;
    let files = client.ask(metadata(table, first)).await.expect("files");
    assert_eq!(files.log_offset, 100);
    let copy = TempDir::new().expect("a directory");
    download(&files.snapshot_files, copy.path());
    let values = values(table, copy.path());
    let shown: Vec<_> = values.iter().map(|value| keyed.shown(value)).collect();
    let expected: Vec<_> = (0..100).map(|id| format!("{id}|row|1")).collect();
    assert_eq!(shown, expected);

    let release = ReleaseKvSnapshotLeaseRequest {
        lease_id: "job".into(),
        buckets_to_release: vec![PbTableBucket {
            table_id: table,
            partition_id: None,
            bucket_id: 0,
        }],
    };
    client.ask(release).await.expect("released");
    // The next round lets it go.
    let end = put_rows(&mut client, &keyed, table, 0..1).await;
    snapshot_at(&mut client, table, end).await;
    let refused = client.refusal(metadata(table, first)).await;
    assert_eq!(refused, ErrorCode::KvSnapshotNotExist);
    let drop_lease = DropKvSnapshotLeaseRequest {
        lease_id: "job".into(),
    };
    client.ask(drop_lease).await.expect("no error");

    // With the table its files go.
    let drop_table = DropTableRequest {
        table_path: path("t"),
        ignore_if_not_exists: false,
    };
    client.ask(drop_table).await.expect("dropped");
    for _ in 0..500 {
        if !remote.path().join("kv/fluss").exists() {
            broker.stop().await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("files of a dropped table are left");
}

fn directory_of_index(broker: &TestBroker, table: i64) -> PathBuf {
    let data = PathBuf::from(&broker.settings()["data.dir"]);
    data.join("logs").join(table.to_string()).join("0/kv")
}

/// Without a remote directory snapshots serve the broker itself.
#[tokio::test]
async fn a_lost_index_is_taken_from_a_snapshot_that_nobody_was_told_of() {
    let broker = TestBroker::start_with([OFTEN]).await;
    let mut client = Client::connect(broker.fluss()).await;
    let keyed = Keyed::new();
    let table = client.create_table(&path("t"), &keyed.table(1, &[])).await;
    let end = put_rows(&mut client, &keyed, table, 0..100).await;
    let snapshot = snapshot_at(&mut client, table, end).await;
    let told = latest(&mut client, "t").await.latest_snapshots;
    assert_eq!((told.len(), told[0].snapshot_id), (1, None));
    let files = client.ask(metadata(table, snapshot)).await.expect("files");

    let index = directory_of_index(&broker, table);
    let settings = broker.settings().clone();
    let broker = lose_index(broker, &index).await;
    assert_eq!(broker.settings(), &settings);
    let mut client = Client::connect(broker.fluss()).await;
    let keys =
        |ids: &[i32]| -> Vec<_> { ids.iter().map(|id| keyed.key(&row(*id, "", 0))).collect() };
    let found = client.look_up(lookup(table, 0, keys(&[0, 99, 100]))).await;
    let found: Vec<_> = found.expect("values").into_iter().collect();
    assert!(found[0].is_some() && found[1].is_some() && found[2].is_none());
    // It goes on from there.
    let end = put_rows(&mut client, &keyed, table, 100..101).await;
    assert_eq!(end, 101);

    // A snapshot that is damaged is passed over: the log has everything.
    let snapshot = snapshot_at(&mut client, table, end).await;
    let later = client.ask(metadata(table, snapshot)).await.expect("files");
    let rows = |files: &GetKvSnapshotMetadataResponse| {
        let files = files.snapshot_files.clone().into_iter();
        let rows = files.filter(|file| file.local_file_name.ends_with(".sst"));
        rows.collect::<Vec<_>>()
    };
    // Only a database that was the snapshot shares files with it.
    let (before, after) = (rows(&files), rows(&later));
    assert!(before.iter().any(|file| after.contains(file)), "{later:?}");
    for file in after {
        let file = file.remote_path.strip_prefix("file://").expect("a URI");
        // The index has the file under another name.
        fs::remove_file(file).expect("removed");
        fs::write(file, "nothing").expect("written");
    }
    let broker = lose_index(broker, &index).await;
    let mut client = Client::connect(broker.fluss()).await;
    let found = client.look_up(lookup(table, 0, keys(&[0, 100, 101]))).await;
    let found: Vec<_> = found.expect("values").into_iter().collect();
    assert!(found[0].is_some() && found[1].is_some() && found[2].is_none());
    broker.stop().await;
}

/// Restarts the broker without the files of an index.
async fn lose_index(broker: TestBroker, index: &Path) -> TestBroker {
    let index = index.to_owned();
    broker
        .restart_after(move || fs::remove_dir_all(index).expect("removed"))
        .await
}

#[tokio::test]
async fn what_has_no_snapshots_is_refused() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let keyed = Keyed::of(
        &[("day", TypeKind::String), ("id", TypeKind::Int)],
        &["day", "id"],
    );
    let days = keyed.partitioned_by("day").table(3, &[]);
    let days = client.create_table(&path("days"), &days).await;
    let log = client.create_table(&path("log"), &log_table(1)).await;
    let ask = |table: &str, partition: Option<&str>| GetLatestKvSnapshotsRequest {
        table_path: path(table),
        partition_name: partition.map(str::to_owned),
    };
    for (request, code) in [
        (ask("log", None), ErrorCode::NonPrimaryKeyTable),
        (ask("days", None), ErrorCode::PartitionNotExists),
        (ask("days", Some("x")), ErrorCode::PartitionNotExists),
        (ask("no", None), ErrorCode::TableNotExist),
    ] {
        assert_eq!(client.refusal(request).await, code);
    }
    let create = CreatePartitionRequest {
        table_path: path("days"),
        partition_spec: PbPartitionSpec {
            partition_key_values: vec![PbKeyValue {
                key: "day".into(),
                value: "x".into(),
            }],
        },
        ignore_if_not_exists: false,
    };
    client.ask(create).await.expect("made");
    let found = client.ask(ask("days", Some("x"))).await.expect("entries");
    assert_eq!(found.latest_snapshots.len(), 3);
    assert!(found.partition_id.is_some());

    let unknown = client.refusal(metadata(days, 0)).await;
    assert_eq!(unknown, ErrorCode::KvSnapshotNotExist);
    for (table, code) in [
        (log, ErrorCode::NonPrimaryKeyTable),
        (1 << 40, ErrorCode::TableNotExist),
    ] {
        assert_eq!(client.refusal(acquire(table, 0, 0)).await, code);
        assert_eq!(client.refusal(list(table)).await, code);
    }
    let mut long = acquire(days, 0, 0);
    long.lease_id = "x".repeat(2_000);
    assert_eq!(client.refusal(long).await, ErrorCode::UnknownServerError);
    broker.stop().await;
}

#[tokio::test]
async fn a_remote_directory_has_one_cluster() {
    let remote = TempDir::new().expect("a directory");
    let directory = remote.path().to_str().expect("UTF-8");
    let settings = [("remote.data.dir", directory)];
    let broker = TestBroker::start_with(settings).await;
    let mut others = broker.settings().clone();
    let data = TempDir::new().expect("a directory");
    others.insert(
        "data.dir".into(),
        data.path().to_str().expect("UTF-8").into(),
    );
    let refused = super::common::start(&others).await.err().expect("refused");
    let mut text = refused.to_string();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(&refused);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    assert!(text.contains("belongs to cluster"), "{text}");
    broker.restart().await.stop().await;
}
