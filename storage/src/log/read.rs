//! Reading: a run of frames into one pooled buffer, whose batches then leave as slices of it.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use protocol::ids::Offset;
use protocol::stored;

use super::error::{LogError, OfflineCause, ReadError};
use super::frame::{self, FrameHeader};
use super::log::Log;
use super::segment::Segment;
use crate::buffers::PooledBuffer;

/// Read at once at most, unless one batch is larger.
const RUN_BYTES_MAX: usize = 1 << 20;
/// A first look at a frame reads at least this much.
const RUN_BYTES_MIN: usize = 16 << 10;
/// Batches below this size are moved together over the gaps of the frame headers; larger ones
/// leave as slices of their own.
const GATHER_BELOW: usize = 4 << 10;

/// What to read.
#[derive(Debug, Clone, Copy)]
pub struct ReadRange {
    /// First record wanted; the frame that holds it is returned whole.
    pub offset: Offset,
    /// Frames at or above this are not returned.
    pub end: Offset,
    /// Bytes of batches wanted at most.
    pub bytes_max: usize,
    /// Return the first frame even when it is larger than `bytes_max`.
    pub at_least_one: bool,
}

/// Frames that lie one after the other in a buffer.
pub struct FrameRun {
    buffer: PooledBuffer,
    frames: Vec<(FrameHeader, Range<usize>)>,
    /// The range holds no further frame that fits.
    exhausted: bool,
}

impl FrameRun {
    /// The frames in order.
    pub fn frames(&self) -> impl ExactSizeIterator<Item = (&FrameHeader, &[u8])> {
        self.frames
            .iter()
            .map(|(header, range)| (header, &self.buffer.as_ref()[range.clone()]))
    }

    /// True when nothing was read.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Offset after the last frame.
    pub fn next_offset(&self) -> Option<Offset> {
        self.frames
            .last()
            .map(|(header, _)| header.last_offset.next())
    }

    /// True when the frames are the last ones of the range: the next one is past its end or does
    /// not fit its bytes. Else another read may find more.
    pub fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    /// Keeps the first `count` frames.
    pub fn truncate(&mut self, count: usize) {
        self.frames.truncate(count);
    }

    /// Writes the assigned fields into the batches and returns them as slices of the buffer, in
    /// order and without the frame headers.
    pub fn into_batches(mut self) -> Vec<Bytes> {
        let mut chunks: Vec<Range<usize>> = Vec::new();
        let data = self.buffer.as_mut();
        for (header, range) in &self.frames {
            stored::write_assigned(header.format, &mut data[range.clone()], header.assigned());
            match chunks.last_mut() {
                Some(chunk) if range.len() < GATHER_BELOW => {
                    data.copy_within(range.clone(), chunk.end);
                    chunk.end += range.len();
                }
                _ => chunks.push(range.clone()),
            }
        }
        let buffer = self.buffer.freeze();
        chunks
            .into_iter()
            .map(|chunk| buffer.slice(chunk))
            .collect()
    }
}

impl Log {
    /// Checks that a read may begin at `offset`.
    pub fn check_readable(&self, offset: Offset) -> Result<(), ReadError> {
        let w = self.watermarks();
        if offset < w.log_start || offset > w.log_end {
            if offset > w.log_end
                && let Some(cause @ OfflineCause::Corrupt { .. }) = self.offline_cause()
            {
                return Err(ReadError::Corrupt(cause));
            }
            return Err(ReadError::OutOfRange {
                offset,
                log_start: w.log_start,
                log_end: w.log_end,
            });
        }
        Ok(())
    }

    /// Reads frames of one segment. Returns an empty run when there are none in the range.
    ///
    /// With `may_wait` false the answer is `None` when the bytes are not in the page cache: ask
    /// again where waiting for the disk is allowed.
    pub fn read_run(
        &self,
        range: ReadRange,
        may_wait: bool,
    ) -> Result<Option<FrameRun>, ReadError> {
        let found = self.in_segments(range.offset, range.end, may_wait, |segment| {
            self.read_frames(segment, range, may_wait)
        })?;
        Ok(match found {
            SegmentRead::Found(run) => Some(run),
            SegmentRead::WouldWait => None,
            SegmentRead::End => Some(self.empty_run()),
        })
    }

