//! The JSON form of a data type.
//!
//! ```text
//! {"type": "DECIMAL", "nullable": false, "precision": 10, "scale": 2}
//! ```
//!
//! `nullable` stands only when it is false. Sizes have no defaults: their absence is an error.

use serde::{Deserialize, Serialize};

use super::{DescriptorError, TYPE_DEPTH_MAX, invalid, read_json, write_json};
use crate::schema::{DataType, RowField, TypeKind};

/// "No field id is known", as the JSON writes it.
pub const UNKNOWN_ID: i32 = -1;

const DECIMAL_PRECISION_MAX: i64 = 38;
const SECOND_PRECISION_MAX: i64 = 9;

/// Reads a type, as an added column carries it.
///
/// # Errors
/// The JSON is no type, or a type that cannot be.
pub fn data_type_from_json(json: &[u8]) -> Result<DataType, DescriptorError> {
    read_json::<TypeJson>(json, "data type")?.into_type(TYPE_DEPTH_MAX)
}

/// Writes a type.
pub fn data_type_to_json(data_type: &DataType) -> Vec<u8> {
    write_json(&TypeJson::from(data_type))
}

/// One level of a type. The fields stand in the order in which Java peers write them.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct TypeJson {
    #[serde(rename = "type")]
    root: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nullable: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    length: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    precision: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scale: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    element_type: Option<Box<TypeJson>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_type: Option<Box<TypeJson>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value_type: Option<Box<TypeJson>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fields: Option<Vec<FieldJson>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct FieldJson {
    name: String,
    field_type: TypeJson,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(default = "unknown_id")]
    field_id: i32,
}

fn unknown_id() -> i32 {
    UNKNOWN_ID
}

impl TypeJson {
    /// Checks and converts; `depth` levels may follow.
    pub(super) fn into_type(self, depth: usize) -> Result<DataType, DescriptorError> {
        let depth = depth
            .checked_sub(1)
            .ok_or_else(|| invalid(format!("types nest deeper than {TYPE_DEPTH_MAX} levels")))?;
        let root = self.root.as_str();
        let in_range = |name: &str, value: Option<i64>, low: i64, high: i64| match value {
            Some(value) if (low..=high).contains(&value) => Ok(value),
            Some(value) => Err(invalid(format!(
                "{name} {value} of {root} is not between {low} and {high}"
            ))),
            None => Err(invalid(format!("{root} has no {name}"))),
        };
        let nested = |name: &str, part: Option<Box<TypeJson>>| match part {
            Some(part) => part.into_type(depth).map(Box::new),
            None => Err(invalid(format!("{root} has no {name}"))),
        };
        let length = || in_range("length", self.length, 1, i64::from(i32::MAX)).map(|n| n as u32);
        let fraction =
            || in_range("precision", self.precision, 0, SECOND_PRECISION_MAX).map(|n| n as u8);
        let kind = match root {
            "BOOLEAN" => TypeKind::Boolean,
            "TINYINT" => TypeKind::TinyInt,
            "SMALLINT" => TypeKind::SmallInt,
            "INTEGER" => TypeKind::Int,
            "BIGINT" => TypeKind::BigInt,
            "FLOAT" => TypeKind::Float,
            "DOUBLE" => TypeKind::Double,
            "STRING" => TypeKind::String,
            "BYTES" => TypeKind::Bytes,
            "DATE" => TypeKind::Date,
            "CHAR" => TypeKind::Char { length: length()? },
            "BINARY" => TypeKind::Binary { length: length()? },
            "DECIMAL" => {
                let precision = in_range("precision", self.precision, 1, DECIMAL_PRECISION_MAX)?;
                let scale = in_range("scale", self.scale, 0, precision)?;
                TypeKind::Decimal {
                    precision: precision as u8,
                    scale: scale as u8,
                }
            }
            "TIME_WITHOUT_TIME_ZONE" => TypeKind::Time {
                precision: fraction()?,
            },
            "TIMESTAMP_WITHOUT_TIME_ZONE" => TypeKind::Timestamp {
                precision: fraction()?,
            },
            "TIMESTAMP_WITH_LOCAL_TIME_ZONE" => TypeKind::TimestampLtz {
                precision: fraction()?,
            },
            "ARRAY" => TypeKind::Array(nested("element_type", self.element_type)?),
            "MAP" => {
                let mut key = nested("key_type", self.key_type)?;
                // A map has no null key, whatever the text says.
                key.nullable = false;
                TypeKind::Map {
                    key,
                    value: nested("value_type", self.value_type)?,
                }
            }
            "ROW" => {
                let fields = self.fields.ok_or_else(|| invalid("ROW has no fields"))?;
                TypeKind::Row(row_fields(fields, depth)?)
            }
            _ => return Err(invalid(format!("unknown data type '{root}'"))),
        };
        Ok(DataType {
            kind,
            nullable: self.nullable.unwrap_or(true),
        })
    }
}

