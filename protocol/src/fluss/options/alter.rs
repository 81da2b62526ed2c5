//! Changes of a table: its options, or columns added at its end.
//!
//! Source of the rules: Fluss `SchemaUpdate.java`, `TableDescriptorValidation.java`
//! (`validateAlterTableProperties`), `MetadataManager.java`.

use super::super::descriptor::{
    DescriptorError, NewColumn, TableDescriptor, add_columns, data_type_from_json,
};
use super::super::messages::{AlterTableRequest, PbAddColumn, PbAlterConfig};
use super::aggregation::{check_functions, check_no_functions};
use super::create::{ClusterLimits, store_time_zone};
use super::rules::{check_system_columns, check_table};
use super::{MergeEngine, TABLE_PREFIX, TableConfig, find, keys};
use crate::schema::AggFunction;

/// One request's change: options or columns, never both, so that it takes effect as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableAlteration {
    /// Options to set and to reset, in order.
    Options(Vec<OptionChange>),
    /// Columns to append, in order.
    AddColumns(Vec<NewColumn>),
}

/// One change of an option. Keys outside `table.` are custom properties.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OptionChange {
    /// Gives a value.
    Set {
        /// The option.
        key: String,
        /// Its new value.
        value: String,
    },
    /// Goes back to the default.
    Reset {
        /// The option.
        key: String,
    },
}

/// What a change comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Altered {
    /// Everything is so already.
    Unchanged,
    /// The table with other options, under the same schema id.
    Options(TableDescriptor),
    /// The table with more columns, which takes the next schema id.
    Schema(TableDescriptor),
}

const OP_SET: i32 = 0;
const OP_DELETE: i32 = 1;
const POSITION_LAST: i32 = 0;

impl TableAlteration {
    /// Reads a request.
    ///
    /// # Errors
    /// It changes options and columns at once, or asks for what no table supports.
    pub fn from_request(request: &AlterTableRequest) -> Result<Self, DescriptorError> {
        let unsupported = |what: &str| {
            Err(DescriptorError::Unsupported(format!(
                "{what} columns is not supported"
            )))
        };
        if request.modify_bucket_count.is_some() {
            return Err(DescriptorError::InvalidAlter(
                "the bucket count cannot be changed".to_owned(),
            ));
        }
        let others = request.drop_columns.len()
            + request.rename_columns.len()
            + request.modify_columns.len();
        let columns = request.add_columns.len() + others;
        if columns > 0 && !request.config_changes.is_empty() {
            return Err(DescriptorError::InvalidAlter(
                "one request changes either options or columns".to_owned(),
            ));
        }
        match () {
            () if !request.drop_columns.is_empty() => unsupported("dropping"),
            () if !request.rename_columns.is_empty() => unsupported("renaming"),
            () if !request.modify_columns.is_empty() => unsupported("modifying"),
            () if columns > 0 => {
                let columns = request
                    .add_columns
                    .iter()
                    .map(new_column)
                    .collect::<Result<_, _>>()?;
                Ok(TableAlteration::AddColumns(columns))
            }
            () => {
                let changes = request
                    .config_changes
                    .iter()
                    .map(option_change)
                    .collect::<Result<_, _>>()?;
                Ok(TableAlteration::Options(changes))
            }
        }
    }
}

fn option_change(change: &PbAlterConfig) -> Result<OptionChange, DescriptorError> {
    let key = change.config_key.clone();
    match (change.op_type, &change.config_value) {
        (OP_SET, Some(value)) => Ok(OptionChange::Set {
            key,
            value: value.clone(),
        }),
        (OP_SET, None) => Err(DescriptorError::InvalidAlter(format!(
            "no value is given for '{key}'"
        ))),
        (OP_DELETE, _) => Ok(OptionChange::Reset { key }),
        (other, _) => Err(DescriptorError::Unsupported(format!(
            "operation {other} on table options is not supported"
        ))),
    }
}

fn new_column(column: &PbAddColumn) -> Result<NewColumn, DescriptorError> {
    let name = &column.column_name;
    if column.column_position_type != POSITION_LAST {
        return Err(DescriptorError::Unsupported(format!(
            "column '{name}' can only be added at the end"
        )));
    }
    let agg_function = column
        .agg_function_type
        .as_ref()
        .map(|function| AggFunction {
            name: function.trim().replace('-', "_").to_ascii_lowercase(),
            parameters: column
                .agg_function_params
                .iter()
                .map(|p| (p.key.clone(), p.value.clone()))
                .collect(),
        });
    Ok(NewColumn {
        name: name.clone(),
        data_type: data_type_from_json(&column.data_type_json)?,
        comment: column.comment.clone(),
        agg_function,
    })
}

