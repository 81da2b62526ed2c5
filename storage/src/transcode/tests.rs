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
use protocol::schema::{DataType, Schema, TypeKind};

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

/// A record of a test: gap before it, key, value, time, headers.
type Sent = (
    u8,
    Option<Vec<u8>>,
    Option<Vec<u8>>,
    i64,
    Vec<(String, Option<Vec<u8>>)>,
);

#[derive(Debug, Clone)]
struct SentBatch {
    codec: Codec,
    control: bool,
    gap_behind: u8,
    pause_ms: u16,
    records: Vec<Sent>,
}

fn sent_batches() -> impl Strategy<Value = Vec<SentBatch>> {
    let bytes = || {
        prop_oneof![
            5 => proptest::collection::vec(any::<u8>(), 0..20),
            1 => (0usize..300_000).prop_map(|n| vec![b'x'; n]),
        ]
    };
    let headers = proptest::collection::vec(("[a-zé]{0,4}", proptest::option::of(bytes())), 0..3);
    let record = (
        prop_oneof![9 => Just(0u8), 1 => 1u8..4],
        proptest::option::of(bytes()),
        proptest::option::of(bytes()),
        0i64..1 << 45,
        headers,
    );
    let batch = (
        0usize..5,
        prop::bool::weighted(0.1),
        prop_oneof![5 => Just(0u8), 1 => 1u8..5],
        prop_oneof![3 => Just(0u16), 1 => 0u16..2000],
        proptest::collection::vec(record, 1..8),
    );
    let batch = batch.prop_map(
        |(codec, control, gap_behind, pause_ms, records)| SentBatch {
            codec: Codec::ALL[codec],
            control,
            gap_behind,
            pause_ms,
            records,
        },
    );
    proptest::collection::vec(batch, 1..25)
}

/// Appends it and returns the rows that a reader must see.
fn send(world: &World, batches: &[SentBatch]) -> Vec<Row> {
    let mut rows = Vec::new();
    for batch in batches {
        world.pause(batch.pause_ms.into());
        let base = world.log.log().watermarks().log_end.value();
        let mut builder = BatchBuilder::new(BatchOptions {
            codec: batch.codec,
            control: batch.control,
            ..BatchOptions::default()
        });
        for (gap, key, value, time, headers) in &batch.records {
            let delta = builder.next_offset_delta() + i32::from(*gap);
            builder.append(
                delta,
                *time,
                key.as_deref(),
                value.as_deref(),
                headers.iter().map(|(key, value)| Header {
                    key: key.as_bytes(),
                    value: value.as_deref(),
                }),
            );
            if !batch.control {
                let offset = base + i64::from(delta);
                let change = ChangeType::AppendOnly;
                rows.push((
                    offset,
                    key.clone(),
                    value.clone(),
                    *time,
                    headers.clone(),
                    change,
                ));
            }
        }
        builder
            .set_last_offset_delta(builder.next_offset_delta() - 1 + i32::from(batch.gap_behind));
        world.append(builder.finish_unassigned(SCHEMA, 0));
    }
    rows
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn kafka_records_are_the_same_on_the_fluss_wire(
        sent in sent_batches(),
        codec in 0usize..3,
        bytes_max in prop_oneof![Just(100usize), Just(1 << 20), Just(16 << 20)],
    ) {
        let codec = [ArrowCodec::None, ArrowCodec::Lz4, ArrowCodec::Zstd(3)][codec];
        let world = World::new(raw_shape(codec), small_segments());
        let expected = send(&world, &sent);
        prop_assert_eq!(world.fluss_rows(0, bytes_max), &expected[..]);
        let end = world.end().value();
        for from in [end / 3, end / 2, end - 1] {
            let seen = world.fluss_rows(from, bytes_max);
            let rest = expected.iter().filter(|row| row.0 >= from);
            prop_assert!(seen.iter().eq(rest), "from {from}");
        }
    }
}

pub(super) fn kafka_batch_of(count: i32, value: &[u8]) -> UnassignedBatch {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for delta in 0..count {
        builder.append(delta, 1000, Some(b"key"), Some(value), []);
    }
    builder.finish_unassigned(SCHEMA, 0)
}

/// The offsets of the batches that a read returns.
fn bounds(read: &Converted) -> Vec<(i64, i64)> {
    batches(&read.chunks)
        .iter()
        .map(|batch| (batch.header().base_offset(), batch.last_offset()))
        .collect()
}

