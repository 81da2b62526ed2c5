//! The write buffer: changes that are in the log, or about to be, and not in the index yet.
//!
//! ```text
//! begin ─► put … ─► place (the log gave the batch its offset) ─► for_each_below ─► remove_below
//!     └──────────────► undo_from (the batch failed, or was a duplicate)
//! ```
//!
//! Reads for merging look here first. Each batch keeps its keys and values in one piece of memory;
//! a table finds the newest entry of a key, and every entry knows the one before it, so that a
//! batch can be taken back. Facts: Fluss `KvPreWriteBuffer.java`.
//!
//! *Invariant*: entries are in the order of their offsets, and leave from the front (applied) or
//! from the back (undone).

use std::collections::VecDeque;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;
use protocol::fluss::value::ValueLayout;
use protocol::ids::Offset;
use thiserror::Error;

use super::merge::KeyChange;

/// What an entry costs beside its key and value.
const ENTRY_BYTES: usize = size_of::<Entry>() + size_of::<u64>();
/// The number of an entry that is not there.
const NONE: u64 = u64::MAX;

/// There is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{pending} bytes wait for the index, {wanted} more exceed the limit of {max}")]
pub struct BufferFull {
    /// Bytes that are waiting.
    pub pending: usize,
    /// Bytes that were to be added.
    pub wanted: usize,
    /// The limit.
    pub max: usize,
    /// True when other batches take the room, so that a retry will find it (Fluss error 72); false
    /// when the batch alone is too large.
    pub retriable: bool,
}

/// A batch in the buffer. Stays without meaning when the batch was undone or has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchId {
    number: u64,
    /// Numbers are used again after an undo, serials are not.
    serial: u64,
}

/// What the buffer knows of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pending<'a> {
    /// It has no row.
    Removed,
    /// It has this value, in the table's stored form.
    Stored(&'a [u8]),
}

/// What was given to the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Applied {
    /// Entries, those included that a later one of the same key replaced.
    pub entries: usize,
    /// By how many rows the table grew.
    pub row_delta: i64,
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    /// Entry of the same key before this one.
    previous: u64,
    batch: u64,
    /// Where key and value lie in the batch's bytes.
    start: usize,
    key_len: u32,
    /// None when the key is removed.
    value_len: Option<u32>,
    offset_delta: i32,
    row_delta: i8,
}

#[derive(Debug)]
struct Batch {
    serial: u64,
    bytes: Vec<u8>,
    /// Entries that are still here.
    entries: usize,
    base: Option<Offset>,
}

/// The changes of one bucket.
#[derive(Debug)]
pub struct WriteBuffer {
    layout: ValueLayout,
    bytes_max: usize,
    bytes: usize,
    hasher: RandomState,
    /// Numbers of the newest entries.
    newest: HashTable<u64>,
    entries: VecDeque<Entry>,
    first_entry: u64,
    batches: VecDeque<Batch>,
    first_batch: u64,
    next_serial: u64,
}

impl WriteBuffer {
    /// An empty buffer that takes `bytes_max` bytes of keys, values and their bookkeeping, for a
    /// table that stores values in this layout.
    pub fn new(layout: ValueLayout, bytes_max: usize) -> Self {
        WriteBuffer {
            layout,
            bytes_max,
            bytes: 0,
            hasher: RandomState::default(),
            newest: HashTable::new(),
            entries: VecDeque::new(),
            first_entry: 0,
            batches: VecDeque::new(),
            first_batch: 0,
            next_serial: 0,
        }
    }

    /// Bytes that wait for the index.
    pub fn bytes_len(&self) -> usize {
        self.bytes
    }

    /// Entries that wait for the index.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when nothing waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Begins a batch of about `bytes` bytes; puts go to the batch that was begun last.
    ///
    /// # Errors
    /// Other batches take the room. A batch alone is let in.
    pub fn begin(&mut self, bytes: usize) -> Result<BatchId, BufferFull> {
        if !self.is_empty() && self.bytes.saturating_add(bytes) > self.bytes_max {
            return Err(self.full(bytes, true));
        }
        let id = BatchId {
            number: self.first_batch + self.batches.len() as u64,
            serial: self.next_serial,
        };
        self.next_serial += 1;
        self.batches.push_back(Batch {
            serial: id.serial,
            bytes: Vec::with_capacity(bytes.min(self.bytes_max)),
            entries: 0,
            base: None,
        });
        Ok(id)
    }

