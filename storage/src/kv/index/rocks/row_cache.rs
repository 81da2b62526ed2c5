//! Rows in memory, in front of the databases of all buckets: a lookup that finds its row here walks
//! neither the sorted list of what was written last nor the index, filter and block of a file.
//!
//! Rows come here when they are looked up, and which of them stay is [`quick_cache`]'s affair. One
//! that is written while it is here stays here as it is then; others are only written to the database:
//! a load of rows costs the cache a look at each, and does not drive out what is asked for.
//!
//! *Invariant*: a row that is found here is the one that the database has. While a batch is written,
//! the rows that it changes are not found, so that everybody asks the database for them: a reader who
//! found the new one there must not find the old one here afterwards. A reader that found a row in
//! the database puts it here only if no batch was written since before it looked
//! ([`IndexRows::fill`]).

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{RwLock, RwLockWriteGuard};
use quick_cache::sync::Cache;
use quick_cache::{Equivalent, Weighter};
use rocksdb::WriteBatchIteratorCf;

use crate::kv::index::FoundRows;

/// What a row takes besides its bytes: its place in the cache's table and list, and the head of its
/// allocation.
const OVERHEAD_BYTES: u64 = 96;
/// Rows that the cache lays itself out for; it takes others.
const ROW_BYTES: u64 = 256;
/// RocksDB's number of its default family, which has the rows.
const ROWS_FAMILY: u32 = 0;

/// The rows of all indexes. One piece of memory holds key and value.
pub(super) struct RowCache {
    rows: Cache<RowKey, CachedRow, Bytes>,
    indexes: AtomicU64,
}

/// A key and its value.
#[derive(Clone)]
struct Row {
    key_len: u32,
    bytes: Arc<[u8]>,
}

/// Owns the memory of its row together with the [`CachedRow`].
struct RowKey {
    index: u64,
    row: Row,
}

#[derive(Clone)]
struct CachedRow {
    row: Row,
    /// It is being written: nobody finds it.
    pending: bool,
}

/// A key that is looked up.
struct Asked<'k> {
    index: u64,
    key: &'k [u8],
}

#[derive(Clone)]
struct Bytes;

impl Row {
    fn new(scratch: &mut Vec<u8>, key: &[u8], value: &[u8]) -> Row {
        scratch.clear();
        scratch.extend_from_slice(key);
        scratch.extend_from_slice(value);
        Row {
            key_len: u32::try_from(key.len()).expect("keys come in requests, which are smaller"),
            bytes: Arc::from(scratch.as_slice()),
        }
    }

    fn key(&self) -> &[u8] {
        &self.bytes[..self.key_len as usize]
    }

    fn value(&self) -> &[u8] {
        &self.bytes[self.key_len as usize..]
    }
}

impl Hash for Asked<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.index.hash(state);
        self.key.hash(state);
    }
}

impl Hash for RowKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.index.hash(state);
        self.row.key().hash(state);
    }
}

impl PartialEq for RowKey {
    fn eq(&self, other: &RowKey) -> bool {
        self.index == other.index && self.row.key() == other.row.key()
    }
}

impl Eq for RowKey {}

impl Equivalent<RowKey> for Asked<'_> {
    fn equivalent(&self, key: &RowKey) -> bool {
        self.index == key.index && self.key == key.row.key()
    }
}

impl Weighter<RowKey, CachedRow> for Bytes {
    fn weight(&self, key: &RowKey, _: &CachedRow) -> u64 {
        key.row.bytes.len() as u64 + OVERHEAD_BYTES
    }
}

impl RowCache {
    /// None when it may hold nothing.
    pub(super) fn new(bytes_max: usize) -> Option<Arc<RowCache>> {
        let bytes_max = bytes_max as u64;
        let rows = usize::try_from(bytes_max / ROW_BYTES).unwrap_or(usize::MAX);
        (bytes_max > 0).then(|| {
            Arc::new(RowCache {
                rows: Cache::with_weighter(rows, bytes_max, Bytes),
                indexes: AtomicU64::new(0),
            })
        })
    }

    /// Bytes of rows, with what they take besides.
    pub(super) fn bytes(&self) -> u64 {
        self.rows.weight()
    }
}

/// The rows of one index.
pub(super) struct IndexRows {
    cache: Arc<RowCache>,
    index: u64,
    /// Batches that were written, or failed. Changes before the next fill can begin.
    written: AtomicU64,
    /// Whether anybody ever looked up a row: a load of an index that nobody asks does not search here.
    used: AtomicBool,
    /// Held by the one who writes a batch, and shared by those who fill.
    filling: RwLock<()>,
}

