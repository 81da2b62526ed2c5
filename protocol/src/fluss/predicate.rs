//! Filters of log scans, tested against the statistics of whole batches.
//!
//! A batch may be left out only when no row of it can match; rows inside a batch are never left
//! out, clients filter them again. Any doubt keeps the batch: no statistics, a column that is not
//! covered, values that do not compare. Facts: Fluss server semantics, filter pushdown;
//! `predicate/*.java`.

use std::cmp::Ordering;

use super::batch::LogBatch;
use super::statistics::{BatchStatistics, ColumnStatistics};
use crate::row::{Datum, Timestamp};
use crate::schema::Schema;

/// A filter on the rows of a table.
#[derive(Debug, Clone, PartialEq)]
pub enum Predicate {
    /// A comparison of one column.
    Leaf {
        /// The column, by its id in the schema.
        column_id: i32,
        /// What to compare.
        function: LeafFunction,
        /// With what: none for the null tests, one for comparisons, any number for IN.
        literals: Vec<Literal>,
    },
    /// All of these.
    And(Vec<Predicate>),
    /// Any of these.
    Or(Vec<Predicate>),
}

/// The comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are SQL's own")]
pub enum LeafFunction {
    Equal,
    NotEqual,
    LessThan,
    LessOrEqual,
    GreaterThan,
    GreaterOrEqual,
    IsNull,
    IsNotNull,
    StartsWith,
    Contains,
    EndsWith,
    In,
    NotIn,
}

impl LeafFunction {
    /// The function of a number of the wire (`PbLeafPredicate.function`).
    pub const fn from_code(code: i32) -> Option<Self> {
        Some(match code {
            0 => LeafFunction::Equal,
            1 => LeafFunction::NotEqual,
            2 => LeafFunction::LessThan,
            3 => LeafFunction::LessOrEqual,
            4 => LeafFunction::GreaterThan,
            5 => LeafFunction::GreaterOrEqual,
            6 => LeafFunction::IsNull,
            7 => LeafFunction::IsNotNull,
            8 => LeafFunction::StartsWith,
            9 => LeafFunction::Contains,
            10 => LeafFunction::EndsWith,
            11 => LeafFunction::In,
            12 => LeafFunction::NotIn,
            _ => return None,
        })
    }
}

/// A constant to compare a column with. Kinds that compare alike share a form.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    /// Null.
    Null,
    /// BOOLEAN.
    Boolean(bool),
    /// TINYINT to BIGINT; DATE as days, TIME as milliseconds of the day.
    Int(i64),
    /// FLOAT and DOUBLE.
    Float(f64),
    /// CHAR and STRING.
    String(String),
    /// BINARY and BYTES.
    Bytes(Vec<u8>),
    /// The unscaled value in the column's scale.
    Decimal(i128),
    /// TIMESTAMP and TIMESTAMP_LTZ.
    Timestamp(Timestamp),
}

impl Predicate {
    /// False when no row of the batch can match. `schema` is the batch's own.
    pub fn may_match(&self, batch: &LogBatch, schema: &Schema) -> bool {
        let block = batch.statistics();
        let Some(statistics) = BatchStatistics::parse(&block, schema) else {
            return true;
        };
        let Ok(rows) = usize::try_from(batch.header().record_count()) else {
            return true;
        };
        self.may_match_statistics(&statistics, rows, schema)
    }

    /// The same for statistics that are parsed already; `rows` is the batch's record count.
    pub fn may_match_statistics(
        &self,
        statistics: &BatchStatistics<'_>,
        rows: usize,
        schema: &Schema,
    ) -> bool {
        match self {
            Predicate::And(children) => children
                .iter()
                .all(|c| c.may_match_statistics(statistics, rows, schema)),
            Predicate::Or(children) => {
                children.is_empty()
                    || children
                        .iter()
                        .any(|c| c.may_match_statistics(statistics, rows, schema))
            }
            Predicate::Leaf {
                column_id,
                function,
                literals,
            } => {
                let position = schema.columns.iter().position(|c| c.id == *column_id);
                let column = position.and_then(|position| statistics.column(position));
                column.is_none_or(|column| leaf_may_match(*function, literals, column, rows))
            }
        }
    }
}

