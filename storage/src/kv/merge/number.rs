//! Arithmetic and order of single values, as Java has them.

use std::cmp::Ordering;

use protocol::row::Datum;
use protocol::schema::TypeKind;

/// Decimals up to this precision are 64-bit numbers in Fluss.
const COMPACT_PRECISION: u8 = 18;

/// The sum of two values of a number type. Integers wrap around. Decimals of up to 18 digits are
/// added as 64-bit numbers and may get more digits than the type has, longer ones become null
/// then: as Fluss's `DecimalUtils.add`.
pub(super) fn sum(kind: &TypeKind, a: &Datum<'_>, b: &Datum<'_>) -> Datum<'static> {
    match (a, b) {
        (Datum::TinyInt(a), Datum::TinyInt(b)) => Datum::TinyInt(a.wrapping_add(*b)),
        (Datum::SmallInt(a), Datum::SmallInt(b)) => Datum::SmallInt(a.wrapping_add(*b)),
        (Datum::Int(a), Datum::Int(b)) => Datum::Int(a.wrapping_add(*b)),
        (Datum::BigInt(a), Datum::BigInt(b)) => Datum::BigInt(a.wrapping_add(*b)),
        (Datum::Float(a), Datum::Float(b)) => Datum::Float(a + b),
        (Datum::Double(a), Datum::Double(b)) => Datum::Double(a + b),
        (Datum::Decimal(a), Datum::Decimal(b)) => {
            let precision = precision(kind);
            match a.checked_add(*b) {
                Some(sum) if precision <= COMPACT_PRECISION && i64::try_from(sum).is_ok() => {
                    Datum::Decimal(sum)
                }
                sum => within(sum, precision),
            }
        }
        _ => Datum::Null,
    }
}

/// The product of two values of a number type. Integers wrap around; decimals are rounded to the
/// scale of the type, half away from zero, and null when they have too many digits.
pub(super) fn product(kind: &TypeKind, a: &Datum<'_>, b: &Datum<'_>) -> Datum<'static> {
    match (a, b) {
        (Datum::TinyInt(a), Datum::TinyInt(b)) => Datum::TinyInt(a.wrapping_mul(*b)),
        (Datum::SmallInt(a), Datum::SmallInt(b)) => Datum::SmallInt(a.wrapping_mul(*b)),
        (Datum::Int(a), Datum::Int(b)) => Datum::Int(a.wrapping_mul(*b)),
        (Datum::BigInt(a), Datum::BigInt(b)) => Datum::BigInt(a.wrapping_mul(*b)),
        (Datum::Float(a), Datum::Float(b)) => Datum::Float(a * b),
        (Datum::Double(a), Datum::Double(b)) => Datum::Double(a * b),
        (Datum::Decimal(a), Datum::Decimal(b)) => {
            let scale = match kind {
                TypeKind::Decimal { scale, .. } => *scale,
                _ => 0,
            };
            within(decimal_product(*a, *b, scale), precision(kind))
        }
        _ => Datum::Null,
    }
}

/// The order of two values of one type. NaN is the largest number and equal to itself, -0 lies
/// before 0; texts are compared by their bytes. Null comes first.
pub(super) fn compare(a: &Datum<'_>, b: &Datum<'_>) -> Ordering {
    match (a, b) {
        (Datum::Null, Datum::Null) => Ordering::Equal,
        (Datum::Null, _) => Ordering::Less,
        (_, Datum::Null) => Ordering::Greater,
        (Datum::TinyInt(a), Datum::TinyInt(b)) => a.cmp(b),
        (Datum::SmallInt(a), Datum::SmallInt(b)) => a.cmp(b),
        (Datum::Int(a), Datum::Int(b))
        | (Datum::Date(a), Datum::Date(b))
        | (Datum::Time(a), Datum::Time(b)) => a.cmp(b),
        (Datum::BigInt(a), Datum::BigInt(b)) => a.cmp(b),
        (Datum::Float(a), Datum::Float(b)) => floats(f64::from(*a), f64::from(*b)),
        (Datum::Double(a), Datum::Double(b)) => floats(*a, *b),
        (Datum::Decimal(a), Datum::Decimal(b)) => a.cmp(b),
        (Datum::Timestamp(a), Datum::Timestamp(b)) => a.cmp(b),
        (Datum::String(a), Datum::String(b)) => a.as_bytes().cmp(b.as_bytes()),
        _ => Ordering::Equal,
    }
}

/// The value below all others that Java takes for a null version.
pub(super) fn smallest(kind: &TypeKind) -> Datum<'static> {
    match kind {
        TypeKind::Int => Datum::Int(i32::MIN),
        TypeKind::BigInt => Datum::BigInt(i64::MIN),
        TypeKind::Timestamp { .. } | TypeKind::TimestampLtz { .. } => {
            Datum::Timestamp(protocol::row::Timestamp {
                millis: i64::MIN,
                nanos: 0,
            })
        }
        _ => Datum::Null,
    }
}

