//! Reads the layers: defaults < file < environment < flags.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::error::{ConfigError, Warning};
use super::key::Key;
use super::keys;
use super::settings::{Config, Source};

/// Variables of the environment that begin so are settings.
const ENVIRONMENT_PREFIX: &str = "VLTAVA_";

/// Variables with our prefix that are not for the broker: the cache folder of the build scripts.
const NOT_SETTINGS: &[&str] = &["VLTAVA_CACHE"];

/// What a configuration is put together from.
#[derive(Debug, Default)]
pub struct Layers {
    /// A TOML file.
    pub file: Option<PathBuf>,
    /// The environment, as name and value; other programs' variables are passed over.
    pub environment: Vec<(String, String)>,
    /// Flags: the setting, its value, and the flag as it was written.
    pub flags: Vec<(String, String, String)>,
}

impl Config {
    /// Puts the layers together. Warnings are about variables with our prefix that are no settings:
    /// they are no errors, because container systems set some of their own for a service of our
    /// name.
    pub fn load(layers: &Layers) -> Result<(Config, Vec<Warning>), ConfigError> {
        let mut config = Config::default();
        let mut warnings = Vec::new();
        if let Some(path) = &layers.file {
            let mut layer = Layer::new(&mut config);
            for (name, text) in read_file(path)? {
                layer.give(&name, &text, Source::File(path.clone()))?;
            }
        }
        let variables = variables();
        let mut layer = Layer::new(&mut config);
        for (variable, text) in &layers.environment {
            if !variable.starts_with(ENVIRONMENT_PREFIX)
                || NOT_SETTINGS.contains(&variable.as_str())
            {
                continue;
            }
            match variables.get(variable) {
                Some(name) => layer.give(name, text, Source::Environment(variable.clone()))?,
                None => warnings.push(Warning(format!(
                    "the environment variable {variable} is no setting and is ignored"
                ))),
            }
        }
        // The last flag wins, as people expect on a command line.
        for (name, text, flag) in &layers.flags {
            config.give(name, text, Source::Flag(flag.clone()))?;
        }
        Ok((config, warnings))
    }
}

impl Layers {
    /// Reads `key=value` of `--set`.
    pub fn set(&mut self, assignment: &str) -> Result<(), ConfigError> {
        let (name, value) =
            assignment
                .split_once('=')
                .ok_or_else(|| ConfigError::NoAssignment {
                    text: assignment.to_owned(),
                })?;
        let name = name.trim();
        self.flags
            .push((name.to_owned(), value.to_owned(), format!("--set {name}")));
        Ok(())
    }
}

/// One place of settings: a setting may be given in it once, under one of its names.
struct Layer<'a> {
    config: &'a mut Config,
    given: HashMap<&'static str, String>,
}

impl<'a> Layer<'a> {
    fn new(config: &'a mut Config) -> Self {
        Self {
            config,
            given: HashMap::new(),
        }
    }

    fn give(&mut self, name: &str, text: &str, source: Source) -> Result<(), ConfigError> {
        let key = self.config.give(name, text, source.clone())?;
        match self.given.insert(key.name, name.to_owned()) {
            Some(first) => Err(ConfigError::Twice {
                first,
                second: name.to_owned(),
                origin: source,
            }),
            None => Ok(()),
        }
    }
}

/// The variable of each name: `log.segment.bytes` is `VLTAVA_LOG_SEGMENT_BYTES`, and our own
/// prefix is not repeated.
fn variables() -> HashMap<String, &'static str> {
    keys::broker()
        .flat_map(Key::names)
        .map(|name| (variable(name), name))
        .collect()
}

/// The environment variable of a setting.
pub(super) fn variable(name: &str) -> String {
    let short = name.strip_prefix("vltava.").unwrap_or(name);
    let upper = short.chars().map(|c| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_uppercase()
        } else {
            '_'
        }
    });
    ENVIRONMENT_PREFIX.chars().chain(upper).collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "read once, before there is an environment and before any request"
)]
fn read_file(path: &Path) -> Result<Vec<(String, String)>, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let table: toml::Table = text.parse().map_err(|source| ConfigError::NotToml {
        path: path.to_owned(),
        source,
    })?;
    let mut settings = Vec::new();
    flatten("", &toml::Value::Table(table), &mut settings);
    Ok(settings)
}

