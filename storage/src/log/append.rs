//! Appending: judge, assign, write with one call, publish or take back.

use std::fmt::Display;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use protocol::batch::{BatchFormat, NO_TIME, UnassignedBatch};
use protocol::ids::Offset;
use protocol::stored;

use super::config::{FlushMode, LogConfig, SEGMENT_BYTES_LIMIT};
use super::error::{AppendError, LogError, OfflineCause};
use super::frame::{self, ALIGNMENT, FrameHeader};
use super::log::{Append, Appended, Log, Tail};
use super::parts::{admit_part, is_part};
use super::producers::{ProducerEntry, ProducerKey, Producers, Verdict};
use super::recovery;
use super::segment::HEADER_LENGTH;

/// How long nothing more is said of failed appends of a log: an administrator sees that it goes on.
const FAILURE_TOLD_AGAIN_MS: i64 = 60_000;

/// Frames that are about to be written with one call.
#[derive(Default)]
struct Group {
    frames: Vec<(FrameHeader, u64)>,
    bodies: Vec<Bytes>,
    /// Results of the appends in it, by number.
    appends: Vec<(usize, Appended)>,
    undo: Vec<(ProducerKey, Option<ProducerEntry>)>,
    end: u64,
}

enum Planned {
    Appended(Appended),
    Duplicate(Appended),
}

impl Log {
    /// Appends in order, each append wholly or not at all, with one write for as many as fit the
    /// active segment. The result of each stands at its place.
    pub fn append_group(&self, appends: &[Append]) -> Vec<Result<Appended, AppendError>> {
        let mut results: Vec<Result<Appended, AppendError>> = Vec::with_capacity(appends.len());
        if let Some(cause) = self.offline_cause() {
            results.resize(appends.len(), Err(AppendError::Offline(cause)));
            return results;
        }
        let config = self.config();
        let mut tail = self.tail.lock();
        let commit_time = self.context.commit_clock.now();
        let mut next = Offset::new(self.log_end.load(Ordering::Acquire));
        let mut group = Group {
            end: tail.position,
            ..Group::default()
        };
        for (number, append) in appends.iter().enumerate() {
            if self.must_roll(&config, &tail, &group, append, next, commit_time) {
                self.write_group(&mut tail, &mut group, &mut results);
                next = Offset::new(self.log_end.load(Ordering::Acquire));
                if tail.position > HEADER_LENGTH
                    && let Err(error) = self.roll(&mut tail, next)
                {
                    self.tell_failed(&mut tail, &error);
                    results.push(Err(append_error(error)));
                    continue;
                }
                group.end = tail.position;
            }
            match self.plan(&mut tail, &mut group, append, next, commit_time) {
                Ok(Planned::Appended(appended)) => {
                    group.appends.push((number, appended));
                    next = appended.last_offset.next();
                    // Overwritten should the write fail.
                    results.push(Ok(appended));
                }
                Ok(Planned::Duplicate(appended)) => results.push(Ok(appended)),
                Err(error) => results.push(Err(error)),
            }
        }
        self.write_group(&mut tail, &mut group, &mut results);
        results
    }

    fn must_roll(
        &self,
        config: &LogConfig,
        tail: &Tail,
        group: &Group,
        append: &Append,
        next: Offset,
        commit_time: i64,
    ) -> bool {
        if group.end == HEADER_LENGTH {
            return false;
        }
        let bytes = append
            .batches
            .iter()
            .map(|b| (b.bytes.len() + frame::HEADER_LENGTH_MAX).next_multiple_of(ALIGNMENT))
            .sum::<usize>() as u64;
        let too_long = group.end + bytes > config.segment_bytes_max.min(SEGMENT_BYTES_LIMIT);
        let too_old = tail.first_commit_time != NO_TIME
            && config
                .segment_ms_max
                .is_some_and(|max| commit_time - tail.first_commit_time >= max);
        // The index keeps offsets relative to the segment's base in 32 bits.
        let too_far = next - tail.segment.base() > i64::from(u32::MAX / 2);
        too_long || too_old || too_far
    }

