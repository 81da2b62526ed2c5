//! One round over one log.

use std::collections::HashMap;
use std::sync::Arc;

use protocol::ids::Offset;

use super::format::{
    Fate, Judged, KeyedRecord, RecordFormat, Rewrite, RewriteError, UnreadableBatch,
};
use super::output::Output;
use super::successors::{Successors, SuccessorsError};
use super::window::{Held, Window};
use crate::log::error::{LogError, OfflineCause};
use crate::log::frame::FrameHeader;
use crate::log::log::Log;
use crate::log::producers::ProducerKey;
use crate::log::recovery::fresh_header;
use crate::log::scan::{FrameScanner, Step};
use crate::log::segment::{CLEANED_SPAN_MAX, HEADER_LENGTH, Segment, SegmentHeader};

/// Keys of removed tombstones that are held until their segment is in place. More tombstones than
/// fit wait for the next round, so that memory is bounded.
const FORGOTTEN_BYTES_MAX: usize = 4 << 20;

/// What a round needs.
pub struct Round<'a> {
    /// Nothing at or above it is touched ([`super::Backlog::first_uncleanable`]).
    pub end: Offset,
    /// How long tombstones stay after the first round that saw them, milliseconds.
    pub delete_retention_ms: i64,
    /// Who knows the newest offset of each key.
    pub successors: &'a dyn Successors,
    /// Who reads and writes the batches.
    pub format: &'a mut dyn RecordFormat,
    /// Called with the bytes that were read or written; may wait, to bound their rate. The round
    /// ends where it stands when the answer is false.
    pub pace: &'a mut dyn FnMut(u64) -> bool,
}

/// What a round did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Offset below which everything has been through a round now.
    pub end: Offset,
    /// False when the round was told to stop, or a segment went away under it.
    pub complete: bool,
    /// Segments that were walked, and their bytes.
    pub segments_read: usize,
    /// Bytes of them.
    pub bytes_read: u64,
    /// Segments that took their place, those that had not to change included.
    pub segments_left: usize,
    /// Bytes of them.
    pub bytes_left: u64,
    /// Bytes that were written.
    pub bytes_written: u64,
    /// Records that were judged.
    pub records_read: u64,
    /// Records that stayed.
    pub records_left: u64,
    /// Tombstones among those that went because their time was over.
    pub tombstones_removed: u64,
}

