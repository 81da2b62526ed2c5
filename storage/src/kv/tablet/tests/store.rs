//! Indexes in memory as a test wants them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::kv::index::memory::MemoryIndex;
use crate::kv::index::{
    FoundRows, Index, IndexBatch, IndexError, IndexSpec, IndexState, IndexStore, IndexView,
    LogEnds, OpenedIndex, PrefixVisit, Rebuild, check,
};

/// Indexes in memory, which outlive their tablets as files would, and are open once at a time.
#[derive(Default)]
pub(super) struct MemoryStore {
    pub(super) index: Mutex<Option<MemoryIndex>>,
    pub(super) commits: Arc<Commits>,
    /// Of each opening, whether the index was made anew.
    pub(super) opened: Mutex<Vec<bool>>,
    /// Nothing is discarded.
    pub(super) keeps: AtomicBool,
    /// The index is open while somebody else has this.
    lock: Arc<()>,
}

impl MemoryStore {
    /// The next write fails.
    pub(super) fn fail(&self, error: IndexError) {
        *self.commits.refuses.lock() = Some(error);
    }

    fn check_lock(&self) -> Result<(), IndexError> {
        match Arc::strong_count(&self.lock) {
            1 => Ok(()),
            _ => Err(IndexError::Failed("it is open".to_owned())),
        }
    }
}

/// What is written.
#[derive(Default)]
pub(super) struct Commits {
    /// The next one fails.
    pub(super) refuses: Mutex<Option<IndexError>>,
    /// Bytes of keys and values of each.
    pub(super) bytes: Mutex<Vec<usize>>,
}

impl IndexStore for MemoryStore {
    fn open(&self, spec: &IndexSpec, log: &dyn LogEnds) -> Result<OpenedIndex, IndexError> {
        self.check_lock()?;
        let mut slot = self.index.lock();
        let rebuild = match &*slot {
            Some(index) => check(index.state(), log).err(),
            None => Some(Rebuild::Absent),
        };
        if rebuild.is_some() {
            *slot = Some(MemoryIndex::new(spec.counts_rows));
        }
        self.opened.lock().push(rebuild.is_some());
        let index = slot.clone().expect("it was made above");
        let commits = Arc::clone(&self.commits);
        Ok(OpenedIndex {
            index: Arc::new(Refusing {
                index,
                commits,
                _lock: Arc::clone(&self.lock),
            }),
            rebuild,
        })
    }

    fn discard(&self, _: &IndexSpec) -> Result<(), IndexError> {
        self.check_lock()?;
        if self.keeps.load(Ordering::Acquire) {
            return Err(IndexError::Failed("the test wants it".to_owned()));
        }
        *self.index.lock() = None;
        Ok(())
    }
}

/// Takes no changes while a test says so.
struct Refusing {
    index: MemoryIndex,
    commits: Arc<Commits>,
    _lock: Arc<()>,
}

struct RefusingBatch<'i> {
    batch: Box<dyn IndexBatch + 'i>,
    bytes: usize,
    commits: &'i Commits,
}

impl IndexBatch for RefusingBatch<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.bytes += key.len() + value.len();
        self.batch.put(key, value);
    }

    fn remove(&mut self, key: &[u8]) {
        self.bytes += key.len();
        self.batch.remove(key);
    }

    fn commit(self: Box<Self>, state: IndexState) -> Result<(), IndexError> {
        if let Some(error) = self.commits.refuses.lock().take() {
            return Err(error);
        }
        self.commits.bytes.lock().push(self.bytes);
        self.batch.commit(state)
    }
}

impl Index for Refusing {
    fn state(&self) -> IndexState {
        self.index.state()
    }

    fn get_many(&self, keys: &[&[u8]], found: &mut FoundRows) -> Result<(), IndexError> {
        self.index.get_many(keys, found)
    }

    fn look_up_cached(&self, keys: &[&[u8]], found: &mut FoundRows) -> Result<bool, IndexError> {
        self.index.look_up_cached(keys, found)
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
        Box::new(RefusingBatch {
            batch: self.index.start(),
            bytes: 0,
            commits: &self.commits,
        })
    }

    fn view(&self) -> Result<Box<dyn IndexView + '_>, IndexError> {
        self.index.view()
    }

    fn flush(&self) -> Result<(), IndexError> {
        self.index.flush()
    }
}
