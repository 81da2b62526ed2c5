//! The settings of one topic or table: what it says itself, else what the broker says.

use std::collections::BTreeMap;
use std::time::Duration;

pub use protocol::kafka::batch::TimestampType;
use protocol::kafka::partitioner::KeyPartitioner;
pub use storage::kv::topic::Owner;
pub use storage::log::FlushMode;
use storage::log::LogConfig;
use storage::log::cleaner::CompactionConfig;

use super::key::{Key, Kind};
use super::keys;
use super::parts::ProducerConfig;
use super::settings::Config;
use super::value::{Spelling, Value};

/// What happens to old records.
pub const CLEANUP_POLICY: &str = "cleanup.policy";
/// How the producers of a compacted topic choose partitions.
pub const KEY_PARTITIONER: &str = "vltava.key.partitioner";

/// The settings of one topic or table. A Fluss table's settings arrive here under Kafka's names;
/// see [`TopicConfig::setting_of_property`].
#[derive(Debug, Clone, PartialEq)]
pub struct TopicConfig {
    /// Closed segments are deleted by age and size; else they stay for ever.
    pub deletes: bool,
    /// The log is compacted: the newest record of each key stays, and the topic is a table with a
    /// key.
    pub compacts: bool,
    /// How, if it is.
    pub compaction: CompactionConfig,
    /// Where the value of a key is, in a topic that is compacted.
    pub key_owner: Owner,
    /// Age at which closed segments are deleted, milliseconds. `None`: never.
    pub retention_ms: Option<i64>,
    /// Size of the log above which closed segments are deleted. `None`: no limit.
    pub retention_bytes: Option<u64>,
    /// Size at which a new segment begins.
    pub segment_bytes: u64,
    /// Age at which a new segment begins, milliseconds.
    pub segment_ms: i64,
    /// Largest random time by which a segment is closed earlier, milliseconds.
    pub segment_jitter_ms: i64,
    /// Largest index file.
    pub index_bytes_max: u64,
    /// Bytes between two entries of the offset index.
    pub index_interval_bytes: u64,
    /// How long the file of a deleted segment stays, milliseconds.
    pub file_delete_delay_ms: i64,
    /// What an acknowledged write promises.
    pub flush_mode: FlushMode,
    /// In page-cache mode, records after which the log is synced.
    pub flush_records: i64,
    /// In page-cache mode, time after which the log is synced, milliseconds.
    pub flush_ms: i64,
    /// Largest batch.
    pub batch_bytes_max: usize,
    /// Compression of batches on disk.
    pub compression: Compression,
    /// Whose time a record carries.
    pub timestamp_type: TimestampType,
    /// How far a producer's time may lie before the broker's, milliseconds.
    pub timestamp_before_max_ms: i64,
    /// How far a producer's time may lie after the broker's, milliseconds.
    pub timestamp_after_max_ms: i64,
    /// Replicas that a write with acks=all needs; there is one.
    pub insync_replicas_min: u32,
    /// When columnar copies are made.
    pub columnar: Columnar,
    /// Records of Kafka producers write the columns that they have into a primary-key table.
    pub partial_update: bool,
}

/// Compression of batches on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// As the producer sent them.
    Producer,
    /// None.
    Uncompressed,
    /// gzip; `None` is its default level.
    Gzip {
        /// 1 to 9.
        level: Option<u32>,
    },
    /// snappy.
    Snappy,
    /// lz4.
    Lz4,
    /// zstd.
    Zstd {
        /// Up to 22; negative levels are faster.
        level: i32,
    },
}

/// Which clock the age of records is judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetentionClock {
    /// The records' own time: topics made on the Kafka wire.
    RecordTime,
    /// The broker's time of the commit: tables made on the Fluss wire.
    CommitTime,
}

/// When columnar copies of closed spans are made for Fluss readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Columnar {
    /// Never.
    Off,
    /// On the first read.
    Lazy,
    /// When a segment is closed.
    Eager,
}

