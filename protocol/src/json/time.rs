//! Dates and times in the forms of ISO 8601.
//!
//! Every value has a form: years outside 0000 to 9999 have a sign (and more digits where they need
//! them), times outside a day have more hours or a sign.

use arrow_schema::TimeUnit;

use super::number::write_digits;

const SECONDS_PER_DAY: i64 = 86_400;

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

    proptest! {
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
