//! The settings of the process, as values with their origin.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;

use super::error::ConfigError;
use super::key::{Key, Unit};
use super::keys;
use super::value::{Spelling, Value};

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The table.
    Default,
    /// A configuration file.
    File(PathBuf),
    /// A variable of the environment.
    Environment(String),
    /// `--set` or a flag of its own.
    Flag(String),
    /// A client, for all brokers.
    DynamicDefault,
    /// A client, for this broker.
    Dynamic,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => write!(f, "the default"),
            Source::File(path) => write!(f, "in {}", path.display()),
            Source::Environment(name) => write!(f, "from the environment variable {name}"),
            Source::Flag(flag) => write!(f, "from {flag}"),
            Source::DynamicDefault => write!(f, "set by a client for all brokers"),
            Source::Dynamic => write!(f, "set by a client"),
        }
    }
}

/// One value with its origin.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// The value.
    pub value: Value,
    /// Where it comes from.
    pub source: Source,
}

/// All settings of the process.
///
/// Parts of the broker do not read it; they are handed their own struct, made by one of the methods
/// here, such as [`Config::network`].
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// What was given at the start, by the setting's own name.
    given: HashMap<&'static str, Setting>,
    /// What clients have set since, for all brokers.
    dynamic_default: HashMap<&'static str, Setting>,
    /// What clients have set since, for this broker.
    dynamic: HashMap<&'static str, Setting>,
    /// The table's defaults.
    defaults: HashMap<&'static str, Setting>,
}

impl Default for Config {
    fn default() -> Self {
        let defaults = keys::broker()
            .map(|key| {
                let value = key.default.map_or(Value::Unset, |text| {
                    key.kind
                        .parse(text, Spelling::Kafka)
                        .expect("a test parses every default of the table")
                });
                (
                    key.name,
                    Setting {
                        value,
                        source: Source::Default,
                    },
                )
            })
            .collect();
        Self {
            given: HashMap::new(),
            dynamic_default: HashMap::new(),
            dynamic: HashMap::new(),
            defaults,
        }
    }
}

impl Config {
    /// The defaults with these settings on top; for tests and tools.
    pub fn with<'a>(
        settings: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        for (name, text) in settings {
            config.give(name, text, Source::Flag(format!("--set {name}")))?;
        }
        Ok(config)
    }

    /// Takes a value of a layer; a later layer wins.
    pub(super) fn give(
        &mut self,
        name: &str,
        text: &str,
        source: Source,
    ) -> Result<&'static Key, ConfigError> {
        let (key, setting) = parse(name, text, source, Spelling::Friendly)?;
        self.given.insert(key.name, setting);
        Ok(key)
    }

    /// The configuration with what clients have set: for all brokers, and for this one.
    pub fn with_dynamic(
        &self,
        for_all: &BTreeMap<String, String>,
        for_this: &BTreeMap<String, String>,
    ) -> Result<Self, ConfigError> {
        let parse_all = |settings: &BTreeMap<String, String>, source: Source| {
            settings
                .iter()
                .map(|(name, text)| {
                    let (key, setting) = parse(name, text, source.clone(), Spelling::Kafka)?;
                    if !key.dynamic {
                        return Err(ConfigError::NotDynamic { name: name.clone() });
                    }
                    Ok((key.name, setting))
                })
                .collect::<Result<HashMap<_, _>, _>>()
        };
        Ok(Self {
            dynamic_default: parse_all(for_all, Source::DynamicDefault)?,
            dynamic: parse_all(for_this, Source::Dynamic)?,
            ..self.clone()
        })
    }

    /// The value that counts.
    pub fn setting(&self, name: &str) -> Option<&Setting> {
        let key = keys::find_broker(name)?;
        self.stack(key).next()
    }

    /// All values of a setting, the one that counts first, the default last.
    pub(super) fn stack<'a>(&'a self, key: &Key) -> impl Iterator<Item = &'a Setting> + use<'a> {
        let name = key.name;
        [
            &self.dynamic,
            &self.dynamic_default,
            &self.given,
            &self.defaults,
        ]
        .into_iter()
        .filter_map(move |layer| layer.get(name))
    }

    /// The value of a setting that the table holds.
    pub(super) fn value(&self, name: &str) -> &Value {
        let setting = self
            .setting(name)
            .expect("a test reads every part's settings");
        &setting.value
    }

    pub(super) fn boolean(&self, name: &str) -> bool {
        matches!(self.value(name), Value::Boolean(true))
    }

    /// A number, or `None` when unset.
    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        match self.value(name) {
            Value::Integer(value) => Some(*value),
            _ => None,
        }
    }

    /// A number that the table gives a default and a limit of 0 or more.
    pub(super) fn count(&self, name: &str) -> usize {
        let value = self.integer(name).unwrap_or_default();
        usize::try_from(value).unwrap_or(usize::MAX)
    }

    pub(super) fn text(&self, name: &str) -> &str {
        match self.value(name) {
            Value::Text(value) => value,
            _ => "",
        }
    }

    pub(super) fn list(&self, name: &str) -> &[String] {
        match self.value(name) {
            Value::List(values) => values,
            _ => &[],
        }
    }

    /// A number in milliseconds, whatever its unit; negative numbers stay as they are.
    pub(super) fn millis(&self, name: &str) -> Option<i64> {
        let scale = match keys::find_broker(name)?.kind {
            super::Kind::Integer { unit, .. } => unit.scale(),
            _ => Unit::Millis.scale(),
        };
        let value = self.integer(name)?;
        Some(if value < 0 {
            value
        } else {
            value.saturating_mul(scale)
        })
    }
}

