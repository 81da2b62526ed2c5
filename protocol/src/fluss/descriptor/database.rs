//! The JSON form of a database.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{DescriptorError, read_json, write_json};

const VERSION: i32 = 1;

/// A database as clients describe it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DatabaseDescriptor {
    /// Free text.
    pub comment: Option<String>,
    /// Free keys of the user.
    pub custom_properties: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct DatabaseJson {
    #[serde(default)]
    version: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    #[serde(default, deserialize_with = "super::text::map")]
    custom_properties: BTreeMap<String, String>,
}

impl DatabaseDescriptor {
    /// Reads a database.
    ///
    /// # Errors
    /// The JSON is none, or larger than [`super::JSON_BYTES_MAX`].
    pub fn from_json(json: &[u8]) -> Result<Self, DescriptorError> {
        let json: DatabaseJson = read_json(json, "database descriptor")?;
        Ok(DatabaseDescriptor {
            comment: json.comment,
            custom_properties: json.custom_properties,
        })
    }

    /// Writes the database.
    pub fn to_json(&self) -> Vec<u8> {
        write_json(&DatabaseJson {
            version: VERSION,
            comment: self.comment.clone(),
            custom_properties: self.custom_properties.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_java_writes_is_read_and_written_alike() {
        for golden in [
            &include_bytes!("../golden/database.json")[..],
            include_bytes!("../golden/database_empty.json"),
        ] {
            assert_eq!(
                DatabaseDescriptor::from_json(golden).unwrap().to_json(),
                golden
            );
        }
    }

    #[test]
    fn properties_may_be_numbers_and_absent() {
        let database =
            DatabaseDescriptor::from_json(br#"{"custom_properties":{"a":1,"b":true}}"#).unwrap();
        assert_eq!(database.custom_properties["a"], "1");
        assert_eq!(database.custom_properties["b"], "true");
        assert_eq!(
            DatabaseDescriptor::from_json(b"{}"),
            Ok(DatabaseDescriptor::default())
        );
        assert!(matches!(
            DatabaseDescriptor::from_json(b""),
            Err(DescriptorError::Json { .. })
        ));
    }
}
