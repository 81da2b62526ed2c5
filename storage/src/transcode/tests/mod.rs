//! The transcoder over real logs on a simulated disk.

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{Array, RecordBatch};
use bytes::Bytes;
use proptest::prelude::*;
use protocol::batch::{BatchFormat, UnassignedBatch};
use protocol::columnar::{Decoder, RowsBuilder, arrow_schema};
use protocol::fluss::batch::{
    BatchSpec, Batches, ChangeType, Changes, build_arrow, build_empty, build_rows,
};
use protocol::fluss::buffer_codec::Compressor;
use protocol::fluss::descriptor::schema_from_json;
use protocol::ids::{BucketId, LeaderEpoch, Offset, SchemaId, TableId, TabletId};
use protocol::json::JsonRows;
use protocol::kafka::batch::{self as kafka_batch, BatchView};
use protocol::kafka::builder::{BatchBuilder, BatchOptions};
use protocol::kafka::compression::Codec;
use protocol::kafka::record::Header;
use protocol::raw::{RawRows, raw_schema};
use protocol::row::{Datum, Timestamp, compacted, indexed};
use protocol::schema::{DataType, RowField, Schema, TypeKind};

mod both_wires;
mod sent;
mod to_fluss;
mod to_kafka;

use sent::{SentBatch, send, sent_batches};

use super::*;
use crate::buffers::BufferPool;
use crate::clock::CommitClock;
use crate::env::simulated::Simulation;
use crate::log::{Append, LogConfig, LogContext, LogThreads, OpenFiles, Until};
use crate::tablet::{ArrowCodec, FlussRead, KafkaRead, Tablet};

const SCHEMA: SchemaId = SchemaId::new(1);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

pub(super) struct World {
    pub(super) simulation: Simulation,
    pub(super) log: LogHandle,
    transcoder: Arc<Transcoder>,
    shape: Arc<TableShape>,
    runtime: tokio::runtime::Runtime,
}

impl World {
    pub(super) fn new(shape: TableShape, config: LogConfig) -> World {
        World::with_files(shape, config, 0)
    }

    /// A world with room for derived files.
    pub(super) fn with_files(shape: TableShape, config: LogConfig, files: u64) -> World {
        let simulation = Simulation::new(1);
        let log = open(&simulation, config);
        World {
            simulation,
            log,
            transcoder: transcoder(1 << 20, files),
            shape: Arc::new(shape),
            runtime: runtime(),
        }
    }

    /// A new process with the same disk: it remembers nothing.
    pub(super) fn restart_transcoder(&mut self, files: u64) {
        self.transcoder = transcoder(0, files);
    }

    /// Waits until all derived files are made.
    pub(super) fn settle(&self) {
        self.transcoder.inner.derived.settle();
    }

    pub(super) fn tend(&self) {
        self.transcoder.tend(&self.log, &self.shape);
    }

    pub(super) fn append(&self, batch: UnassignedBatch) {
        let append = Append {
            batches: vec![batch],
            expected_epoch: None,
            stamp_log_append_time: false,
        };
        let ticket = self.log.append(append, Until::Durable);
        self.runtime.block_on(ticket).unwrap().unwrap();
    }

    pub(super) fn pause(&self, ms: u64) {
        self.simulation.clock.advance(Duration::from_millis(ms));
    }

    pub(super) fn end(&self) -> Offset {
        self.log.log().watermarks().high_watermark
    }

    pub(super) fn fluss(
        &self,
        offset: i64,
        bytes_max: usize,
        columns: Option<&[usize]>,
    ) -> Converted {
        self.fluss_range(range(offset, self.end(), bytes_max), columns)
    }

    /// All batches that end at or below `end`.
    pub(super) fn fluss_below(
        &self,
        offset: i64,
        end: Offset,
        columns: Option<&[usize]>,
    ) -> Converted {
        self.fluss_range(range(offset, end, 64 << 20), columns)
    }

    fn fluss_range(&self, range: ReadRange, columns: Option<&[usize]>) -> Converted {
        let columns = columns.map(Arc::from);
        let read =
            self.transcoder
                .fluss_from_kafka(&self.log, &self.shape, range, columns.as_ref());
        self.runtime.block_on(read).unwrap()
    }

    fn kafka(&self, offset: i64, bytes_max: usize) -> Converted {
        let range = range(offset, self.end(), bytes_max);
        let read = self
            .transcoder
            .kafka_from_fluss(&self.log, &self.shape, range);
        self.runtime.block_on(read).unwrap()
    }

    /// All batches from an offset on, and what a client makes of them.
    pub(super) fn fluss_rows(&self, from: i64, bytes_max: usize) -> Vec<Row> {
        let mut rows = Vec::new();
        let mut offset = from;
        while offset < self.end().value() {
            let read = self.fluss(offset, bytes_max, None);
            assert!(read.next_offset.value() > offset, "the reader moves on");
            let mut next = None;
            for batch in batches(&read.chunks) {
                let header = batch.header();
                assert!(batch.crc_holds());
                assert_eq!(header.writer_id(), -1);
                assert!(next.is_none_or(|next| next == header.base_offset()));
                next = Some(batch.last_offset() + 1);
                rows.extend(rows_of(&batch, &self.shape).filter(|row| row.0 >= offset));
            }
            assert_eq!(next, Some(read.next_offset.value()));
            offset = read.next_offset.value();
        }
        rows
    }
}

