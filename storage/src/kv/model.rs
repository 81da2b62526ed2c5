//! A bucket as a plain map, and the test that runs it beside writer, index and changelog.
//!
//! The model keeps decoded rows and says in the words of the documentation what a record does; the
//! bucket keeps bytes, reads through the write buffer, loses batches on the way, and is killed:
//! then its index has what it had flushed and replays the log. At the end both must hold the same
//! rows, and so must a reader of the changelog.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use protocol::batch::BatchFormat;
use protocol::columnar::{ChangeTypes, Decoder, row_at};
use protocol::fluss::batch::{ChangeType, LogBatch};
use protocol::fluss::buffer_codec::Compressor;
use protocol::fluss::key::KeyEncoder;
use protocol::fluss::kv_batch::{KvBatch, KvBatchBuilder, KvRecord};
use protocol::fluss::options::{ChangelogImage, DeleteBehavior, KvFormat, LogFormat, MergeEngine};
use protocol::fluss::value::ValueLayout;
use protocol::ids::{BucketId, Offset, SchemaId};
use protocol::row::Datum;
use protocol::schema::{DataType, TypeKind};

use super::auto_increment::{AutoIncrement, IdCounter};
use super::fixtures::{ONE, TWO, row, table, values};
use super::index::memory::MemoryIndex;
use super::index::{Index, IndexState};
use super::merge::{KeyChange, MergeMode, MergeTable};
use super::plans::TablePlans;
use super::replay::{Replay, ReplayError};
use super::writer::{BucketWriter, WriterConfig};

/// Numbers that the bucket takes at once.
const IDS: i64 = 3;

/// A row of `k INT, a INT, b STRING, c BIGINT`; rows of schema 1 have no `c`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    a: Option<i32>,
    b: Option<String>,
    c: Option<i64>,
}

#[derive(Debug, Clone)]
struct Record {
    key: i32,
    /// None deletes.
    row: Option<Row>,
}

#[derive(Debug, Clone)]
struct Batch {
    new_schema: bool,
    /// Which of `a`, `b`, `c` are targets; none is the full row.
    targets: Option<[bool; 3]>,
    overwrite: bool,
    records: Vec<Record>,
    /// The log refuses the batch.
    fails: bool,
    /// How much of the log is applied to the index afterwards, of 255.
    applied: u8,
    /// What happens then.
    after: After,
}

#[derive(Debug, Clone, Copy)]
enum After {
    Nothing,
    /// The index writes to disk what it has.
    Flush,
    /// The process dies, and the disk has this many of the index's batches, of 255.
    Kill(u8),
}

#[derive(Debug, Clone)]
struct Settings {
    engine: Option<MergeEngine>,
    deletes: Option<DeleteBehavior>,
    image: ChangelogImage,
    kv_format: KvFormat,
    log_format: LogFormat,
    layout: ValueLayout,
    /// `a` is counted up.
    numbered: bool,
}

fn settings() -> impl Strategy<Value = Settings> {
    let engine = prop_oneof![
        3 => Just(None),
        1 => Just(Some(MergeEngine::FirstRow)),
        1 => Just(Some(MergeEngine::Versioned)),
        3 => Just(Some(MergeEngine::Aggregation)),
    ];
    let any_deletes = prop_oneof![
        Just(None),
        Just(Some(DeleteBehavior::Allow)),
        Just(Some(DeleteBehavior::Ignore)),
    ];
    (engine, any_deletes, any::<[bool; 5]>()).prop_map(|(engine, deletes, flags)| {
        let [wal, indexed, rows, tagged, numbered] = flags;
        let keeps = matches!(engine, Some(MergeEngine::FirstRow | MergeEngine::Versioned));
        Settings {
            engine,
            deletes: if keeps { None } else { deletes },
            image: if wal {
                ChangelogImage::Wal
            } else {
                ChangelogImage::Full
            },
            kv_format: if indexed {
                KvFormat::Indexed
            } else {
                KvFormat::Compacted
            },
            log_format: if rows {
                LogFormat::Compacted
            } else {
                LogFormat::Arrow
            },
            layout: if tagged {
                ValueLayout::Tagged
            } else {
                ValueLayout::Plain
            },
            numbered: numbered && !keeps,
        }
    })
}

fn batch() -> impl Strategy<Value = Batch> {
    let values = (
        any::<Option<i8>>(),
        proptest::option::of("[a-c]{0,2}"),
        any::<Option<i8>>(),
    );
    let content = values.prop_map(|(a, b, c)| Row {
        a: a.map(i32::from),
        b,
        c: c.map(i64::from),
    });
    let record = (0..6, proptest::option::weighted(0.75, content))
        .prop_map(|(key, row)| Record { key, row });
    let records = vec(record, 0..8);
    let targets = proptest::option::of(any::<[bool; 3]>());
    let after = prop_oneof![
        6 => Just(After::Nothing),
        1 => Just(After::Flush),
        1 => any::<u8>().prop_map(After::Kill),
    ];
    let flags = (any::<bool>(), 0..4u8, 0..5u8);
    (flags, targets, records, any::<u8>(), after).prop_map(
        |((new_schema, overwrite, fails), targets, records, applied, after)| Batch {
            new_schema,
            targets,
            overwrite: overwrite == 0,
            records,
            fails: fails == 0,
            applied,
            after,
        },
    )
}

