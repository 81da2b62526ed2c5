//! Numbers.

use std::io::Write;

/// The largest integer that every reader of JSON has exactly: 2⁵³ − 1.
const SAFE_MAX: u64 = (1 << 53) - 1;

/// An integer as number.
pub(super) fn write_int(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    write_digits(value.unsigned_abs(), 1, out);
}

/// A BIGINT: a number where every reader has it exactly, else a string.
pub(super) fn write_bigint(value: i64, out: &mut Vec<u8>) {
    if value.unsigned_abs() <= SAFE_MAX {
        write_int(value, out);
    } else {
        out.push(b'"');
        write_int(value, out);
        out.push(b'"');
    }
}

/// A FLOAT with the fewest digits that read back as the same FLOAT.
pub(super) fn write_float(value: f32, out: &mut Vec<u8>) {
    if value.is_finite() {
        write!(out, "{value:?}").expect("writing to memory does not fail");
    } else {
        write_special(value.into(), out);
    }
}

/// A DOUBLE with the fewest digits that read back as the same DOUBLE.
pub(super) fn write_double(value: f64, out: &mut Vec<u8>) {
    if value.is_finite() {
        write!(out, "{value:?}").expect("writing to memory does not fail");
    } else {
        write_special(value, out);
    }
}

fn write_special(value: f64, out: &mut Vec<u8>) {
    let text: &[u8] = if value.is_nan() {
        b"\"NaN\""
    } else if value > 0.0 {
        b"\"Infinity\""
    } else {
        b"\"-Infinity\""
    };
    out.extend_from_slice(text);
}

/// A DECIMAL as string, with all digits of its scale.
pub(super) fn write_decimal(unscaled: i128, scale: u8, out: &mut Vec<u8>) {
    // 39 digits of the number, and zeros up to a scale of 255.
    let mut digits = [b'0'; 256];
    let mut at = digits.len();
    let mut rest = unscaled.unsigned_abs();
    while rest > 0 {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let point = digits.len() - usize::from(scale);
    // One digit at least before the point.
    let start = at.min(point - 1);
    out.push(b'"');
    if unscaled < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[start..point]);
    if scale > 0 {
        out.push(b'.');
        out.extend_from_slice(&digits[point..]);
    }
    out.push(b'"');
}

/// The unscaled value of a DECIMAL(`precision`, `scale`): digits with at most `scale` of them after
/// the point. None when the text is no such number or has more digits than the type.
pub(super) fn read_decimal(text: &str, precision: u8, scale: u8) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, fraction) = match digits.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (digits, ""),
    };
    let missing = usize::from(scale).checked_sub(fraction.len())?;
    if whole.is_empty() {
        return None;
    }
    let mut unscaled: i128 = 0;
    for byte in whole.bytes().chain(fraction.bytes()) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        unscaled = unscaled.checked_mul(10)?.checked_add(digit.into())?;
    }
    unscaled = unscaled.checked_mul(10i128.checked_pow(u32::try_from(missing).ok()?)?)?;
    let fits = unscaled < 10i128.checked_pow(precision.into())?;
    fits.then_some(if negative { -unscaled } else { unscaled })
}

/// At least `width` digits, at most 20.
pub(super) fn write_digits(mut value: u64, width: usize, out: &mut Vec<u8>) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    while value > 0 {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out.extend_from_slice(&digits[at.min(digits.len() - width)..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(f: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        f(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn decimals_have_the_digits_of_their_type() {
        for (text, expected) in [
            ("12.30", Some(1230)),
            ("12.3", Some(1230)),
            ("12", Some(1200)),
            ("-0.05", Some(-5)),
            ("0012.30", Some(1230)),
            ("999.99", Some(99_999)),
            ("1000", None),
            ("1.234", None),
            ("1.", None),
            (".5", None),
            ("", None),
            ("-", None),
            ("+1", None),
            ("1e2", None),
            ("1.2.3", None),
        ] {
            assert_eq!(read_decimal(text, 5, 2), expected, "{text}");
        }
        let largest = "9".repeat(38);
        assert_eq!(read_decimal(&largest, 38, 0), Some(10i128.pow(38) - 1));
        assert_eq!(read_decimal(&"9".repeat(60), 38, 0), None);
    }

    #[test]
    fn decimals_keep_their_scale() {
        for (unscaled, scale, expected) in [
            (0, 0, "\"0\""),
            (0, 2, "\"0.00\""),
            (5, 2, "\"0.05\""),
            (-5, 2, "\"-0.05\""),
            (1234, 2, "\"12.34\""),
            (-1200, 2, "\"-12.00\""),
            (7, 38, "\"0.00000000000000000000000000000000000007\""),
            (i128::MIN, 0, "\"-170141183460469231731687303715884105728\""),
        ] {
            assert_eq!(text(|out| write_decimal(unscaled, scale, out)), expected);
        }
        assert_eq!(text(|out| write_decimal(1, 255, out)).len(), 255 + 4);
    }

    #[test]
    fn integers_beyond_what_a_double_holds_are_strings() {
        let max = 9_007_199_254_740_991i64;
        assert_eq!(text(|out| write_bigint(max, out)), "9007199254740991");
        assert_eq!(text(|out| write_bigint(-max, out)), "-9007199254740991");
        assert_eq!(
            text(|out| write_bigint(max + 1, out)),
            "\"9007199254740992\""
        );
        assert_eq!(
            text(|out| write_bigint(i64::MIN, out)),
            "\"-9223372036854775808\""
        );
    }

    #[test]
    fn floats_are_short_and_special_ones_are_strings() {
        assert_eq!(text(|out| write_float(0.1, out)), "0.1");
        assert_eq!(text(|out| write_double(1.0, out)), "1.0");
        assert_eq!(text(|out| write_double(-0.0, out)), "-0.0");
        assert_eq!(text(|out| write_double(1e300, out)), "1e300");
        assert_eq!(text(|out| write_double(f64::NAN, out)), "\"NaN\"");
        assert_eq!(text(|out| write_float(f32::INFINITY, out)), "\"Infinity\"");
        assert_eq!(
            text(|out| write_float(f32::NEG_INFINITY, out)),
            "\"-Infinity\""
        );
    }

    proptest! {
        #[test]
        fn integers_read_back(value in any::<i64>()) {
            prop_assert_eq!(text(|out| write_int(value, out)).parse(), Ok(value));
        }

        #[test]
        fn doubles_read_back(value in any::<f64>().prop_filter("finite", |v| v.is_finite())) {
            let json = text(|out| write_double(value, out));
            prop_assert_eq!(json.parse::<f64>(), Ok(value));
            prop_assert!(serde_json::from_str::<f64>(&json).is_ok());
        }

        #[test]
        fn floats_read_back(value in any::<f32>().prop_filter("finite", |v| v.is_finite())) {
            let json = text(|out| write_float(value, out));
            prop_assert_eq!(json.parse::<f32>(), Ok(value));
            prop_assert!(serde_json::from_str::<f64>(&json).is_ok());
        }
    }
}
