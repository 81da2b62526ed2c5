//! Reading parts of stored Fluss batches: only the wanted columns, and only batches that a filter
//! keeps. Values are neither decoded nor compressed again.
//!
//! ```text
//!  file    [frame header|head of batch|  column a  |  column b  |  column c  ][frame header|...
//!  small   one read of many frames, from which the parts are copied
//!  large   '------- read ------------'             '-- read ----'
//! ```
//!
//! Where batches are small one read takes many of them, because a read costs as much as copying
//! some KiB; of large ones only the beginning is read, and then what was planned from it.

use std::ops::Range;
use std::sync::Arc;

use protocol::batch::BatchFormat;
use protocol::fluss::batch::{HEADER_LEN_MAX, HEADER_LEN_MIN, HeaderView};
use protocol::fluss::predicate::Predicate;
use protocol::fluss::projection::{Planned, Projection, ProjectionPlan};
use protocol::fluss::statistics::BatchStatistics;
use protocol::ids::{Offset, SchemaId};
use protocol::schema::Schema;
use protocol::stored;

use super::answer::Answer;
use super::error::{ConvertError, FlussReadError, InvalidProjection};
use super::out::Out;
use super::shape::TableShape;
use crate::log::frame::{FrameHeader, HEADER_LENGTH_MAX};
use crate::log::{HeadRange, HeadRun, Log, ReadError};

/// Of batches up to this length many are read at once.
const SMALL_BATCH: usize = 24 << 10;
/// What is read at once of small batches.
const WINDOW_OF_SMALL: usize = 128 << 10;
/// What is read at first, when it is not known yet how large batches are.
const WINDOW_FIRST: usize = 8 << 10;
/// What is read of a large batch at least: frame header, batch header and the metadata of some
/// tens of columns.
const WINDOW_OF_LARGE: usize = 4 << 10;
/// What is read of a large batch at once at most; wider metadata takes a second read.
const WINDOW_OF_LARGE_MAX: usize = 64 << 10;
/// Ranges with less than this between them are read together: about what a read costs by itself.
const GAP_MAX: u64 = 4 << 10;
/// Windows that one fetch looks at at most, so that a filter that keeps nothing comes back to its
/// client now and then.
const WINDOWS_MAX: usize = 1024;

/// A read of parts of batches, which goes on window by window.
pub(super) struct PartialRead {
    shape: Arc<TableShape>,
    projection: Option<Projection>,
    filter: Option<Arc<Predicate>>,
    end: Offset,
    /// Where to go on.
    offset: Offset,
    bytes_left: usize,
    at_least_one: bool,
    out: Out,
    bytes: usize,
    /// Offset after the last batch that is in the answer.
    kept_end: Offset,
    window: usize,
    /// The window for large batches: grows to what their metadata needs.
    window_of_large: usize,
    windows_left: usize,
    scratch: Scratch,
}

/// Memory for what is read and not kept.
#[derive(Default)]
struct Scratch {
    prefix: Vec<u8>,
    gaps: Vec<u8>,
}

/// Why a turn of [`PartialRead::advance`] came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    /// There may be more.
    Window,
    /// The next batch does not fit, or there is none.
    Exhausted,
    /// The frame at the offset is of the other wire.
    OtherWire,
}

/// What became of one batch.
enum Taken {
    Yes,
    TooMuch,
    WouldWait,
}

/// What a turn may fail with: the log's errors, or the table's.
type Turn<T> = Result<T, FlussReadError>;

impl PartialRead {
    pub(super) fn new(
        log: &Log,
        shape: Arc<TableShape>,
        projection: Option<&[usize]>,
        filter: Option<Arc<Predicate>>,
        range: Range<Offset>,
        bytes_max: usize,
        at_least_one: bool,
    ) -> Result<PartialRead, InvalidProjection> {
        let projection = match projection {
            Some(fields) => Some(shape.projection(fields)?),
            None => None,
        };
        Ok(PartialRead {
            shape,
            projection,
            filter,
            end: range.end,
            offset: range.start,
            bytes_left: bytes_max,
            at_least_one,
            out: Out::new(Arc::clone(log.buffers())),
            bytes: 0,
            kept_end: range.start,
            window: WINDOW_FIRST,
            window_of_large: WINDOW_OF_LARGE,
            windows_left: WINDOWS_MAX,
            scratch: Scratch::default(),
        })
    }

    /// Takes what one window has. `None` when that would mean to wait for the disk, and it may not.
    pub(super) fn advance(&mut self, log: &Log, may_wait: bool) -> Option<Turn<Stopped>> {
        if self.offset >= self.end || self.windows_left == 0 {
            return Some(Ok(Stopped::Exhausted));
        }
        let range = HeadRange {
            offset: self.offset,
            end: self.end,
            window: self.window,
        };
        let run = match log.read_heads(range, may_wait) {
            Ok(run) => run?,
            Err(error) => return Some(Err(error.into())),
        };
        if run.is_empty() {
            return Some(Ok(Stopped::Exhausted));
        }
        let before = self.offset;
        match self.take_run(&run, may_wait) {
            // What needs no waiting is in the answer already; the next turn waits if it must.
            Ok(None) if self.offset == before => None,
            stopped => {
                self.windows_left -= 1;
                Some(stopped.map(|s| s.unwrap_or(Stopped::Window)))
            }
        }
    }