fn leaf_may_match(
    function: LeafFunction,
    literals: &[Literal],
    column: &ColumnStatistics<'_>,
    rows: usize,
) -> bool {
    match function {
        LeafFunction::IsNull => return column.null_count != Some(0),
        LeafFunction::IsNotNull => return column.null_count != Some(rows),
        // No comparison is true for null.
        _ if column.null_count == Some(rows) => return false,
        _ => {}
    }
    let (min, max) = (&column.min, &column.max);
    if min.is_null() || max.is_null() {
        return true;
    }
    match function {
        LeafFunction::In => literals
            .iter()
            .any(|l| *l != Literal::Null && may_equal(l, min, max)),
        LeafFunction::NotIn => {
            // With a null in the list, NOT IN is never true.
            !literals
                .iter()
                .any(|l| *l == Literal::Null || all_equal(l, min, max))
        }
        _ => match literals {
            [Literal::Null] => false,
            [literal] => compare_may_match(function, literal, min, max),
            // Not what clients send: no reason to leave the batch out.
            _ => true,
        },
    }
}

fn compare_may_match(
    function: LeafFunction,
    literal: &Literal,
    min: &Datum<'_>,
    max: &Datum<'_>,
) -> bool {
    use Ordering::{Equal, Greater, Less};
    let to_min = compare(literal, min);
    let to_max = compare(literal, max);
    match function {
        LeafFunction::Equal => may_equal(literal, min, max),
        LeafFunction::NotEqual => !all_equal(literal, min, max),
        LeafFunction::LessThan => !matches!(to_min, Some(Less | Equal)),
        LeafFunction::LessOrEqual => to_min != Some(Less),
        LeafFunction::GreaterThan => !matches!(to_max, Some(Greater | Equal)),
        LeafFunction::GreaterOrEqual => to_max != Some(Greater),
        LeafFunction::StartsWith => match (literal, min, max) {
            (Literal::String(prefix), Datum::String(min), Datum::String(max)) => {
                let cut = |text: &str| -> Ordering {
                    let text = text.as_bytes();
                    text[..text.len().min(prefix.len())].cmp(prefix.as_bytes())
                };
                // Texts with the prefix lie between "prefix" and "prefix" with anything after it.
                cut(min) != Greater && cut(max) != Less
            }
            _ => true,
        },
        // Bounds say nothing about the inside of a text.
        LeafFunction::Contains | LeafFunction::EndsWith => true,
        LeafFunction::IsNull | LeafFunction::IsNotNull | LeafFunction::In | LeafFunction::NotIn => {
            true
        }
    }
}

fn may_equal(literal: &Literal, min: &Datum<'_>, max: &Datum<'_>) -> bool {
    compare(literal, min) != Some(Ordering::Less)
        && compare(literal, max) != Some(Ordering::Greater)
}

/// True when all values that are not null are the literal.
fn all_equal(literal: &Literal, min: &Datum<'_>, max: &Datum<'_>) -> bool {
    let equal = Some(Ordering::Equal);
    compare(literal, min) == equal && compare(literal, max) == equal
}