/// Tables become dotted names, arrays become lists between commas.
fn flatten(name: &str, value: &toml::Value, settings: &mut Vec<(String, String)>) {
    match value {
        toml::Value::Table(table) => {
            for (part, value) in table {
                let name = if name.is_empty() {
                    part.clone()
                } else {
                    format!("{name}.{part}")
                };
                flatten(&name, value, settings);
            }
        }
        other => settings.push((name.to_owned(), text_of(other))),
    }
}

fn text_of(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(parts) => parts.iter().map(text_of).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(text.as_bytes()).expect("written");
        file
    }

    fn load(text: &str, environment: &[(&str, &str)], flags: &[&str]) -> Result<Config, String> {
        let file = file(text);
        let mut layers = Layers {
            file: Some(file.path().to_owned()),
            ..Layers::default()
        };
        layers.environment = environment
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        for flag in flags {
            layers.set(flag).map_err(|error| error.to_string())?;
        }
        let message = |error: ConfigError| {
            error
                .to_string()
                .replace(&file.path().display().to_string(), "FILE")
        };
        Config::load(&layers)
            .map(|(config, _)| config)
            .map_err(message)
    }

    #[test]
    fn a_later_layer_wins() {
        let text = "num.partitions = 2\nlog.segment.bytes = \"1 mb\"\nflush.mode = \"page-cache\"";
        let environment = [
            ("VLTAVA_NUM_PARTITIONS", "3"),
            ("VLTAVA_LOG_SEGMENT_BYTES", "2mb"),
        ];
        let config = load(text, &environment, &["num.partitions=4"]).expect("sound");
        assert_eq!(config.integer("num.partitions"), Some(4));
        assert_eq!(config.integer("log.segment.bytes"), Some(2 << 20));
        assert_eq!(config.text("flush.mode"), "page-cache");
    }

    #[test]
    fn tables_dots_and_quotes_are_the_same() {
        let spellings = [
            "\"max.connections\" = 7\n\"max.connections.per.ip\" = 8",
            "max.\"connections.per.ip\" = 8\nmax.connections = 7",
            "[max]\nconnections = 7\n\"connections.per.ip\" = 8",
        ];
        for text in spellings {
            let config = load(text, &[], &[]).expect(text);
            assert_eq!(config.integer("max.connections"), Some(7), "{text}");
            assert_eq!(config.integer("max.connections.per.ip"), Some(8), "{text}");
        }
    }

    #[test]
    fn an_array_is_a_list() {
        let text = "listeners = [\"A://127.0.0.1:0\", \"B://127.0.0.1:0\"]";
        let config = load(text, &[], &[]).expect("sound");
        assert_eq!(config.list("listeners").len(), 2);
    }

    #[test]
    fn mistakes_say_where_they_are() {
        let unknown = load("num.partition = 2", &[], &[]).expect_err("unknown");
        assert_eq!(
            unknown,
            "unknown setting num.partition (in FILE); did you mean num.partitions?"
        );
        let bad = load("", &[("VLTAVA_NUM_PARTITIONS", "none")], &[]).expect_err("no number");
        assert!(
            bad.contains("from the environment variable VLTAVA_NUM_PARTITIONS"),
            "{bad}"
        );
        let twice = "broker.id = 1\nnode.id = 2";
        let twice = load(twice, &[], &[]).expect_err("one setting, two names");
        assert_eq!(
            twice,
            "broker.id and node.id are the same setting, and both are given (in FILE)"
        );
        assert_eq!(
            load("", &[], &["x"]).expect_err("no ="),
            "--set x: expected key=value"
        );
        assert!(
            load("a = ", &[], &[])
                .expect_err("no TOML")
                .contains("is not valid TOML")
        );
    }

    #[test]
    fn a_foreign_variable_with_our_prefix_is_only_a_warning() {
        let layers = Layers {
            environment: vec![("VLTAVA_PORT".into(), "tcp://10.0.0.1:9092".into())],
            ..Layers::default()
        };
        let (_, warnings) = Config::load(&layers).expect("sound");
        assert_eq!(warnings.len(), 1);
    }

    #[test]
    fn each_setting_has_its_own_variable() {
        assert_eq!(
            variable("log.segment.file-size"),
            "VLTAVA_LOG_SEGMENT_FILE_SIZE"
        );
        assert_eq!(variable("vltava.http.listen"), "VLTAVA_HTTP_LISTEN");
        let mut owners = HashMap::new();
        for key in keys::broker() {
            for name in key.names() {
                let other = owners.insert(variable(name), key.name);
                assert!(
                    other.is_none_or(|other| other == key.name),
                    "{name} and {other:?}"
                );
            }
        }
    }
}
