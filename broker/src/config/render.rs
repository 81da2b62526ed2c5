//! The example file and the documentation, made from the table.

use std::fmt::Write;

use super::key::{Key, Kind, Section};
use super::keys;
use super::layers::variable;

/// Columns of a comment in the example file.
const COMMENT_WIDTH: usize = 96;

/// The files that are made from the table, with their places in the repository.
pub fn files() -> [(&'static str, String); 2] {
    [
        ("configs/vltava.toml", example_file()),
        ("docs/configuration.md", documentation()),
    ]
}

/// `configs/vltava.toml`: every setting of the process, commented out, with its default.
pub fn example_file() -> String {
    let mut text = String::from(
        "# Every setting of the broker with its default. Made by `vltava config-docs`; the tables\n\
         # are in broker/src/config/keys. A setting may also be given as an environment variable\n\
         # or with --set name=value, which win over this file.\n",
    );
    for section in Section::ALL {
        let keys: Vec<_> = keys::broker()
            .filter(|key| key.section == section)
            .collect();
        if keys.is_empty() {
            continue;
        }
        let _ = write!(text, "\n\n# ---- {} ----\n", section.title());
        for key in keys {
            text.push('\n');
            for line in wrap(&remarks(key), COMMENT_WIDTH) {
                let _ = writeln!(text, "# {line}");
            }
            let _ = writeln!(text, "# {} = {}", toml_key(key), toml_value(key));
        }
    }
    text
}

/// `docs/configuration.md`.
pub fn documentation() -> String {
    let mut text = String::from(
        "# Configuration\n\n\
         Made by `vltava config-docs` from the tables in `broker/src/config/keys`.\n\n\
         Settings come from four layers, the later one wins: the defaults below, the file given\n\
         with `--config FILE` (TOML, flat names or tables; `configs/vltava.toml` lists all\n\
         settings), environment variables, and flags (`--set name=value`). A setting has the name\n\
         that Kafka gives it, else Fluss's, else it begins with `vltava.`; every name listed is\n\
         understood. Its variable is `VLTAVA_` and the name in capitals, with `_` for every other\n\
         character and without `vltava.`: `VLTAVA_LOG_SEGMENT_BYTES`. Sizes and times may carry\n\
         a unit (`64 mb`, `10 min`). An unknown name or a bad value stops the start with a message\n\
         that says where it stands.\n\n\
         Settings marked *dynamic* can be changed while the broker runs, with Kafka's\n\
         AlterConfigs.\n",
    );
    for section in Section::ALL {
        let keys: Vec<_> = keys::broker()
            .chain(keys::topic())
            .filter(|key| key.section == section)
            .collect();
        let _ = write!(text, "\n## {}\n", section.title());
        if section == Section::TopicSettings {
            text.push_str(
                "\nSet with Kafka's CreateTopics and AlterConfigs; all of them are dynamic. A\n\
                 topic that does not say has the broker setting named as its default.\n",
            );
        }
        for key in keys {
            write_key(&mut text, key);
        }
    }
    text
}

fn write_key(text: &mut String, key: &Key) {
    let _ = write!(text, "\n### `{}`\n\n{}\n\n", key.name, key.about);
    let _ = writeln!(text, "- allowed: {}", key.kind.allowed());
    let default = match (key.inherits, key.default) {
        ([], None) => "unset".to_owned(),
        ([], Some(default)) => code(default),
        (inherits, _) => {
            let names: Vec<_> = inherits.iter().map(|name| code(name)).collect();
            format!("the broker's {}", names.join(", else "))
        }
    };
    let dynamic = if key.dynamic && key.inherits.is_empty() && key.section != Section::TopicSettings
    {
        "; dynamic"
    } else {
        ""
    };
    let _ = writeln!(text, "- default: {default}{dynamic}");
    let others: Vec<_> = key.names().skip(1).map(code).collect();
    if !others.is_empty() {
        let _ = writeln!(text, "- also called: {}", others.join(", "));
    }
    if let Some(why) = key.without_effect {
        let _ = writeln!(text, "- without effect: {why}");
    }
}

fn remarks(key: &Key) -> String {
    let mut remarks = format!("{} Allowed: {}.", key.about, key.kind.allowed());
    let others: Vec<_> = key.names().skip(1).collect();
    if !others.is_empty() {
        let _ = write!(remarks, " Also called {}.", others.join(", "));
    }
    if let Some(why) = key.without_effect {
        let _ = write!(remarks, " Without effect: {why}.");
    }
    let _ = write!(remarks, " Variable: {}.", variable(key.name));
    remarks
}

/// The name as a TOML key; quoted when another name begins with it and a dot, because TOML would
/// take it for a table then.
fn toml_key(key: &Key) -> String {
    let prefix = format!("{}.", key.name);
    if keys::broker().any(|other| other.name.starts_with(&prefix)) {
        format!("\"{}\"", key.name)
    } else {
        key.name.to_owned()
    }
}

fn toml_value(key: &Key) -> String {
    match (key.kind, key.default) {
        (_, None) => "\"\"  # unset".to_owned(),
        (Kind::Boolean | Kind::Integer { .. } | Kind::Double { .. }, Some(text)) => text.to_owned(),
        (Kind::List(_) | Kind::Replicas, Some(text)) => {
            let parts: Vec<_> = text
                .split(',')
                .filter(|part| !part.is_empty())
                .map(|p| format!("{p:?}"))
                .collect();
            format!("[{}]", parts.join(", "))
        }
        (Kind::Text | Kind::Choice(_), Some(text)) => format!("{text:?}"),
    }
}

fn code(text: &str) -> String {
    if text.is_empty() {
        "empty".to_owned()
    } else {
        format!("`{text}`")
    }
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.len() + 1 + word.len() > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Layers};

    #[test]
    fn the_example_file_with_all_its_comments_taken_off_is_the_default_configuration() {
        let assignments: Vec<_> = example_file()
            .lines()
            .filter_map(|line| line.strip_prefix("# "))
            .filter(|line| !line.ends_with("# unset"))
            .filter(|line| {
                line.split_once(" = ")
                    .is_some_and(|(name, _)| !name.contains(' '))
            })
            .map(str::to_owned)
            .collect();
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), assignments.join("\n")).expect("written");
        let layers = Layers {
            file: Some(file.path().to_owned()),
            ..Layers::default()
        };
        let (config, _) = Config::load(&layers).expect("the example is sound");
        for key in keys::broker() {
            let value = config.setting(key.name).map(|setting| &setting.value);
            let default = Config::default();
            assert_eq!(
                value,
                default.setting(key.name).map(|s| &s.value),
                "{}",
                key.name
            );
        }
        let with_default = keys::broker().filter(|key| key.default.is_some()).count();
        assert_eq!(assignments.len(), with_default);
    }

    #[test]
    fn the_generated_files_are_up_to_date() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        for (path, text) in files() {
            let found = std::fs::read_to_string(format!("{root}/{path}")).unwrap_or_default();
            assert!(
                found == text,
                "{path} is out of date: run `vltava config-docs`"
            );
        }
    }
}
