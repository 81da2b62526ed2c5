//! The rows of one bucket of a compacted topic: its keys whose newest record is here.

use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::sync::watch;

use super::entry::Entry;
use super::error::TopicIndexError;
use super::table::{TopicTable, live, log_start};
use crate::kv::index::{IndexError, IndexState, IndexView, Visit};
use crate::kv::open_index::OpenIndex;
use crate::kv::scan::Scanned;

/// Rows that are looked for in the other buckets together.
const ROWS_PROBED: usize = 256;
/// Bytes of rows after which the other buckets are asked.
const BYTES_PROBED: usize = 1 << 20;

/// The rows of one bucket. Holds its index open.
pub struct TopicRows {
    pub(super) index: Arc<OpenIndex>,
    pub(super) table: TopicTable,
    pub(super) bucket: usize,
}

impl Scanned for TopicRows {
    fn rows(&self) -> Result<Box<dyn IndexView + '_>, IndexError> {
        Ok(Box::new(TopicView {
            view: self.index.view().map_err(|error| self.checked(error))?,
            rows: self,
        }))
    }

    fn retirement(&self) -> Option<watch::Receiver<bool>> {
        Some(self.index.retirement())
    }
}

impl TopicRows {
    /// Has this bucket's index made again where it is damaged.
    fn checked(&self, error: impl Into<TopicIndexError>) -> IndexError {
        let error = error.into();
        as_index_error(match self.table.index_of(self.bucket) {
            Some(index) => index.checked(&self.index, error),
            None => error,
        })
    }
}

/// The rows at one moment. What the other buckets have is asked when a row is reached: a key that
/// moved to another bucket meanwhile is not shown any more.
struct TopicView<'r> {
    view: Box<dyn IndexView + 'r>,
    rows: &'r TopicRows,
}

impl IndexView for TopicView<'_> {
    fn state(&self) -> IndexState {
        self.view.state()
    }

    fn scan(&self, after: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<(), IndexError> {
        let TopicRows { table, bucket, .. } = self.rows;
        let mut after = after.map(<[u8]>::to_vec);
        loop {
            let some = self.candidates(after.as_deref())?;
            let shown = table.shown(*bucket, &some).map_err(as_index_error)?;
            for (place, (key, shown)) in some.keys().zip(shown).enumerate() {
                let entry = some.entry(place).map_err(as_index_error)?;
                if let (Some(value), true) = (entry.value, shown)
                    && visit(key, value).is_break()
                {
                    return Ok(());
                }
            }
            match some.last_key() {
                Some(key) if some.is_cut => after = Some(key.to_vec()),
                _ => return Ok(()),
            }
        }
    }
}

impl TopicView<'_> {
    /// The next entries that are values.
    fn candidates(&self, after: Option<&[u8]>) -> Result<Candidates, IndexError> {
        let index = self.rows.table.index_of(self.rows.bucket);
        let log_start = index.map_or(protocol::ids::Offset::ZERO, log_start);
        let mut some = Candidates::default();
        let mut damage = None;
        let index = &self.rows.index;
        let scanned = self.view.scan(after, &mut |key, entry| {
            // Many entries may have no row.
            if index.is_retired() {
                damage = Some(TopicIndexError::Closed);
                return ControlFlow::Break(());
            }
            match live(Some(entry), log_start) {
                Ok(Some(found)) if found.value.is_some() => {}
                Ok(_) => return ControlFlow::Continue(()),
                Err(error) => {
                    damage = Some(error);
                    return ControlFlow::Break(());
                }
            }
            some.push(key, entry);
            some.is_cut = some.bytes.len() >= BYTES_PROBED || some.len() == ROWS_PROBED;
            match some.is_cut {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        scanned.map_err(|error| self.rows.checked(error))?;
        match damage {
            Some(error) => Err(self.rows.checked(error)),
            None => Ok(some),
        }
    }
}

fn as_index_error(error: TopicIndexError) -> IndexError {
    match error {
        TopicIndexError::Index(error) => error,
        TopicIndexError::Entry => IndexError::Corrupt(error.to_string()),
        other => IndexError::Failed(other.to_string()),
    }
}

/// Keys and entries in one piece of memory.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    bytes: Vec<u8>,
    /// Where each key begins, its entry begins, and its entry ends.
    places: Vec<(usize, usize, usize)>,
    /// There may be more.
    pub(super) is_cut: bool,
}

impl Candidates {
    pub(super) fn push(&mut self, key: &[u8], entry: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        let middle = self.bytes.len();
        self.bytes.extend_from_slice(entry);
        self.places.push((start, middle, self.bytes.len()));
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        let places = self.places.iter();
        places.map(|(start, middle, _)| &self.bytes[*start..*middle])
    }

    pub(super) fn last_key(&self) -> Option<&[u8]> {
        self.keys().last()
    }

    pub(super) fn entry(&self, place: usize) -> Result<Entry<'_>, TopicIndexError> {
        let (_, middle, end) = self.places[place];
        Entry::read(&self.bytes[middle..end]).ok_or(TopicIndexError::Entry)
    }
}