fn row_fields(fields: Vec<FieldJson>, depth: usize) -> Result<Vec<RowField>, DescriptorError> {
    let fields = fields
        .into_iter()
        .map(|field| {
            Ok(RowField {
                data_type: field.field_type.into_type(depth)?,
                name: field.name,
                description: field.description,
                field_id: field.field_id,
            })
        })
        .collect::<Result<Vec<_>, DescriptorError>>()?;
    check_names("row", fields.iter().map(|field| field.name.as_str()))?;
    Ok(fields)
}

/// Refuses blank and repeated names of columns or of fields.
pub(super) fn check_names<'a>(
    place: &str,
    names: impl Iterator<Item = &'a str>,
) -> Result<(), DescriptorError> {
    let mut seen = std::collections::HashSet::new();
    for name in names {
        if name.trim().is_empty() {
            return Err(invalid(format!("{place} has a field with a blank name")));
        }
        if !seen.insert(name) {
            return Err(invalid(format!(
                "{place} has several fields named '{name}'"
            )));
        }
    }
    Ok(())
}

impl From<&DataType> for TypeJson {
    fn from(data_type: &DataType) -> Self {
        let mut json = TypeJson {
            root: root(&data_type.kind).to_owned(),
            nullable: (!data_type.nullable).then_some(false),
            ..TypeJson::default()
        };
        let nested = |part: &DataType| Some(Box::new(TypeJson::from(part)));
        match &data_type.kind {
            TypeKind::Char { length } | TypeKind::Binary { length } => {
                json.length = Some((*length).into())
            }
            TypeKind::Decimal { precision, scale } => {
                json.precision = Some((*precision).into());
                json.scale = Some((*scale).into());
            }
            TypeKind::Time { precision }
            | TypeKind::Timestamp { precision }
            | TypeKind::TimestampLtz { precision } => json.precision = Some((*precision).into()),
            TypeKind::Array(element) => json.element_type = nested(element),
            TypeKind::Map { key, value } => {
                json.key_type = nested(key);
                json.value_type = nested(value);
            }
            TypeKind::Row(fields) => {
                let field = |field: &RowField| FieldJson {
                    name: field.name.clone(),
                    field_type: TypeJson::from(&field.data_type),
                    description: field.description.clone(),
                    field_id: field.field_id,
                };
                json.fields = Some(fields.iter().map(field).collect());
            }
            _ => {}
        }
        json
    }
}

