//! GET_METADATA (1012): the servers, and the buckets of the tables and partitions that are asked
//! for. Never more than that: clients fail on a partition whose table they do not know.

use std::collections::HashSet;

use protocol::fluss::error::ErrorCode;
use protocol::fluss::messages::{
    MetadataRequest, MetadataResponse, PbBucketMetadata, PbPartitionMetadata, PbPhysicalTablePath,
    PbServerNode, PbTableMetadata, PbTablePath,
};
use protocol::ids::TablePartitionId;
use storage::catalog::{CatalogView, Table, TablePartition};

use crate::broker::Broker;
use crate::fluss::describe::shown_descriptor;
use crate::fluss::error::Failure;
use crate::fluss::resolve;
use crate::fluss::wire::Context;

/// The largest answer.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// What a table or partition takes beside its description and its buckets.
const ENTRY_BYTES: usize = 256;
/// What a bucket takes.
const BUCKET_BYTES: usize = 96;

/// What is left of the answer.
struct Room(usize);

impl Room {
    fn take(&mut self, description_bytes: usize, buckets: usize) -> Result<(), Failure> {
        let bytes = ENTRY_BYTES + description_bytes + buckets * BUCKET_BYTES;
        let left = self.0.checked_sub(bytes).ok_or_else(|| {
            let text = format!("metadata of more than {ANSWER_BYTES_MAX} bytes is asked for");
            Failure::new(ErrorCode::RecordTooLarge, text)
        })?;
        self.0 = left;
        Ok(())
    }
}

/// Answers with this server in both roles, at the address of the listener that the client uses.
pub fn handle(context: &Context, request: MetadataRequest) -> Result<MetadataResponse, Failure> {
    let broker = context.broker();
    let view = broker.catalog.view();
    let endpoint = broker.endpoint_for(&context.peer);
    let server = PbServerNode {
        node_id: broker.node_id,
        host: endpoint.host,
        port: i32::from(endpoint.port),
        listeners: None,
        rack: broker.config().rack(),
    };
    let mut response = MetadataResponse {
        coordinator_server: Some(PbServerNode {
            rack: None,
            ..server.clone()
        }),
        tablet_servers: vec![server],
        table_metadata: Vec::with_capacity(request.table_path.len()),
        partition_metadata: Vec::new(),
    };
    let mut room = Room(ANSWER_BYTES_MAX);
    // A request is small, but may name the same large table again and again.
    let mut tables = HashSet::new();
    for path in &request.table_path {
        let table = resolve::table(&view, path)?;
        if !tables.insert(table.id) {
            continue;
        }
        let metadata = table_metadata(broker, path, table);
        room.take(metadata.table_json.len(), metadata.bucket_metadata.len())?;
        response.table_metadata.push(metadata);
    }
    for path in &request.partitions_path {
        let partition = partition_by_path(&view, path)?;
        room.take(partition.values.len(), partition.bucket_count as usize)?;
        response
            .partition_metadata
            .push(partition_metadata(broker, partition));
    }
    for id in &request.partitions_id {
        let partition = view.partition(TablePartitionId::new(*id)).ok_or_else(|| {
            let text = format!("partition {id} does not exist");
            Failure::new(ErrorCode::PartitionNotExists, text)
        })?;
        room.take(partition.values.len(), partition.bucket_count as usize)?;
        response
            .partition_metadata
            .push(partition_metadata(broker, partition));
    }
    Ok(response)
}

fn table_metadata(broker: &Broker, path: &PbTablePath, table: &Table) -> PbTableMetadata {
    let buckets = if table.is_partitioned() {
        0
    } else {
        table.bucket_count
    };
    let described = shown_descriptor(table, &broker.tablets);
    PbTableMetadata {
        table_path: path.clone(),
        table_id: table.fluss_id.value(),
        schema_id: table.schema().id.value().into(),
        table_json: described.to_json().into(),
        bucket_metadata: bucket_metadata(broker, buckets),
        created_time: table.created_ms,
        modified_time: table.modified_ms,
        remote_data_dir: None,
        bucket_count_epoch: None,
    }
}

fn partition_by_path<'v>(
    view: &'v CatalogView,
    path: &PbPhysicalTablePath,
) -> Result<&'v TablePartition, Failure> {
    let table_path = PbTablePath {
        database_name: path.database_name.clone(),
        table_name: path.table_name.clone(),
    };
    let table = resolve::table(view, &table_path)?;
    let name = path.partition_name.as_deref().unwrap_or_default();
    let partition = view.partition_by_name(table.id, name);
    partition
        .map(|partition| &**partition)
        .ok_or_else(|| resolve::no_partition(&table.path, name))
}

fn partition_metadata(broker: &Broker, partition: &TablePartition) -> PbPartitionMetadata {
    PbPartitionMetadata {
        table_id: partition.table.value(),
        partition_name: partition.name(),
        partition_id: partition.id.value(),
        bucket_metadata: bucket_metadata(broker, partition.bucket_count),
        bucket_count: i32::try_from(partition.bucket_count).ok(),
    }
}

/// All buckets, each led by this server: clients count them to choose a row's bucket.
fn bucket_metadata(broker: &Broker, count: u32) -> Vec<PbBucketMetadata> {
    let count = i32::try_from(count).unwrap_or(i32::MAX);
    let bucket = |bucket_id| PbBucketMetadata {
        bucket_id,
        leader_id: Some(broker.node_id),
        replica_id: vec![broker.node_id],
        leader_epoch: Some(broker.tablets.epoch().value()),
        bucket_epoch: Some(0),
        isr: vec![broker.node_id],
    };
    (0..count).map(bucket).collect()
}
