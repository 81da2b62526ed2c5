//! Rows outside Arrow: what a value is ([`Datum`]) and the four byte forms of rows and arrays.
//!
//! Facts: Fluss `row/{compacted,indexed,aligned}`, `BinaryArray.java`, `BinaryMap.java`. All
//! numbers are little-endian.
//!
//! *Invariant*: reading checks every length against the bytes that are there, and the number of
//! nested values in one row is bounded by [`ELEMENTS_MAX`]. Nesting follows the type, so hostile
//! bytes cannot deepen it.

pub mod aligned;
pub mod array;
pub mod compacted;
pub mod datum;
pub mod indexed;
pub mod layout;

mod reader;

#[cfg(test)]
pub(crate) mod strategy;

pub(crate) use datum::append_decimal;
pub use datum::{Datum, Timestamp};
pub use layout::{RowLayout, RowPieces, Span};
pub(crate) use reader::decimal as decimal_from;

use thiserror::Error;

/// Nested values that one row may hold. Bounds the memory of a decoded row to a few tens of MiB;
/// vectors and documents are far smaller.
pub const ELEMENTS_MAX: usize = 1 << 20;

/// Which byte form nested rows have. It follows the row around them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowForm {
    /// [`compacted`].
    Compacted,
    /// [`indexed`].
    Indexed,
    /// [`aligned`].
    Aligned,
}

/// Why bytes are not a row of the type, or values do not fit it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum RowError {
    #[error("row is cut")]
    Cut,
    #[error("row has {0} bytes too many")]
    Trailing(usize),
    #[error("varint is longer than its type")]
    Varint,
    #[error("string is not UTF-8")]
    Utf8,
    #[error("decimal of {0} bytes is too long")]
    Decimal(usize),
    #[error("nanoseconds {0} are not within a millisecond")]
    Nanos(i32),
    #[error("row has null where the type forbids it")]
    Null,
    #[error("row has more than {ELEMENTS_MAX} nested values")]
    Elements,
    #[error("length or offset points outside the row")]
    Bounds,
    #[error("value {found} does not fit type {expected}")]
    Type {
        expected: String,
        found: &'static str,
    },
    #[error("row has {found} values for {expected} columns")]
    Width { expected: usize, found: usize },
}
