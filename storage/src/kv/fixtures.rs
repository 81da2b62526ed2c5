//! Small tables for tests: `k INT` is the key, other columns are nullable.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::fluss::options::KvFormat;
use protocol::fluss::value::Value;
use protocol::ids::SchemaId;
use protocol::row::{Datum, RowLayout};
use protocol::schema::{AggFunction, Column, DataType, Schema, TypeKind};

use super::merge::MergeTable;

pub(crate) const ONE: SchemaId = SchemaId::new(1);
pub(crate) const TWO: SchemaId = SchemaId::new(2);

/// A column: name, type, aggregation function with its delimiter, or an empty text.
pub(crate) type Described<'a> = (&'a str, TypeKind, &'a str);

/// A schema of `k INT NOT NULL` and these columns.
pub(crate) fn schema(columns: &[Described<'_>]) -> Schema {
    let key = ("k", TypeKind::Int, "");
    let columns: Vec<_> = std::iter::once(&key)
        .chain(columns)
        .zip(0..)
        .map(|((name, kind, function), id)| Column {
            name: (*name).to_owned(),
            data_type: DataType {
                kind: kind.clone(),
                nullable: id > 0,
            },
            comment: None,
            id,
            agg_function: (!function.is_empty()).then(|| AggFunction {
                name: (*function).to_owned(),
                parameters: BTreeMap::new(),
            }),
        })
        .collect();
    Schema {
        highest_field_id: i32::try_from(columns.len()).unwrap() - 1,
        columns,
        primary_key: vec!["k".to_owned()],
        auto_increment_column: None,
    }
}

/// A table whose schema 1 has the first `width` of these columns, and schema 2 all of them.
pub(crate) fn table(columns: &[Described<'_>], width: usize) -> MergeTable {
    MergeTable {
        kv_format: KvFormat::Compacted,
        schemas: BTreeMap::from([
            (ONE, Arc::new(schema(&columns[..width]))),
            (TWO, Arc::new(schema(columns))),
        ]),
        latest: TWO,
        engine: None,
        version_column: None,
        delete_behavior: None,
    }
}

/// An encoded row of this schema of the table.
pub(crate) fn row(table: &MergeTable, id: SchemaId, values: &[Datum<'_>]) -> Vec<u8> {
    let layout = RowLayout::of(table.kv_format, &table.schemas[&id]);
    let mut out = Vec::new();
    layout.write(values, &mut out).unwrap();
    out
}

/// The values of a stored row.
pub(crate) fn values<'a>(table: &MergeTable, value: Value<'a>) -> Vec<Datum<'a>> {
    let layout = RowLayout::of(table.kv_format, &table.schemas[&value.schema_id]);
    let mut out = Vec::new();
    layout.read(value.row, &mut out).unwrap();
    out
}
