//! What the wires are told about settings.

use std::collections::BTreeMap;

use super::key::{Key, Kind, Width};
use super::keys;
use super::settings::{Config, Source};
use super::topic::inherited;
use super::value::{Spelling, Value};

/// A setting as Kafka's DescribeConfigs shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct KafkaEntry {
    /// The name.
    pub name: &'static str,
    /// The value that counts; `None` when unset or secret.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: KafkaSource,
    /// Never shown.
    pub secret: bool,
    /// Cannot be changed by a client.
    pub read_only: bool,
    /// Kafka's number of the type.
    pub kind: i8,
    /// What it is.
    pub documentation: &'static str,
    /// All values in order of precedence, with the names they are set under.
    pub synonyms: Vec<KafkaSynonym>,
}

/// One value of a setting in [`KafkaEntry::synonyms`].
#[derive(Debug, Clone, PartialEq)]
pub struct KafkaSynonym {
    /// The name it is set under.
    pub name: &'static str,
    /// The value; `None` when secret.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: KafkaSource,
}

/// Kafka's sources of a value, with their numbers on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
#[expect(missing_docs, reason = "Kafka's own names")]
pub enum KafkaSource {
    Topic = 1,
    DynamicBroker = 2,
    DynamicDefaultBroker = 3,
    StaticBroker = 4,
    Default = 5,
}

impl KafkaSource {
    /// The number on the wire.
    pub fn code(self) -> i8 {
        self as i8
    }
}

/// A setting as Fluss's DescribeClusterConfigs shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlussEntry {
    /// The name.
    pub name: &'static str,
    /// The value; hidden when secret.
    pub value: String,
    /// Set by a client, rather than at the start.
    pub dynamic: bool,
}

/// What Fluss shows instead of a secret.
const HIDDEN: &str = "******";

impl Config {
    /// The broker's settings for Kafka clients.
    pub fn describe_broker(&self) -> Vec<KafkaEntry> {
        keys::broker()
            .filter(|key| shown_to_kafka(key))
            .map(|key| self.broker_entry(key))
            .collect()
    }

    /// What clients have set for all brokers, for Kafka clients that ask for the cluster's
    /// defaults.
    pub fn describe_cluster_defaults(&self) -> Vec<KafkaEntry> {
        let mut entries = self.describe_broker();
        entries.retain_mut(|entry| {
            entry
                .synonyms
                .retain(|synonym| synonym.source == KafkaSource::DynamicDefaultBroker);
            let Some(synonym) = entry.synonyms.first() else {
                return false;
            };
            entry.value.clone_from(&synonym.value);
            entry.source = synonym.source;
            true
        });
        entries
    }

    /// The settings of a topic that sets `overrides` itself, for Kafka clients.
    pub fn describe_topic(&self, overrides: &BTreeMap<String, String>) -> Vec<KafkaEntry> {
        keys::topic()
            .iter()
            .map(|key| {
                let own = overrides.get(key.name).map(|text| KafkaSynonym {
                    name: key.name,
                    value: Some(canonical(key, text)),
                    source: KafkaSource::Topic,
                });
                let value = match &own {
                    Some(own) => own.value.clone(),
                    None => inherited(self, key).to_kafka(),
                };
                let inherits: Vec<_> = key
                    .inherits
                    .iter()
                    .filter_map(|name| keys::find_broker(name))
                    .collect();
                entry(
                    key,
                    value,
                    own.into_iter().chain(self.synonyms(&inherits)).collect(),
                )
            })
            .collect()
    }

    /// The broker's settings for Fluss clients.
    pub fn describe_for_fluss(&self) -> Vec<FlussEntry> {
        keys::broker()
            .filter(|key| key.fluss.is_some() || key.kafka.is_none())
            .filter_map(|key| {
                let setting = self.stack(key).next()?;
                let shown = setting.value.to_fluss(&key.kind)?;
                Some(FlussEntry {
                    name: key.fluss.unwrap_or(key.name),
                    value: if key.secret { HIDDEN.to_owned() } else { shown },
                    dynamic: matches!(setting.source, Source::Dynamic | Source::DynamicDefault),
                })
            })
            .collect()
    }

    fn broker_entry(&self, key: &'static Key) -> KafkaEntry {
        let synonyms = self.synonyms(&[key]);
        let value = synonyms.first().and_then(|synonym| synonym.value.clone());
        entry(key, value, synonyms)
    }

