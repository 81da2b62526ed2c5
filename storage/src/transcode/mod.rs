//! The transcoder: frames of the one wire as batches of the other.
//!
//! A read finds the span of its offset (`spans.rs`), asks the cache for what was made of it, and
//! where there is nothing reads the frames and makes it (`to_fluss.rs`, `to_kafka.rs`), once for all
//! who want it. All of this happens on threads of its own.
//!
//! *Invariant*: nothing at or above the end that the caller names is read, so what is undecided is
//! never transcoded. *Invariant*: what was made of a span follows from its key alone.

mod cache;
mod cells;
mod derived;
mod history;
mod parts;
mod spans;
mod to_fluss;
mod to_kafka;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use protocol::fluss::projection::{Planned, Projection, ProjectionError};
use protocol::ids::{Offset, TabletId};
use protocol::raw::{HEADERS, KEY, RawColumns, is_raw};
use tokio::sync::oneshot;

use cache::{Cache, Claim, Key, Target};
use cells::CellMemory;
use derived::Derived;
use parts::Parts;
use spans::{Place, Span, SpanFrames};
use to_fluss::FlussForm;
use to_kafka::KafkaForm;

use crate::log::{LogHandle, ReadRange};
use crate::tablet::{ArrowCodec, Columnar, ConvertError, Converted, OtherWire, TableShape};
use crate::threads::Workers;

/// Says what the bytes of a transcoded span look like; raised with every change of them.
pub const TRANSCODER_VERSION: u32 = 1;

/// The limits of the transcoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TranscoderConfig {
    /// Memory for transcoded batches.
    pub cache_bytes: usize,
    /// Threads: spans that are transcoded at the same time.
    pub threads: usize,
    /// Disk for derived files of all tablets; 0: none are made.
    pub derived_bytes: u64,
}

/// Spans that [`CellMemory`] remembers: about 8 MiB.
const SPANS_REMEMBERED: usize = 100_000;

/// Reads frames of one wire as batches of the other.
pub struct Transcoder {
    inner: Arc<Inner>,
    workers: Workers,
}

struct Inner {
    cache: Arc<Cache>,
    cells: CellMemory,
    derived: Derived,
}

impl Transcoder {
    /// Starts the threads.
    pub fn start(config: &TranscoderConfig) -> std::io::Result<Arc<Transcoder>> {
        Ok(Arc::new(Transcoder {
            inner: Arc::new(Inner {
                cache: Cache::new(config.cache_bytes),
                cells: CellMemory::new(SPANS_REMEMBERED),
                derived: Derived::start(config.derived_bytes)?,
            }),
            workers: Workers::start("transcode", config.threads)?,
        }))
    }

    /// The tablet is gone: forgets all of it. Its derived files go with its directory.
    pub fn forget(&self, tablet: TabletId) {
        self.inner.cache.forget_below(tablet, Offset::MAX);
        self.inner.cells.forget(tablet);
        self.inner.derived.forget(tablet);
    }

    /// Records below `offset` were deleted: forgets what was made of them, files included. Waits
    /// for the disk.
    pub fn forget_below(&self, tablet: TabletId, offset: Offset) {
        self.inner.cache.forget_below(tablet, offset);
        self.inner.derived.forget_below(tablet, offset);
    }

    /// Runs the steps of one read, each on a thread, until it has what it wants.
    async fn read(&self, mut reading: Reading) -> Result<Converted, ConvertError> {
        loop {
            let (sender, receiver) = oneshot::channel();
            let inner = Arc::clone(&self.inner);
            self.workers.run(move || {
                let step = inner.run(reading);
                // A closed channel is a reader that went away.
                let _ = sender.send(step);
            });
            let step = receiver
                .await
                .map_err(|_| ConvertError::Log(crate::log::ReadError::Closed))?;
            match step? {
                Progress::Done(converted) => return Ok(converted),
                Progress::Wait(mut waiting, key, receiver) => {
                    // A closed channel means that the other came to nothing.
                    if let Ok(outcome) = receiver.await {
                        waiting.brought = Some((key, outcome?));
                    }
                    reading = *waiting;
                }
            }
        }
    }
}

#[async_trait]
impl OtherWire for Transcoder {
    async fn fluss_from_kafka(
        &self,
        log: &LogHandle,
        shape: &Arc<TableShape>,
        range: ReadRange,
        projection: Option<&Arc<[usize]>>,
    ) -> Result<Converted, ConvertError> {
        let mut reading = Reading::new(log, shape, range, Direction::ToFluss(RawColumns::ALL));
        if let Some(positions) = projection {
            reading.project(positions)?;
        }
        self.read(reading).await
    }

    async fn kafka_from_fluss(
        &self,
        log: &LogHandle,
        shape: &Arc<TableShape>,
        range: ReadRange,
    ) -> Result<Converted, ConvertError> {
        self.read(Reading::new(log, shape, range, Direction::ToKafka))
            .await
    }

