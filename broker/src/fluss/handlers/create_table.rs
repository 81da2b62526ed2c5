//! CREATE_TABLE (1005): defaults and checks of `protocol::fluss::options`, then the catalog.

use protocol::fluss::descriptor::{TableDescriptor, check_table_name};
use protocol::fluss::messages::{CreateTableRequest, CreateTableResponse};
use protocol::fluss::options::{ClusterLimits, validate_create};
use storage::catalog::{CreateTableError, NewName, NewTable, StringMap, TableKind};

use super::change;
use crate::config::Config;
use crate::fluss::auto_partition;
use crate::fluss::describe::TOPIC_PROPERTY;
use crate::fluss::error::Failure;
use crate::fluss::resolve::{no_database, path_of};
use crate::fluss::wire::Context;

/// What this server fills in and allows.
pub fn limits(config: &Config) -> ClusterLimits {
    let fluss = config.fluss();
    ClusterLimits {
        default_bucket_count: i32::try_from(fluss.buckets_default).unwrap_or(i32::MAX),
        bucket_count_max: i32::try_from(fluss.buckets_max).unwrap_or(i32::MAX),
        allow_log_tables: fluss.allow_create_log_tables,
        allow_primary_key_tables: fluss.allow_create_primary_key_tables,
        ..ClusterLimits::default()
    }
}

/// Makes a table; the first partitions of a table that is partitioned by time come with it.
pub async fn handle(
    context: &Context,
    request: CreateTableRequest,
) -> Result<CreateTableResponse, Failure> {
    let path = path_of(&request.table_path);
    check_table_name(&path.table)?;
    let mut described = TableDescriptor::from_json(&request.table_json)?;
    described.custom_properties.remove(TOPIC_PROPERTY);
    let described = validate_create(described, &limits(&context.broker().config()))?;
    let new = new_table(NewName::Path(path.clone()), described);
    let ignore_if_exists = request.ignore_if_exists;
    change(context, move |shared| {
        let catalog = &shared.broker.catalog;
        if catalog.view().database(&path.database).is_none() {
            return Err(no_database(&path.database));
        }
        match catalog.create_table(new) {
            Ok(table) => {
                auto_partition::create_ahead(shared, &table, 0);
                Ok(CreateTableResponse {})
            }
            Err(CreateTableError::AlreadyExists { .. }) if ignore_if_exists => {
                Ok(CreateTableResponse {})
            }
            Err(error) => Err(error.into()),
        }
    })
    .await
}

fn new_table(name: NewName, described: TableDescriptor) -> NewTable {
    NewTable {
        name,
        kind: match described.has_primary_key() {
            true => TableKind::PrimaryKey,
            false => TableKind::Log,
        },
        schema: described.schema,
        // Validation has filled it in and found it positive.
        bucket_count: described
            .bucket_count
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(1),
        bucket_keys: described.bucket_keys,
        partition_keys: described.partition_keys,
        properties: described.properties,
        custom_properties: described.custom_properties,
        comment: described.comment,
        kafka_configs: StringMap::new(),
    }
}