/// The name of a type in JSON.
pub(super) fn root(kind: &TypeKind) -> &'static str {
    match kind {
        TypeKind::Boolean => "BOOLEAN",
        TypeKind::TinyInt => "TINYINT",
        TypeKind::SmallInt => "SMALLINT",
        TypeKind::Int => "INTEGER",
        TypeKind::BigInt => "BIGINT",
        TypeKind::Float => "FLOAT",
        TypeKind::Double => "DOUBLE",
        TypeKind::Char { .. } => "CHAR",
        TypeKind::String => "STRING",
        TypeKind::Binary { .. } => "BINARY",
        TypeKind::Bytes => "BYTES",
        TypeKind::Decimal { .. } => "DECIMAL",
        TypeKind::Date => "DATE",
        TypeKind::Time { .. } => "TIME_WITHOUT_TIME_ZONE",
        TypeKind::Timestamp { .. } => "TIMESTAMP_WITHOUT_TIME_ZONE",
        TypeKind::TimestampLtz { .. } => "TIMESTAMP_WITH_LOCAL_TIME_ZONE",
        TypeKind::Array(_) => "ARRAY",
        TypeKind::Map { .. } => "MAP",
        TypeKind::Row(_) => "ROW",
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fluss::error::ErrorCode;

    /// Any type; field ids are unknown and map keys are not null, as after reading.
    pub(crate) fn data_type() -> impl Strategy<Value = DataType> {
        let leaf = prop_oneof![
            Just(TypeKind::Boolean),
            Just(TypeKind::TinyInt),
            Just(TypeKind::SmallInt),
            Just(TypeKind::Int),
            Just(TypeKind::BigInt),
            Just(TypeKind::Float),
            Just(TypeKind::Double),
            Just(TypeKind::String),
            Just(TypeKind::Bytes),
            Just(TypeKind::Date),
            (1u32..=i32::MAX as u32).prop_map(|length| TypeKind::Char { length }),
            (1u32..=i32::MAX as u32).prop_map(|length| TypeKind::Binary { length }),
            (1u8..=38)
                .prop_flat_map(|p| (Just(p), 0..=p))
                .prop_map(|(precision, scale)| TypeKind::Decimal { precision, scale }),
            (0u8..=9).prop_map(|precision| TypeKind::Time { precision }),
            (0u8..=9).prop_map(|precision| TypeKind::Timestamp { precision }),
            (0u8..=9).prop_map(|precision| TypeKind::TimestampLtz { precision }),
        ];
        let leaf = (leaf, any::<bool>()).prop_map(|(kind, nullable)| DataType { kind, nullable });
        leaf.prop_recursive(4, 24, 4, |inner| {
            let fields =
                proptest::collection::vec((inner.clone(), proptest::option::of(".{0,6}")), 0..4);
            let kind = prop_oneof![
                inner
                    .clone()
                    .prop_map(|element| TypeKind::Array(Box::new(element))),
                (inner.clone(), inner).prop_map(|(key, value)| TypeKind::Map {
                    key: Box::new(DataType {
                        nullable: false,
                        ..key
                    }),
                    value: Box::new(value),
                }),
                fields.prop_map(|fields| TypeKind::Row(
                    fields
                        .into_iter()
                        .enumerate()
                        .map(|(at, (data_type, description))| RowField {
                            name: format!("f{at}"),
                            data_type,
                            description,
                            field_id: UNKNOWN_ID,
                        })
                        .collect()
                )),
            ];
            (kind, any::<bool>()).prop_map(|(kind, nullable)| DataType { kind, nullable })
        })
    }

    #[track_caller]
    fn refused(json: &str, reason: &str) {
        let error = data_type_from_json(json.as_bytes()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidTable);
        assert!(error.to_string().contains(reason), "{error}");
    }

    #[test]
    fn nullable_is_the_default_and_left_out() {
        let json = br#"{"type":"INTEGER"}"#;
        assert_eq!(
            data_type_from_json(json).unwrap(),
            DataType::nullable(TypeKind::Int)
        );
        assert_eq!(data_type_to_json(&DataType::nullable(TypeKind::Int)), json);
        let json = br#"{"type":"DATE","nullable":false}"#;
        assert_eq!(
            data_type_from_json(json).unwrap(),
            DataType::not_null(TypeKind::Date)
        );
        assert_eq!(data_type_to_json(&DataType::not_null(TypeKind::Date)), json);
    }

    #[test]
    fn sizes_have_no_default_and_a_range() {
        refused(r#"{"type":"CHAR"}"#, "no length");
        refused(r#"{"type":"BINARY","length":0}"#, "length 0");
        refused(r#"{"type":"CHAR","length":2147483648}"#, "length");
        refused(r#"{"type":"TIMESTAMP_WITHOUT_TIME_ZONE"}"#, "no precision");
        refused(
            r#"{"type":"TIME_WITHOUT_TIME_ZONE","precision":10}"#,
            "precision 10",
        );
        refused(
            r#"{"type":"DECIMAL","precision":39,"scale":1}"#,
            "precision 39",
        );
        refused(r#"{"type":"DECIMAL","precision":5,"scale":6}"#, "scale 6");
        refused(r#"{"type":"DECIMAL","precision":5}"#, "no scale");
    }

    #[test]
    fn types_that_are_none_are_refused() {
        refused(r#"{"type":"VARCHAR"}"#, "unknown data type 'VARCHAR'");
        refused(r#"{}"#, "missing field `type`");
        refused(r#"[]"#, "failed to parse data type");
        refused(r#"{"type":"ARRAY"}"#, "no element_type");
        refused(
            r#"{"type":"MAP","key_type":{"type":"INTEGER"}}"#,
            "no value_type",
        );
        refused(r#"{"type":"ROW"}"#, "no fields");
        refused(
            r#"{"type":"ROW","fields":[{"name":"a","field_type":{"type":"INTEGER"}},
                {"name":"a","field_type":{"type":"INTEGER"}}]}"#,
            "several fields named 'a'",
        );
        refused(
            r#"{"type":"ROW","fields":[{"name":" ","field_type":{"type":"INTEGER"}}]}"#,
            "blank name",
        );
    }

    #[test]
    fn keys_of_a_map_are_never_null() {
        let json = br#"{"type":"MAP","key_type":{"type":"STRING"},"value_type":{"type":"STRING"}}"#;
        let TypeKind::Map { key, value } = data_type_from_json(json).unwrap().kind else {
            panic!()
        };
        assert!(!key.nullable && value.nullable);
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| {
            let mut json = r#"{"type":"INTEGER"}"#.to_owned();
            for _ in 1..depth {
                json = format!(r#"{{"type":"ROW","fields":[{{"name":"a","field_type":{json}}}]}}"#);
            }
            json
        };
        assert!(data_type_from_json(nested(TYPE_DEPTH_MAX).as_bytes()).is_ok());
        refused(&nested(TYPE_DEPTH_MAX + 1), "nest deeper");
        refused(&nested(200), "recursion limit");
        refused(&"[".repeat(100_000), "failed to parse");
    }

    proptest! {
        #[test]
        fn every_type_survives_its_json(data_type in data_type()) {
            prop_assert_eq!(data_type_from_json(&data_type_to_json(&data_type)), Ok(data_type));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = data_type_from_json(&bytes);
        }
    }
}
