//! A bucket as a plain map, and the test that runs it beside merge, write buffer and changelog.
//!
//! The model keeps decoded rows and says in the words of the documentation what a record does; the
//! bucket keeps bytes, reads through the write buffer, and loses batches on the way. At the end
//! both must hold the same rows, and so must a reader that replayed the changelog.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use protocol::columnar::{ChangeTypes, Decoder, row_at};
use protocol::fluss::batch::{ChangeType, LogBatch};
use protocol::fluss::buffer_codec::Compressor;
use protocol::fluss::kv_batch::{KvBatch, KvBatchBuilder, KvRecord};
use protocol::fluss::options::{ChangelogImage, DeleteBehavior, KvFormat, LogFormat, MergeEngine};
use protocol::fluss::value::ValueLayout;
use protocol::ids::{BucketId, Offset, SchemaId};
use protocol::row::Datum;
use protocol::schema::TypeKind;

use super::auto_increment::{AutoIncrement, IdCounter};
use super::changelog::ChangelogPlan;
use super::fixtures::{ONE, TWO, row, table, values};
use super::merge::{MergeError, MergeMode, MergePlan, MergeScratch, MergeTable};
use super::write_buffer::{Pending, WriteBuffer};

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
    /// The batch fails after it was merged.
    fails: bool,
    /// How much of the log is applied to the index afterwards, of 255.
    applied: u8,
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
    (any::<bool>(), targets, 0..4u8, records, 0..5u8, any::<u8>()).prop_map(
        |(new_schema, targets, overwrite, records, fails, applied)| Batch {
            new_schema,
            targets,
            overwrite: overwrite == 0,
            records,
            fails: fails == 0,
            applied,
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
    table: MergeTable,
    settings: Settings,
    buffer: WriteBuffer,
    index: BTreeMap<Vec<u8>, Vec<u8>>,
    row_count: i64,
    end: i64,
    applied: i64,
    ids: Option<AutoIncrement>,
    replayed: BTreeMap<i32, Row>,
}

#[derive(Default)]
struct Ids(std::sync::atomic::AtomicI64);

impl IdCounter for Ids {
    fn get_and_add(&self, count: i64) -> Result<i64, String> {
        Ok(self
            .0
            .fetch_add(count, std::sync::atomic::Ordering::Relaxed))
    }
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
        let ids = AutoIncrement::of(&table.schemas[&TWO], Arc::new(Ids::default()), 3);
        Bucket {
            ids,
            table,
            settings: settings.clone(),
            buffer: WriteBuffer::new(settings.layout, 1 << 20),
            index: BTreeMap::new(),
            row_count: 0,
            end: 0,
            applied: 0,
            replayed: BTreeMap::new(),
        }
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
                    &self.table,
                    schema_id,
                    &all[..if batch.new_schema { 4 } else { 3 }],
                )
            });
            builder.append(KvRecord {
                key: &record.key.to_be_bytes(),
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
        let image = self.settings.image;
        let plan = MergePlan::compile(&self.table, kv_batch.schema_id(), targets, mode).unwrap();
        kv_batch.check_rows(plan.input_layout()).unwrap();
        let log_format = self.settings.log_format;
        let changelog = ChangelogPlan::compile(&self.table, image, log_format, 1 << 20).unwrap();
        let mut changelog = changelog.start();
        let mut scratch = MergeScratch::new();
        let id = self.buffer.begin(kv_batch.bytes().len()).unwrap();
        let mut none = super::auto_increment::NoIds;
        for record in kv_batch.records() {
            let stored = match self.buffer.get(record.key) {
                Some(Pending::Removed) => None,
                Some(Pending::Stored(value)) => Some(value),
                None => self.index.get(record.key).map(Vec::as_slice),
            };
            let old = stored.map(|s| self.settings.layout.read(s).unwrap());
            let outcome = match record.row {
                None => plan.delete(old, &mut scratch),
                Some(row) if !plan.upsert_looks_up(image) => Ok(plan.overwrite(row)),
                Some(row) => match &mut self.ids {
                    Some(ids) => plan.upsert(old, row, ids, &mut scratch),
                    None => plan.upsert(old, row, &mut none, &mut scratch),
                },
            };
            let outcome = outcome.unwrap_or_else(|e: MergeError| panic!("{e}"));
            let last = changelog.push(&outcome).unwrap();
            let (change, row_delta) = (outcome.change(), outcome.row_delta());
            if let (Some(change), Some(last)) = (change, last) {
                self.buffer
                    .put(record.key, change, 99, row_delta, last)
                    .unwrap();
            }
        }
        if batch.fails {
            assert_eq!(self.buffer.undo_from(id), 0);
            return;
        }
        let log_batch = changelog
            .finish(
                kv_batch.writer(),
                BucketId::new(0),
                &mut Compressor::new(None),
            )
            .unwrap();
        self.buffer.place(id, Offset::new(self.end));
        self.end += i64::from(log_batch.last_offset_delta) + 1;
        self.replay(&log_batch.bytes, log_batch.format, log_batch.schema_id);
    }

    fn apply(&mut self, part: u8) {
        let to = self.applied + (self.end - self.applied) * i64::from(part) / 255;
        let index = &mut self.index;
        let applied = self.buffer.for_each_below(Offset::new(to), |key, value| {
            match value {
                Some(value) => index.insert(key.to_vec(), value.to_vec()),
                None => index.remove(key),
            };
            Ok::<(), Infallible>(())
        });
        self.row_count += applied.unwrap().row_delta;
        self.buffer.remove_below(Offset::new(to));
        self.applied = to;
    }

    /// What a reader makes of a log batch.
    fn replay(&mut self, bytes: &bytes::Bytes, format: protocol::batch::BatchFormat, id: SchemaId) {
        let batch = LogBatch::parse(bytes).unwrap();
        let schema = &self.table.schemas[&id];
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
        let rows = self.index.values().map(|stored| {
            let value = self.settings.layout.read(stored).unwrap();
            decoded_row(&values(&self.table, value))
        });
        rows.collect()
    }
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
            prop_assert_eq!(&bucket.replayed, &model);
        }
        bucket.apply(255);
        prop_assert!(bucket.buffer.is_empty());
        prop_assert_eq!(bucket.stored(), model);
        if settings.image == ChangelogImage::Full {
            prop_assert_eq!(bucket.row_count, bucket.index.len() as i64);
        }
    }
}