impl IndexRows {
    /// None of another index, or of this one before it was opened.
    pub(super) fn new(cache: &Arc<RowCache>) -> IndexRows {
        IndexRows {
            index: cache.indexes.fetch_add(1, Ordering::Relaxed),
            cache: Arc::clone(cache),
            written: AtomicU64::new(0),
            used: AtomicBool::new(false),
            filling: RwLock::new(()),
        }
    }

    /// Adds the value of a key; false, and nothing added, where it is not here.
    pub(super) fn find(&self, key: &[u8], found: &mut FoundRows) -> bool {
        if !self.used.load(Ordering::Relaxed) {
            return false;
        }
        match self.cache.rows.get(&self.asked(key)) {
            Some(cached) if !cached.pending => {
                found.push(Some(cached.row.value()));
                true
            }
            _ => false,
        }
    }

    /// To be called before the database is asked for rows that [`IndexRows::fill`] shall take.
    pub(super) fn moment(&self) -> Moment {
        Moment(self.written.load(Ordering::Acquire))
    }

    /// Takes rows that the database had; nothing if a batch was written since, or is being written.
    pub(super) fn fill<'r>(&self, since: Moment, rows: impl Iterator<Item = (&'r [u8], &'r [u8])>) {
        // Never waits: who writes may wait for a disk.
        let Some(_filling) = self.filling.try_read() else {
            return;
        };
        if self.written.load(Ordering::Acquire) != since.0 {
            return;
        }
        // Who writes next sees it: it waits for this lock.
        self.used.store(true, Ordering::Relaxed);
        let mut scratch = Vec::new();
        for (key, value) in rows {
            self.insert(Row::new(&mut scratch, key, value), false);
        }
    }

    /// Begins to write a batch, which is told its changes, and that they are written.
    pub(super) fn start(&self) -> Writing<'_> {
        Writing {
            rows: self,
            _filling: self.filling.write(),
            scratch: Vec::new(),
            put: Vec::new(),
        }
    }

    fn asked<'k>(&self, key: &'k [u8]) -> Asked<'k> {
        Asked {
            index: self.index,
            key,
        }
    }

    fn insert(&self, row: Row, pending: bool) {
        let key = RowKey {
            index: self.index,
            row: row.clone(),
        };
        self.cache.rows.insert(key, CachedRow { row, pending });
    }
}

/// When a reader began; see [`IndexRows::fill`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment(u64);

/// A batch that is being written. Nobody fills while it lives.
pub(super) struct Writing<'r> {
    rows: &'r IndexRows,
    _filling: RwLockWriteGuard<'r, ()>,
    scratch: Vec<u8>,
    /// The rows that are here and change, as they will be.
    put: Vec<Row>,
}

impl Writing<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        if self.is_here(key) {
            let row = Row::new(&mut self.scratch, key, value);
            self.rows.insert(row.clone(), true);
            self.put.push(row);
        }
    }

    fn remove(&mut self, key: &[u8]) {
        self.rows.cache.rows.remove(&self.rows.asked(key));
    }

    /// Whether any row can be here, so that the changes have to be told.
    pub(super) fn has_any(&self) -> bool {
        self.rows.used.load(Ordering::Relaxed)
    }

    /// The database has the changes.
    pub(super) fn done(mut self) {
        for row in self.put.drain(..) {
            let here = self.rows.cache.rows.peek(&self.rows.asked(row.key()));
            // Of several changes of one key in a batch, the last one counts.
            if here.is_some_and(|here| Arc::ptr_eq(&here.row.bytes, &row.bytes)) {
                self.rows.insert(row, false);
            }
        }
    }

    fn is_here(&self, key: &[u8]) -> bool {
        let rows = &self.rows.cache.rows;
        rows.contains_key(&self.rows.asked(key))
    }
}

impl Drop for Writing<'_> {
    /// Before the lock goes: who looked while the batch was written does not fill afterwards.
    fn drop(&mut self) {
        self.rows.written.fetch_add(1, Ordering::AcqRel);
    }
}

