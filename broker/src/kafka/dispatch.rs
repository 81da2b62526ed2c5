//! One line per API of the Kafka wire: which handler answers it, and in which stages.

use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, FetchRequest, InitProducerIdRequest, ProduceRequest,
};
use kafka_protocol::protocol::{Encodable, HeaderVersion};
use protocol::kafka::request::{DECODED_BYTES_MAX, RequestError, RequestFrame};
use protocol::kafka::response;

use super::handlers;
use super::wire::Context;
use crate::net::{Answer, Order, Started};

/// Decodes a request and starts its handler.
pub(super) async fn start(context: Context, frame: RequestFrame) -> Started {
    let key = frame.api.key;
    match dispatch(context.clone(), frame).await {
        Ok(started) => started,
        Err(error) => {
            tracing::info!(
                client = %context.peer.address,
                client_id = context.client_id.as_str(),
                api = ?key,
                version = context.version,
                %error,
                "closing a connection with an invalid request"
            );
            Started::now(Order::InOrder, Answer::Close("invalid request"))
        }
    }
}

/// Runs a handler that is over before the next request of the connection begins, as in Kafka.
macro_rules! whole {
    ($context:ident, $frame:ident, $request:ty, $handler:path) => {{
        let request: $request = $frame.decode(DECODED_BYTES_MAX)?;
        let response = $handler(&$context, request).await;
        Ok(Started::now(Order::InOrder, encode(&$context, &response)))
    }};
}

async fn dispatch(context: Context, frame: RequestFrame) -> Result<Started, RequestError> {
    match frame.api.key {
        ApiKey::Produce => {
            let request: ProduceRequest = frame.decode(DECODED_BYTES_MAX)?;
            let queued = handlers::produce::start(&context, request).await;
            if queued.is_unacknowledged() {
                let answer = match queued.has_refusal() {
                    true => Answer::Close("a batch with acks=0 was refused"),
                    false => Answer::Nothing,
                };
                return Ok(Started::now(Order::InOrder, answer));
            }
            Ok(Started::later(Order::InOrder, async move {
                encode(&context, &queued.answer().await)
            }))
        }
        ApiKey::Fetch => {
            let request: FetchRequest = frame.decode(DECODED_BYTES_MAX)?;
            Ok(Started::later(Order::InOrder, async move {
                let (correlation_id, version) = (context.correlation_id, context.version);
                let answer = handlers::fetch::handle(context.clone(), request).await;
                chunks(&context, answer.encode(correlation_id, version))
            }))
        }
        ApiKey::ApiVersions => {
            whole!(
                context,
                frame,
                ApiVersionsRequest,
                handlers::api_versions::handle
            )
        }
        ApiKey::InitProducerId => {
            whole!(
                context,
                frame,
                InitProducerIdRequest,
                handlers::init_producer_id::handle
            )
        }
        other => {
            tracing::error!(api = ?other, "an API is advertised that has no handler");
            Ok(Started::now(Order::InOrder, Answer::Close("no handler")))
        }
    }
}

fn encode<M: Encodable + HeaderVersion>(context: &Context, message: &M) -> Answer {
    let encoded = response::encode(context.correlation_id, context.version, message);
    chunks(context, encoded.map(|bytes| vec![bytes]))
}

fn chunks(context: &Context, encoded: Result<Vec<bytes::Bytes>, response::EncodeError>) -> Answer {
    match encoded {
        Ok(chunks) => Answer::Chunks(chunks),
        Err(error) => {
            tracing::error!(client = %context.peer.address, %error, "an answer cannot be encoded");
            Answer::Close("an answer cannot be encoded")
        }
    }
}
