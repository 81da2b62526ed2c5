//! The tables of all settings. A new setting is a line here; validation, the example file, the
//! documentation and what both wires are told follow from it.

mod cleaner;
mod index;
mod log;
mod process;
mod serving;
mod snapshots;
mod topic;

use super::key::Key;

/// The settings of the process, in the order of the documentation.
pub fn broker() -> impl Iterator<Item = &'static Key> {
    [
        process::KEYS,
        serving::KEYS,
        log::KEYS,
        index::KEYS,
        cleaner::KEYS,
        snapshots::KEYS,
    ]
    .into_iter()
    .flatten()
}

/// The settings of a topic or table.
pub fn topic() -> &'static [Key] {
    topic::KEYS
}

/// The broker setting with this name or alias.
pub fn find_broker(name: &str) -> Option<&'static Key> {
    broker().find(|key| key.names().any(|known| known == name))
}

/// The topic setting with this name.
pub fn find_topic(name: &str) -> Option<&'static Key> {
    topic().iter().find(|key| key.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::settings::Config;
    use super::super::topic::inherited;
    use super::super::value::Spelling;
    use super::*;

    #[test]
    fn every_name_means_one_setting() {
        let mut seen = HashMap::new();
        for key in broker() {
            for name in key.names() {
                let other = seen.insert(name, key.name);
                assert_eq!(other, None, "{name} is also {}", key.name);
            }
        }
    }

    #[test]
    fn every_default_is_a_value_of_its_setting() {
        for key in broker().chain(topic()) {
            if let Some(default) = key.default {
                let parsed = key.kind.parse(default, Spelling::Kafka);
                assert!(parsed.is_ok(), "{}: {parsed:?}", key.name);
            }
        }
    }

    #[test]
    fn what_a_topic_inherits_exists_and_has_the_same_default() {
        let broker = Config::default();
        for key in topic() {
            for name in key.inherits {
                assert!(find_broker(name).is_some(), "{} of {}", name, key.name);
            }
            let own = key
                .default
                .map(|text| key.kind.parse(text, Spelling::Kafka));
            assert_eq!(own, Some(Ok(inherited(&broker, key))), "{}", key.name);
        }
    }

    #[test]
    fn every_setting_is_described_in_sentences() {
        for key in broker().chain(topic()) {
            let ends = key.about.ends_with('.') || key.about.ends_with(".)");
            assert!(ends, "{}: {}", key.name, key.about);
            assert!(
                key.about.starts_with(char::is_uppercase),
                "{}: {}",
                key.name,
                key.about
            );
        }
    }
}
