//! Partitions by time: which exist, which go, which may be made.
//!
//! Values are compared as text, which is the order of their times because a pattern has fixed
//! widths. With retention 2 and days, on the 8th the 6th and later stay.

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};

use super::super::options::{AutoPartitionConfig, TimeUnit};
use super::{HISTORICAL, PartitionError, PartitionValues, TimePattern, time_zone};

/// How a table's partitions follow the time.
#[derive(Debug, Clone)]
pub struct AutoPartition {
    enabled: bool,
    /// Place of the time key among the partition keys.
    key: usize,
    unit: TimeUnit,
    pattern: TimePattern,
    zone: TimeZone,
    num_precreate: i32,
    num_retention: i32,
}

impl AutoPartition {
    /// The rules of a partitioned table, if its partitions follow the time: when auto partitioning
    /// is on, or off with a form of values still given.
    ///
    /// # Errors
    /// The text says what does not fit: the form, the zone, or the time key.
    pub fn new(
        config: &AutoPartitionConfig,
        partition_keys: &[String],
        default_zone: &str,
    ) -> Result<Option<Self>, String> {
        if partition_keys.is_empty() || (!config.enabled && config.time_format.is_none()) {
            return Ok(None);
        }
        let unit = config.time_unit;
        let pattern = match &config.time_format {
            Some(text) => TimePattern::parse(text, unit)
                .map_err(|reason| format!("time format '{text}' {reason}"))?,
            None => TimePattern::digits(unit),
        };
        let zone = config.time_zone.as_deref().unwrap_or(default_zone);
        let zone = time_zone(zone).ok_or_else(|| format!("time zone '{zone}' is unknown"))?;
        let key = match &config.key {
            Some(key) => partition_keys
                .iter()
                .position(|name| name == key)
                .ok_or_else(|| format!("auto partition key '{key}' is no partition key"))?,
            None => 0,
        };
        let AutoPartitionConfig {
            enabled,
            num_precreate,
            num_retention,
            ..
        } = *config;
        Ok(Some(AutoPartition {
            enabled,
            key,
            unit,
            pattern,
            zone,
            num_precreate,
            num_retention,
        }))
    }

    /// The value of the period that lies `offset` units after that of `now_ms`. `None` beyond the
    /// years 1 to 9999.
    pub fn value_at(&self, now_ms: i64, offset: i64) -> Option<String> {
        let now: Zoned = Timestamp::from_millisecond(now_ms)
            .ok()?
            .to_zoned(self.zone.clone());
        let span = Span::new();
        let span = match self.unit {
            TimeUnit::Year => span.try_years(offset),
            TimeUnit::Quarter => span.try_months(offset.checked_mul(3)?),
            TimeUnit::Month => span.try_months(offset),
            TimeUnit::Day => span.try_days(offset),
            TimeUnit::Hour => span.try_hours(offset),
        };
        let time = now.checked_add(span.ok()?).ok()?.datetime();
        (time.year() >= 1).then(|| self.pattern.format(time))
    }

