//! Tables, schemas, data types and databases as JSON, as clients send and read them.
//!
//! Reading normalises: what Fluss's own descriptor builder fills in or refuses is filled in or
//! refused here, so that every [`TableDescriptor`] holds its invariants. Sources of the rules:
//! Fluss `metadata/{Schema,TableDescriptor}.java` and `utils/json/*JsonSerde.java`.

mod data_type;
mod database;
mod schema;
mod table;

use thiserror::Error;

use super::error::ErrorCode;
use super::names::NameError;

pub use data_type::{UNKNOWN_ID, data_type_from_json, data_type_to_json};
pub use database::DatabaseDescriptor;
pub use schema::{
    COLUMNS_MAX, KEY_COLUMNS_MAX, NewColumn, SYSTEM_COLUMNS, add_columns, build_schema,
    schema_from_json, schema_to_json,
};
pub use table::TableDescriptor;

/// The largest JSON text that is read: some ten thousand columns. Parsed, it takes about five
/// times as much.
pub const JSON_BYTES_MAX: usize = 1 << 20;

/// How deep types nest. The JSON reader stops at 128 levels, and a ROW takes three of them.
pub const TYPE_DEPTH_MAX: usize = 32;

/// Why a database or a table cannot be made or changed. Each variant has its error code on the
/// Fluss wire, see [`DescriptorError::code`]; none is mended by a retry.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DescriptorError {
    /// The JSON cannot be read.
    #[error("failed to parse {what}: {reason}")]
    Json {
        /// What was to be read, such as `table descriptor`.
        what: &'static str,
        /// Where and why it failed.
        reason: String,
    },
    /// The JSON is larger than [`JSON_BYTES_MAX`].
    #[error("{what} of {bytes} bytes is larger than {JSON_BYTES_MAX}")]
    TooLarge {
        /// What was to be read.
        what: &'static str,
        /// Its size.
        bytes: usize,
    },
    /// Columns, types, keys or buckets do not fit together.
    #[error("{0}")]
    InvalidTable(String),
    /// A table's name is refused.
    #[error("table name '{name}' {reason}")]
    TableName {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: NameError,
    },
    /// A database's name is refused.
    #[error("database name '{name}' {reason}")]
    DatabaseName {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: NameError,
    },
    /// An option is unknown, or its value does not fit.
    #[error("{0}")]
    InvalidConfig(String),
    /// More buckets than the cluster allows.
    #[error("bucket count {count} exceeds the limit of {limit} for a table or a partition")]
    TooManyBuckets {
        /// What was asked for.
        count: i32,
        /// What the cluster allows.
        limit: i32,
    },
    /// More replicas than tablet servers.
    #[error("replication factor {factor} is larger than the number of tablet servers, {servers}")]
    ReplicationFactor {
        /// What was asked for.
        factor: i32,
        /// Servers of the cluster.
        servers: i32,
    },
    /// A change that a table of this kind does not allow.
    #[error("{0}")]
    InvalidAlter(String),
    /// A change that has no support, here as in Fluss, and no error code of its own.
    #[error("{0}")]
    Unsupported(String),
}

impl DescriptorError {
    /// The code on the Fluss wire.
    pub const fn code(&self) -> ErrorCode {
        match self {
            DescriptorError::Json { .. }
            | DescriptorError::TooLarge { .. }
            | DescriptorError::InvalidTable(_)
            | DescriptorError::TableName { .. } => ErrorCode::InvalidTable,
            DescriptorError::DatabaseName { .. } => ErrorCode::InvalidDatabase,
            DescriptorError::InvalidConfig(_) => ErrorCode::InvalidConfig,
            DescriptorError::TooManyBuckets { .. } => ErrorCode::BucketMaxNum,
            DescriptorError::ReplicationFactor { .. } => ErrorCode::InvalidReplicationFactor,
            DescriptorError::InvalidAlter(_) => ErrorCode::InvalidAlterTable,
            DescriptorError::Unsupported(_) => ErrorCode::UnknownServerError,
        }
    }
}

/// Checks the name of a table that is to be made.
///
/// # Errors
/// The name breaks a rule of [`super::names`].
pub fn check_table_name(name: &str) -> Result<(), DescriptorError> {
    super::names::check_new_name(name).map_err(|reason| DescriptorError::TableName {
        name: name.to_owned(),
        reason,
    })
}

/// Checks the name of a database that is to be made.
///
/// # Errors
/// The name breaks a rule of [`super::names`].
pub fn check_database_name(name: &str) -> Result<(), DescriptorError> {
    super::names::check_new_name(name).map_err(|reason| DescriptorError::DatabaseName {
        name: name.to_owned(),
        reason,
    })
}

/// Reads JSON of a bounded size and depth.
fn read_json<'a, T: serde::Deserialize<'a>>(
    json: &'a [u8],
    what: &'static str,
) -> Result<T, DescriptorError> {
    if json.len() > JSON_BYTES_MAX {
        return Err(DescriptorError::TooLarge {
            what,
            bytes: json.len(),
        });
    }
    serde_json::from_slice(json).map_err(|error| DescriptorError::Json {
        what,
        reason: error.to_string(),
    })
}

/// Writes JSON of types that hold only strings, numbers, lists and maps with string keys.
fn write_json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("strings, numbers and lists always have a JSON form")
}

/// A table error with a text that is made when needed.
fn invalid(text: impl Into<String>) -> DescriptorError {
    DescriptorError::InvalidTable(text.into())
}

/// Scalars of JSON as text: properties may come as numbers or booleans, which Fluss takes.
mod text {
    use std::collections::BTreeMap;
    use std::fmt;

    use serde::de::{Deserialize, Deserializer, Error, Visitor};

    struct Text(String);

    impl<'de> Deserialize<'de> for Text {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Scalar;
            impl Visitor<'_> for Scalar {
                type Value = Text;
                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("a string")
                }
                fn visit_str<E: Error>(self, value: &str) -> Result<Text, E> {
                    Ok(Text(value.to_owned()))
                }
                fn visit_string<E: Error>(self, value: String) -> Result<Text, E> {
                    Ok(Text(value))
                }
                fn visit_bool<E: Error>(self, value: bool) -> Result<Text, E> {
                    Ok(Text(value.to_string()))
                }
                fn visit_i64<E: Error>(self, value: i64) -> Result<Text, E> {
                    Ok(Text(value.to_string()))
                }
                fn visit_u64<E: Error>(self, value: u64) -> Result<Text, E> {
                    Ok(Text(value.to_string()))
                }
                fn visit_f64<E: Error>(self, value: f64) -> Result<Text, E> {
                    Ok(Text(value.to_string()))
                }
            }
            deserializer.deserialize_any(Scalar)
        }
    }

    pub(super) fn map<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<String, String>, D::Error> {
        let map = BTreeMap::<String, Text>::deserialize(deserializer)?;
        Ok(map.into_iter().map(|(key, value)| (key, value.0)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_refused_with_the_code_of_their_kind() {
        assert_eq!(
            check_table_name("a.b").unwrap_err().code(),
            ErrorCode::InvalidTable
        );
        assert_eq!(
            check_database_name("__x").unwrap_err().code(),
            ErrorCode::InvalidDatabase
        );
        assert_eq!(
            check_table_name("a b").unwrap_err().to_string(),
            "table name 'a b' has characters other than ASCII letters, digits, '_' and '-'"
        );
    }
}