    /// Takes the batches of a run in order; `None` when the next one would have to wait.
    fn take_run(&mut self, run: &HeadRun, may_wait: bool) -> Turn<Option<Stopped>> {
        for (number, (header, loaded)) in run.heads().enumerate() {
            if !self.shape.shows_as_stored(header) {
                return Ok(Some(Stopped::OtherWire));
            }
            self.scratch.prefix.clear();
            let is_small = header.batch_length as usize <= SMALL_BATCH;
            let batch = Batch {
                run,
                number,
                header,
                loaded,
                may_wait,
            };
            match self.leaves_out(&batch)? {
                Some(true) => {}
                Some(false) => match self.take(&batch)? {
                    Taken::Yes => {
                        self.at_least_one = false;
                        self.kept_end = header.last_offset.next();
                    }
                    Taken::TooMuch => return Ok(Some(Stopped::Exhausted)),
                    Taken::WouldWait => return Ok(None),
                },
                None => return Ok(None),
            }
            self.offset = header.last_offset.next();
            // Metadata that took a second read tells how much the next batch needs.
            self.window_of_large = (self.scratch.prefix.len() + HEADER_LENGTH_MAX)
                .next_multiple_of(WINDOW_OF_LARGE)
                .clamp(self.window_of_large, WINDOW_OF_LARGE_MAX);
            self.window = if is_small {
                WINDOW_OF_SMALL
            } else {
                self.window_of_large
            };
        }
        Ok(Some(Stopped::Window))
    }

    /// True when no row of the batch can be wanted; `None` when finding out would have to wait.
    fn leaves_out(&mut self, batch: &Batch<'_>) -> Turn<Option<bool>> {
        let Some(filter) = &self.filter else {
            return Ok(Some(false));
        };
        if batch.header.format != BatchFormat::FlussArrow {
            return Ok(Some(false));
        }
        let Some(prefix) = batch.prefix(HEADER_LEN_MAX, &mut self.scratch.prefix)? else {
            return Ok(None);
        };
        // What cannot be judged is kept.
        let Ok(view) = HeaderView::parse(prefix) else {
            return Ok(Some(false));
        };
        if view.statistics_len() == 0 {
            return Ok(Some(false));
        }
        let (start, end) = (view.magic().header_len(), view.records_at());
        let (rows, id) = (view.record_count(), view.schema_id());
        let Some(prefix) = batch.prefix(end, &mut self.scratch.prefix)? else {
            return Ok(None);
        };
        let Some(schema) = self.shape.schema(id) else {
            return Ok(Some(false));
        };
        let statistics = prefix
            .get(start..end)
            .and_then(|block| BatchStatistics::parse(block, schema));
        let keeps = match (statistics, usize::try_from(rows)) {
            (Some(statistics), Ok(rows)) => filter.may_match_statistics(&statistics, rows, schema),
            _ => true,
        };
        Ok(Some(!keeps))
    }

    /// Adds a batch to the answer.
    fn take(&mut self, batch: &Batch<'_>) -> Turn<Taken> {
        let stored_length = batch.header.batch_length as usize;
        if self.at_least_one {
            self.bytes_left = self.bytes_left.max(stored_length);
        }
        let Some(projection) = &self.projection else {
            if stored_length > self.bytes_left {
                return Ok(Taken::TooMuch);
            }
            let room = self.out.room(stored_length);
            if !batch.run.read_part(batch.number, 0, room, batch.may_wait)? {
                return Ok(Taken::WouldWait);
            }
            stored::write_assigned(batch.header.format, room, batch.header.assigned());
            self.out.keep(stored_length);
            self.bytes += stored_length;
            self.bytes_left -= stored_length;
            return Ok(Taken::Yes);
        };
        // Fluss stops here too: no projected batch is smaller than a header.
        if self.bytes_left <= HEADER_LEN_MIN {
            return Ok(Taken::TooMuch);
        }
        let plan = match batch.plan(projection, &self.shape, &mut self.scratch.prefix)? {
            Some(plan) => plan,
            None => return Ok(Taken::WouldWait),
        };
        if plan.total_len > self.bytes_left {
            return Ok(Taken::TooMuch);
        }
        let room = self.out.room(plan.total_len);
        if !batch.fill(&plan, room, &mut self.scratch.gaps)? {
            return Ok(Taken::WouldWait);
        }
        stored::write_assigned(batch.header.format, room, batch.header.assigned());
        self.out.keep(plan.total_len);
        self.bytes += plan.total_len;
        // A batch without rows advances the reader and costs it nothing.
        if stored_length > HEADER_LEN_MAX {
            self.bytes_left -= plan.total_len;
        }
        Ok(Taken::Yes)
    }

