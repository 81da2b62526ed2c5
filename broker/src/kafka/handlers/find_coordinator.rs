//! FindCoordinator: this broker coordinates all groups.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;

use super::context::{RequestContext, text};

const GROUP: i8 = 0;
/// The first version that asks for several keys at once.
const SEVERAL_KEYS: i16 = 4;
const REFUSAL: &str = "this broker coordinates consumer groups only";

/// Where clients reach this broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Node id.
    pub node_id: i32,
    /// Advertised host.
    pub host: String,
    /// Advertised port.
    pub port: i32,
}

/// Answers with this broker for groups; other kinds of coordinator are refused for good, so that a
/// client fails at once instead of asking again and again.
pub fn find_coordinator(
    endpoint: &Endpoint,
    context: &RequestContext,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let is_group = request.key_type == GROUP;
    if context.version >= SEVERAL_KEYS {
        let coordinators = request
            .coordinator_keys
            .into_iter()
            .map(|key| coordinator(endpoint, is_group, key))
            .collect();
        return FindCoordinatorResponse::default().with_coordinators(coordinators);
    }
    let found = coordinator(endpoint, is_group, request.key);
    FindCoordinatorResponse::default()
        .with_error_code(found.error_code)
        .with_error_message(found.error_message)
        .with_node_id(found.node_id)
        .with_host(found.host)
        .with_port(found.port)
}

fn coordinator(endpoint: &Endpoint, is_group: bool, key: StrBytes) -> Coordinator {
    let answer = Coordinator::default().with_key(key);
    if is_group {
        answer
            .with_node_id(BrokerId(endpoint.node_id))
            .with_host(text(&endpoint.host))
            .with_port(endpoint.port)
            .with_error_message(None)
    } else {
        answer
            .with_node_id(BrokerId(-1))
            .with_port(-1)
            .with_error_code(ResponseError::UnsupportedVersion.code())
            .with_error_message(Some(text(REFUSAL)))
    }
}
