//! Putting the files in order after the walk: cut a torn tail, and write again what no recorded
//! sync covers.
//!
//! What lies above the recorded synced end was read from the page cache, whose pages look clean
//! after a failed fsync though the disk never took them: syncing them again would do nothing.
//! These frames are therefore checked and written again, the same bytes at the same place, which
//! makes the pages dirty; the next sync then covers them. In fsync mode that happens before the
//! log serves, in page-cache mode, which promised nothing about the disk, behind it. A crash in
//! between is harmless: every sector holds what it held before, or what it shall hold.

use std::io::{self, IoSlice};
use std::sync::Arc;

use super::Recovery;
use super::files::{Found, fresh_header, remove_segment_files};
use super::walk::Scan;
use crate::env::OpenMode;
use crate::log::error::{LogError, OfflineCause};
use crate::log::scan::{FrameScanner, Step};
use crate::log::segment::{HEADER_LENGTH, Segment};

/// Bytes that are gathered before they are written again.
const GATHERED_BYTES: usize = 1 << 20;

/// A part of a segment that recovery accepted and that no recorded sync covers.
pub(in crate::log) struct Unsettled {
    pub segment: Arc<Segment>,
    /// Where it begins; at 0 when the file's header belongs to it.
    pub from: u64,
    pub to: u64,
}

/// The files in order.
pub(super) struct Settled {
    pub segments: Vec<Arc<Segment>>,
    /// To be written again, and synced. Also names segments that were only cut.
    pub unsettled: Vec<Unsettled>,
    /// Bytes behind the last accepted frame of the active segment were cut off.
    pub tail_was_cut: bool,
}

impl Recovery<'_> {
    /// Cuts what does not count, so that the files end where the accepted frames do.
    pub(super) fn settle(&self, scan: &mut Scan) -> Result<Settled, LogError> {
        let mut settled = Settled {
            segments: self.closed_before(scan.first),
            unsettled: Vec::new(),
            tail_was_cut: false,
        };
        for (number, summary) in (scan.first..).zip(&scan.passed) {
            let found = &self.found[number];
            // The walk passes only segments with a header.
            let Some(header) = found.header else { continue };
            let segment = self.place.scanned(header, *summary);
            let cut = self.cut_to(found, summary.length)?;
            settled.take(scan, number, segment, cut);
        }
        let last = &self.found[scan.segment];
        let cut = last.length != scan.position;
        let segment = match last.header {
            Some(header) if scan.position > HEADER_LENGTH || !cut => {
                self.cut_to(last, scan.position)?;
                let index = scan.take_index();
                self.place.active(header, index, scan.index_saved)
            }
            // Nothing in it counts. Frames that are written into it now must not be mistaken for
            // what it held.
            _ => self
                .place
                .replace(fresh_header(self.context, self.tablet, last.base))?,
        };
        settled.tail_was_cut = cut && scan.position > HEADER_LENGTH;
        settled.take(scan, scan.segment, segment, cut);
        let behind = &self.found[scan.segment + 1..];
        for found in behind {
            remove_segment_files(self.place, &found.path)?;
        }
        if !behind.is_empty() {
            // Should the names come back, they would follow what is appended now.
            self.sync_directory()?;
        }
        Ok(settled)
    }

    /// Cuts the file, or gives its last frame the padding that a crash took. True when it did.
    fn cut_to(&self, found: &Found, length: u64) -> Result<bool, LogError> {
        if found.length == length {
            return Ok(false);
        }
        let path = &found.path;
        self.place
            .disk
            .open(path, OpenMode::ReadWrite)
            .map_err(LogError::io("cannot open", path))?
            .set_length(length)
            .map_err(LogError::io("cannot cut", path))?;
        Ok(true)
    }
}

impl Settled {
    fn take(&mut self, scan: &Scan, number: usize, segment: Arc<Segment>, cut: bool) {
        let to = segment.length();
        let (synced_segment, synced_position) = scan.synced_at;
        let from = match number.cmp(&synced_segment) {
            std::cmp::Ordering::Less => to,
            std::cmp::Ordering::Equal => synced_position,
            std::cmp::Ordering::Greater => 0,
        };
        if from < to || cut {
            self.unsettled.push(Unsettled {
                segment: Arc::clone(&segment),
                from: if to == HEADER_LENGTH { 0 } else { from },
                to,
            });
        }
        self.segments.push(segment);
    }
}

impl Unsettled {
    /// Bytes to write again.
    pub(in crate::log) fn bytes(&self) -> u64 {
        self.to - self.from
    }

    /// Writes its frames again, where they are. They become durable with the next sync of the
    /// segment. What cannot be read any more as it was at the start is damage.
    pub(in crate::log) fn write_again(&self) -> Result<(), OfflineCause> {
        let mut position = self.from.max(HEADER_LENGTH);
        let done = self.write_frames(&mut position);
        let failed = |error| OfflineCause::SyncFailed {
            path: self.segment.path().to_path_buf(),
            error: Arc::new(error),
        };
        if done.map_err(failed)? {
            return Ok(());
        }
        Err(OfflineCause::Corrupt {
            path: self.segment.path().to_path_buf(),
            position,
            offset: self.segment.base(),
            what: "frames that recovery had read cannot be read any more",
        })
    }

    /// Moves `position` on; false when the frame there does not hold.
    fn write_frames(&self, position: &mut u64) -> io::Result<bool> {
        let segment = &self.segment;
        let file = segment.file()?;
        if self.from < HEADER_LENGTH {
            file.write_all_at(&[IoSlice::new(&segment.header().encode())], 0)?;
        }
        let salt = segment.header().salt;
        let mut scanner = FrameScanner::new(Arc::clone(&file), salt, *position, self.to);
        let mut gathered = Vec::new();
        let mut written = *position;
        while *position < self.to {
            let Step::Frame { header, .. } = scanner.next_frame()? else {
                return Ok(false);
            };
            if !scanner.batch_crc_holds(&header) {
                return Ok(false);
            }
            *position += header.frame_length() as u64;
            gathered.extend_from_slice(scanner.frame(&header));
            gathered.resize((*position - written) as usize, 0);
            if gathered.len() >= GATHERED_BYTES || *position >= self.to {
                file.write_all_at(&[IoSlice::new(&gathered)], written)?;
                written = *position;
                gathered.clear();
            }
        }
        Ok(true)
    }
}
