//! Checks the files of a log that nobody has open: for `vltava check`, and for tests that want to
//! know whether what lies on disk fits together.
//!
//! The walk reads every byte of every segment and changes nothing. It judges as recovery does:
//! what does not hold below the recorded synced end is damage, what does not hold above it is a
//! torn tail, which the next start cuts. Unlike recovery it begins at the first frame instead of
//! the checkpoint, and goes on behind the first thing that does not hold.
//!
//! What it cannot see: the fields of a batch that the log assigns (base offset, leader epoch,
//! commit time) lie outside of the batch's CRC. The frame header is authoritative for them and
//! every read overwrites them, so that a flipped bit there reaches nobody.

mod files;
mod index_walk;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use protocol::batch::BatchFormat;
use protocol::fluss::batch::HeaderView;
use protocol::ids::{LeaderEpoch, Offset, TabletId};
use protocol::kafka::batch::BatchView;

use super::checkpoint::{self, Checkpoint};
use super::error::LogError;
use super::frame::{ALIGNMENT, FrameHeader};
use super::scan::{FrameScanner, Step};
use super::segment::{self, HEADER_LENGTH, SegmentHeader};
use crate::env::{Disk, DiskFile, OpenMode};
use index_walk::IndexWalk;
use std::sync::Arc;

/// Findings that are kept of one log; a disk that lost a gigabyte would give millions.
const FINDINGS_MAX: usize = 1_000;

/// What a finding means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Something that had been synced does not hold.
    Damage,
    /// Above the recorded synced end: the next start cuts or rewrites it.
    Torn,
    /// An index that the next use builds again from the frames.
    Derived,
}

/// Something that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it means.
    pub severity: Severity,
    /// The file, or the directory where a file is missing.
    pub path: PathBuf,
    /// Where in the file.
    pub position: Option<u64>,
    /// The offset that was expected there.
    pub offset: Option<Offset>,
    /// What does not hold.
    pub what: String,
}

/// What the caller knows about the log.
#[derive(Debug, Clone, Copy, Default)]
pub struct Expected {
    /// The tablet that the files should belong to.
    pub tablet: Option<TabletId>,
    /// The broker's epoch: no frame can have a higher one.
    pub epoch: Option<LeaderEpoch>,
}

/// What the walk found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// What does not hold, in the order of the files.
    pub findings: Vec<Finding>,
    /// Findings beyond the limit, which were left out.
    pub findings_left_out: usize,
    /// Segment files.
    pub segments: usize,
    /// Frames whose header holds.
    pub frames: u64,
    /// Bytes of the segment files.
    pub bytes: u64,
    /// First offset of the log.
    pub log_start: Offset,
    /// Offset after the last frame.
    pub log_end: Offset,
    /// What the checkpoint and the frames say had been synced.
    pub synced_end: Offset,
}

impl Verified {
    /// True when something that had been synced does not hold.
    pub fn is_damaged(&self) -> bool {
        let damage = |finding: &Finding| finding.severity == Severity::Damage;
        self.findings_left_out > 0 || self.findings.iter().any(damage)
    }
}

/// Checks the log in `directory`. An error means that a file could not be read.
pub fn verify(disk: &dyn Disk, directory: &Path, expected: Expected) -> Result<Verified, LogError> {
    Walk::begin(disk, directory, expected)?.run()
}

struct SegmentFile {
    base: Offset,
    length: u64,
    path: PathBuf,
}

struct Walk<'a> {
    disk: &'a dyn Disk,
    directory: &'a Path,
    expected: Expected,
    files: Vec<SegmentFile>,
    checkpoint: Option<Checkpoint>,
    verified: Verified,
    /// The offset that comes next; `None` before the first segment.
    next: Option<Offset>,
    last_epoch: Option<LeaderEpoch>,
    last_commit_time: i64,
}

impl<'a> Walk<'a> {
    fn begin(
        disk: &'a dyn Disk,
        directory: &'a Path,
        expected: Expected,
    ) -> Result<Self, LogError> {
        let entries = disk
            .list(directory)
            .map_err(LogError::io("cannot list", directory))?;
        let mut files: Vec<SegmentFile> = entries
            .into_iter()
            .filter_map(|entry| {
                Some(SegmentFile {
                    base: segment::base_of_file_name(&entry.name)?,
                    length: entry.length,
                    path: directory.join(entry.name),
                })
            })
            .collect();
        files::count_decided(disk, directory, &mut files)?;
        files.sort_by_key(|file| file.base);
        Ok(Walk {
            disk,
            directory,
            expected,
            files,
            checkpoint: None,
            verified: Verified::default(),
            next: None,
            last_epoch: None,
            last_commit_time: i64::MIN,
        })
    }

    fn run(mut self) -> Result<Verified, LogError> {
        self.read_checkpoint()?;
        self.leave_out_deleted();
        self.leave_out_replaced()?;
        self.check_beginning();
        for number in 0..self.files.len() {
            self.segment(number)?;
        }
        self.check_end();
        self.judge();
        Ok(self.verified)
    }

