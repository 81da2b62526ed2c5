//! Which aggregation functions fit which columns.
//!
//! Source of the rules: Fluss `metadata/AggFunctionType.java`.

use crate::schema::{AggFunction, Schema, TypeKind};

/// The parameter of `listagg` and `string_agg`.
const DELIMITER: &str = "delimiter";

/// Checks the functions of all columns of a table with merge engine `aggregation`.
///
/// # Errors
/// The text names the column and what does not fit.
pub(super) fn check_functions(schema: &Schema) -> Result<(), String> {
    for column in &schema.columns {
        if let Some(function) = &column.agg_function {
            check_function(function, &column.data_type.kind).map_err(|reason| {
                format!("aggregation function of column '{}' {reason}", column.name)
            })?;
        }
    }
    Ok(())
}

/// Checks that no column has a function.
///
/// # Errors
/// The text names the column.
pub(super) fn check_no_functions(schema: &Schema) -> Result<(), String> {
    match schema
        .columns
        .iter()
        .find(|column| column.agg_function.is_some())
    {
        Some(column) => Err(format!(
            "column '{}' has an aggregation function, which needs merge engine 'aggregation'",
            column.name
        )),
        None => Ok(()),
    }
}

/// Checks that a function exists, takes this type, and has the parameters that it knows. The name
/// is in lower case with underscores.
///
/// # Errors
/// The text says what does not fit, without naming the column.
pub fn check_function(function: &AggFunction, kind: &TypeKind) -> Result<(), String> {
    let name = function.name.as_str();
    let joins_text = matches!(name, "listagg" | "string_agg");
    for (key, value) in &function.parameters {
        if !joins_text || key != DELIMITER {
            return Err(format!("'{name}' has no parameter '{key}'"));
        }
        if value.is_empty() {
            return Err(format!("'{name}' has an empty {DELIMITER}"));
        }
    }
    let fits = match name {
        "sum" | "product" => is_number(kind),
        "max" | "min" => is_number(kind) || is_ordered(kind),
        "listagg" | "string_agg" => matches!(kind, TypeKind::String | TypeKind::Char { .. }),
        "bool_and" | "bool_or" => *kind == TypeKind::Boolean,
        "rbm32" | "rbm64" => *kind == TypeKind::Bytes,
        "last_value" | "last_value_ignore_nulls" | "first_value" | "first_value_ignore_nulls" => {
            true
        }
        _ => return Err(format!("'{name}' is unknown")),
    };
    if fits {
        Ok(())
    } else {
        Err(format!("'{name}' does not take the column's type"))
    }
}

fn is_number(kind: &TypeKind) -> bool {
    matches!(
        kind,
        TypeKind::TinyInt
            | TypeKind::SmallInt
            | TypeKind::Int
            | TypeKind::BigInt
            | TypeKind::Float
            | TypeKind::Double
            | TypeKind::Decimal { .. }
    )
}

fn is_ordered(kind: &TypeKind) -> bool {
    matches!(
        kind,
        TypeKind::Char { .. }
            | TypeKind::String
            | TypeKind::Date
            | TypeKind::Time { .. }
            | TypeKind::Timestamp { .. }
            | TypeKind::TimestampLtz { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &str, parameters: &[(&str, &str)]) -> AggFunction {
        let parameters = parameters
            .iter()
            .map(|(key, value)| ((*key).into(), (*value).into()))
            .collect();
        AggFunction {
            name: name.into(),
            parameters,
        }
    }

    #[test]
    fn functions_take_the_types_that_they_can_join() {
        assert!(check_function(&function("sum", &[]), &TypeKind::BigInt).is_ok());
        assert!(check_function(&function("sum", &[]), &TypeKind::String).is_err());
        assert!(check_function(&function("max", &[]), &TypeKind::Date).is_ok());
        assert!(check_function(&function("max", &[]), &TypeKind::Bytes).is_err());
        assert!(check_function(&function("rbm64", &[]), &TypeKind::Bytes).is_ok());
        assert!(check_function(&function("last_value", &[]), &TypeKind::Bytes).is_ok());
        assert!(check_function(&function("bool_or", &[]), &TypeKind::Int).is_err());
    }

    #[test]
    fn only_text_joining_functions_have_a_parameter() {
        assert!(
            check_function(
                &function("listagg", &[("delimiter", ";")]),
                &TypeKind::String
            )
            .is_ok()
        );
        assert!(
            check_function(
                &function("listagg", &[("delimiter", "")]),
                &TypeKind::String
            )
            .is_err()
        );
        assert!(
            check_function(
                &function("listagg", &[("separator", ";")]),
                &TypeKind::String
            )
            .is_err()
        );
        assert!(check_function(&function("sum", &[("delimiter", ";")]), &TypeKind::Int).is_err());
    }
}
