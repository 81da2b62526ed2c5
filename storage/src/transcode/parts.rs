//! What transcoding gives: batches of the other wire, each with the offsets that it covers.

use bytes::Bytes;
use protocol::ids::Offset;

/// One batch and the offsets that a reader has passed after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// First offset.
    pub(super) start: Offset,
    /// Offset after the last, gaps at the end included.
    pub(super) end: Offset,
    /// The batch with its assigned fields.
    pub(super) bytes: Bytes,
}

/// The batches of a span, one after the other without a gap between their offsets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Parts {
    /// The batches.
    pub(super) parts: Vec<Part>,
}

impl Parts {
    /// Bytes of all batches.
    pub(super) fn bytes(&self) -> usize {
        self.parts.iter().map(|p| p.bytes.len()).sum()
    }

    /// Offset after the last one.
    pub(super) fn end(&self) -> Option<Offset> {
        self.parts.last().map(|p| p.end)
    }

    /// Memory that keeping them takes.
    pub(super) fn memory(&self) -> usize {
        self.bytes() + self.parts.capacity() * size_of::<Part>() + size_of::<Parts>()
    }
}
