//! Partitions of a table: their names, the specs that clients name them by, and the arithmetic of
//! partitions by time.
//!
//! A partition is one value, as text, for each partition key. Its name is the values joined by
//! `$` in the order of the keys; no value has a `$`, so the name can be split again.
//!
//! Source of the rules: Fluss `utils/{PartitionUtils,AutoPartitionStrategy}.java`,
//! `metadata/ResolvedPartitionSpec.java`.

mod auto;
mod pattern;
pub mod text;
pub mod value;
mod zone;

use thiserror::Error;

use super::error::ErrorCode;
use super::messages::{PbKeyValue, PbPartitionSpec};
use super::names::{NameError, check_name, check_new_name};

pub use auto::AutoPartition;
pub use pattern::TimePattern;
pub use zone::time_zone;

/// Between the values of a name.
pub const SEPARATOR: char = '$';

/// The one value that the server makes for itself: rows of expired partitions. Never created here,
/// but known so that it is neither dropped nor shown by accident.
pub const HISTORICAL: &str = "__historical__";

/// Why a partition spec is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PartitionError {
    /// The table has no partitions.
    #[error("table is not partitioned")]
    NotPartitioned,
    /// Not one value for each key.
    #[error("partition spec has {values} values, the table {keys} partition keys")]
    KeyCount {
        /// Values of the spec.
        values: usize,
        /// Keys of the table.
        keys: usize,
    },
    /// A key has no value.
    #[error("partition spec lacks partition key '{0}'")]
    MissingKey(String),
    /// A filter names what is no partition key.
    #[error("'{0}' is no partition key of the table")]
    UnknownKey(String),
    /// A value cannot be part of a name.
    #[error("partition value '{value}' {reason}")]
    Value {
        /// The value.
        value: String,
        /// What is wrong.
        reason: NameError,
    },
    /// A value of the time key is no time.
    #[error("partition value '{value}' does not have the form '{pattern}'")]
    TimeFormat {
        /// The value.
        value: String,
        /// The expected form.
        pattern: String,
    },
    /// A partition that retention would drop at once.
    #[error("partition value '{value}' is out of date, the earliest that is kept is '{earliest}'")]
    OutOfDate {
        /// The value.
        value: String,
        /// The earliest value that retention keeps.
        earliest: String,
    },
}

impl PartitionError {
    /// The code on the Fluss wire.
    pub const fn code(&self) -> ErrorCode {
        match self {
            PartitionError::NotPartitioned => ErrorCode::TableNotPartitioned,
            _ => ErrorCode::PartitionSpecInvalid,
        }
    }
}

/// The values of a partition, in the order of the table's partition keys.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionValues(Vec<String>);

impl PartitionValues {
    /// Values that are known to be legal, such as those read from the catalog.
    pub fn new(values: Vec<String>) -> Self {
        PartitionValues(values)
    }

    /// Reads a spec, whose keys may come in any order.
    ///
    /// # Errors
    /// The table has no partitions, the spec has other keys than the table, or a value is no legal
    /// name. With `creating`, values that are reserved for the server are refused too.
    pub fn from_spec(
        keys: &[String],
        spec: &PbPartitionSpec,
        creating: bool,
    ) -> Result<Self, PartitionError> {
        if keys.is_empty() {
            return Err(PartitionError::NotPartitioned);
        }
        let pairs = &spec.partition_key_values;
        if pairs.len() != keys.len() {
            return Err(PartitionError::KeyCount {
                values: pairs.len(),
                keys: keys.len(),
            });
        }
        let value = |key: &String| match pairs.iter().find(|pair| pair.key == *key) {
            Some(pair) => checked(&pair.value, creating),
            None => Err(PartitionError::MissingKey(key.clone())),
        };
        keys.iter()
            .map(value)
            .collect::<Result<_, _>>()
            .map(PartitionValues)
    }

    /// Splits a name.
    ///
    /// # Errors
    /// The name has another number of values than the table has keys, or a value is no legal name.
    pub fn from_name(keys: &[String], name: &str) -> Result<Self, PartitionError> {
        let values = name.split(SEPARATOR).count();
        if values != keys.len() {
            return Err(PartitionError::KeyCount {
                values,
                keys: keys.len(),
            });
        }
        name.split(SEPARATOR)
            .map(|value| checked(value, false))
            .collect::<Result<_, _>>()
            .map(PartitionValues)
    }

    /// The values.
    pub fn values(&self) -> &[String] {
        &self.0
    }

    /// The name on the Fluss wire.
    pub fn name(&self) -> String {
        self.0.join("$")
    }

