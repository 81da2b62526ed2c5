//! Partitions of tables: create, drop, list.

use protocol::fluss::error::ErrorCode;
use protocol::fluss::messages::{
    CreatePartitionRequest, CreatePartitionResponse, DropPartitionRequest, DropPartitionResponse,
    ListPartitionInfosRequest, ListPartitionInfosResponse, PbPartitionInfo,
};
use protocol::fluss::partition::{HISTORICAL, PartitionError, PartitionValues};
use storage::catalog::{AlterPartitionError, CreatePartitionError, Origin, Table};

use super::{change, forget_dropped};
use crate::fluss::auto_partition;
use crate::fluss::error::Failure;
use crate::fluss::resolve;
use crate::fluss::wire::{Context, Shared};

/// CREATE_PARTITION (1036). Writers send it when they meet a new value.
pub async fn create(
    context: &Context,
    request: CreatePartitionRequest,
) -> Result<CreatePartitionResponse, Failure> {
    change(context, move |shared| {
        let view = shared.broker.catalog.view();
        let table = resolve::table(&view, &request.table_path)?;
        let values =
            PartitionValues::from_spec(&table.partition_keys, &request.partition_spec, true)?;
        match create_one(shared, table, &values) {
            // The field is called otherwise, but means an existing partition.
            Err(failure)
                if failure.code == ErrorCode::PartitionAlreadyExists
                    && request.ignore_if_not_exists =>
            {
                Ok(CreatePartitionResponse {})
            }
            other => other.map(|()| CreatePartitionResponse {}),
        }
    })
    .await
}

/// Makes a partition within the limits of its table. Waits for the disk.
pub fn create_one(shared: &Shared, table: &Table, values: &PartitionValues) -> Result<(), Failure> {
    let _turn = shared.partition_turn.lock();
    let broker = &shared.broker;
    let view = broker.catalog.view();
    let name = values.name();
    if view.partition_by_name(table.id, &name).is_some() {
        let text = format!("partition {name} of table {} exists", table.path);
        return Err(Failure::new(ErrorCode::PartitionAlreadyExists, text));
    }
    if let Some(rules) = auto_partition::rules_of(table) {
        rules.check_new(values, broker.env.clock.wall_ms())?;
    }
    let limit = broker.config().fluss().partitions_max;
    if view.partitions_of(table.id).count() >= limit {
        let text = format!(
            "table {} has the {limit} partitions that are allowed",
            table.path
        );
        return Err(Failure::new(ErrorCode::PartitionMaxNum, text));
    }
    let created = broker
        .catalog
        .create_partition(table.id, values.values().to_vec());
    match created {
        Ok(_) => Ok(()),
        Err(error @ CreatePartitionError::Claimed { .. }) => Err(Failure::new(
            ErrorCode::PartitionSpecInvalid,
            error.to_string(),
        )),
        Err(error) => Err(error.into()),
    }
}

/// DROP_PARTITION (1037).
pub async fn drop(
    context: &Context,
    request: DropPartitionRequest,
) -> Result<DropPartitionResponse, Failure> {
    change(context, move |shared| {
        let catalog = &shared.broker.catalog;
        let view = catalog.view();
        let table = resolve::table(&view, &request.table_path)?;
        let values =
            PartitionValues::from_spec(&table.partition_keys, &request.partition_spec, false)?;
        if table.origin == Origin::Internal {
            let text = format!("table {} belongs to the broker", table.path);
            return Err(Failure::new(ErrorCode::InvalidTable, text));
        }
        let name = values.name();
        let missing = || resolve::no_partition(&table.path, &name);
        let dropped = match view.partition_by_name(table.id, &name) {
            Some(partition) => catalog.drop_partition(partition.id),
            None if request.ignore_if_not_exists => return Ok(DropPartitionResponse {}),
            None => return Err(missing()),
        };
        match dropped {
            Ok(()) => forget_dropped(shared),
            Err(AlterPartitionError::Unknown(_)) if request.ignore_if_not_exists => {}
            Err(AlterPartitionError::Unknown(_)) => return Err(missing()),
            Err(error) => return Err(error.into()),
        }
        Ok(DropPartitionResponse {})
    })
    .await
}

/// LIST_PARTITION_INFOS (1009), of all partitions or those with some values.
pub fn list(
    context: &Context,
    request: ListPartitionInfosRequest,
) -> Result<ListPartitionInfosResponse, Failure> {
    let view = context.broker().catalog.view();
    let table = resolve::table(&view, &request.table_path)?;
    let keys = &table.partition_keys;
    if keys.is_empty() {
        return Err(PartitionError::NotPartitioned.into());
    }
    let mut response = ListPartitionInfosResponse {
        partitions_info: Vec::new(),
        system_partitions_included: request.include_system_partitions,
    };
    for partition in view.partitions_of(table.id) {
        let values = PartitionValues::new(partition.values.clone());
        let wanted = match &request.partial_partition_spec {
            Some(filter) => values.matches(keys, filter)?,
            None => true,
        };
        let shown = request.include_system_partitions()
            || !partition.values.iter().any(|v| v == HISTORICAL);
        if wanted && shown {
            response.partitions_info.push(PbPartitionInfo {
                partition_id: partition.id.value(),
                partition_spec: values.to_spec(keys),
                remote_data_dir: None,
                bucket_count: i32::try_from(partition.bucket_count).ok(),
            });
        }
    }
    Ok(response)
}