    /// Adds a change. `offset_delta` counts from the batch's base offset, as `Changelog::push`
    /// gives it; `tag` is for the tagged layout.
    ///
    /// # Errors
    /// There is no room: the batch must be undone.
    ///
    /// # Panics
    /// When no batch was begun.
    pub fn put(
        &mut self,
        key: &[u8],
        change: KeyChange<'_>,
        tag: i64,
        row_delta: i8,
        offset_delta: i32,
    ) -> Result<(), BufferFull> {
        let value_len = match change {
            KeyChange::Put(value) => Some(self.layout.prefix_len() + value.plain_len()),
            KeyChange::Remove => None,
        };
        let wanted = key.len() + value_len.unwrap_or(0) + ENTRY_BYTES;
        let batch = self.batches.back_mut().expect("a batch was begun");
        let fits = self.bytes.saturating_add(wanted) <= self.bytes_max;
        let (Ok(key_len), Ok(value_len)) = (
            u32::try_from(key.len()),
            value_len.map(u32::try_from).transpose(),
        ) else {
            return Err(self.full(wanted, false));
        };
        if !fits {
            let retriable = batch.entries < self.entries.len();
            return Err(self.full(wanted, retriable));
        }
        let start = batch.bytes.len();
        batch.bytes.extend_from_slice(key);
        if let KeyChange::Put(value) = change {
            self.layout.write(tag, value, &mut batch.bytes);
        }
        batch.entries += 1;
        self.bytes += wanted;
        let hash = self.hasher.hash_one(key);
        let number = self.first_entry + self.entries.len() as u64;
        let (entries, batches) = (&self.entries, &self.batches);
        let at = Position {
            entries,
            batches,
            first_entry: self.first_entry,
            first_batch: self.first_batch,
        };
        let slot = self.newest.entry(
            hash,
            |other| at.key(*other) == Some(key),
            |other| at.entry(*other).map_or(0, |e| e.hash),
        );
        let previous = match slot {
            Slot::Occupied(mut slot) => std::mem::replace(slot.get_mut(), number),
            Slot::Vacant(slot) => {
                slot.insert(number);
                NONE
            }
        };
        self.entries.push_back(Entry {
            hash,
            previous,
            batch: self.first_batch + self.batches.len() as u64 - 1,
            start,
            key_len,
            value_len,
            offset_delta,
            row_delta,
        });
        Ok(())
    }

