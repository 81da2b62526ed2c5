//! INIT_WRITER (1026): a writer id for an idempotent writer.

use protocol::fluss::messages::{InitWriterRequest, InitWriterResponse};

use super::change;
use crate::fluss::error::Failure;
use crate::fluss::wire::Context;

/// Hands out a writer id.
pub async fn handle(
    context: &Context,
    _: InitWriterRequest,
) -> Result<InitWriterResponse, Failure> {
    let writer_id = change(context, |shared| {
        Ok(shared.broker.catalog.next_producer_id()?)
    })
    .await?;
    Ok(InitWriterResponse { writer_id })
}
