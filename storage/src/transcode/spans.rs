//! Which frames are transcoded together.
//!
//! A span is a run of neighbouring frames of one format, schema and epoch without an offset gap,
//! less than a second of commit time between each two of them:
//!
//! ```text
//!  file position   0         1 MiB        2 MiB                        end
//!                  |  cell 0  |  cell 1    |  cell 2                     |
//!  frames          [a][a][a][a    ][b][b][b][c    ][c][c]   [c]
//!                  '-------------''--------''-----------'   '-'
//!                     span           span      span    > 1 s  open tail
//! ```
//!
//! A frame belongs to the cell of a fixed grid in which it begins, and a span never leaves its cell.
//! So where a span begins follows from the frames alone, whatever offset a read asks for, and is
//! found by looking at one cell. Behind the last frame that is visible more may come that belongs to the same
//! span: there a reader gets what is visible from its own offset on, which for one that follows
//! the log is little.
//!
//! *Invariant*: a frame is in exactly one whole span, and its boundaries never change.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use protocol::batch::BatchFormat;
use protocol::ids::{LeaderEpoch, Offset, SchemaId};

use super::parts::{Part, Parts};
use crate::log::frame::FrameHeader;
use crate::log::{FrameScanner, Log, LogError, ReadError, Segment, Step};

/// Bytes of a segment file whose frames may share a span.
pub(super) const CELL_BYTES: u64 = 1 << 20;
/// Commit time between neighbouring frames of a span is less than this. A merged batch has one
/// commit time, and one-record batches are what merging is to avoid.
const PAUSE_MS: i64 = 1000;

/// Neighbouring frames that are transcoded together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// Layout of all its batches.
    pub(super) format: BatchFormat,
    /// Schema of all its batches.
    pub(super) schema_id: SchemaId,
    /// Epoch that all its frames were appended under.
    pub(super) leader_epoch: LeaderEpoch,
    /// First offset.
    pub(super) start: Offset,
    /// Offset after the last.
    pub(super) end: Offset,
    /// Where its first frame begins in the segment file.
    pub(super) position: u64,
    /// Where its last frame ends.
    pub(super) position_end: u64,
    /// Commit time of the last frame so far.
    commit_time: i64,
}

impl Span {
    fn of(header: &FrameHeader, position: u64) -> Span {
        Span {
            format: header.format,
            schema_id: header.schema_id,
            leader_epoch: header.leader_epoch,
            start: header.base_offset,
            end: header.last_offset.next(),
            position,
            position_end: position + header.frame_length() as u64,
            commit_time: header.commit_time,
        }
    }

    /// True when the frame at `position` belongs to the same span. Looks only at the frame and at
    /// its predecessor, so it does not matter where the walk began.
    fn takes(&self, header: &FrameHeader, position: u64) -> bool {
        self.format == header.format
            && self.schema_id == header.schema_id
            && self.leader_epoch == header.leader_epoch
            && self.end == header.base_offset
            && header.commit_time - self.commit_time < PAUSE_MS
            && cell_of(self.position) == cell_of(position)
    }

    fn add(&mut self, header: &FrameHeader, position: u64) {
        self.end = header.last_offset.next();
        self.position_end = position + header.frame_length() as u64;
        self.commit_time = header.commit_time;
    }

    /// Bytes of its frames.
    pub(super) fn length(&self) -> u64 {
        self.position_end - self.position
    }
}

/// The cell of a frame that begins at `position`.
pub(super) fn cell_of(position: u64) -> u64 {
    position / CELL_BYTES
}

/// A span and the file it lies in.
#[derive(Clone)]
pub(super) struct Place {
    /// The segment.
    pub(super) segment: Arc<Segment>,
    /// The frames.
    pub(super) span: Span,
    /// False when the span was cut to what a reader may see: more may come, or its beginning lies
    /// below the log start.
    pub(super) whole: bool,
}