/// The table after a change. The caller stores it; nothing here has an effect.
///
/// # Errors
/// The table does not allow the change.
pub fn apply_alter(
    table: &TableDescriptor,
    alteration: TableAlteration,
    limits: &ClusterLimits,
) -> Result<Altered, DescriptorError> {
    match alteration {
        TableAlteration::Options(changes) => alter_options(table, changes, limits),
        TableAlteration::AddColumns(columns) => append_columns(table, columns),
    }
}

fn append_columns(
    table: &TableDescriptor,
    columns: Vec<NewColumn>,
) -> Result<Altered, DescriptorError> {
    if columns.is_empty() {
        return Ok(Altered::Unchanged);
    }
    let schema = add_columns(&table.schema, columns)?;
    check_system_columns(&schema)?;
    match TableConfig::parse(&table.properties)?.merge_engine {
        Some(MergeEngine::Aggregation) => check_functions(&schema),
        _ => check_no_functions(&schema),
    }
    .map_err(DescriptorError::InvalidConfig)?;
    Ok(Altered::Schema(TableDescriptor {
        schema,
        ..table.clone()
    }))
}

fn alter_options(
    table: &TableDescriptor,
    changes: Vec<OptionChange>,
    limits: &ClusterLimits,
) -> Result<Altered, DescriptorError> {
    for change in &changes {
        check_alterable(table, change.key())?;
    }
    let before = TableConfig::parse(&table.properties)?;
    check_lake_options(table, &before, &changes)?;
    let mut altered = table.clone();
    // Fluss resets after it sets, whatever the order in the request.
    let (resets, sets): (Vec<_>, Vec<_>) = changes
        .into_iter()
        .partition(|change| matches!(change, OptionChange::Reset { .. }));
    for change in sets.into_iter().chain(resets) {
        change.apply(&mut altered);
    }
    if altered == *table {
        return Ok(Altered::Unchanged);
    }
    store_time_zone(&mut altered, limits)?;
    let after = TableConfig::parse(&altered.properties)?;
    if after.datalake_enabled && !before.datalake_enabled {
        let Some(format) = limits.datalake_format.filter(|_| limits.datalake_enabled) else {
            return Err(DescriptorError::InvalidAlter(
                "this cluster has no lake".to_owned(),
            ));
        };
        altered
            .properties
            .entry(keys::DATALAKE_FORMAT.to_owned())
            .or_insert_with(|| format.to_string());
    }
    check_table(&altered, limits)?;
    Ok(Altered::Options(altered))
}

impl OptionChange {
    fn key(&self) -> &str {
        match self {
            OptionChange::Set { key, .. } | OptionChange::Reset { key } => key,
        }
    }

    fn apply(self, table: &mut TableDescriptor) {
        let properties = match self.key().starts_with(TABLE_PREFIX) {
            true => &mut table.properties,
            false => &mut table.custom_properties,
        };
        match self {
            OptionChange::Set { key, value } => properties.insert(key, value),
            OptionChange::Reset { key } => properties.remove(&key),
        };
    }
}

fn check_alterable(table: &TableDescriptor, key: &str) -> Result<(), DescriptorError> {
    let refuse = |reason: &str| {
        Err(DescriptorError::InvalidAlter(format!(
            "option '{key}' {reason}"
        )))
    };
    if !key.starts_with(TABLE_PREFIX) {
        return Ok(());
    }
    if !find(key).is_some_and(|option| option.alterable) {
        return refuse("cannot be changed");
    }
    if key == keys::KV_STANDBY_REPLICA_ENABLED && !table.has_primary_key() {
        return refuse("is for primary-key tables");
    }
    Ok(())
}

/// A table that was made before the cluster had a lake hashes without regard to it, so only a table
/// whose writers choose the bucket may still be written to the lake.
fn check_lake_options(
    table: &TableDescriptor,
    before: &TableConfig,
    changes: &[OptionChange],
) -> Result<(), DescriptorError> {
    if before.datalake_format.is_some() {
        return Ok(());
    }
    let mut of_lake = changes
        .iter()
        .map(OptionChange::key)
        .filter(|key| key.starts_with("table.datalake."));
    let free = !table.has_primary_key() && table.bucket_keys.is_empty();
    match of_lake.find(|key| !free || *key != keys::DATALAKE_ENABLED) {
        Some(key) => Err(DescriptorError::InvalidAlter(format!(
            "option '{key}' cannot be changed, as the table was made before the cluster had a lake"
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "alter_tests.rs"]
mod tests;