    fn tend(&self, log: &LogHandle, shape: &Arc<TableShape>) {
        let start = log.log().watermarks().log_start;
        self.forget_below(log.log().id(), start);
        let segments = log.log().segments();
        let generations = segments.iter().map(|s| s.header().generation).collect();
        self.inner
            .cache
            .forget_segments(log.log().id(), &generations);
        self.inner.derived.forget_segments(log.log());
        if shape.columnar == Columnar::Eager {
            self.inner.want_closed(log, shape);
        }
    }
}

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToFluss(RawColumns),
    ToKafka,
}

impl Direction {
    fn takes(self, span: &Span, shape: &TableShape) -> bool {
        match self {
            Direction::ToFluss(_) => {
                !span.format.is_fluss() || shape.shown_schema(span.schema_id) != span.schema_id
            }
            Direction::ToKafka => span.format.is_fluss(),
        }
    }

    fn target(self) -> Target {
        match self {
            Direction::ToFluss(columns) => Target::Fluss(columns.into()),
            Direction::ToKafka => Target::Kafka,
        }
    }
}

/// A read and how far it came.
struct Reading {
    log: LogHandle,
    shape: Arc<TableShape>,
    range: ReadRange,
    direction: Direction,
    /// For batches that have all columns.
    projection: Option<Projection>,
    /// What was waited for.
    brought: Option<(Key, Arc<Parts>)>,
    converted: Converted,
}

impl Reading {
    fn new(
        log: &LogHandle,
        shape: &Arc<TableShape>,
        range: ReadRange,
        direction: Direction,
    ) -> Reading {
        Reading {
            log: log.clone(),
            shape: Arc::clone(shape),
            converted: Converted::nothing_at(range.offset),
            range,
            direction,
            projection: None,
            brought: None,
        }
    }

    /// Restricts a read for Fluss to some columns.
    fn project(&mut self, positions: &[usize]) -> Result<(), ConvertError> {
        let projection = Projection::new(self.shape.latest_schema(), positions)
            .map_err(ConvertError::at(self.range.offset))?;
        self.projection = Some(projection);
        // Columns that were added later are made by the projection.
        if positions.iter().all(|position| *position <= HEADERS) {
            self.direction = Direction::ToFluss(RawColumns::at(positions));
        }
        Ok(())
    }

    /// Takes a batch when it fits, and says whether it did.
    fn push(&mut self, bytes: Bytes, end: Offset) -> bool {
        let first = self.converted.chunks.is_empty() && self.range.at_least_one;
        if self.converted.bytes + bytes.len() > self.range.bytes_max && !first {
            return false;
        }
        self.converted.bytes += bytes.len();
        self.converted.chunks.push(bytes);
        self.converted.next_offset = end;
        true
    }