#[test]
fn boundaries_do_not_depend_on_where_a_read_begins() {
    let world = World::new(raw_shape(ArrowCodec::None), small_segments());
    for i in 0..150u64 {
        world.append(kafka_batch_of(3, &vec![7; (i as usize * 977) % 30_000]));
        world.pause(if i % 17 == 0 { 1500 } else { 20 });
    }
    let all = bounds(&world.fluss(0, 64 << 20, None));
    assert!(all.len() > 10 && all.len() < 60, "{} batches", all.len());
    assert!(
        all.iter().any(|(base, last)| last - base > 20),
        "frames merge"
    );
    for offset in 0..world.end().value() {
        // A transcoder that remembers nothing.
        let world = World {
            transcoder: transcoder(0, 0),
            runtime: runtime(),
            log: world.log.clone(),
            shape: Arc::clone(&world.shape),
            simulation: world.simulation.clone(),
        };
        let found = bounds(&world.fluss(offset, 1, None))[0];
        let closed = all[..all.len() - 1].iter().any(|b| b.1 >= offset);
        if closed {
            assert!(all.contains(&found), "{found:?} from {offset}");
        } else {
            assert!(found.1 >= offset && found.0 <= offset);
        }
    }
}

#[test]
fn a_reader_that_follows_the_log_gets_small_spans() {
    let world = World::new(raw_shape(ArrowCodec::None), small_segments());
    for i in 0..50 {
        world.append(kafka_batch_of(2, b"value"));
        let read = world.fluss(i * 2, 1 << 20, None);
        assert_eq!(bounds(&read), [(i * 2, i * 2 + 1)]);
    }
}

#[test]
fn a_projected_read_has_only_the_wanted_columns() {
    let world = World::new(raw_shape(ArrowCodec::None), small_segments());
    world.append(kafka_batch_of(100, &[b'v'; 1000]));
    let check = |world: &World| {
        let read = world.fluss(0, 1 << 20, Some(&[2]));
        assert!(read.bytes < 2000, "{} bytes", read.bytes);
        let batch = &batches(&read.chunks)[0];
        let mut schema = raw_schema(false);
        schema.columns = vec![schema.columns[2].clone()];
        let decoded = Decoder::default()
            .decode(batch, BatchFormat::FlussArrow, &schema, None)
            .unwrap();
        assert_eq!(decoded.rows.num_rows(), 100);
    };
    check(&world);
    assert!(world.fluss(0, 1 << 20, None).bytes > 100_000);
    world.transcoder.forget(world.log.log().id());
    // With all columns at hand the wanted buffers are copied from there.
    let all = world.fluss(0, 1 << 20, None).bytes;
    let held = world.transcoder.inner.cache.bytes();
    assert!(all > 100_000 && held > all);
    check(&world);
    assert_eq!(world.transcoder.inner.cache.bytes(), held);
}

#[test]
fn columns_that_were_added_after_the_records_are_null() {
    let mut wider = raw_schema(false);
    wider.columns.push(protocol::schema::Column {
        name: "added".to_owned(),
        data_type: DataType::nullable(TypeKind::BigInt),
        comment: None,
        id: 6,
        agg_function: None,
    });
    let mut shape = raw_shape(ArrowCodec::None);
    shape.latest = SchemaId::new(2);
    shape.schemas.insert(shape.latest, Arc::new(wider.clone()));
    let world = World::new(shape, small_segments());
    world.append(kafka_batch_of(3, b"v"));
    let read = world.fluss(0, 1 << 20, Some(&[1, 4]));
    let batch = &batches(&read.chunks)[0];
    wider.columns = vec![wider.columns[1].clone(), wider.columns[4].clone()];
    let decoded = Decoder::default()
        .decode(batch, BatchFormat::FlussArrow, &wider, None)
        .unwrap();
    assert_eq!(decoded.rows.num_rows(), 3);
    assert_eq!(decoded.rows.column(1).null_count(), 3);
}

#[test]
fn a_compacted_topic_shows_updates_and_deletes() {
    let shape = TableShape::raw(SCHEMA, true);
    let world = World::new(shape, small_segments());
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.append(0, 5, Some(b"a"), Some(b"1"), []);
    builder.append(1, 6, None, Some(b"no key"), []);
    builder.append(2, 7, Some(b"a"), None, []);
    world.append(builder.finish_unassigned(SCHEMA, 0));
    let rows = world.fluss_rows(0, 1 << 20);
    let seen: Vec<_> = rows.iter().map(|row| (row.0, row.5)).collect();
    assert_eq!(
        seen,
        [(0, ChangeType::UpdateAfter), (2, ChangeType::Delete)]
    );
}

