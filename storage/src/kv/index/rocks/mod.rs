//! The index on disk: one RocksDB per bucket.
//!
//! | column family | key | value |
//! |---|---|---|
//! | `default` | a row's key | its stored value |
//! | `vltava` | `state` | how far the index is, as `state.rs` draws it |
//!
//! Clients open snapshots of the directory and read `default`, whose keys may be any bytes: so the
//! state has a family of its own. Families are flushed together, and RocksDB's own log is off: after
//! a crash the rows are those of the state beside them, and the changelog has the rest.
//!
//! Memory is shared by all buckets ([`RocksShared`]). Rows that are asked for are found without the
//! database (`row_cache.rs`).

mod options;
mod prefix;
mod row_cache;
mod shared;
mod state;

pub use shared::{RocksConfig, RocksShared};

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use protocol::ids::Offset;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    ColumnFamily, ColumnFamilyDescriptor, DB, DBRawIterator, ErrorKind, FlushOptions, Options,
    ReadOptions, ReadTier, Snapshot, WriteBatch, WriteOptions,
};
use thiserror::Error;

use super::{
    FoundRows, Index, IndexBatch, IndexError, IndexPressure, IndexSpec, IndexState, IndexView,
    LinkedFiles, LogEnds, PrefixVisit, Rebuild, Visit, check,
};
use row_cache::IndexRows;

const ROWS: &str = "default";
const OURS: &str = "vltava";
const STATE_KEY: &[u8] = b"state";
/// Scans read ahead this much: they rarely find their blocks in the cache.
const SCAN_READAHEAD: usize = 1 << 20;
/// Rows of unknown size that a bounded lookup asks the database for at once, at first and at most.
/// More would not be faster: RocksDB looks up 32 at a time.
const ROWS_HELD_FIRST: usize = 8;
const ROWS_HELD_MAX: usize = 32;