/// Why the settings of a topic are refused. The texts go to Kafka clients.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicConfigError {
    /// No setting of a topic has this name (Kafka: INVALID_CONFIG).
    #[error("Unknown topic config name: {name}")]
    Unknown {
        /// The name.
        name: String,
    },
    /// The value does not fit (Kafka: INVALID_CONFIG).
    #[error("Invalid value {value} for configuration {name}: {reason}")]
    Value {
        /// The setting.
        name: String,
        /// What was given.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The settings do not go together, or the broker lacks what they need (Kafka:
    /// INVALID_CONFIG).
    #[error("{reason}")]
    Conflict {
        /// Which, and why.
        reason: String,
    },
}

impl TopicConfig {
    /// The settings of a topic that sets `overrides` itself.
    pub fn new(
        config: &Config,
        overrides: &BTreeMap<String, String>,
    ) -> Result<Self, TopicConfigError> {
        let own = parse(overrides)?;
        let view = View { config, own: &own };
        check_together(&view)?;
        let policy = view.list(CLEANUP_POLICY);
        Ok(Self {
            deletes: policy.iter().any(|policy| policy == "delete"),
            compacts: policy.iter().any(|policy| policy == "compact"),
            compaction: view.compaction(),
            key_owner: match view.text(KEY_PARTITIONER).as_str() {
                "murmur2" => Owner::Known(KeyPartitioner::Murmur2),
                "crc32" => Owner::Known(KeyPartitioner::Crc32),
                "fnv1a" => Owner::Known(KeyPartitioner::Fnv1a),
                _ => Owner::Probe,
            },
            retention_ms: Some(view.integer("retention.ms")).filter(|ms| *ms >= 0),
            retention_bytes: u64::try_from(view.integer("retention.bytes")).ok(),
            segment_bytes: view.count("segment.bytes"),
            segment_ms: view.integer("segment.ms"),
            segment_jitter_ms: view.integer("segment.jitter.ms"),
            index_bytes_max: view.count("segment.index.bytes"),
            index_interval_bytes: view.count("index.interval.bytes"),
            file_delete_delay_ms: view.integer("file.delete.delay.ms"),
            flush_mode: match view.text("flush.mode").as_str() {
                "page-cache" => FlushMode::PageCache,
                _ => FlushMode::Fsync,
            },
            flush_records: view.integer("flush.messages"),
            flush_ms: view.integer("flush.ms"),
            batch_bytes_max: usize::try_from(view.integer("max.message.bytes"))
                .unwrap_or(usize::MAX),
            compression: view.compression(),
            timestamp_type: TimestampType::from_name(&view.text("message.timestamp.type"))
                .unwrap_or(TimestampType::CreateTime),
            timestamp_before_max_ms: view.integer("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: view.integer("message.timestamp.after.max.ms"),
            insync_replicas_min: u32::try_from(view.integer("min.insync.replicas"))
                .unwrap_or(u32::MAX),
            columnar: match view.text("vltava.columnar").as_str() {
                "off" => Columnar::Off,
                "eager" => Columnar::Eager,
                _ => Columnar::Lazy,
            },
            partial_update: view.value("vltava.kafka.partial.update") == Value::Boolean(true),
        })
    }

    /// The settings of each of the topic's logs. The age of a topic's records is judged by their
    /// own time, that of a Fluss table's rows by the time of their commit.
    pub fn log(&self, retention: RetentionClock, producers: &ProducerConfig) -> LogConfig {
        let by = |clock| {
            self.retention_ms
                .filter(|_| self.deletes && retention == clock)
        };
        let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        LogConfig {
            segment_bytes_max: self.segment_bytes,
            segment_ms_max: Some(match self.compaction.lag_max_ms {
                // As in Kafka: what is in the active segment cannot be cleaned.
                Some(lag) if self.compacts => self.segment_ms.min(lag),
                _ => self.segment_ms,
            }),
            compaction: self.compacts.then_some(self.compaction),
            index_interval_bytes: u32::try_from(self.index_interval_bytes).unwrap_or(u32::MAX),
            flush_mode: self.flush_mode,
            retention_ms: by(RetentionClock::RecordTime),
            retention_bytes: self.retention_bytes.filter(|_| self.deletes),
            ttl_ms: by(RetentionClock::CommitTime),
            kafka_producer_expiry_ms: millis(producers.kafka_expiration),
            fluss_writer_expiry_ms: millis(producers.fluss_expiration),
            ..LogConfig::default()
        }
    }

    /// The topic setting that says the same as a Fluss table property, with its value, or `None`
    /// when the property has no counterpart: `table.log.ttl = 7 d` is `retention.ms = 604800000`.
    pub fn setting_of_property(property: &str, value: &str) -> Option<(&'static str, String)> {
        let key = keys::topic()
            .iter()
            .find(|key| key.fluss == Some(property))?;
        let Ok(Value::Integer(ms)) = key.kind.parse(value, Spelling::Friendly) else {
            return None;
        };
        // Fluss keeps data for ever when the time is not above 0; Kafka would delete it at once.
        Some((key.name, if ms <= 0 { -1 } else { ms }.to_string()))
    }

    /// The other way round: `retention.ms = 604800000` is `table.log.ttl = 7 d`.
    pub fn property_of_setting(name: &str, value: &str) -> Option<(&'static str, String)> {
        let key = keys::find_topic(name)?;
        let parsed = key.kind.parse(value, Spelling::Kafka).ok()?;
        let spelled = match parsed {
            Value::Integer(ms) if ms < 0 => "0 ms".to_owned(),
            Value::Integer(0) => "1 ms".to_owned(),
            value => value.to_fluss(&key.kind)?,
        };
        Some((key.fluss?, spelled))
    }
}

/// Reads and checks each value by itself.
fn parse(
    overrides: &BTreeMap<String, String>,
) -> Result<BTreeMap<&'static str, Value>, TopicConfigError> {
    overrides
        .iter()
        .map(|(name, text)| {
            let key = keys::find_topic(name)
                .ok_or_else(|| TopicConfigError::Unknown { name: name.clone() })?;
            let value = key.kind.parse(text, Spelling::Kafka).map_err(|reason| {
                TopicConfigError::Value {
                    name: name.clone(),
                    value: text.clone(),
                    reason: reason.to_string(),
                }
            })?;
            Ok((key.name, value))
        })
        .collect()
}

