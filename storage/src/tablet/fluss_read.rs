//! Reading for Fluss: Fluss frames as they are or with only the wanted columns, Kafka frames
//! through the transcoder.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use protocol::batch::BatchFormat;
use protocol::fluss::options::LogFormat;

use super::answer::Answer;
use super::error::{FlussReadError, InvalidProjection};
use super::other_wire::committed_end;
use super::shape::TableShape;
use super::{FlussBatches, FlussRead, Tablet};
use crate::log::ReadRange;

impl Tablet {
    /// Reads Fluss batches from `read.offset` on. No batches when there is nothing new, or when
    /// the first does not fit.
    pub async fn read_fluss(&self, read: FlussRead) -> Result<FlussBatches, FlussReadError> {
        let shape = self.shape();
        if let Some(projection) = &read.projection {
            check_projection(&shape, projection)?;
        }
        let watermarks = self.watermarks();
        self.log().log().check_readable(read.offset)?;
        let end = committed_end(&watermarks);
        let mut answer = Answer::new(read.offset, end, read.bytes_max, read.at_least_one);
        while let Some(range) = answer.wanted() {
            match self.add_fluss(range, &read, &shape, &mut answer).await {
                Ok(true) => {}
                Ok(false) => break,
                // What was read so far is good; the next read begins at the error.
                Err(_) if !answer.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(FlussBatches {
            chunks: answer.chunks,
            bytes: answer.bytes,
            next_offset: answer.next_offset,
            filtered_end_offset: None,
            watermarks,
        })
    }

    /// Reads one run of either format; false when there is no more.
    async fn add_fluss(
        &self,
        range: ReadRange,
        read: &FlussRead,
        shape: &Arc<TableShape>,
        answer: &mut Answer,
    ) -> Result<bool, FlussReadError> {
        let log = self.log();
        let hint = &self.inner.fluss_meets_kafka;
        if hint.load(Ordering::Relaxed) {
            match log.head(range.offset, range.end).await? {
                None => return Ok(false),
                Some(head) if head.format.is_fluss() => hint.store(false, Ordering::Relaxed),
                Some(_) => return self.add_fluss_from_kafka(range, read, shape, answer).await,
            }
        }
        let mut run = log.read_run(range).await?;
        let own = run
            .frames()
            .take_while(|(header, _)| header.format != BatchFormat::Kafka)
            .count();
        if own == 0 {
            if run.is_empty() {
                return Ok(false);
            }
            hint.store(true, Ordering::Relaxed);
            return self.add_fluss_from_kafka(range, read, shape, answer).await;
        }
        let mixed = own < run.frames().len();
        run.truncate(own);
        let more = mixed || !run.is_exhausted();
        let next_offset = run.next_offset().unwrap_or(range.offset);
        let bytes = run.frames().map(|(_, batch)| batch.len()).sum();
        answer.add(run.into_batches(), bytes, next_offset);
        Ok(more)
    }

    async fn add_fluss_from_kafka(
        &self,
        range: ReadRange,
        read: &FlussRead,
        shape: &Arc<TableShape>,
        answer: &mut Answer,
    ) -> Result<bool, FlussReadError> {
        let other = &self.inner.other;
        let converted = other
            .fluss_from_kafka(self.log(), shape, range, read.projection.as_ref())
            .await?;
        Ok(answer.add_converted(converted))
    }
}

/// Checks a projection against the newest schema: columns are only appended, so a position means
/// the same column in each (Fluss server semantics, projection push-down).
fn check_projection(shape: &TableShape, projection: &[usize]) -> Result<(), InvalidProjection> {
    if shape.log_format != LogFormat::Arrow {
        return Err(InvalidProjection::NotArrow);
    }
    if !projection.is_sorted_by(|a, b| a < b) {
        return Err(InvalidProjection::NotAscending);
    }
    let columns = shape.latest_schema().columns.len();
    match projection.last() {
        None => Err(InvalidProjection::Empty),
        Some(&position) if position >= columns => {
            Err(InvalidProjection::BeyondColumns { position, columns })
        }
        Some(_) => Ok(()),
    }
}