/// Finds the span that a reader at `offset` gets, among frames below `end`. `None` when there is no
/// such frame. `cells` may remember the spans of complete cells.
pub(super) fn find(
    log: &Log,
    offset: Offset,
    end: Offset,
    cells: &impl Cells,
) -> Result<Option<Place>, ReadError> {
    log.check_readable(offset)?;
    if offset >= end {
        return Ok(None);
    }
    let segments = log.segments();
    let first = segments
        .partition_point(|s| s.base() <= offset)
        .saturating_sub(1);
    for (number, segment) in segments.iter().enumerate().skip(first) {
        let active = number + 1 == segments.len();
        let mut walk = Walk::new(log, segment)?;
        walk.go_to(offset)?;
        let frame = loop {
            match walk.next()? {
                Some((header, _)) if header.last_offset < offset => {}
                other => break other,
            }
        };
        let Some((header, position)) = frame else {
            continue;
        };
        if header.last_offset >= end {
            return Ok(None);
        }
        return walk
            .span_at(header, position, end, active, cells)
            .map(|(span, whole)| {
                Some(Place {
                    segment: Arc::clone(segment),
                    span,
                    whole,
                })
            });
    }
    Ok(None)
}

/// All spans that begin in a cell, as far as it is written, in order.
pub(super) fn spans_of_cell(
    log: &Log,
    segment: &Arc<Segment>,
    cell: u64,
) -> Result<Vec<Span>, ReadError> {
    Walk::new(log, segment)?.cell(cell)
}

/// Remembers the spans of complete cells, which never change.
pub(super) trait Cells {
    /// The spans, if they are known.
    fn get(&self, segment: &Segment, cell: u64) -> Option<Arc<[Span]>>;
    /// Takes note of them.
    fn put(&self, segment: &Segment, cell: u64, spans: Arc<[Span]>);
}

/// Goes over the frames of a segment as far as it is written now.
struct Walk<'a> {
    log: &'a Log,
    segment: &'a Arc<Segment>,
    length: u64,
    scanner: FrameScanner,
}

impl<'a> Walk<'a> {
    fn new(log: &'a Log, segment: &'a Arc<Segment>) -> Result<Walk<'a>, ReadError> {
        let length = segment.length();
        let scanner = FrameScanner::new(segment.file()?, segment.header().salt, length, length);
        Ok(Walk {
            log,
            segment,
            length,
            scanner,
        })
    }

    fn go_to(&mut self, offset: Offset) -> Result<(), ReadError> {
        let position = self
            .segment
            .position_of_offset(offset)
            .map_err(read_error)?;
        self.scanner.skip_to(position);
        Ok(())
    }

    fn next(&mut self) -> Result<Option<(FrameHeader, u64)>, ReadError> {
        match self.scanner.next_header()? {
            Step::Frame { header, position } => Ok(Some((header, position))),
            Step::End => Ok(None),
            Step::Damaged { position, .. } => {
                Err(self
                    .log
                    .corrupt(self.segment, position, self.segment.base()))
            }
        }
    }

    /// The span of the frame at `position`, just walked over, and whether it is whole.
    fn span_at(
        mut self,
        header: FrameHeader,
        position: u64,
        end: Offset,
        active: bool,
        cells: &impl Cells,
    ) -> Result<(Span, bool), ReadError> {
        let cell = cell_of(position);
        let complete = !active || self.length >= (cell + 1) * CELL_BYTES;
        let open = self.visible_from(header, position, end)?;
        if !complete && open.1 {
            return Ok((open.0, false));
        }
        let spans = if complete {
            match cells.get(self.segment, cell) {
                Some(spans) => spans,
                None => {
                    let spans: Arc<[Span]> = self.cell(cell)?.into();
                    cells.put(self.segment, cell, Arc::clone(&spans));
                    spans
                }
            }
        } else {
            self.cell(cell)?.into()
        };
        let number = spans.partition_point(|s| s.start <= header.base_offset);
        let log_start = self.log.watermarks().log_start;
        match number.checked_sub(1).map(|i| spans[i]) {
            // All of it may be seen.
            Some(span) if span.end <= end && span.start >= log_start => Ok((span, true)),
            // What may be seen of it, from the frame that was asked for on.
            _ => Ok((open.0, false)),
        }
    }

    /// The frames of the span of this frame, from it on, that end at or below `end`; and whether
    /// nothing ends the span there.
    fn visible_from(
        &mut self,
        header: FrameHeader,
        position: u64,
        end: Offset,
    ) -> Result<(Span, bool), ReadError> {
        let mut span = Span::of(&header, position);
        while let Some((header, position)) = self.next()? {
            if !span.takes(&header, position) {
                return Ok((span, false));
            }
            if header.last_offset >= end {
                break;
            }
            span.add(&header, position);
        }
        Ok((span, true))
    }

    /// All spans of a cell, as far as it is written.
    fn cell(&mut self, cell: u64) -> Result<Vec<Span>, ReadError> {
        let from = self
            .segment
            .position_before(cell * CELL_BYTES)
            .map_err(read_error)?;
        self.scanner.skip_to(from);
        let mut spans: Vec<Span> = Vec::new();
        while let Some((header, position)) = self.next()? {
            if cell_of(position) < cell {
                continue;
            }
            if cell_of(position) > cell {
                break;
            }
            match spans.last_mut() {
                Some(span) if span.takes(&header, position) => span.add(&header, position),
                _ => spans.push(Span::of(&header, position)),
            }
        }
        Ok(spans)
    }
}