    fn read_checkpoint(&mut self) -> Result<(), LogError> {
        let path = checkpoint::path(self.directory);
        self.checkpoint = Checkpoint::read(self.disk, self.directory)?;
        let there = self
            .disk
            .exists(&path)
            .map_err(LogError::io("cannot look for", &path))?;
        if let Some(checkpoint) = &self.checkpoint {
            self.verified.synced_end = checkpoint.synced_end;
            self.verified.log_start = checkpoint.log_start;
        } else if there {
            // It was synced before it got its name, so no crash leaves half of one.
            self.damage(&path, None, None, "a checkpoint whose CRC does not hold");
        }
        Ok(())
    }

    fn segment(&mut self, number: usize) -> Result<(), LogError> {
        let SegmentFile { base, length, .. } = self.files[number];
        let path = self.files[number].path.clone();
        self.verified.segments += 1;
        self.verified.bytes += length;
        let next = self.next.unwrap_or(base);
        if next < base {
            self.suspect(&path, 0, next, "records are missing before this segment");
        } else if next > base {
            let what = "the segment begins below the end of the one before it";
            self.suspect(&path, 0, base, what);
        }
        self.next = Some(base);
        let file = self
            .disk
            .open(&path, OpenMode::Read)
            .map_err(LogError::io("cannot open", &path))?;
        let Some(header) = self.segment_header(&path, &file, base)? else {
            return Ok(());
        };
        let mut index = IndexWalk::open(self.disk, &path, &header, length)?;
        let scanner = FrameScanner::new(file, header.salt, HEADER_LENGTH, length);
        let findings_before = self.finding_count();
        let whole = self.frames(number, &header, scanner, &mut index)?;
        // Frames that are missing, or that a rewritten tail replaced, are missing for the index.
        if whole
            && self.finding_count() == findings_before
            && let Some(finding) = index.finish(self.next.unwrap_or(base))
        {
            self.note(finding);
        }
        // What a cleaned segment has no frames of is gone for good.
        self.next = self.next.max(header.cleaned_to);
        Ok(())
    }

    fn segment_header(
        &mut self,
        path: &Path,
        file: &Arc<dyn DiskFile>,
        base: Offset,
    ) -> Result<Option<SegmentHeader>, LogError> {
        let mut bytes = [0; HEADER_LENGTH as usize];
        let read = file
            .read_at(&mut bytes, 0)
            .map_err(LogError::io("cannot read", path))?;
        let Some(header) = SegmentHeader::decode(&bytes[..read]) else {
            self.suspect(path, 0, base, "the segment header is damaged");
            // The frames behind it may still tell that it had been synced.
            return Ok(segment::with_one_bit_repaired(&bytes[..read]));
        };
        if header.base != base {
            let what = format!("the segment header says base offset {}", header.base);
            self.damage(path, Some(24), Some(base), &what);
        }
        if let Some(tablet) = self.expected.tablet.filter(|t| *t != header.tablet) {
            let what = format!(
                "the segment belongs to tablet {}, not to {tablet}",
                header.tablet
            );
            self.damage(path, Some(32), Some(base), &what);
        }
        Ok(Some(header))
    }

    /// Walks the frames of one segment. Returns whether all of them count.
    fn frames(
        &mut self,
        number: usize,
        header: &SegmentHeader,
        mut scanner: FrameScanner,
        index: &mut IndexWalk,
    ) -> Result<bool, LogError> {
        let path = self.files[number].path.clone();
        let next_base = self.files.get(number + 1).map(|file| file.base);
        let mut mark = self.checkpoint_mark(header);
        let mut in_damage = false;
        loop {
            let next = self.next.unwrap_or(header.base);
            if !in_damage {
                let end = scanner.position();
                if let Some((position, offset)) = mark
                    && position <= end
                {
                    if position < end || offset != next {
                        let what = "the checkpoint's position is not where its offset begins";
                        self.damage(&path, Some(position), Some(offset), what);
                    }
                    mark = None;
                }
            }
            // A rewritten tail has taken over: what stands here does not count any more.
            if next_base == Some(next) {
                break;
            }
            let step = scanner
                .next_frame()
                .map_err(LogError::io("cannot read", &path))?;
            match step {
                Step::End => break,
                Step::Damaged { position, what } => {
                    if !in_damage {
                        self.suspect(&path, position, next, what);
                    }
                    in_damage = true;
                    scanner.skip_to(position + ALIGNMENT as u64);
                }
                Step::Frame { header: frame, .. }
                    if in_damage && next_base.is_some_and(|base| frame.base_offset >= base) =>
                {
                    break;
                }
                Step::Frame {
                    header: frame,
                    position,
                } => {
                    let place = Place {
                        path: &path,
                        position,
                        cleaned: header.cleaned_to.is_some(),
                        after_damage: in_damage,
                    };
                    in_damage = false;
                    self.frame(&frame, place, &scanner);
                    index.frame(&frame, position);
                }
            }
        }
        if let Some((position, offset)) = mark {
            let what = "the segment ends before the checkpoint's position";
            self.damage(&path, Some(position), Some(offset), what);
        }
        Ok(scanner.position() >= self.files[number].length)
    }