/// Why an index is not open.
#[derive(Debug, Error)]
pub enum OpenError {
    /// It has to be made again: [`RocksIndex::create`], and a replay of the log.
    #[error(transparent)]
    Rebuild(#[from] Rebuild),
    /// The disk refuses; the index may be whole.
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// The index of one bucket.
pub struct RocksIndex {
    db: DB,
    identity: [u8; 16],
    /// Whether bytes begin with the columns that the database's prefixes have.
    in_domain: Option<fn(&[u8]) -> bool>,
    /// Rows in memory; none where they may take none.
    cached: Option<IndexRows>,
    /// Counts this index among those that are open.
    _counted: Arc<()>,
    state: Mutex<IndexState>,
}

impl RocksIndex {
    /// Opens the index of a log.
    ///
    /// # Errors
    /// There is none that a replay of the log would bring up to date.
    pub fn open(
        spec: &IndexSpec,
        shared: &RocksShared,
        log: &dyn LogEnds,
    ) -> Result<Self, OpenError> {
        let db = open_db(spec, shared, false)?;
        let bytes = db.get_cf(ours(&db), STATE_KEY).map_err(error)?;
        let bytes = bytes.ok_or_else(|| Rebuild::Corrupt("it has no state".to_owned()))?;
        let (identity, state) = state::decode(&bytes)?;
        if identity != spec.identity {
            return Err(Rebuild::Foreign("identity differs".to_owned()).into());
        }
        if state.row_count.is_some() != spec.counts_rows {
            return Err(Rebuild::Foreign("rows are counted by one of both".to_owned()).into());
        }
        check(state, log)?;
        Ok(RocksIndex {
            db,
            identity,
            in_domain: prefix::domain(&spec.prefix),
            cached: shared.rows_in_memory(),
            _counted: shared.count_open(),
            state: Mutex::new(state),
        })
    }

    /// Makes an empty index of a log that starts at `applied`, in place of whatever the directory
    /// holds.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn create(
        spec: &IndexSpec,
        shared: &RocksShared,
        applied: Offset,
    ) -> Result<Self, OpenError> {
        RocksIndex::destroy(&spec.directory)?;
        let index = RocksIndex {
            db: open_db(spec, shared, true)?,
            identity: spec.identity,
            in_domain: prefix::domain(&spec.prefix),
            cached: shared.rows_in_memory(),
            _counted: shared.count_open(),
            state: Mutex::new(IndexState {
                applied: Offset::ZERO,
                epoch: None,
                row_count: None,
            }),
        };
        let state = IndexState {
            applied,
            epoch: None,
            row_count: spec.counts_rows.then_some(0),
        };
        index.start().commit(state)?;
        // A directory without a state is a damaged one.
        index.flush()?;
        Ok(index)
    }

    /// Removes the files of an index that is not open.
    pub fn destroy(directory: &Path) -> Result<(), IndexError> {
        DB::destroy(&Options::default(), directory).map_err(error)
    }
}

fn open_db(spec: &IndexSpec, shared: &RocksShared, create: bool) -> Result<DB, OpenError> {
    let mut options = shared.database();
    options.create_if_missing(create);
    options.create_missing_column_families(create);
    options.set_error_if_exists(create);
    let families = [
        ColumnFamilyDescriptor::new(ROWS, shared.rows(&spec.prefix).map_err(error)?),
        ColumnFamilyDescriptor::new(OURS, shared.ours()),
    ];
    DB::open_cf_descriptors(&options, &spec.directory, families).map_err(|e| {
        if e.as_ref().contains("does not exist (create_if_missing") {
            return Rebuild::Absent.into();
        }
        match error(e) {
            IndexError::Corrupt(message) => Rebuild::Corrupt(message).into(),
            failed => OpenError::Index(failed),
        }
    })
}

fn ours(db: &DB) -> &ColumnFamily {
    db.cf_handle(OURS).expect("the database is opened with it")
}

fn rows(db: &DB) -> &ColumnFamily {
    db.cf_handle(ROWS).expect("every database has it")
}

/// Whether the files are damaged or the disk has failed.
fn error(error: rocksdb::Error) -> IndexError {
    let damaged = match error.kind() {
        ErrorKind::Corruption
        | ErrorKind::NotFound
        | ErrorKind::NotSupported
        | ErrorKind::InvalidArgument => true,
        // A file that the others name is missing.
        ErrorKind::IOError => error.as_ref().contains("No such file"),
        _ => false,
    };
    let message = error.into_string();
    if damaged {
        IndexError::Corrupt(message)
    } else {
        IndexError::Failed(message)
    }
}

impl RocksIndex {
    /// Finds rows in memory, and has `ask` ask the database for the others by their positions, unless
    /// it says that it did not find out. What it found comes into memory if it shall be kept.
    fn get_through(
        &self,
        keys: &[&[u8]],
        found: &mut FoundRows,
        keep: bool,
        ask: impl FnOnce(&[usize], &mut FoundRows) -> Result<bool, IndexError>,
    ) -> Result<bool, IndexError> {
        found.clear();
        let since = self.cached.as_ref().map(IndexRows::moment);
        let mut missed = Vec::new();
        for (at, key) in keys.iter().enumerate() {
            let cached = self.cached.as_ref();
            if !cached.is_some_and(|rows| rows.find(key, found)) {
                found.push(None);
                missed.push(at);
            } else if found.is_over() {
                return Ok(true);
            }
        }
        let hits = keys.len() - missed.len();
        metrics::counter!("vltava_kv_row_cache_hits_total").increment(hits as u64);
        if missed.is_empty() {
            return Ok(true);
        }
        if !ask(&missed, found)? {
            return Ok(false);
        }
        metrics::counter!("vltava_kv_row_cache_misses_total").increment(missed.len() as u64);
        if keep && let Some((rows, since)) = self.cached.as_ref().zip(since) {
            let row = |at: usize| Some((keys[at], found.get(at)?));
            rows.fill(since, missed.into_iter().filter_map(row));
        }
        Ok(true)
    }