/// What the documentation says that a batch does.
fn modelled(
    rows: &mut BTreeMap<i32, Row>,
    settings: &Settings,
    batch: &Batch,
    targets: Option<[bool; 3]>,
    next_id: &mut i32,
) {
    let engine = settings.engine.filter(|_| !batch.overwrite);
    let deletes = match (batch.overwrite, settings.deletes, engine) {
        (true, ..) => DeleteBehavior::Allow,
        (_, Some(deletes), _) => deletes,
        (_, None, None) => DeleteBehavior::Allow,
        _ => DeleteBehavior::Ignore,
    };
    let [ta, tb, tc] = targets.unwrap_or([true; 3]);
    for record in &batch.records {
        let old = rows.get(&record.key).cloned();
        let Some(mut new) = record.row.clone() else {
            if let (Some(old), DeleteBehavior::Allow) = (old, deletes) {
                let left = Row {
                    a: old.a.filter(|_| !ta),
                    b: old.b.filter(|_| !tb),
                    c: old.c.filter(|_| !tc),
                };
                let empty = left.a.is_none() && left.b.is_none() && left.c.is_none();
                match empty {
                    true => rows.remove(&record.key),
                    false => rows.insert(record.key, left),
                };
            }
            continue;
        };
        if !batch.new_schema {
            new.c = None;
        }
        let merged = match (old, engine) {
            (None, engine) => {
                if engine.is_none() {
                    new.a = new.a.filter(|_| ta);
                    new.b = new.b.filter(|_| tb);
                    new.c = new.c.filter(|_| tc);
                }
                if settings.numbered {
                    new.a = Some(*next_id);
                    *next_id += 1;
                }
                new
            }
            (Some(old), Some(MergeEngine::FirstRow)) => old,
            (Some(old), Some(MergeEngine::Versioned)) => {
                let version = |row: &Row| row.a.unwrap_or(i32::MIN);
                if version(&old) <= version(&new) {
                    new
                } else {
                    old
                }
            }
            (Some(old), None) => Row {
                a: if ta { new.a } else { old.a },
                b: if tb { new.b } else { old.b },
                c: if tc { new.c } else { old.c },
            },
            (Some(old), Some(MergeEngine::Aggregation)) => {
                let a = match (old.a, new.a) {
                    (Some(a), Some(b)) => Some(a.wrapping_add(b)),
                    (a, b) => a.or(b),
                };
                let b = match (&old.b, &new.b) {
                    (Some(a), Some(b)) => Some(format!("{a},{b}")),
                    (a, b) => a.clone().or_else(|| b.clone()),
                };
                Row {
                    a: if ta { a } else { old.a },
                    b: if tb { b } else { old.b },
                    c: if tc { old.c.max(new.c) } else { old.c },
                }
            }
        };
        rows.insert(record.key, merged);
    }
}

/// The bucket under test, and what a reader of its changelog has seen.
struct Bucket {
    plans: TablePlans,
    settings: Settings,
    writer: BucketWriter,
    index: MemoryIndex,
    counter: Arc<Ids>,
    log: Vec<(i64, Bytes, BatchFormat)>,
    end: i64,
    replayed: BTreeMap<i32, Row>,
}

#[derive(Default)]
struct Ids(AtomicI64);

impl IdCounter for Ids {
    fn get_and_add(&self, count: i64) -> Result<i64, String> {
        Ok(self.0.fetch_add(count, Ordering::Relaxed))
    }
}

fn writer(settings: &Settings, table: &MergeTable, counter: &Arc<Ids>) -> BucketWriter {
    BucketWriter::new(WriterConfig {
        bucket: BucketId::new(0),
        layout: settings.layout,
        buffer_bytes_max: 1 << 20,
        compressor: Compressor::new(None),
        ids: AutoIncrement::of(&table.schemas[&TWO], counter.clone(), IDS),
    })
}

