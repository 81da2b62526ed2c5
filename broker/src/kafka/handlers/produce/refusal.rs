//! Why a partition of a produce request is refused, as its answer and as a line of the log.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse,
};
use kafka_protocol::protocol::StrBytes;

use crate::kafka::topics::TopicRef;
use crate::kafka::wire::Context;

/// Refused batches of one request that have a line each in the log; more are only counted.
const LOGGED_MAX: usize = 10;

/// Why a partition of the request is refused.
pub(super) struct Refusal {
    pub(super) error: ResponseError,
    message: Option<String>,
    record_errors: Vec<(i32, String)>,
    /// It says nothing about the batch, and the same batch may be taken a moment later.
    passing: bool,
}

impl From<ResponseError> for Refusal {
    fn from(error: ResponseError) -> Self {
        Refusal {
            error,
            message: None,
            record_errors: Vec::new(),
            passing: matches!(
                error,
                ResponseError::RequestTimedOut | ResponseError::NotLeaderOrFollower
            ),
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

    /// A refusal that may pass by itself.
    pub(super) fn passing(self, passing: bool) -> Refusal {
        Refusal {
            passing: self.passing || passing,
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

/// The refused batches of one request, in both of its stages.
#[derive(Default)]
pub(super) struct Refusals {
    /// Of those that name what is wrong.
    lasting: usize,
    passing: usize,
}

impl Refusals {
    /// A batch is refused. What passes by itself, as a busy log, comes in great numbers with one
    /// cause, and is told at a lower level.
    pub(super) fn note(
        &mut self,
        context: &Context,
        topic: &TopicRef,
        partition: i32,
        refusal: &Refusal,
    ) {
        let count = match refusal.passing {
            true => &mut self.passing,
            false => &mut self.lasting,
        };
        *count += 1;
        if *count > LOGGED_MAX {
            return;
        }
        let client = context.peer.address;
        let client_id = context.client_id.as_str();
        let (error, cause) = (refusal.error, refusal.message.as_deref());
        if refusal.passing {
            tracing::debug!(%client, client_id, ?topic, partition, ?error, cause, "a produced batch has to come again");
        } else {
            tracing::info!(%client, client_id, ?topic, partition, ?error, cause, "refused a produced batch");
        }
    }

    /// That is all of the request.
    pub(super) fn end(&self, context: &Context) {
        let (client, more) = (
            context.peer.address,
            self.lasting.saturating_sub(LOGGED_MAX),
        );
        if more > 0 {
            tracing::info!(%client, more, "refused more batches of the request");
        }
        let more = self.passing.saturating_sub(LOGGED_MAX);
        if more > 0 {
            tracing::debug!(%client, more, "more batches of the request have to come again");
        }
    }
}