    /// Judges an append and puts its frames into the group.
    fn plan(
        &self,
        tail: &mut Tail,
        group: &mut Group,
        append: &Append,
        base: Offset,
        commit_time: i64,
    ) -> Result<Planned, AppendError> {
        if let Some(expected) = append.expected_epoch
            && expected != self.epoch
        {
            return Err(AppendError::FencedLeader {
                current: self.epoch,
                expected,
            });
        }
        let undo_start = group.undo.len();
        let frames_start = group.frames.len();
        let end_start = group.end;
        let mut next = base;
        let log_start = Offset::new(self.log_start.load(Ordering::Acquire));
        for batch in &append.batches {
            let verdict = match &batch.source {
                // Who split the batch has judged its order, and whether the log has it.
                Some(source) if is_part(batch) => {
                    let entry = tail.producers.entry(ProducerKey::of(source));
                    admit_part(entry, source).map(|()| Verdict::Next)
                }
                Some(source) => tail.producers.judge(source),
                None => Ok(Verdict::Next),
            };
            let refused = match verdict {
                Ok(Verdict::Next) if next.value() > i64::MAX / 2 => {
                    Some(Err(AppendError::OffsetsExhausted))
                }
                Ok(Verdict::Next) => None,
                // One duplicate makes the whole append one, as in Fluss; Kafka sends one batch.
                Ok(Verdict::Duplicate(known)) => {
                    Some(Ok(Planned::Duplicate(self.duplicate(&known))))
                }
                Err(error) => Some(Err(error)),
            };
            if let Some(answer) = refused {
                undo(&mut tail.producers, group, undo_start);
                group.frames.truncate(frames_start);
                group.bodies.truncate(frames_start);
                group.end = end_start;
                return answer;
            }
            let (header, body) = self.frame(append, batch, next, commit_time);
            group.undo.extend(tail.producers.note(&header));
            group.frames.push((header, group.end));
            group.bodies.push(body);
            group.end += header.frame_length() as u64;
            next = header.last_offset.next();
        }
        Ok(Planned::Appended(Appended {
            base_offset: base,
            last_offset: next + -1,
            leader_epoch: self.epoch,
            commit_time,
            log_start,
            duplicate: false,
        }))
    }

    fn frame(
        &self,
        append: &Append,
        batch: &UnassignedBatch,
        base: Offset,
        commit_time: i64,
    ) -> (FrameHeader, Bytes) {
        let stamped = append.stamp_log_append_time && batch.format == BatchFormat::Kafka;
        let body = if stamped {
            let mut bytes = batch.bytes.to_vec();
            stored::stamp_log_append_time(&mut bytes, commit_time);
            Bytes::from(bytes)
        } else {
            batch.bytes.clone()
        };
        let record_time_max = if stamped || batch.record_time_max == NO_TIME {
            commit_time
        } else {
            batch.record_time_max
        };
        let header = FrameHeader {
            format: batch.format,
            transactional: batch.transactional,
            control: batch.control,
            batch_length: body.len() as u32,
            base_offset: base,
            last_offset: base + i64::from(batch.last_offset_delta),
            leader_epoch: self.epoch,
            schema_id: batch.schema_id,
            commit_time,
            record_time_max,
            synced_end: Offset::new(self.synced_end.load(Ordering::Acquire)),
            source: batch.source,
        };
        (header, body)
    }

    /// Writes the group with one call, and publishes it or takes it back.
    fn write_group(
        &self,
        tail: &mut Tail,
        group: &mut Group,
        results: &mut [Result<Appended, AppendError>],
    ) {
        if group.frames.is_empty() {
            return;
        }
        let taken = std::mem::take(group);
        group.end = taken.end;
        let Err(error) = write_frames(tail, &taken) else {
            self.publish(tail, &taken);
            return;
        };
        for (key, before) in taken.undo.into_iter().rev() {
            tail.producers.restore(key, before);
        }
        group.end = tail.position;
        let error = self.take_back(tail, error);
        for (number, _) in taken.appends {
            results[number] = Err(error.clone());
        }
    }

