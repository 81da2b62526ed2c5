//! The JSON form of a schema, and the ids of its columns.
//!
//! Schema evolution follows ids, not names. Every column and every field of a nested ROW has one;
//! they are never used again, so a schema carries the highest that it ever had. A column takes the
//! next id and its nested fields those after it. Old JSON has no ids: columns take their position.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::data_type::{TypeJson, UNKNOWN_ID, check_names};
use super::{DescriptorError, TYPE_DEPTH_MAX, invalid, read_json, write_json};
use crate::schema::{AggFunction, Column, DataType, Schema, TypeKind};

/// Names that the server and the lake give to columns of their own.
pub const SYSTEM_COLUMNS: [&str; 6] = [
    "__offset",
    "__timestamp",
    "__bucket",
    "_change_type",
    "_log_offset",
    "_commit_timestamp",
];

/// The most columns of a table, far above what a row of 16 MiB holds usefully.
pub const COLUMNS_MAX: usize = 10_000;

/// The most columns of one key.
pub const KEY_COLUMNS_MAX: usize = 256;

const VERSION: i32 = 1;

/// Reads a schema and checks that its keys and ids fit together.
///
/// # Errors
/// The JSON is no schema, or one that cannot be.
pub fn schema_from_json(json: &[u8]) -> Result<Schema, DescriptorError> {
    read_json::<SchemaJson>(json, "schema")?.into_schema()
}

/// Writes a schema.
pub fn schema_to_json(schema: &Schema) -> Vec<u8> {
    write_json(&SchemaJson::from(schema))
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SchemaJson {
    #[serde(default)]
    version: i32,
    columns: Vec<ColumnJson>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    primary_key: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    auto_increment_column: Option<Vec<String>>,
    #[serde(default)]
    highest_field_id: Option<i32>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ColumnJson {
    name: String,
    data_type: TypeJson,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    agg_function: Option<AggJson>,
    #[serde(default = "unknown_id")]
    id: i32,
}

#[derive(Debug, Serialize, Deserialize)]
struct AggJson {
    #[serde(rename = "type")]
    name: String,
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "super::text::map"
    )]
    parameters: BTreeMap<String, String>,
}

fn unknown_id() -> i32 {
    UNKNOWN_ID
}

impl SchemaJson {
    pub(super) fn into_schema(self) -> Result<Schema, DescriptorError> {
        let columns = self
            .columns
            .into_iter()
            .map(|column| {
                Ok(Column {
                    name: column.name,
                    data_type: column.data_type.into_type(TYPE_DEPTH_MAX)?,
                    comment: column.comment,
                    id: column.id,
                    // Fluss reads a function that it does not know as none.
                    agg_function: column
                        .agg_function
                        .and_then(|agg| agg_function(&agg.name, agg.parameters)),
                })
            })
            .collect::<Result<Vec<_>, DescriptorError>>()?;
        let mut counted = self.auto_increment_column.unwrap_or_default();
        if counted.len() > 1 {
            return Err(invalid("a table has at most one auto-increment column"));
        }
        if self.primary_key.as_ref().is_some_and(Vec::is_empty) {
            return Err(invalid("a primary key has at least one column"));
        }
        build_schema(
            columns,
            self.primary_key.unwrap_or_default(),
            counted.pop(),
            self.highest_field_id,
        )
    }
}

impl From<&Schema> for SchemaJson {
    fn from(schema: &Schema) -> Self {
        let column = |column: &Column| ColumnJson {
            name: column.name.clone(),
            data_type: TypeJson::from(&column.data_type),
            comment: column.comment.clone(),
            agg_function: column.agg_function.as_ref().map(|agg| AggJson {
                name: agg.name.clone(),
                parameters: agg.parameters.clone(),
            }),
            id: column.id,
        };
        SchemaJson {
            version: VERSION,
            columns: schema.columns.iter().map(column).collect(),
            primary_key: (!schema.primary_key.is_empty()).then(|| schema.primary_key.clone()),
            auto_increment_column: schema.auto_increment_column.clone().map(|name| vec![name]),
            highest_field_id: Some(schema.highest_field_id),
        }
    }
}