    /// The values of these settings: what clients set for this broker, for all, what was given at
    /// the start, the defaults.
    fn synonyms(&self, names: &[&'static Key]) -> Vec<KafkaSynonym> {
        let mut all: Vec<_> = names
            .iter()
            .flat_map(|key| self.stack(key).map(move |setting| (*key, setting)))
            .filter(|(_, setting)| setting.value != Value::Unset)
            .map(|(key, setting)| KafkaSynonym {
                name: key.kafka.unwrap_or(key.name),
                value: setting.value.to_kafka().filter(|_| !key.secret),
                source: kafka_source(&setting.source),
            })
            .collect();
        // Stable: within a source, the order of the names stays.
        all.sort_by_key(|synonym| synonym.source.code());
        all
    }
}

fn entry(key: &'static Key, value: Option<String>, synonyms: Vec<KafkaSynonym>) -> KafkaEntry {
    KafkaEntry {
        name: key.kafka.unwrap_or(key.name),
        value,
        source: synonyms
            .first()
            .map_or(KafkaSource::Default, |synonym| synonym.source),
        secret: key.secret,
        read_only: !key.dynamic,
        kind: kafka_type(key),
        documentation: key.about,
        synonyms,
    }
}

/// Settings of Fluss alone are not Kafka's business; ours are everybody's.
fn shown_to_kafka(key: &Key) -> bool {
    key.kafka.is_some() || key.fluss.is_none()
}

/// A stored value as Kafka would print it: ` 5 ` is `5`.
fn canonical(key: &Key, text: &str) -> String {
    let parsed = key.kind.parse(text, Spelling::Kafka).ok();
    parsed
        .and_then(|value| value.to_kafka())
        .unwrap_or_else(|| text.to_owned())
}

fn kafka_source(source: &Source) -> KafkaSource {
    match source {
        Source::Default => KafkaSource::Default,
        Source::File(_) | Source::Environment(_) | Source::Flag(_) => KafkaSource::StaticBroker,
        Source::DynamicDefault => KafkaSource::DynamicDefaultBroker,
        Source::Dynamic => KafkaSource::DynamicBroker,
    }
}

fn kafka_type(key: &Key) -> i8 {
    match key.kind {
        Kind::Boolean => 1,
        Kind::Text | Kind::Choice(_) if !key.secret => 2,
        Kind::Integer {
            width: Width::Int, ..
        } => 3,
        Kind::Integer {
            width: Width::Long, ..
        } => 5,
        Kind::Double { .. } => 6,
        Kind::List(_) | Kind::Replicas => 7,
        Kind::Text | Kind::Choice(_) => 9,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find<'a>(entries: &'a [KafkaEntry], name: &str) -> &'a KafkaEntry {
        entries
            .iter()
            .find(|entry| entry.name == name)
            .expect("shown")
    }

    #[test]
    fn a_topics_setting_shows_all_that_it_could_come_from() {
        let config = Config::with([("log.retention.minutes", "5")]).expect("sound");
        let overrides = BTreeMap::from([("retention.ms".to_owned(), " 7 ".to_owned())]);
        let entries = config.describe_topic(&overrides);
        let entry = find(&entries, "retention.ms");
        assert_eq!(
            (entry.value.as_deref(), entry.source),
            (Some("7"), KafkaSource::Topic)
        );
        let synonyms: Vec<_> = entry.synonyms.iter().map(|s| (s.name, s.source)).collect();
        assert_eq!(
            synonyms,
            [
                ("retention.ms", KafkaSource::Topic),
                ("log.retention.minutes", KafkaSource::StaticBroker),
                ("log.retention.hours", KafkaSource::Default),
            ]
        );
        let inherited = config.describe_topic(&BTreeMap::new());
        let entry = find(&inherited, "retention.ms");
        assert_eq!(entry.value.as_deref(), Some("300000"));
        assert_eq!((entry.source, entry.kind), (KafkaSource::StaticBroker, 5));
    }

    #[test]
    fn the_brokers_settings_have_kafkas_names_and_types() {
        let entries = Config::default().describe_broker();
        let entry = find(&entries, "log.dirs");
        assert_eq!(
            (entry.value.as_deref(), entry.kind),
            (Some("vltava-data"), 2)
        );
        assert!(find(&entries, "num.partitions").read_only);
        assert!(!find(&entries, "log.retention.ms").read_only);
        assert_eq!(find(&entries, "log.retention.ms").value, None);
        assert!(!entries.iter().any(|entry| entry.name == "bind.listeners"));
    }

    #[test]
    fn the_clusters_defaults_are_what_clients_set_for_all() {
        let for_all = BTreeMap::from([("log.retention.ms".to_owned(), "5".to_owned())]);
        let config = Config::default()
            .with_dynamic(&for_all, &BTreeMap::new())
            .expect("sound");
        let entries = config.describe_cluster_defaults();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].source, KafkaSource::DynamicDefaultBroker);
    }

    #[test]
    fn fluss_sees_its_own_names_and_units_and_no_secret() {
        let config = Config::with([("security.sasl.plain.credentials", "a:b")]).expect("sound");
        let entries = config.describe_for_fluss();
        let value = |name| {
            entries
                .iter()
                .find(|e| e.name == name)
                .map(|e| e.value.as_str())
        };
        assert_eq!(value("log.segment.file-size"), Some("1 gb"));
        assert_eq!(value("netty.connection.max-idle-time"), Some("10 min"));
        assert_eq!(value("security.sasl.plain.credentials"), Some(HIDDEN));
        assert_eq!(value("num.partitions"), None);
    }
}
