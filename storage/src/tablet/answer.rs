//! What a read has gathered so far, and what it may still take.

use bytes::Bytes;
use protocol::ids::Offset;

use super::other_wire::Converted;
use crate::log::ReadRange;

/// Batches in order, with the budget that is left.
pub(super) struct Answer {
    pub(super) chunks: Vec<Bytes>,
    pub(super) bytes: usize,
    pub(super) next_offset: Offset,
    /// Where the reader goes on, when the last batches were left out.
    pub(super) filtered_end: Option<Offset>,
    bytes_left: usize,
    at_least_one: bool,
    end: Offset,
}

impl Answer {
    pub(super) fn new(offset: Offset, end: Offset, bytes_max: usize, at_least_one: bool) -> Answer {
        Answer {
            chunks: Vec::new(),
            bytes: 0,
            next_offset: offset,
            filtered_end: None,
            bytes_left: bytes_max,
            at_least_one,
            end,
        }
    }

    /// What may still come: bytes, and whether one batch may be larger.
    pub(super) fn budget(&self) -> (usize, bool) {
        (self.bytes_left, self.at_least_one)
    }

    /// What to read next; `None` when nothing more can come.
    pub(super) fn wanted(&self) -> Option<ReadRange> {
        let may_take = self.bytes_left > 0 || self.at_least_one;
        (self.next_offset < self.end && may_take).then_some(ReadRange {
            offset: self.next_offset,
            end: self.end,
            bytes_max: self.bytes_left,
            at_least_one: self.at_least_one,
        })
    }

    /// Adds batches up to `next_offset`.
    pub(super) fn add(&mut self, chunks: Vec<Bytes>, bytes: usize, next_offset: Offset) {
        debug_assert_eq!(bytes, chunks.iter().map(Bytes::len).sum::<usize>());
        self.chunks.extend(chunks);
        self.bytes += bytes;
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        self.at_least_one &= bytes == 0;
        self.next_offset = self.next_offset.max(next_offset);
        if bytes > 0 {
            self.filtered_end = None;
        }
    }

    /// Goes on at `offset`: the batches below it were left out.
    pub(super) fn pass_to(&mut self, offset: Offset) {
        self.next_offset = offset;
        self.filtered_end = Some(offset);
    }

    /// What may still come, where not every byte counts or the first batch raised the limit.
    pub(super) fn set_budget(&mut self, bytes_left: usize, at_least_one: bool) {
        self.bytes_left = bytes_left;
        self.at_least_one = at_least_one;
    }

    /// Adds what the transcoder made; false when it made nothing.
    pub(super) fn add_converted(&mut self, converted: Converted) -> bool {
        let moved = converted.next_offset > self.next_offset;
        self.add(converted.chunks, converted.bytes, converted.next_offset);
        moved
    }

    /// True while there is nothing to answer with.
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.filtered_end.is_none()
    }
}
