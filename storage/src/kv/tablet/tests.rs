mod cleaning;
mod opening;
mod reads;
mod store;

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use protocol::fluss::key::KeyEncoder;
use protocol::fluss::kv_batch::{KvBatchBuilder, KvRecord};
use protocol::fluss::options::{ChangelogImage, LogFormat};
use protocol::fluss::value::{Value, ValueLayout};
use protocol::ids::{BucketId, LeaderEpoch, Offset, TableId, TabletId};
use protocol::row::Datum;
use protocol::schema::TypeKind;

use super::*;
use crate::buffers::BufferPool;
use crate::clock::CommitClock;
use crate::env::simulated::Simulation;
use crate::kv::fixtures::{TWO, row, table, values};
use crate::kv::index::memory::MemoryIndex;
use crate::kv::index::{Index, IndexState};
use crate::kv::merge::MergeTable;
use crate::log::{FlushMode, LogConfig, LogContext, LogThreads, OpenFiles};
use crate::tablet::ArrowCodec;
use store::MemoryStore;

const LOG_DIRECTORY: &str = "/logs/1/0";

struct Fixture {
    log_format: LogFormat,
    simulation: Simulation,
    store: Arc<MemoryStore>,
    limits: KvLimits,
    flush_mode: FlushMode,
    table: MergeTable,
    /// Of the index.
    directory: PathBuf,
    epoch: i32,
}

impl Fixture {
    fn new(flush_mode: FlushMode) -> Fixture {
        let columns = [("a", TypeKind::Int, ""), ("b", TypeKind::Int, "")];
        Fixture {
            log_format: LogFormat::Arrow,
            simulation: Simulation::new(1),
            store: Arc::default(),
            limits: KvLimits::default(),
            flush_mode,
            table: table(&columns, 1),
            directory: PathBuf::from("/none"),
            epoch: 0,
        }
    }

    /// A start of the process.
    fn open(&mut self) -> KvTablet {
        let store = Arc::clone(&self.store);
        let resources = KvResources::start(store, 1, self.limits).unwrap();
        self.open_with(resources)
    }

    /// The same with what several buckets share.
    fn open_with(&mut self, resources: Arc<KvResources>) -> KvTablet {
        self.epoch += 1;
        let env = self.simulation.env();
        let context = Arc::new(LogContext {
            commit_clock: CommitClock::new(Arc::clone(&env.clock), 0),
            files: OpenFiles::new(2),
            buffers: BufferPool::new(8 << 20),
            recovery_debt: Arc::default(),
            env,
        });
        let id = TabletId {
            table: TableId::new(1),
            table_partition: None,
            bucket: BucketId::new(0),
        };
        let config = LogConfig {
            flush_mode: self.flush_mode,
            ..LogConfig::default()
        };
        let log = LogHandle::open(
            context,
            LogThreads::start(1, 1, 1 << 20).unwrap(),
            id,
            PathBuf::from(LOG_DIRECTORY),
            config,
            LeaderEpoch::new(self.epoch),
        );
        let table = KvTable::new(KvTableSpec {
            merge: self.table.clone(),
            image: ChangelogImage::Full,
            log_format: self.log_format,
            codec: ArrowCodec::None,
            key: KeyEncoder::Compacted,
            key_columns: vec!["k".to_owned()],
            layout: ValueLayout::Plain,
            ids: None,
        });
        let spec = IndexSpec {
            directory: self.directory.clone(),
            identity: [0; 16],
            counts_rows: true,
            prefix: Vec::new(),
        };
        KvTablet::new(log.unwrap(), resources, spec, Arc::new(table.unwrap()))
    }

    fn batch(&self, writer: Option<(i64, i32)>, records: &[(i32, Option<i32>)]) -> Bytes {
        let mut builder = KvBatchBuilder::new(TWO, writer);
        for (key, value) in records {
            let row = value.map(|v| {
                let values = [Datum::Int(*key), Datum::Int(v), Datum::Null];
                row(&self.table, TWO, &values)
            });
            builder.append(KvRecord {
                key: &encoded(*key),
                row: row.as_deref(),
            });
        }
        builder.finish()
    }

