//! What concerns the server as a whole: API versions, settings, health, file-system tokens.

use protocol::fluss::messages::{
    ApiVersionsRequest, ApiVersionsResponse, DescribeClusterConfigsRequest,
    DescribeClusterConfigsResponse, GetClusterHealthRequest, GetClusterHealthResponse,
    GetFileSystemSecurityTokenRequest, GetFileSystemSecurityTokenResponse, PbDescribeConfig,
};

use crate::fluss::dispatch::SERVED;
use crate::fluss::error::Failure;
use crate::fluss::wire::Context;

/// All buckets can be written and read.
const GREEN: i32 = 0;
/// Some bucket takes no writes.
const RED: i32 = 2;

/// API_VERSIONS (1000): the first request of every connection, before a login.
pub fn api_versions(
    context: &Context,
    request: ApiVersionsRequest,
) -> Result<ApiVersionsResponse, Failure> {
    tracing::debug!(
        client = %context.peer.address,
        software = request.client_software_name,
        version = request.client_software_version,
        "a client connected"
    );
    Ok(SERVED.answer())
}

/// GET_FILESYSTEM_SECURITY_TOKEN (1025): every log scanner asks. Local files need no credentials,
/// which an empty token says.
pub fn file_system_token(
    _: &Context,
    _: GetFileSystemSecurityTokenRequest,
) -> Result<GetFileSystemSecurityTokenResponse, Failure> {
    Ok(GetFileSystemSecurityTokenResponse {
        schema: "file".to_owned(),
        ..GetFileSystemSecurityTokenResponse::default()
    })
}

/// DESCRIBE_CLUSTER_CONFIGS (1045).
pub fn describe_configs(
    context: &Context,
    _: DescribeClusterConfigsRequest,
) -> Result<DescribeClusterConfigsResponse, Failure> {
    let entries = context.broker().config().describe_for_fluss();
    let configs = entries.into_iter().map(|entry| PbDescribeConfig {
        config_key: entry.name.to_owned(),
        config_value: Some(entry.value),
        config_source: match entry.dynamic {
            true => "DYNAMIC_SERVER_CONFIG",
            false => "INITIAL_SERVER_CONFIG",
        }
        .to_owned(),
    });
    Ok(DescribeClusterConfigsResponse {
        configs: configs.collect(),
    })
}

/// GET_CLUSTER_HEALTH (1062): every bucket has one replica, which leads unless its log is offline.
pub fn health(
    context: &Context,
    _: GetClusterHealthRequest,
) -> Result<GetClusterHealthResponse, Failure> {
    let broker = context.broker();
    let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let replicas = broker.catalog.view().tablets().count();
    let open = broker.tablets.all_open();
    let offline = open
        .iter()
        .filter(|b| b.tablet.log().log().offline_cause().is_some())
        .count();
    let active = count(replicas.saturating_sub(offline));
    Ok(GetClusterHealthResponse {
        num_replicas: count(replicas),
        in_sync_replicas: active,
        num_leader_replicas: count(replicas),
        active_leader_replicas: active,
        status: if offline == 0 { GREEN } else { RED },
    })
}
