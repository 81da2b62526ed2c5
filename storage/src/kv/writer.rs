//! One bucket's writes: a KV batch becomes a log batch and changes that wait for the log.
//!
//! ```text
//! put ─► the log takes the batch ─► place ─► the watermark passes it ─► apply
//!    └──► the log refuses it ──────► undo_from
//! ```
//!
//! The log, the index and the order of these calls are the caller's. Facts: Fluss server semantics
//! of PUT_KV; `KvTablet.java`.

use protocol::batch::{SourceBlock, UnassignedBatch};
use protocol::fluss::buffer_codec::Compressor;
use protocol::fluss::kv_batch::KvBatch;
use protocol::fluss::value::{ValueError, ValueLayout};
use protocol::ids::{LeaderEpoch, Offset};
use thiserror::Error;

use super::auto_increment::{AutoIncrement, IdSource, NoIds};
use super::changelog::{Changelog, ChangelogError, ChangelogPlan};
use super::index::{FoundRows, Index, IndexError, IndexState};
use super::merge::{MergeError, MergePlan, MergeScratch};
use super::write_buffer::{BatchId, BufferFull, Pending, WriteBuffer};

/// Why a batch was not merged. Nothing of it is left.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum PutError {
    #[error(transparent)]
    Full(#[from] BufferFull),
    #[error("record {index} cannot be merged")]
    Merge { index: usize, source: MergeError },
    #[error("record {index} cannot be logged")]
    Record {
        index: usize,
        source: ChangelogError,
    },
    #[error("the changelog of the batch cannot be made")]
    Changelog(#[source] ChangelogError),
    /// Fewer rows at a time would fit.
    #[error("the rows that the batch changes take more than {max} bytes as they are stored")]
    OldRows { max: usize },
    /// The index must be rebuilt.
    #[error("the stored value of record {index} is damaged")]
    Stored { index: usize, source: ValueError },
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// A merged batch, on its way into the log.
#[derive(Debug)]
pub struct MergedBatch {
    /// What to place or undo.
    pub id: BatchId,
    /// What the log gets.
    pub log_batch: UnassignedBatch,
}

/// What a table's options say about all its batches.
pub struct WriterConfig {
    /// How values are stored.
    pub layout: ValueLayout,
    /// Bytes that may wait for the index.
    pub buffer_bytes_max: usize,
    /// The codec of Arrow batches.
    pub compressor: Compressor,
    /// Numbers for the auto-increment column.
    pub ids: Option<AutoIncrement>,
}

/// The writing side of a bucket: what its log has and its index does not, and memory that is used
/// again for each batch.
pub struct BucketWriter {
    layout: ValueLayout,
    buffer: WriteBuffer,
    compressor: Compressor,
    ids: Option<AutoIncrement>,
    scratch: MergeScratch,
    found: FoundRows,
}

impl BucketWriter {
    /// A writer with nothing under way.
    pub fn new(config: WriterConfig) -> Self {
        BucketWriter {
            layout: config.layout,
            buffer: WriteBuffer::new(config.layout, config.buffer_bytes_max),
            compressor: config.compressor,
            ids: config.ids,
            scratch: MergeScratch::new(),
            found: FoundRows::new(),
        }
    }

    /// What waits for the index; lookups that must see every append ask it first.
    pub fn buffer(&self) -> &WriteBuffer {
        &self.buffer
    }

    /// The source of the auto-increment column's numbers.
    pub fn ids(&mut self) -> Option<&mut AutoIncrement> {
        self.ids.as_mut()
    }

    /// Merges a batch whose rows were checked with the plan's layout, and which comes from
    /// `source`. `tag` goes in front of its values where the layout has a place for it. Blocks on
    /// the index.
    ///
    /// # Errors
    /// Nothing of the batch is left in the buffer.
    pub fn put(
        &mut self,
        batch: &KvBatch,
        source: Option<SourceBlock>,
        plan: &MergePlan,
        changelog: &ChangelogPlan,
        tag: i64,
        index: &dyn Index,
    ) -> Result<MergedBatch, PutError> {
        let looked_up = self.look_up(batch, plan, changelog, index)?;
        let id = self.buffer.begin(batch.bytes().len())?;
        let mut log = changelog.start();
        let merged = self.merge(batch, plan, changelog, tag, &looked_up, &mut log);
        self.found.restart(0);
        let merged = merged.and_then(|()| {
            log.finish(source, &mut self.compressor)
                .map_err(PutError::Changelog)
        });
        match merged {
            Ok(log_batch) => Ok(MergedBatch { id, log_batch }),
            Err(error) => {
                self.buffer.undo_from(id);
                Err(error)
            }
        }
    }

    /// Asks the index at once for all keys that the buffer does not know. Gives, for each record
    /// that was asked for, where its answer is.
    fn look_up(
        &mut self,
        batch: &KvBatch,
        plan: &MergePlan,
        changelog: &ChangelogPlan,
        index: &dyn Index,
    ) -> Result<Vec<Option<usize>>, PutError> {
        let upserts = plan.upsert_looks_up(changelog.image());
        let deletes = plan.delete_looks_up();
        let mut asked = Vec::new();
        for (at, record) in batch.records().enumerate() {
            let needed = if record.row.is_some() {
                upserts
            } else {
                deletes
            };
            if needed && self.buffer.get(record.key).is_none() {
                asked.push((record.key, at));
            }
        }
        // Neighbours share most of their way through the index. A key that many records of the batch
        // name is looked up once.
        asked.sort_unstable();
        let mut answers = vec![None; batch.len()];
        let mut keys: Vec<&[u8]> = Vec::with_capacity(asked.len());
        for (key, at) in asked {
            if keys.last() != Some(&key) {
                keys.push(key);
            }
            answers[at] = Some(keys.len() - 1);
        }
        // Most of what is changed is logged, so that more would be refused later.
        let max = changelog.bytes_max();
        self.found.restart(max);
        if !keys.is_empty() {
            index.get_many(&keys, &mut self.found)?;
        }
        match self.found.is_over() {
            true => Err(PutError::OldRows { max }),
            false => Ok(answers),
        }
    }

    fn merge(
        &mut self,
        batch: &KvBatch,
        plan: &MergePlan,
        changelog: &ChangelogPlan,
        tag: i64,
        answers: &[Option<usize>],
        log: &mut Changelog<'_>,
    ) -> Result<(), PutError> {
        let looks_up = plan.upsert_looks_up(changelog.image());
        let mut none = NoIds;
        for (index, (record, answer)) in batch.records().zip(answers).enumerate() {
            let answer = answer.and_then(|at| self.found.get(at));
            // A record before this one may have changed the key.
            let stored = match self.buffer.get(record.key) {
                Some(Pending::Removed) => None,
                Some(Pending::Stored(value)) => Some(value),
                None => answer,
            };
            let old = stored
                .map(|value| self.layout.read(value))
                .transpose()
                .map_err(|source| PutError::Stored { index, source })?;
            let outcome = match record.row {
                None => plan.delete(old, &mut self.scratch),
                Some(row) if !looks_up => Ok(plan.overwrite(row)),
                Some(row) => {
                    let ids: &mut dyn IdSource = match &mut self.ids {
                        Some(ids) => ids,
                        None => &mut none,
                    };
                    plan.upsert(old, row, ids, &mut self.scratch)
                }
            };
            let outcome = outcome.map_err(|source| PutError::Merge { index, source })?;
            let last = log
                .push(&outcome)
                .map_err(|source| PutError::Record { index, source })?;
            let (change, row_delta) = (outcome.change(), outcome.row_delta());
            if let (Some(change), Some(last)) = (change, last) {
                self.buffer.put(record.key, change, tag, row_delta, last)?;
            }
        }
        Ok(())
    }

    /// The log gave a batch its base offset. Batches are placed in the order of their puts.
    pub fn place(&mut self, batch: BatchId, base: Offset) {
        self.buffer.place(batch, base);
    }

    /// The log refused a batch, or had it already. Batches that were put after it are undone with
    /// it and must be put again; gives how many they are.
    pub fn undo_from(&mut self, batch: BatchId) -> usize {
        self.buffer.undo_from(batch)
    }

    /// Brings the index up to `end`: all changes of lower offsets, which the log must have durably
    /// enough for readers to see. `epoch` is that of the last of them. Blocks.
    ///
    /// # Errors
    /// The index has none of them, and they stay in the buffer.
    pub fn apply(
        &mut self,
        end: Offset,
        epoch: Option<LeaderEpoch>,
        index: &dyn Index,
    ) -> Result<(), IndexError> {
        let before = index.state();
        if end <= before.applied {
            return Ok(());
        }
        let mut rows = Vec::with_capacity(self.buffer.len());
        let applied = self.buffer.for_each_below(end, |key, value| {
            rows.push((key, value));
        });
        // Neighbours share most of their way down the index's sorted list. A key may be there several
        // times, when its newest change is not below `end`: these stay in their order.
        rows.sort_by_key(|(key, _)| *key);
        let mut changes = index.start();
        for (key, value) in rows {
            match value {
                Some(value) => changes.put(key, value),
                None => changes.remove(key),
            }
        }
        changes.commit(IndexState {
            applied: end,
            epoch,
            row_count: before.row_count.map(|rows| rows + applied.row_delta),
        })?;
        self.buffer.remove_below(end);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use protocol::fluss::kv_batch::{KvBatchBuilder, KvRecord};
    use protocol::fluss::options::{ChangelogImage, DeleteBehavior, LogFormat, MergeEngine};
    use protocol::row::Datum;
    use protocol::schema::TypeKind;

    use super::*;
    use crate::kv::fixtures::{TWO, row, table};
    use crate::kv::index::{IndexBatch, IndexView, PrefixVisit, memory::MemoryIndex};
    use crate::kv::merge::{MergeMode, MergeTable};
    use crate::kv::plans::TablePlans;

    /// Counts the keys that are looked up.
    struct Counting {
        index: MemoryIndex,
        keys: AtomicUsize,
    }

    impl Index for Counting {
        fn state(&self) -> IndexState {
            self.index.state()
        }

        fn get_many(&self, keys: &[&[u8]], found: &mut FoundRows) -> Result<(), IndexError> {
            self.keys.fetch_add(keys.len(), Ordering::Relaxed);
            self.index.get_many(keys, found)
        }

        fn look_up_cached(
            &self,
            keys: &[&[u8]],
            found: &mut FoundRows,
        ) -> Result<bool, IndexError> {
            self.get_many(keys, found).map(|()| true)
        }

        fn scan_prefixes(
            &self,
            prefixes: &[&[u8]],
            may_wait: bool,
            visit: &mut PrefixVisit<'_>,
        ) -> Result<bool, IndexError> {
            self.index.scan_prefixes(prefixes, may_wait, visit)
        }

        fn start(&self) -> Box<dyn IndexBatch + '_> {
            self.index.start()
        }

        fn view(&self) -> Result<Box<dyn IndexView + '_>, IndexError> {
            self.index.view()
        }

        fn flush(&self) -> Result<(), IndexError> {
            self.index.flush()
        }
    }

    struct Fixture {
        plans: TablePlans,
        writer: BucketWriter,
        index: Counting,
    }

    impl Fixture {
        fn new(table: MergeTable, image: ChangelogImage, buffer_bytes_max: usize) -> Fixture {
            Fixture {
                plans: TablePlans::new(table, image, LogFormat::Arrow, 1 << 20).unwrap(),
                writer: BucketWriter::new(WriterConfig {
                    layout: ValueLayout::Plain,
                    buffer_bytes_max,
                    compressor: Compressor::new(None),
                    ids: None,
                }),
                index: Counting {
                    index: MemoryIndex::new(true),
                    keys: AtomicUsize::new(0),
                },
            }
        }

        /// Puts one batch: keys with their value, or none to delete.
        fn put(&mut self, records: &[(i32, Option<i32>)]) -> Result<MergedBatch, PutError> {
            let records = records
                .iter()
                .map(|(key, value)| (*key, value.map(Datum::Int)));
            self.put_data(&records.collect::<Vec<_>>())
        }

        fn put_data(
            &mut self,
            records: &[(i32, Option<Datum<'_>>)],
        ) -> Result<MergedBatch, PutError> {
            let mut builder = KvBatchBuilder::new(TWO, None);
            for (key, value) in records {
                let row = value.as_ref().map(|value| {
                    row(
                        self.plans.table(),
                        TWO,
                        &[Datum::Int(*key), value.clone(), Datum::Null],
                    )
                });
                builder.append(KvRecord {
                    key: &key.to_be_bytes(),
                    row: row.as_deref(),
                });
            }
            let batch = KvBatch::parse(builder.finish(), 1 << 20).unwrap();
            let plan = self.plans.merge(TWO, None, MergeMode::Engine).unwrap();
            let changelog = self.plans.changelog();
            self.writer
                .put(&batch, None, &plan, changelog, 0, &self.index)
        }

        fn looked_up(&self) -> usize {
            self.index.keys.swap(0, Ordering::Relaxed)
        }
    }

    fn two_columns() -> MergeTable {
        table(&[("a", TypeKind::Int, ""), ("b", TypeKind::Int, "")], 1)
    }

    #[test]
    fn the_index_is_asked_once_for_what_the_buffer_does_not_know() {
        let mut bucket = Fixture::new(two_columns(), ChangelogImage::Full, 1 << 20);
        let first = bucket.put(&[(1, Some(1)), (2, Some(2)), (1, Some(3))]);
        let first = first.unwrap();
        assert_eq!(first.log_batch.record_count, 4);
        assert_eq!(bucket.looked_up(), 2);
        let second = bucket
            .put(&[(1, None), (3, Some(3)), (1, Some(4))])
            .unwrap();
        assert_eq!(second.log_batch.record_count, 3);
        assert_eq!(bucket.looked_up(), 1);
        bucket.writer.place(first.id, Offset::new(0));
        bucket.writer.place(second.id, Offset::new(4));
        bucket
            .writer
            .apply(Offset::new(7), None, &bucket.index)
            .unwrap();
        let state = IndexState {
            applied: Offset::new(7),
            epoch: None,
            row_count: Some(3),
        };
        assert_eq!(bucket.index.state(), state);
        // What was applied already changes nothing.
        bucket
            .writer
            .apply(Offset::new(5), None, &bucket.index)
            .unwrap();
        assert_eq!(bucket.index.state(), state);
    }

    #[test]
    fn of_a_key_that_changes_again_later_the_index_gets_the_last_change_before() {
        let all = |value| (0..100).map(move |key| (key, Some(value)));
        let stored = |bucket: &Fixture| {
            let keys: Vec<_> = (0..100).map(i32::to_be_bytes).collect();
            let keys: Vec<&[u8]> = keys.iter().map(<[u8; 4]>::as_slice).collect();
            let mut found = FoundRows::new();
            bucket.index.get_many(&keys, &mut found).unwrap();
            found
                .iter()
                .map(|value| value.map(<[u8]>::to_vec))
                .collect::<Vec<_>>()
        };
        let mut bucket = Fixture::new(two_columns(), ChangelogImage::Full, 1 << 20);
        let twice: Vec<_> = all(1).chain(all(2)).collect();
        let first = bucket.put(&twice).unwrap();
        let later = bucket.put(&all(3).collect::<Vec<_>>()).unwrap();
        let end = Offset::new(first.log_batch.record_count.into());
        bucket.writer.place(first.id, Offset::new(0));
        bucket.writer.place(later.id, end);
        bucket.writer.apply(end, None, &bucket.index).unwrap();

        let mut plain = Fixture::new(two_columns(), ChangelogImage::Full, 1 << 20);
        let put = plain.put(&all(2).collect::<Vec<_>>()).unwrap();
        plain.writer.place(put.id, Offset::new(0));
        plain.writer.apply(end, None, &plain.index).unwrap();
        assert_eq!(stored(&bucket), stored(&plain));
    }

    #[test]
    fn full_rows_under_the_wal_image_are_not_looked_up() {
        let mut bucket = Fixture::new(two_columns(), ChangelogImage::Wal, 1 << 20);
        bucket.put(&[(1, Some(1)), (2, None)]).unwrap();
        // Only the delete is.
        assert_eq!(bucket.looked_up(), 1);
    }

    #[test]
    fn a_batch_that_fails_leaves_nothing() {
        let disabled = MergeTable {
            engine: Some(MergeEngine::FirstRow),
            delete_behavior: Some(DeleteBehavior::Disable),
            ..two_columns()
        };
        let mut bucket = Fixture::new(disabled, ChangelogImage::Full, 1 << 20);
        bucket.put(&[(1, Some(1))]).unwrap();
        let failed = bucket.put(&[(2, Some(2)), (1, None)]);
        let disabled = matches!(
            failed,
            Err(PutError::Merge {
                index: 1,
                source: MergeError::DeletesDisabled
            })
        );
        assert!(disabled);
        assert_eq!(bucket.writer.buffer().len(), 1);
        let mut bucket = Fixture::new(two_columns(), ChangelogImage::Full, 300);
        let rows: Vec<_> = (0..9).map(|k| (k, Some(k))).collect();
        let failed = bucket.put(&rows);
        assert!(matches!(failed, Err(PutError::Full(full)) if !full.retriable));
        assert!(bucket.writer.buffer().is_empty());
    }

    #[test]
    fn old_rows_are_bounded_and_a_row_that_is_named_often_counts_once() {
        let columns = [("a", TypeKind::String, ""), ("b", TypeKind::Int, "")];
        let mut bucket = Fixture::new(table(&columns, 1), ChangelogImage::Full, 64 << 20);
        let large = "x".repeat(300 << 10);
        for key in 0..4 {
            let stored = bucket.put_data(&[(key, Some(Datum::String(&large)))]);
            let offset = Offset::new(key.into());
            bucket.writer.place(stored.unwrap().id, offset);
            let applied = bucket.writer.apply(offset.next(), None, &bucket.index);
            applied.unwrap();
        }
        let small = |key| (key, Some(Datum::String("y")));
        let often: Vec<_> = (0..50).map(|_| small(1)).collect();
        let changed = bucket.put_data(&often).unwrap();
        assert_eq!(changed.log_batch.record_count, 100);
        bucket.writer.buffer.undo_from(changed.id);
        // Four rows of 300 KiB are more than a MiB.
        let all: Vec<_> = (0..4).map(small).collect();
        let failed = bucket.put_data(&all);
        assert!(matches!(failed, Err(PutError::OldRows { max }) if max == 1 << 20));
        assert!(bucket.writer.buffer().is_empty());
        bucket.put_data(&all[..3]).unwrap();
    }
}