fn parse(
    name: &str,
    text: &str,
    source: Source,
    spelling: Spelling,
) -> Result<(&'static Key, Setting), ConfigError> {
    let Some(key) = keys::find_broker(name) else {
        return Err(ConfigError::Unknown {
            name: name.to_owned(),
            origin: source,
            suggestion: similar(name),
        });
    };
    let value = key
        .kind
        .parse(text, spelling)
        .map_err(|reason| ConfigError::value(key, name, text, &source, reason))?;
    if let Err(reason) = super::listeners::check(key.name, &value) {
        return Err(ConfigError::value(key, name, text, &source, reason));
    }
    Ok((key, Setting { value, source }))
}

/// The known name that is most like `name`, unless none is.
fn similar(name: &str) -> Option<String> {
    keys::broker()
        .flat_map(Key::names)
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(likeness, _)| *likeness > 0.85)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_sets_the_setting() {
        let config = Config::with([("log.segment.file-size", "120b")]).expect("a setting");
        assert_eq!(config.integer("log.segment.bytes"), Some(120));
    }

    #[test]
    fn an_unknown_setting_is_named_with_a_similar_one() {
        let error = Config::with([("log.retention.mss", "1")]).expect_err("no such setting");
        assert_eq!(
            error.to_string(),
            "unknown setting log.retention.mss (from --set log.retention.mss); \
             did you mean log.retention.ms?"
        );
    }

    #[test]
    fn a_bad_value_is_named_with_what_is_allowed() {
        let error = Config::with([("log.segment.bytes", "12x")]).expect_err("not a size");
        assert_eq!(
            error.to_string(),
            "log.segment.bytes = \"12x\" (from --set log.segment.bytes): Not a number of type INT; \
             allowed: 64 or more (bytes), such as \"64 mb\""
        );
    }

    #[test]
    fn a_secret_is_not_repeated_in_a_message() {
        let error = Config::with([("security.sasl.plain.credentials", "nocolon")])
            .expect_err("a user without a password");
        assert!(!error.to_string().contains("nocolon"), "{error}");
    }

    #[test]
    fn what_a_client_sets_wins_and_only_where_allowed() {
        let config = Config::with([("flush.mode", "page-cache")]).expect("a setting");
        let none = BTreeMap::new();
        let changed = BTreeMap::from([("log.retention.ms".to_owned(), "5".to_owned())]);
        let new = config.with_dynamic(&changed, &none).expect("may change");
        assert_eq!(new.integer("log.retention.ms"), Some(5));
        assert_eq!(new.text("flush.mode"), "page-cache");

        let fixed = BTreeMap::from([("num.partitions".to_owned(), "5".to_owned())]);
        let refused = config.with_dynamic(&none, &fixed);
        assert!(matches!(refused, Err(ConfigError::NotDynamic { .. })));
    }
}
