//! Opening a log: find its end, rebuild its state, and tell a torn tail from damage.
//!
//! Recovery begins at the checkpoint. A frame is accepted when its header holds, its base offset
//! is the expected next one (in a cleaned segment: not below it), its epoch is not above the
//! current one, and its batch's CRC holds. At the first frame that fails, recovery looks ahead: if
//! the checkpoint or a later valid frame says that the damaged offset was synced, it is corruption
//! and nothing is cut; else it is a torn tail, and is cut.
//!
//! What lies above the recorded synced end was read from the page cache, whose pages look clean
//! after a failed fsync though the disk never took them. It is therefore written into new files
//! and synced before the log serves. A crash in between is harmless: the bytes of a segment at or
//! above the next segment's base offset do not count, so a rewritten tail replaces the old one as
//! soon as its name is there.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::ids::{LeaderEpoch, Offset, TabletId};

use super::checkpoint::{self, Checkpoint};
use super::epochs::EpochHistory;
use super::error::{LogError, OfflineCause};
use super::frame::{ALIGNMENT, FrameHeader};
use super::index::SparseIndex;
use super::log::LogContext;
use super::producers::Producers;
use super::scan::{FrameScanner, Step};
use super::segment::{self, HEADER_LENGTH, Segment, SegmentHeader, SegmentPlace};
use crate::env::OpenMode;

/// Bytes that a rewrite gathers before it writes them.
const REWRITE_BYTES: usize = 1 << 20;

/// An open log's state as recovery found it.
pub(super) struct Recovered {
    pub segments: Vec<Arc<Segment>>,
    pub log_start: Offset,
    pub log_end: Offset,
    pub synced_end: Offset,
    pub producers: Producers,
    pub epochs: EpochHistory,
    /// Entries of the active segment's index that are in its file.
    pub index_saved: usize,
    pub offline: Option<OfflineCause>,
    /// Files were changed: a checkpoint should say where the log ends now.
    pub settled_anew: bool,
}

/// A segment file that was found.
struct Found {
    base: Offset,
    length: u64,
    path: PathBuf,
    /// `None`: the header is damaged or cut short.
    header: Option<SegmentHeader>,
}

/// A fresh segment header.
pub(super) fn fresh_header(context: &LogContext, tablet: TabletId, base: Offset) -> SegmentHeader {
    SegmentHeader {
        salt: context.env.randomness.next_u64(),
        base,
        tablet,
        cleaned: false,
        generation: context.env.randomness.next_u64(),
    }
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

/// Makes the log's directory and its name durable. A log that has a checkpoint was opened before,
/// so its name is; one that has none may have been killed between the two steps.
fn make_directory(place: &SegmentPlace) -> Result<(), LogError> {
    /// `logs`, the table, the table partition and the bucket may all be new.
    const LEVELS: usize = 4;
    let directory = &place.directory;
    let checkpoint = checkpoint::path(directory);
    if place
        .disk
        .exists(&checkpoint)
        .map_err(LogError::io("cannot look for", &checkpoint))?
    {
        return Ok(());
    }
    place
        .disk
        .create_directories(directory)
        .map_err(LogError::io("cannot create", directory))?;
    for parent in directory.ancestors().skip(1).take(LEVELS) {
        if parent.as_os_str().is_empty() {
            break;
        }
        place
            .disk
            .sync_directory(parent)
            .map_err(LogError::io("cannot sync", parent))?;
    }
    Ok(())
}

/// The segment files in order of their base offsets. Left-overs of interrupted writes go.
fn find_segments(place: &SegmentPlace, tablet: TabletId) -> Result<Vec<Found>, LogError> {
    let directory = &place.directory;
    let mut found = Vec::new();
    for entry in place
        .disk
        .list(directory)
        .map_err(LogError::io("cannot list", directory))?
    {
        let path = directory.join(&entry.name);
        if entry.name.ends_with(".tmp") {
            place
                .disk
                .remove_file(&path)
                .map_err(LogError::io("cannot remove", &path))?;
        } else if let Some(base) = segment::base_of_file_name(&entry.name) {
            let header = place.read_header(&path)?.filter(|h| h.base == base);
            if let Some(header) = &header
                && header.tablet != tablet
            {
                return Err(LogError::Format {
                    path,
                    what: format!("the data of tablet {}, not of {tablet}", header.tablet),
                });
            }
            found.push(Found {
                base,
                length: entry.length,
                path,
                header,
            });
        }
    }
    found.sort_by_key(|f| f.base);
    Ok(found)
}

struct Recovery<'a> {
    context: &'a LogContext,
    place: &'a SegmentPlace,
    tablet: TabletId,
    epoch: LeaderEpoch,
    found: Vec<Found>,
    checkpoint: Option<Checkpoint>,
}