    /// The values of keys. Waits for the disk.
    fn get_waiting(
        &self,
        keys: &[&[u8]],
        found: &mut FoundRows,
        keep: bool,
    ) -> Result<(), IndexError> {
        let ask = |missed: &[usize], found: &mut FoundRows| {
            if let [at] = *missed {
                let value = self.db.get_pinned(keys[at]).map_err(error)?;
                found.set(at, value.as_deref());
                return Ok(true);
            }
            // The database holds the values of all keys that are asked for at once.
            let (mut rest, mut at_once) = (missed, ROWS_HELD_FIRST);
            while !rest.is_empty() && !found.is_over() {
                if found.is_unbounded() {
                    at_once = rest.len();
                }
                let (now, later) = rest.split_at(at_once.min(rest.len()));
                let asked = now.iter().map(|at| keys[*at]);
                let values = self.db.batched_multi_get_cf(rows(&self.db), asked, false);
                for (at, value) in now.iter().zip(values) {
                    found.set(*at, value.map_err(error)?.as_deref());
                }
                at_once = (at_once * 2).min(ROWS_HELD_MAX).min(found.may_come());
                rest = later;
            }
            Ok(true)
        };
        self.get_through(keys, found, keep, ask).map(drop)
    }
}

impl Index for RocksIndex {
    fn state(&self) -> IndexState {
        *self.state.lock()
    }

    fn get_many(&self, keys: &[&[u8]], found: &mut FoundRows) -> Result<(), IndexError> {
        self.get_waiting(keys, found, false)
    }

    fn look_up(&self, keys: &[&[u8]], found: &mut FoundRows) -> Result<(), IndexError> {
        self.get_waiting(keys, found, true)
    }

    fn look_up_cached(&self, keys: &[&[u8]], found: &mut FoundRows) -> Result<bool, IndexError> {
        self.get_through(keys, found, true, |missed, found| {
            let mut options = ReadOptions::default();
            options.set_read_tier(ReadTier::BlockCache);
            for at in missed {
                // One by one: where a block is not in the cache, RocksDB's MultiGet says that the
                // key has an empty value (`MarkKeyMayExist`), and not that it does not know.
                match self.db.get_pinned_opt(keys[*at], &options) {
                    Ok(value) => found.set(*at, value.as_deref()),
                    Err(e) if e.kind() == ErrorKind::Incomplete => return Ok(false),
                    Err(e) => return Err(error(e)),
                }
                if found.is_over() {
                    break;
                }
            }
            Ok(true)
        })
    }

    fn scan_prefixes(
        &self,
        prefixes: &[&[u8]],
        may_wait: bool,
        visit: &mut PrefixVisit<'_>,
    ) -> Result<bool, IndexError> {
        let mut options = ReadOptions::default();
        if !may_wait {
            options.set_read_tier(ReadTier::BlockCache);
        }
        match self.in_domain {
            // Files whose filters know no such prefix are passed over.
            Some(in_domain) if prefixes.iter().all(|prefix| in_domain(prefix)) => {
                options.set_prefix_same_as_start(true);
            }
            _ => options.set_total_order_seek(true),
        }
        // To make an iterator costs more than to move it.
        let mut rows = self.db.raw_iterator_opt(options);
        for (at, prefix) in prefixes.iter().enumerate() {
            rows.seek(prefix);
            while let Some((key, value)) = rows.item() {
                if !key.starts_with(prefix) {
                    break;
                }
                if visit(at, key, value).is_break() {
                    return Ok(true);
                }
                rows.next();
            }
            match rows.status() {
                Ok(()) => {}
                Err(e) if !may_wait && e.kind() == ErrorKind::Incomplete => return Ok(false),
                Err(e) => return Err(error(e)),
            }
        }
        Ok(true)
    }

    fn start(&self) -> Box<dyn IndexBatch + '_> {
        Box::new(Batch {
            index: self,
            changes: WriteBatch::default(),
        })
    }

