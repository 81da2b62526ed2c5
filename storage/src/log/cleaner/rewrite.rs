//! Writing what stays of some segments into a new one.

use std::collections::HashMap;
use std::sync::Arc;

use protocol::ids::Offset;

use super::format::{Fate, Judged, KeyedRecord, Rewrite, RewriteError};
use super::frames::{copy_before, next_frame, scanner};
use super::output::Output;
use super::round::{CleanError, Cleaned, Group, Round};
use super::successors::{Successors, SuccessorsError};
use super::swap::Replacement;
use super::window::{Held, Window};
use crate::log::error::LogError;
use crate::log::frame::FrameHeader;
use crate::log::log::Log;
use crate::log::producers::ProducerKey;
use crate::log::recovery::fresh_header;
use crate::log::segment::{Segment, SegmentHeader};

/// Keys of removed tombstones that are held until their segment is in place. More tombstones than
/// fit wait for the next round, so that memory is bounded.
const FORGOTTEN_BYTES_MAX: usize = 4 << 20;

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

/// A round that is under way.
pub(super) struct Cleaning<'l, 'r> {
    log: &'l Log,
    round: Round<'r>,
    /// Records at or above it are not judged.
    end: Offset,
    /// A record goes when the newest of its key is below: durable and decided. In a log that goes
    /// as a whole that is the end of the round: what stays there is rewritten to fit what goes, and
    /// of a key that has a record behind it, all stay for now.
    successors_end: Offset,
    /// What is put in place at the end of the round, together.
    held_back: Vec<Replacement>,
    last_frame_end: Offset,
    newest_of_producers: HashMap<ProducerKey, Offset>,
    now_ms: i64,
    done: Cleaned,
    window: Window,
    forgotten: Forgotten,
    fates: Vec<Fate>,
}

impl<'l, 'r> Cleaning<'l, 'r> {
    /// Nothing is cleaned yet. What lies below `end` is durable and known to who is asked. The last
    /// frame of the range ends before `last_frame_end`.
    pub(super) fn new(log: &'l Log, round: Round<'r>, end: Offset, last_frame_end: Offset) -> Self {
        let producers = log.producers().into_iter();
        Cleaning {
            log,
            end,
            successors_end: match round.format.goes_as_a_whole() {
                true => end,
                false => log.clean_limit(),
            },
            held_back: Vec::new(),
            last_frame_end,
            newest_of_producers: producers
                .map(|(key, entry)| (key, entry.last().base_offset))
                .collect(),
            now_ms: log.context.env.clock.wall_ms(),
            round,
            done: Cleaned {
                complete: true,
                ..Cleaned::default()
            },
            window: Window::default(),
            forgotten: Forgotten::default(),
            fates: Vec::new(),
        }
    }

    /// Cleans the groups, one after the other.
    pub(super) fn run(&mut self, groups: &[Group]) -> Result<Cleaned, CleanError> {
        let done = self.run_groups(groups);
        for left in self.held_back.drain(..) {
            left.output.discard();
        }
        self.done.complete = done?;
        Ok(self.done)
    }

    fn run_groups(&mut self, groups: &[Group]) -> Result<bool, CleanError> {
        let as_a_whole = self.round.format.goes_as_a_whole();
        let mut complete = true;
        for group in groups {
            if !self.group(group, as_a_whole)? {
                complete = false;
                break;
            }
        }
        if !as_a_whole {
            return Ok(complete);
        }
        if !complete || !self.log.swap(std::mem::take(&mut self.held_back))? {
            self.done = Cleaned::default();
            return Ok(false);
        }
        self.forgotten.tell(self.round.successors)?;
        Ok(true)
    }

    /// Cleans a group. False when the round shall end.
    fn group(&mut self, group: &Group, as_a_whole: bool) -> Result<bool, CleanError> {
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
        self.done.bytes_left += length;
        self.done.bytes_written += length;
        let old = group.segments.clone();
        let replacement = Replacement { old, output };
        if as_a_whole {
            self.held_back.push(replacement);
            return Ok(going_on);
        }
        if !self.log.swap(vec![replacement])? {
            self.done = before;
            return Ok(false);
        }
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
        if self.log.offline_cause().is_some() || self.log.round_shall_end() {
            return Ok(false);
        }
        let mut window = std::mem::take(&mut self.window);
        window.ask(self.round.successors)?;
        let log_start = self.log.watermarks().log_start;
        let failed = LogError::io;
        let written_before = output.as_ref().map_or(0, Output::length);
        let mut read = 0;
        for frame in window.frames() {
            read += frame.header.frame_length() as u64;
            let what = self.judge_frame(&window, frame, log_start)?;
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
        log_start: Offset,
    ) -> Result<Outcome, SuccessorsError> {
        let header = &frame.header;
        if header.control {
            return Ok(Outcome::Same);
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
            let fate = self.judge(window, record, *newest, log_start, expired)?;
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
            return Ok(Outcome::Gone);
        }
        let changes = left < records.len();
        if changes || self.round.format.must_rewrite(header, records, &judged) {
            return Ok(Outcome::Rewritten {
                new_horizon: judged.new_horizon,
            });
        }
        Ok(Outcome::Same)
    }

    fn judge(
        &mut self,
        window: &Window,
        record: &KeyedRecord,
        newest: Option<Offset>,
        log_start: Offset,
        expired: bool,
    ) -> Result<Fate, SuccessorsError> {
        if record.offset < log_start {
            return Ok(Fate::Gone);
        }
        if record.offset >= self.end {
            return Ok(Fate::Undecided);
        }
        let Some(key) = window.key(record) else {
            return Ok(Fate::Gone);
        };
        match newest {
            Some(newest) if newest > record.offset && newest < self.successors_end => {
                Ok(Fate::Gone)
            }
            Some(newest) if newest > record.offset => Ok(Fate::Undecided),
            _ if record.tombstone && expired && self.may_go(record.offset)? => {
                if self.round.successors.remembers_tombstones() {
                    self.forgotten.note(key, record.offset);
                }
                self.done.tombstones_removed += 1;
                Ok(Fate::Gone)
            }
            _ => Ok(Fate::Newest),
        }
    }

    /// Whether the tombstone at this offset, whose time is over, may go in this round.
    fn may_go(&self, tombstone: Offset) -> Result<bool, SuccessorsError> {
        let successors = self.round.successors;
        let has_room = self.forgotten.has_room() || !successors.remembers_tombstones();
        Ok(has_room && successors.has_noted(tombstone)?)
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