/// Where the scan stands.
struct Scan {
    /// Number of the segment in `found`.
    segment: usize,
    position: u64,
    expected: Offset,
    synced_end: Offset,
    index: SparseIndex,
    index_saved: usize,
    producers: Producers,
    epochs: EpochHistory,
    /// Segment and position of the synced end: what lies behind is rewritten.
    synced_at: (usize, u64),
    /// Frame ends above the synced end, as offset, segment and position.
    boundaries: VecDeque<(Offset, usize, u64)>,
}

/// Why the walk through a segment stopped.
enum Stop {
    /// At its end, or where the next segment takes over.
    End,
    /// At something that does not hold.
    Damaged { position: u64, what: &'static str },
}

/// Where something does not hold.
struct Damage {
    segment: usize,
    position: u64,
    what: &'static str,
}

impl Scan {
    fn accept(&mut self, frame: &FrameHeader, position: u64, index_interval: u32) {
        self.index.add(frame, position, index_interval);
        self.producers.note(frame);
        self.epochs.note(frame.leader_epoch, frame.base_offset);
        self.expected = frame.last_offset.next();
        self.position = position + frame.frame_length() as u64;
        self.synced_end = self.synced_end.max(frame.synced_end);
        self.boundaries
            .push_back((self.expected, self.segment, self.position));
        while let Some(&(end, segment, position)) = self.boundaries.front()
            && end <= self.synced_end
        {
            self.synced_at = (segment, position);
            self.boundaries.pop_front();
        }
    }
}

impl Recovery<'_> {
    /// No segment is there: a new log, or one whose files were lost.
    fn begin_or_report_loss(self) -> Result<Recovered, LogError> {
        let lost = self
            .checkpoint
            .as_ref()
            .filter(|c| c.synced_end > c.log_start);
        let base = self
            .checkpoint
            .as_ref()
            .map_or(Offset::ZERO, |c| c.synced_end);
        let offline = lost.map(|c| OfflineCause::Corrupt {
            path: self.place.directory.clone(),
            position: 0,
            offset: c.log_start,
            what: "all segment files are missing",
        });
        let segment = self.create_durably(base)?;
        let checkpoint = self.checkpoint;
        Ok(Recovered {
            segments: vec![segment],
            log_start: base,
            log_end: base,
            synced_end: base,
            producers: checkpoint
                .as_ref()
                .map(|c| c.producers.clone())
                .unwrap_or_default(),
            epochs: checkpoint.map(|c| c.epochs).unwrap_or_default(),
            index_saved: 0,
            offline,
            settled_anew: false,
        })
    }

