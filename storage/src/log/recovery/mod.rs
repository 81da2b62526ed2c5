//! Opening a log: find its end, rebuild its state, and tell a torn tail from damage.
//!
//! Recovery begins at the checkpoint. A frame is accepted when its header holds, its base offset
//! is the expected next one (in a cleaned segment: not below it), its epoch is not above the
//! current one, and its batch's CRC holds. At the first frame that fails, recovery looks ahead: if
//! the checkpoint or a later valid frame says that the damaged offset was synced, it is corruption
//! and nothing is cut; else it is a torn tail, and is cut.

mod files;
mod loss;
mod settle;
mod walk;

use std::collections::VecDeque;
use std::sync::Arc;

use protocol::ids::{LeaderEpoch, Offset, TabletId};

use files::{Found, find_segments, make_directory};
pub(super) use files::{fresh_header, remove_segment_files};
pub(super) use loss::forget_acceptance;
pub(super) use settle::Unsettled;
use walk::{Damage, Scan, Stop};

use super::checkpoint::{self, Checkpoint};
use super::epochs::EpochHistory;
use super::error::{LogError, OfflineCause};
use super::index::SparseIndex;
use super::log::LogContext;
use super::producers::Producers;
use super::scan::{FrameScanner, Step};
use super::segment::{HEADER_LENGTH, Segment, SegmentHeader, SegmentPlace};
use crate::env::OpenMode;

/// An open log's state as recovery found it.
pub(super) struct Recovered {
    pub segments: Vec<Arc<Segment>>,
    pub log_start: Offset,
    pub log_end: Offset,
    pub synced_end: Offset,
    pub producers: Producers,
    pub epochs: EpochHistory,
    pub offline: Option<OfflineCause>,
    /// Accepted, but not covered by a recorded sync: to be written again and synced.
    pub unsettled: Vec<Unsettled>,
    /// Bytes behind the end were cut off the active segment, and the cut is not synced.
    pub tail_was_cut: bool,
    /// Bytes of log behind the checkpoint, which were read.
    pub bytes_behind: u64,
    /// Files are missing, and an operator said that they shall not be waited for.
    pub loss_accepted: bool,
}

/// Opens what is in the directory, or makes a new log.
pub(super) fn recover(
    context: &LogContext,
    place: &SegmentPlace,
    tablet: TabletId,
    epoch: LeaderEpoch,
) -> Result<Recovered, LogError> {
    let directory = &place.directory;
    make_directory(place)?;
    let found = find_segments(place, tablet)?;
    let checkpoint = Checkpoint::read(&*place.disk, directory)?;
    let recovery = Recovery {
        context,
        place,
        tablet,
        epoch,
        found,
        checkpoint,
    };
    if recovery.found.is_empty() {
        return recovery.begin_or_report_loss();
    }
    recovery.run()
}

struct Recovery<'a> {
    context: &'a LogContext,
    place: &'a SegmentPlace,
    tablet: TabletId,
    epoch: LeaderEpoch,
    found: Vec<Found>,
    checkpoint: Option<Checkpoint>,
}