    /// The spec, in the order of the keys.
    pub fn to_spec(&self, keys: &[String]) -> PbPartitionSpec {
        let pair = |(key, value): (&String, &String)| PbKeyValue {
            key: key.clone(),
            value: value.clone(),
        };
        PbPartitionSpec {
            partition_key_values: keys.iter().zip(&self.0).map(pair).collect(),
        }
    }

    /// True when the partition has the values of a filter over some of the keys.
    ///
    /// # Errors
    /// The filter names what is no partition key.
    pub fn matches(
        &self,
        keys: &[String],
        filter: &PbPartitionSpec,
    ) -> Result<bool, PartitionError> {
        let mut matches = true;
        for pair in &filter.partition_key_values {
            let at = keys
                .iter()
                .position(|key| *key == pair.key)
                .ok_or_else(|| PartitionError::UnknownKey(pair.key.clone()))?;
            matches &= self.0.get(at) == Some(&pair.value);
        }
        Ok(matches)
    }
}

fn checked(value: &str, creating: bool) -> Result<String, PartitionError> {
    let check = if creating { check_new_name } else { check_name };
    match check(value) {
        Ok(()) => Ok(value.to_owned()),
        Err(reason) => Err(PartitionError::Value {
            value: value.to_owned(),
            reason,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn spec(pairs: &[(&str, &str)]) -> PbPartitionSpec {
        let pair = |(key, value): &(&str, &str)| PbKeyValue {
            key: (*key).into(),
            value: (*value).into(),
        };
        PbPartitionSpec {
            partition_key_values: pairs.iter().map(pair).collect(),
        }
    }

    #[test]
    fn a_name_has_the_values_in_the_order_of_the_keys() {
        let keys = keys(&["region", "dt"]);
        let values =
            PartitionValues::from_spec(&keys, &spec(&[("dt", "20240229"), ("region", "eu")]), true)
                .unwrap();
        assert_eq!(values.name(), "eu$20240229");
        assert_eq!(
            PartitionValues::from_name(&keys, "eu$20240229"),
            Ok(values.clone())
        );
        assert_eq!(
            values.to_spec(&keys),
            spec(&[("region", "eu"), ("dt", "20240229")])
        );
    }

    #[test]
    fn specs_that_do_not_fit_are_refused() {
        let two = keys(&["a", "b"]);
        let read =
            |spec: &PbPartitionSpec| PartitionValues::from_spec(&two, spec, true).unwrap_err();
        assert_eq!(
            read(&spec(&[("a", "1")])),
            PartitionError::KeyCount { values: 1, keys: 2 }
        );
        assert_eq!(
            read(&spec(&[("a", "1"), ("c", "1")])),
            PartitionError::MissingKey("b".into())
        );
        assert_eq!(
            read(&spec(&[("a", "1"), ("a", "1")])),
            PartitionError::MissingKey("b".into())
        );
        let bad = read(&spec(&[("a", "1$2"), ("b", "1")]));
        assert_eq!(
            bad,
            PartitionError::Value {
                value: "1$2".into(),
                reason: NameError::Character
            }
        );
        assert_eq!(bad.code(), ErrorCode::PartitionSpecInvalid);
        assert_eq!(
            read(&spec(&[("a", ""), ("b", "1")])).to_string(),
            "partition value '' is empty"
        );
        let none = PartitionValues::from_spec(&[], &spec(&[]), true).unwrap_err();
        assert_eq!(none.code(), ErrorCode::TableNotPartitioned);
        assert!(PartitionValues::from_name(&two, "1").is_err());
        assert!(PartitionValues::from_name(&two, "1$").is_err());
    }

    #[test]
    fn reserved_values_are_found_but_not_created() {
        let one = keys(&["dt"]);
        let historical = spec(&[("dt", HISTORICAL)]);
        assert!(PartitionValues::from_spec(&one, &historical, false).is_ok());
        assert!(PartitionValues::from_spec(&one, &historical, true).is_err());
    }

    #[test]
    fn a_filter_names_some_of_the_keys() {
        let keys = keys(&["region", "dt"]);
        let values = PartitionValues::new(vec!["eu".into(), "20240229".into()]);
        assert_eq!(values.matches(&keys, &spec(&[])), Ok(true));
        assert_eq!(
            values.matches(&keys, &spec(&[("dt", "20240229")])),
            Ok(true)
        );
        assert_eq!(
            values.matches(&keys, &spec(&[("dt", "20240229"), ("region", "us")])),
            Ok(false)
        );
        assert_eq!(
            values.matches(&keys, &spec(&[("region", "us"), ("x", "1")])),
            Err(PartitionError::UnknownKey("x".into()))
        );
    }
}
