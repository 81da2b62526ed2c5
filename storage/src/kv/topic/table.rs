//! All buckets of a compacted topic together.
//!
//! A key has its newest record in the bucket where its last producer put it, and may have older
//! ones in others:
//!
//! ```text
//!             bucket 0      bucket 1            probe: the newest of all buckets
//!   key a     v1, 10:00     v2, 10:05           a = v2, shown in bucket 1
//!   key b     v1, 10:00     deleted, 10:07      b is not there
//! ```
//!
//! Where the function that all producers use is known, a key is what the bucket of the function
//! has, and nothing else.

use bytes::Bytes;
use futures::future::try_join_all;
use protocol::ids::Offset;
use protocol::kafka::partitioner::KeyPartitioner;

use super::entry::{Entry, HEAD_LEN};
use super::error::TopicIndexError;
use super::index::TopicIndex;
use super::rows::{Candidates, TopicRows};
use super::successors::TopicSuccessors;
use crate::kv::index::FoundRows;
use crate::log::cleaner::OffsetMap;

/// Which bucket has the value of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Any: the newest record of all of them counts.
    Probe,
    /// The one that this function names.
    Known(KeyPartitioner),
}

/// The indexes of all buckets of a topic, in the order of their buckets.
#[derive(Clone)]
pub struct TopicTable {
    buckets: Vec<TopicIndex>,
    owner: Owner,
}

impl TopicTable {
    /// The table of these buckets.
    pub fn new(buckets: Vec<TopicIndex>, owner: Owner) -> TopicTable {
        TopicTable { buckets, owner }
    }

    /// Looks keys up, as producers wrote them: schema id and row of each, in the order of `keys`.
    /// Everything that readers saw when this was called is considered.
    ///
    /// # Errors
    /// An index does not answer; a later try may. Or what the buckets have for the keys takes more
    /// than `bytes_max`; not much more is read then.
    pub async fn lookup(
        &self,
        keys: Vec<Bytes>,
        bytes_max: usize,
    ) -> Result<Vec<Option<Bytes>>, TopicIndexError> {
        self.follow(&keys).await?;
        let table = self.clone();
        blocking(move || table.lookup_now(&keys, bytes_max)).await
    }

    /// The rows of a bucket, to be scanned. Everything that readers saw when this was called is
    /// considered.
    ///
    /// # Errors
    /// An index does not answer; a later try may.
    pub async fn rows(&self, bucket: usize) -> Result<TopicRows, TopicIndexError> {
        self.follow_all().await?;
        let own = self.buckets.get(bucket).ok_or(TopicIndexError::Closed)?;
        Ok(TopicRows {
            index: own.opened()?,
            table: self.clone(),
            bucket,
        })
    }

    /// What the cleaner asks about a bucket, of which `map` knows the newest offsets.
    pub fn successors(&self, bucket: usize, map: OffsetMap) -> Option<TopicSuccessors> {
        let own = self.buckets.get(bucket)?.clone();
        let others = match self.owner {
            Owner::Known(_) => Vec::new(),
            Owner::Probe => {
                let others = self.buckets.iter().enumerate();
                let others = others.filter(|(other, _)| *other != bucket);
                others.map(|(_, index)| index.clone()).collect()
            }
        };
        Some(TopicSuccessors::new(map, own, others))
    }

    /// The one bucket that has a key; none when any may.
    fn bucket_of(&self, key: &[u8]) -> Option<usize> {
        match self.owner {
            Owner::Probe => None,
            Owner::Known(function) => {
                let count = i32::try_from(self.buckets.len()).ok()?;
                let bucket = function.partition(key, count.max(1))?;
                usize::try_from(bucket).ok()
            }
        }
    }

    async fn follow_all(&self) -> Result<(), TopicIndexError> {
        try_join_all(self.buckets.iter().map(TopicIndex::follow)).await?;
        Ok(())
    }

    async fn follow(&self, keys: &[Bytes]) -> Result<(), TopicIndexError> {
        if self.owner == Owner::Probe {
            return self.follow_all().await;
        }
        let mut wanted = vec![false; self.buckets.len()];
        for key in keys {
            match self.bucket_of(key) {
                Some(bucket) => wanted[bucket] = true,
                None => return self.follow_all().await,
            }
        }
        for (index, _) in self.buckets.iter().zip(&wanted).filter(|(_, w)| **w) {
            index.follow().await?;
        }
        Ok(())
    }

