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

use std::ops::ControlFlow;

use bytes::Bytes;
use futures::future::try_join_all;
use protocol::ids::Offset;
use protocol::kafka::partitioner::KeyPartitioner;

use super::entry::Entry;
use super::error::TopicIndexError;
use super::index::TopicIndex;
use crate::kv::index::FoundRows;

/// Rows that are looked for in the other buckets together.
const ROWS_PROBED: usize = 256;
/// Bytes of rows after which the other buckets are asked.
const BYTES_PROBED: usize = 1 << 20;

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

/// Some rows of a bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowsPage {
    /// Schema ids and rows, in the order of their keys.
    pub values: Vec<Bytes>,
    /// The key behind which the next page begins; none when there are no more rows.
    pub after: Option<Vec<u8>>,
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
    /// An index does not answer; a later try may.
    pub async fn lookup(&self, keys: Vec<Bytes>) -> Result<Vec<Option<Bytes>>, TopicIndexError> {
        self.follow(&keys).await?;
        let table = self.clone();
        blocking(move || table.lookup_now(&keys)).await
    }

    /// Rows of a bucket that are the values of their keys, behind key `after`: at most `rows_max`,
    /// and no more once they have `bytes_max` bytes. The first page considers everything that
    /// readers saw when it was asked for.
    ///
    /// # Errors
    /// An index does not answer; a later try may.
    pub async fn rows(
        &self,
        bucket: usize,
        after: Option<Vec<u8>>,
        rows_max: usize,
        bytes_max: usize,
    ) -> Result<RowsPage, TopicIndexError> {
        if after.is_none() {
            self.follow_all().await?;
        }
        let table = self.clone();
        blocking(move || table.rows_now(bucket, after, rows_max, bytes_max)).await
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

    fn lookup_now(&self, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, TopicIndexError> {
        let mut newest: Vec<Option<(i64, i64)>> = vec![None; keys.len()];
        let mut values: Vec<Option<Bytes>> = vec![None; keys.len()];
        let mut found = FoundRows::new();
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
            index.get_many(&asked, &mut found)?;
            for (place, entry) in places.into_iter().zip(found.iter()) {
                let Some(entry) = live(entry, log_start)? else {
                    continue;
                };
                // Of equal ones the lower bucket, which came first, stays.
                if newest[place].is_none_or(|best| entry.rank() > best) {
                    newest[place] = Some(entry.rank());
                    values[place] = entry.value.map(Bytes::copy_from_slice);
                }
            }
        }
        Ok(values)
    }

    fn rows_now(
        &self,
        bucket: usize,
        after: Option<Vec<u8>>,
        rows_max: usize,
        bytes_max: usize,
    ) -> Result<RowsPage, TopicIndexError> {
        let mut page = RowsPage {
            values: Vec::new(),
            after,
        };
        let mut bytes = 0;
        while page.values.len() < rows_max && bytes < bytes_max {
            let wanted = (rows_max - page.values.len()).min(ROWS_PROBED);
            let some = self.candidates(bucket, page.after.as_deref(), wanted)?;
            let shown = self.shown(bucket, &some)?;
            let is_last = some.len() < wanted && !some.is_cut;
            page.after = some.last_key().map(<[u8]>::to_vec).or(page.after);
            for (entry, shown) in some.entries()?.zip(shown) {
                if let (Some(value), true) = (entry.value, shown) {
                    bytes += value.len();
                    page.values.push(Bytes::copy_from_slice(value));
                }
            }
            if is_last {
                page.after = None;
                break;
            }
        }
        Ok(page)
    }

    /// The next entries of a bucket that are values.
    fn candidates(
        &self,
        bucket: usize,
        after: Option<&[u8]>,
        count: usize,
    ) -> Result<Candidates, TopicIndexError> {
        let index = self.buckets.get(bucket).ok_or(TopicIndexError::Closed)?;
        let log_start = log_start(index);
        let mut some = Candidates::default();
        let mut damaged = false;
        index.with_view(|view| {
            view.scan(after, &mut |key, entry| {
                match live(Some(entry), log_start) {
                    Ok(Some(entry)) if entry.value.is_some() => {}
                    Ok(_) => return ControlFlow::Continue(()),
                    Err(_) => {
                        damaged = true;
                        return ControlFlow::Break(());
                    }
                }
                some.push(key, entry);
                some.is_cut = some.bytes.len() >= BYTES_PROBED;
                if some.len() == count || some.is_cut {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })
        })?;
        if damaged {
            return Err(TopicIndexError::Entry);
        }
        Ok(some)
    }

    /// Which of a bucket's entries are the values of their keys.
    fn shown(&self, bucket: usize, some: &Candidates) -> Result<Vec<bool>, TopicIndexError> {
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
            index.get_many(&asked, &mut found)?;
            for (place, theirs) in places.into_iter().zip(found.iter()) {
                let Some(theirs) = live(theirs, log_start)? else {
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
fn live(entry: Option<&[u8]>, log_start: Offset) -> Result<Option<Entry<'_>>, TopicIndexError> {
    let Some(bytes) = entry else {
        return Ok(None);
    };
    let entry = Entry::read(bytes).ok_or(TopicIndexError::Entry)?;
    Ok((entry.offset >= log_start).then_some(entry))
}

fn log_start(index: &TopicIndex) -> Offset {
    index.log().log().watermarks().log_start
}

/// Keys and entries in one piece of memory.
#[derive(Debug, Default)]
struct Candidates {
    bytes: Vec<u8>,
    /// Where each key begins, its entry begins, and its entry ends.
    places: Vec<(usize, usize, usize)>,
    /// There may be more, though they are fewer than asked for.
    is_cut: bool,
}

impl Candidates {
    fn push(&mut self, key: &[u8], entry: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        let middle = self.bytes.len();
        self.bytes.extend_from_slice(entry);
        self.places.push((start, middle, self.bytes.len()));
    }

    fn len(&self) -> usize {
        self.places.len()
    }

    fn keys(&self) -> impl Iterator<Item = &[u8]> {
        let places = self.places.iter();
        places.map(|(start, middle, _)| &self.bytes[*start..*middle])
    }

    fn last_key(&self) -> Option<&[u8]> {
        self.keys().last()
    }

    fn entry(&self, place: usize) -> Result<Entry<'_>, TopicIndexError> {
        let (_, middle, end) = self.places[place];
        Entry::read(&self.bytes[middle..end]).ok_or(TopicIndexError::Entry)
    }

    fn entries(&self) -> Result<impl Iterator<Item = Entry<'_>>, TopicIndexError> {
        let all: Result<Vec<_>, _> = (0..self.len()).map(|place| self.entry(place)).collect();
        Ok(all?.into_iter())
    }
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