    /// Adds what was read so far to the answer.
    pub(super) fn finish(self, answer: &mut Answer) {
        answer.add(self.out.finish(), self.bytes, self.kept_end);
        answer.set_budget(self.bytes_left, self.at_least_one);
        if self.offset > self.kept_end {
            answer.pass_to(self.offset);
        }
    }
}

/// A batch of a run.
struct Batch<'a> {
    run: &'a HeadRun,
    number: usize,
    header: &'a FrameHeader,
    /// What of its beginning is in memory.
    loaded: &'a [u8],
    may_wait: bool,
}

impl Batch<'_> {
    /// At least the first `length` bytes, or all when it is shorter; read into `more` when they
    /// are not in memory. `None` when that would have to wait.
    fn prefix<'s>(
        &'s self,
        length: usize,
        more: &'s mut Vec<u8>,
    ) -> Result<Option<&'s [u8]>, ReadError> {
        let length = length.min(self.header.batch_length as usize);
        if length <= self.loaded.len() {
            return Ok(Some(self.loaded));
        }
        if length > more.len() {
            more.resize(length, 0);
            if !self.run.read_part(self.number, 0, more, self.may_wait)? {
                more.clear();
                return Ok(None);
            }
        }
        Ok(Some(more))
    }

    /// What of it goes into the answer; `None` when finding out would have to wait.
    fn plan(
        &self,
        projection: &Projection,
        shape: &TableShape,
        more: &mut Vec<u8>,
    ) -> Turn<Option<ProjectionPlan>> {
        let offset = self.header.base_offset;
        if self.header.format != BatchFormat::FlussArrow {
            return Err(InvalidProjection::NotArrow.into());
        }
        let Some(prefix) = self.prefix(HEADER_LEN_MAX, more)? else {
            return Ok(None);
        };
        let view = HeaderView::parse(prefix).map_err(ConvertError::at(offset))?;
        let columns = columns_of(shape, view.schema_id(), offset)?.columns.len();
        let mut need = HEADER_LEN_MAX;
        loop {
            let Some(prefix) = self.prefix(need, more)? else {
                return Ok(None);
            };
            match projection
                .plan(prefix, columns)
                .map_err(ConvertError::at(offset))?
            {
                Planned::Plan(plan) => return Ok(Some(plan)),
                Planned::NeedMore(more_bytes) if more_bytes > prefix.len() => need = more_bytes,
                // It asks for bytes that it was given: the batch ends before its own metadata.
                Planned::NeedMore(_) => {
                    let cut = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
                    return Err(ConvertError::at(offset)(cut).into());
                }
            }
        }
    }

    /// Writes the planned parts into `room`; false when that would have to wait.
    fn fill(
        &self,
        plan: &ProjectionPlan,
        room: &mut [u8],
        gaps: &mut Vec<u8>,
    ) -> Result<bool, ReadError> {
        let (head, mut body) = room.split_at_mut(plan.head.len());
        head.copy_from_slice(&plan.head);
        let mut ranges = plan.body_ranges.as_slice();
        while let Some(first) = ranges.first() {
            let count = near(ranges);
            let (group, rest) = ranges.split_at(count);
            ranges = rest;
            let start = first.start;
            let end = group[count - 1].end;
            let wanted: u64 = group.iter().map(|r| r.end - r.start).sum();
            let (target, after) = body.split_at_mut(wanted as usize);
            body = after;
            if wanted == end - start {
                if !self.read(start, target)? {
                    return Ok(false);
                }
                continue;
            }
            gaps.resize((end - start) as usize, 0);
            if !self.read(start, gaps)? {
                return Ok(false);
            }
            let mut at = 0;
            for range in group {
                let part = &gaps[(range.start - start) as usize..(range.end - start) as usize];
                target[at..at + part.len()].copy_from_slice(part);
                at += part.len();
            }
        }
        body.copy_from_slice(&plan.tail);
        Ok(true)
    }

    fn read(&self, from: u64, target: &mut [u8]) -> Result<bool, ReadError> {
        self.run
            .read_part(self.number, from as usize, target, self.may_wait)
    }
}

/// How many of the first ranges lie so near to each other that one read takes them.
fn near(ranges: &[Range<u64>]) -> usize {
    1 + ranges
        .windows(2)
        .take_while(|pair| pair[1].start - pair[0].end <= GAP_MAX)
        .count()
}

fn columns_of(
    shape: &TableShape,
    schema_id: SchemaId,
    offset: Offset,
) -> Result<&Arc<Schema>, ConvertError> {
    shape
        .schema(schema_id)
        .ok_or(ConvertError::UnknownSchema { offset, schema_id })
}
