//! What the cleaner asks about the keys of a bucket.

use protocol::ids::Offset;

use super::entry::Entry;
use super::error::TopicIndexError;
use super::index::TopicIndex;
use crate::kv::index::FoundRows;
use crate::log::cleaner::{Successors, SuccessorsError};

/// The newest offsets of a bucket's keys. Waits for the disk.
pub struct TopicSuccessors {
    own: TopicIndex,
    /// Buckets in which older records of the same keys may be.
    others: Vec<TopicIndex>,
}

impl TopicSuccessors {
    pub(super) fn new(own: TopicIndex, others: Vec<TopicIndex>) -> TopicSuccessors {
        TopicSuccessors { own, others }
    }

    /// The newest offsets of the keys in their order.
    fn offsets(
        &self,
        keys: &[&[u8]],
        found: &mut Vec<Option<Offset>>,
    ) -> Result<(), TopicIndexError> {
        found.clear();
        let mut entries = FoundRows::new();
        self.own.get_many(keys, &mut entries)?;
        for entry in entries.iter() {
            let entry = entry.map(|bytes| Entry::read(bytes).ok_or(TopicIndexError::Entry));
            found.push(entry.transpose()?.map(|entry| entry.offset));
        }
        Ok(())
    }

    /// A tombstone that hides a value in another bucket stays, without a record, while this index
    /// lives: else the value would come back.
    fn drop_tombstones(&self, gone: &[(&[u8], Offset)]) -> Result<(), TopicIndexError> {
        let keys: Vec<&[u8]> = gone.iter().map(|(key, _)| *key).collect();
        let mut hides = vec![false; keys.len()];
        let mut entries = FoundRows::new();
        for other in &self.others {
            other.follow_now()?;
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
        let applied = self.own.follow_now()?;
        // What a crash would take from the index has to be in the log still.
        self.own.flush()?;
        Ok(applied)
    }

    fn newest(
        &self,
        keys: &[&[u8]],
        found: &mut Vec<Option<Offset>>,
    ) -> Result<(), SuccessorsError> {
        Ok(self.offsets(keys, found)?)
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