impl Bucket {
    fn new(settings: &Settings) -> Bucket {
        let columns = [
            ("a", TypeKind::Int, "sum"),
            ("b", TypeKind::String, "listagg"),
            ("c", TypeKind::BigInt, "max"),
        ];
        let mut table = MergeTable {
            engine: settings.engine,
            version_column: Some("a".into()),
            delete_behavior: settings.deletes,
            kv_format: settings.kv_format,
            ..table(&columns, 2)
        };
        if settings.numbered {
            for schema in table.schemas.values_mut() {
                let mut numbered = (**schema).clone();
                numbered.auto_increment_column = Some("a".into());
                *schema = Arc::new(numbered);
            }
        }
        let counter = Arc::new(Ids::default());
        let writer = writer(settings, &table, &counter);
        let log_format = settings.log_format;
        let plans = TablePlans::new(table, settings.image, log_format, 1 << 20).unwrap();
        Bucket {
            writer,
            plans,
            settings: settings.clone(),
            index: MemoryIndex::new(settings.image == ChangelogImage::Full),
            counter,
            log: Vec::new(),
            end: 0,
            replayed: BTreeMap::new(),
        }
    }

    fn table(&self) -> &MergeTable {
        self.plans.table()
    }

    /// What PUT_KV sends.
    fn encode(&self, batch: &Batch) -> KvBatch {
        let schema_id = if batch.new_schema { TWO } else { ONE };
        let mut builder = KvBatchBuilder::new(schema_id, Some((1, 0)));
        for record in &batch.records {
            let row = record.row.as_ref().map(|r| {
                let all = [
                    Datum::Int(record.key),
                    r.a.map_or(Datum::Null, Datum::Int),
                    r.b.as_deref().map_or(Datum::Null, Datum::String),
                    r.c.map_or(Datum::Null, Datum::BigInt),
                ];
                row(
                    self.table(),
                    schema_id,
                    &all[..if batch.new_schema { 4 } else { 3 }],
                )
            });
            let key = [(TypeKind::Int, Datum::Int(record.key))];
            builder.append(KvRecord {
                key: &encode_key(&key),
                row: row.as_deref(),
            });
        }
        KvBatch::parse(builder.finish(), 1 << 20).unwrap()
    }

    fn put(&mut self, batch: &Batch, targets: Option<&[i32]>) {
        let kv_batch = self.encode(batch);
        let mode = if batch.overwrite {
            MergeMode::Overwrite
        } else {
            MergeMode::Engine
        };
        let plan = self.plans.merge(kv_batch.schema_id(), targets, mode);
        let plan = plan.unwrap();
        kv_batch.check_rows(plan.input_layout()).unwrap();
        let changelog = self.plans.changelog();
        let put = self
            .writer
            .put(&kv_batch, &plan, changelog, 99, &self.index);
        let merged = put.unwrap();
        if batch.fails {
            assert_eq!(self.writer.undo_from(merged.id), 0);
            return;
        }
        let log_batch = merged.log_batch;
        self.writer.place(merged.id, Offset::new(self.end));
        self.read(&log_batch.bytes, log_batch.format, log_batch.schema_id);
        self.log.push((self.end, log_batch.bytes, log_batch.format));
        self.end += i64::from(log_batch.last_offset_delta) + 1;
    }

    fn apply(&mut self, part: u8) {
        let applied = self.index.state().applied.value();
        let to = applied + (self.end - applied) * i64::from(part) / 255;
        self.writer.apply(Offset::new(to), &self.index).unwrap();
    }

    /// The process starts again: the buffer is gone, the index is what the disk had of it.
    fn kill(&mut self, kept: u8) {
        let batches = self.index.unflushed();
        self.index.crash(batches * usize::from(kept) / 255);
        self.writer = writer(&self.settings, self.plans.table(), &self.counter);
        self.replay();
        assert_eq!(self.index.state().applied, Offset::new(self.end));
    }

    /// Brings the index up to the log.
    fn replay(&self) {
        let key_columns = ["k".to_owned()];
        let mut replay = Replay::new(self.table(), KeyEncoder::Compacted, &key_columns).unwrap();
        let layout = self.settings.layout;
        let before = self.index.state();
        let mut row_count = before.row_count;
        let mut changes = self.index.start();
        for (base, bytes, format) in &self.log {
            let batch = LogBatch::parse(bytes).unwrap();
            let read = replay.read(&batch, *format, |change| {
                if base + i64::from(change.offset_delta) < before.applied.value() {
                    return Ok(());
                }
                row_count = row_count.map(|rows| rows + i64::from(change.row_delta));
                match change.change {
                    KeyChange::Remove => changes.remove(change.key),
                    KeyChange::Put(value) => {
                        let mut stored = Vec::new();
                        layout.write(99, value, &mut stored);
                        changes.put(change.key, &stored);
                    }
                }
                Ok::<(), ReplayError>(())
            });
            read.unwrap();
        }
        let state = IndexState {
            applied: Offset::new(self.end),
            row_count,
        };
        changes.commit(state).unwrap();
    }