    fn put(
        &self,
        kv: &KvTablet,
        writer: Option<(i64, i32)>,
        records: &[(i32, Option<i32>)],
    ) -> PutTicket {
        let put = kv.check(self.batch(writer, records), &[], MergeMode::Engine);
        kv.put(put.unwrap(), Until::Durable)
    }

    async fn get(&self, kv: &KvTablet, key: i32) -> Option<i32> {
        let found = kv
            .lookup(vec![Bytes::from(encoded(key))], 100)
            .await
            .unwrap();
        let [found] = found.try_into().unwrap();
        let stored = found?;
        let row = Value::parse(&stored).unwrap();
        match values(&self.table, row)[1] {
            Datum::Int(value) => Some(value),
            ref other => panic!("{other:?}"),
        }
    }
}

/// A key as clients encode it.
fn encoded(key: i32) -> Vec<u8> {
    let mut out = Vec::new();
    let types = [protocol::schema::DataType::not_null(TypeKind::Int)];
    let written = KeyEncoder::Compacted.encode(&[Datum::Int(key)], types.iter(), &mut out);
    written.unwrap();
    out
}

/// The last handle goes, and what its lane was about to do with it.
fn power_off(kv: KvTablet) {
    let inner = Arc::downgrade(&kv.inner);
    let index = kv.index_if_open();
    drop(kv);
    let is_shared = |index: &Arc<OpenIndex>| Arc::strong_count(index) > 1;
    while inner.strong_count() > 0 || index.as_ref().is_some_and(is_shared) {
        std::thread::yield_now();
    }
}

fn high_watermark(kv: &KvTablet) -> i64 {
    let watermarks = kv.inner.log.log().watermarks();
    watermarks.high_watermark.value()
}

#[tokio::test]
async fn an_acknowledged_row_is_found_and_survives_a_power_loss() {
    let mut fixture = Fixture::new(FlushMode::Fsync);
    let kv = fixture.open();
    assert_eq!(fixture.get(&kv, 1).await, None);
    let put = fixture.put(&kv, None, &[(1, Some(10)), (2, Some(20)), (1, Some(11))]);
    let appended = put.answer().await.unwrap();
    // +I +I -U +U
    assert_eq!(appended.base_offset, Offset::ZERO);
    assert_eq!(appended.last_offset, Offset::new(3));
    assert_eq!(high_watermark(&kv), 4);
    assert_eq!(fixture.get(&kv, 1).await, Some(11));
    let deleted = fixture.put(&kv, None, &[(2, None)]).answer().await.unwrap();
    assert_eq!(deleted.last_offset, Offset::new(4));
    assert_eq!(fixture.get(&kv, 2).await, None);
    assert_eq!(kv.row_count().await.unwrap(), Some(1));
    // The index had nothing on disk, the log everything.
    power_off(kv);
    fixture.simulation.disk.crash(7);
    fixture.store.index.lock().as_ref().unwrap().crash(0);
    let kv = fixture.open();
    assert_eq!(fixture.get(&kv, 1).await, Some(11));
    assert_eq!(fixture.get(&kv, 2).await, None);
    assert_eq!(kv.row_count().await.unwrap(), Some(1));
    assert_eq!(kv.state().await.unwrap().applied, Offset::new(5));
}

#[tokio::test]
async fn nothing_is_seen_before_it_is_durable() {
    let mut fixture = Fixture::new(FlushMode::Fsync);
    let kv = fixture.open();
    fixture
        .put(&kv, None, &[(1, Some(1))])
        .answer()
        .await
        .unwrap();
    fixture.simulation.disk.fail_sync_after(0);
    let failed = fixture.put(&kv, None, &[(1, Some(2))]).answer().await;
    assert!(matches!(failed, Err(KvError::Append(_))), "{failed:?}");
    assert_eq!(fixture.get(&kv, 1).await, Some(1), "lookups go on");
    assert_eq!(high_watermark(&kv), 1);
}

