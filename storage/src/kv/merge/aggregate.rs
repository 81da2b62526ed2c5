//! The aggregation functions of columns, on encoded values.
//!
//! When one side is null the other is the result, except for `last_value`. Facts: Fluss
//! `rowmerger/aggregate/functions`.

use std::cmp::Ordering;

use protocol::fluss::options::check_function;
use protocol::row::{Datum, RowError, RowLayout, RowPieces};
use protocol::schema::{AggFunction, Column, TypeKind};

use super::bitmap::{Bits, union32, union64};
use super::{MergeError, PlanError};

/// What `listagg` and `string_agg` put between two texts when the schema does not say.
const DELIMITER: &str = ",";

/// A function, looked up once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Function {
    Last,
    LastNotNull,
    FirstNotNull,
    Sum,
    Product,
    Max,
    Min,
    Join { delimiter: String },
    And,
    Or,
    Bitmap32,
    Bitmap64,
}

/// Buffers that are used again for each value.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    bytes: Vec<u8>,
    bits: Bits,
}

impl Function {
    /// The function of a column; columns without one keep their last value that is not null.
    pub(super) fn of(column: &Column, is_key: bool) -> Result<Function, PlanError> {
        let Some(function) = column.agg_function.as_ref().filter(|_| !is_key) else {
            return Ok(if is_key {
                Function::Last
            } else {
                Function::LastNotNull
            });
        };
        let function = AggFunction {
            name: function.name.to_ascii_lowercase().replace('-', "_"),
            parameters: function.parameters.clone(),
        };
        check_function(&function, &column.data_type.kind).map_err(|reason| {
            PlanError::Function {
                column: column.name.clone(),
                reason,
            }
        })?;
        Ok(match function.name.as_str() {
            "sum" => Function::Sum,
            "product" => Function::Product,
            "max" => Function::Max,
            "min" => Function::Min,
            "last_value" => Function::Last,
            "last_value_ignore_nulls" => Function::LastNotNull,
            // In Fluss both keep the first value that is not null.
            "first_value" | "first_value_ignore_nulls" => Function::FirstNotNull,
            "bool_and" => Function::And,
            "bool_or" => Function::Or,
            "rbm32" => Function::Bitmap32,
            "rbm64" => Function::Bitmap64,
            _ => Function::Join {
                delimiter: function
                    .parameters
                    .get("delimiter")
                    .map_or(DELIMITER, String::as_str)
                    .to_owned(),
            },
        })
    }

    /// Writes the aggregate of two values of column `column` as the next piece of a row.
    pub(super) fn apply(
        &self,
        layout: &RowLayout,
        column: usize,
        old: Option<&[u8]>,
        new: Option<&[u8]>,
        scratch: &mut Scratch,
        out: &mut RowPieces<'_, '_>,
    ) -> Result<(), MergeError> {
        let (old, new) = match (self, old, new) {
            (Function::Last, _, new) => return out.encoded(new).map_err(MergeError::Result),
            (_, Some(old), Some(new)) => (old, new),
            (_, old, new) => return out.encoded(old.or(new)).map_err(MergeError::Result),
        };
        let read = |encoded| layout.value(column, encoded).map_err(MergeError::Stored);
        let kind = &layout.types()[column].kind;
        let written = match self {
            Function::Last | Function::LastNotNull => out.encoded(Some(new)),
            Function::FirstNotNull => out.encoded(Some(old)),
            Function::Sum => out.value(&super::number::sum(kind, &read(old)?, &read(new)?)),
            Function::Product => out.value(&super::number::product(kind, &read(old)?, &read(new)?)),
            Function::Max | Function::Min => {
                let less = super::number::compare(&read(old)?, &read(new)?) == Ordering::Less;
                let keep_new = less == (*self == Function::Max);
                out.encoded(Some(if keep_new { new } else { old }))
            }
            Function::And | Function::Or => match (read(old)?, read(new)?) {
                (Datum::Boolean(a), Datum::Boolean(b)) => {
                    out.value(&Datum::Boolean(if *self == Function::And {
                        a && b
                    } else {
                        a || b
                    }))
                }
                _ => return Err(mismatch(kind)),
            },
            Function::Join { delimiter } => {
                scratch.bytes.clear();
                match (read(old)?, read(new)?) {
                    (Datum::String(a), Datum::String(b)) => {
                        for part in [a, delimiter, b] {
                            scratch.bytes.extend_from_slice(part.as_bytes());
                        }
                    }
                    _ => return Err(mismatch(kind)),
                }
                let text = std::str::from_utf8(&scratch.bytes).map_err(|_| mismatch(kind))?;
                out.value(&Datum::String(text))
            }
            Function::Bitmap32 | Function::Bitmap64 => {
                let (Datum::Bytes(a), Datum::Bytes(b)) = (read(old)?, read(new)?) else {
                    return Err(mismatch(kind));
                };
                let union = match self {
                    Function::Bitmap32 => union32,
                    _ => union64,
                };
                scratch.bytes.clear();
                union(a, b, &mut scratch.bits, &mut scratch.bytes)
                    .map_err(|source| MergeError::Bitmap { column, source })?;
                out.value(&Datum::Bytes(&scratch.bytes))
            }
        };
        written.map_err(MergeError::Result)
    }
}

/// A value that is none of the function's type, which the plan rules out.
fn mismatch(kind: &TypeKind) -> MergeError {
    MergeError::Stored(RowError::Type {
        expected: format!("{kind:?}"),
        found: "value",
    })
}
