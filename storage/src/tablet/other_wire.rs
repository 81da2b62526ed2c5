//! What a tablet asks of the transcoder: frames of the one wire as batches of the other.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use protocol::ids::Offset;

use super::error::ConvertError;
use super::shape::TableShape;
use crate::log::{LogHandle, ReadRange, Watermarks};

/// Reads frames of one wire as batches of the other.
///
/// `range` says what is wanted, as for [`LogHandle::read_run`]: whole batches that begin with the
/// one that holds `range.offset`, none that holds `range.end` or more, at most `range.bytes_max`
/// bytes unless `range.at_least_one` and it is the first. The frame at `range.offset` is of the
/// other wire; the answer ends before the first frame that is not.
///
/// *Contract*: an answer with batches moves on: its `next_offset` is above `range.offset`. Offsets
/// without a visible record at the end of what was read are part of the last batch, so that the
/// reader passes them. An answer without batches and with the `next_offset` of `range.offset` says
/// that the next batch does not fit `range.bytes_max`.
#[async_trait]
pub trait OtherWire: Send + Sync + 'static {
    /// Kafka frames as Fluss batches, with only the columns of `projection` when there is one
    /// (positions in ascending order, checked by the caller against the latest schema).
    async fn fluss_from_kafka(
        &self,
        log: &LogHandle,
        shape: &Arc<TableShape>,
        range: ReadRange,
        projection: Option<&Arc<[usize]>>,
    ) -> Result<Converted, ConvertError>;

    /// Fluss frames as Kafka batches.
    async fn kafka_from_fluss(
        &self,
        log: &LogHandle,
        shape: &Arc<TableShape>,
        range: ReadRange,
    ) -> Result<Converted, ConvertError>;

    /// Called for every tablet now and then, and after its log start moved: removes what was kept
    /// of deleted records, and makes what is to be made ahead of readers. May wait for the disk.
    fn tend(&self, _log: &LogHandle, _shape: &Arc<TableShape>) {}
}

/// Batches that were made from frames of the other wire.
#[derive(Debug, Clone)]
pub struct Converted {
    /// Whole batches with their assigned fields, in order; a chunk may hold several.
    pub chunks: Vec<Bytes>,
    /// Their length.
    pub bytes: usize,
    /// Offset after the last record they cover.
    pub next_offset: Offset,
}

impl Converted {
    /// Nothing, because nothing fits.
    pub fn nothing_at(offset: Offset) -> Converted {
        Converted {
            chunks: Vec::new(),
            bytes: 0,
            next_offset: offset,
        }
    }
}

/// Where Fluss readers and Kafka's read-committed readers stop.
pub(super) fn committed_end(watermarks: &Watermarks) -> Offset {
    watermarks.last_stable.min(watermarks.high_watermark)
}