#[test]
fn deleted_records_are_not_shown_and_not_kept() {
    let world = World::new(raw_shape(ArrowCodec::None), small_segments());
    for _ in 0..10 {
        world.append(kafka_batch_of(10, b"value"));
    }
    world.fluss(0, 1 << 20, None);
    assert!(world.transcoder.inner.cache.bytes() > 0);
    let start = world.log.log().delete_before(Offset::new(25)).unwrap();
    world.transcoder.forget_below(world.log.log().id(), start);
    assert_eq!(world.transcoder.inner.cache.bytes(), 0);
    let rows = world.fluss_rows(25, 1 << 20);
    assert_eq!(rows.first().unwrap().0, 25);
    let read = world.fluss(25, 1 << 20, None);
    assert_eq!(bounds(&read)[0].0, 25, "nothing below the start leaves");
}

#[test]
fn frames_that_decompress_to_much_are_taken_in_pieces() {
    let world = World::new(raw_shape(ArrowCodec::None), small_segments());
    for _ in 0..12 {
        let mut builder = BatchBuilder::new(BatchOptions {
            codec: Codec::Zstd,
            ..BatchOptions::default()
        });
        for delta in 0..40 {
            builder.append(delta, 1, None, Some(&vec![0; 100_000]), []);
        }
        world.append(builder.finish_unassigned(SCHEMA, 0));
    }
    let rows = world.fluss_rows(0, 1 << 20);
    assert_eq!(rows.len(), 480);
    let rows = world.fluss_rows(470, 1 << 20);
    assert_eq!(rows.len(), 10);
}

fn all_types() -> Schema {
    let json = include_bytes!("../../../protocol/src/fluss/golden/schema_all_types.json");
    schema_from_json(json).unwrap()
}

fn text(random: &mut impl FnMut(u64) -> u64, length: u64) -> String {
    (0..length)
        .map(|_| char::from(b'a' + random(26) as u8))
        .collect()
}

/// A random value of a type. Strings live as long as the test.
fn datum(data_type: &DataType, random: &mut impl FnMut(u64) -> u64) -> Datum<'static> {
    if data_type.nullable && random(4) == 0 {
        return Datum::Null;
    }
    let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
    match &data_type.kind {
        TypeKind::Boolean => Datum::Boolean(random(2) == 1),
        TypeKind::TinyInt => Datum::TinyInt(random(256) as i8),
        TypeKind::SmallInt => Datum::SmallInt(random(65536) as i16),
        TypeKind::Int => Datum::Int(random(1 << 32) as i32),
        TypeKind::BigInt => Datum::BigInt(random(u64::MAX) as i64),
        TypeKind::Float => Datum::Float(random(1000) as f32 / 8.0),
        TypeKind::Double => Datum::Double(random(1000) as f64 / 8.0),
        TypeKind::Char { length } => Datum::String(leak(text(random, u64::from(*length)))),
        TypeKind::String => {
            let length = random(20);
            Datum::String(leak(text(random, length)))
        }
        TypeKind::Binary { length } => {
            Datum::Bytes(leak(text(random, u64::from(*length))).as_bytes())
        }
        TypeKind::Bytes => Datum::Bytes(leak(text(random, 5)).as_bytes()),
        TypeKind::Decimal { precision, .. } => {
            Datum::Decimal(i128::from(random(10u64.pow((*precision).min(9).into()))))
        }
        TypeKind::Date => Datum::Date(random(30_000) as i32),
        TypeKind::Time { precision } => {
            let step = if *precision == 0 { 1000 } else { 1 };
            Datum::Time((random(86_400_000) / step * step) as i32)
        }
        TypeKind::Timestamp { precision } | TypeKind::TimestampLtz { precision } => {
            let step = if *precision == 0 { 1000 } else { 1 };
            Datum::Timestamp(Timestamp {
                millis: (random(1 << 41) / step * step) as i64,
                nanos: 0,
            })
        }
        TypeKind::Array(element) => {
            Datum::Array((0..random(3)).map(|_| datum(element, random)).collect())
        }
        TypeKind::Map { key, value } => {
            let key = DataType::not_null(key.kind.clone());
            Datum::Map(
                (0..random(3))
                    .map(|_| (datum(&key, random), datum(value, random)))
                    .collect(),
            )
        }
        TypeKind::Row(fields) => Datum::Row(
            fields
                .iter()
                .map(|field| datum(&field.data_type, random))
                .collect(),
        ),
    }
}

