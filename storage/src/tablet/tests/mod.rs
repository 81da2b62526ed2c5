//! Tests of tablets on a simulated disk, with a transcoder that only names what it was given.

mod fluss;
mod kafka;
mod projection;
mod times;

use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use protocol::batch::{BatchFormat, NO_TIME, UnassignedBatch};
use protocol::columnar::arrow_schema;
use protocol::fluss::batch::{Assigned, BatchSpec, Changes, build_arrow};
use protocol::fluss::buffer_codec::Compressor;
use protocol::ids::{BucketId, LeaderEpoch, Offset, SchemaId, TableId, TabletId};
use protocol::kafka::builder::{BatchBuilder, BatchOptions};
use protocol::schema::{Column, DataType, Schema, TypeKind};

use super::{ConvertError, Converted, OtherWire, TableShape, Tablet};
use crate::buffers::BufferPool;
use crate::clock::CommitClock;
use crate::env::simulated::Simulation;
use crate::log::{
    Append, Appended, LogConfig, LogContext, LogHandle, LogThreads, OpenFiles, ReadRange, Until,
};

pub(super) const SCHEMA: SchemaId = SchemaId::new(1);

/// One tablet on a disk of its own.
pub(super) struct World {
    pub(super) simulation: Simulation,
    pub(super) tablet: Tablet,
    pub(super) other: Arc<NamesFrames>,
}

impl World {
    pub(super) fn new(shape: TableShape, config: LogConfig) -> World {
        let simulation = Simulation::new(1);
        let env = simulation.env();
        let context = Arc::new(LogContext {
            commit_clock: CommitClock::new(Arc::clone(&env.clock), 0),
            files: OpenFiles::new(3),
            buffers: BufferPool::new(8 << 20),
            recovery_debt: Arc::default(),
            env,
        });
        let id = TabletId {
            table: TableId::new(1),
            table_partition: None,
            bucket: BucketId::new(0),
        };
        let threads = LogThreads::start(1, 1, 64 << 20).unwrap();
        let directory = PathBuf::from("/logs/1/0");
        let epoch = LeaderEpoch::new(7);
        let log = LogHandle::open(context, threads, id, directory, config, epoch).unwrap();
        let other = Arc::new(NamesFrames::default());
        World {
            simulation,
            tablet: Tablet::new(
                log,
                Arc::new(shape),
                Arc::clone(&other) as Arc<dyn OtherWire>,
            ),
            other,
        }
    }

    pub(super) async fn append(&self, batch: UnassignedBatch) -> Appended {
        let append = Append {
            batches: vec![batch],
            expected_epoch: None,
            stamp_log_append_time: false,
        };
        self.tablet
            .append(append, Until::Durable)
            .await
            .unwrap()
            .unwrap()
    }

    /// Appends without a sync, so that the high watermark stays behind.
    pub(super) fn append_unsynced(&self, batch: UnassignedBatch) {
        let append = Append {
            batches: vec![batch],
            expected_epoch: None,
            stamp_log_append_time: false,
        };
        for result in self.tablet.log().log().append_group(&[append]) {
            result.unwrap();
        }
    }

    /// Calls and bytes of reads that `work` makes.
    pub(super) async fn reads<T>(&self, work: impl Future<Output = T>) -> (T, u64, u64) {
        let before = self.simulation.disk.counters();
        let answer = work.await;
        let after = self.simulation.disk.counters();
        (
            answer,
            after.reads - before.reads,
            after.read_bytes - before.read_bytes,
        )
    }
}

/// Shows each frame of the other wire as its offsets in brackets, padded to `length`.
#[derive(Default)]
pub(super) struct NamesFrames {
    pub(super) length: Mutex<usize>,
    pub(super) calls: Mutex<Vec<ReadRange>>,
}

impl NamesFrames {
    pub(super) fn show(&self, base: i64, last: i64) -> Vec<u8> {
        let mut text = format!("[{base}-{last}]").into_bytes();
        text.resize(text.len().max(*self.length.lock()), b' ');
        text
    }