    /// Takes the parts that fit, with a `projection` only the wanted columns of them. Returns
    /// false when one did not fit.
    fn take(&mut self, parts: &Parts, project: bool) -> Result<bool, ConvertError> {
        for part in &parts.parts {
            if part.end <= self.converted.next_offset {
                continue;
            }
            if part.end > self.range.end {
                return Ok(false);
            }
            let bytes = match &self.projection {
                Some(projection) if project => {
                    projected(projection, &part.bytes).map_err(ConvertError::at(part.start))?
                }
                _ => part.bytes.clone(),
            };
            if !self.push(bytes, part.end) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// False when the next span would hardly fit any more: then it is not transcoded in vain.
    fn has_room_for(&self, place: &Place) -> bool {
        let left = self.range.bytes_max.saturating_sub(self.converted.bytes) as u64;
        self.converted.chunks.is_empty() || left >= place.span.length() / 2
    }
}

/// What a step came to.
enum Progress {
    Done(Converted),
    /// Somebody else is at the span of this key.
    Wait(
        Box<Reading>,
        Key,
        oneshot::Receiver<Result<Arc<Parts>, ConvertError>>,
    ),
}

impl Inner {
    /// Goes on until the read has what it wants or has to wait for another.
    fn run(&self, mut reading: Reading) -> Result<Progress, ConvertError> {
        let handle = reading.log.clone();
        let log = handle.log();
        loop {
            if matches!(reading.direction, Direction::ToFluss(_)) {
                match self.take_derived(&mut reading)? {
                    Some(true) => continue,
                    Some(false) => return Ok(Progress::Done(reading.converted)),
                    None => {}
                }
            }
            let offset = reading.converted.next_offset;
            let found = spans::find(log, offset, reading.range.end, &self.cells);
            let place = match found {
                // Retention may pass a read that has something to show.
                Err(_) if !reading.converted.chunks.is_empty() => None,
                found => found?,
            };
            let Some(mut place) = place else {
                return Ok(Progress::Done(reading.converted));
            };
            if !reading.direction.takes(&place.span, &reading.shape)
                || !reading.has_room_for(&place)
            {
                return Ok(Progress::Done(reading.converted));
            }
            let all = Direction::ToFluss(RawColumns::ALL);
            let direction = match reading.direction {
                // Copying buffers is cheaper than making them.
                Direction::ToFluss(_) if self.cache.has(&key_of(&reading, &place, all)) => all,
                direction => direction,
            };
            if place.whole && matches!(direction, Direction::ToFluss(_)) {
                self.want_range_of(&reading, &place);
            }
            let parts = loop {
                let key = key_of(&reading, &place, direction);
                let parts = match reading.brought.take() {
                    Some((brought, parts)) if brought == key => parts,
                    _ => match self.cache.claim(key) {
                        Claim::Hit(parts) => parts,
                        Claim::Wait(receiver) => {
                            return Ok(Progress::Wait(Box::new(reading), key, receiver));
                        }
                        Claim::Lead(flight) => {
                            let made =
                                make(&reading.log, &reading.shape, &place, direction, key.start)
                                    .map(Arc::new);
                            flight.land(made.clone());
                            made?
                        }
                    },
                };
                // The span was too much for one piece, and ours lies behind it.
                if parts.end().is_some_and(|end| end <= offset) {
                    let end = parts.end().unwrap_or(offset);
                    place = cut(log, place, end)?;
                    continue;
                }
                break parts;
            };
            let more = reading.take(&parts, direction == all)?;
            if !more || parts.parts.is_empty() {
                return Ok(Progress::Done(reading.converted));
            }
        }
    }
}

/// The rest of a span from `offset` on, which is where a frame begins or, when that frame alone was
/// too much for one piece, a row in it.
fn cut(log: &crate::log::Log, place: Place, offset: Offset) -> Result<Place, ConvertError> {
    let position = spans::position_of(log, &place, offset)?;
    let mut cut = place;
    cut.span.start = offset;
    cut.span.position = position;
    cut.whole = false;
    Ok(cut)
}

fn key_of(reading: &Reading, place: &Place, direction: Direction) -> Key {
    let header = place.segment.header();
    let log_start = reading.log.log().watermarks().log_start;
    Key {
        tablet: header.tablet,
        generation: header.generation,
        start: place.span.start.max(log_start),
        end: place.span.end,
        schema_id: match direction {
            Direction::ToFluss(_) => reading.shape.shown_schema(place.span.schema_id),
            Direction::ToKafka => place.span.schema_id,
        },
        target: direction.target(),
    }
}

/// Transcodes what lies in a span from `log_start` on.
fn make(
    log: &LogHandle,
    shape: &TableShape,
    place: &Place,
    direction: Direction,
    log_start: Offset,
) -> Result<Parts, ConvertError> {
    let frames = SpanFrames::read(log.log(), place)?;
    let span = &place.span;
    let schema = shape
        .schema(span.schema_id)
        .ok_or(ConvertError::UnknownSchema {
            offset: span.start,
            schema_id: span.schema_id,
        })?;
    let direction_name = match direction {
        Direction::ToFluss(_) => "to_fluss",
        Direction::ToKafka => "to_kafka",
    };
    let to_kafka = |frames: &SpanFrames| {
        let positions = shape
            .key_columns
            .iter()
            .filter_map(|name| schema.position(name))
            .collect();
        let form = KafkaForm {
            schema: Arc::clone(schema),
            key_columns: positions,
            leader_epoch: span.leader_epoch,
            log_start,
        };
        to_kafka::to_kafka(frames, &form)
    };
    let parts = match direction {
        Direction::ToFluss(columns) => {
            let shown_id = shape.shown_schema(span.schema_id);
            let shown = shape.schema(shown_id).unwrap_or(schema);
            if !is_raw(shown) {
                return Err(ConvertError::at(span.start)(NotRaw));
            }
            let form = FlussForm {
                schema_id: shown_id,
                compacted: !shown.columns[KEY].data_type.nullable,
                columns,
                codec: codec_of(shape),
                log_start,
            };
            match span.format.is_fluss() {
                true => to_fluss::to_fluss(&frames.with_batches(&to_kafka(&frames)?), &form)?,
                false => to_fluss::to_fluss(&frames, &form)?,
            }
        }
        Direction::ToKafka => to_kafka(&frames)?,
    };
    metrics::counter!("vltava_transcoder_spans_total", "direction" => direction_name).increment(1);
    metrics::counter!("vltava_transcoder_read_bytes_total", "direction" => direction_name)
        .increment(span.length());
    metrics::counter!("vltava_transcoder_bytes_total", "direction" => direction_name)
        .increment(parts.bytes() as u64);
    Ok(parts)
}

/// How transcoded batches are compressed. Level 1 takes half the time of level 3, Fluss's default,
/// for the same size (`docs/decisions/0004-codec-of-transcoded-batches.md`).
fn codec_of(shape: &TableShape) -> ArrowCodec {
    match shape.arrow_codec {
        ArrowCodec::Zstd(2..=3) => ArrowCodec::Zstd(1),
        codec => codec,
    }
}

/// The wanted columns of a batch of the raw schema.
fn projected(projection: &Projection, batch: &Bytes) -> Result<Bytes, ProjectionError> {
    match projection.plan(batch, HEADERS + 1)? {
        Planned::Plan(plan) => Ok(Bytes::from(plan.apply(batch))),
        Planned::NeedMore(need) => Err(ProjectionError::Cut {
            batch: batch.len(),
            need,
        }),
    }
}

/// Kafka frames of a table with columns: their decoding is not there yet.
#[derive(Debug, thiserror::Error)]
#[error("records of a typed topic cannot be shown as rows yet")]
struct NotRaw;