/// Why a round ended early. What it put in place before stays.
#[derive(Debug, thiserror::Error)]
pub enum CleanError {
    /// A batch cannot be read: the log is not cleaned until somebody looks at it.
    #[error("{} at byte {position}, offset {offset}: {what}", path.display())]
    Unreadable {
        /// The segment.
        path: std::path::PathBuf,
        /// Where the frame begins.
        position: u64,
        /// Its offset.
        offset: Offset,
        /// Why.
        #[source]
        what: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The newest offsets are not known now.
    #[error(transparent)]
    Successors(#[from] SuccessorsError),
    /// The disk refused something; a later round may do.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl CleanError {
    pub(super) fn unreadable(
        segment: &Segment,
        position: u64,
        offset: Offset,
    ) -> impl FnOnce(UnreadableBatch) -> CleanError {
        let path = segment.path().to_path_buf();
        move |error| CleanError::Unreadable {
            path,
            position,
            offset,
            what: error.0,
        }
    }

    /// True when trying again does not help.
    pub fn is_lasting(&self) -> bool {
        matches!(self, CleanError::Unreadable { .. })
    }
}

impl From<OfflineCause> for CleanError {
    fn from(cause: OfflineCause) -> Self {
        CleanError::Log(LogError::Offline(cause))
    }
}

impl Log {
    /// Cleans closed segments from the log's start up to the end of the round. Waits for the disk.
    /// Reads and appends go on; another round of this log waits.
    pub fn clean(&self, round: Round<'_>) -> Result<Cleaned, CleanError> {
        let _one = self.cleaning.lock();
        if let Some(cause) = self.offline_cause() {
            return Err(cause.into());
        }
        let segments = self.segments();
        // Recovery begins at the checkpoint, so it has to lie behind what is replaced.
        self.checkpoint()?;
        let known_end = round.successors.known_end()?;
        let limit = round.end.min(self.clean_limit());
        let chosen: Vec<Arc<Segment>> = segments
            .windows(2)
            .take_while(|pair| pair[1].base() <= limit && pair[0].base() < known_end)
            // More offsets than the header of a cleaned segment can say: none has so many.
            .take_while(|pair| pair[1].base() - pair[0].base() <= CLEANED_SPAN_MAX)
            .map(|pair| Arc::clone(&pair[0]))
            .collect();
        let end = segments[chosen.len()].base().min(known_end);
        let mut cleaning = Cleaning {
            log: self,
            known_end,
            last_frame_end: last_frame_end(&chosen)?,
            newest_of_producers: self
                .producers()
                .into_iter()
                .map(|(key, entry)| (key, entry.last().base_offset))
                .collect(),
            now_ms: self.context.env.clock.wall_ms(),
            round,
            done: Cleaned {
                complete: true,
                ..Cleaned::default()
            },
            window: Window::default(),
            forgotten: Forgotten::default(),
            fates: Vec::new(),
        };
        let ends = segments[1..].iter().map(|next| next.base());
        for group in groups(&chosen, ends, self.config().segment_bytes_max) {
            if !cleaning.group(&group)? {
                cleaning.done.complete = false;
                break;
            }
        }
        let mut done = cleaning.done;
        let mut state = self.clean_state.lock();
        done.end = state.first_dirty(&self.place)?;
        if done.complete && !chosen.is_empty() {
            state.cleaned_to(&self.place, end)?;
            done.end = end;
        }
        Ok(done)
    }
}

/// The last offset of the range that has a frame, plus one. That frame stays, empty if need be:
/// who reads on from there must find something as long as nothing follows.
fn last_frame_end(chosen: &[Arc<Segment>]) -> Result<Offset, LogError> {
    let mut end = Offset::ZERO;
    for segment in chosen {
        end = end.max(segment.summary()?.end_offset);
    }
    Ok(end)
}

/// Neighbours that become one segment.
struct Group {
    segments: Vec<Arc<Segment>>,
    end: Offset,
}

fn groups(
    chosen: &[Arc<Segment>],
    ends: impl Iterator<Item = Offset>,
    segment_bytes_max: u64,
) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut length = 0;
    for (segment, end) in chosen.iter().zip(ends) {
        let fits = groups.last().is_some_and(|group| {
            length + segment.length() - HEADER_LENGTH <= segment_bytes_max
                && end - group.segments[0].base() <= CLEANED_SPAN_MAX
        });
        match groups.last_mut().filter(|_| fits) {
            Some(group) => {
                length += segment.length() - HEADER_LENGTH;
                group.segments.push(Arc::clone(segment));
                group.end = end;
            }
            None => {
                length = segment.length();
                groups.push(Group {
                    segments: vec![Arc::clone(segment)],
                    end,
                });
            }
        }
    }
    groups
}

/// Keys and offsets of tombstones that are gone from the segment that is being written.
#[derive(Default)]
struct Forgotten {
    keys: Vec<u8>,
    ends: Vec<(usize, Offset)>,
}

impl Forgotten {
    fn has_room(&self) -> bool {
        self.keys.len() + self.ends.len() * size_of::<(usize, Offset)>() < FORGOTTEN_BYTES_MAX
    }

    fn note(&mut self, key: &[u8], offset: Offset) {
        self.keys.extend_from_slice(key);
        self.ends.push((self.keys.len(), offset));
    }

    fn tell(&mut self, successors: &dyn Successors) -> Result<(), SuccessorsError> {
        let mut start = 0;
        let mut gone: Vec<(&[u8], Offset)> = Vec::with_capacity(self.ends.len());
        for (end, offset) in &self.ends {
            gone.push((&self.keys[start..*end], *offset));
            start = *end;
        }
        if !gone.is_empty() {
            successors.forget(&gone)?;
        }
        drop(gone);
        self.keys.clear();
        self.ends.clear();
        Ok(())
    }
}

struct Cleaning<'l, 'r> {
    log: &'l Log,
    round: Round<'r>,
    /// Records at or above it are not judged.
    known_end: Offset,
    last_frame_end: Offset,
    newest_of_producers: HashMap<ProducerKey, Offset>,
    now_ms: i64,
    done: Cleaned,
    window: Window,
    forgotten: Forgotten,
    fates: Vec<Fate>,
}

impl Cleaning<'_, '_> {
    /// Cleans a group. False when the round shall end.
    fn group(&mut self, group: &Group) -> Result<bool, CleanError> {
        let before = self.done;
        let mut output = None;
        let walked = self.walk_group(group, &mut output);
        let going_on = match walked {
            Ok(true) => true,
            stopped => {
                self.window.clear();
                if let Some(output) = output {
                    output.discard();
                }
                return stopped;
            }
        };
        for segment in &group.segments {
            self.done.segments_read += 1;
            self.done.bytes_read += segment.length();
        }
        self.done.segments_left += 1;
        let Some(mut output) = output else {
            // A single segment that had not to change.
            self.done.bytes_left += group.segments[0].length();
            return Ok(going_on);
        };
        if let Err(error) = output.finish() {
            output.discard();
            return Err(error.into());
        }
        let length = output.length();
        if !self.log.swap(&group.segments, output)? {
            self.done = before;
            return Ok(false);
        }
        self.done.bytes_left += length;
        self.done.bytes_written += length;
        self.forgotten.tell(self.round.successors)?;
        Ok(going_on)
    }