/// Every aggregation function, by its name in JSON.
const AGG_FUNCTIONS: [&str; 14] = [
    "sum",
    "product",
    "max",
    "min",
    "last_value",
    "last_value_ignore_nulls",
    "first_value",
    "first_value_ignore_nulls",
    "listagg",
    "string_agg",
    "bool_and",
    "bool_or",
    "rbm32",
    "rbm64",
];

/// The function of a name; case and hyphens do not matter.
pub(super) fn agg_function(
    name: &str,
    parameters: BTreeMap<String, String>,
) -> Option<AggFunction> {
    let name = name.trim().replace('-', "_").to_ascii_lowercase();
    AGG_FUNCTIONS
        .contains(&name.as_str())
        .then_some(AggFunction { name, parameters })
}

/// Makes a schema of columns whose ids are all known or all [unknown](super::UNKNOWN_ID): gives the
/// missing ids, makes key columns NOT NULL, and checks that keys and ids fit.
///
/// # Errors
/// The columns, keys or ids do not fit together.
pub fn build_schema(
    mut columns: Vec<Column>,
    primary_key: Vec<String>,
    auto_increment_column: Option<String>,
    highest_field_id: Option<i32>,
) -> Result<Schema, DescriptorError> {
    if columns.is_empty() {
        return Err(invalid("a table has at least one column"));
    }
    check_count("columns", columns.len(), COLUMNS_MAX)?;
    check_count("primary key columns", primary_key.len(), KEY_COLUMNS_MAX)?;
    check_names("table", columns.iter().map(|column| column.name.as_str()))?;
    let highest_field_id = number_columns(&mut columns, highest_field_id)?;
    check_primary_key(&mut columns, &primary_key)?;
    if let Some(name) = &auto_increment_column {
        check_auto_increment(&columns, &primary_key, name)?;
    }
    Ok(Schema {
        columns,
        primary_key,
        auto_increment_column,
        highest_field_id,
    })
}

/// Bounds work that grows with the square of a count.
pub(super) fn check_count(what: &str, count: usize, max: usize) -> Result<(), DescriptorError> {
    if count > max {
        Err(invalid(format!("{count} {what} are more than {max}")))
    } else {
        Ok(())
    }
}

fn check_primary_key(
    columns: &mut [Column],
    primary_key: &[String],
) -> Result<(), DescriptorError> {
    for (at, name) in primary_key.iter().enumerate() {
        if primary_key[..at].contains(name) {
            return Err(invalid(format!(
                "the primary key has column '{name}' twice"
            )));
        }
        let column = columns
            .iter_mut()
            .find(|column| column.name == *name)
            .ok_or_else(|| invalid(format!("primary key column '{name}' is not in the schema")))?;
        if column.agg_function.is_some() {
            return Err(invalid(format!(
                "primary key column '{name}' cannot have an aggregation function"
            )));
        }
        column.data_type.nullable = false;
    }
    Ok(())
}

fn check_auto_increment(
    columns: &[Column],
    primary_key: &[String],
    name: &str,
) -> Result<(), DescriptorError> {
    let refuse = |reason: &str| Err(invalid(format!("auto-increment column '{name}' {reason}")));
    if primary_key.is_empty() {
        return refuse("needs a primary-key table");
    }
    if primary_key.iter().any(|key| key == name) {
        return refuse("is part of the primary key");
    }
    match columns
        .iter()
        .find(|column| column.name == name)
        .map(|column| &column.data_type.kind)
    {
        None => refuse("is not in the schema"),
        Some(TypeKind::Int | TypeKind::BigInt) => Ok(()),
        Some(_) => refuse("is neither INT nor BIGINT"),
    }
}

