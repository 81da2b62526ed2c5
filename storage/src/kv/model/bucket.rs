//! The bucket under test: a writer, an index that may be killed, a log, and a reader of the log.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use protocol::batch::BatchFormat;
use protocol::columnar::{ChangeTypes, Decoder, row_at};
use protocol::fluss::batch::{ChangeType, LogBatch};
use protocol::fluss::buffer_codec::Compressor;
use protocol::fluss::key::KeyEncoder;
use protocol::fluss::kv_batch::{KvBatch, KvBatchBuilder, KvRecord};
use protocol::fluss::options::ChangelogImage;
use protocol::ids::{Offset, SchemaId};
use protocol::row::Datum;
use protocol::schema::{DataType, TypeKind};

use super::{Batch, Row, Settings};
use crate::kv::auto_increment::{AutoIncrement, IdCounter};
use crate::kv::fixtures::{ONE, TWO, row, table, values};
use crate::kv::index::memory::MemoryIndex;
use crate::kv::index::{Index, IndexState};
use crate::kv::merge::{KeyChange, MergeMode, MergeTable};
use crate::kv::plans::TablePlans;
use crate::kv::replay::{Replay, ReplayError};
use crate::kv::writer::{BucketWriter, WriterConfig};

/// Numbers that the bucket takes at once.
const IDS: i64 = 3;

/// An index whose process can be killed.
pub(crate) trait MortalIndex {
    /// The index of the running process.
    fn index(&self) -> &dyn Index;

    /// Starts again with what the disk has. Where there is a choice it has this part, of 255, of
    /// what was not flushed.
    fn kill(&mut self, kept: u8);

    /// Starts again with an empty index.
    fn lose(&mut self, counts_rows: bool);
}

impl MortalIndex for MemoryIndex {
    fn index(&self) -> &dyn Index {
        self
    }

    fn kill(&mut self, kept: u8) {
        self.crash(self.unflushed() * usize::from(kept) / 255);
    }

    fn lose(&mut self, counts_rows: bool) {
        *self = MemoryIndex::new(counts_rows);
    }
}

/// One bucket.
pub(super) struct Bucket<'i> {
    plans: TablePlans,
    settings: Settings,
    writer: BucketWriter,
    mortal: &'i mut dyn MortalIndex,
    counter: Arc<Ids>,
    log: Vec<(i64, Bytes, BatchFormat)>,
    end: i64,
    /// What a reader of the changelog has seen.
    pub(super) replayed: BTreeMap<i32, Row>,
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
        layout: settings.layout,
        buffer_bytes_max: 1 << 20,
        compressor: Compressor::new(None),
        ids: AutoIncrement::of(&table.schemas[&TWO], counter.clone(), IDS),
    })
}

impl<'i> Bucket<'i> {
    pub(super) fn new(settings: &Settings, mortal: &'i mut dyn MortalIndex) -> Bucket<'i> {
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
        mortal.lose(settings.image == ChangelogImage::Full);
        Bucket {
            writer,
            plans,
            settings: settings.clone(),
            mortal,
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

    pub(super) fn put(&mut self, batch: &Batch, targets: Option<&[i32]>) {
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
            .put(&kv_batch, None, &plan, changelog, 99, self.mortal.index());
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

    pub(super) fn apply(&mut self, part: u8) {
        let applied = self.index().state().applied.value();
        let to = applied + (self.end - applied) * i64::from(part) / 255;
        let index = self.mortal.index();
        self.writer.apply(Offset::new(to), None, index).unwrap();
    }

    pub(super) fn index(&self) -> &dyn Index {
        self.mortal.index()
    }

    /// True when every change is in the index.
    pub(super) fn is_applied(&self) -> bool {
        self.writer.buffer().is_empty()
    }

    /// The process starts again: the buffer is gone, the index is what the disk had of it. Gives
    /// the next number of the auto-increment column: what was left of a range is lost.
    pub(super) fn kill(&mut self, kept: u8) -> i32 {
        self.mortal.kill(kept);
        self.writer = writer(&self.settings, self.plans.table(), &self.counter);
        self.replay();
        assert_eq!(self.index().state().applied, Offset::new(self.end));
        i32::try_from(self.counter.0.load(Ordering::Relaxed) + 1).unwrap()
    }

    /// The index is made again from the log alone.
    pub(super) fn rebuild(&mut self) {
        self.mortal
            .lose(self.settings.image == ChangelogImage::Full);
        self.replay();
    }

    /// Brings the index up to the log.
    fn replay(&self) {
        let key_columns = ["k".to_owned()];
        let mut replay = Replay::new(self.table(), KeyEncoder::Compacted, &key_columns).unwrap();
        let layout = self.settings.layout;
        let before = self.index().state();
        let mut row_count = before.row_count;
        let mut changes = self.index().start();
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
            epoch: None,
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

    pub(super) fn stored(&self) -> BTreeMap<i32, Row> {
        let mut rows = BTreeMap::new();
        let scanned = self.index().view().unwrap().scan(None, &mut |_, stored| {
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