    fn create_durably(&self, base: Offset) -> Result<Arc<Segment>, LogError> {
        let segment = self
            .place
            .create(fresh_header(self.context, self.tablet, base))?;
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
                    let Some(next) = self.found.get(scan.segment + 1) else {
                        break None;
                    };
                    if next.base == scan.expected && next.header.is_some() {
                        scan.segment += 1;
                        scan.position = HEADER_LENGTH;
                        scan.index = SparseIndex::new(next.base, HEADER_LENGTH);
                        scan.index_saved = 0;
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
        self.finish(scan, offline)
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
        })
    }

    /// The index up to the checkpoint: from its file, or from the frames.
    fn saved_index(&self, c: &Checkpoint, header: &SegmentHeader) -> Result<SparseIndex, LogError> {
        let path = self.place.path(c.segment_base, "index");
        let interval = self.place.index_interval;
        let there = self
            .place
            .disk
            .exists(&path)
            .map_err(LogError::io("cannot look for", &path))?;
        if there {
            let bytes = checkpoint::read_whole(&*self.place.disk, &path)?;
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
        let salt = found.header.as_ref().map_or(0, |h| h.salt);
        self.scanner_of(found.base, salt, from, found.length)
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

    /// Walks the frames of the current segment, taking each into the state.
    fn scan_segment(&self, scan: &mut Scan) -> Result<Stop, LogError> {
        let found = &self.found[scan.segment];
        let Some(header) = &found.header else {
            return Ok(Stop::Damaged {
                position: 0,
                what: "the segment header is damaged",
            });
        };
        let next_base = self.found.get(scan.segment + 1).map(|f| f.base);
        let mut scanner = self.scanner(scan.segment, scan.position)?;
        loop {
            let step = scanner
                .next_frame()
                .map_err(LogError::io("cannot read", &found.path))?;
            // What a rewritten tail replaced does not count.
            if next_base == Some(scan.expected) {
                return Ok(Stop::End);
            }
            let (frame, position) = match step {
                Step::Frame { header, position } => (header, position),
                Step::End => return Ok(Stop::End),
                Step::Damaged { position, what } => return Ok(Stop::Damaged { position, what }),
            };
            let follows = if header.cleaned {
                frame.base_offset >= scan.expected
            } else {
                frame.base_offset == scan.expected
            };
            let what = if !follows {
                Some("a frame with an unexpected base offset")
            } else if frame.leader_epoch > self.epoch {
                Some("a frame of an epoch above the broker's")
            } else if !scanner.batch_crc_holds(&frame) {
                Some("a batch whose CRC does not hold")
            } else {
                None
            };
            if let Some(what) = what {
                return Ok(Stop::Damaged { position, what });
            }
            scan.accept(&frame, position, self.place.index_interval);
        }
    }

    /// Something does not hold: corruption of what had been synced, or a torn tail?
    fn judge(&self, scan: &mut Scan, damage: Damage) -> Result<Option<OfflineCause>, LogError> {
        let proof = scan.synced_end.max(self.synced_end_behind(&damage)?);
        let damaged = &self.found[damage.segment];
        if proof > scan.expected {
            return Ok(Some(OfflineCause::Corrupt {
                path: damaged.path.clone(),
                position: damage.position,
                offset: scan.expected,
                what: damage.what,
            }));
        }
        tracing::warn!(
            log = %self.tablet,
            path = %damaged.path.display(),
            position = damage.position,
            end_offset = %scan.expected,
            synced_end = %scan.synced_end,
            what = damage.what,
            "cutting a torn tail"
        );
        Ok(None)
    }

    /// The largest synced end that valid frames behind the damage vouch for.
    fn synced_end_behind(&self, damage: &Damage) -> Result<Offset, LogError> {
        let mut proof = Offset::ZERO;
        for number in damage.segment..self.found.len() {
            let found = &self.found[number];
            if found.header.is_none() {
                continue;
            }
            let from = if number == damage.segment {
                (damage.position + ALIGNMENT as u64).max(HEADER_LENGTH)
            } else {
                HEADER_LENGTH
            };
            let failed = |error| LogError::io("cannot read", &found.path)(error);
            let mut scanner = self.scanner(number, from)?;
            loop {
                match scanner.next_header().map_err(failed)? {
                    Step::Frame { header, .. } => proof = proof.max(header.synced_end),
                    Step::Damaged { position, .. } => {
                        scanner.skip_to(position + ALIGNMENT as u64);
                    }
                    Step::End => break,
                }
            }
        }
        Ok(proof)
    }

    fn finish(self, scan: Scan, offline: Option<OfflineCause>) -> Result<Recovered, LogError> {
        let log_start = self
            .checkpoint
            .as_ref()
            .map_or(Offset::ZERO, |c| c.log_start)
            .max(self.found[0].base)
            .min(scan.expected.max(self.found[0].base));
        let log_end = scan.expected;
        let settled_anew = offline.is_none() && !self.is_settled(&scan);
        let (segments, index_saved) = if offline.is_some() {
            // Nothing is touched; what was accepted can still be read.
            let mut segments = self.closed_before(scan.segment);
            let header = self.found[scan.segment].header;
            match header {
                Some(header) => segments.push(self.place.active(header, scan.index)),
                None => segments.push(self.place.active(
                    fresh_header(self.context, self.tablet, log_end),
                    SparseIndex::new(log_end, HEADER_LENGTH),
                )),
            }
            (segments, scan.index_saved)
        } else {
            self.settle(&scan)?
        };
        let mut epochs = scan.epochs;
        epochs.cut_at(log_end);
        Ok(Recovered {
            segments,
            log_start,
            log_end,
            synced_end: log_end,
            producers: scan.producers,
            epochs,
            index_saved,
            offline,
            settled_anew,
        })
    }

    fn closed_before(&self, number: usize) -> Vec<Arc<Segment>> {
        let headers = self.found[..number]
            .iter()
            .filter_map(|f| Some((f, f.header?)));
        headers
            .map(|(f, header)| self.place.closed(header, f.length))
            .collect()
    }

    /// Cuts the torn tail and rewrites what lies above the synced end, so that everything that
    /// the log will serve is on disk. Returns the segments and the saved entries of the last one.
    fn settle(&self, scan: &Scan) -> Result<(Vec<Arc<Segment>>, usize), LogError> {
        let (first, from) = scan.synced_at;
        let last = scan.segment;
        let mut segments = self.closed_before(first);
        if self.is_settled(scan) {
            let header = self.found[last]
                .header
                .expect("the scan went through this segment");
            segments.push(self.place.active(header, scan.index.clone()));
            return Ok((segments, scan.index_saved));
        }
        let mut rewritten = Vec::new();
        for number in first..=last {
            let start = if number == first { from } else { HEADER_LENGTH };
            let end = if number == last {
                scan.position
            } else {
                self.end_of(number)?
            };
            if start < end {
                rewritten.push(self.rewrite(number, start, end)?);
            }
        }
        // What was rewritten under its own base offset is replaced already. The first segment
        // keeps what was synced; the others hold nothing that counts.
        for (number, found) in self.found.iter().enumerate().skip(first) {
            if rewritten
                .iter()
                .any(|(header, _)| header.base == found.base)
            {
                continue;
            }
            if number > first {
                remove_segment_files(self.place, &found.path)?;
            } else if let Some(header) = found.header {
                self.cut(found, from)?;
                segments.push(match rewritten.is_empty() {
                    true if last == first => self.place.active(header, scan.index.clone()),
                    true => {
                        let index = self.index_of(found.base, header.salt, from)?;
                        self.place.active(header, index)
                    }
                    false => self.place.closed(header, from),
                });
            } else {
                segments.push(self.create_durably(found.base)?);
            }
        }
        self.sync_directory()?;
        let count = rewritten.len();
        for (i, (header, index)) in rewritten.into_iter().enumerate() {
            segments.push(if i + 1 == count {
                self.place.active(header, index)
            } else {
                self.place.closed(header, index.summary().length)
            });
        }
        Ok((segments, 0))
    }

    /// True when the files end exactly where the recorded synced end is.
    fn is_settled(&self, scan: &Scan) -> bool {
        let last = scan.segment;
        scan.synced_at == (last, scan.position)
            && self.found.len() == last + 1
            && self.found[last].length == scan.position
            && self.found[last].header.is_some()
    }

    /// Where the accepted frames of a segment before the last end.
    fn end_of(&self, number: usize) -> Result<u64, LogError> {
        let next_base = self.found[number + 1].base;
        let found = &self.found[number];
        let mut scanner = self.scanner(number, HEADER_LENGTH)?;
        loop {
            let before = scanner.position();
            match scanner
                .next_header()
                .map_err(LogError::io("cannot read", &found.path))?
            {
                Step::Frame { header, .. } if header.base_offset < next_base => {}
                _ => return Ok(before),
            }
        }
    }

    /// Writes the frames of `start..end` into a new file and syncs it. It takes the name of its
    /// first offset, which replaces the old file where that is the old file's.
    fn rewrite(
        &self,
        number: usize,
        start: u64,
        end: u64,
    ) -> Result<(SegmentHeader, SparseIndex), LogError> {
        let found = &self.found[number];
        let read_failed = |error| LogError::io("cannot read", &found.path)(error);
        let mut scanner = self.scanner(number, start)?;
        let mut step = scanner.next_frame().map_err(read_failed)?;
        let Step::Frame { header: first, .. } = step else {
            return Err(LogError::Format {
                path: found.path.clone(),
                what: format!("changed at byte {start} while it was recovered"),
            });
        };
        let base = if start == HEADER_LENGTH {
            found.base
        } else {
            first.base_offset
        };
        let cleaned = found.header.is_some_and(|h| h.cleaned);
        let header = SegmentHeader {
            cleaned,
            ..fresh_header(self.context, self.tablet, base)
        };
        let path = self.place.path(base, "log");
        let temporary = path.with_extension("log.tmp");
        let failed = |error| LogError::io("cannot write", &temporary)(error);
        let file = self
            .place
            .disk
            .open(&temporary, OpenMode::CreateOrTruncate)
            .map_err(failed)?;
        file.write_all_at(&[IoSlice::new(&header.encode())], 0)
            .map_err(failed)?;
        let mut index = SparseIndex::new(base, HEADER_LENGTH);
        let mut written = HEADER_LENGTH;
        let mut pending = Vec::new();
        while let Step::Frame {
            header: frame,
            position: old,
        } = step
        {
            if old >= end {
                break;
            }
            index.add(
                &frame,
                written + pending.len() as u64,
                self.place.index_interval,
            );
            let frame_end = pending.len() + frame.frame_length();
            frame.encode(header.salt, &mut pending);
            pending.extend_from_slice(scanner.batch());
            pending.resize(frame_end, 0);
            if pending.len() >= REWRITE_BYTES {
                file.write_all_at(&[IoSlice::new(&pending)], written)
                    .map_err(failed)?;
                written += pending.len() as u64;
                pending.clear();
            }
            step = scanner.next_frame().map_err(read_failed)?;
        }
        file.write_all_at(&[IoSlice::new(&pending)], written)
            .map_err(failed)?;
        file.sync_data()
            .map_err(LogError::io("cannot sync", &temporary))?;
        self.place
            .disk
            .rename(&temporary, &path)
            .map_err(LogError::io("cannot rename to", &path))?;
        self.sync_directory()?;
        Ok((header, index))
    }

    fn cut(&self, found: &Found, length: u64) -> Result<(), LogError> {
        let path = &found.path;
        let file = self
            .place
            .disk
            .open(path, OpenMode::ReadWrite)
            .map_err(LogError::io("cannot open", path))?;
        file.set_length(length)
            .map_err(LogError::io("cannot cut", path))?;
        file.sync_data().map_err(LogError::io("cannot sync", path))
    }
}

/// Removes a segment file and its index.
pub(super) fn remove_segment_files(place: &SegmentPlace, path: &Path) -> Result<(), LogError> {
    place
        .disk
        .remove_file(path)
        .map_err(LogError::io("cannot remove", path))?;
    let index = path.with_extension("index");
    if place
        .disk
        .exists(&index)
        .map_err(LogError::io("cannot look for", &index))?
    {
        place
            .disk
            .remove_file(&index)
            .map_err(LogError::io("cannot remove", &index))?;
    }
    Ok(())
}