    fn walk_group(
        &mut self,
        group: &Group,
        output: &mut Option<Output>,
    ) -> Result<bool, CleanError> {
        let header = SegmentHeader {
            cleaned_to: Some(group.end),
            ..fresh_header(&self.log.context, self.log.id, group.segments[0].base())
        };
        if group.segments.len() > 1 {
            *output = Some(Output::create(&self.log.place, header)?);
        }
        for segment in &group.segments {
            let mut scanner = scanner(segment)?;
            loop {
                let Some((frame, position)) = next_frame(segment, &mut scanner)? else {
                    break;
                };
                self.window
                    .take(frame, position, scanner.batch(), self.round.format)
                    .map_err(CleanError::unreadable(segment, position, frame.base_offset))?;
                if self.window.is_full() && !self.judge_window(segment, header, output)? {
                    return Ok(false);
                }
            }
            if !self.judge_window(segment, header, output)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Judges the frames of the window and writes what stays of them. False when the round shall
    /// end.
    fn judge_window(
        &mut self,
        segment: &Arc<Segment>,
        header: SegmentHeader,
        output: &mut Option<Output>,
    ) -> Result<bool, CleanError> {
        if self.log.offline_cause().is_some() {
            return Ok(false);
        }
        let mut window = std::mem::take(&mut self.window);
        window.ask(self.round.successors)?;
        // After the question: whatever the answers name is below it, or stays for now.
        let limit = self.log.clean_limit();
        let log_start = self.log.watermarks().log_start;
        let failed = LogError::io;
        let written_before = output.as_ref().map_or(0, Output::length);
        let mut read = 0;
        for frame in window.frames() {
            read += frame.header.frame_length() as u64;
            let what = self.judge_frame(&window, frame, limit, log_start);
            if output.is_none() {
                if matches!(what, Outcome::Same) {
                    continue;
                }
                // The first frame that changes: those before it are taken over as they are.
                let mut begun = Output::create(&self.log.place, header)?;
                let copied = copy_before(segment, frame.position, &mut begun);
                *output = Some(begun);
                copied?;
            }
            let Some(output) = output.as_mut() else {
                continue;
            };
            let path = output.path.clone();
            let batch = window.batch(frame);
            match what {
                Outcome::Same => output
                    .add(&frame.header, batch)
                    .map_err(failed("cannot write", &path))?,
                Outcome::Gone => {}
                Outcome::Rewritten { new_horizon } => {
                    let rewrite = Rewrite {
                        header: &frame.header,
                        batch,
                        extra: window.extra(frame),
                        records: window.records(frame),
                        judged: Judged {
                            fates: &self.fates,
                            new_horizon,
                        },
                    };
                    let mut write = |header: &FrameHeader, batch: &[u8]| output.add(header, batch);
                    match self.round.format.rewrite(rewrite, &mut write) {
                        Ok(()) => {}
                        Err(RewriteError::Io(error)) => {
                            return Err(failed("cannot write", &path)(error).into());
                        }
                        Err(RewriteError::Unreadable(error)) => {
                            let at = (frame.position, frame.header.base_offset);
                            return Err(CleanError::unreadable(segment, at.0, at.1)(error));
                        }
                    }
                }
            }
        }
        window.clear();
        self.window = window;
        let written = output.as_ref().map_or(0, Output::length) - written_before;
        Ok((self.round.pace)(read + written))
    }

    fn judge_frame(
        &mut self,
        window: &Window,
        frame: &Held,
        limit: Offset,
        log_start: Offset,
    ) -> Outcome {
        let header = &frame.header;
        if header.control {
            return Outcome::Same;
        }
        let (records, newest) = (window.records(frame), window.newest(frame));
        let horizon = self
            .round
            .format
            .delete_horizon(header, window.batch(frame));
        let expired = horizon.is_some_and(|horizon| self.now_ms >= horizon);
        self.fates.clear();
        let mut tombstones_stay = false;
        for (record, newest) in records.iter().zip(newest) {
            let fate = self.judge(window, record, *newest, limit, log_start, expired);
            tombstones_stay |= record.tombstone && fate.stays();
            self.fates.push(fate);
        }
        let left = self.fates.iter().filter(|fate| fate.stays()).count();
        self.done.records_read += records.len() as u64;
        self.done.records_left += left as u64;
        let judged = Judged {
            fates: &self.fates,
            new_horizon: (tombstones_stay && horizon.is_none())
                .then(|| self.now_ms.saturating_add(self.round.delete_retention_ms)),
        };
        if left == 0 && !self.must_stay(header) {
            return Outcome::Gone;
        }
        let changes = left < records.len();
        if changes || self.round.format.must_rewrite(header, records, &judged) {
            return Outcome::Rewritten {
                new_horizon: judged.new_horizon,
            };
        }
        Outcome::Same
    }

    fn judge(
        &mut self,
        window: &Window,
        record: &KeyedRecord,
        newest: Option<Offset>,
        limit: Offset,
        log_start: Offset,
        expired: bool,
    ) -> Fate {
        if record.offset < log_start {
            return Fate::Gone;
        }
        if record.offset >= self.known_end {
            return Fate::Undecided;
        }
        let Some(key) = window.key(record) else {
            return Fate::Gone;
        };
        match newest {
            Some(newest) if newest > record.offset && newest < limit => Fate::Gone,
            Some(newest) if newest > record.offset => Fate::Undecided,
            _ if record.tombstone && expired && self.forgotten.has_room() => {
                self.forgotten.note(key, record.offset);
                self.done.tombstones_removed += 1;
                Fate::Gone
            }
            _ => Fate::Newest,
        }
    }

    /// True when the frame stays though none of its records does: it is the newest of its producer,
    /// or the last one of the range.
    fn must_stay(&self, header: &FrameHeader) -> bool {
        let of_producer = header.source.as_ref().is_some_and(|source| {
            self.newest_of_producers.get(&ProducerKey::of(source)) == Some(&header.base_offset)
        });
        of_producer || header.last_offset.next() >= self.last_frame_end
    }
}

/// What becomes of a frame.
enum Outcome {
    Same,
    Rewritten { new_horizon: Option<i64> },
    Gone,
}

fn scanner(segment: &Arc<Segment>) -> Result<FrameScanner, CleanError> {
    let file = segment
        .file()
        .map_err(LogError::io("cannot open", segment.path()))?;
    let salt = segment.header().salt;
    Ok(FrameScanner::new(
        file,
        salt,
        HEADER_LENGTH,
        segment.length(),
    ))
}

/// The next frame of a closed segment, checked.
fn next_frame(
    segment: &Segment,
    scanner: &mut FrameScanner,
) -> Result<Option<(FrameHeader, u64)>, CleanError> {
    let step = scanner
        .next_frame()
        .map_err(LogError::io("cannot read", segment.path()))?;
    let damaged = |position, offset, what: &'static str| CleanError::Unreadable {
        path: segment.path().to_path_buf(),
        position,
        offset,
        what: what.into(),
    };
    match step {
        Step::End => Ok(None),
        Step::Frame { header, position } if scanner.batch_crc_holds(&header) => {
            Ok(Some((header, position)))
        }
        Step::Frame { header, position } => {
            let what = "a batch whose CRC does not hold";
            Err(damaged(position, header.base_offset, what))
        }
        Step::Damaged { position, what } => Err(damaged(position, segment.base(), what)),
    }
}

/// Takes over the frames before `position` as they are.
fn copy_before(
    segment: &Arc<Segment>,
    position: u64,
    output: &mut Output,
) -> Result<(), CleanError> {
    let mut scanner = scanner(segment)?;
    while scanner.position() < position {
        let Some((header, _)) = next_frame(segment, &mut scanner)? else {
            break;
        };
        let added = output.add(&header, scanner.batch());
        added.map_err(LogError::io("cannot write", &output.path))?;
    }
    Ok(())
}

/// Calls `look` with each frame of the closed segments that has offsets of `from..end`, until it
/// says false or `pace` does: then the answer is false.
pub(super) fn scan_frames(
    log: &Log,
    from: Offset,
    end: Offset,
    pace: &mut dyn FnMut(u64) -> bool,
    look: &mut dyn FnMut(&Segment, FrameHeader, u64, &[u8]) -> Result<bool, CleanError>,
) -> Result<bool, CleanError> {
    let segments = log.segments();
    for pair in segments.windows(2) {
        let (segment, next) = (&pair[0], &pair[1]);
        if next.base() <= from || segment.base() >= end {
            continue;
        }
        let mut scanner = scanner(segment)?;
        scanner.skip_to(segment.position_of_offset(from)?);
        while let Some((header, position)) = next_frame(segment, &mut scanner)? {
            if header.last_offset < from {
                continue;
            }
            let goes_on = look(segment, header, position, scanner.batch())?;
            if !goes_on || !pace(header.frame_length() as u64) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}