    /// What the newest entry of a key says; none when the index has to be asked.
    pub fn get(&self, key: &[u8]) -> Option<Pending<'_>> {
        let at = self.position();
        let hash = self.hasher.hash_one(key);
        let number = self.newest.find(hash, |n| at.key(*n) == Some(key))?;
        let (_, value) = at.key_and_value(at.entry(*number)?)?;
        Some(value.map_or(Pending::Removed, Pending::Stored))
    }

    /// The log gave a batch its base offset. Batches are placed in the order in which they began.
    pub fn place(&mut self, batch: BatchId, base: Offset) {
        if let Some(index) = self.index_of(batch) {
            self.batches[index].base = Some(base);
        }
        self.drop_empty_batches();
    }

    /// Takes back a batch that failed or was a duplicate, and every batch that began after it:
    /// these were merged with its values. Gives how many those are; they must be merged anew.
    pub fn undo_from(&mut self, batch: BatchId) -> usize {
        let Some(keep) = self.index_of(batch) else {
            return 0;
        };
        while self.entries.back().is_some_and(|e| e.batch >= batch.number) {
            self.undo_last();
        }
        let later = self.batches.len() - keep - 1;
        self.batches.truncate(keep);
        later
    }

    /// Where a batch is, when it is still here.
    fn index_of(&self, batch: BatchId) -> Option<usize> {
        let index = batch.number.checked_sub(self.first_batch)?;
        let index = usize::try_from(index).ok()?;
        let found = self.batches.get(index)?;
        (found.serial == batch.serial).then_some(index)
    }

    fn undo_last(&mut self) {
        let number = self.first_entry + self.entries.len() as u64 - 1;
        let Some(entry) = self.entries.back() else {
            return;
        };
        self.bytes -= entry.cost();
        if let Ok(mut slot) = self.newest.find_entry(entry.hash, |n| *n == number) {
            // What was applied meanwhile is in the index.
            if entry.previous != NONE && entry.previous >= self.first_entry {
                *slot.get_mut() = entry.previous;
            } else {
                slot.remove();
            }
        }
        self.entries.pop_back();
    }

    /// Calls `apply` with key and value (none: remove) of the entries whose offsets are below
    /// `end`, in order, leaving out those that the newest entry of their key replaces, if that is below
    /// `end`: otherwise a key comes several times, the last time with what counts. They stay until
    /// [`WriteBuffer::remove_below`], so that reads find them while the index is written.
    pub fn for_each_below<'b>(
        &'b self,
        end: Offset,
        mut apply: impl FnMut(&'b [u8], Option<&'b [u8]>),
    ) -> Applied {
        let at = self.position();
        let mut applied = Applied::default();
        for (number, entry) in (self.first_entry..).zip(&self.entries) {
            if at.offset(entry).is_none_or(|offset| offset >= end) {
                break;
            }
            applied.entries += 1;
            applied.row_delta += i64::from(entry.row_delta);
            let newest = self.newest.find(entry.hash, |n| {
                *n == number
                    || at
                        .entry(*n)
                        .and_then(|e| at.key_and_value(e))
                        .map(|(k, _)| k)
                        == at.key(number)
            });
            let replaced = newest.is_some_and(|n| {
                let offset = at.entry(*n).and_then(|e| at.offset(e));
                *n != number && offset.is_some_and(|offset| offset < end)
            });
            if let Some((key, value)) = at.key_and_value(entry).filter(|_| !replaced) {
                apply(key, value);
            }
        }
        applied
    }

    /// Forgets the entries whose offsets are below `end`: the index has them.
    pub fn remove_below(&mut self, end: Offset) {
        loop {
            let offset = self.entries.front().and_then(|e| self.position().offset(e));
            if offset.is_none_or(|offset| offset >= end) {
                break;
            }
            let number = self.first_entry;
            if let Some(entry) = self.entries.pop_front() {
                self.bytes -= entry.cost();
                if let Ok(slot) = self.newest.find_entry(entry.hash, |n| *n == number) {
                    slot.remove();
                }
                let batch = (entry.batch - self.first_batch) as usize;
                if let Some(batch) = self.batches.get_mut(batch) {
                    batch.entries -= 1;
                }
            }
            self.first_entry += 1;
            self.drop_empty_batches();
        }
    }

    /// Batches at the front that have their offset and no entries.
    fn drop_empty_batches(&mut self) {
        let done = |b: &Batch| b.entries == 0 && b.base.is_some();
        while self.batches.front().is_some_and(done) {
            self.batches.pop_front();
            self.first_batch += 1;
        }
    }

    fn full(&self, wanted: usize, retriable: bool) -> BufferFull {
        BufferFull {
            pending: self.bytes,
            wanted,
            max: self.bytes_max,
            retriable,
        }
    }

    fn position(&self) -> Position<'_> {
        Position {
            entries: &self.entries,
            batches: &self.batches,
            first_entry: self.first_entry,
            first_batch: self.first_batch,
        }
    }
}

impl Entry {
    fn cost(&self) -> usize {
        self.key_len as usize + self.value_len.unwrap_or(0) as usize + ENTRY_BYTES
    }
}

/// Finds entries by their numbers, and their bytes.
#[derive(Clone, Copy)]
struct Position<'a> {
    entries: &'a VecDeque<Entry>,
    batches: &'a VecDeque<Batch>,
    first_entry: u64,
    first_batch: u64,
}

impl<'a> Position<'a> {
    fn entry(self, number: u64) -> Option<&'a Entry> {
        let index = number.checked_sub(self.first_entry)?;
        self.entries.get(usize::try_from(index).ok()?)
    }

    fn batch(self, entry: &Entry) -> Option<&'a Batch> {
        let index = entry.batch.checked_sub(self.first_batch)?;
        self.batches.get(usize::try_from(index).ok()?)
    }

    fn key(self, number: u64) -> Option<&'a [u8]> {
        Some(self.key_and_value(self.entry(number)?)?.0)
    }

    fn key_and_value(self, entry: &Entry) -> Option<(&'a [u8], Option<&'a [u8]>)> {
        let bytes = self.batch(entry)?.bytes.get(entry.start..)?;
        let (key, rest) = bytes.split_at_checked(entry.key_len as usize)?;
        match entry.value_len {
            Some(len) => Some((key, Some(rest.get(..len as usize)?))),
            None => Some((key, None)),
        }
    }

    fn offset(self, entry: &Entry) -> Option<Offset> {
        Some(self.batch(entry)?.base? + i64::from(entry.offset_delta))
    }
}

#[cfg(test)]
mod tests;