/// The order of literal and bound; `None` where it is in doubt: different kinds, NaN, and zeros of
/// different sign, which clients and SQL order differently.
fn compare(literal: &Literal, bound: &Datum<'_>) -> Option<Ordering> {
    Some(match (literal, bound) {
        (Literal::Boolean(a), Datum::Boolean(b)) => a.cmp(b),
        (Literal::Int(a), Datum::TinyInt(b)) => a.cmp(&i64::from(*b)),
        (Literal::Int(a), Datum::SmallInt(b)) => a.cmp(&i64::from(*b)),
        (Literal::Int(a), Datum::Int(b) | Datum::Date(b) | Datum::Time(b)) => a.cmp(&i64::from(*b)),
        (Literal::Int(a), Datum::BigInt(b)) => a.cmp(b),
        (Literal::Float(a), Datum::Float(b)) => return compare_floats(*a, f64::from(*b)),
        (Literal::Float(a), Datum::Double(b)) => return compare_floats(*a, *b),
        (Literal::String(a), Datum::String(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Literal::Bytes(a), Datum::Bytes(b)) => a.as_slice().cmp(b),
        (Literal::Decimal(a), Datum::Decimal(b)) => a.cmp(b),
        (Literal::Timestamp(a), Datum::Timestamp(b)) => a.cmp(b),
        _ => return None,
    })
}

fn compare_floats(a: f64, b: f64) -> Option<Ordering> {
    let order = a.partial_cmp(&b)?;
    let zeros_differ = order == Ordering::Equal && a.is_sign_negative() != b.is_sign_negative();
    (!zeros_differ).then_some(order)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fluss::statistics;
    use crate::fluss::vectors;
    use crate::schema::{DataType, TypeKind};

    fn leaf(function: LeafFunction, literals: &[Literal]) -> Predicate {
        Predicate::Leaf {
            column_id: 0,
            function,
            literals: literals.to_vec(),
        }
    }

    fn kept(
        predicate: &Predicate,
        kind: TypeKind,
        column: ColumnStatistics<'_>,
        rows: usize,
    ) -> bool {
        let schema = vectors::schema(&[("a", DataType::nullable(kind))]);
        let bytes = statistics::write(&[column], &schema).unwrap();
        let parsed = BatchStatistics::parse(&bytes, &schema).unwrap();
        predicate.may_match_statistics(&parsed, rows, &schema)
    }

    fn ints(min: i32, max: i32, nulls: usize) -> ColumnStatistics<'static> {
        ColumnStatistics {
            position: 0,
            null_count: Some(nulls),
            min: Datum::Int(min),
            max: Datum::Int(max),
        }
    }

    #[test]
    fn comparisons_look_at_the_bounds() {
        use LeafFunction::*;
        // Values 10 to 20.
        for (function, literal, expected) in [
            (Equal, 9, false),
            (Equal, 10, true),
            (Equal, 20, true),
            (Equal, 21, false),
            (NotEqual, 10, true),
            (LessThan, 10, false),
            (LessThan, 11, true),
            (LessOrEqual, 9, false),
            (LessOrEqual, 10, true),
            (GreaterThan, 20, false),
            (GreaterThan, 19, true),
            (GreaterOrEqual, 21, false),
            (GreaterOrEqual, 20, true),
        ] {
            let predicate = leaf(function, &[Literal::Int(literal)]);
            assert_eq!(
                kept(&predicate, TypeKind::Int, ints(10, 20, 0), 5),
                expected,
                "{function:?} {literal}"
            );
        }
        let one_value = |function| {
            kept(
                &leaf(function, &[Literal::Int(7)]),
                TypeKind::Int,
                ints(7, 7, 0),
                5,
            )
        };
        assert!(!one_value(NotEqual));
        assert!(!one_value(NotIn));
        assert!(one_value(In));
    }

    #[test]
    fn null_counts_decide_the_null_tests() {
        use LeafFunction::*;
        let kept = |function, literals: &[Literal], nulls| {
            kept(
                &leaf(function, literals),
                TypeKind::Int,
                ints(1, 2, nulls),
                5,
            )
        };
        assert!(!kept(IsNull, &[], 0));
        assert!(kept(IsNull, &[], 1));
        assert!(!kept(IsNotNull, &[], 5));
        assert!(kept(IsNotNull, &[], 4));
        assert!(!kept(Equal, &[Literal::Int(1)], 5));
        assert!(!kept(Equal, &[Literal::Null], 0));
        assert!(!kept(NotIn, &[Literal::Int(9), Literal::Null], 0));
        assert!(kept(In, &[Literal::Null, Literal::Int(1)], 0));
        assert!(!kept(In, &[], 0));
        assert!(kept(NotIn, &[], 0));
    }

    #[test]
    fn prefixes_are_looked_for_between_the_bounds() {
        let column = || ColumnStatistics {
            position: 0,
            null_count: Some(0),
            min: Datum::String("banana"),
            max: Datum::String("cherry"),
        };
        for (prefix, expected) in [
            ("b", true),
            ("banana", true),
            ("bananas", true),
            ("az", false),
            ("ch", true),
            ("d", false),
            ("", true),
        ] {
            let predicate = leaf(
                LeafFunction::StartsWith,
                &[Literal::String(prefix.to_owned())],
            );
            assert_eq!(
                kept(&predicate, TypeKind::String, column(), 3),
                expected,
                "{prefix}"
            );
        }
        for function in [LeafFunction::Contains, LeafFunction::EndsWith] {
            let predicate = leaf(function, &[Literal::String("zzz".to_owned())]);
            assert!(kept(&predicate, TypeKind::String, column(), 3));
        }
    }

    #[test]
    fn doubt_keeps_the_batch() {
        let predicate = leaf(LeafFunction::Equal, &[Literal::Int(99)]);
        let schema = vectors::int_and_string();
        // No statistics at all.
        let batch = LogBatch::parse(&vectors::APPEND_ONLY.bytes()).unwrap();
        assert!(predicate.may_match(&batch, &schema));
        // A column that the schema or the statistics lack.
        let none = BatchStatistics::default();
        assert!(predicate.may_match_statistics(&none, 2, &schema));
        let other = Predicate::Leaf {
            column_id: 77,
            function: LeafFunction::IsNull,
            literals: Vec::new(),
        };
        assert!(other.may_match_statistics(&none, 2, &schema));
        // Kinds that do not compare, NaN, zeros.
        assert!(kept(
            &leaf(LeafFunction::Equal, &[Literal::Boolean(true)]),
            TypeKind::Int,
            ints(1, 2, 0),
            2
        ));
        let doubles = |min, max| ColumnStatistics {
            position: 0,
            null_count: Some(0),
            min: Datum::Double(min),
            max: Datum::Double(max),
        };
        let above = leaf(LeafFunction::GreaterThan, &[Literal::Float(5.0)]);
        assert!(kept(&above, TypeKind::Double, doubles(1.0, f64::NAN), 2));
        assert!(!kept(&above, TypeKind::Double, doubles(1.0, 5.0), 2));
        let below_zero = leaf(LeafFunction::LessThan, &[Literal::Float(0.0)]);
        assert!(kept(&below_zero, TypeKind::Double, doubles(-0.0, 1.0), 2));
    }

    #[test]
    fn and_needs_all_and_or_needs_one() {
        let yes = leaf(LeafFunction::Equal, &[Literal::Int(1)]);
        let no = leaf(LeafFunction::Equal, &[Literal::Int(9)]);
        let kept = |p: Predicate| kept(&p, TypeKind::Int, ints(1, 2, 0), 2);
        assert!(!kept(Predicate::And(vec![yes.clone(), no.clone()])));
        assert!(kept(Predicate::Or(vec![no.clone(), yes])));
        assert!(!kept(Predicate::Or(vec![no.clone(), no])));
        assert!(kept(Predicate::And(Vec::new())) && kept(Predicate::Or(Vec::new())));
    }

    /// Does a row match? The meaning that pruning must not contradict.
    fn matches(function: LeafFunction, literal: i64, value: Option<i32>) -> bool {
        let Some(value) = value.map(i64::from) else {
            return function == LeafFunction::IsNull;
        };
        match function {
            LeafFunction::Equal | LeafFunction::In => value == literal,
            LeafFunction::NotEqual | LeafFunction::NotIn => value != literal,
            LeafFunction::LessThan => value < literal,
            LeafFunction::LessOrEqual => value <= literal,
            LeafFunction::GreaterThan => value > literal,
            LeafFunction::GreaterOrEqual => value >= literal,
            LeafFunction::IsNotNull => true,
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn a_batch_with_a_matching_row_is_kept(
            values in proptest::collection::vec(proptest::option::of(-5i32..5), 1..6),
            literal in -6i64..6,
            code in 0i32..13,
        ) {
            let function = LeafFunction::from_code(code).unwrap();
            let known = || values.iter().flatten().copied();
            let bound = |v: Option<i32>| v.map_or(Datum::Null, Datum::Int);
            let column = ColumnStatistics {
                position: 0,
                null_count: Some(values.len() - known().count()),
                min: bound(known().min()),
                max: bound(known().max()),
            };
            let literals = match function {
                LeafFunction::IsNull | LeafFunction::IsNotNull => vec![],
                _ => vec![Literal::Int(literal)],
            };
            let kept = kept(&leaf(function, &literals), TypeKind::Int, column, values.len());
            if values.iter().any(|v| matches(function, literal, *v)) {
                prop_assert!(kept);
            }
        }
    }
}
