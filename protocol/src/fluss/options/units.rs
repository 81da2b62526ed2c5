//! Durations and sizes as Fluss writes them in options: `7 d`, `3min`, `64 mb`.
//!
//! A number without a unit is refused, a sign or a fraction too. Case and blanks do not matter.
//! Source of the rules: Fluss `utils/TimeUtils.java`, `config/MemorySize.java`.

use std::time::Duration;

use thiserror::Error;

/// Why a text is no duration or size.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UnitError {
    /// The text does not begin with digits.
    #[error("does not begin with a number")]
    NoNumber,
    /// The text ends after the number.
    #[error("has no unit, such as {0}")]
    NoUnit(&'static str),
    /// The unit is none of those known.
    #[error("has the unknown unit '{0}'")]
    UnknownUnit(String),
    /// The value is beyond 64 bits.
    #[error("is too large")]
    Overflow,
}

/// Nanoseconds of a unit, and its names. The first name is the one that is written.
const TIME_UNITS: &[(u128, &[&str])] = &[
    (86_400_000_000_000, &["d", "day", "days"]),
    (3_600_000_000_000, &["h", "hour", "hours"]),
    (60_000_000_000, &["min", "m", "minute", "minutes"]),
    (1_000_000_000, &["s", "sec", "secs", "second", "seconds"]),
    (
        1_000_000,
        &["ms", "milli", "millis", "millisecond", "milliseconds"],
    ),
    (
        1_000,
        &["µs", "micro", "micros", "microsecond", "microseconds"],
    ),
    (1, &["ns", "nano", "nanos", "nanosecond", "nanoseconds"]),
];

/// Bytes of a unit, and its names.
const SIZE_UNITS: &[(u128, &[&str])] = &[
    (1, &["b", "bytes"]),
    (1 << 10, &["k", "kb", "kibibytes"]),
    (1 << 20, &["m", "mb", "mebibytes"]),
    (1 << 30, &["g", "gb", "gibibytes"]),
    (1 << 40, &["t", "tb", "tebibytes"]),
];

/// Reads a duration.
///
/// # Errors
/// The text is none, or longer than an `i64` counts in milliseconds, as clocks and logs do.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let (number, unit) = split(text, TIME_UNITS, "ms, s, min, h or d")?;
    let nanos = u128::from(number) * unit;
    if nanos / 1_000_000 > i64::MAX as u128 {
        return Err(UnitError::Overflow);
    }
    // At most 2^63 milliseconds, so the seconds fit.
    Ok(Duration::new(
        (nanos / 1_000_000_000) as u64,
        (nanos % 1_000_000_000) as u32,
    ))
}

/// Writes a duration in the largest unit that needs no fraction, as `7 d`.
pub fn format_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let whole = |(unit, _): &&(u128, &[&str])| nanos != 0 && nanos.is_multiple_of(*unit);
    match TIME_UNITS.iter().find(whole) {
        Some((unit, names)) => format!("{} {}", nanos / unit, names[0]),
        None => "0 ms".to_owned(),
    }
}

/// Reads a size in bytes.
///
/// # Errors
/// The text is none, or more than an `i64` holds.
pub fn parse_bytes(text: &str) -> Result<u64, UnitError> {
    let (number, unit) = split(text, SIZE_UNITS, "b, kb, mb, gb or tb")?;
    let bytes = u128::from(number) * unit;
    match i64::try_from(bytes) {
        Ok(bytes) => Ok(bytes.unsigned_abs()),
        Err(_) => Err(UnitError::Overflow),
    }
}

/// The number in front, and what its unit stands for.
fn split(
    text: &str,
    units: &[(u128, &[&str])],
    hint: &'static str,
) -> Result<(u64, u128), UnitError> {
    // Java trims control characters and blanks, and no others.
    let text = text.trim_matches(|c| c <= ' ');
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(UnitError::NoNumber);
    }
    let number = number
        .parse::<i64>()
        .map_err(|_| UnitError::Overflow)?
        .unsigned_abs();
    let unit = unit.trim_matches(|c| c <= ' ').to_lowercase();
    if unit.is_empty() {
        return Err(UnitError::NoUnit(hint));
    }
    match units
        .iter()
        .find(|(_, names)| names.contains(&unit.as_str()))
    {
        Some((factor, _)) => Ok((number, *factor)),
        None => Err(UnitError::UnknownUnit(unit)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_java_reads_them() {
        for line in include_str!("../golden/durations.txt").lines() {
            let (text, expected) = line.split_once('|').unwrap();
            let read = parse_duration(text);
            let expected = match expected.strip_prefix("ok ") {
                Some(parts) => {
                    let (nanos, seconds) = parts.split_once(' ').unwrap();
                    Some(Duration::new(
                        seconds.parse().unwrap(),
                        nanos.parse().unwrap(),
                    ))
                }
                None => None,
            };
            // Java also reads what it cannot count in milliseconds.
            let expected = expected.filter(|duration| duration.as_millis() <= i64::MAX as u128);
            assert_eq!(read.clone().ok(), expected, "{text:?} gave {read:?}");
        }
    }

    #[test]
    fn sizes_are_read_as_java_reads_them() {
        for line in include_str!("../golden/sizes.txt").lines() {
            let (text, expected) = line.split_once('|').unwrap();
            let expected = expected
                .strip_prefix("ok ")
                .map(|bytes| bytes.parse::<u64>().unwrap());
            assert_eq!(parse_bytes(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn durations_are_written_in_the_largest_whole_unit() {
        assert_eq!(format_duration(Duration::from_secs(7 * 86_400)), "7 d");
        assert_eq!(format_duration(Duration::from_secs(180)), "3 min");
        assert_eq!(format_duration(Duration::from_millis(1500)), "1500 ms");
        assert_eq!(format_duration(Duration::ZERO), "0 ms");
        assert_eq!(format_duration(Duration::from_nanos(7)), "7 ns");
    }

    proptest! {
        #[test]
        fn written_durations_are_read_back(millis in 0..=i64::MAX as u64) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn arbitrary_texts_never_panic(text in ".{0,30}") {
            let _ = parse_duration(&text);
            let _ = parse_bytes(&text);
        }
    }
}
