//! Reading history from derived files, and asking for them.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use protocol::fluss::batch::HeaderView;
use protocol::ids::Offset;
use protocol::raw::RawColumns;

use super::derived::RangePlace;
use super::parts::Parts;
use super::spans::{self, Place, Span};
use super::{Direction, Inner, Reading, cut, make};
use crate::log::LogHandle;
use crate::tablet::{Columnar, ConvertError, TableShape};

impl Inner {
    /// Takes batches from the derived file of the offset that comes next. `None` when there is no
    /// such file; `false` when a batch did not fit. Looks at no frame of the log.
    pub(super) fn take_derived(&self, reading: &mut Reading) -> Result<Option<bool>, ConvertError> {
        let from = reading.converted.next_offset;
        if reading.shape.columnar == Columnar::Off || from >= reading.range.end {
            return Ok(None);
        }
        let log = reading.log.log();
        let log_start = log.watermarks().log_start;
        let segments = log.segments();
        let number = segments.partition_point(|s| s.base() <= from);
        let Some(segment) = number.checked_sub(1).map(|i| &segments[i]) else {
            return Ok(None);
        };
        // At or before the frame: at the end of a range the next one is found by the walk.
        let position = segment
            .position_of_offset(from)
            .map_err(|error| ConvertError::Log(spans::read_error(error)))?;
        let range = RangePlace::of(segment, position);
        let Some(file) = self.derived.look(log, &range) else {
            return Ok(None);
        };
        let buffers = Arc::clone(&log.context().buffers);
        for entry in file.batches_from(from) {
            let next = reading.converted.next_offset;
            if entry.start > next || entry.start < log_start || entry.end > reading.range.end {
                break;
            }
            let bytes = match &reading.projection {
                Some(projection) => file.read_projected(entry, projection),
                None => file.read(entry, &buffers),
            };
            match bytes {
                // Made before the topic got a key, or lost it.
                Ok(bytes) if !is_shown(&reading.shape, &bytes) => {
                    self.derived.outlived(&range.key);
                    break;
                }
                Ok(bytes) => {
                    if !reading.push(bytes, entry.end) {
                        return Ok(Some(false));
                    }
                }
                Err(damage) => {
                    self.derived.condemn(&range.key, &damage);
                    break;
                }
            }
        }
        Ok((reading.converted.next_offset > from).then_some(true))
    }

    /// Asks for the derived file of a span that had to be transcoded.
    pub(super) fn want_range_of(&self, reading: &Reading, place: &Place) {
        if reading.shape.columnar != Columnar::Off {
            let range = RangePlace::of(&place.segment, place.span.position);
            self.want(&reading.log, &reading.shape, range);
        }
    }

    /// Asks for the files of all closed ranges.
    pub(super) fn want_closed(&self, log: &LogHandle, shape: &Arc<TableShape>) {
        for segment in log.log().segments().iter() {
            for number in 0..segment.length().div_ceil(super::derived::RANGE_BYTES) {
                let position = number * super::derived::RANGE_BYTES;
                self.want(log, shape, RangePlace::of(segment, position));
            }
        }
    }

    fn want(&self, log: &LogHandle, shape: &Arc<TableShape>, range: RangePlace) {
        let shape = Arc::clone(shape);
        self.derived.want(log, range, move |log, range| RangeParts {
            log: log.clone(),
            shape,
            cells: range.cells(),
            place: RangePlace {
                key: range.key,
                segment: Arc::clone(&range.segment),
            },
            spans: VecDeque::new(),
            rest: None,
        });
    }
}

/// Whether a batch is what readers get of the table as it is now.
fn is_shown(shape: &TableShape, batch: &[u8]) -> bool {
    HeaderView::parse(batch).is_ok_and(|header| {
        let schema_id = header.schema_id();
        shape.shown_schema(schema_id) == schema_id
    })
}

/// Transcodes all Kafka spans of a range, one piece after the other.
struct RangeParts {
    log: LogHandle,
    shape: Arc<TableShape>,
    place: RangePlace,
    cells: Range<u64>,
    spans: VecDeque<Span>,
    rest: Option<Place>,
}

impl RangeParts {
    /// The first piece of a span; what is left of it stays in `rest`.
    fn piece(&mut self, place: Place) -> Result<Parts, ConvertError> {
        let log_start = self.log.log().watermarks().log_start;
        let end = place.span.end;
        let all = Direction::ToFluss(RawColumns::ALL);
        let parts = make(&self.log, &self.shape, &place, all, log_start)?;
        if let Some(reached) = parts.end()
            && reached < end
        {
            self.rest = Some(cut(self.log.log(), place, reached)?);
        }
        Ok(parts)
    }

    fn next_place(&mut self) -> Option<Result<Place, ConvertError>> {
        loop {
            if let Some(place) = self.rest.take() {
                return Some(Ok(place));
            }
            let log_start: Offset = self.log.log().watermarks().log_start;
            while let Some(span) = self.spans.pop_front() {
                if !span.format.is_fluss() && span.end > log_start {
                    return Some(Ok(Place {
                        segment: Arc::clone(&self.place.segment),
                        span,
                        whole: true,
                    }));
                }
            }
            let cell = self.cells.next()?;
            match spans::spans_of_cell(self.log.log(), &self.place.segment, cell) {
                Ok(spans) => self.spans = spans.into(),
                Err(error) => return Some(Err(error.into())),
            }
        }
    }
}

impl Iterator for RangeParts {
    type Item = Result<Parts, ConvertError>;

    fn next(&mut self) -> Option<Self::Item> {
        let place = self.next_place()?;
        Some(place.and_then(|place| self.piece(place)))
    }
}
