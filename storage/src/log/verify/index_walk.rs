//! Compares the index file of a segment with its frames, while they pass by.

use std::path::{Path, PathBuf};

use protocol::batch::NO_TIME;
use protocol::ids::Offset;

use super::{Finding, Severity};
use crate::env::Disk;
use crate::log::checkpoint;
use crate::log::error::LogError;
use crate::log::frame::FrameHeader;
use crate::log::index::{Entry, SparseIndex};
use crate::log::segment::SegmentHeader;

/// The index of one segment. Only a whole one is compared: the file of a segment that is still
/// written, or that a crash cut short, has no footer, and is completed or built again.
pub(super) struct IndexWalk {
    path: PathBuf,
    base: Offset,
    index: Option<SparseIndex>,
    /// Why the broker would not use it either.
    unusable: Option<&'static str>,
    next: usize,
    record_time_max: i64,
    /// What does not fit; one such thing says enough.
    mismatch: Option<&'static str>,
}

impl IndexWalk {
    /// Reads the index file beside a segment file, where there is one.
    pub(super) fn open(
        disk: &dyn Disk,
        segment: &Path,
        header: &SegmentHeader,
        length: u64,
    ) -> Result<Self, LogError> {
        let path = segment.with_extension("index");
        let bytes = checkpoint::read_if_there(disk, &path)?;
        let mut walk = IndexWalk {
            path,
            base: header.base,
            index: None,
            unusable: None,
            next: 0,
            record_time_max: NO_TIME,
            mismatch: None,
        };
        if let Some(bytes) = bytes {
            match SparseIndex::decode_closed(&bytes, header.base, header.salt) {
                Some(index) if index.summary().length == length => walk.index = Some(index),
                // The segment was cut after its index was written.
                Some(_) => walk.unusable = Some("an index of another length"),
                None if SparseIndex::has_footer(&bytes) => {
                    walk.unusable = Some("an index whose CRC does not hold");
                }
                None => {}
            }
        }
        Ok(walk)
    }

    /// A frame passes by.
    pub(super) fn frame(&mut self, frame: &FrameHeader, position: u64) {
        self.record_time_max = self.record_time_max.max(frame.record_time_max);
        let entries = self.index.as_ref().map_or(&[][..], |index| index.entries());
        let Some(entry) = entries.get(self.next) else {
            return;
        };
        if u64::from(entry.position) > position {
            return;
        }
        let fitting = Entry {
            relative_offset: (frame.base_offset - self.base) as u32,
            position: position as u32,
            commit_time: frame.commit_time,
            record_time_max: self.record_time_max,
        };
        if *entry != fitting {
            self.mismatch = Some("an index entry that does not fit its frame");
        }
        self.next += 1;
    }

    /// All frames have passed, the last one before `end_offset`.
    pub(super) fn finish(self, end_offset: Offset) -> Option<Finding> {
        let mut mismatch = self.mismatch;
        if let Some(index) = &self.index
            && (index.summary().end_offset != end_offset || self.next < index.entries().len())
        {
            mismatch = Some("an index that does not fit its segment");
        }
        let severity = match mismatch {
            Some(_) => Severity::Damage,
            None => Severity::Derived,
        };
        Some(Finding {
            severity,
            what: mismatch.or(self.unusable)?.to_owned(),
            path: self.path,
            position: None,
            offset: Some(self.base),
        })
    }
}
