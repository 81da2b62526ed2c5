//! InitProducerId (API 22) for idempotent producers.

use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use crate::kafka::wire::Context;

/// Hands out a producer id that was never used before, with epoch 0.
pub async fn handle(context: &Context, request: InitProducerIdRequest) -> InitProducerIdResponse {
    let refused = |error: ResponseError| {
        InitProducerIdResponse::default()
            .with_error_code(error.code())
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1)
    };
    if request.transactional_id.is_some() {
        return refused(ResponseError::UnsupportedVersion);
    }
    let catalog = Arc::clone(&context.broker().catalog);
    match tokio::task::spawn_blocking(move || catalog.next_producer_id()).await {
        Ok(Ok(id)) => InitProducerIdResponse::default()
            .with_producer_id(ProducerId(id))
            .with_producer_epoch(0),
        Ok(Err(error)) => {
            tracing::error!(%error, "cannot hand out a producer id");
            refused(ResponseError::KafkaStorageError)
        }
        Err(_) => refused(ResponseError::CoordinatorNotAvailable),
    }
}
