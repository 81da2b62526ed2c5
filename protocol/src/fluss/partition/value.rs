//! Texts of partition columns as values: the way back from [`super::text`].
//!
//! Source of the rules: Fluss `PartitionUtils.parseValueOfType`, `PartitionNameConverters.java`.

use jiff::civil::{Date, date};

use super::text::is_partition_type;
use crate::row::{Datum, Timestamp};
use crate::schema::TypeKind;

const DAY_MS: i64 = 86_400_000;

/// The value that a partition column of this type has by its text; none when the text is no such
/// value. Bytes are put into `bytes`.
pub fn value_of<'a>(text: &'a str, kind: &TypeKind, bytes: &'a mut Vec<u8>) -> Option<Datum<'a>> {
    Some(match kind {
        kind if !is_partition_type(kind) => return None,
        TypeKind::Char { .. } | TypeKind::String => Datum::String(text),
        TypeKind::Boolean => Datum::Boolean(text.to_ascii_lowercase().parse().ok()?),
        TypeKind::TinyInt => Datum::TinyInt(text.parse().ok()?),
        TypeKind::SmallInt => Datum::SmallInt(text.parse().ok()?),
        TypeKind::Int => Datum::Int(text.parse().ok()?),
        TypeKind::BigInt => Datum::BigInt(text.parse().ok()?),
        TypeKind::Float => Datum::Float(number(text).parse().ok()?),
        TypeKind::Double => Datum::Double(number(text).parse().ok()?),
        TypeKind::Binary { .. } | TypeKind::Bytes => {
            *bytes = unhex(text)?;
            Datum::Bytes(bytes)
        }
        TypeKind::Date => Datum::Date(days(text)?),
        TypeKind::Time { .. } => Datum::Time(time(text)?),
        TypeKind::Timestamp { .. } | TypeKind::TimestampLtz { .. } => {
            Datum::Timestamp(timestamp(text)?)
        }
        _ => return None,
    })
}

/// `1_5E10` as `1.5E10`; Rust reads `Inf` and `NaN` as well.
fn number(text: &str) -> String {
    text.replacen('_', ".", 1)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let byte = |at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(byte).collect()
}

/// `2023-11-14` as days since 1970.
fn days(text: &str) -> Option<i32> {
    let [year, month, day] = fields(text, '-')?;
    since_1970(civil(year, month, day)?)
}

/// `01-02-03_004` as milliseconds of the day.
fn time(text: &str) -> Option<i32> {
    let (time, millis) = text.split_once('_')?;
    let millis = digits(millis).filter(|millis| *millis < 1000)?;
    let [hour, minute, second] = fields(time, '-')?;
    i32::try_from(of_day(hour, minute, second)? + millis).ok()
}

/// `2023-11-14-22-13-20_123456` as a time in UTC.
fn timestamp(text: &str) -> Option<Timestamp> {
    let (time, fraction) = text.split_once('_')?;
    if fraction.len() > 9 {
        return None;
    }
    let nanos = digits(&format!("{fraction:0<9}"))?;
    let [year, month, day, hour, minute, second] = fields(time, '-')?;
    let days = i64::from(since_1970(civil(year, month, day)?)?);
    Some(Timestamp {
        millis: days * DAY_MS + of_day(hour, minute, second)? + nanos / 1_000_000,
        nanos: i32::try_from(nanos % 1_000_000).ok()?,
    })
}

fn fields<const N: usize>(text: &str, separator: char) -> Option<[i64; N]> {
    let fields = text.split(separator).map(digits);
    fields.collect::<Option<Vec<_>>>()?.try_into().ok()
}

fn digits(text: &str) -> Option<i64> {
    let plain = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

fn civil(year: i64, month: i64, day: i64) -> Option<Date> {
    let (month, day) = (i8::try_from(month).ok()?, i8::try_from(day).ok()?);
    Date::new(i16::try_from(year).ok()?, month, day).ok()
}

fn since_1970(day: Date) -> Option<i32> {
    let span = day.since((jiff::Unit::Day, date(1970, 1, 1))).ok()?;
    Some(span.get_days())
}

fn of_day(hour: i64, minute: i64, second: i64) -> Option<i64> {
    let is_time = hour < 24 && minute < 60 && second < 60;
    is_time.then_some(((hour * 60 + minute) * 60 + second) * 1000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::text;
    use super::*;

    fn read(written: &str, kind: TypeKind) -> Option<String> {
        let mut bytes = Vec::new();
        value_of(written, &kind, &mut bytes).map(|value| format!("{value:?}"))
    }

    #[test]
    fn what_is_no_value_of_the_type_is_none() {
        for (written, kind) in [
            ("x", TypeKind::Int),
            ("300", TypeKind::TinyInt),
            ("maybe", TypeKind::Boolean),
            ("abc", TypeKind::Bytes),
            ("+a", TypeKind::Bytes),
            ("2023-02-30", TypeKind::Date),
            ("2023-2", TypeKind::Date),
            ("+2023-02-03", TypeKind::Date),
            ("24-00-00_000", TypeKind::Time { precision: 3 }),
            ("2023-11-14-22-13-20", TypeKind::Timestamp { precision: 6 }),
            (
                "1",
                TypeKind::Decimal {
                    precision: 5,
                    scale: 0,
                },
            ),
        ] {
            assert_eq!(read(written, kind), None, "{written}");
        }
        assert_eq!(read("TRUE", TypeKind::Boolean).unwrap(), "Boolean(true)");
        assert_eq!(read("-Inf", TypeKind::Double).unwrap(), "Double(-inf)");
        assert_eq!(read("NaN", TypeKind::Float).unwrap(), "Float(NaN)");
    }

    proptest! {
        #[test]
        fn texts_are_read_as_the_values_that_they_were_written_from(
            days in -719_162i32..2_932_896,
            of_day in 0i32..86_400_000,
            nanos in 0u32..1_000_000,
            double in any::<f64>(),
            float in any::<f32>(),
            bytes in proptest::collection::vec(any::<u8>(), 0..9),
        ) {
            let written = text::date(days).unwrap();
            prop_assert_eq!(read(&written, TypeKind::Date).unwrap(), format!("{:?}", Datum::Date(days)));
            let time = TypeKind::Time { precision: 3 };
            prop_assert_eq!(read(&text::time(of_day), time).unwrap(), format!("{:?}", Datum::Time(of_day)));
            let millis = i64::from(days) * DAY_MS + i64::from(of_day);
            let timestamp = Timestamp { millis, nanos: nanos as i32 };
            let written = text::timestamp(millis, nanos).unwrap();
            let kind = TypeKind::TimestampLtz { precision: 9 };
            prop_assert_eq!(read(&written, kind).unwrap(), format!("{:?}", Datum::Timestamp(timestamp)));
            prop_assert_eq!(read(&text::double(double), TypeKind::Double).unwrap(), format!("{:?}", Datum::Double(double)));
            let kept = text::float(float).replace('_', ".").parse::<f32>().unwrap();
            prop_assert_eq!(read(&text::float(float), TypeKind::Float).unwrap(), format!("{:?}", Datum::Float(kept)));
            prop_assert_eq!(read(&text::bytes(&bytes), TypeKind::Bytes).unwrap(), format!("{:?}", Datum::Bytes(&bytes)));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            for kind in [TypeKind::Date, TypeKind::Time { precision: 0 }, TypeKind::Bytes, TypeKind::Timestamp { precision: 6 }] {
                let _ = read(&text, kind);
            }
        }
    }
}
