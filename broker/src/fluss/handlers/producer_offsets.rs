//! REGISTER_PRODUCER_OFFSETS (1053), GET_PRODUCER_OFFSETS (1054), DELETE_PRODUCER_OFFSETS (1055):
//! where the tables of a Flink job ended before it first wrote to them. A job that starts again
//! from there undoes what it wrote behind, which its aggregates would count twice.

use std::collections::BTreeMap;

use protocol::fluss::messages::{
    DeleteProducerOffsetsRequest, DeleteProducerOffsetsResponse, GetProducerOffsetsRequest,
    GetProducerOffsetsResponse, PbBucketOffset, PbProducerTableOffsets,
    RegisterProducerOffsetsRequest, RegisterProducerOffsetsResponse,
};
use storage::catalog::{ProducerOffsets, ProducerOffsetsError};

use super::change;
use crate::fluss::error::Failure;
use crate::fluss::resolve;
use crate::fluss::wire::Context;

/// How long offsets are kept when the client does not say: as with Fluss.
const TTL_MS: i64 = 24 * 60 * 60 * 1_000;
/// Answers to a registration.
const CREATED: i32 = 0;
const EXISTS: i32 = 1;

/// Keeps a job's offsets, unless some are kept already.
pub async fn register(
    context: &Context,
    request: RegisterProducerOffsetsRequest,
) -> Result<RegisterProducerOffsetsResponse, Failure> {
    let tables = &request.table_offsets;
    resolve::check_bucket_count(tables.iter().map(|table| table.bucket_offsets.len()).sum())?;
    let mut offsets = BTreeMap::new();
    for table in tables {
        for bucket in &table.bucket_offsets {
            let id = resolve::tablet_id(table.table_id, bucket.partition_id, bucket.bucket_id);
            offsets.insert(id, bucket.log_end_offset.unwrap_or(0));
        }
    }
    let ttl_ms = request.ttl_ms.unwrap_or(TTL_MS);
    let producer = request.producer_id;
    let created = change(context, move |shared| {
        let catalog = &shared.broker.catalog;
        Ok(catalog.register_producer_offsets(&producer, offsets, ttl_ms)?)
    })
    .await?;
    Ok(RegisterProducerOffsetsResponse {
        result: Some(if created { CREATED } else { EXISTS }),
    })
}

/// What a job left; an empty answer when there is nothing.
pub async fn get(
    context: &Context,
    request: GetProducerOffsetsRequest,
) -> Result<GetProducerOffsetsResponse, Failure> {
    let producer = request.producer_id.clone();
    // The catalog's writer may be at the disk.
    let kept = change(context, move |shared| {
        let kept = shared.broker.catalog.producer_offsets(&producer);
        Ok(kept.map_err(ProducerOffsetsError::from)?)
    })
    .await?;
    Ok(match kept {
        None => GetProducerOffsetsResponse::default(),
        Some(kept) => GetProducerOffsetsResponse {
            producer_id: Some(request.producer_id),
            expiration_time: Some(kept.expires_ms),
            table_offsets: by_table(&kept),
        },
    })
}

/// Forgets what a job left; nothing is no error.
pub async fn delete(
    context: &Context,
    request: DeleteProducerOffsetsRequest,
) -> Result<DeleteProducerOffsetsResponse, Failure> {
    change(context, move |shared| {
        let catalog = &shared.broker.catalog;
        Ok(catalog.forget_producer_offsets(&request.producer_id)?)
    })
    .await?;
    Ok(DeleteProducerOffsetsResponse {})
}

/// Tablets are in the order of their tables.
fn by_table(kept: &ProducerOffsets) -> Vec<PbProducerTableOffsets> {
    let mut tables: Vec<PbProducerTableOffsets> = Vec::new();
    for (id, offset) in &kept.offsets {
        let table_id = id.table.value();
        if tables.last().is_none_or(|table| table.table_id != table_id) {
            tables.push(PbProducerTableOffsets {
                table_id,
                bucket_offsets: Vec::new(),
            });
        }
        if let Some(table) = tables.last_mut() {
            table.bucket_offsets.push(PbBucketOffset {
                partition_id: id.table_partition.map(|partition| partition.value()),
                bucket_id: id.bucket.value(),
                log_end_offset: Some(*offset),
            });
        }
    }
    tables
}