/// Where the frame that holds `offset`, or the first one behind it, lies in a span.
pub(super) fn position_of(log: &Log, place: &Place, offset: Offset) -> Result<u64, ReadError> {
    let mut walk = Walk::new(log, &place.segment)?;
    walk.go_to(offset)?;
    while let Some((header, position)) = walk.next()? {
        if header.last_offset >= offset {
            return Ok(position);
        }
    }
    Ok(place.span.position_end)
}

/// The frames of a span in memory.
pub(super) struct SpanFrames {
    /// Headers and where their batches lie in `bytes`.
    frames: Vec<(FrameHeader, Range<usize>)>,
    bytes: Bytes,
}

impl SpanFrames {
    /// Reads the frames of a span with one call.
    pub(super) fn read(log: &Log, place: &Place) -> Result<SpanFrames, ReadError> {
        let span = &place.span;
        let mut buffer = log.context().buffers.take(span.length() as usize);
        let read = place
            .segment
            .file()?
            .read_at(buffer.as_mut(), span.position)?;
        buffer.truncate(read);
        let salt = place.segment.header().salt;
        let data = buffer.as_ref();
        let mut frames = Vec::new();
        let mut at = 0;
        while at < data.len() {
            let header = FrameHeader::decode(salt, &data[at..]);
            let batch = header.map(|h| (h, at + h.header_length()));
            match batch {
                Some((header, start)) if start + header.batch_length as usize <= data.len() => {
                    frames.push((header, start..start + header.batch_length as usize));
                    at += header.frame_length();
                }
                _ => {
                    let position = span.position + at as u64;
                    return Err(log.corrupt(&place.segment, position, span.start));
                }
            }
        }
        Ok(SpanFrames {
            frames,
            bytes: buffer.freeze(),
        })
    }

    /// Frames of these Kafka batches, which were made of this span: all of it, or its beginning.
    pub(super) fn with_batches(&self, parts: &Parts) -> SpanFrames {
        let mut bytes = Vec::with_capacity(parts.bytes());
        let commit_time = self.frames.iter().map(|(header, _)| header.commit_time);
        let commit_time = commit_time.max().unwrap_or_default();
        let frame = |part: &Part| {
            let start = bytes.len();
            bytes.extend_from_slice(&part.bytes);
            let header = FrameHeader {
                format: BatchFormat::Kafka,
                base_offset: part.start,
                last_offset: part.end + -1,
                commit_time,
                ..self.frames.first()?.0
            };
            Some((header, start..bytes.len()))
        };
        let frames = parts.parts.iter().filter_map(frame).collect();
        SpanFrames {
            frames,
            bytes: Bytes::from(bytes),
        }
    }

    /// The frames in order: header and batch, without the assigned fields.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&FrameHeader, Bytes)> {
        self.frames
            .iter()
            .map(|(header, range)| (header, self.bytes.slice(range.clone())))
    }
}

pub(super) fn read_error(error: LogError) -> ReadError {
    match error {
        LogError::Io { error, .. } => ReadError::from(error),
        LogError::Offline(cause) => ReadError::Corrupt(cause),
        LogError::Format { .. } => ReadError::from(io::Error::other(error)),
    }
}