/// Checks what the values are together, and what this broker lacks.
fn check_together(view: &View<'_>) -> Result<(), TopicConfigError> {
    if view.value("remote.storage.enable") == Value::Boolean(true) {
        return Err(TopicConfigError::Conflict {
            reason: "remote.storage.enable: tiered storage is disabled in the broker".into(),
        });
    }
    let (min, max) = (
        view.integer("min.compaction.lag.ms"),
        view.integer("max.compaction.lag.ms"),
    );
    if min > max {
        return Err(TopicConfigError::Conflict {
            reason: format!(
                "conflict topic config setting min.compaction.lag.ms ({min}) > \
                 max.compaction.lag.ms ({max})"
            ),
        });
    }
    Ok(())
}

/// A topic's own values before the broker's.
struct View<'a> {
    config: &'a Config,
    own: &'a BTreeMap<&'static str, Value>,
}

impl View<'_> {
    fn value(&self, name: &str) -> Value {
        let key = keys::find_topic(name).expect("a test reads every field");
        match self.own.get(key.name) {
            Some(value) => value.clone(),
            None => inherited(self.config, key),
        }
    }

    fn integer(&self, name: &str) -> i64 {
        match self.value(name) {
            Value::Integer(value) => value,
            _ => 0,
        }
    }

    fn count(&self, name: &str) -> u64 {
        u64::try_from(self.integer(name)).unwrap_or(0)
    }

    fn text(&self, name: &str) -> String {
        self.value(name).to_kafka().unwrap_or_default()
    }

    fn list(&self, name: &str) -> Vec<String> {
        match self.value(name) {
            Value::List(values) => values,
            _ => Vec::new(),
        }
    }

    /// How a log is compacted that is.
    fn compaction(&self) -> CompactionConfig {
        CompactionConfig {
            dirty_ratio_min: match self.value("min.cleanable.dirty.ratio") {
                Value::Double(ratio) => ratio,
                _ => 0.5,
            },
            lag_min_ms: self.integer("min.compaction.lag.ms"),
            lag_max_ms: Some(self.integer("max.compaction.lag.ms")).filter(|ms| *ms < i64::MAX),
            delete_retention_ms: self.integer("delete.retention.ms"),
        }
    }

    fn compression(&self) -> Compression {
        let level = |name| i32::try_from(self.integer(name)).unwrap_or(0);
        match self.text("compression.type").as_str() {
            "uncompressed" => Compression::Uncompressed,
            "gzip" => Compression::Gzip {
                level: u32::try_from(level("compression.gzip.level")).ok(),
            },
            "snappy" => Compression::Snappy,
            "lz4" => Compression::Lz4,
            "zstd" => Compression::Zstd {
                level: level("compression.zstd.level"),
            },
            _ => Compression::Producer,
        }
    }
}

