//! Values of partition columns as text.
//!
//! Writers turn a row's partition columns into a name by these rules, so the server must use the
//! same where it routes rows itself. CHAR and STRING stand as they are, BOOLEAN is `true` or
//! `false`, whole numbers are decimal.
//!
//! Source of the rules: Fluss `utils/PartitionNameConverters.java`. For FLOAT and DOUBLE a writer
//! on a Java before 19 may give more digits than are needed; no rule for that could be ours.

use jiff::civil::Date;

use crate::schema::TypeKind;

const DAY_MS: i64 = 86_400_000;

/// True when a column of this type may be a partition key.
pub const fn is_partition_type(kind: &TypeKind) -> bool {
    !matches!(
        kind,
        TypeKind::Decimal { .. } | TypeKind::Array(_) | TypeKind::Map { .. } | TypeKind::Row(_)
    )
}

/// BINARY and BYTES: lower-case hex.
pub fn bytes(value: &[u8]) -> String {
    value.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// DATE, in days since 1970: `2023-11-14`. `None` beyond the years ±9999.
pub fn date(days: i32) -> Option<String> {
    let date = civil(i64::from(days))?;
    Some(format!(
        "{:04}-{:02}-{:02}",
        date.year(),
        date.month(),
        date.day()
    ))
}

/// TIME, in milliseconds of the day: `01-02-03_004`.
pub fn time(millis: i32) -> String {
    let (hour, rest) = (millis.div_euclid(3_600_000), millis.rem_euclid(3_600_000));
    let (minute, rest) = (rest / 60_000, rest % 60_000);
    format!(
        "{hour:02}-{minute:02}-{:02}_{:03}",
        rest / 1000,
        rest % 1000
    )
}

/// TIMESTAMP and TIMESTAMP_LTZ, in milliseconds since 1970 and nanoseconds of the millisecond, in
/// UTC: `2023-11-14-22-13-20_123456`, the fraction without trailing zeros. `None` beyond the years
/// ±9999.
pub fn timestamp(millis: i64, nanos_of_milli: u32) -> Option<String> {
    let date = civil(millis.div_euclid(DAY_MS))?;
    // Java writes the year of the era, in which the year before 1 is 1 again.
    let year = if date.year() < 1 {
        1 - date.year()
    } else {
        date.year()
    };
    let of_day = millis.rem_euclid(DAY_MS);
    let (second, milli) = (of_day / 1000, of_day % 1000);
    let fraction = format!("{:09}", milli * 1_000_000 + i64::from(nanos_of_milli));
    Some(format!(
        "{year:04}-{:02}-{:02}-{:02}-{:02}-{:02}_{}",
        date.month(),
        date.day(),
        second / 3600,
        second / 60 % 60,
        second % 60,
        fraction.trim_end_matches('0'),
    ))
}

/// FLOAT: as Java writes it, the point as `_`.
pub fn float(value: f32) -> String {
    let shortest = format!("{:e}", value.abs());
    let digits = if has_one_digit(&shortest) {
        format!("{:.1e}", value.abs())
    } else {
        shortest
    };
    number(
        value.is_nan(),
        value.is_infinite(),
        value.is_sign_negative(),
        &digits,
    )
}

/// DOUBLE: as Java writes it, the point as `_`: `1_5E10`.
pub fn double(value: f64) -> String {
    let shortest = format!("{:e}", value.abs());
    let digits = if has_one_digit(&shortest) {
        format!("{:.1e}", value.abs())
    } else {
        shortest
    };
    number(
        value.is_nan(),
        value.is_infinite(),
        value.is_sign_negative(),
        &digits,
    )
}

/// Java writes two digits at least, and takes the two that are nearest: 4.9E-324, not 5.0E-324.
fn has_one_digit(scientific: &str) -> bool {
    !scientific.contains('.')
}

/// Lays out the digits and the exponent of `1.5e10` as Java does: plain from 10⁻³ to 10⁷, else
/// with an exponent, always with a digit on either side of the point.
fn number(nan: bool, infinite: bool, negative: bool, scientific: &str) -> String {
    if nan {
        return "NaN".to_owned();
    }
    let sign = if negative { "-" } else { "" };
    if infinite {
        return format!("{sign}Inf");
    }
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits = mantissa.replace('.', "");
    let digits = match digits.trim_end_matches('0') {
        "" => "0",
        digits => digits,
    };
    let (whole, fraction) = match exponent {
        0..7 => {
            let point = exponent as usize + 1;
            let digits = format!("{digits:0<point$}");
            (digits[..point].to_owned(), digits[point..].to_owned())
        }
        -3..0 => (
            "0".to_owned(),
            "0".repeat((-exponent - 1) as usize) + digits,
        ),
        _ => (digits[..1].to_owned(), digits[1..].to_owned()),
    };
    let fraction = if fraction.is_empty() { "0" } else { &fraction };
    match exponent {
        -3..7 => format!("{sign}{whole}_{fraction}"),
        _ => format!("{sign}{whole}_{fraction}E{exponent}"),
    }
}

fn civil(days: i64) -> Option<Date> {
    let span = jiff::Span::new().try_days(days).ok()?;
    jiff::civil::date(1970, 1, 1).checked_add(span).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_written_as_java_writes_them() {
        for line in include_str!("../golden/partition_texts.txt").lines() {
            let parts = line.split(' ').collect::<Vec<_>>();
            let text = match parts[0] {
                "float" => Some(float(parts[1].replace("Infinity", "inf").parse().unwrap())),
                "double" => Some(double(parts[1].replace("Infinity", "inf").parse().unwrap())),
                "date" => date(parts[1].parse().unwrap()),
                "time" => Some(time(parts[1].parse().unwrap())),
                "timestamp" => timestamp(parts[1].parse().unwrap(), parts[2].parse().unwrap()),
                other => panic!("{other}"),
            };
            let expected = parts[parts.len() - 1];
            // Years of five digits have no text here: none of them is a legal name.
            let far = matches!(parts[1], "2932897" | "100000000" | "253402300800000");
            assert_eq!(text.as_deref(), (!far).then_some(expected), "{line}");
        }
    }

    #[test]
    fn bytes_are_hex() {
        assert_eq!(bytes(&[0, 0xab, 0xff]), "00abff");
        assert_eq!(bytes(&[]), "");
    }

    #[test]
    fn decimals_and_nested_types_make_no_partitions() {
        assert!(is_partition_type(&TypeKind::Date));
        assert!(is_partition_type(&TypeKind::Bytes));
        assert!(!is_partition_type(&TypeKind::Decimal {
            precision: 5,
            scale: 0
        }));
        assert!(!is_partition_type(&TypeKind::Row(vec![])));
    }

    proptest! {
        #[test]
        fn numbers_keep_their_value(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            let text = double(value);
            if value.is_finite() {
                prop_assert_eq!(text.replace('_', ".").parse::<f64>().unwrap().to_bits(), bits);
            }
            let _ = float(f32::from_bits(bits as u32));
        }

        #[test]
        fn no_time_panics(millis in any::<i64>(), nanos in 0u32..1_000_000, days in any::<i32>()) {
            let _ = timestamp(millis, nanos);
            let _ = date(days);
            let _ = time(days);
        }
    }
}