impl Recovery<'_> {
    fn create_durably(&self, header: SegmentHeader) -> Result<Arc<Segment>, LogError> {
        let segment = self.place.create(header)?;
        segment
            .file()
            .and_then(|file| file.sync_data())
            .map_err(LogError::io("cannot sync", segment.path()))?;
        self.sync_directory()?;
        Ok(segment)
    }

    fn sync_directory(&self) -> Result<(), LogError> {
        let directory = &self.place.directory;
        self.place
            .disk
            .sync_directory(directory)
            .map_err(LogError::io("cannot sync", directory))
    }

    fn run(self) -> Result<Recovered, LogError> {
        let mut scan = self.start()?;
        let offline = loop {
            match self.scan_segment(&mut scan)? {
                Stop::End => {
                    // What a cleaned segment has no frames of is gone for good.
                    let cleaned_to = self.found[scan.segment].header.and_then(|h| h.cleaned_to);
                    scan.expected = scan.expected.max(cleaned_to.unwrap_or_default());
                    let Some(next) = self.found.get(scan.segment + 1) else {
                        break None;
                    };
                    if next.base == scan.expected && next.header.is_some() {
                        scan.go_to_next(next.base);
                        continue;
                    }
                    let what = if next.header.is_some() {
                        "records are missing before the next segment"
                    } else {
                        "the header of the next segment is damaged"
                    };
                    let damage = Damage {
                        segment: scan.segment + 1,
                        position: 0,
                        what,
                    };
                    break self.judge(&mut scan, damage)?;
                }
                Stop::Damaged { position, what } => {
                    let damage = Damage {
                        segment: scan.segment,
                        position,
                        what,
                    };
                    break self.judge(&mut scan, damage)?;
                }
            }
        };
        let offline = match offline {
            None if scan.synced_end > scan.expected => {
                let position = scan.position;
                let damage = Damage {
                    segment: scan.segment,
                    position,
                    what: "synced records are missing",
                };
                self.judge(&mut scan, damage)?
            }
            other => other,
        };
        let offline = match offline {
            None => self.missing_beginning()?,
            damaged => damaged,
        };
        self.finish(scan, offline)
    }

    fn finish(self, mut scan: Scan, offline: Option<OfflineCause>) -> Result<Recovered, LogError> {
        let first = self.found[0].base;
        let log_end = scan.expected;
        let log_start = self
            .checkpoint
            .as_ref()
            .map_or(Offset::ZERO, |c| c.log_start)
            .max(first)
            .min(log_end.max(first));
        let mut recovered = Recovered {
            segments: Vec::new(),
            log_start,
            log_end,
            synced_end: log_end,
            producers: std::mem::take(&mut scan.producers),
            epochs: std::mem::take(&mut scan.epochs),
            offline,
            unsettled: Vec::new(),
            tail_was_cut: false,
            bytes_behind: scan.bytes_behind,
            loss_accepted: self.loss_is_accepted()?,
        };
        recovered.epochs.cut_at(log_end);
        if recovered.offline.is_some() {
            recovered.segments = self.untouched(scan);
            return Ok(recovered);
        }
        let settled = self.settle(&mut scan)?;
        if !settled.unsettled.is_empty() {
            recovered.synced_end = scan.synced_end.min(log_end);
        }
        recovered.segments = settled.segments;
        recovered.unsettled = settled.unsettled;
        recovered.tail_was_cut = settled.tail_was_cut;
        Ok(recovered)
    }

    /// The segments of a damaged log: nothing is written, what was accepted can still be read.
    fn untouched(&self, mut scan: Scan) -> Vec<Arc<Segment>> {
        let mut segments = self.closed_before(scan.segment);
        let index = scan.take_index();
        segments.push(match self.found[scan.segment].header {
            Some(header) => self.place.active(header, index, scan.index_saved),
            None => self.place.active(
                fresh_header(self.context, self.tablet, scan.expected),
                SparseIndex::new(scan.expected, HEADER_LENGTH),
                0,
            ),
        });
        segments
    }

    /// The segments in front of one, as closed ones.
    fn closed_before(&self, number: usize) -> Vec<Arc<Segment>> {
        let headers = self.found[..number]
            .iter()
            .filter_map(|f| Some((f, f.header?)));
        headers
            .map(|(f, header)| self.place.closed(header, f.length))
            .collect()
    }

    /// Where to begin: at the checkpoint, or where it does not fit the files, at the beginning.
    fn start(&self) -> Result<Scan, LogError> {
        let synced_end = self
            .checkpoint
            .as_ref()
            .map_or(Offset::ZERO, |c| c.synced_end);
        if let Some(c) = &self.checkpoint
            && let Some(number) = self.found.iter().position(|f| f.base == c.segment_base)
            && let Some(header) = &self.found[number].header
            && self.found[number].length >= c.position
        {
            let index = self.saved_index(c, header)?;
            let index_saved = index.entries().len();
            return Ok(Scan {
                segment: number,
                position: c.position,
                expected: c.summary.end_offset,
                synced_end,
                index,
                index_saved,
                producers: c.producers.clone(),
                epochs: c.epochs.clone(),
                synced_at: (number, c.position),
                boundaries: VecDeque::new(),
                first: number,
                passed: Vec::new(),
                bytes_behind: 0,
            });
        }
        let first = &self.found[0];
        Ok(Scan {
            segment: 0,
            position: HEADER_LENGTH,
            expected: first.base,
            synced_end: synced_end.max(first.base),
            index: SparseIndex::new(first.base, HEADER_LENGTH),
            index_saved: 0,
            producers: Producers::default(),
            epochs: EpochHistory::default(),
            synced_at: (0, HEADER_LENGTH),
            boundaries: VecDeque::new(),
            first: 0,
            passed: Vec::new(),
            bytes_behind: 0,
        })
    }

    /// The index up to the checkpoint: from its file, or from the frames.
    fn saved_index(&self, c: &Checkpoint, header: &SegmentHeader) -> Result<SparseIndex, LogError> {
        let path = self.place.path(c.segment_base, "index");
        let interval = self.place.index_interval;
        if let Some(bytes) = checkpoint::read_if_there(&*self.place.disk, &path)? {
            let saved = SparseIndex::decode_growing(
                &bytes,
                c.segment_base,
                header.salt,
                c.index_entries as usize,
                c.index_crc,
                c.summary,
                interval,
            );
            if let Some(index) = saved {
                return Ok(index);
            }
        }
        if c.index_entries == 0 {
            return Ok(SparseIndex::new(c.segment_base, HEADER_LENGTH));
        }
        tracing::info!(path = %path.display(), "building the index from the frames");
        self.index_of(c.segment_base, header.salt, c.position)
    }

    /// Builds the index of a segment up to `end` from its frames.
    fn index_of(&self, base: Offset, salt: u64, end: u64) -> Result<SparseIndex, LogError> {
        let path = self.place.path(base, "log");
        let mut scanner = self.scanner_of(base, salt, HEADER_LENGTH, end)?;
        let mut index = SparseIndex::new(base, HEADER_LENGTH);
        let failed = |error| LogError::io("cannot read", &path)(error);
        while let Step::Frame { header, position } = scanner.next_header().map_err(failed)? {
            index.add(&header, position, self.place.index_interval);
        }
        Ok(index)
    }

    fn scanner(&self, number: usize, from: u64) -> Result<FrameScanner, LogError> {
        let found = &self.found[number];
        self.scanner_of(found.base, found.salt.unwrap_or(0), from, found.length)
    }

    fn scanner_of(
        &self,
        base: Offset,
        salt: u64,
        from: u64,
        end: u64,
    ) -> Result<FrameScanner, LogError> {
        let path = self.place.path(base, "log");
        let file = self
            .place
            .disk
            .open(&path, OpenMode::Read)
            .map_err(LogError::io("cannot open", &path))?;
        Ok(FrameScanner::new(file, salt, from, end))
    }
}
