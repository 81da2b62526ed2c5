//! The handlers of the Fluss wire: a file per API with logic of its own, a file per resource for
//! its family.

pub mod acls;
pub mod alter_configs;
pub mod alter_table;
pub mod cluster;
pub mod create_table;
pub mod databases;
pub mod fetch_log;
pub mod filter;
pub mod init_writer;
pub mod kv_snapshots;
pub mod lake;
pub mod limit_scan;
pub mod list_offsets;
pub mod lookup;
pub mod metadata;
pub mod partitions;
pub mod produce_log;
pub mod producer_offsets;
pub mod put_kv;
pub mod scan_kv;
pub mod table_stats;
pub mod tables;

use std::sync::Arc;

use protocol::fluss::error::ErrorCode;

use super::error::Failure;
use super::wire::{Context, Shared};

/// Runs a change of the catalog where waiting for the disk is allowed. It is finished also when
/// the client goes away meanwhile.
async fn change<T: Send + 'static>(
    context: &Context,
    change: impl FnOnce(&Arc<Shared>) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let shared = Arc::clone(&context.shared);
    match tokio::task::spawn_blocking(move || change(&shared)).await {
        Ok(result) => result,
        // A panic goes on to the connection, which answers it.
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Failure::new(
            ErrorCode::UnknownServerError,
            "the server stops",
        )),
    }
}

/// Closes the tablets of what was dropped, and deletes their files behind the answer.
fn forget_dropped(shared: &Shared) {
    let tablets = Arc::clone(&shared.broker.tablets);
    tablets.refresh();
    tokio::task::spawn_blocking(move || tablets.delete_dropped());
}
