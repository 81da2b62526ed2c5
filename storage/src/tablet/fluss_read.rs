//! Reading for Fluss: Fluss frames as they are or with only the wanted columns, Kafka frames
//! through the transcoder. Through it go also the Fluss frames of a topic that got a key since.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::answer::Answer;
use super::columns::{PartialRead, Stopped};
use super::error::FlussReadError;
use super::other_wire::committed_end;
use super::shape::TableShape;
use super::{FlussBatches, FlussRead, Tablet};
use crate::log::{Log, ReadRange};

impl Tablet {
    /// Reads Fluss batches from `read.offset` on. No batches when there is nothing new, when the
    /// first does not fit, or when the filter left all out.
    ///
    /// Sizes as in Fluss (server semantics, sizes and projection): with a projection the projected
    /// sizes count, and the one batch that must come raises the limit to its stored size.
    pub async fn read_fluss(&self, read: FlussRead) -> Result<FlussBatches, FlussReadError> {
        // The shape after the watermarks: it then knows the schemas of all that is visible.
        let watermarks = self.watermarks();
        let shape = self.shape();
        if let Some(fields) = &read.projection {
            shape.projection(fields)?;
        }
        self.log().log().check_readable(read.offset)?;
        let end = committed_end(&watermarks);
        let mut answer = Answer::new(read.offset, end, read.bytes_max, read.at_least_one);
        let in_parts = read.projection.is_some() || read.filter.is_some();
        while let Some(range) = answer.wanted() {
            let added = if in_parts {
                self.add_parts(range, &read, &shape, &mut answer).await
            } else {
                self.add_fluss(range, &read, &shape, &mut answer).await
            };
            match added {
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
            filtered_end_offset: answer.filtered_end,
            watermarks,
        })
    }

    /// Reads the wanted parts of Fluss frames up to the next Kafka frame, and the transcoded form
    /// of that; false when there is no more.
    async fn add_parts(
        &self,
        range: ReadRange,
        read: &FlussRead,
        shape: &Arc<TableShape>,
        answer: &mut Answer,
    ) -> Result<bool, FlussReadError> {
        let (bytes_max, at_least_one) = answer.budget();
        let mut partial = PartialRead::new(
            self.log().log(),
            Arc::clone(shape),
            read.projection.as_deref(),
            read.filter.clone(),
            range.offset..range.end,
            bytes_max,
            at_least_one,
        )?;
        let stopped = loop {
            let mut slot = Some(partial);
            let turn = move |log: &Log, may_wait: bool| {
                let turn = slot.as_mut().and_then(|p| p.advance(log, may_wait));
                Ok(turn.and_then(|turn| Some((slot.take()?, turn))))
            };
            let (after, stopped) = self.log().read_with(turn).await?;
            partial = after;
            if !matches!(stopped, Ok(Stopped::Window)) {
                break stopped;
            }
        };
        partial.finish(answer);
        match stopped? {
            Stopped::OtherWire => {
                let Some(range) = answer.wanted() else {
                    return Ok(false);
                };
                self.add_fluss_from_kafka(range, read, shape, answer).await
            }
            Stopped::Exhausted | Stopped::Window => Ok(false),
        }
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
                Some(head) if shape.shows_as_stored(&head) => hint.store(false, Ordering::Relaxed),
                Some(_) => return self.add_fluss_from_kafka(range, read, shape, answer).await,
            }
        }
        let mut run = log.read_run(range).await?;
        let own = run
            .frames()
            .take_while(|(header, _)| shape.shows_as_stored(header))
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