/// Rows in memory and as a batch of each format.
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

/// Offset, time, key, value.
type KafkaRecord = (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>);

/// All records, and the offset after the last batch.
fn kafka_records(chunks: &[Bytes]) -> (Vec<KafkaRecord>, i64) {
    let mut records = Vec::new();
    let mut next = -1;
    for chunk in chunks {
        for batch in kafka_batch::Batches::new(chunk.clone()) {
            let batch = batch.unwrap();
            let view = BatchView::parse(&batch).unwrap();
            assert!(view.crc_is_valid());
            assert_eq!(view.leader_epoch(), 1);
            next = view.last_offset() + 1;
            for record in view.records() {
                let record = record.unwrap();
                records.push((
                    view.base_offset() + i64::from(record.offset_delta),
                    view.record_time(record.timestamp_delta),
                    record.key.map(<[u8]>::to_vec),
                    record.value.map(<[u8]>::to_vec),
                ));
            }
        }
    }
    (records, next)
}

#[test]
fn rows_of_every_type_and_format_are_json_on_the_kafka_wire() {
    let schema = all_types();
    let key_columns = vec![
        schema.columns[0].name.clone(),
        schema.columns[1].name.clone(),
    ];
    let shape = TableShape {
        key_columns,
        ..TableShape::of(SCHEMA, schema.clone())
    };
    let world = World::new(shape, small_segments());
    let source = Arc::clone(&world.simulation.randomness);
    let mut random = |bound: u64| source.below(bound);
    let mut expected = Vec::new();
    let types = [
        ChangeType::Insert,
        ChangeType::UpdateBefore,
        ChangeType::UpdateAfter,
        ChangeType::Delete,
    ];
    let formats = [
        BatchFormat::FlussArrow,
        BatchFormat::FlussIndexed,
        BatchFormat::FlussCompacted,
    ];
    for number in 0..30 {
        let base = world.end().value();
        let rows: Vec<Vec<_>> = (0..1 + number % 5)
            .map(|_| {
                let row = schema.columns.iter();
                row.map(|c| datum(&c.data_type, &mut random)).collect()
            })
            .collect();
        let per_row: Vec<_> = rows.iter().map(|_| types[random(4) as usize]).collect();
        let changes = if number % 2 == 0 {
            Changes::AppendOnly
        } else {
            Changes::PerRow(&per_row)
        };
        let format = formats[number / 4 % 3];
        let (batch, memory) = fluss_batch(&schema, format, changes, &rows);
        world.append(batch);
        let time = world
            .log
            .log()
            .first_committed_at(0)
            .unwrap()
            .unwrap()
            .commit_time;
        let values = JsonRows::new(&memory, &schema).unwrap();
        let keys = JsonRows::of_columns(&memory, &schema, &[0, 1]).unwrap();
        for i in 0..rows.len() {
            let change = changes.get(i);
            if change == ChangeType::UpdateBefore {
                continue;
            }
            let (mut key, mut value) = (Vec::new(), Vec::new());
            keys.write(i, &mut key);
            values.write(i, &mut value);
            let value = (change != ChangeType::Delete).then_some(value);
            expected.push((base + i as i64, time, Some(key), value));
        }
    }
    let read = world.kafka(0, 64 << 20);
    let (records, next) = kafka_records(&read.chunks);
    assert_eq!(records, expected);
    assert_eq!(next, world.end().value());
    for from in 0..next {
        let (records, _) = kafka_records(&world.kafka(from, 1).chunks);
        let last = records.last().map_or(from, |r| r.0);
        let seen = records.into_iter().filter(|r| r.0 >= from);
        let wanted = expected.iter().filter(|r| r.0 >= from && r.0 <= last);
        assert!(seen.eq(wanted.cloned()), "from {from}");
    }
}

