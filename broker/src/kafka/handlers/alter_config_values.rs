//! What becomes of a set of settings when an administrator changes some of them: plain functions.

use std::collections::BTreeSet;

use kafka_protocol::ResponseError;
use storage::catalog::StringMap;

use crate::config::{Key, Kind};
use crate::kafka::error::Refusal;

/// Kafka's operations on a setting, with their numbers on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Set,
    Delete,
    Append,
    Subtract,
}

impl Operation {
    pub(super) fn of(code: i8) -> Option<Operation> {
        match code {
            0 => Some(Operation::Set),
            1 => Some(Operation::Delete),
            2 => Some(Operation::Append),
            3 => Some(Operation::Subtract),
            _ => None,
        }
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) name: String,
    pub(super) operation: Operation,
    pub(super) value: Option<String>,
}

/// Settings of one kind: which there are, and what they are where they are not set.
pub(super) struct Known<'a> {
    pub(super) find: fn(&str) -> Option<&'static Key>,
    pub(super) inherited: &'a dyn Fn(&str) -> Option<String>,
}

/// The settings after all changes. Names of `own` and of the outcome are the settings' own.
pub(super) fn apply(
    own: &StringMap,
    changes: &[Change],
    known: &Known<'_>,
) -> Result<StringMap, Refusal> {
    let mut names = BTreeSet::new();
    let mut after = own.clone();
    for change in changes {
        let key = (known.find)(&change.name);
        // An unknown one goes in as it is: whoever checks all of them has the words for it.
        let name = key.map_or(change.name.as_str(), |key| key.name);
        if !names.insert(name.to_owned()) {
            return Err(invalid("Error due to duplicate config keys"));
        }
        if change.operation == Operation::Delete {
            after.remove(name);
            continue;
        }
        let Some(value) = &change.value else {
            let message = format!("Null value not supported for : {}", change.name);
            return Err(invalid(&message));
        };
        let value = match change.operation {
            Operation::Append | Operation::Subtract => {
                if !key.is_some_and(|key| matches!(key.kind, Kind::List(_) | Kind::Replicas)) {
                    let operation = match change.operation {
                        Operation::Append => "APPEND",
                        _ => "SUBTRACT",
                    };
                    let message = format!(
                        "Can't {operation} to key {} because its type is not LIST.",
                        change.name
                    );
                    return Err(Refusal::new(ResponseError::InvalidConfig, message));
                }
                let before = own.get(name).cloned().or_else(|| (known.inherited)(name));
                changed_list(&before.unwrap_or_default(), change.operation, value)
            }
            _ => value.clone(),
        };
        after.insert(name.to_owned(), value);
    }
    Ok(after)
}

fn changed_list(before: &str, operation: Operation, value: &str) -> String {
    let mut words: Vec<&str> = before.split(',').filter(|word| !word.is_empty()).collect();
    for word in value.split(',') {
        let at = words.iter().position(|found| *found == word);
        match (operation, at) {
            (Operation::Subtract, Some(at)) => drop(words.remove(at)),
            (Operation::Append, None) if !word.is_empty() => words.push(word),
            _ => {}
        }
    }
    words.join(",")
}

fn invalid(message: &str) -> Refusal {
    Refusal::new(ResponseError::InvalidRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys;

    fn change(name: &str, operation: Operation, value: Option<&str>) -> Change {
        Change {
            name: name.to_owned(),
            operation,
            value: value.map(str::to_owned),
        }
    }

    fn applied(own: &[(&str, &str)], changes: &[Change]) -> Result<String, ResponseError> {
        let own = own
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let inherited = |name: &str| (name == "cleanup.policy").then(|| "delete".to_owned());
        let known = Known {
            find: keys::find_topic,
            inherited: &inherited,
        };
        let after = apply(&own, changes, &known).map_err(|refusal| refusal.error)?;
        let shown: Vec<_> = after.iter().map(|(k, v)| format!("{k}={v}")).collect();
        Ok(shown.join(" "))
    }

    #[test]
    fn settings_are_set_and_deleted() {
        let own = [("retention.ms", "1"), ("segment.ms", "2")];
        let changes = [
            change("retention.ms", Operation::Delete, None),
            change("segment.ms", Operation::Set, Some("3")),
            change("flush.ms", Operation::Set, Some("4")),
        ];
        assert_eq!(
            applied(&own, &changes),
            Ok("flush.ms=4 segment.ms=3".to_owned())
        );
    }

    #[test]
    fn lists_grow_from_what_is_inherited_and_hold_a_word_once() {
        let append = |value| change("cleanup.policy", Operation::Append, Some(value));
        let after = |own: &[_], change| applied(own, &[change]);
        assert_eq!(
            after(&[], append("compact")),
            Ok("cleanup.policy=delete,compact".to_owned())
        );
        assert_eq!(
            after(&[], append("delete")),
            Ok("cleanup.policy=delete".to_owned())
        );
        let both = [("cleanup.policy", "delete,compact")];
        let subtract = change("cleanup.policy", Operation::Subtract, Some("delete"));
        assert_eq!(
            after(&both, subtract),
            Ok("cleanup.policy=compact".to_owned())
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let twice = [
            change("flush.ms", Operation::Set, Some("4")),
            change("flush.ms", Operation::Delete, None),
        ];
        assert_eq!(applied(&[], &twice), Err(ResponseError::InvalidRequest));
        let null = change("flush.ms", Operation::Set, None);
        assert_eq!(applied(&[], &[null]), Err(ResponseError::InvalidRequest));
        let number = change("flush.ms", Operation::Append, Some("4"));
        assert_eq!(applied(&[], &[number]), Err(ResponseError::InvalidConfig));
        assert_eq!(Operation::of(4), None);
    }
}
