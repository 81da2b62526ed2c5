//! One line per API of the Fluss wire: in which stages it is answered, and by which handler.
//!
//! | stage | the next request of the connection waits for | answered |
//! |---|---|---|
//! | `now` | the handler | at once |
//! | `later` | nothing | when the handler returns |
//! | `login` | the login | at once |
//! | `append` | the batches' place in their logs | when the logs answer |
//! | `records` | nothing | when the handler returns, with records beside the message |
//!
//! Answers leave in any order: clients match them by id. An API without a line here is neither
//! advertised nor answered.

use std::sync::LazyLock;

use bytes::Bytes;
use protocol::fluss::api::{ApiKey, ServedApis};
use protocol::fluss::error::ErrorCode;
use protocol::fluss::frame::{FrameTooLong, encode_error, encode_success};
use protocol::fluss::shape::{DECODED_BYTES_MAX, decode};

use super::error::Failure;
use super::handlers;
use super::login::Login;
use super::wire::Context;
use crate::net::{Answer, Hold, Order, Started};

/// What is advertised and resolved.
pub static SERVED: LazyLock<ServedApis> = LazyLock::new(|| ServedApis::new(KEYS.iter().copied()));

macro_rules! apis {
    ($($key:ident: $stage:ident $($handler:path)?,)*) => {
        /// The APIs that have a handler.
        pub const KEYS: &[ApiKey] = &[$(ApiKey::$key),*];

        async fn dispatch(
            context: Context,
            login: &mut Login,
            body: Bytes,
        ) -> Result<Started, Failure> {
            match context.api {
                $(ApiKey::$key => apis!(@$stage context, login, body $(, $handler)?),)*
                other => {
                    let text = format!("{other} has no handler");
                    Err(Failure::new(ErrorCode::UnsupportedVersion, text))
                }
            }
        }
    };
    (@now $context:ident, $login:ident, $body:ident, $handler:path) => {{
        let response = $handler(&$context, decode($body, DECODED_BYTES_MAX)?);
        Ok(Started::now(Order::AnyOrder, answer(&$context, response)))
    }};
    (@later $context:ident, $login:ident, $body:ident, $handler:path) => {{
        let request = decode($body, DECODED_BYTES_MAX)?;
        Ok(Started::later(Order::AnyOrder, async move {
            let response = $handler(&$context, request).await;
            answer(&$context, response)
        }))
    }};
    (@login $context:ident, $login:ident, $body:ident) => {{
        let request = decode($body, DECODED_BYTES_MAX)?;
        let users = $context.broker().config().fluss().users;
        let response = $login.authenticate(&request, &users);
        Ok(Started::now(Order::AnyOrder, answer(&$context, response)))
    }};
    (@append $context:ident, $login:ident, $body:ident, $handler:path) => {{
        let request = decode($body, DECODED_BYTES_MAX)?;
        let queued = $handler(&$context, request).await?;
        Ok(Started::later(Order::AnyOrder, async move {
            let response = queued.answer(&$context).await;
            answer(&$context, Ok(response))
        }))
    }};
    (@records $context:ident, $login:ident, $body:ident, $handler:path) => {{
        let request = decode($body, DECODED_BYTES_MAX)?;
        Ok(Started::later(Order::AnyOrder, async move {
            match $handler(&$context, request).await {
                Ok(records) => match framed(&$context, records.chunks) {
                    Answer::Chunks(chunks) => Answer::Held(chunks, Hold::new(records.grant)),
                    other => other,
                },
                Err(failure) => failed(&$context, failure),
            }
        }))
    }};
}

