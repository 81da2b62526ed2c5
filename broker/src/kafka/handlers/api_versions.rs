//! ApiVersions (API 18): what this broker answers, from the table of the protocol crate.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use protocol::kafka::api;

use crate::kafka::wire::Context;

/// Lists the APIs. Since version 3 the client says who it is, in a form that is checked (KIP-511).
pub async fn handle(context: &Context, request: ApiVersionsRequest) -> ApiVersionsResponse {
    let named = |text: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.ends_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(inner)
    };
    let valid = named(&request.client_software_name) && named(&request.client_software_version);
    if context.version >= 3 && !valid {
        return ApiVersionsResponse::default()
            .with_error_code(ResponseError::InvalidRequest.code());
    }
    ApiVersionsResponse::default().with_api_keys(api::advertised())
}