    async fn names(
        &self,
        log: &LogHandle,
        range: ReadRange,
        own: impl Fn(BatchFormat) -> bool,
    ) -> Result<Converted, ConvertError> {
        self.calls.lock().push(range);
        let all = ReadRange {
            bytes_max: usize::MAX,
            ..range
        };
        let run = log.read_run(all).await?;
        let mut made = Converted::nothing_at(range.offset);
        for (header, _) in run.frames() {
            if own(header.format) {
                break;
            }
            let chunk = self.show(header.base_offset.value(), header.last_offset.value());
            let first = range.at_least_one && made.chunks.is_empty();
            if made.bytes + chunk.len() > range.bytes_max && !first {
                break;
            }
            made.bytes += chunk.len();
            made.chunks.push(Bytes::from(chunk));
            made.next_offset = header.last_offset.next();
        }
        Ok(made)
    }
}

#[async_trait]
impl OtherWire for NamesFrames {
    async fn fluss_from_kafka(
        &self,
        log: &LogHandle,
        _shape: &Arc<TableShape>,
        range: ReadRange,
        _projection: Option<&Arc<[usize]>>,
    ) -> Result<Converted, ConvertError> {
        self.names(log, range, BatchFormat::is_fluss).await
    }

    async fn kafka_from_fluss(
        &self,
        log: &LogHandle,
        _shape: &Arc<TableShape>,
        range: ReadRange,
    ) -> Result<Converted, ConvertError> {
        self.names(log, range, |format| format == BatchFormat::Kafka)
            .await
    }
}

/// A Kafka batch of these record times; values of `value_bytes`.
pub(super) fn kafka_batch(times: &[i64], value_bytes: usize) -> UnassignedBatch {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let value = vec![7; value_bytes];
    for (delta, time) in (0..).zip(times) {
        builder.append(delta, *time, Some(b"k"), Some(&value), []);
    }
    builder.finish_unassigned(SCHEMA, 0)
}

/// `a INT, b STRING, c BIGINT`, all nullable.
pub(super) fn three_columns() -> Schema {
    schema(&[
        ("a", TypeKind::Int),
        ("b", TypeKind::String),
        ("c", TypeKind::BigInt),
    ])
}

pub(super) fn schema(columns: &[(&str, TypeKind)]) -> Schema {
    let columns: Vec<Column> = (0..)
        .zip(columns)
        .map(|(id, (name, kind))| Column {
            name: (*name).to_owned(),
            data_type: DataType::nullable(kind.clone()),
            comment: None,
            id,
            agg_function: None,
        })
        .collect();
    Schema {
        highest_field_id: columns.len() as i32 - 1,
        columns,
        primary_key: Vec::new(),
        auto_increment_column: None,
    }
}

pub(super) fn arrow_table() -> TableShape {
    TableShape::of(SCHEMA, three_columns())
}

/// Rows of [`three_columns`]: numbers from `first` on, and texts of `text_bytes`.
pub(super) fn rows(first: i32, count: usize, text_bytes: usize) -> RecordBatch {
    let numbers = || (first..).take(count);
    let text = |number: i32| {
        let fill = char::from(b'a' + (number % 26) as u8);
        fill.to_string().repeat(text_bytes)
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from_iter(numbers().map(Some))),
        Arc::new(StringArray::from_iter(numbers().map(|n| Some(text(n))))),
        Arc::new(Int64Array::from_iter(
            numbers().map(|n| Some(i64::from(n) * 3)),
        )),
    ];
    RecordBatch::try_new(arrow_schema(&three_columns()), columns).unwrap()
}

/// An append-only Arrow batch of these rows.
pub(super) fn arrow_batch(rows: &RecordBatch) -> UnassignedBatch {
    let spec = BatchSpec {
        assigned: Assigned::default(),
        ..BatchSpec::new(SCHEMA)
    };
    let bytes = build_arrow(&spec, Changes::AppendOnly, rows, &mut Compressor::new(None)).unwrap();
    fluss_batch(bytes, rows.num_rows(), BatchFormat::FlussArrow)
}

pub(super) fn fluss_batch(bytes: Vec<u8>, rows: usize, format: BatchFormat) -> UnassignedBatch {
    UnassignedBatch {
        bytes: Bytes::from(bytes),
        format,
        schema_id: SCHEMA,
        record_count: rows as i32,
        last_offset_delta: (rows as i32 - 1).max(0),
        record_time_max: NO_TIME,
        transactional: false,
        control: false,
        source: None,
    }
}

pub(super) fn offset(value: i64) -> Offset {
    Offset::new(value)
}

/// A runtime for property tests.
pub(super) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
}