    fn publish(&self, tail: &mut Tail, group: &Group) {
        let (first, _) = group.frames[0];
        let (last, _) = group.frames[group.frames.len() - 1];
        self.debt.add(group.end - tail.position);
        if tail.first_commit_time == NO_TIME {
            tail.first_commit_time = first.commit_time;
        }
        tail.position = group.end;
        tail.segment.publish(&group.frames);
        self.epochs.write().note(self.epoch, first.base_offset);
        let end = last.last_offset.next();
        self.log_end.store(end.value(), Ordering::Release);
        if self.config.read().flush_mode == FlushMode::PageCache {
            self.promise(end);
        }
    }

    /// A write failed: cuts the file where it was, so that no half-written frame is taken for one
    /// later, and says what the client is told.
    fn take_back(&self, tail: &mut Tail, error: io::Error) -> AppendError {
        self.tell_failed(tail, &error);
        let path = tail.segment.path().to_path_buf();
        let cut = tail
            .segment
            .file()
            .and_then(|file| file.set_length(tail.position));
        if let Err(undo_error) = cut {
            self.go_offline(OfflineCause::UndoFailed {
                path,
                error: Arc::new(undo_error),
            });
        }
        io_append_error(error)
    }

    /// Says that an append failed, once in a while: on a full disk every one fails, and producers
    /// come again without end. What is above does not say it again.
    fn tell_failed(&self, tail: &mut Tail, error: &dyn Display) {
        let now = self.context.commit_clock.now();
        let told = tail.failure_told;
        if told != NO_TIME && now.saturating_sub(told) < FAILURE_TOLD_AGAIN_MS {
            return;
        }
        tail.failure_told = now;
        let path = tail.segment.path();
        tracing::error!(log = %self.id, path = %path.display(), %error, "append failed");
    }

    /// Closes the active segment and begins a new one at `base`.
    pub(super) fn roll(&self, tail: &mut Tail, base: Offset) -> Result<(), LogError> {
        let fresh = self
            .place
            .create(recovery::fresh_header(&self.context, self.id, base))?;
        let old = std::mem::replace(&mut tail.segment, Arc::clone(&fresh));
        tail.position = HEADER_LENGTH;
        tail.first_commit_time = NO_TIME;
        tail.directory_dirty = true;
        // The index is derived: when it cannot be written now, it is built when it is needed.
        let written = old.with_growing(|index| old.write_index(index));
        if let Some(Err(error)) = written {
            tracing::warn!(log = %self.id, %error, "cannot write the index of a closed segment");
        }
        old.close_index();
        tail.unsynced_indexes.push(Arc::clone(&old));
        tail.unsynced.push(old);
        self.debt.note_roll();
        let mut segments = self.segments.write();
        let mut list = Vec::clone(&segments);
        list.push(fresh);
        *segments = Arc::new(list);
        Ok(())
    }
}

fn undo(producers: &mut Producers, group: &mut Group, from: usize) {
    for (key, before) in group.undo.drain(from..).rev() {
        producers.restore(key, before);
    }
}

/// Writes headers, batches and padding of a group behind the tail.
fn write_frames(tail: &mut Tail, group: &Group) -> io::Result<()> {
    const PADDING: [u8; ALIGNMENT] = [0; ALIGNMENT];
    let file = tail.segment.file()?;
    let salt = tail.segment.header().salt;
    tail.headers.clear();
    for (header, _) in &group.frames {
        header.encode(salt, &mut tail.headers);
    }
    let mut slices = Vec::with_capacity(group.frames.len() * 3);
    let mut headers = tail.headers.as_slice();
    for ((header, _), body) in group.frames.iter().zip(&group.bodies) {
        let (encoded, rest) = headers.split_at(header.header_length());
        headers = rest;
        slices.push(IoSlice::new(encoded));
        slices.push(IoSlice::new(body));
        let padding = header.frame_length() - encoded.len() - body.len();
        if padding > 0 {
            slices.push(IoSlice::new(&PADDING[..padding]));
        }
    }
    file.write_all_at(&slices, tail.position)
}

fn append_error(error: LogError) -> AppendError {
    match error {
        LogError::Io { error, .. } => io_append_error(error),
        LogError::Offline(cause) => AppendError::Offline(cause),
        LogError::Format { .. } => AppendError::Io(Arc::new(io::Error::other(error))),
    }
}

fn io_append_error(error: io::Error) -> AppendError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => AppendError::DiskFull,
        _ => AppendError::Io(Arc::new(error)),
    }
}