#[test]
fn an_empty_fluss_batch_is_an_empty_kafka_batch() {
    let schema = all_types();
    let world = World::new(TableShape::of(SCHEMA, schema), small_segments());
    let bytes = build_empty(&BatchSpec::new(SCHEMA), false).unwrap();
    world.append(unassigned(bytes.clone(), BatchFormat::FlussArrow, 0, 0));
    world.append(unassigned(bytes, BatchFormat::FlussArrow, 0, 0));
    let read = world.kafka(0, 1 << 20);
    let (records, next) = kafka_records(&read.chunks);
    assert!(records.is_empty());
    assert_eq!((next, read.next_offset), (2, Offset::new(2)));
}

#[test]
fn raw_rows_are_the_records_they_say() {
    let world = World::new(raw_shape(ArrowCodec::None), small_segments());
    let header = Datum::Row(vec![Datum::String("h"), Datum::Bytes(b"1")]);
    let rows = vec![
        vec![
            Datum::Bytes(b"k"),
            Datum::Bytes(b"v"),
            Datum::Timestamp(Timestamp {
                millis: 1234,
                nanos: 0,
            }),
            Datum::Array(vec![header]),
        ],
        vec![Datum::Null, Datum::Null, Datum::Null, Datum::Null],
    ];
    let schema = raw_schema(false);
    let (batch, _) = fluss_batch(&schema, BatchFormat::FlussArrow, Changes::AppendOnly, &rows);
    world.append(batch);
    let read = world.kafka(0, 1 << 20);
    let (records, _) = kafka_records(&read.chunks);
    let key_value = (Some(b"k".to_vec()), Some(b"v".to_vec()));
    assert_eq!(records[0], (0, 1234, key_value.0, key_value.1));
    assert_eq!((records[1].0, &records[1].2), (1, &None));
    let view = BatchView::parse(&read.chunks[0]).unwrap();
    let first = view.records().next().unwrap().unwrap();
    let headers: Vec<_> = first.headers.iter().map(|h| (h.key, h.value)).collect();
    assert_eq!(headers, [(&b"h"[..], Some(&b"1"[..]))]);
}

#[test]
fn a_read_ends_before_the_first_frame_of_its_own_wire() {
    let world = World::new(raw_shape(ArrowCodec::None), small_segments());
    world.append(kafka_batch_of(2, b"v"));
    let rows = vec![vec![Datum::Null, Datum::Null, Datum::Null, Datum::Null]];
    let (batch, _) = fluss_batch(
        &raw_schema(false),
        BatchFormat::FlussArrow,
        Changes::AppendOnly,
        &rows,
    );
    world.append(batch);
    world.append(kafka_batch_of(2, b"v"));
    assert_eq!(world.fluss(0, 1 << 20, None).next_offset, Offset::new(2));
    assert_eq!(world.kafka(2, 1 << 20).next_offset, Offset::new(3));
    assert_eq!(world.fluss(3, 1 << 20, None).next_offset, Offset::new(5));
}

#[test]
fn readers_of_one_span_share_one_transcoding() {
    let world = World::new(raw_shape(ArrowCodec::Zstd(3)), small_segments());
    for _ in 0..20 {
        world.append(kafka_batch_of(50, &[b'v'; 500]));
    }
    let read = || {
        let range = range(0, world.end(), 8 << 20);
        world
            .transcoder
            .fluss_from_kafka(&world.log, &world.shape, range, None)
    };
    let all = world
        .runtime
        .block_on(futures::future::join_all((0..16).map(|_| read())));
    let all: Vec<_> = all.into_iter().map(Result::unwrap).collect();
    for other in &all[1..] {
        assert_eq!(other.chunks[0].as_ptr(), all[0].chunks[0].as_ptr());
    }
}

#[test]
fn damage_in_the_log_is_an_error_and_not_an_answer() {
    let world = World::new(raw_shape(ArrowCodec::None), small_segments());
    world.append(kafka_batch_of(2, b"v"));
    let path = world.log.log().segments()[0].path().to_path_buf();
    let disk = &world.simulation.disk;
    let length = disk.contents(&path).unwrap().len() as u64;
    disk.flip_bit(&path, length - 20, 1).unwrap();
    let range = range(0, world.end(), 1 << 20);
    let read = world
        .transcoder
        .fluss_from_kafka(&world.log, &world.shape, range, None);
    let refused = world.runtime.block_on(read);
    assert!(matches!(refused, Err(ConvertError::Batch { .. })));
}

