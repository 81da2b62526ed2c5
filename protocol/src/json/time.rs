//! Dates and times in the forms of ISO 8601.
//!
//! Every value has a form: years outside 0000 to 9999 have a sign (and more digits where they need
//! them), times outside a day have more hours or a sign.

use arrow_schema::TimeUnit;

use super::number::write_digits;
use crate::row::Timestamp;

const SECONDS_PER_DAY: i64 = 86_400;
const NANOS_PER_MILLI: u32 = 1_000_000;
const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// Units per second, and digits of its fraction.
fn scale(unit: TimeUnit) -> (i64, usize) {
    match unit {
        TimeUnit::Second => (1, 0),
        TimeUnit::Millisecond => (1_000, 3),
        TimeUnit::Microsecond => (1_000_000, 6),
        TimeUnit::Nanosecond => (1_000_000_000, 9),
    }
}

/// Days since 1970-01-01.
pub(super) fn write_date(days: i32, out: &mut Vec<u8>) {
    out.push(b'"');
    put_date(days.into(), out);
    out.push(b'"');
}

/// Units since midnight.
pub(super) fn write_time(value: i64, unit: TimeUnit, out: &mut Vec<u8>) {
    let (per_second, digits) = scale(unit);
    out.push(b'"');
    if value < 0 {
        out.push(b'-');
    }
    let value = value.unsigned_abs();
    let per_second = per_second.unsigned_abs();
    put_time(value / per_second, out);
    put_fraction(value % per_second, digits, out);
    out.push(b'"');
}

/// Units since 1970-01-01T00:00:00, with the zone's mark at the end.
pub(super) fn write_timestamp(value: i64, unit: TimeUnit, zone: &str, out: &mut Vec<u8>) {
    let (per_second, digits) = scale(unit);
    let seconds = value.div_euclid(per_second);
    out.push(b'"');
    put_date(seconds.div_euclid(SECONDS_PER_DAY), out);
    out.push(b'T');
    put_time(seconds.rem_euclid(SECONDS_PER_DAY).unsigned_abs(), out);
    put_fraction(value.rem_euclid(per_second).unsigned_abs(), digits, out);
    out.extend_from_slice(zone.as_bytes());
    out.push(b'"');
}

fn put_time(seconds: u64, out: &mut Vec<u8>) {
    write_digits(seconds / 3600, 2, out);
    out.push(b':');
    write_digits(seconds / 60 % 60, 2, out);
    out.push(b':');
    write_digits(seconds % 60, 2, out);
}

fn put_fraction(fraction: u64, digits: usize, out: &mut Vec<u8>) {
    if digits > 0 {
        out.push(b'.');
        write_digits(fraction, digits, out);
    }
}

fn put_date(days: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil(days);
    match year {
        0..=9999 => {}
        ..0 => out.push(b'-'),
        _ => out.push(b'+'),
    }
    write_digits(year.unsigned_abs(), 4, out);
    out.push(b'-');
    write_digits(month.unsigned_abs(), 2, out);
    out.push(b'-');
    write_digits(day.unsigned_abs(), 2, out);
}

/// The day of a text that [`write_date`] may have written.
pub(super) fn read_date(text: &str) -> Option<i32> {
    let mut rest = text;
    let days = take_date(&mut rest)?;
    i32::try_from(days).ok().filter(|_| rest.is_empty())
}

/// The milliseconds of a time of day, which has no more digits than its unit, and none below a
/// millisecond: rows do not keep them.
pub(super) fn read_time(text: &str, unit: TimeUnit) -> Option<i32> {
    let mut rest = text;
    let seconds = take_time(&mut rest)?;
    let nanos = take_fraction(&mut rest)?;
    if !rest.is_empty() || !fits(nanos, unit) || nanos % NANOS_PER_MILLI != 0 {
        return None;
    }
    i32::try_from(seconds * 1000 + i64::from(nanos / NANOS_PER_MILLI)).ok()
}

/// A point in time, which has no more digits than its unit. A `zoned` one ends in `Z` or in the
/// offset of a zone.
pub(super) fn read_timestamp(text: &str, unit: TimeUnit, zoned: bool) -> Option<Timestamp> {
    let mut rest = text;
    let days = take_date(&mut rest)?;
    take(&mut rest, 'T')?;
    let of_day = take_time(&mut rest)?;
    let nanos = take_fraction(&mut rest)?;
    let ahead = if zoned { take_zone(&mut rest)? } else { 0 };
    if !rest.is_empty() || !fits(nanos, unit) {
        return None;
    }
    let seconds = days
        .checked_mul(SECONDS_PER_DAY)?
        .checked_add(of_day - ahead)?;
    // Columns keep a count of units in 64 bits.
    let (per_second, _) = scale(unit);
    let all_nanos = i128::from(seconds) * NANOS_PER_SECOND + i128::from(nanos);
    i64::try_from(all_nanos.div_euclid(NANOS_PER_SECOND / i128::from(per_second))).ok()?;
    let millis = seconds.checked_mul(1000)?;
    Some(Timestamp {
        millis: millis.checked_add(i64::from(nanos / NANOS_PER_MILLI))?,
        nanos: i32::try_from(nanos % NANOS_PER_MILLI).ok()?,
    })
}

