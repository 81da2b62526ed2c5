//! Databases: create, drop, list, look up, alter.

use protocol::fluss::descriptor::DatabaseDescriptor;
use protocol::fluss::error::ErrorCode;
use protocol::fluss::messages::{
    AlterDatabaseRequest, AlterDatabaseResponse, CreateDatabaseRequest, CreateDatabaseResponse,
    DatabaseExistsRequest, DatabaseExistsResponse, DropDatabaseRequest, DropDatabaseResponse,
    GetDatabaseInfoRequest, GetDatabaseInfoResponse, ListDatabasesRequest, ListDatabasesResponse,
    PbAlterConfig, PbDatabaseSummary,
};
use storage::catalog::{AlterDatabaseError, CreateDatabaseError, DropDatabaseError, MapChanges};

use super::tables::check_droppable;
use super::{change, forget_dropped};
use crate::fluss::error::Failure;
use crate::fluss::resolve::no_database;
use crate::fluss::wire::Context;

const OP_SET: i32 = 0;
const OP_DELETE: i32 = 1;

/// CREATE_DATABASE (1001).
pub async fn create(
    context: &Context,
    request: CreateDatabaseRequest,
) -> Result<CreateDatabaseResponse, Failure> {
    let described = match &request.database_json {
        Some(json) => DatabaseDescriptor::from_json(json)
            .map_err(|error| Failure::new(ErrorCode::InvalidDatabase, error.to_string()))?,
        None => DatabaseDescriptor::default(),
    };
    change(context, move |shared| {
        let catalog = &shared.broker.catalog;
        let DatabaseDescriptor {
            comment,
            custom_properties,
        } = described;
        match catalog.create_database(&request.database_name, comment, custom_properties) {
            Ok(_) => Ok(CreateDatabaseResponse {}),
            Err(CreateDatabaseError::AlreadyExists(_)) if request.ignore_if_exists => {
                Ok(CreateDatabaseResponse {})
            }
            Err(error) => Err(error.into()),
        }
    })
    .await
}

/// DROP_DATABASE (1002).
pub async fn drop(
    context: &Context,
    request: DropDatabaseRequest,
) -> Result<DropDatabaseResponse, Failure> {
    change(context, move |shared| {
        let name = &request.database_name;
        let broker = &shared.broker;
        if let Some(tables) = broker.catalog.view().tables_of(name) {
            for table in tables.filter(|_| request.cascade) {
                check_droppable(broker, table)?;
            }
        }
        match broker.catalog.drop_database(name, request.cascade) {
            Ok(()) => forget_dropped(shared),
            Err(DropDatabaseError::Unknown(_)) if request.ignore_if_not_exists => {}
            Err(error) => return Err(error.into()),
        }
        Ok(DropDatabaseResponse {})
    })
    .await
}

/// LIST_DATABASES (1003): names, or summaries where they are asked for.
pub fn list(
    context: &Context,
    request: ListDatabasesRequest,
) -> Result<ListDatabasesResponse, Failure> {
    let view = context.broker().catalog.view();
    let mut response = ListDatabasesResponse::default();
    for database in view.databases() {
        if !request.include_summary() {
            response.database_name.push(database.name.clone());
            continue;
        }
        let tables = view.tables_of(&database.name).map_or(0, Iterator::count);
        response.database_summary.push(PbDatabaseSummary {
            database_name: database.name.clone(),
            created_time: database.created_ms,
            table_count: i32::try_from(tables).unwrap_or(i32::MAX),
        });
    }
    Ok(response)
}

/// DATABASE_EXISTS (1004).
pub fn exists(
    context: &Context,
    request: DatabaseExistsRequest,
) -> Result<DatabaseExistsResponse, Failure> {
    let exists = context
        .broker()
        .catalog
        .view()
        .database(&request.database_name)
        .is_some();
    Ok(DatabaseExistsResponse { exists })
}

/// GET_DATABASE_INFO (1035).
pub fn info(
    context: &Context,
    request: GetDatabaseInfoRequest,
) -> Result<GetDatabaseInfoResponse, Failure> {
    let view = context.broker().catalog.view();
    let name = &request.database_name;
    let database = view.database(name).ok_or_else(|| no_database(name))?;
    let described = DatabaseDescriptor {
        comment: database.comment.clone(),
        custom_properties: database.custom_properties.clone(),
    };
    Ok(GetDatabaseInfoResponse {
        database_json: described.to_json().into(),
        created_time: database.created_ms,
        modified_time: database.modified_ms,
    })
}

/// ALTER_DATABASE (1060): custom properties and the comment.
pub async fn alter(
    context: &Context,
    request: AlterDatabaseRequest,
) -> Result<AlterDatabaseResponse, Failure> {
    let properties: MapChanges = request
        .config_changes
        .into_iter()
        .map(property_change)
        .collect::<Result<_, _>>()?;
    let comment = request.comment.map(Some);
    change(context, move |shared| {
        match shared
            .broker
            .catalog
            .alter_database(&request.database_name, comment, properties)
        {
            Ok(_) => Ok(AlterDatabaseResponse {}),
            Err(AlterDatabaseError::Unknown(_)) if request.ignore_if_not_exists => {
                Ok(AlterDatabaseResponse {})
            }
            Err(error) => Err(error.into()),
        }
    })
    .await
}

fn property_change(change: PbAlterConfig) -> Result<(String, Option<String>), Failure> {
    match (change.op_type, change.config_value) {
        (OP_SET, Some(value)) => Ok((change.config_key, Some(value))),
        (OP_DELETE, _) => Ok((change.config_key, None)),
        (op, _) => {
            let text = format!(
                "operation {op} on property '{}' is not supported",
                change.config_key
            );
            Err(Failure::new(ErrorCode::InvalidDatabase, text))
        }
    }
}
