//! The filter of a fetch as our predicate. Whatever cannot be understood filters nothing: batches
//! are left out only to save work, clients filter rows themselves.

use std::sync::Arc;

use protocol::fluss::messages::{
    PbFetchLogReqForTable, PbLeafPredicate, PbLiteralValue, PbPredicate,
};
use protocol::fluss::predicate::{LeafFunction, Literal, Predicate};
use protocol::row::Timestamp;

/// The filter of one table of a fetch, if it has one that can be understood.
pub fn of_request(request: &PbFetchLogReqForTable) -> Option<Arc<Predicate>> {
    predicate(request.filter_predicate.as_ref()?).map(Arc::new)
}

/// The predicate of a message; `None` for what is not known.
fn predicate(message: &PbPredicate) -> Option<Predicate> {
    const LEAF: i32 = 0;
    const COMPOUND: i32 = 1;
    const AND: i32 = 0;
    const OR: i32 = 1;
    match (message.r#type, &message.leaf, &message.compound) {
        (LEAF, Some(of), _) => leaf(of),
        (COMPOUND, _, Some(compound)) => {
            let children = compound
                .children
                .iter()
                .map(predicate)
                .collect::<Option<_>>()?;
            match compound.function {
                AND => Some(Predicate::And(children)),
                OR => Some(Predicate::Or(children)),
                _ => None,
            }
        }
        _ => None,
    }
}

fn leaf(message: &PbLeafPredicate) -> Option<Predicate> {
    Some(Predicate::Leaf {
        column_id: message.field_id,
        function: LeafFunction::from_code(message.function)?,
        literals: message
            .literals
            .iter()
            .map(literal)
            .collect::<Option<_>>()?,
    })
}

fn literal(message: &PbLiteralValue) -> Option<Literal> {
    if message.is_null {
        return Some(Literal::Null);
    }
    Some(match message.literal_type {
        0 => Literal::Boolean(message.boolean_value?),
        // TINYINT, SMALLINT, INT, DATE, TIME.
        1..=3 | 10 | 11 => Literal::Int(message.int_value?.into()),
        4 => Literal::Int(message.bigint_value?),
        5 => Literal::Float(message.float_value?.into()),
        6 => Literal::Float(message.double_value?),
        7 | 8 => Literal::String(message.string_value.clone()?),
        9 => Literal::Decimal(decimal(message)?),
        12 | 13 => Literal::Timestamp(Timestamp {
            millis: message.timestamp_millis_value?,
            nanos: message.timestamp_nano_of_millis_value.unwrap_or(0),
        }),
        14 | 15 => Literal::Bytes(message.binary_value.as_ref()?.to_vec()),
        _ => return None,
    })
}

/// The unscaled value: a number, or big-endian bytes in two's complement for a high precision.
fn decimal(message: &PbLiteralValue) -> Option<i128> {
    if let Some(value) = message.decimal_value {
        return Some(value.into());
    }
    let bytes = message.decimal_bytes.as_ref()?;
    let sign = if bytes.first()? & 0x80 == 0 { 0 } else { 0xff };
    let mut wide = [sign; 16];
    let at = wide.len().checked_sub(bytes.len())?;
    wide[at..].copy_from_slice(bytes);
    Some(i128::from_be_bytes(wide))
}

#[cfg(test)]
mod tests {
    use protocol::fluss::messages::PbCompoundPredicate;

    use super::*;

    fn number(value: i32) -> PbLiteralValue {
        PbLiteralValue {
            literal_type: 3,
            int_value: Some(value),
            ..PbLiteralValue::default()
        }
    }

    fn less_than(column: i32, value: PbLiteralValue) -> PbPredicate {
        PbPredicate {
            r#type: 0,
            leaf: Some(PbLeafPredicate {
                function: 2,
                field_id: column,
                literals: vec![value],
            }),
            compound: None,
        }
    }

    fn any(children: Vec<PbPredicate>) -> PbPredicate {
        PbPredicate {
            r#type: 1,
            leaf: None,
            compound: Some(PbCompoundPredicate {
                function: 1,
                children,
            }),
        }
    }

    #[test]
    fn a_tree_of_comparisons_is_understood() {
        let found = predicate(&any(vec![less_than(4, number(7))]));
        let expected = Predicate::Or(vec![Predicate::Leaf {
            column_id: 4,
            function: LeafFunction::LessThan,
            literals: vec![Literal::Int(7)],
        }]);
        assert_eq!(found, Some(expected));
    }

    #[test]
    fn one_part_that_is_not_understood_leaves_the_whole_out() {
        let unknown = PbLiteralValue {
            literal_type: 99,
            ..PbLiteralValue::default()
        };
        assert_eq!(
            predicate(&any(vec![less_than(1, number(1)), less_than(2, unknown)])),
            None
        );
    }

    #[test]
    fn decimals_come_as_numbers_or_as_bytes() {
        let decimal = |bytes: &'static [u8]| {
            literal(&PbLiteralValue {
                literal_type: 9,
                decimal_bytes: Some(bytes.into()),
                ..PbLiteralValue::default()
            })
        };
        assert_eq!(decimal(&[0xff, 0xfe]), Some(Literal::Decimal(-2)));
        assert_eq!(decimal(&[1, 0]), Some(Literal::Decimal(256)));
        assert_eq!(decimal(&[0; 17]), None);
        assert_eq!(decimal(&[]), None);
    }
}
