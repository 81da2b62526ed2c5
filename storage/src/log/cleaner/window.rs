//! Frames that are judged together: enough keys for one question, few enough bytes to hold.

use std::ops::Range;

use protocol::ids::Offset;

use super::format::{KeyedRecord, RecordFormat, UnreadableBatch};
use super::successors::{Successors, SuccessorsError};
use crate::log::frame::FrameHeader;

/// Bytes of batches and keys after which a window is full; one larger batch is a window alone.
const BYTES_MAX: usize = 1 << 20;
/// Keys that are asked for at once.
const KEYS_MAX: usize = 4096;
/// Working memory above this is given back after the window that needed it.
const KEPT_BYTES_MAX: usize = 4 << 20;

/// A frame in memory.
pub(super) struct Held {
    pub header: FrameHeader,
    /// Where it begins in its segment's file.
    pub position: u64,
    batch: Range<usize>,
    extra: Range<usize>,
    pub records: Range<usize>,
}

/// Frames with their records and what is known of their keys.
#[derive(Default)]
pub(super) struct Window {
    arena: Vec<u8>,
    frames: Vec<Held>,
    records: Vec<KeyedRecord>,
    /// Newest offset of the key of each record.
    newest: Vec<Option<Offset>>,
}

impl Window {
    /// Takes a frame.
    pub(super) fn take(
        &mut self,
        header: FrameHeader,
        position: u64,
        batch: &[u8],
        format: &mut dyn RecordFormat,
    ) -> Result<(), UnreadableBatch> {
        let start = self.arena.len();
        self.arena.extend_from_slice(batch);
        let extra = self.arena.len();
        let first = self.records.len();
        if !header.control {
            format.read(&header, batch, &mut self.arena, &mut self.records)?;
        }
        self.frames.push(Held {
            header,
            position,
            batch: start..extra,
            extra: extra..self.arena.len(),
            records: first..self.records.len(),
        });
        Ok(())
    }

    pub(super) fn is_full(&self) -> bool {
        self.arena.len() >= BYTES_MAX || self.records.len() >= KEYS_MAX
    }

    /// Asks for the newest offsets of all keys.
    pub(super) fn ask(&mut self, successors: &dyn Successors) -> Result<(), SuccessorsError> {
        let mut keys = Vec::with_capacity(self.records.len().min(KEYS_MAX));
        let mut answers = Vec::new();
        self.newest.clear();
        for part in self.records.chunks(KEYS_MAX) {
            keys.clear();
            let present = part.iter().filter_map(|record| record.key.clone());
            keys.extend(present.map(|key| &self.arena[key]));
            successors.newest(&keys, &mut answers)?;
            let mut answers = answers.iter().copied();
            let of_record = |record: &KeyedRecord| match record.key {
                Some(_) => answers.next().flatten(),
                None => None,
            };
            self.newest.extend(part.iter().map(of_record));
        }
        Ok(())
    }

    pub(super) fn frames(&self) -> &[Held] {
        &self.frames
    }

    pub(super) fn batch(&self, frame: &Held) -> &[u8] {
        &self.arena[frame.batch.clone()]
    }

    pub(super) fn extra(&self, frame: &Held) -> &[u8] {
        &self.arena[frame.extra.clone()]
    }

    /// The records of a frame.
    pub(super) fn records(&self, frame: &Held) -> &[KeyedRecord] {
        &self.records[frame.records.clone()]
    }

    /// The newest offset of the key of each of them, as [`Window::ask`] found it.
    pub(super) fn newest(&self, frame: &Held) -> &[Option<Offset>] {
        &self.newest[frame.records.clone()]
    }

    pub(super) fn key(&self, record: &KeyedRecord) -> Option<&[u8]> {
        record.key.clone().map(|key| &self.arena[key])
    }

    pub(super) fn clear(&mut self) {
        self.frames.clear();
        self.records.clear();
        self.arena.clear();
        if self.arena.capacity() > KEPT_BYTES_MAX {
            self.arena = Vec::new();
        }
    }
}
