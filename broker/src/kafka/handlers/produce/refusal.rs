//! Why a partition of a produce request is refused, as its answer and as a line of the log.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse,
};
use kafka_protocol::protocol::StrBytes;

use crate::kafka::topics::TopicRef;
use crate::kafka::wire::Context;

/// Why a partition of the request is refused.
pub(super) struct Refusal {
    pub(super) error: ResponseError,
    message: Option<String>,
    record_errors: Vec<(i32, String)>,
    /// It says nothing about the batch, and the same batch may be taken later.
    passing: bool,
}

/// True for what producers meet in great numbers with one cause, and answer by sending the same
/// batch again, without end: a busy log, a full disk, a log that is offline. Of the last two the
/// log itself tells the cause.
fn is_passing(error: ResponseError) -> bool {
    matches!(
        error,
        ResponseError::RequestTimedOut
            | ResponseError::NotLeaderOrFollower
            | ResponseError::KafkaStorageError
    )
}

impl From<ResponseError> for Refusal {
    fn from(error: ResponseError) -> Self {
        Refusal {
            error,
            message: None,
            record_errors: Vec::new(),
            passing: is_passing(error),
        }
    }
}

impl Refusal {
    /// A refusal that says why.
    pub(super) fn new(error: ResponseError, message: impl Into<String>) -> Refusal {
        Refusal {
            message: Some(message.into()),
            ..Refusal::from(error)
        }
    }

    /// With what is wrong with single records.
    pub(super) fn of_records(self, record_errors: Vec<(i32, String)>) -> Refusal {
        Refusal {
            record_errors,
            ..self
        }
    }

    /// With the error that is behind this one, and passes or not.
    pub(super) fn passing_as(self, cause: ResponseError) -> Refusal {
        Refusal {
            passing: is_passing(cause),
            ..self
        }
    }

    /// Completes the answer of the partition.
    pub(super) fn answer(self, answer: PartitionProduceResponse) -> PartitionProduceResponse {
        let records = self.record_errors.into_iter().map(|(index, message)| {
            BatchIndexAndErrorMessage::default()
                .with_batch_index(index)
                .with_batch_index_error_message(Some(StrBytes::from_string(message)))
        });
        answer
            .with_error_code(self.error.code())
            .with_record_errors(records.collect())
            .with_error_message(self.message.map(StrBytes::from_string))
    }
}

/// The refused batches of one request, in both of its stages: a line of the log for each error,
/// written when this is dropped. Producers send many batches at once, and what refuses one of them
/// mostly refuses all.
pub(super) struct Refusals {
    context: Context,
    told: Vec<Told>,
}

/// What one error refuses, with the first batch of them.
struct Told {
    error: ResponseError,
    passing: bool,
    batches: usize,
    topic: TopicRef,
    partition: i32,
    cause: Option<String>,
}

impl Refusals {
    /// Nothing is refused yet.
    pub(super) fn new(context: Context) -> Refusals {
        Refusals {
            context,
            told: Vec::new(),
        }
    }

    /// A batch is refused.
    pub(super) fn note(&mut self, topic: &TopicRef, partition: i32, refusal: &Refusal) {
        gather(&mut self.told, topic, partition, refusal);
    }
}

fn gather(told: &mut Vec<Told>, topic: &TopicRef, partition: i32, refusal: &Refusal) {
    let mut alike = told.iter_mut();
    let alike = alike.find(|told| (told.error, told.passing) == (refusal.error, refusal.passing));
    if let Some(told) = alike {
        told.batches += 1;
        return;
    }
    told.push(Told {
        error: refusal.error,
        passing: refusal.passing,
        batches: 1,
        topic: topic.clone(),
        partition,
        cause: refusal.message.clone(),
    });
}

impl Drop for Refusals {
    fn drop(&mut self) {
        let client = self.context.peer.address;
        let client_id = self.context.client_id.as_str();
        for told in &self.told {
            let Told {
                error,
                passing,
                batches,
                topic,
                partition,
                cause,
            } = told;
            if *passing {
                tracing::debug!(%client, client_id, ?topic, partition, batches, ?error, cause, "a produced batch has to come again");
            } else {
                tracing::info!(%client, client_id, ?topic, partition, batches, ?error, cause, "refused a produced batch");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::protocol::StrBytes;

    use super::*;

    #[test]
    fn each_error_of_a_request_is_told_once_with_its_first_batch() {
        let topic = TopicRef::Name(StrBytes::from_static_str("t"));
        let mut told = Vec::new();
        for partition in 0..100 {
            let sequence = Refusal::new(ResponseError::OutOfOrderSequenceNumber, "a gap");
            gather(&mut told, &topic, partition, &sequence);
            let busy = ResponseError::RequestTimedOut.into();
            gather(&mut told, &topic, partition, &busy);
        }
        let told: Vec<_> = told
            .iter()
            .map(|told| (told.error, told.partition, told.batches, told.passing))
            .collect();
        let expected = [
            (ResponseError::OutOfOrderSequenceNumber, 0, 100, false),
            (ResponseError::RequestTimedOut, 0, 100, true),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_part_that_was_not_written_passes_as_its_cause_does() {
        for (cause, passing) in [
            (ResponseError::RequestTimedOut, true),
            (ResponseError::KafkaStorageError, true),
            (ResponseError::InvalidRecord, false),
        ] {
            let partly = Refusal::new(ResponseError::NotEnoughReplicasAfterAppend, "a part");
            assert_eq!(partly.passing_as(cause).passing, passing, "{cause:?}");
        }
    }
}
