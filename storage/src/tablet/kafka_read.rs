//! Reading for Kafka: Kafka frames as they are, Fluss frames through the transcoder.

use std::sync::atomic::Ordering;

use protocol::batch::BatchFormat;

use super::answer::Answer;
use super::error::KafkaReadError;
use super::other_wire::committed_end;
use super::{KafkaBatches, KafkaRead, Tablet};
use crate::log::ReadRange;

impl Tablet {
    /// Reads Kafka batches from `read.offset` on. No batches when there is nothing new, or when
    /// the first does not fit.
    pub async fn read_kafka(&self, read: KafkaRead) -> Result<KafkaBatches, KafkaReadError> {
        let watermarks = self.watermarks();
        self.log().log().check_readable(read.offset)?;
        let end = if read.committed_only {
            committed_end(&watermarks)
        } else {
            watermarks.high_watermark
        };
        let mut answer = Answer::new(read.offset, end, read.bytes_max, read.at_least_one);
        while let Some(range) = answer.wanted() {
            match self.add_kafka(range, &mut answer).await {
                Ok(true) => {}
                Ok(false) => break,
                // What was read so far is good; the next read begins at the error.
                Err(_) if !answer.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(KafkaBatches {
            chunks: answer.chunks,
            bytes: answer.bytes,
            next_offset: answer.next_offset,
            watermarks,
        })
    }

    /// Reads one run of either format; false when there is no more.
    async fn add_kafka(
        &self,
        range: ReadRange,
        answer: &mut Answer,
    ) -> Result<bool, KafkaReadError> {
        let log = self.log();
        let hint = &self.inner.kafka_meets_fluss;
        if hint.load(Ordering::Relaxed) {
            match log.head(range.offset, range.end).await? {
                None => return Ok(false),
                Some(head) if head.format == BatchFormat::Kafka => {
                    hint.store(false, Ordering::Relaxed);
                }
                Some(_) => return self.add_kafka_from_fluss(range, answer).await,
            }
        }
        let mut run = log.read_run(range).await?;
        let own = run
            .frames()
            .take_while(|(header, _)| header.format == BatchFormat::Kafka)
            .count();
        if own == 0 {
            if run.is_empty() {
                return Ok(false);
            }
            hint.store(true, Ordering::Relaxed);
            return self.add_kafka_from_fluss(range, answer).await;
        }
        let mixed = own < run.frames().len();
        run.truncate(own);
        let more = mixed || !run.is_exhausted();
        let next_offset = run.next_offset().unwrap_or(range.offset);
        let bytes = run.frames().map(|(_, batch)| batch.len()).sum();
        answer.add(run.into_batches(), bytes, next_offset);
        Ok(more)
    }

    async fn add_kafka_from_fluss(
        &self,
        range: ReadRange,
        answer: &mut Answer,
    ) -> Result<bool, KafkaReadError> {
        let shape = self.shape();
        let other = &self.inner.other;
        let converted = other.kafka_from_fluss(self.log(), &shape, range).await?;
        Ok(answer.add_converted(converted))
    }
}
