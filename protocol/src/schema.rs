//! The type system of tables, which is Fluss's, and the schema of a table.
//!
//! Facts: Fluss `metadata/{Schema,DataTypes}.java`; the JSON form is in [`crate::fluss`].

use crate::ids::SchemaId;

/// The type of a column and whether it may hold null.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DataType {
    /// What the values are.
    pub kind: TypeKind,
    /// True when null is a legal value.
    pub nullable: bool,
}

impl DataType {
    /// A nullable type.
    pub const fn nullable(kind: TypeKind) -> Self {
        DataType {
            kind,
            nullable: true,
        }
    }

    /// A NOT NULL type.
    pub const fn not_null(kind: TypeKind) -> Self {
        DataType {
            kind,
            nullable: false,
        }
    }
}

/// The kinds of values. Lengths count characters (CHAR) or bytes (BINARY); precisions count
/// decimal digits (DECIMAL) or digits of the second's fraction (TIME and the timestamps).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are SQL's own")]
pub enum TypeKind {
    Boolean,
    TinyInt,
    SmallInt,
    Int,
    BigInt,
    Float,
    Double,
    Char {
        length: u32,
    },
    String,
    Binary {
        length: u32,
    },
    Bytes,
    Decimal {
        precision: u8,
        scale: u8,
    },
    Date,
    Time {
        precision: u8,
    },
    Timestamp {
        precision: u8,
    },
    TimestampLtz {
        precision: u8,
    },
    Array(Box<DataType>),
    Map {
        key: Box<DataType>,
        value: Box<DataType>,
    },
    Row(Vec<RowField>),
}

/// A field of a ROW type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RowField {
    /// Its name, unique in the row.
    pub name: String,
    /// Its type.
    pub data_type: DataType,
    /// Free text.
    pub description: Option<String>,
    /// The id that schema evolution follows; -1 when it is not known.
    pub field_id: i32,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Column {
    /// Its name, unique in the table.
    pub name: String,
    /// Its type.
    pub data_type: DataType,
    /// Free text.
    pub comment: Option<String>,
    /// The id that schema evolution follows.
    pub id: i32,
    /// How values of one key are aggregated (merge engine `aggregation`).
    pub agg_function: Option<AggFunction>,
}

/// An aggregation function with its parameters, as the schema names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AggFunction {
    /// Lower-case name, such as `sum`.
    pub name: String,
    /// Parameters in the order of their names.
    pub parameters: std::collections::BTreeMap<String, String>,
}

/// The columns and keys of a table at one schema id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    /// The columns in order; projections name them by position.
    pub columns: Vec<Column>,
    /// Names of the primary key's columns; empty for a log table.
    pub primary_key: Vec<String>,
    /// The column whose values the server counts up, if any.
    pub auto_increment_column: Option<String>,
    /// Largest column or field id ever used.
    pub highest_field_id: i32,
}

impl Schema {
    /// The position of a column.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name == name)
    }
}

/// A schema and its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberedSchema {
    /// The schema id that batches name.
    pub id: SchemaId,
    /// The schema.
    pub schema: Schema,
}
