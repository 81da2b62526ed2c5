//! Topics on a simulated disk, their indexes on the real one.

mod cleaning;
mod damage;
mod follow;
mod model;
mod probe;
mod sequences;
mod successors;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use protocol::fluss::value::{ValueLayout, read_value_batch};
use protocol::ids::{BucketId, LeaderEpoch, Offset, SchemaId, TableId, TabletId};
use protocol::kafka::builder::{BatchBuilder, BatchOptions};
use protocol::kafka::record::Header;
use protocol::raw::raw_schema;
use protocol::row::{Datum, RowLayout};
use tempfile::TempDir;

use super::{Owner, TopicIndex, TopicIndexSpec, TopicIndexes, TopicTable};
use crate::buffers::BufferPool;
use crate::clock::CommitClock;
use crate::env::simulated::Simulation;
use crate::kv::index::rocks::{RocksConfig, RocksShared};
use crate::kv::scan::Scan;
use crate::log::{
    Append, FlushMode, LogConfig, LogContext, LogHandle, LogThreads, OpenFiles, Until,
};

const SCHEMA: SchemaId = SchemaId::new(2);
const TIME: i64 = 1_700_000_000_000;

/// A topic of a few buckets.
struct World {
    simulation: Simulation,
    shared: Arc<TopicIndexes>,
    files: TempDir,
    context: Arc<LogContext>,
    buckets: Vec<TopicIndex>,
}

fn flush_mode(mode: FlushMode) -> LogConfig {
    LogConfig {
        flush_mode: mode,
        segment_bytes_max: 4 << 10,
        segment_ms_max: None,
        retention_ms: None,
        ..LogConfig::default()
    }
}

impl World {
    fn new(buckets: i32) -> World {
        World::with(buckets, FlushMode::Fsync)
    }

    fn with(buckets: i32, mode: FlushMode) -> World {
        let simulation = Simulation::new(1);
        let rocks = RocksShared::new(RocksConfig::default()).unwrap();
        let mut world = World {
            shared: TopicIndexes::start(Arc::new(rocks), 1).unwrap(),
            files: TempDir::new().unwrap(),
            context: context(&simulation),
            buckets: Vec::new(),
            simulation,
        };
        world.open(buckets, mode, 1);
        world
    }

    /// Opens logs and indexes, as a start does.
    fn open(&mut self, buckets: i32, mode: FlushMode, epoch: i32) {
        self.buckets.clear();
        self.context = context(&self.simulation);
        let threads = LogThreads::start(1, 1, 64 << 20).unwrap();
        for bucket in 0..buckets {
            let tablet = TabletId {
                table: TableId::new(1),
                table_partition: None,
                bucket: BucketId::new(bucket),
            };
            let log = LogHandle::open(
                Arc::clone(&self.context),
                Arc::clone(&threads),
                tablet,
                PathBuf::from(format!("/logs/1/{bucket}")),
                flush_mode(mode),
                LeaderEpoch::new(epoch),
            );
            self.buckets.push(self.index(log.unwrap(), TableId::new(1)));
        }
    }

    fn index(&self, log: LogHandle, table: TableId) -> TopicIndex {
        let bucket = log.log().id().bucket;
        let spec = TopicIndexSpec {
            directory: self.files.path().join(bucket.to_string()),
            table,
            schema_id: SCHEMA,
        };
        TopicIndex::new(log, spec, Arc::clone(&self.shared))
    }

    /// The index of a bucket is opened again, as after a kill.
    fn reopen_index(&mut self, bucket: usize, table: i64) {
        let log = self.buckets[bucket].log().clone();
        self.buckets.remove(bucket);
        let index = self.index(log, TableId::new(table));
        self.buckets.insert(bucket, index);
    }

    async fn append(&self, bucket: usize, batch: BatchBuilder) -> Offset {
        let append = Append {
            batches: vec![batch.finish_unassigned(SCHEMA, 0)],
            expected_epoch: None,
            stamp_log_append_time: false,
        };
        let log = self.buckets[bucket].log();
        let appended = log.append(append, Until::Durable).await.unwrap();
        appended.unwrap().base_offset
    }

    /// Produces one record.
    async fn put(&self, bucket: usize, key: &str, value: Option<&str>) -> Offset {
        self.append(bucket, batch(&[(Some(key), value)])).await
    }

    fn table(&self, owner: Owner) -> TopicTable {
        TopicTable::new(self.buckets.clone(), owner)
    }

    /// The value of a key.
    async fn value(&self, owner: Owner, key: &str) -> Option<String> {
        let keys = vec![Bytes::copy_from_slice(key.as_bytes())];
        let found = self.table(owner).lookup(keys, usize::MAX).await.unwrap();
        found[0].as_ref().map(|value| row(value).1)
    }

    /// Keys and values of all rows of a bucket, read in small pieces.
    async fn rows(&self, owner: Owner, bucket: usize) -> Vec<(String, String)> {
        let rows = Arc::new(self.table(owner).rows(bucket).await.unwrap());
        // The index is open until the scan's thread let go of it.
        let (held, mut let_go) = tokio::sync::mpsc::channel::<()>(1);
        let scan = Scan::open(rows, ValueLayout::Plain, u64::MAX, held);
        let scan = scan.await.unwrap();
        let mut rows = Vec::new();
        loop {
            let piece = scan.next(200).await.unwrap();
            if let Some(records) = &piece.records {
                let values = read_value_batch(records).unwrap();
                rows.extend(values.iter().map(|value| {
                    let mut plain = Vec::new();
                    value.write(&mut plain);
                    row(&plain)
                }));
            }
            if !piece.more {
                drop(scan);
                assert_eq!(let_go.recv().await, None);
                return rows;
            }
        }
    }
}

fn context(simulation: &Simulation) -> Arc<LogContext> {
    let env = simulation.env();
    Arc::new(LogContext {
        commit_clock: CommitClock::new(Arc::clone(&env.clock), 0),
        files: OpenFiles::new(8),
        buffers: BufferPool::new(8 << 20),
        recovery_debt: Arc::default(),
        env,
    })
}

fn batch(records: &[(Option<&str>, Option<&str>)]) -> BatchBuilder {
    let mut batch = BatchBuilder::new(BatchOptions::default());
    for (i, (key, value)) in (0..).zip(records) {
        let headers = [Header {
            key: b"h\xff",
            value: Some(b"x"),
        }];
        let (key, value) = (key.map(str::as_bytes), value.map(str::as_bytes));
        batch.append(i, TIME, key, value, headers);
    }
    batch
}

/// Key and value of a row as lookups answer with it.
fn row(value: &[u8]) -> (String, String) {
    assert_eq!(value[..2], SCHEMA.value().to_le_bytes());
    let layout = RowLayout::of(
        protocol::fluss::options::KvFormat::Compacted,
        &raw_schema(true),
    );
    let mut columns = Vec::new();
    layout.read(&value[2..], &mut columns).unwrap();
    let text = |datum: &Datum<'_>| match datum {
        Datum::Bytes(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    };
    (text(&columns[0]), text(&columns[1]))
}