fn range(offset: i64, end: Offset, bytes_max: usize) -> ReadRange {
    ReadRange {
        offset: Offset::new(offset),
        end,
        bytes_max,
        at_least_one: true,
    }
}

fn transcoder(cache_bytes: usize, derived_bytes: u64) -> Arc<Transcoder> {
    Transcoder::start(&TranscoderConfig {
        cache_bytes,
        threads: 2,
        derived_bytes,
    })
    .unwrap()
}

fn open(simulation: &Simulation, config: LogConfig) -> LogHandle {
    let env = simulation.env();
    let context = Arc::new(LogContext {
        commit_clock: CommitClock::new(Arc::clone(&env.clock), 0),
        files: OpenFiles::new(3),
        buffers: BufferPool::new(8 << 20),
        recovery_debt: Arc::default(),
        env,
    });
    context
        .env
        .disk
        .create_directories("/log".as_ref())
        .unwrap();
    let tablet = TabletId {
        table: TableId::new(1),
        table_partition: None,
        bucket: BucketId::new(0),
    };
    let threads = LogThreads::start(1, 1, 64 << 20).unwrap();
    let epoch = LeaderEpoch::new(1);
    LogHandle::open(context, threads, tablet, "/log".into(), config, epoch).unwrap()
}

/// Offset, key, value, timestamp, headers, change.
pub(super) type Row = (
    i64,
    Option<Vec<u8>>,
    Option<Vec<u8>>,
    i64,
    Vec<(String, Option<Vec<u8>>)>,
    ChangeType,
);

fn batches(chunks: &[Bytes]) -> Vec<protocol::fluss::batch::LogBatch> {
    let all = chunks.iter().flat_map(|chunk| Batches::new(chunk.clone()));
    all.map(Result::unwrap).collect()
}

fn rows_of(
    batch: &protocol::fluss::batch::LogBatch,
    shape: &TableShape,
) -> impl Iterator<Item = Row> + use<> {
    let schema = shape.schema(batch.header().schema_id()).unwrap();
    let decoded = Decoder::default()
        .decode(batch, BatchFormat::FlussArrow, schema, None)
        .unwrap();
    let raw = RawRows::new(&decoded.rows).unwrap();
    let base = batch.header().base_offset();
    let rows: Vec<Row> = raw
        .iter()
        .enumerate()
        .map(|(i, row)| {
            let headers = row
                .headers()
                .map(|(k, v)| (k.to_owned(), v.map(<[u8]>::to_vec)));
            (
                base + i as i64,
                row.key.map(<[u8]>::to_vec),
                row.value.map(<[u8]>::to_vec),
                row.timestamp_ms.unwrap_or(-1),
                headers.collect(),
                decoded.changes.as_changes().get(i),
            )
        })
        .collect();
    rows.into_iter()
}

pub(super) fn raw_shape(codec: ArrowCodec) -> TableShape {
    TableShape {
        arrow_codec: codec,
        ..TableShape::raw(SCHEMA, false)
    }
}

pub(super) fn small_segments() -> LogConfig {
    LogConfig {
        segment_bytes_max: 3 << 20,
        index_interval_bytes: 4096,
        ..LogConfig::default()
    }
}

pub(super) fn kafka_batch_of(count: i32, value: &[u8]) -> UnassignedBatch {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for delta in 0..count {
        builder.append(delta, 1000, Some(b"key"), Some(value), []);
    }
    builder.finish_unassigned(SCHEMA, 0)
}

fn fluss_batch(
    schema: &Schema,
    format: BatchFormat,
    changes: Changes<'_>,
    values: &[Vec<Datum<'static>>],
) -> (UnassignedBatch, RecordBatch) {
    let types = || schema.columns.iter().map(|c| &c.data_type);
    let mut rows = RowsBuilder::new(types().cloned(), 1 << 24);
    for row in values {
        rows.append(row.iter()).unwrap();
    }
    let rows = RecordBatch::try_new(arrow_schema(schema), rows.finish().unwrap()).unwrap();
    let spec = BatchSpec::new(SCHEMA);
    let encoded = |compact: bool| -> Vec<Vec<u8>> {
        let encode = |row: &Vec<Datum<'static>>| {
            let mut out = Vec::new();
            if compact {
                compacted::write(row, types(), &mut out).unwrap();
            } else {
                indexed::write(row, types(), &mut out).unwrap();
            }
            out
        };
        values.iter().map(encode).collect()
    };
    let bytes = match format {
        BatchFormat::FlussCompacted => {
            build_rows(&spec, changes, encoded(true).iter().map(Vec::as_slice)).unwrap()
        }
        BatchFormat::FlussIndexed => {
            build_rows(&spec, changes, encoded(false).iter().map(Vec::as_slice)).unwrap()
        }
        _ => build_arrow(&spec, changes, &rows, &mut Compressor::new(None)).unwrap(),
    };
    let count = values.len() as i32;
    (unassigned(bytes, format, count, (count - 1).max(0)), rows)
}

fn unassigned(bytes: Vec<u8>, format: BatchFormat, count: i32, delta: i32) -> UnassignedBatch {
    UnassignedBatch {
        bytes: bytes.into(),
        format,
        schema_id: SCHEMA,
        record_count: count,
        last_offset_delta: delta,
        record_time_max: -1,
        transactional: false,
        control: false,
        source: None,
    }
}
