//! An index in memory: what models and simulations run on.
//!
//! A crash ([`MemoryIndex::crash`]) takes back what was not flushed, down to the end of some batch.
//! Every batch copies the rows, so that it is for small tables.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::Mutex;
use protocol::ids::Offset;

use super::{FoundRows, Index, IndexBatch, IndexError, IndexState, IndexView, PrefixVisit, Visit};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// An index that keeps its rows in memory. Clones are the same index.
#[derive(Debug, Clone)]
pub struct MemoryIndex {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    now: Moment,
    /// The state on disk, if there were one, and after each batch since.
    since_flush: Vec<Moment>,
}

#[derive(Debug, Clone)]
struct Moment {
    rows: Arc<Rows>,
    state: IndexState,
}

impl MemoryIndex {
    /// An empty index, which counts rows or does not.
    pub fn new(counts_rows: bool) -> Self {
        let now = Moment {
            rows: Arc::new(Rows::new()),
            state: IndexState {
                applied: Offset::ZERO,
                epoch: None,
                row_count: counts_rows.then_some(0),
            },
        };
        MemoryIndex {
            inner: Arc::new(Mutex::new(Inner {
                since_flush: vec![now.clone()],
                now,
            })),
        }
    }

    /// Loses what was written since the last flush, but for the first `kept` batches.
    pub fn crash(&self, kept: usize) {
        let mut inner = self.inner.lock();
        inner.since_flush.truncate(kept + 1);
        if let Some(last) = inner.since_flush.last().cloned() {
            inner.now = last.clone();
            inner.since_flush = vec![last];
        }
    }

    /// Batches that a crash may lose.
    pub fn unflushed(&self) -> usize {
        self.inner.lock().since_flush.len() - 1
    }

    fn now(&self) -> Moment {
        self.inner.lock().now.clone()
    }
}

impl Index for MemoryIndex {
    fn state(&self) -> IndexState {
        self.inner.lock().now.state
    }

    fn get_many(&self, keys: &[&[u8]], found: &mut FoundRows) -> Result<(), IndexError> {
        let rows = self.now().rows;
        found.clear();
        for key in keys {
            found.push(rows.get(*key).map(Vec::as_slice));
            if found.is_over() {
                break;
            }
        }
        Ok(())
    }

    fn look_up_cached(&self, keys: &[&[u8]], found: &mut FoundRows) -> Result<bool, IndexError> {
        self.get_many(keys, found).map(|()| true)
    }

    fn scan_prefixes(
        &self,
        prefixes: &[&[u8]],
        _may_wait: bool,
        visit: &mut PrefixVisit<'_>,
    ) -> Result<bool, IndexError> {
        let rows = self.now().rows;
        for (at, prefix) in prefixes.iter().enumerate() {
            let from = (Bound::Included(*prefix), Bound::Unbounded);
            for (key, value) in rows.range::<[u8], _>(from) {
                if !key.starts_with(prefix) {
                    break;
                }
                if visit(at, key, value).is_break() {
                    return Ok(true);
                }
            }
        }
        Ok(true)
    }

    fn start(&self) -> Box<dyn IndexBatch + '_> {
        Box::new(Batch {
            index: self,
            changes: Vec::new(),
        })
    }

    fn view(&self) -> Result<Box<dyn IndexView + '_>, IndexError> {
        Ok(Box::new(self.now()))
    }

    fn flush(&self) -> Result<(), IndexError> {
        let mut inner = self.inner.lock();
        inner.since_flush = vec![inner.now.clone()];
        Ok(())
    }
}

struct Batch<'i> {
    index: &'i MemoryIndex,
    changes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl IndexBatch for Batch<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.changes.push((key.to_vec(), Some(value.to_vec())));
    }

    fn remove(&mut self, key: &[u8]) {
        self.changes.push((key.to_vec(), None));
    }

    fn commit(self: Box<Self>, state: IndexState) -> Result<(), IndexError> {
        let mut inner = self.index.inner.lock();
        let rows = Arc::make_mut(&mut inner.now.rows);
        for (key, value) in self.changes {
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
        inner.now.state = state;
        let now = inner.now.clone();
        inner.since_flush.push(now);
        Ok(())
    }
}

impl IndexView for Moment {
    fn state(&self) -> IndexState {
        self.state
    }

    fn scan(&self, after: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<(), IndexError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        for (key, value) in self.rows.range::<[u8], _>((from, Bound::Unbounded)) {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::index::conformance;

    #[test]
    fn an_index_in_memory_conforms() {
        conformance::run(&MemoryIndex::new(true));
    }

    #[test]
    fn a_crash_loses_whole_batches_since_the_flush() {
        let index = MemoryIndex::new(false);
        for i in 1..=4u8 {
            let mut batch = index.start();
            batch.put(&[i], &[i]);
            let state = IndexState {
                applied: Offset::new(i64::from(i)),
                epoch: None,
                row_count: None,
            };
            batch.commit(state).unwrap();
            if i == 2 {
                index.flush().unwrap();
            }
        }
        assert_eq!(index.unflushed(), 2);
        index.crash(1);
        assert_eq!(index.state().applied, Offset::new(3));
        index.crash(0);
        assert_eq!(index.state().applied, Offset::new(3));
        let mut found = FoundRows::new();
        index.get_many(&[&[3], &[4]], &mut found).unwrap();
        assert_eq!((found.get(0), found.get(1)), (Some(&[3][..]), None));
    }
}