/// Gives ids where they are unknown; returns the highest ever used.
fn number_columns(columns: &mut [Column], highest: Option<i32>) -> Result<i32, DescriptorError> {
    let known = columns
        .iter()
        .filter(|column| column.id != UNKNOWN_ID)
        .count();
    if known == 0 {
        for (id, column) in (0..).zip(columns.iter_mut()) {
            column.id = id;
        }
    } else if known != columns.len() {
        return Err(invalid("either all columns have an id or none"));
    }
    let mut ids = Vec::new();
    for column in columns.iter() {
        ids.push(column.id);
        collect_ids(&column.data_type, &mut ids);
    }
    ids.sort_unstable();
    if ids.first().is_some_and(|id| *id < 0) {
        return Err(invalid("ids of columns are not negative"));
    }
    if ids.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(invalid("ids of columns and nested fields are not unique"));
    }
    let largest = ids.last().copied().unwrap_or(UNKNOWN_ID);
    let mut highest = match highest {
        Some(highest) if highest < largest => {
            return Err(invalid(format!(
                "highest_field_id {highest} is below the id {largest}"
            )));
        }
        Some(highest) => highest,
        None => largest,
    };
    // Older clients send nested fields without ids.
    for column in columns {
        number_fields(&mut column.data_type, &mut highest, false)?;
    }
    Ok(highest)
}

/// The known ids of nested fields.
fn collect_ids(data_type: &DataType, ids: &mut Vec<i32>) {
    match &data_type.kind {
        TypeKind::Array(element) => collect_ids(element, ids),
        TypeKind::Map { key, value } => {
            collect_ids(key, ids);
            collect_ids(value, ids);
        }
        TypeKind::Row(fields) => {
            for field in fields {
                if field.field_id != UNKNOWN_ID {
                    ids.push(field.field_id);
                }
                collect_ids(&field.data_type, ids);
            }
        }
        _ => {}
    }
}

/// Gives the next ids to nested fields: to those without, or to all of them.
fn number_fields(
    data_type: &mut DataType,
    highest: &mut i32,
    all: bool,
) -> Result<(), DescriptorError> {
    match &mut data_type.kind {
        TypeKind::Array(element) => number_fields(element, highest, all),
        TypeKind::Map { key, value } => {
            number_fields(key, highest, all)?;
            number_fields(value, highest, all)
        }
        TypeKind::Row(fields) => {
            for field in fields {
                if all || field.field_id == UNKNOWN_ID {
                    field.field_id = next_id(highest)?;
                }
                number_fields(&mut field.data_type, highest, all)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn next_id(highest: &mut i32) -> Result<i32, DescriptorError> {
    *highest = highest
        .checked_add(1)
        .ok_or_else(|| invalid("no column ids are left"))?;
    Ok(*highest)
}

/// A column that is to be added to a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewColumn {
    /// Its name.
    pub name: String,
    /// Its type; ids of nested fields are given anew.
    pub data_type: DataType,
    /// Free text.
    pub comment: Option<String>,
    /// How values of one key are aggregated.
    pub agg_function: Option<AggFunction>,
}

/// A schema with columns appended, their ids following the highest ever used.
///
/// # Errors
/// A name exists already, or a column is not nullable: rows of older batches have no value.
pub fn add_columns(schema: &Schema, new: Vec<NewColumn>) -> Result<Schema, DescriptorError> {
    check_count("columns", schema.columns.len() + new.len(), COLUMNS_MAX)?;
    let mut columns = schema.columns.clone();
    let mut highest = schema.highest_field_id;
    for column in new {
        let name = &column.name;
        if columns.iter().any(|existing| existing.name == *name) {
            return Err(DescriptorError::InvalidAlter(format!(
                "column '{name}' already exists"
            )));
        }
        if !column.data_type.nullable {
            return Err(DescriptorError::Unsupported(format!(
                "added column '{name}' must be nullable"
            )));
        }
        let id = next_id(&mut highest)?;
        let mut data_type = column.data_type;
        number_fields(&mut data_type, &mut highest, true)?;
        columns.push(Column {
            name: column.name,
            data_type,
            comment: column.comment,
            id,
            agg_function: column.agg_function,
        });
    }
    build_schema(
        columns,
        schema.primary_key.clone(),
        schema.auto_increment_column.clone(),
        Some(highest),
    )
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
