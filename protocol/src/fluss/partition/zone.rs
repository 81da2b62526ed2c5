//! Time zones by name.

use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};

/// The zone of a name: one of the IANA database, or `GMT+05:30`, `UTC-3`, `+02:00`, `Z`.
///
/// The database is part of the program, so that names mean the same on every machine and nothing
/// is read from disk. Java takes a name that it does not know as GMT without a word; here it is
/// refused.
pub fn time_zone(name: &str) -> Option<TimeZone> {
    if let Ok(zone) = TimeZoneDatabase::bundled().get(name) {
        return Some(zone);
    }
    let offset = ["GMT", "UTC", "UT"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name);
    if matches!(offset, "" | "Z") {
        return (!name.is_empty()).then_some(TimeZone::UTC);
    }
    let (sign, digits) = match offset.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = digits.split_once(':').unwrap_or((digits, "0"));
    let in_range = |text: &str, max: i32| {
        let short = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<i32>()
            .ok()
            .filter(|value| short && *value <= max)
    };
    let seconds = in_range(hours, 18)? * 3600 + in_range(minutes, 59)? * 60;
    Offset::from_seconds(sign * seconds)
        .ok()
        .map(TimeZone::fixed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_and_offsets_are_zones() {
        for name in [
            "UTC",
            "Etc/UTC",
            "GMT",
            "Z",
            "Europe/Prague",
            "Asia/Shanghai",
            "GMT+08:00",
            "UTC-3",
            "+05:30",
        ] {
            assert!(time_zone(name).is_some(), "{name}");
        }
        let zone = time_zone("GMT+05:30").unwrap();
        assert_eq!(zone.to_fixed_offset().unwrap().seconds(), 19_800);
    }

    #[test]
    fn other_names_are_none() {
        for name in [
            "",
            "Mars/Olympus",
            "GMT+",
            "GMT+25:00",
            "GMT+5:60",
            "+123",
            "GMT+1:",
            "GMT+é",
        ] {
            assert_eq!(time_zone(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_names_never_panic(name in ".{0,12}") {
            let _ = time_zone(&name);
        }
    }
}