#[tokio::test]
async fn an_index_that_is_ahead_of_a_log_that_grew_again_is_made_anew() {
    let mut fixture = Fixture::new(FlushMode::PageCache);
    let kv = fixture.open();
    let put = fixture.put(&kv, None, &[(1, Some(1)), (2, Some(2))]);
    put.answer().await.unwrap();
    // The index goes to disk, the log does not, and the power fails.
    fixture
        .store
        .index
        .lock()
        .as_ref()
        .unwrap()
        .flush()
        .unwrap();
    power_off(kv);
    fixture.simulation.disk.crash(3);
    let kv = fixture.open();
    let end = kv.inner.log.log().watermarks().log_end;
    assert_eq!(end, Offset::ZERO, "the log lost both rows");
    // Another start writes as many rows before anybody opens the index.
    let batch = kv.check(
        fixture.batch(None, &[(7, Some(7)), (8, Some(8)), (9, Some(9))]),
        &[],
        MergeMode::Engine,
    );
    kv.put(batch.unwrap(), Until::Durable)
        .answer()
        .await
        .unwrap();
    assert_eq!(fixture.get(&kv, 1).await, None);
    assert_eq!(fixture.get(&kv, 8).await, Some(8));

    // The same with a log that grew past the index: only the epoch tells.
    fixture
        .store
        .index
        .lock()
        .as_ref()
        .unwrap()
        .flush()
        .unwrap();
    power_off(kv);
    fixture.simulation.disk.crash(3);
    *fixture.store.index.lock() = Some({
        let foreign = MemoryIndex::new(true);
        let mut rows = foreign.start();
        rows.put(&encoded(5), b"lost");
        let lost = IndexState {
            applied: Offset::new(1),
            epoch: Some(LeaderEpoch::new(2)),
            row_count: Some(1),
        };
        rows.commit(lost).unwrap();
        foreign
    });
    let kv = fixture.open();
    let log = kv.inner.log.clone();
    let merged = {
        let mut other = Fixture::new(FlushMode::PageCache);
        other.epoch = fixture.epoch;
        let elsewhere = other.open();
        other
            .put(&elsewhere, None, &[(6, Some(6)), (7, Some(7))])
            .answer()
            .await
            .unwrap();
        let run = elsewhere.inner.log.log().read_run(
            crate::log::ReadRange {
                offset: Offset::ZERO,
                end: Offset::new(2),
                bytes_max: 1 << 20,
                at_least_one: true,
            },
            true,
        );
        let run = run.unwrap().unwrap();
        let (header, bytes) = run.frames().next().unwrap();
        protocol::batch::UnassignedBatch {
            bytes: Bytes::copy_from_slice(bytes),
            format: header.format,
            schema_id: header.schema_id,
            record_count: 2,
            last_offset_delta: 1,
            record_time_max: protocol::batch::NO_TIME,
            transactional: false,
            control: false,
            source: None,
        }
    };
    let append = crate::log::Append {
        batches: vec![merged],
        expected_epoch: None,
        stamp_log_append_time: false,
    };
    log.append(append, Until::Durable).await.unwrap().unwrap();
    assert_eq!(
        fixture.get(&kv, 5).await,
        None,
        "it has another epoch's offset 0"
    );
    assert_eq!(fixture.get(&kv, 6).await, Some(6));
    assert_eq!(*fixture.store.opened.lock(), [true, true, true]);
}

#[tokio::test]
async fn a_retried_batch_is_applied_once() {
    let mut fixture = Fixture::new(FlushMode::Fsync);
    let kv = fixture.open();
    let first = fixture.put(&kv, Some((9, 0)), &[(1, Some(1))]);
    let first = first.answer().await.unwrap();
    let other = fixture.put(&kv, Some((9, 1)), &[(1, Some(2))]);
    other.answer().await.unwrap();
    // The answer of the first was lost; the row has another value by now.
    let again = fixture.put(&kv, Some((9, 0)), &[(1, Some(1))]);
    let again = again.answer().await.unwrap();
    assert!(again.duplicate);
    assert_eq!(again.base_offset, first.base_offset);
    assert_eq!(fixture.get(&kv, 1).await, Some(2));
    let skipped = fixture.put(&kv, Some((9, 5)), &[(1, Some(5))]);
    let refused = skipped.answer().await;
    assert!(matches!(refused, Err(KvError::Append(_))), "{refused:?}");
    assert_eq!(fixture.get(&kv, 1).await, Some(2));
    // Also after a restart: the log knows the writer.
    kv.close();
    kv.inner.log.close().unwrap();
    let kv = fixture.open();
    let again = fixture.put(&kv, Some((9, 1)), &[(1, Some(2))]);
    assert!(again.answer().await.unwrap().duplicate);
    assert_eq!(kv.inner.log.log().watermarks().log_end, Offset::new(3));
}