    /// Calls `look` for the segment that holds `offset` and for those after it, until one has
    /// something.
    pub(super) fn in_segments<T>(
        &self,
        offset: Offset,
        end: Offset,
        may_wait: bool,
        look: impl Fn(&Arc<Segment>) -> Result<SegmentRead<T>, ReadError>,
    ) -> Result<SegmentRead<T>, ReadError> {
        self.check_readable(offset)?;
        if offset >= end {
            return Ok(SegmentRead::End);
        }
        let segments = self.segments();
        let first = segments
            .partition_point(|s| s.base() <= offset)
            .saturating_sub(1);
        for segment in &segments[first..] {
            if !may_wait && !segment.is_at_hand() {
                return Ok(SegmentRead::WouldWait);
            }
            match look(segment) {
                Ok(SegmentRead::End) => {}
                // The segment was removed while it was looked at: the offset is below the start.
                Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                    self.check_readable(offset)?;
                    return Err(ReadError::Io(error));
                }
                other => return other,
            }
        }
        Ok(SegmentRead::End)
    }

    fn empty_run(&self) -> FrameRun {
        FrameRun {
            buffer: self.context.buffers.take(0),
            frames: Vec::new(),
            exhausted: true,
        }
    }

    fn read_frames(
        &self,
        segment: &Arc<Segment>,
        range: ReadRange,
        may_wait: bool,
    ) -> Result<SegmentRead<FrameRun>, ReadError> {
        let end = segment.length();
        let mut position = segment
            .position_of_offset(range.offset)
            .map_err(read_error)?;
        let file = segment.file()?;
        let salt = segment.header().salt;
        let mut wanted = range.bytes_max.clamp(RUN_BYTES_MIN, RUN_BYTES_MAX);
        while position < end {
            let length = (end - position).min(wanted as u64) as usize;
            let mut buffer = self.context.buffers.take(length);
            let read = if may_wait {
                Some(file.read_at(buffer.as_mut(), position)?)
            } else {
                file.read_at_without_waiting(buffer.as_mut(), position)?
            };
            let Some(read) = read else {
                return Ok(SegmentRead::WouldWait);
            };
            buffer.truncate(read);
            let walk = walk(buffer.as_ref(), salt, range);
            match walk {
                Walk::Found { frames, exhausted } => {
                    return Ok(SegmentRead::Found(FrameRun {
                        buffer,
                        frames,
                        exhausted,
                    }));
                }
                Walk::Nothing => return Ok(SegmentRead::Found(self.empty_run())),
                Walk::Before { frames_length } if frames_length > 0 => {
                    position += frames_length as u64;
                }
                Walk::Before { .. }
                | Walk::Larger {
                    frame_length: 0, ..
                } => {
                    return Err(self.corrupt(segment, position, range.offset));
                }
                Walk::Larger { at, frame_length } => {
                    if at as u64 + position + frame_length as u64 > end {
                        return Err(self.corrupt(segment, position + at as u64, range.offset));
                    }
                    position += at as u64;
                    wanted = frame_length;
                }
                Walk::Damaged { at } => {
                    return Err(self.corrupt(segment, position + at as u64, range.offset));
                }
            }
        }
        Ok(SegmentRead::End)
    }

    pub(crate) fn corrupt(&self, segment: &Segment, position: u64, offset: Offset) -> ReadError {
        let cause = OfflineCause::Corrupt {
            path: segment.path().to_path_buf(),
            position,
            offset,
            what: "no valid frame header",
        };
        tracing::error!(log = %self.id(), %cause, "read found damage");
        ReadError::Corrupt(cause)
    }

    /// About how many bytes there are between `offset` and the high watermark: exact but for the
    /// sparse index's step.
    pub fn bytes_from(&self, offset: Offset) -> u64 {
        let w = self.watermarks();
        if offset >= w.high_watermark {
            return 0;
        }
        let segments = self.segments();
        let number = segments
            .partition_point(|s| s.base() <= offset)
            .saturating_sub(1);
        let later: u64 = segments[number + 1..].iter().map(|s| s.length()).sum();
        let position = segments[number].position_of_offset(offset).unwrap_or(0);
        later + segments[number].length().saturating_sub(position)
    }

    /// Forgets loaded indexes of closed segments, to give memory back.
    pub fn unload_indexes(&self) {
        for segment in self.segments().iter() {
            segment.unload_index();
        }
    }

    /// Bytes of frames that no reader could tell apart from the log's end yet.
    pub fn has_data_from(&self, offset: Offset) -> bool {
        offset < self.visible.high_watermark()
    }
}

/// What a segment had for a read.
pub(super) enum SegmentRead<T> {
    Found(T),
    /// No frame of the range; the next segment may have some.
    End,
    WouldWait,
}

/// What a look at a buffer of frames found.
enum Walk {
    /// Frames of the range, and whether the next one is not of the range any more.
    Found {
        frames: Vec<(FrameHeader, Range<usize>)>,
        exhausted: bool,
    },
    /// The first frame of the range is not to be returned: too large, or past the end.
    Nothing,
    /// All whole frames in the buffer lie before the range.
    Before { frames_length: usize },
    /// The first frame of the range is longer than the buffer.
    Larger { at: usize, frame_length: usize },
    /// No valid header.
    Damaged { at: usize },
}

fn walk(bytes: &[u8], salt: u64, range: ReadRange) -> Walk {
    let mut frames = Vec::new();
    let mut at = 0;
    let mut taken = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let Some(header) = FrameHeader::decode(salt, rest) else {
            // A header may be cut by the end of the buffer, never by the end of the log.
            return match (frames.is_empty(), rest.len() < frame::HEADER_LENGTH_MAX) {
                (false, _) => Walk::Found {
                    frames,
                    exhausted: false,
                },
                (true, true) if at > 0 => Walk::Before { frames_length: at },
                (true, _) => Walk::Damaged { at },
            };
        };
        let batch =
            at + header.header_length()..at + header.header_length() + header.batch_length as usize;
        if header.last_offset >= range.offset {
            let too_much = taken + batch.len() > range.bytes_max;
            let first_may_be_larger = frames.is_empty() && range.at_least_one;
            if header.last_offset >= range.end || too_much && !first_may_be_larger {
                return if frames.is_empty() {
                    Walk::Nothing
                } else {
                    Walk::Found {
                        frames,
                        exhausted: true,
                    }
                };
            }
            if batch.end > bytes.len() {
                return if frames.is_empty() {
                    Walk::Larger {
                        at,
                        frame_length: header.header_length() + batch.len(),
                    }
                } else {
                    Walk::Found {
                        frames,
                        exhausted: false,
                    }
                };
            }
            taken += batch.len();
            frames.push((header, batch));
        }
        at += header.frame_length();
    }
    if frames.is_empty() {
        Walk::Before { frames_length: at }
    } else {
        Walk::Found {
            frames,
            exhausted: false,
        }
    }
}

pub(super) fn read_error(error: LogError) -> ReadError {
    match error {
        LogError::Io { error, .. } => ReadError::from(error),
        LogError::Offline(cause) => ReadError::Corrupt(cause),
        LogError::Format { .. } => ReadError::from(io::Error::other(error)),
    }
}
