//! What the cleaner asks about the keys of a bucket.

use parking_lot::Mutex;
use protocol::ids::Offset;

use super::entry::Entry;
use super::error::TopicIndexError;
use super::index::TopicIndex;
use crate::kv::index::FoundRows;
use crate::log::cleaner::{OffsetMap, Successors, SuccessorsError};

/// The newest offsets of a bucket's keys, from a map; which tombstones may go, says the index. It
/// is not touched before a tombstone's time is over. Waits for the disk.
pub struct TopicSuccessors {
    map: OffsetMap,
    own: TopicIndex,
    /// Buckets in which older records of the same keys may be.
    others: Vec<TopicIndex>,
    /// The index on disk has everything below it.
    flushed_end: Mutex<Option<Offset>>,
}

impl TopicSuccessors {
    pub(super) fn new(map: OffsetMap, own: TopicIndex, others: Vec<TopicIndex>) -> TopicSuccessors {
        TopicSuccessors {
            map,
            own,
            others,
            flushed_end: Mutex::default(),
        }
    }

    /// Follows the log once a round: tombstones that are younger stay for the next one.
    fn flushed_end(&self) -> Result<Offset, TopicIndexError> {
        let mut flushed_end = self.flushed_end.lock();
        if let Some(end) = *flushed_end {
            return Ok(end);
        }
        let end = self.own.follow_to_disk()?;
        *flushed_end = Some(end);
        Ok(end)
    }

    /// A tombstone that hides a value in another bucket stays, without a record, while this index
    /// lives: else the value would come back.
    fn drop_tombstones(&self, gone: &[(&[u8], Offset)]) -> Result<(), TopicIndexError> {
        let keys: Vec<&[u8]> = gone.iter().map(|(key, _)| *key).collect();
        let mut hides = vec![false; keys.len()];
        let mut entries = FoundRows::new();
        for other in &self.others {
            match other.follow_now() {
                Ok(()) => {}
                // It is not open, and another round goes over its log. The entries stay, which is
                // what a lost message to the index would do as well.
                Err(TopicIndexError::BeingCleaned) => return Ok(()),
                Err(error) => return Err(error),
            }
            other.get_many(&keys, &mut entries)?;
            for (hides, entry) in hides.iter_mut().zip(entries.iter()) {
                *hides |= entry
                    .and_then(Entry::read)
                    .is_some_and(|e| e.value.is_some());
            }
        }
        self.own.remove_if(&keys, |i, entry| {
            Entry::read(entry).is_some_and(|entry| {
                entry.value.is_none() && entry.offset == gone[i].1 && !hides[i]
            })
        })
    }
}

impl Successors for TopicSuccessors {
    fn known_end(&self) -> Result<Offset, SuccessorsError> {
        self.map.known_end()
    }

    fn newest(
        &self,
        keys: &[&[u8]],
        found: &mut Vec<Option<Offset>>,
    ) -> Result<(), SuccessorsError> {
        self.map.newest(keys, found)
    }

    /// An index that lacks a tombstone finds it in the log, or else would go on showing a value.
    fn has_noted(&self, tombstone: Offset) -> Result<bool, SuccessorsError> {
        Ok(tombstone < self.flushed_end()?)
    }

    fn forget(&self, gone: &[(&[u8], Offset)]) -> Result<(), SuccessorsError> {
        Ok(self.drop_tombstones(gone)?)
    }
}

impl From<TopicIndexError> for SuccessorsError {
    fn from(error: TopicIndexError) -> Self {
        SuccessorsError(Box::new(error))
    }
}