    fn lookup_now(
        &self,
        keys: &[Bytes],
        bytes_max: usize,
    ) -> Result<Vec<Option<Bytes>>, TopicIndexError> {
        let mut newest: Vec<Option<(i64, i64)>> = vec![None; keys.len()];
        let mut values: Vec<Option<Bytes>> = vec![None; keys.len()];
        let heads = keys.len().saturating_mul(HEAD_LEN);
        let mut found = FoundRows::of_at_most(bytes_max.saturating_add(heads));
        let mut bytes = 0usize;
        for (bucket, index) in self.buckets.iter().enumerate() {
            let (places, asked): (Vec<usize>, Vec<&[u8]>) = keys
                .iter()
                .enumerate()
                .filter(|(_, key)| self.bucket_of(key).is_none_or(|owner| owner == bucket))
                .map(|(place, key)| (place, &**key))
                .unzip();
            if asked.is_empty() {
                continue;
            }
            let log_start = log_start(index);
            let answered = index.look_up(&asked, &mut found)?;
            if found.is_over() {
                return Err(TopicIndexError::AnswerTooLarge { max: bytes_max });
            }
            for (place, entry) in places.into_iter().zip(found.iter()) {
                let entry =
                    live(entry, log_start).map_err(|error| index.checked(&answered, error))?;
                let Some(entry) = entry else {
                    continue;
                };
                // Of equal ones the lower bucket, which came first, stays.
                if newest[place].is_none_or(|best| entry.rank() > best) {
                    newest[place] = Some(entry.rank());
                    bytes -= values[place].as_ref().map_or(0, Bytes::len);
                    bytes += entry.value.map_or(0, <[u8]>::len);
                    if bytes > bytes_max {
                        return Err(TopicIndexError::AnswerTooLarge { max: bytes_max });
                    }
                    values[place] = entry.value.map(Bytes::copy_from_slice);
                }
            }
        }
        Ok(values)
    }

    /// The index of a bucket.
    pub(super) fn index_of(&self, bucket: usize) -> Option<&TopicIndex> {
        self.buckets.get(bucket)
    }

    /// Which of a bucket's entries are the values of their keys.
    pub(super) fn shown(
        &self,
        bucket: usize,
        some: &Candidates,
    ) -> Result<Vec<bool>, TopicIndexError> {
        let keys: Vec<&[u8]> = some.keys().collect();
        let mut shown: Vec<bool> = keys
            .iter()
            .map(|key| self.bucket_of(key).is_none_or(|owner| owner == bucket))
            .collect();
        let mut found = FoundRows::new();
        for (other, index) in self.buckets.iter().enumerate() {
            if other == bucket || keys.is_empty() {
                continue;
            }
            // Keys with a known bucket are decided.
            let (places, asked): (Vec<usize>, Vec<&[u8]>) = keys
                .iter()
                .enumerate()
                .filter(|(place, key)| shown[*place] && self.bucket_of(key).is_none())
                .map(|(place, key)| (place, *key))
                .unzip();
            if asked.is_empty() {
                continue;
            }
            let log_start = log_start(index);
            let answered = index.look_up(&asked, &mut found)?;
            for (place, theirs) in places.into_iter().zip(found.iter()) {
                let theirs =
                    live(theirs, log_start).map_err(|error| index.checked(&answered, error))?;
                let Some(theirs) = theirs else {
                    continue;
                };
                let ours = some.entry(place)?;
                if (theirs.rank(), bucket) > (ours.rank(), other) {
                    shown[place] = false;
                }
            }
        }
        Ok(shown)
    }
}

/// An entry whose record is still in the log, or was cleaned as a tombstone.
pub(super) fn live(
    entry: Option<&[u8]>,
    log_start: Offset,
) -> Result<Option<Entry<'_>>, TopicIndexError> {
    let Some(bytes) = entry else {
        return Ok(None);
    };
    let entry = Entry::read(bytes).ok_or(TopicIndexError::Entry)?;
    Ok((entry.offset >= log_start).then_some(entry))
}

pub(super) fn log_start(index: &TopicIndex) -> Offset {
    index.log().log().watermarks().log_start
}

/// Runs what waits for the disk where it may.
async fn blocking<T: Send + 'static>(
    job: impl FnOnce() -> Result<T, TopicIndexError> + Send + 'static,
) -> Result<T, TopicIndexError> {
    match tokio::task::spawn_blocking(job).await {
        Ok(result) => result,
        // The runtime is going down.
        Err(_) => Err(TopicIndexError::Closed),
    }
}