/// Appends rows as a Fluss client would, and returns the rows that a reader must see.
fn send_rows(world: &World, sent: &SentBatch) -> Vec<Row> {
    let base = world.log.log().watermarks().log_end.value();
    let mut rows = protocol::raw::RawBatchBuilder::new(RawColumns::ALL, false);
    let mut expected = Vec::new();
    for (i, (_, key, value, time, headers)) in sent.records.iter().enumerate() {
        let pairs = headers.iter().map(|(k, v)| (k.as_bytes(), v.as_deref()));
        rows.append(key.as_deref(), value.as_deref(), *time, pairs)
            .unwrap();
        expected.push((
            base + i as i64,
            key.clone(),
            value.clone(),
            *time,
            headers.clone(),
            ChangeType::AppendOnly,
        ));
    }
    let codec = if sent.gap_behind > 2 {
        ArrowCodec::Lz4
    } else {
        ArrowCodec::None
    };
    let bytes = build_arrow(
        &BatchSpec::new(SCHEMA),
        Changes::AppendOnly,
        &rows.finish(),
        &mut codec.compressor(),
    )
    .unwrap();
    let count = sent.records.len() as i32;
    world.append(unassigned(bytes, BatchFormat::FlussArrow, count, count - 1));
    expected
}

/// The rows that Kafka batches hold.
fn rows_of_kafka(chunks: &[Bytes]) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut scratch = protocol::kafka::validate::Scratch::new();
    for chunk in chunks {
        for batch in kafka_batch::Batches::new(chunk.clone()) {
            let batch = batch.unwrap();
            let view = BatchView::parse(&batch).unwrap();
            if view.is_control() {
                continue;
            }
            for record in scratch.records(&view, 1 << 30).unwrap() {
                let record = record.unwrap();
                let headers = record.headers.iter().map(|h| {
                    let key = String::from_utf8(h.key.to_vec()).unwrap();
                    (key, h.value.map(<[u8]>::to_vec))
                });
                rows.push((
                    view.base_offset() + i64::from(record.offset_delta),
                    record.key.map(<[u8]>::to_vec),
                    record.value.map(<[u8]>::to_vec),
                    view.record_time(record.timestamp_delta),
                    headers.collect(),
                    ChangeType::AppendOnly,
                ));
            }
        }
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn both_wires_read_the_same_from_a_log_that_both_wrote(
        sent in sent_batches(),
        by_fluss in proptest::collection::vec(any::<bool>(), 25),
        bytes_max in prop_oneof![Just(100usize), Just(1 << 20)],
        projected in any::<bool>(),
    ) {
        let shape = raw_shape(ArrowCodec::Zstd(3));
        let world = World::with_files(shape, small_segments(), 1 << 30);
        let mut expected = Vec::new();
        for (batch, by_fluss) in sent.iter().zip(by_fluss) {
            if by_fluss {
                world.pause(batch.pause_ms.into());
                expected.extend(send_rows(&world, batch));
            } else {
                expected.extend(send(&world, std::slice::from_ref(batch)));
            }
        }
        let other: Arc<dyn OtherWire> = world.transcoder.clone();
        let tablet = Tablet::new(world.log.clone(), Arc::clone(&world.shape), other);
        let end = world.end();
        for round in 0..2 {
            let (mut offset, mut seen) = (Offset::ZERO, Vec::new());
            while offset < end {
                let read = world.runtime.block_on(tablet.read_kafka(KafkaRead {
                    offset,
                    bytes_max,
                    at_least_one: true,
                    committed_only: false,
                }));
                let read = read.unwrap();
                prop_assert!(read.next_offset > offset);
                let rows = rows_of_kafka(&read.chunks);
                seen.extend(rows.into_iter().filter(|row| row.0 >= offset.value()));
                offset = read.next_offset;
            }
            prop_assert!(seen == expected, "kafka, round {round}");
            let (mut offset, mut seen) = (Offset::ZERO, Vec::new());
            while offset < end {
                let read = world.runtime.block_on(tablet.read_fluss(FlussRead {
                    offset,
                    bytes_max,
                    at_least_one: true,
                    projection: projected.then(|| Arc::from([0usize, 1, 2, 3])),
                    filter: None,
                }));
                let read = read.unwrap();
                prop_assert!(read.next_offset > offset);
                for batch in batches(&read.chunks) {
                    let rows = rows_of(&batch, &world.shape);
                    seen.extend(rows.filter(|row| row.0 >= offset.value()));
                }
                offset = read.next_offset;
            }
            prop_assert!(seen == expected, "fluss, round {round}");
            world.settle();
        }
    }
}