    /// Position and offset of the checkpoint, where it lies in this segment.
    fn checkpoint_mark(&self, header: &SegmentHeader) -> Option<(u64, Offset)> {
        let checkpoint = self.checkpoint.as_ref()?;
        (checkpoint.segment_base == header.base)
            .then_some((checkpoint.position, checkpoint.summary.end_offset))
    }

    fn frame(&mut self, frame: &FrameHeader, place: Place<'_>, scanner: &FrameScanner) {
        let next = self.next.unwrap_or(frame.base_offset);
        let follows = if place.cleaned || place.after_damage {
            frame.base_offset >= next
        } else {
            frame.base_offset == next
        };
        let epoch_is_known = self.expected.epoch.is_none_or(|e| frame.leader_epoch <= e);
        let problems = [
            (!follows, "a frame with an unexpected base offset"),
            (!epoch_is_known, "a frame of an epoch above the broker's"),
            (
                self.last_epoch
                    .is_some_and(|last| frame.leader_epoch < last),
                "a frame of an epoch below that of the frame before",
            ),
            (
                frame.commit_time < self.last_commit_time,
                "a commit time below that of the frame before",
            ),
            (
                frame.synced_end > frame.base_offset,
                "a synced end above the frame's own offset",
            ),
            (
                !scanner.batch_crc_holds(frame),
                "a batch whose CRC does not hold",
            ),
            (
                !takes_its_offsets(frame, scanner.batch()),
                "a batch that takes other offsets than its frame",
            ),
        ];
        for (_, what) in problems.into_iter().filter(|(is_so, _)| *is_so) {
            self.suspect(place.path, place.position, frame.base_offset, what);
        }
        self.verified.frames += 1;
        self.verified.synced_end = self.verified.synced_end.max(frame.synced_end);
        self.last_epoch = self.last_epoch.max(Some(frame.leader_epoch));
        self.last_commit_time = self.last_commit_time.max(frame.commit_time);
        self.next = Some(frame.last_offset.next().max(next));
    }

    fn check_end(&mut self) {
        let Some(end) = self.next else { return };
        self.verified.log_start = self.verified.log_start.max(self.files[0].base);
        self.verified.log_end = end;
        if self.verified.synced_end > end {
            let last = self
                .files
                .last()
                .map(|file| (file.path.clone(), file.length));
            let (path, length) = last.unwrap_or((self.directory.to_path_buf(), 0));
            self.damage(&path, Some(length), Some(end), "synced records are missing");
        }
    }

    /// Everything is known now: what lies below the recorded synced end is damage.
    fn judge(&mut self) {
        let synced_end = self.verified.synced_end;
        for finding in &mut self.verified.findings {
            if finding.severity == Severity::Torn
                && finding.offset.is_some_and(|offset| offset < synced_end)
            {
                finding.severity = Severity::Damage;
            }
        }
    }

    fn damage(&mut self, path: &Path, position: Option<u64>, offset: Option<Offset>, what: &str) {
        self.note(Finding {
            severity: Severity::Damage,
            path: path.to_path_buf(),
            position,
            offset,
            what: what.to_owned(),
        });
    }

    /// Damage or a torn tail: judged when the recorded synced end is known.
    fn suspect(&mut self, path: &Path, position: u64, offset: Offset, what: &str) {
        self.note(Finding {
            severity: Severity::Torn,
            path: path.to_path_buf(),
            position: Some(position),
            offset: Some(offset),
            what: what.to_owned(),
        });
    }

    fn finding_count(&self) -> usize {
        self.verified.findings.len() + self.verified.findings_left_out
    }

    fn note(&mut self, finding: Finding) {
        if self.verified.findings.len() < FINDINGS_MAX {
            self.verified.findings.push(finding);
        } else {
            self.verified.findings_left_out += 1;
        }
    }
}

/// Where a frame stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    path: &'a Path,
    position: u64,
    cleaned: bool,
    after_damage: bool,
}

/// True when the batch's own header parses and takes as many offsets as the frame says.
fn takes_its_offsets(frame: &FrameHeader, batch: &[u8]) -> bool {
    let delta = if frame.format == BatchFormat::Kafka {
        BatchView::parse(batch)
            .map(|view| view.last_offset_delta())
            .ok()
    } else {
        HeaderView::parse(batch)
            .map(|view| view.last_offset_delta())
            .ok()
    };
    delta.is_some_and(|delta| i64::from(delta) == frame.last_offset - frame.base_offset)
}