    fn view(&self) -> Result<Box<dyn IndexView + '_>, IndexError> {
        let snapshot = self.db.snapshot();
        let bytes = snapshot.get_pinned_cf(ours(&self.db), STATE_KEY);
        let bytes = bytes.map_err(error)?;
        let state = bytes.map(|bytes| state::decode(&bytes)).transpose();
        match state {
            Ok(Some((_, state))) => Ok(Box::new(View { snapshot, state })),
            Ok(None) => Err(IndexError::Corrupt("it has no state".to_owned())),
            Err(rebuild) => Err(IndexError::Corrupt(rebuild.to_string())),
        }
    }

    fn pressure(&self) -> IndexPressure {
        let number = |name: &str| match self.db.property_int_value(name) {
            Ok(Some(value)) => value,
            _ => 0,
        };
        IndexPressure {
            memory_bytes: number("rocksdb.size-all-mem-tables"),
            overlapping_files: number("rocksdb.num-files-at-level0"),
            compaction_bytes: number("rocksdb.estimate-pending-compaction-bytes"),
            writes_stopped: number("rocksdb.is-write-stopped") != 0,
            disk_bytes: number("rocksdb.live-sst-files-size"),
        }
    }

    fn flush(&self) -> Result<(), IndexError> {
        let families = [rows(&self.db), ours(&self.db)];
        self.db
            .flush_cfs_opt(&families, &FlushOptions::default())
            .map_err(error)
    }

    fn link_files(&self, directory: &Path) -> Result<LinkedFiles, IndexError> {
        let database = self.db.get_db_identity().map_err(error)?;
        let checkpoint = Checkpoint::new(&self.db).map_err(error)?;
        let state = self.state();
        checkpoint.create_checkpoint(directory).map_err(error)?;
        Ok(LinkedFiles {
            state,
            database: String::from_utf8_lossy(&database).into_owned(),
        })
    }
}

/// Visits what an iterator has from where it stands.
fn walk(mut rows: DBRawIterator<'_>, visit: &mut Visit<'_>) -> Result<(), IndexError> {
    while let Some((key, value)) = rows.item() {
        if visit(key, value).is_break() {
            return Ok(());
        }
        rows.next();
    }
    rows.status().map_err(error)
}

struct Batch<'i> {
    index: &'i RocksIndex,
    changes: WriteBatch,
}

impl IndexBatch for Batch<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.changes.put(key, value);
    }

    fn remove(&mut self, key: &[u8]) {
        self.changes.delete(key);
    }

    fn commit(self: Box<Self>, state: IndexState) -> Result<(), IndexError> {
        let Batch { index, mut changes } = *self;
        let record = state::encode(&index.identity, state);
        changes.put_cf(ours(&index.db), STATE_KEY, record);
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        let cached = index.cached.as_ref().map(|rows| {
            let mut writing = rows.start();
            if writing.has_any() {
                changes.iterate_cf(&mut writing);
            }
            writing
        });
        index.db.write_opt(changes, &options).map_err(error)?;
        if let Some(writing) = cached {
            writing.done();
        }
        *index.state.lock() = state;
        Ok(())
    }
}

struct View<'i> {
    snapshot: Snapshot<'i>,
    state: IndexState,
}

impl IndexView for View<'_> {
    fn state(&self) -> IndexState {
        self.state
    }

    fn scan(&self, after: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<(), IndexError> {
        let mut options = ReadOptions::default();
        options.set_total_order_seek(true);
        options.fill_cache(false);
        options.set_readahead_size(SCAN_READAHEAD);
        let mut rows = self.snapshot.raw_iterator_opt(options);
        match after {
            None => rows.seek_to_first(),
            Some(after) => {
                rows.seek(after);
                if rows.key() == Some(after) {
                    rows.next();
                }
            }
        }
        walk(rows, visit)
    }
}

#[cfg(test)]
mod tests;