/// True when the unit has a place for all digits of a fraction.
fn fits(nanos: u32, unit: TimeUnit) -> bool {
    let (per_second, _) = scale(unit);
    i64::from(nanos) % (1_000_000_000 / per_second) == 0
}

fn take(rest: &mut &str, mark: char) -> Option<()> {
    *rest = rest.strip_prefix(mark)?;
    Some(())
}

/// A number of `width` digits.
fn take_digits(rest: &mut &str, width: usize) -> Option<i64> {
    let (digits, behind) = rest.split_at_checked(width)?;
    if width == 0 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    *rest = behind;
    digits.parse().ok()
}

/// A date, in days since 1970-01-01.
fn take_date(rest: &mut &str) -> Option<i64> {
    /// Years of all days that 32 bits count have fewer digits.
    const YEAR_DIGITS_MAX: usize = 10;
    let sign = rest.chars().next().filter(|c| matches!(c, '+' | '-'));
    let year = match sign {
        None => take_digits(rest, 4)?,
        Some(sign) => {
            take(rest, sign)?;
            let width = rest.bytes().take_while(u8::is_ascii_digit).count();
            if !(4..=YEAR_DIGITS_MAX).contains(&width) {
                return None;
            }
            let year = take_digits(rest, width)?;
            match sign {
                '-' if year > 0 => -year,
                '+' if year > 9999 => year,
                _ => return None,
            }
        }
    };
    take(rest, '-')?;
    let month = take_digits(rest, 2)?;
    take(rest, '-')?;
    let day = take_digits(rest, 2)?;
    let days = days_of(year, month, day);
    // A day that the month does not have is one of another month.
    let exists = (1..=12).contains(&month) && civil(days) == (year, month, day);
    exists.then_some(days)
}

/// A time of day, in seconds.
fn take_time(rest: &mut &str) -> Option<i64> {
    let hour = take_digits(rest, 2).filter(|hour| *hour < 24)?;
    take(rest, ':')?;
    let minute = take_digits(rest, 2).filter(|minute| *minute < 60)?;
    take(rest, ':')?;
    let second = take_digits(rest, 2).filter(|second| *second < 60)?;
    Some(hour * 3600 + minute * 60 + second)
}

/// The fraction of a second, if there is one, in nanoseconds.
fn take_fraction(rest: &mut &str) -> Option<u32> {
    if take(rest, '.').is_none() {
        return Some(0);
    }
    let width = rest.bytes().take_while(u8::is_ascii_digit).count();
    if width > 9 {
        return None;
    }
    let digits = u32::try_from(take_digits(rest, width)?).ok()?;
    Some(digits * 10u32.pow(9 - width as u32))
}

/// How far a zone is ahead of UTC, in seconds.
fn take_zone(rest: &mut &str) -> Option<i64> {
    if take(rest, 'Z').is_some() {
        return Some(0);
    }
    let sign = match rest.chars().next()? {
        '+' => 1,
        '-' => -1,
        _ => return None,
    };
    *rest = &rest[1..];
    let hour = take_digits(rest, 2).filter(|hour| *hour < 24)?;
    take(rest, ':')?;
    let minute = take_digits(rest, 2).filter(|minute| *minute < 60)?;
    Some(sign * (hour * 3600 + minute * 60))
}

