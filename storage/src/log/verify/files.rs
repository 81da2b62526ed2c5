//! Which files of a log count, and whether they reach down to its start.

use std::path::Path;

use protocol::ids::Offset;

use super::{SegmentFile, Walk};
use crate::env::{Disk, OpenMode};
use crate::log::cleaner::decided_swaps;
use crate::log::error::LogError;
use crate::log::segment::{self, SegmentHeader};

/// Cleaned segments that a round had decided on count in place of those that they are to replace: a
/// crash may leave them beside the log, and the next start puts them there.
pub(super) fn count_decided(
    disk: &dyn Disk,
    directory: &Path,
    files: &mut Vec<SegmentFile>,
) -> Result<(), LogError> {
    for (base, path) in decided_swaps(disk, directory)?.into_iter().flatten() {
        let length = disk
            .open(&path, OpenMode::Read)
            .and_then(|file| file.length())
            .map_err(LogError::io("cannot open", &path))?;
        files.retain(|file| file.base != base);
        files.push(SegmentFile { base, length, path });
    }
    Ok(())
}

impl Walk<'_> {
    /// Segments below the log start are about to be removed; a crash may leave any of them.
    pub(super) fn leave_out_deleted(&mut self) {
        let log_start = self.verified.log_start;
        let bases = self.files.iter().skip(1);
        let deleted = bases.take_while(|next| next.base <= log_start).count();
        self.files.drain(..deleted);
    }

    /// Segments that a cleaned one stands for: a crash may leave any of them, the next start
    /// removes them.
    pub(super) fn leave_out_replaced(&mut self) -> Result<(), LogError> {
        let mut covered = Offset::ZERO;
        for file in std::mem::take(&mut self.files) {
            if file.base < covered {
                continue;
            }
            let bytes = segment::read_header(self.disk, &file.path)?;
            if let Some(end) = SegmentHeader::decode(&bytes).and_then(|h| h.cleaned_to) {
                covered = end;
            }
            self.files.push(file);
        }
        Ok(())
    }

    /// The first segment must reach down to the log start.
    pub(super) fn check_beginning(&mut self) {
        let first = self.files.first().map(|file| file.base);
        let Some(checkpoint) = &self.checkpoint else {
            self.verified.log_start = first.unwrap_or_default();
            self.verified.log_end = self.verified.log_start;
            return;
        };
        let (log_start, synced_end) = (checkpoint.log_start, checkpoint.synced_end);
        let segment_base = checkpoint.segment_base;
        self.verified.log_end = log_start;
        let directory = self.directory.to_path_buf();
        match first {
            None if synced_end > log_start => {
                self.damage(
                    &directory,
                    None,
                    Some(log_start),
                    "all segment files are missing",
                );
            }
            Some(first) if first > log_start => {
                let what = "segment files are missing at the beginning";
                self.damage(&directory, None, Some(log_start), what);
            }
            _ => {}
        }
        let is_there = self.files.iter().any(|file| file.base == segment_base);
        // Deleting all records may remove the segment that the checkpoint was written for.
        let is_deleted = log_start == synced_end && first == Some(synced_end);
        if first.is_some() && !is_there && !is_deleted {
            let what = "the segment that the checkpoint names is missing";
            self.damage(&directory, None, Some(segment_base), what);
        }
    }
}
