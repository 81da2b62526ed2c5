//! Rows from JSON: the inverse of what [`super::JsonRows`] writes, for what Kafka producers send.
//!
//! What the writer writes is read back as the same row. Beside that a reader takes what people and
//! serializers write that means the same without a doubt: white space, columns in any order,
//! decimals as numbers, fewer digits of a second or of a decimal, an instant with the offset of
//! its zone. Everything else is refused, and the column named: a name that the table does not have
//! is a misspelt column more often than not, and would be lost without a word.
//!
//! Nesting follows the type, so a hostile text cannot deepen it.

mod lexer;
mod value;

use std::collections::HashMap;

use thiserror::Error;

use crate::row::ELEMENTS_MAX;
use crate::schema::{DataType, Schema, TypeKind};
use lexer::Lexer;
pub use value::JsonValue;
use value::{Refused, Values};

/// Bytes of a value that a message shows.
const SHOWN_MAX: usize = 40;

/// Why a text is no row.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReadError {
    /// It is no JSON.
    #[error("is not JSON: expected {expected} at byte {at}")]
    Syntax {
        /// Where.
        at: usize,
        /// What should be there.
        expected: &'static str,
    },
    /// It is JSON of another kind.
    #[error("is not a JSON object")]
    NoObject,
    /// A field is no column.
    #[error("has the field '{0}', which is no column")]
    Unknown(String),
    /// A value is none of its column.
    #[error("column '{column}' {fault}")]
    Column {
        /// The column's name.
        column: String,
        /// What is wrong with the value.
        fault: Fault,
    },
}

/// Why a value is none of its column.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// Null where the type forbids it.
    #[error("must not be null")]
    Null,
    /// The column, or a field of it, is not there and must not be null.
    #[error("lacks '{0}', which must not be null")]
    Missing(String),
    /// The column, or a field of it, is there twice.
    #[error("has '{0}' twice")]
    Twice(String),
    /// A field is none of the type.
    #[error("has the field '{0}', which its type lacks")]
    Field(String),
    /// JSON of another kind than the type is written as.
    #[error("of type {expected} is {found}")]
    Kind {
        /// The type.
        expected: &'static str,
        /// What the text has.
        found: &'static str,
    },
    /// A text or number that is no value of the type.
    #[error("has '{found}', which is no {expected}")]
    Value {
        /// The type.
        expected: &'static str,
        /// What the text has, cut.
        found: String,
    },
    /// More nested values than a row may have.
    #[error("has more than {ELEMENTS_MAX} values")]
    Elements,
}

impl Fault {
    fn kind(expected: &TypeKind, found: &'static str) -> Fault {
        Fault::Kind {
            expected: type_name(expected),
            found,
        }
    }

    fn value(expected: &TypeKind, found: &str) -> Fault {
        let shown = found.floor_char_boundary(SHOWN_MAX);
        Fault::Value {
            expected: type_name(expected),
            found: found[..shown].to_owned(),
        }
    }
}

fn type_name(kind: &TypeKind) -> &'static str {
    match kind {
        TypeKind::Boolean => "BOOLEAN",
        TypeKind::TinyInt => "TINYINT",
        TypeKind::SmallInt => "SMALLINT",
        TypeKind::Int => "INT",
        TypeKind::BigInt => "BIGINT",
        TypeKind::Float => "FLOAT",
        TypeKind::Double => "DOUBLE",
        TypeKind::Char { .. } => "CHAR of its length",
        TypeKind::String => "STRING",
        TypeKind::Binary { .. } => "BINARY of its length",
        TypeKind::Bytes => "BYTES",
        TypeKind::Decimal { .. } => "DECIMAL of its precision and scale",
        TypeKind::Date => "DATE",
        TypeKind::Time { .. } => "TIME of its precision",
        TypeKind::Timestamp { .. } => "TIMESTAMP of its precision",
        TypeKind::TimestampLtz { .. } => "TIMESTAMP_LTZ of its precision",
        TypeKind::Array(_) => "ARRAY",
        TypeKind::Map { .. } => "MAP",
        TypeKind::Row(_) => "ROW",
    }
}

/// Reads objects of some columns of a schema.
#[derive(Debug, Clone)]
pub struct JsonReader {
    columns: Vec<(String, DataType)>,
    positions: HashMap<String, usize>,
}

impl JsonReader {
    /// Reads objects of all columns.
    pub fn new(schema: &Schema) -> Self {
        JsonReader::of_columns(schema, 0..schema.columns.len())
    }

    /// Reads objects of the columns at these positions of the schema. Positions that it does not
    /// have are passed over.
    pub fn of_columns(schema: &Schema, positions: impl IntoIterator<Item = usize>) -> Self {
        let columns = positions
            .into_iter()
            .filter_map(|at| schema.columns.get(at));
        let columns: Vec<_> = columns
            .map(|column| (column.name.clone(), column.data_type.clone()))
            .collect();
        let names = columns.iter().map(|(name, _)| name.clone());
        JsonReader {
            positions: names.zip(0..).collect(),
            columns,
        }
    }

    /// Reads an object; `out` is cleared and then has each of the reader's columns, none where the
    /// object lacks it.
    ///
    /// # Errors
    /// The text is no such object.
    pub fn read<'a>(
        &self,
        json: &'a [u8],
        out: &mut Vec<Option<JsonValue<'a>>>,
    ) -> Result<(), ReadError> {
        out.clear();
        out.resize(self.columns.len(), None);
        let mut lexer = Lexer::new(json)?;
        match lexer.peek() {
            Some(b'{') => {}
            Some(b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
                return Err(ReadError::NoObject);
            }
            _ => return Err(lexer.error("an object")),
        }
        let mut current = None;
        let mut values = Values::new(&mut lexer);
        let read = values.items(b'{', b'}', |values| {
            current = None;
            let name = values.lexer.string()?;
            let Some(at) = self.positions.get(&*name).copied() else {
                return Err(ReadError::Unknown(name.into_owned()).into());
            };
            current = Some(at);
            values.lexer.expect(b':', "a colon")?;
            let value = values.read(&self.columns[at].1)?;
            match out[at].replace(value) {
                None => Ok(()),
                Some(_) => Err(Fault::Twice(self.columns[at].0.clone()).into()),
            }
        });
        match read {
            Ok(()) => lexer.finish(),
            Err(Refused::Syntax(error)) => Err(error),
            Err(Refused::Fault(fault)) => Err(ReadError::Column {
                column: current.map_or_else(String::new, |at| self.columns[at].0.clone()),
                fault,
            }),
        }
    }
}

#[cfg(test)]
mod tests;