fn floats(a: f64, b: f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => a.total_cmp(&b),
    }
}

fn precision(kind: &TypeKind) -> u8 {
    match kind {
        TypeKind::Decimal { precision, .. } => *precision,
        _ => 0,
    }
}

/// The decimal, when it has no more digits than that.
fn within(unscaled: Option<i128>, precision: u8) -> Datum<'static> {
    match unscaled {
        Some(value) if value.unsigned_abs() < 10u128.pow(u32::from(precision.min(38))) => {
            Datum::Decimal(value)
        }
        _ => Datum::Null,
    }
}

/// The product of two unscaled decimals of this scale, rounded to the scale; none when it does not
/// fit 128 bits.
fn decimal_product(a: i128, b: i128, scale: u8) -> Option<i128> {
    let mut words = wide_product(a.unsigned_abs(), b.unsigned_abs());
    let mut digit = 0;
    for _ in 0..scale {
        digit = divide_by_ten(&mut words);
    }
    let [low, high, rest @ ..] = words;
    if rest != [0, 0] {
        return None;
    }
    let value = u128::from(high) << 64 | u128::from(low);
    let value = i128::try_from(value.checked_add(u128::from(digit >= 5))?).ok()?;
    Some(if (a < 0) == (b < 0) { value } else { -value })
}

/// A product as four words of 64 bits, low ones first.
fn wide_product(a: u128, b: u128) -> [u64; 4] {
    let halves = |v: u128| [v as u64, (v >> 64) as u64];
    let mut words = [0u64; 4];
    for (i, a) in halves(a).into_iter().enumerate() {
        let mut carry = 0u128;
        for (j, b) in halves(b).into_iter().enumerate() {
            let sum = u128::from(a) * u128::from(b) + u128::from(words[i + j]) + carry;
            words[i + j] = sum as u64;
            carry = sum >> 64;
        }
        words[i + 2] = carry as u64;
    }
    words
}

/// Divides in place and gives the remainder.
fn divide_by_ten(words: &mut [u64; 4]) -> u64 {
    let mut remainder = 0u128;
    for word in words.iter_mut().rev() {
        let value = remainder << 64 | u128::from(*word);
        *word = (value / 10) as u64;
        remainder = value % 10;
    }
    remainder as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(precision: u8, scale: u8) -> TypeKind {
        TypeKind::Decimal { precision, scale }
    }

    #[test]
    fn integers_wrap_around() {
        let kind = TypeKind::TinyInt;
        let sum = sum(&kind, &Datum::TinyInt(127), &Datum::TinyInt(1));
        assert_eq!(sum, Datum::TinyInt(-128));
        let product = product(&TypeKind::Int, &Datum::Int(1 << 20), &Datum::Int(1 << 20));
        assert_eq!(product, Datum::Int(0));
    }

    #[test]
    fn long_decimals_that_overflow_are_null_and_short_ones_keep_their_digits() {
        let nines = Datum::Decimal(10i128.pow(20) - 1);
        assert_eq!(
            sum(&decimal(20, 2), &nines, &Datum::Decimal(1)),
            Datum::Null
        );
        let nines = Datum::Decimal(99_999);
        let sum = sum(&decimal(5, 2), &nines, &Datum::Decimal(1));
        assert_eq!(sum, Datum::Decimal(100_000));
    }

    #[test]
    fn products_of_decimals_are_rounded_half_away_from_zero() {
        for (a, b, scale, expected) in [
            (150i128, 250i128, 2, 375i128),
            (15, 5, 1, 8),
            (-15, 5, 1, -8),
            (14, 1, 1, 1),
            (7, 6, 0, 42),
            (0, -6, 3, 0),
        ] {
            assert_eq!(
                decimal_product(a, b, scale),
                Some(expected),
                "{a} {b} {scale}"
            );
        }
        let large = 10i128.pow(37);
        assert_eq!(decimal_product(large, large, 37), Some(large));
        assert_eq!(decimal_product(large, large, 10), None);
        let kind = decimal(4, 1);
        assert_eq!(
            product(&kind, &Datum::Decimal(999), &Datum::Decimal(999)),
            Datum::Null
        );
    }

    #[test]
    fn floats_are_ordered_as_in_java() {
        let order = |a, b| compare(&Datum::Double(a), &Datum::Double(b));
        assert_eq!(order(f64::NAN, f64::INFINITY), Ordering::Greater);
        assert_eq!(order(f64::NAN, -f64::NAN), Ordering::Equal);
        assert_eq!(order(-0.0, 0.0), Ordering::Less);
        assert_eq!(compare(&Datum::Null, &Datum::Int(i32::MIN)), Ordering::Less);
        let (a, b) = (Datum::String("b"), Datum::String("ä"));
        assert_eq!(compare(&a, &b), Ordering::Less);
    }
}
