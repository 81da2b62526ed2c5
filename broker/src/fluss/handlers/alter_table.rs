//! ALTER_TABLE (1044): options, or columns at the end.

use protocol::fluss::descriptor::TableDescriptor;
use protocol::fluss::error::ErrorCode;
use protocol::fluss::messages::{AlterTableRequest, AlterTableResponse};
use protocol::fluss::options::{Altered, OptionChange, TABLE_PREFIX, TableAlteration, apply_alter};
use storage::catalog::{Origin, Table, TableChanges};

use super::change;
use super::create_table::limits;
use crate::fluss::auto_partition;
use crate::fluss::describe::{TOPIC_PROPERTY, changes, stored_descriptor};
use crate::fluss::error::Failure;
use crate::fluss::resolve::no_table;
use crate::fluss::wire::Context;

/// Alters a table; open tablets follow before the answer.
pub async fn handle(
    context: &Context,
    request: AlterTableRequest,
) -> Result<AlterTableResponse, Failure> {
    let alteration = TableAlteration::from_request(&request)?;
    change(context, move |shared| {
        let broker = &shared.broker;
        let path = &request.table_path;
        let view = broker.catalog.view();
        let Some(table) = view.table_by_path(&path.database_name, &path.table_name) else {
            return match request.ignore_if_not_exists {
                true => Ok(AlterTableResponse {}),
                false => Err(no_table(path)),
            };
        };
        let limits = limits(&broker.config());
        let table = broker.catalog.alter_table(table.id, |table| {
            check_owner(table, &alteration)?;
            let before = stored_descriptor(table);
            match apply_alter(&before, alteration, &limits)? {
                Altered::Unchanged => Ok(TableChanges::default()),
                Altered::Options(after) => Ok(option_changes(&before, &after)),
                Altered::Schema(after) => Ok(TableChanges {
                    schema: Some(after.schema),
                    ..TableChanges::default()
                }),
            }
        });
        let table = table.map_err(|refusal: Refusal| refusal.0)?;
        broker.tablets.refresh();
        // Auto partitioning may have been switched on.
        auto_partition::create_ahead(shared, &table, 0);
        Ok(AlterTableResponse {})
    })
    .await
}

/// A failure, from the rules or from the catalog.
struct Refusal(Failure);

impl<E: Into<Failure>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Refusal(error.into())
    }
}

/// A topic of Kafka clients has its settings on the Kafka wire and the raw schema; only free
/// properties may be kept with it from here.
fn check_owner(table: &Table, alteration: &TableAlteration) -> Result<(), Failure> {
    let refuse = |reason: &str| {
        Err(Failure::new(
            ErrorCode::InvalidAlterTable,
            format!("table {} {reason}", table.path),
        ))
    };
    if let TableAlteration::Options(options) = alteration {
        let mut keys = options
            .iter()
            .map(|(OptionChange::Set { key, .. } | OptionChange::Reset { key })| key);
        if keys.any(|key| key == TOPIC_PROPERTY) {
            return refuse("is bound to its topic for good");
        }
    }
    let free = matches!(alteration, TableAlteration::Options(options) if options.iter().all(
        |(OptionChange::Set { key, .. } | OptionChange::Reset { key })| !key.starts_with(TABLE_PREFIX)
    ));
    match table.origin {
        Origin::Fluss => Ok(()),
        Origin::Internal => refuse("belongs to the broker"),
        Origin::Kafka if free => Ok(()),
        Origin::Kafka => refuse(
            "is a topic of Kafka clients: its columns are fixed, and its settings are the topic's configs",
        ),
    }
}

fn option_changes(before: &TableDescriptor, after: &TableDescriptor) -> TableChanges {
    TableChanges {
        properties: changes(&before.properties, &after.properties),
        custom_properties: changes(&before.custom_properties, &after.custom_properties),
        ..TableChanges::default()
    }
}