    /// What a reader makes of a log batch.
    fn read(&mut self, bytes: &Bytes, format: BatchFormat, id: SchemaId) {
        let batch = LogBatch::parse(bytes).unwrap();
        let schema = &self.plans.table().schemas[&id];
        if batch.header().is_header_only() {
            return;
        }
        let decoded = Decoder::default().decode(&batch, format, schema, None);
        let decoded = decoded.unwrap();
        let ChangeTypes::PerRow(changes) = decoded.changes else {
            panic!("a changelog has change types");
        };
        let full = self.settings.image == ChangelogImage::Full;
        for (i, change) in changes.into_iter().enumerate() {
            let mut values = Vec::new();
            row_at(&decoded.rows, schema, i, &mut values);
            let (key, row) = decoded_row(&values);
            match change {
                ChangeType::Insert => assert_eq!(self.replayed.insert(key, row), None),
                ChangeType::UpdateBefore => assert_eq!(self.replayed.get(&key), Some(&row)),
                ChangeType::UpdateAfter => {
                    let before = self.replayed.insert(key, row);
                    assert!(before.is_some() || !full);
                }
                ChangeType::Delete => assert_eq!(self.replayed.remove(&key), Some(row)),
                ChangeType::AppendOnly => panic!("a changelog appends nothing"),
            }
        }
    }

    fn stored(&self) -> BTreeMap<i32, Row> {
        let mut rows = BTreeMap::new();
        let scanned = self.index.view().scan(None, &mut |_, stored| {
            let value = self.settings.layout.read(stored).unwrap();
            let (key, row) = decoded_row(&values(self.table(), value));
            rows.insert(key, row);
            ControlFlow::Continue(())
        });
        scanned.unwrap();
        rows
    }
}

fn encode_key(key: &[(TypeKind, Datum<'_>)]) -> Vec<u8> {
    let types: Vec<_> = key
        .iter()
        .map(|(kind, _)| DataType::not_null(kind.clone()))
        .collect();
    let values: Vec<_> = key.iter().map(|(_, value)| value.clone()).collect();
    let mut out = Vec::new();
    let encoded = KeyEncoder::Compacted.encode(&values, types.iter(), &mut out);
    encoded.unwrap();
    out
}

fn decoded_row(values: &[Datum<'_>]) -> (i32, Row) {
    let (Datum::Int(key), Datum::Int(_) | Datum::Null) = (&values[0], &values[1]) else {
        panic!("{values:?}");
    };
    let row = Row {
        a: match values[1] {
            Datum::Int(a) => Some(a),
            _ => None,
        },
        b: match values[2] {
            Datum::String(b) => Some(b.to_owned()),
            _ => None,
        },
        c: match values.get(3) {
            Some(Datum::BigInt(c)) => Some(*c),
            _ => None,
        },
    };
    (*key, row)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn bucket_and_changelog_equal_the_model(
        settings in settings(),
        batches in vec(batch(), 1..20),
    ) {
        let mut bucket = Bucket::new(&settings);
        let mut model = BTreeMap::new();
        let mut next_id = 1;
        for batch in &batches {
            let engine = settings.engine.filter(|_| !batch.overwrite);
            let whole = matches!(engine, Some(MergeEngine::FirstRow | MergeEngine::Versioned));
            let mut targets = batch.targets.filter(|_| !whole);
            if settings.numbered {
                let [_, b, c] = targets.unwrap_or([true; 3]);
                targets = Some([false, b, c]);
            }
            let positions = targets.map(|t| {
                let named = (1..).zip(t).filter(|(_, t)| *t).map(|(i, _)| i);
                std::iter::once(0).chain(named).collect::<Vec<i32>>()
            });
            bucket.put(batch, positions.as_deref());
            if batch.fails {
                // Numbers of a failed batch are lost.
                let mut scratch = model.clone();
                modelled(&mut scratch, &settings, batch, targets, &mut next_id);
            } else {
                modelled(&mut model, &settings, batch, targets, &mut next_id);
            }
            bucket.apply(batch.applied);
            match batch.after {
                After::Nothing => {}
                After::Flush => bucket.index.flush().unwrap(),
                After::Kill(kept) => {
                    bucket.kill(kept);
                    // What is left of the range of numbers is lost.
                    next_id = bucket.counter.0.load(Ordering::Relaxed) as i32 + 1;
                }
            }
            prop_assert_eq!(&bucket.replayed, &model);
        }
        bucket.apply(255);
        prop_assert!(bucket.writer.buffer().is_empty());
        prop_assert_eq!(&bucket.stored(), &model);
        let state = bucket.index.state();
        prop_assert_eq!(state.row_count.unwrap_or(model.len() as i64), model.len() as i64);
        // The log alone makes the same index.
        bucket.index = MemoryIndex::new(state.row_count.is_some());
        bucket.replay();
        prop_assert_eq!(bucket.stored(), model);
        prop_assert_eq!(bucket.index.state(), state);
    }
}
