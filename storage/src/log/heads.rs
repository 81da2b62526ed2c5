//! Reading only the beginnings of frames: who wants a few columns of a batch, or only its
//! statistics, leaves the rest of it on disk.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use protocol::ids::Offset;

use super::error::ReadError;
use super::frame::{self, FrameHeader};
use super::handle::LogHandle;
use super::log::Log;
use super::read::{SegmentRead, read_error};
use super::segment::Segment;
use crate::buffers::PooledBuffer;
use crate::env::DiskFile;

/// What to look at.
#[derive(Debug, Clone, Copy)]
pub struct HeadRange {
    /// First record wanted; the run begins with the frame that holds it.
    pub offset: Offset,
    /// Frames that hold this offset or a higher one are not returned.
    pub end: Offset,
    /// Bytes of the segment to read at once: small where batches are large and only their
    /// beginnings matter, large where many batches fit.
    pub window: usize,
}

/// A window of a segment: frames that lie one after the other, the last one perhaps only in part.
pub struct HeadRun {
    file: Option<Arc<dyn DiskFile>>,
    buffer: PooledBuffer,
    heads: Vec<Head>,
}

struct Head {
    header: FrameHeader,
    /// Where the batch begins in the file.
    position: u64,
    /// What of the batch is in the buffer, from its first byte on.
    loaded: Range<usize>,
}

impl HeadRun {
    /// The frames in order, each with as much of the beginning of its batch as was read: all of it
    /// but for the last frame's.
    pub fn heads(&self) -> impl ExactSizeIterator<Item = (&FrameHeader, &[u8])> {
        self.heads
            .iter()
            .map(|head| (&head.header, &self.buffer.as_ref()[head.loaded.clone()]))
    }

    /// True when the range holds no frame.
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// Fills `target` with the bytes of batch number `number` from `from` on; false when it would
    /// have to wait for the disk and may not.
    ///
    /// # Panics
    /// When there are fewer batches, or the range reaches past the batch.
    pub fn read_part(
        &self,
        number: usize,
        from: usize,
        target: &mut [u8],
        may_wait: bool,
    ) -> Result<bool, ReadError> {
        let head = &self.heads[number];
        let end = from + target.len();
        assert!(end <= head.header.batch_length as usize, "inside the batch");
        if end <= head.loaded.len() {
            let start = head.loaded.start + from;
            target.copy_from_slice(&self.buffer.as_ref()[start..start + target.len()]);
            return Ok(true);
        }
        let Some(file) = &self.file else {
            return Ok(false);
        };
        let position = head.position + from as u64;
        let read = if may_wait {
            Some(file.read_at(target, position)?)
        } else {
            file.read_at_without_waiting(target, position)?
        };
        match read {
            None => Ok(false),
            Some(count) if count == target.len() => Ok(true),
            Some(_) => Err(ReadError::from(io::Error::from(
                io::ErrorKind::UnexpectedEof,
            ))),
        }
    }
}

impl Log {
    /// Reads a window of frames. Returns an empty run when there are none in the range.
    ///
    /// With `may_wait` false the answer is `None` when the bytes are not in the page cache.
    pub fn read_heads(
        &self,
        range: HeadRange,
        may_wait: bool,
    ) -> Result<Option<HeadRun>, ReadError> {
        let found = self.in_segments(range.offset, range.end, may_wait, |segment| {
            self.heads_in(segment, range, may_wait)
        })?;
        Ok(match found {
            SegmentRead::Found(run) => Some(run),
            SegmentRead::WouldWait => None,
            SegmentRead::End => Some(HeadRun {
                file: None,
                buffer: self.context.buffers.take(0),
                heads: Vec::new(),
            }),
        })
    }

    fn heads_in(
        &self,
        segment: &Arc<Segment>,
        range: HeadRange,
        may_wait: bool,
    ) -> Result<SegmentRead<HeadRun>, ReadError> {
        let end = segment.length();
        let salt = segment.header().salt;
        let mut position = segment
            .position_of_offset(range.offset)
            .map_err(read_error)?;
        let file = segment.file()?;
        let window = range.window.max(frame::HEADER_LENGTH_MAX);
        while position < end {
            let length = (end - position).min(window as u64) as usize;
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
            match walk(buffer.as_ref(), salt, range, position) {
                Walk::Heads(heads) => {
                    return Ok(SegmentRead::Found(HeadRun {
                        file: Some(file),
                        buffer,
                        heads,
                    }));
                }
                Walk::Before(frames_length) if frames_length > 0 => {
                    position += frames_length as u64;
                }
                Walk::Before(_) => return Err(self.corrupt(segment, position, range.offset)),
                Walk::Damaged(at) => {
                    return Err(self.corrupt(segment, position + at as u64, range.offset));
                }
            }
        }
        Ok(SegmentRead::End)
    }
}

impl LogHandle {
    /// The header of the first frame that a read of this range would return, whatever its length.
    pub async fn head(
        &self,
        offset: Offset,
        end: Offset,
    ) -> Result<Option<FrameHeader>, ReadError> {
        /// The index leads to at most its step, usually 4 KiB, before the frame.
        const WINDOW: usize = 6 << 10;
        let range = HeadRange {
            offset,
            end,
            window: WINDOW,
        };
        self.read_with(move |log, may_wait| {
            let run = log.read_heads(range, may_wait)?;
            Ok(run.map(|run| run.heads().next().map(|(header, _)| *header)))
        })
        .await
    }
}

enum Walk {
    /// Frames of the range; none when the first is past its end.
    Heads(Vec<Head>),
    /// All frames in the window lie before the range; their length, which may reach past it.
    Before(usize),
    /// No valid header.
    Damaged(usize),
}

fn walk(bytes: &[u8], salt: u64, range: HeadRange, position: u64) -> Walk {
    let mut heads = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let Some(header) = FrameHeader::decode(salt, rest) else {
            // A header may be cut by the end of the window, never by the end of the log.
            return match (heads.is_empty(), rest.len() < frame::HEADER_LENGTH_MAX) {
                (false, _) => Walk::Heads(heads),
                (true, true) if at > 0 => Walk::Before(at),
                (true, _) => Walk::Damaged(at),
            };
        };
        if header.last_offset >= range.end {
            return Walk::Heads(heads);
        }
        let batch = at + header.header_length();
        let batch_end = batch + header.batch_length as usize;
        if header.last_offset >= range.offset {
            heads.push(Head {
                header,
                position: position + batch as u64,
                loaded: batch..batch_end.min(bytes.len()),
            });
        }
        at += header.frame_length();
    }
    if heads.is_empty() {
        Walk::Before(at)
    } else {
        Walk::Heads(heads)
    }
}