apis! {
    ApiVersions: now handlers::cluster::api_versions,
    CreateDatabase: later handlers::databases::create,
    DropDatabase: later handlers::databases::drop,
    ListDatabases: now handlers::databases::list,
    DatabaseExists: now handlers::databases::exists,
    CreateTable: later handlers::create_table::handle,
    DropTable: later handlers::tables::drop,
    GetTableInfo: now handlers::tables::info,
    ListTables: now handlers::tables::list,
    ListPartitionInfos: now handlers::partitions::list,
    TableExists: now handlers::tables::exists,
    GetTableSchema: now handlers::tables::schema,
    GetMetadata: now handlers::metadata::handle,
    ProduceLog: append handlers::produce_log::start,
    FetchLog: records handlers::fetch_log::handle,
    PutKv: append handlers::put_kv::start,
    Lookup: records handlers::lookup::handle,
    ListOffsets: later handlers::list_offsets::handle,
    GetLatestKvSnapshots: now handlers::kv_snapshots::latest,
    GetKvSnapshotMetadata: later handlers::kv_snapshots::metadata,
    GetFileSystemSecurityToken: now handlers::cluster::file_system_token,
    InitWriter: later handlers::init_writer::handle,
    GetLakeSnapshot: now handlers::lake::snapshot,
    LimitScan: records handlers::limit_scan::handle,
    PrefixLookup: records handlers::lookup::prefix,
    GetDatabaseInfo: now handlers::databases::info,
    CreatePartition: later handlers::partitions::create,
    DropPartition: later handlers::partitions::drop,
    Authenticate: login,
    CreateAcls: now handlers::acls::create,
    ListAcls: now handlers::acls::list,
    DropAcls: now handlers::acls::drop,
    AlterTable: later handlers::alter_table::handle,
    AlterClusterConfigs: later handlers::alter_configs::handle,
    DescribeClusterConfigs: now handlers::cluster::describe_configs,
    RegisterProducerOffsets: later handlers::producer_offsets::register,
    GetProducerOffsets: later handlers::producer_offsets::get,
    DeleteProducerOffsets: later handlers::producer_offsets::delete,
    AcquireKvSnapshotLease: later handlers::kv_snapshots::acquire,
    ReleaseKvSnapshotLease: later handlers::kv_snapshots::release,
    DropKvSnapshotLease: later handlers::kv_snapshots::drop_lease,
    GetTableStats: later handlers::table_stats::handle,
    AlterDatabase: later handlers::databases::alter,
    ScanKv: records handlers::scan_kv::handle,
    GetClusterHealth: now handlers::cluster::health,
    ListKvSnapshots: now handlers::kv_snapshots::list,
}

/// Decodes a request and starts its handler.
pub async fn start(context: Context, login: &mut Login, body: Bytes) -> Started {
    match dispatch(context.clone(), login, body).await {
        Ok(started) => started,
        Err(failure) => Started::now(Order::AnyOrder, failed(&context, failure)),
    }
}

fn answer<M: prost::Message>(context: &Context, response: Result<M, Failure>) -> Answer {
    match response {
        Ok(message) => {
            let frame = encode_success(context.request_id, &message);
            framed(context, frame.map(|frame| vec![frame]))
        }
        Err(failure) => failed(context, failure),
    }
}

fn framed(context: &Context, chunks: Result<Vec<Bytes>, FrameTooLong>) -> Answer {
    match chunks {
        Ok(chunks) => Answer::Chunks(chunks),
        Err(error) => failed(
            context,
            Failure::new(ErrorCode::RecordTooLarge, error.to_string()),
        ),
    }
}

fn failed(context: &Context, failure: Failure) -> Answer {
    use ErrorCode::{
        DatabaseAlreadyExist, DatabaseNotExist, LakeSnapshotNotExist, PartitionAlreadyExists,
        PartitionNotExists, SecurityDisabled, TableAlreadyExist, TableNotExist,
    };
    let Failure { code, message } = failure;
    context.meter.failed(code.name(), 1);
    match code {
        // What clients ask to find out.
        DatabaseAlreadyExist
        | DatabaseNotExist
        | LakeSnapshotNotExist
        | PartitionAlreadyExists
        | PartitionNotExists
        | SecurityDisabled
        | TableAlreadyExist
        | TableNotExist => {
            tracing::debug!(client = %context.peer.address, api = %context.api, ?code, cause = message, "answered with an error");
        }
        _ => {
            tracing::info!(client = %context.peer.address, api = %context.api, ?code, cause = message, "refused a request");
        }
    }
    Answer::Chunks(vec![encode_error(context.request_id, code, Some(&message))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_api_stands_once_in_the_table() {
        for (at, key) in KEYS.iter().enumerate() {
            assert!(!KEYS[..at].contains(key), "{key}");
            assert!(SERVED.contains(*key));
        }
    }

    #[test]
    fn what_needs_a_lake_is_not_advertised() {
        for key in [
            ApiKey::PrepareLakeTableSnapshot,
            ApiKey::CommitLakeTableSnapshot,
        ] {
            assert!(!SERVED.contains(key), "{key}");
        }
    }
}
