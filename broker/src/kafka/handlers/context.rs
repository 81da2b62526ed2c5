//! What a handler knows of its request beside the message, and the texts of messages.

use std::sync::Arc;

use kafka_protocol::protocol::StrBytes;

/// The header of a request and where it came from.
#[derive(Debug, Clone)]
pub struct RequestContext {
    /// Client id of the header; empty when there is none.
    pub client_id: Arc<str>,
    /// The client's address, as Kafka writes it (`/127.0.0.1`).
    pub client_host: Arc<str>,
    /// Version of the request, and so of the answer.
    pub version: i16,
}

/// A text for an answer.
pub(super) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