/// The inverse of [`civil`].
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month and day of a day since 1970-01-01, in the Gregorian calendar extended backwards.
///
/// Counted in eras of 400 years from 0000-03-01, so that the leap day is the last of its year.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(f: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        f(&mut out);
        String::from_utf8(out).unwrap().trim_matches('"').to_owned()
    }

    #[test]
    fn dates_follow_the_calendar() {
        for (days, expected) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (19_675, "2023-11-14"),
            (11_016, "2000-02-29"),
            (-25_508, "1900-03-01"),
            (2_932_896, "9999-12-31"),
            (2_932_897, "+10000-01-01"),
            (-719_528, "0000-01-01"),
            (-719_529, "-0001-12-31"),
        ] {
            assert_eq!(text(|out| write_date(days, out)), expected);
        }
    }

    #[test]
    fn times_have_the_digits_of_their_unit() {
        let time = |v, unit| text(|out| write_time(v, unit, out));
        assert_eq!(time(3_723, TimeUnit::Second), "01:02:03");
        assert_eq!(time(3_723_004, TimeUnit::Millisecond), "01:02:03.004");
        assert_eq!(
            time(3_723_004_005, TimeUnit::Microsecond),
            "01:02:03.004005"
        );
        assert_eq!(time(1, TimeUnit::Nanosecond), "00:00:00.000000001");
        assert_eq!(time(-1, TimeUnit::Second), "-00:00:01");
        assert_eq!(time(360_000, TimeUnit::Second), "100:00:00");
    }

    #[test]
    fn timestamps_before_1970_count_forwards() {
        let at = |v, unit| text(|out| write_timestamp(v, unit, "Z", out));
        assert_eq!(at(1_700_000_000, TimeUnit::Second), "2023-11-14T22:13:20Z");
        assert_eq!(
            at(1_700_000_000_123, TimeUnit::Millisecond),
            "2023-11-14T22:13:20.123Z"
        );
        assert_eq!(at(-1, TimeUnit::Millisecond), "1969-12-31T23:59:59.999Z");
        assert_eq!(
            at(-1, TimeUnit::Nanosecond),
            "1969-12-31T23:59:59.999999999Z"
        );
    }

    #[test]
    fn what_is_no_date_or_time_is_refused() {
        for text in [
            "2023-1-14",
            "2023-02-29",
            "2023-13-01",
            "2023-00-01",
            "2023-01-00",
            "2023-01-32",
            "+2023-01-01",
            "-0000-01-01",
            "02023-01-01",
            "2023-01-01 ",
            "+9999999-01-01",
            "",
            "2023-01-0\u{661}",
        ] {
            assert_eq!(read_date(text), None, "{text}");
        }
        for text in [
            "24:00:00",
            "01:60:00",
            "01:02:60",
            "1:02:03",
            "01:02",
            "01:02:03.",
            "-00:00:01",
        ] {
            assert_eq!(read_time(text, TimeUnit::Nanosecond), None, "{text}");
        }
        assert_eq!(
            read_time("01:02:03.5", TimeUnit::Millisecond),
            Some(3_723_500)
        );
        assert_eq!(read_time("01:02:03.000", TimeUnit::Second), Some(3_723_000));
        assert_eq!(read_time("01:02:03.5", TimeUnit::Second), None);
        assert_eq!(read_time("01:02:03.0001", TimeUnit::Nanosecond), None);
        let at = |text, zoned| read_timestamp(text, TimeUnit::Millisecond, zoned);
        for text in [
            "2023-11-14T22:13:20.1234",
            "2023-11-14 22:13:20",
            "2023-11-14T22:13:20Z",
        ] {
            assert_eq!(at(text, false), None, "{text}");
        }
        for text in [
            "2023-11-14T22:13:20",
            "2023-11-14T22:13:20+1",
            "2023-11-14T22:13:20z",
        ] {
            assert_eq!(at(text, true), None, "{text}");
        }
        let far = "+300000-01-01T00:00:00";
        assert_eq!(read_timestamp(far, TimeUnit::Microsecond, false), None);
    }

    #[test]
    fn zones_are_brought_to_utc() {
        let at = |text| read_timestamp(text, TimeUnit::Millisecond, true).map(|t| t.millis);
        assert_eq!(at("2023-11-14T22:13:20.123Z"), Some(1_700_000_000_123));
        assert_eq!(at("2023-11-15T00:13:20.123+02:00"), Some(1_700_000_000_123));
        assert_eq!(at("2023-11-14T16:43:20.123-05:30"), Some(1_700_000_000_123));
    }

    proptest! {
        #[test]
        fn dates_and_times_read_back(days in any::<i32>(), millis in 0..86_400_000i32, nanos in any::<i64>()) {
            let date = text(|out| write_date(days, out));
            prop_assert_eq!(read_date(&date), Some(days));
            let time = text(|out| write_time(millis.into(), TimeUnit::Millisecond, out));
            prop_assert_eq!(read_time(&time, TimeUnit::Millisecond), Some(millis));
            let time = text(|out| write_timestamp(nanos, TimeUnit::Nanosecond, "Z", out));
            let expected = Timestamp {
                millis: nanos.div_euclid(1_000_000),
                nanos: nanos.rem_euclid(1_000_000) as i32,
            };
            prop_assert_eq!(read_timestamp(&time, TimeUnit::Nanosecond, true), Some(expected));
        }

        #[test]
        fn no_text_panics(text in ".{0,30}", digits in "[-+0-9:.TZ]{0,34}") {
            for text in [text, digits] {
                let _ = read_date(&text);
                let _ = read_time(&text, TimeUnit::Microsecond);
                let _ = read_timestamp(&text, TimeUnit::Second, true);
            }
        }

        #[test]
        fn every_value_has_a_form(value in any::<i64>(), days in any::<i32>()) {
            for unit in [
                TimeUnit::Second,
                TimeUnit::Millisecond,
                TimeUnit::Microsecond,
                TimeUnit::Nanosecond,
            ] {
                text(|out| write_time(value, unit, out));
                text(|out| write_timestamp(value, unit, "", out));
            }
            text(|out| write_date(days, out));
        }

        #[test]
        fn the_next_day_is_one_later(days in -4_000_000i64..4_000_000) {
            let (year, month, day) = civil(days);
            let next = civil(days + 1);
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let last = match month {
                2 => if leap { 29 } else { 28 },
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            let expected = match (month, day) {
                (12, 31) => (year + 1, 1, 1),
                (_, d) if d == last => (year, month + 1, 1),
                _ => (year, month, day + 1),
            };
            prop_assert_eq!(next, expected);
        }
    }
}