    /// The values that should exist now, the current period first. Empty when auto partitioning is
    /// off. To spread load, Fluss asks for days with a time that lies a fixed random part of a day
    /// in the past, except right after a table was made.
    pub fn values_to_create(&self, now_ms: i64) -> impl Iterator<Item = String> + '_ {
        let count = if self.enabled {
            i64::from(self.num_precreate)
        } else {
            0
        };
        (0..count).map_while(move |offset| self.value_at(now_ms, offset))
    }

    /// The earliest value that retention keeps; `None` when it keeps all. A negative retention
    /// keeps all, also at creation, where Fluss takes it as a time ahead and refuses today.
    pub fn earliest_kept(&self, now_ms: i64) -> Option<String> {
        if !self.enabled || self.num_retention < 0 {
            return None;
        }
        self.value_at(now_ms, -i64::from(self.num_retention))
    }

    /// True when a partition's time lies before `earliest`, which [`Self::earliest_kept`] gave.
    /// Values that are no times, from before auto partitioning was switched on, stay.
    pub fn is_expired(&self, values: &PartitionValues, earliest: &str) -> bool {
        let expired = |value: &String| {
            value != HISTORICAL && value.as_str() < earliest && self.pattern.accepts(value)
        };
        values.values().get(self.key).is_some_and(expired)
    }

    /// Checks a partition that a client wants to make.
    ///
    /// # Errors
    /// Its time is none, or retention would drop it at once.
    pub fn check_new(&self, values: &PartitionValues, now_ms: i64) -> Result<(), PartitionError> {
        let value = values.values().get(self.key).map_or("", String::as_str);
        if !self.pattern.accepts(value) {
            return Err(PartitionError::TimeFormat {
                value: value.to_owned(),
                pattern: self.pattern.as_str().to_owned(),
            });
        }
        match self.earliest_kept(now_ms) {
            Some(earliest) if value < earliest.as_str() => Err(PartitionError::OutOfDate {
                value: value.to_owned(),
                earliest,
            }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::options::TableConfig;
    use super::*;

    /// 2024-02-29T23:30:00Z.
    const LEAP_EVENING: i64 = 1_709_249_400_000;

    fn auto(options: &[(&str, &str)], keys: &[&str]) -> Result<Option<AutoPartition>, String> {
        let mut properties: std::collections::BTreeMap<String, String> =
            [("table.auto-partition.enabled".to_owned(), "true".to_owned())].into();
        properties.extend(
            options
                .iter()
                .map(|(key, value)| (format!("table.auto-partition.{key}"), (*value).to_owned())),
        );
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        AutoPartition::new(
            &TableConfig::parse(&properties).unwrap().auto_partition,
            &keys,
            "UTC",
        )
    }

    fn values(values: &[&str]) -> PartitionValues {
        PartitionValues::new(values.iter().map(|value| (*value).to_owned()).collect())
    }

    #[test]
    fn values_are_those_that_java_makes() {
        for line in include_str!("../golden/auto_partition_names.txt").lines() {
            let [zone, unit, at, offset, expected] = line.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{line}")
            };
            let auto = auto(&[("time-unit", unit), ("time-zone", zone)], &["dt"])
                .unwrap()
                .unwrap();
            let value = auto.value_at(at.parse().unwrap(), offset.parse().unwrap());
            assert_eq!(value.as_deref(), Some(expected), "{line}");
        }
    }

    #[test]
    fn the_current_period_and_those_ahead_are_created() {
        let auto = auto(&[], &["dt"]).unwrap().unwrap();
        assert_eq!(
            auto.values_to_create(LEAP_EVENING).collect::<Vec<_>>(),
            ["20240229", "20240301"]
        );
    }

    #[test]
    fn retention_keeps_a_number_of_past_periods() {
        let auto = auto(&[("num-retention", "2")], &["dt"]).unwrap().unwrap();
        let earliest = auto.earliest_kept(LEAP_EVENING).unwrap();
        assert_eq!(earliest, "20240227");
        assert!(auto.is_expired(&values(&["20240226"]), &earliest));
        assert!(!auto.is_expired(&values(&["20240227"]), &earliest));
        assert!(!auto.is_expired(&values(&[HISTORICAL]), &earliest));
        assert!(!auto.is_expired(&values(&["1"]), &earliest), "no time");
    }

    #[test]
    fn the_time_key_may_be_any_of_several() {
        let auto = auto(&[("key", "dt"), ("num-precreate", "0")], &["region", "dt"])
            .unwrap()
            .unwrap();
        assert_eq!(auto.values_to_create(LEAP_EVENING).count(), 0);
        let earliest = auto.earliest_kept(LEAP_EVENING).unwrap();
        assert!(auto.is_expired(&values(&["eu", "20240101"]), &earliest));
        assert!(
            auto.check_new(&values(&["eu", "20240229"]), LEAP_EVENING)
                .is_ok()
        );
        assert!(
            auto.check_new(&values(&["20240229", "eu"]), LEAP_EVENING)
                .is_err()
        );
    }

    #[test]
    fn new_partitions_are_times_that_are_kept() {
        let auto_days = auto(&[], &["dt"]).unwrap().unwrap();
        assert_eq!(
            auto_days.check_new(&values(&["20240221"]), LEAP_EVENING),
            Err(PartitionError::OutOfDate {
                value: "20240221".into(),
                earliest: "20240222".into()
            })
        );
        assert!(
            auto_days
                .check_new(&values(&["20990101"]), LEAP_EVENING)
                .is_ok()
        );
        assert!(matches!(
            auto_days.check_new(&values(&["today"]), LEAP_EVENING),
            Err(PartitionError::TimeFormat { .. })
        ));
        let for_ever = auto(&[("num-retention", "-1")], &["dt"]).unwrap().unwrap();
        assert!(
            for_ever
                .check_new(&values(&["00010101"]), LEAP_EVENING)
                .is_ok()
        );
    }

    #[test]
    fn a_form_binds_also_while_auto_partitioning_is_off() {
        let off = auto(
            &[("enabled", "false"), ("time-format", "yyyy-MM-dd")],
            &["dt"],
        )
        .unwrap()
        .unwrap();
        assert_eq!(off.values_to_create(LEAP_EVENING).count(), 0);
        assert_eq!(off.earliest_kept(LEAP_EVENING), None);
        assert!(
            off.check_new(&values(&["1999-01-01"]), LEAP_EVENING)
                .is_ok()
        );
        assert!(off.check_new(&values(&["19990101"]), LEAP_EVENING).is_err());
        assert!(auto(&[("enabled", "false")], &["dt"]).unwrap().is_none());
        assert!(auto(&[], &[]).unwrap().is_none());
    }

    #[test]
    fn what_does_not_fit_is_named() {
        assert!(
            auto(&[("time-zone", "Nowhere")], &["dt"])
                .unwrap_err()
                .contains("'Nowhere' is unknown")
        );
        assert!(
            auto(&[("key", "x")], &["dt"])
                .unwrap_err()
                .contains("'x' is no partition key")
        );
        assert!(
            auto(&[("time-format", "yyyy")], &["dt"])
                .unwrap_err()
                .contains("fields of DAY")
        );
    }

    proptest! {
        #[test]
        fn no_time_and_no_offset_panics(now in any::<i64>(), offset in any::<i64>(), unit in 0usize..5) {
            let unit = TimeUnit::TEXTS[unit];
            let auto = auto(&[("time-unit", unit), ("num-retention", "2147483647")], &["dt"]).unwrap().unwrap();
            let _ = auto.value_at(now, offset);
            let _ = auto.earliest_kept(now);
        }

        #[test]
        fn values_sort_as_their_times(now in 0i64..4_000_000_000_000, a in -500i64..500, b in -500i64..500) {
            for unit in TimeUnit::TEXTS {
                let auto = auto(&[("time-unit", unit)], &["dt"]).unwrap().unwrap();
                let (left, right) = (auto.value_at(now, a).unwrap(), auto.value_at(now, b).unwrap());
                prop_assert_eq!(left.cmp(&right), a.cmp(&b));
            }
        }
    }
}
