//! What can be wrong with a configuration, in words that help.

use std::path::PathBuf;

use super::key::Key;
use super::settings::Source;

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No setting has this name.
    #[error("unknown setting {name} ({origin}){}", hint(.suggestion.as_deref()))]
    Unknown {
        /// The name that was given.
        name: String,
        /// Where it was given.
        origin: Source,
        /// A setting with a similar name.
        suggestion: Option<String>,
    },
    /// The value does not fit.
    #[error("{name} = {value:?} ({origin}): {reason}")]
    Value {
        /// The name as it was given.
        name: String,
        /// The value as it was given; hidden for a secret.
        value: String,
        /// Where it was given.
        origin: Source,
        /// What is wrong with it, and what would do.
        reason: String,
    },
    /// Two names of one setting were given in one place.
    #[error("{first} and {second} are the same setting, and both are given ({origin})")]
    Twice {
        /// One of the names.
        first: String,
        /// The other one.
        second: String,
        /// Where they were given.
        origin: Source,
    },
    /// The setting cannot change while the broker runs.
    #[error("{name} cannot be changed while the broker runs")]
    NotDynamic {
        /// The setting.
        name: String,
    },
    /// `--set` without `=`.
    #[error("--set {text}: expected key=value")]
    NoAssignment {
        /// What was given.
        text: String,
    },
    /// The file cannot be read.
    #[error("cannot read the configuration file {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("the configuration file {} is not valid TOML", path.display())]
    NotToml {
        /// The file.
        path: PathBuf,
        /// The cause, with the line.
        source: toml::de::Error,
    },
}

/// Something in the configuration that is probably a mistake and changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning(pub String);

impl ConfigError {
    pub(super) fn value(
        key: &Key,
        name: &str,
        text: &str,
        origin: &Source,
        reason: impl std::fmt::Display,
    ) -> Self {
        let example = key
            .kind
            .example()
            .map_or(String::new(), |text| format!(", such as {text}"));
        ConfigError::Value {
            name: name.to_owned(),
            value: if key.secret {
                "hidden".to_owned()
            } else {
                text.to_owned()
            },
            origin: origin.clone(),
            reason: format!("{reason}; allowed: {}{example}", key.kind.allowed()),
        }
    }
}

fn hint(suggestion: Option<&str>) -> String {
    suggestion.map_or(String::new(), |name| format!("; did you mean {name}?"))
}
