//! Reading rows. Everything here sees what the index has: acknowledged rows, and no others.

use std::ops::ControlFlow;
use std::sync::{Arc, Weak};

use bytes::Bytes;

use super::{KvError, KvTablet, OpenIndex};
use crate::kv::index::{FoundRows, Index, IndexError, IndexState};
use crate::kv::scan;

impl KvTablet {
    /// Looks encoded keys up, in their order. Values are in the plain form: schema id and row.
    ///
    /// # Errors
    /// The index does not answer, or the values take more than `bytes_max` as they are stored; not
    /// much more is read then.
    pub async fn lookup(
        &self,
        keys: Vec<Bytes>,
        bytes_max: usize,
    ) -> Result<Vec<Option<Bytes>>, KvError> {
        let skip = self.table().layout.prefix_len();
        let index = self.index().await?;
        let mut found = FoundRows::of_at_most(bytes_max);
        let slices: Vec<&[u8]> = keys.iter().map(AsRef::as_ref).collect();
        let cached = index.look_up_cached(&slices, &mut found);
        let cached = self.checked(&Arc::downgrade(&index), cached)?;
        let name = match cached {
            true => "vltava_kv_lookups_from_memory_total",
            false => "vltava_kv_lookups_from_disk_total",
        };
        metrics::counter!(name).increment(1);
        if !cached {
            let read = move |index: &dyn Index| {
                let slices: Vec<&[u8]> = keys.iter().map(AsRef::as_ref).collect();
                index.look_up(&slices, &mut found).map(|()| found)
            };
            found = self.wait(index, read).await?;
        }
        match found.is_over() {
            true => Err(KvError::AnswerTooLarge { max: bytes_max }),
            false => Ok(found.into_values(skip)),
        }
    }

    /// The values of the rows whose keys begin with each prefix, in the order of their keys.
    ///
    /// # Errors
    /// The index does not answer, or all values together take more than `bytes_max`.
    pub async fn prefix_lookup(
        &self,
        prefixes: Vec<Bytes>,
        bytes_max: usize,
    ) -> Result<Vec<Vec<Bytes>>, KvError> {
        let skip = self.table().layout.prefix_len();
        let index = self.index().await?;
        let cached = rows_of_prefixes(&**index, &prefixes, bytes_max, false);
        let rows = match self.checked(&Arc::downgrade(&index), cached)? {
            Some(rows) => rows,
            None => {
                let read =
                    move |index: &dyn Index| rows_of_prefixes(index, &prefixes, bytes_max, true);
                let rows = self.wait(index, read).await?;
                rows.expect("an index that may wait answers")
            }
        };
        let PrefixRows {
            found,
            counts,
            bytes,
        } = rows;
        if bytes > bytes_max {
            return Err(KvError::AnswerTooLarge { max: bytes_max });
        }
        let mut values = found.into_values(skip).into_iter().flatten();
        let rows_of = |count| values.by_ref().take(count).collect();
        Ok(counts.into_iter().map(rows_of).collect())
    }

    /// The values of the first `rows_max` rows by their keys, in one batch: see [`scan::first_rows`],
    /// which has the room that `grow` makes, or the reason why it makes none.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn first_rows<E: Send + 'static>(
        &self,
        rows_max: usize,
        bytes_max: usize,
        grow: impl FnMut(usize) -> Result<usize, E> + Send + 'static,
    ) -> Result<Result<Bytes, E>, KvError> {
        let layout = self.table().layout;
        let index = self.index().await?;
        let read =
            move |index: &dyn Index| scan::first_rows(index, layout, rows_max, bytes_max, grow);
        self.wait(index, read).await
    }

    /// How many rows there are; none for tables that do not count them (changelog image WAL).
    ///
    /// # Errors
    /// The index cannot be opened.
    pub async fn row_count(&self) -> Result<Option<i64>, KvError> {
        Ok(self.state().await?.row_count)
    }

    /// How far the index is.
    ///
    /// # Errors
    /// The index cannot be opened.
    pub async fn state(&self) -> Result<IndexState, KvError> {
        Ok(self.index().await?.state())
    }

    /// The index, for scans and snapshots; opened when it is not.
    ///
    /// # Errors
    /// It cannot be opened.
    pub async fn index(&self) -> Result<Arc<OpenIndex>, KvError> {
        if let Some(index) = self.index_if_open() {
            return Ok(index);
        }
        self.inner.index_when_open().await
    }

    /// The index if it is open.
    pub fn index_if_open(&self) -> Option<Arc<OpenIndex>> {
        self.inner.index.read().clone()
    }

    /// Runs `read` where it may wait for the disk.
    async fn wait<T: Send + 'static>(
        &self,
        index: Arc<OpenIndex>,
        read: impl FnOnce(&dyn Index) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, KvError> {
        let asked = Arc::downgrade(&index);
        match tokio::task::spawn_blocking(move || read(&**index)).await {
            Ok(result) => self.checked(&asked, result),
            Err(_) => Err(KvError::Closed),
        }
    }

    /// Has the index that was asked rebuilt where it is damaged.
    fn checked<T>(
        &self,
        index: &Weak<OpenIndex>,
        result: Result<T, IndexError>,
    ) -> Result<T, KvError> {
        result.map_err(|error| {
            self.inner.found_damaged(index, &error);
            KvError::Index(error)
        })
    }
}

/// The rows of some prefixes one behind the other.
struct PrefixRows {
    found: FoundRows,
    /// Rows of each prefix.
    counts: Vec<usize>,
    /// What the values take; above the limit, some rows are missing.
    bytes: usize,
}

/// None where the index would have to wait and may not.
fn rows_of_prefixes(
    index: &dyn Index,
    prefixes: &[Bytes],
    bytes_max: usize,
    may_wait: bool,
) -> Result<Option<PrefixRows>, IndexError> {
    let mut rows = PrefixRows {
        found: FoundRows::new(),
        counts: vec![0; prefixes.len()],
        bytes: 0,
    };
    let slices: Vec<&[u8]> = prefixes.iter().map(AsRef::as_ref).collect();
    let answered = index.scan_prefixes(&slices, may_wait, &mut |at, _, value| {
        rows.bytes = rows.bytes.saturating_add(value.len());
        if rows.bytes > bytes_max {
            return ControlFlow::Break(());
        }
        rows.found.push(Some(value));
        rows.counts[at] += 1;
        ControlFlow::Continue(())
    })?;
    Ok(answered.then_some(rows))
}
