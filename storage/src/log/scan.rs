//! Walks the frames of a segment file one after the other: for recovery, for building indexes,
//! for the cleaner and for the tools.

use std::io;
use std::sync::Arc;

use protocol::stored;

use super::error::LogError;
use super::frame::{self, FrameHeader};
use super::index::SparseIndex;
use super::segment::{HEADER_LENGTH, Segment};
use crate::env::DiskFile;

/// Bytes read at a time.
const WINDOW: usize = 256 << 10;

/// What stands at a position of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A frame whose header holds and whose batch lies inside the file.
    Frame {
        /// Its header.
        header: FrameHeader,
        /// Where it begins.
        position: u64,
    },
    /// The end of what was to be scanned.
    End,
    /// No valid header, or a batch that reaches past the end.
    Damaged {
        /// Where.
        position: u64,
        /// What does not hold.
        what: &'static str,
    },
}

/// Reads frames from a position up to an end.
pub struct FrameScanner {
    file: Arc<dyn DiskFile>,
    salt: u64,
    position: u64,
    end: u64,
    window: Vec<u8>,
    window_start: u64,
    batch: (usize, usize),
}

impl FrameScanner {
    /// A scanner over `from..end` of a segment file whose frame headers begin with `salt`.
    pub fn new(file: Arc<dyn DiskFile>, salt: u64, from: u64, end: u64) -> FrameScanner {
        FrameScanner {
            file,
            salt,
            position: from,
            end,
            window: Vec::new(),
            window_start: from,
            batch: (0, 0),
        }
    }

    /// The position of the next step.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Reads the next frame's header and goes past the frame. Its batch is not read.
    pub fn next_header(&mut self) -> io::Result<Step> {
        self.step(false)
    }

    /// Reads the next frame with its batch, which [`FrameScanner::batch`] then gives.
    pub fn next_frame(&mut self) -> io::Result<Step> {
        self.step(true)
    }

    /// The batch of the frame that [`FrameScanner::next_frame`] found.
    pub fn batch(&self) -> &[u8] {
        &self.window[self.batch.0..self.batch.1]
    }

    /// The bytes of the frame that [`FrameScanner::next_frame`] found, without padding.
    pub(super) fn frame(&self, header: &FrameHeader) -> &[u8] {
        &self.window[self.batch.0 - header.header_length()..self.batch.1]
    }

    /// True when the CRC of the batch that [`FrameScanner::next_frame`] found holds.
    pub fn batch_crc_holds(&self, header: &FrameHeader) -> bool {
        stored::crc_holds(header.format, self.batch())
    }

    /// Goes to the next boundary at or after `position` where a frame could begin.
    pub fn skip_to(&mut self, position: u64) {
        self.position = position.next_multiple_of(frame::ALIGNMENT as u64);
    }

    fn step(&mut self, with_batch: bool) -> io::Result<Step> {
        if self.position >= self.end {
            return Ok(Step::End);
        }
        let position = self.position;
        let damaged = |what| Ok(Step::Damaged { position, what });
        let salt = self.salt;
        let header_bytes = self.fill(frame::HEADER_LENGTH_MAX)?;
        let Some(header) = FrameHeader::decode(salt, header_bytes) else {
            return damaged("no valid frame header");
        };
        let batch_end = position + header.header_length() as u64 + u64::from(header.batch_length);
        if batch_end > self.end {
            return damaged("a frame that reaches past the end of the file");
        }
        if header.last_offset < header.base_offset {
            return damaged("a frame whose last offset is below its base offset");
        }
        if with_batch {
            let length = (batch_end - position) as usize;
            // The padding of the last frame may be missing: a torn write, but a whole frame.
            let padded = self.fill(header.frame_length())?;
            if padded.len() < length {
                return damaged("a frame that reaches past the end of the file");
            }
            if padded[length..].iter().any(|b| *b != 0) {
                return damaged("padding that is not zero");
            }
            let start = (position - self.window_start) as usize;
            self.batch = (start + header.header_length(), start + length);
        }
        self.position = position + header.frame_length() as u64;
        Ok(Step::Frame { header, position })
    }

    /// Up to `wanted` bytes from the current position, fewer only at the end.
    fn fill(&mut self, wanted: usize) -> io::Result<&[u8]> {
        let available = (self.end - self.position).min(wanted as u64) as usize;
        let window_end = self.window_start + self.window.len() as u64;
        let inside =
            self.position >= self.window_start && self.position + available as u64 <= window_end;
        if !inside {
            let length = (self.end - self.position).min(wanted.max(WINDOW) as u64) as usize;
            self.window.resize(length, 0);
            self.window_start = self.position;
            let read = self.file.read_at(&mut self.window, self.position)?;
            self.window.truncate(read);
        }
        let start = (self.position - self.window_start) as usize;
        let end = (start + available).min(self.window.len());
        Ok(&self.window[start..end])
    }
}

/// Builds the index of a closed segment from the headers of its frames.
pub(super) fn build_index(segment: &Arc<Segment>, interval: u32) -> Result<SparseIndex, LogError> {
    let failed = LogError::io("cannot read", segment.path());
    let mut index = SparseIndex::new(segment.base(), HEADER_LENGTH);
    let walk = || -> io::Result<SparseIndex> {
        let file = segment.file()?;
        let mut scanner =
            FrameScanner::new(file, segment.header().salt, HEADER_LENGTH, segment.length());
        while let Step::Frame { header, position } = scanner.next_header()? {
            index.add(&header, position, interval);
        }
        Ok(index)
    };
    walk().map_err(failed)
}