#[tokio::test]
async fn a_full_buffer_waits_for_the_log() {
    let mut fixture = Fixture::new(FlushMode::Fsync);
    fixture.limits.buffer_bytes_max = 400;
    let kv = fixture.open();
    let tickets: Vec<_> = (0..40)
        .map(|n| fixture.put(&kv, None, &[(n, Some(n)), (n + 100, Some(n))]))
        .collect();
    for ticket in tickets {
        ticket.answer().await.unwrap();
    }
    assert_eq!(fixture.get(&kv, 139).await, Some(39));
    // A batch that would never fit is refused.
    let rows: Vec<_> = (0..100).map(|n| (n, Some(-n))).collect();
    let refused = fixture.put(&kv, None, &rows).answer().await.unwrap_err();
    assert!(matches!(refused, KvError::Put(_)) && !refused.is_too_busy());
    assert_eq!(fixture.get(&kv, 39).await, Some(39));
}

#[tokio::test]
async fn who_waits_for_room_is_told_when_the_log_goes_offline() {
    let mut fixture = Fixture::new(FlushMode::Fsync);
    fixture.limits.buffer_bytes_max = 400;
    let kv = fixture.open();
    fixture
        .put(&kv, None, &[(1, Some(1))])
        .answer()
        .await
        .unwrap();
    fixture.simulation.disk.fail_sync_after(0);
    let tickets: Vec<_> = (0..40)
        .map(|n| fixture.put(&kv, None, &[(n, Some(n)), (n + 100, Some(n))]))
        .collect();
    let limit = Duration::from_secs(60);
    for ticket in tickets {
        let answered = tokio::time::timeout(limit, ticket.answer()).await;
        let refused = answered.expect("an answer").unwrap_err();
        assert!(matches!(refused, KvError::Append(_)), "{refused:?}");
    }
    // Nothing keeps the lane from closing.
    kv.close();
}

#[tokio::test]
async fn an_index_that_fails_is_opened_again_and_has_what_was_acknowledged() {
    let mut fixture = Fixture::new(FlushMode::Fsync);
    let kv = fixture.open();
    fixture
        .put(&kv, None, &[(1, Some(1))])
        .answer()
        .await
        .unwrap();
    fixture.store.fail(IndexError::Failed("once".to_owned()));
    let unanswered = fixture.put(&kv, None, &[(1, Some(2))]);
    // The next put opens the index anew, which the log brings up to date.
    let next = fixture.put(&kv, None, &[(2, Some(2))]);
    next.answer().await.unwrap();
    unanswered.answer().await.unwrap();
    assert_eq!(fixture.get(&kv, 1).await, Some(2));
    assert_eq!(fixture.get(&kv, 2).await, Some(2));
    assert_eq!(kv.row_count().await.unwrap(), Some(2));
}

#[tokio::test]
async fn a_closed_bucket_refuses_and_was_flushed() {
    let mut fixture = Fixture::new(FlushMode::Fsync);
    let kv = fixture.open();
    fixture
        .put(&kv, None, &[(1, Some(1))])
        .answer()
        .await
        .unwrap();
    kv.close();
    assert_eq!(fixture.store.index.lock().as_ref().unwrap().unflushed(), 0);
    let refused = fixture.put(&kv, None, &[(1, Some(2))]).answer().await;
    assert!(matches!(refused, Err(KvError::Closed)));
    let refused = kv.lookup(vec![Bytes::from(encoded(1))], 100).await;
    assert!(matches!(refused, Err(KvError::Closed)));
}
