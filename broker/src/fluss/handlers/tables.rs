//! Tables: drop, list, look up.

use protocol::fluss::descriptor::schema_to_json;
use protocol::fluss::error::ErrorCode;
use protocol::fluss::messages::{
    DropTableRequest, DropTableResponse, GetTableInfoRequest, GetTableInfoResponse,
    GetTableSchemaRequest, GetTableSchemaResponse, ListTablesRequest, ListTablesResponse,
    TableExistsRequest, TableExistsResponse,
};
use protocol::ids::SchemaId;
use storage::catalog::{DropTableError, Origin, Table};

use super::{change, forget_dropped};
use crate::broker::Broker;
use crate::fluss::describe::shown_descriptor;
use crate::fluss::error::Failure;
use crate::fluss::resolve::{self, no_database, no_table};
use crate::fluss::wire::Context;

/// DROP_TABLE (1006). A table is a topic, so the topic goes too.
pub async fn drop(
    context: &Context,
    request: DropTableRequest,
) -> Result<DropTableResponse, Failure> {
    change(context, move |shared| {
        let broker = &shared.broker;
        let path = &request.table_path;
        let view = broker.catalog.view();
        let found = view.table_by_path(&path.database_name, &path.table_name);
        let dropped = match found {
            Some(table) => {
                check_droppable(broker, table)?;
                broker.catalog.drop_table(table.id)
            }
            None if view.database(&path.database_name).is_none()
                && !request.ignore_if_not_exists =>
            {
                return Err(no_database(&path.database_name));
            }
            None => return ignored(request.ignore_if_not_exists, no_table(path)),
        };
        match dropped {
            Ok(()) => {
                forget_dropped(shared);
                Ok(DropTableResponse {})
            }
            Err(error @ DropTableError::Unknown(_)) => {
                ignored(request.ignore_if_not_exists, error.into())
            }
            Err(error) => Err(error.into()),
        }
    })
    .await
}

fn ignored(ignore: bool, failure: Failure) -> Result<DropTableResponse, Failure> {
    if ignore {
        Ok(DropTableResponse {})
    } else {
        Err(failure)
    }
}

/// Refuses to drop what belongs to the broker, and topics of Kafka clients where the broker is
/// told not to delete topics.
pub fn check_droppable(broker: &Broker, table: &Table) -> Result<(), Failure> {
    let refuse = |reason: &str| {
        Err(Failure::new(
            ErrorCode::InvalidTable,
            format!("table {} {reason}", table.path),
        ))
    };
    match table.origin {
        Origin::Internal => refuse("belongs to the broker"),
        Origin::Kafka if !broker.config().topic_creation().delete_enabled => {
            refuse("is a topic of Kafka clients, and delete.topic.enable is false")
        }
        Origin::Kafka | Origin::Fluss => Ok(()),
    }
}

/// LIST_TABLES (1008).
pub fn list(context: &Context, request: ListTablesRequest) -> Result<ListTablesResponse, Failure> {
    let view = context.broker().catalog.view();
    let name = &request.database_name;
    let tables = view.tables_of(name).ok_or_else(|| no_database(name))?;
    Ok(ListTablesResponse {
        table_name: tables.map(|table| table.path.table.clone()).collect(),
    })
}

/// TABLE_EXISTS (1010).
pub fn exists(
    context: &Context,
    request: TableExistsRequest,
) -> Result<TableExistsResponse, Failure> {
    let view = context.broker().catalog.view();
    Ok(TableExistsResponse {
        exists: resolve::table(&view, &request.table_path).is_ok(),
    })
}

/// GET_TABLE_INFO (1007).
pub fn info(
    context: &Context,
    request: GetTableInfoRequest,
) -> Result<GetTableInfoResponse, Failure> {
    let broker = context.broker();
    let view = broker.catalog.view();
    let table = resolve::table(&view, &request.table_path)?;
    let described = shown_descriptor(table, &broker.tablets);
    Ok(GetTableInfoResponse {
        table_id: table.fluss_id.value(),
        schema_id: table.schema().id.value().into(),
        table_json: described.to_json().into(),
        created_time: table.created_ms,
        modified_time: table.modified_ms,
        remote_data_dir: None,
        bucket_count_epoch: None,
    })
}

/// GET_TABLE_SCHEMA (1011): the schema of an id, or the newest.
pub fn schema(
    context: &Context,
    request: GetTableSchemaRequest,
) -> Result<GetTableSchemaResponse, Failure> {
    let view = context.broker().catalog.view();
    let table = resolve::table(&view, &request.table_path)?;
    let newest = table.schema();
    let asked = request
        .schema_id
        .unwrap_or_else(|| newest.id.value().into());
    let found = i16::try_from(asked)
        .ok()
        .and_then(|id| table.schema_of(SchemaId::new(id)));
    let schema = found.ok_or_else(|| {
        let text = format!("table {} has no schema {asked}", table.path);
        Failure::new(ErrorCode::SchemaNotExist, text)
    })?;
    Ok(GetTableSchemaResponse {
        schema_id: asked,
        schema_json: schema_to_json(schema).into(),
    })
}