impl WriteBatchIteratorCf for Writing<'_> {
    fn put_cf(&mut self, family: u32, key: &[u8], value: &[u8]) {
        if family == ROWS_FAMILY {
            self.put(key, value);
        }
    }

    fn delete_cf(&mut self, family: u32, key: &[u8]) {
        if family == ROWS_FAMILY {
            self.remove(key);
        }
    }

    fn merge_cf(&mut self, _: u32, _: &[u8], _: &[u8]) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> IndexRows {
        IndexRows::new(&RowCache::new(1 << 20).expect("not empty"))
    }

    fn found(rows: &IndexRows, key: &[u8]) -> Option<Vec<u8>> {
        let mut found = FoundRows::new();
        let there = rows.find(key, &mut found);
        there.then(|| found.get(0).expect("it was found").to_vec())
    }

    fn write(rows: &IndexRows, key: &[u8], value: Option<&[u8]>) {
        let mut writing = rows.start();
        match value {
            Some(value) => writing.put(key, value),
            None => writing.remove(key),
        }
        writing.done();
    }

    fn fill(rows: &IndexRows, since: Moment, key: &[u8], value: &[u8]) {
        rows.fill(since, std::iter::once((key, value)));
    }

    #[test]
    fn what_was_asked_for_is_here_and_follows_what_is_written() {
        let rows = rows();
        write(&rows, b"k", Some(b"new"));
        assert_eq!(found(&rows, b"k"), None, "nobody asked for it");
        fill(&rows, rows.moment(), b"k", b"v");
        fill(&rows, rows.moment(), b"", b"");
        assert_eq!(found(&rows, b"k").as_deref(), Some(&b"v"[..]));
        assert_eq!(found(&rows, b"").as_deref(), Some(&b""[..]));
        write(&rows, b"k", Some(b"longer"));
        assert_eq!(found(&rows, b"k").as_deref(), Some(&b"longer"[..]));
        write(&rows, b"k", None);
        assert_eq!(found(&rows, b"k"), None);
        let other = IndexRows::new(&rows.cache);
        assert_eq!(found(&other, b""), None, "another index's row");
    }

    #[test]
    fn who_writes_looks_here_once_anybody_asked() {
        let rows = rows();
        assert!(!rows.start().has_any());
        fill(&rows, rows.moment(), b"k", b"old");
        assert!(rows.start().has_any());
        assert!(!IndexRows::new(&rows.cache).start().has_any(), "another's");
    }

    #[test]
    fn what_is_being_written_or_could_not_be_is_not_found() {
        let rows = rows();
        fill(&rows, rows.moment(), b"k", b"old");
        fill(&rows, rows.moment(), b"other", b"v");
        let mut writing = rows.start();
        writing.put(b"k", b"new");
        assert_eq!(found(&rows, b"k"), None, "the database may have either");
        assert_eq!(found(&rows, b"other").as_deref(), Some(&b"v"[..]));
        drop(writing);
        assert_eq!(found(&rows, b"k"), None);
        fill(&rows, rows.moment(), b"k", b"old");
        assert_eq!(found(&rows, b"k").as_deref(), Some(&b"old"[..]));
    }

    #[test]
    fn of_several_changes_of_a_key_the_last_one_is_found() {
        let rows = rows();
        fill(&rows, rows.moment(), b"k", b"old");
        let mut writing = rows.start();
        writing.put(b"k", b"first");
        writing.put(b"k", b"last");
        writing.done();
        assert_eq!(found(&rows, b"k").as_deref(), Some(&b"last"[..]));
        let mut writing = rows.start();
        writing.put(b"k", b"put");
        writing.remove(b"k");
        writing.done();
        assert_eq!(found(&rows, b"k"), None);
        fill(&rows, rows.moment(), b"k", b"v");
        let mut writing = rows.start();
        writing.remove(b"k");
        writing.put(b"k", b"again");
        writing.done();
        assert_eq!(found(&rows, b"k"), None, "it has to be asked for");
    }

    #[test]
    fn a_reader_that_was_overtaken_by_a_write_puts_nothing_here() {
        let rows = rows();
        let early = rows.moment();
        write(&rows, b"k", Some(b"new"));
        fill(&rows, early, b"k", b"old");
        assert_eq!(found(&rows, b"k"), None);

        // One that began while a batch was written may have seen the database before it.
        let writing = rows.start();
        let during = rows.moment();
        fill(&rows, during, b"k", b"old");
        writing.done();
        fill(&rows, during, b"k", b"old");
        assert_eq!(found(&rows, b"k"), None);
        fill(&rows, rows.moment(), b"k", b"v");
        assert_eq!(found(&rows, b"k").as_deref(), Some(&b"v"[..]));
    }

    #[test]
    fn memory_is_bounded() {
        let rows = rows();
        let value = [7; 1000];
        for number in 0..5_000u32 {
            fill(&rows, rows.moment(), &number.to_be_bytes(), &value);
        }
        let bytes = rows.cache.bytes();
        assert!(bytes <= 1 << 20, "{bytes}");
        assert!(bytes > 1 << 18, "{bytes}");
        let kept = (0..5_000u32).filter(|n| found(&rows, &n.to_be_bytes()).is_some());
        assert!(kept.count() > 200);
    }
}
