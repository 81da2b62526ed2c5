//! Remembers the spans of complete cells, so that finding one does not walk its frames again.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use protocol::ids::TabletId;

use super::spans::{Cells, Span};
use crate::log::Segment;

type Key = (TabletId, u64, u64);

/// Spans of complete cells, a bounded number; in two halves, so that what is used stays.
pub(super) struct CellMemory {
    halves: Mutex<[HashMap<Key, Arc<[Span]>>; 2]>,
    spans_max: usize,
}

impl CellMemory {
    /// Remembers about so many spans.
    pub(super) fn new(spans_max: usize) -> CellMemory {
        CellMemory {
            halves: Mutex::default(),
            spans_max,
        }
    }

    /// Forgets a tablet.
    pub(super) fn forget(&self, tablet: TabletId) {
        for half in self.halves.lock().iter_mut() {
            half.retain(|key, _| key.0 != tablet);
        }
    }
}

fn key(segment: &Segment, cell: u64) -> Key {
    let header = segment.header();
    (header.tablet, header.generation, cell)
}

impl Cells for CellMemory {
    fn get(&self, segment: &Segment, cell: u64) -> Option<Arc<[Span]>> {
        let key = key(segment, cell);
        let mut halves = self.halves.lock();
        if let Some(spans) = halves[0].get(&key) {
            return Some(Arc::clone(spans));
        }
        let spans = halves[1].remove(&key)?;
        halves[0].insert(key, Arc::clone(&spans));
        Some(spans)
    }

    fn put(&self, segment: &Segment, cell: u64, spans: Arc<[Span]>) {
        let mut halves = self.halves.lock();
        let [young, old] = &mut *halves;
        let held: usize = young.values().map(|spans| spans.len()).sum();
        if held + spans.len() > self.spans_max / 2 {
            *old = std::mem::take(young);
        }
        young.insert(key(segment, cell), spans);
    }
}