/// What a topic has that does not say: the first broker setting that is set, in the topic's unit.
pub(super) fn inherited(config: &Config, key: &Key) -> Value {
    for name in key.inherits {
        match (config.value(name), &key.kind) {
            (Value::Unset, _) => {}
            (Value::Integer(_), Kind::Integer { .. }) => {
                let value = config.millis(name).or_else(|| config.integer(name));
                return Value::Integer(value.unwrap_or_default());
            }
            (value, _) => return value.clone(),
        }
    }
    key.default.map_or(Value::Unset, |text| {
        key.kind
            .parse(text, Spelling::Kafka)
            .expect("a test parses every default of the table")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn overrides(settings: &[(&str, &str)]) -> BTreeMap<String, String> {
        settings
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect()
    }

    fn topic(settings: &[(&str, &str)]) -> Result<TopicConfig, TopicConfigError> {
        TopicConfig::new(&Config::default(), &overrides(settings))
    }

    fn refusal(settings: &[(&str, &str)]) -> String {
        topic(settings).expect_err("refused").to_string()
    }

    #[test]
    fn a_topic_that_says_nothing_has_kafkas_defaults() {
        let config = topic(&[]).expect("sound");
        assert!(config.deletes);
        assert_eq!(config.retention_ms, Some(604_800_000));
        assert_eq!(config.retention_bytes, None);
        assert_eq!(config.segment_bytes, 1 << 30);
        assert_eq!(config.segment_ms, 604_800_000);
        assert_eq!(config.flush_ms, i64::MAX);
        assert_eq!(config.batch_bytes_max, 1_048_588);
        assert_eq!(config.compression, Compression::Producer);
        assert_eq!(config.timestamp_after_max_ms, 3_600_000);
        assert_eq!(config.flush_mode, FlushMode::Fsync);
    }

    #[test]
    fn a_topic_inherits_from_the_broker_and_overrides_it() {
        let broker = Config::with([
            ("log.retention.minutes", "2"),
            ("log.segment.bytes", "120"),
            ("flush.mode", "page-cache"),
            ("compression.type", "zstd"),
            ("compression.zstd.level", "7"),
        ])
        .expect("sound");
        let inherited = TopicConfig::new(&broker, &overrides(&[])).expect("sound");
        assert_eq!(inherited.retention_ms, Some(120_000));
        assert_eq!(inherited.segment_bytes, 120);
        assert_eq!(inherited.flush_mode, FlushMode::PageCache);
        assert_eq!(inherited.compression, Compression::Zstd { level: 7 });

        let own = overrides(&[("retention.ms", "-1"), ("flush.mode", "fsync")]);
        let own = TopicConfig::new(&broker, &own).expect("sound");
        assert_eq!(own.retention_ms, None);
        assert_eq!(own.flush_mode, FlushMode::Fsync);
    }

    #[test]
    fn a_topic_is_compacted_or_cut_or_both_or_kept() {
        for (policy, compacts, deletes) in [
            ("compact", true, false),
            ("delete", false, true),
            ("delete,compact", true, true),
            ("compact, delete", true, true),
            ("", false, false),
        ] {
            let config = topic(&[(CLEANUP_POLICY, policy)]).expect("as in Kafka 4.3");
            assert_eq!((config.compacts, config.deletes), (compacts, deletes));
        }
        let broker = Config::with([("log.cleanup.policy", "compact")]).expect("sound");
        let inherited = TopicConfig::new(&broker, &overrides(&[])).expect("sound");
        assert!(inherited.compacts && !inherited.deletes);
    }

    #[test]
    fn keys_are_where_the_producers_put_them() {
        let owner = |settings: &[_]| topic(settings).map(|config| config.key_owner);
        assert_eq!(owner(&[]), Ok(Owner::Probe));
        for (name, function) in [
            ("murmur2", KeyPartitioner::Murmur2),
            ("crc32", KeyPartitioner::Crc32),
            ("fnv1a", KeyPartitioner::Fnv1a),
        ] {
            assert_eq!(
                owner(&[(KEY_PARTITIONER, name)]),
                Ok(Owner::Known(function))
            );
        }
        assert!(owner(&[(KEY_PARTITIONER, "java")]).is_err());
    }

    #[test]
    fn refusals_are_worded_as_kafka_words_them() {
        assert_eq!(refusal(&[("foo", "1")]), "Unknown topic config name: foo");
        assert_eq!(
            refusal(&[("retention.ms", "-2")]),
            "Invalid value -2 for configuration retention.ms: Value must be at least -1"
        );
        assert_eq!(
            refusal(&[("segment.bytes", "100")]),
            "Invalid value 100 for configuration segment.bytes: Value must be at least 1048576"
        );
        assert_eq!(
            refusal(&[
                ("min.compaction.lag.ms", "100"),
                ("max.compaction.lag.ms", "50")
            ]),
            "conflict topic config setting min.compaction.lag.ms (100) > max.compaction.lag.ms (50)"
        );
        assert!(refusal(&[("remote.storage.enable", "true")]).contains("tiered storage"));
        assert!(refusal(&[("message.format.version", "3.0")]).starts_with("Unknown"));
    }

    #[test]
    fn what_changes_nothing_is_taken() {
        let harmless = [
            ("preallocate", "TRUE"),
            ("unclean.leader.election.enable", "true"),
            ("leader.replication.throttled.replicas", "0:1,1:2"),
            ("follower.replication.throttled.replicas", "*"),
            ("local.retention.ms", "-1"),
            ("delete.retention.ms", " 5 "),
            ("compression.gzip.level", "-1"),
            ("retention.bytes", "-5"),
        ];
        topic(&harmless).expect("Kafka takes them");
        assert!(topic(&[("leader.replication.throttled.replicas", "x")]).is_err());
    }

    #[test]
    fn the_time_of_a_fluss_table_is_the_retention_of_its_topic() {
        let setting = |value| TopicConfig::setting_of_property("table.log.ttl", value);
        assert_eq!(setting("7 d"), Some(("retention.ms", "604800000".into())));
        assert_eq!(setting("0 ms"), Some(("retention.ms", "-1".into())));
        assert_eq!(
            TopicConfig::setting_of_property("table.kv.format", "INDEXED"),
            None
        );
        let property = |value| TopicConfig::property_of_setting("retention.ms", value);
        assert_eq!(property("604800000"), Some(("table.log.ttl", "7 d".into())));
        assert_eq!(property("-1"), Some(("table.log.ttl", "0 ms".into())));
        assert_eq!(TopicConfig::property_of_setting("segment.ms", "1"), None);
    }

    #[test]
    fn a_log_is_cut_by_one_clock_and_not_at_all_without_the_policy() {
        let producers = Config::default().producers();
        let log = |settings: &[_], clock| topic(settings).expect("sound").log(clock, &producers);
        let ages = |log: LogConfig| (log.retention_ms, log.ttl_ms);
        let day = [("retention.ms", "86400000"), ("retention.bytes", "5")];
        assert_eq!(
            ages(log(&day, RetentionClock::RecordTime)),
            (Some(86_400_000), None)
        );
        assert_eq!(
            ages(log(&day, RetentionClock::CommitTime)),
            (None, Some(86_400_000))
        );
        let keep = [("cleanup.policy", ""), ("retention.bytes", "5")];
        let forever = log(&keep, RetentionClock::RecordTime);
        assert_eq!(
            (ages(forever.clone()), forever.retention_bytes),
            ((None, None), None)
        );
        assert_eq!(log(&[], RetentionClock::RecordTime), LogConfig::default());
    }

    proptest! {
        #[test]
        fn no_text_makes_a_setting_panic(index in 0..keys::topic().len(), text in ".{0,40}") {
            let name = keys::topic()[index].name;
            let _ = topic(&[(name, &text)]);
            let _ = Config::with([("listeners", text.as_str())]);
            let _ = Config::with([("log.segment.bytes", text.as_str())]);
        }
    }
}
