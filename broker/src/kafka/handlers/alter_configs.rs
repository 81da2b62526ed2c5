//! AlterConfigs (API 33) and IncrementalAlterConfigs (API 44): the settings of topics, of this
//! broker, and of all brokers.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse as Altered;
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse as AlteredIncrementally;
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};
use kafka_protocol::protocol::StrBytes;
use storage::catalog::{
    CatalogView, MapChanges, Origin, SettingScope, StringMap, Table, TableChanges,
};

use super::alter_config_values::{Change, Known, Operation, apply};
use super::describe_configs::{BROKER, TOPIC, check_broker, unsupported};
use crate::broker::Broker;
use crate::config::{CLEANUP_POLICY, Config, TopicConfig, keys};
use crate::kafka::error::Refusal;
use crate::kafka::topics::blocking;
use crate::kafka::wire::Context;
use crate::tablets::{align_all, follow_policy, overrides_of, policies_of};

/// The changes of one topic or broker.
#[derive(Debug, Clone)]
struct Resource {
    kind: i8,
    name: StrBytes,
    /// All settings that are not named go back to what is inherited.
    replaces: bool,
    changes: Vec<Change>,
}

/// Replaces all settings of each resource.
pub async fn handle(context: &Context, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let resources = request.resources.into_iter().map(|resource| {
        let changes = resource.configs.into_iter().map(|config| {
            Ok(Change {
                name: config.name.to_string(),
                operation: Operation::Set,
                value: config.value.map(|value| value.to_string()),
            })
        });
        let changes = changes.collect();
        (resource.resource_type, resource.resource_name, changes)
    });
    let outcomes = alter_all(context, resources.collect(), true, request.validate_only).await;
    let responses = outcomes.into_iter().map(|(kind, name, outcome)| {
        let (code, message) = answer(outcome);
        Altered::default()
            .with_resource_type(kind)
            .with_resource_name(name)
            .with_error_code(code)
            .with_error_message(message)
    });
    AlterConfigsResponse::default().with_responses(responses.collect())
}

/// Changes some settings of each resource (KIP-339).
pub async fn handle_incremental(
    context: &Context,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let resources = request.resources.into_iter().map(|resource| {
        let changes = resource.configs.into_iter().map(|config| {
            let code = config.config_operation;
            let operation = Operation::of(code).ok_or_else(|| {
                let message = format!("Unknown operation type {code}");
                Refusal::new(ResponseError::InvalidRequest, message)
            })?;
            Ok(Change {
                name: config.name.to_string(),
                operation,
                value: config.value.map(|value| value.to_string()),
            })
        });
        let changes = changes.collect();
        (resource.resource_type, resource.resource_name, changes)
    });
    let outcomes = alter_all(context, resources.collect(), false, request.validate_only).await;
    let responses = outcomes.into_iter().map(|(kind, name, outcome)| {
        let (code, message) = answer(outcome);
        AlteredIncrementally::default()
            .with_resource_type(kind)
            .with_resource_name(name)
            .with_error_code(code)
            .with_error_message(message)
    });
    IncrementalAlterConfigsResponse::default().with_responses(responses.collect())
}

fn answer(outcome: Result<(), Refusal>) -> (i16, Option<StrBytes>) {
    match outcome {
        Ok(()) => (0, None),
        Err(refusal) => (refusal.code(), refusal.text()),
    }
}

type Asked = (i8, StrBytes, Result<Vec<Change>, Refusal>);

async fn alter_all(
    context: &Context,
    asked: Vec<Asked>,
    replaces: bool,
    validate_only: bool,
) -> Vec<(i8, StrBytes, Result<(), Refusal>)> {
    let mut counts: HashMap<(i8, StrBytes), u32> = HashMap::new();
    for (kind, name, _) in &asked {
        *counts.entry((*kind, name.clone())).or_default() += 1;
    }
    let mut outcomes = Vec::with_capacity(asked.len());
    for (kind, name, changes) in asked {
        let outcome = match (counts.remove(&(kind, name.clone())), changes) {
            // Answered with its first one.
            (None, _) => continue,
            (Some(1), Ok(changes)) => {
                let name = name.clone();
                let resource = Resource {
                    kind,
                    name,
                    replaces,
                    changes,
                };
                alter(context, resource, validate_only).await
            }
            (Some(1), Err(refusal)) => Err(refusal),
            _ => Err(invalid("Each resource must appear at most once.")),
        };
        outcomes.push((kind, name, outcome));
    }
    outcomes
}

async fn alter(context: &Context, resource: Resource, validate_only: bool) -> Result<(), Refusal> {
    let broker = context.broker();
    let name = resource.name.clone();
    match resource.kind {
        TOPIC if name.is_empty() => {
            return Err(invalid("Default topic resources are not allowed."));
        }
        TOPIC => alter_topic(broker, resource, validate_only).await?,
        BROKER => alter_broker(broker, resource, validate_only).await?,
        other => return Err(unsupported(other)),
    }
    if !validate_only {
        tracing::info!(resource = name.as_str(), client = %context.peer.address, "changed settings");
    }
    Ok(())
}

async fn alter_topic(
    broker: &Arc<Broker>,
    resource: Resource,
    validate_only: bool,
) -> Result<(), Refusal> {
    let name = resource.name.as_str();
    let topic = broker.catalog.view().topic(name).cloned();
    let topic = topic.ok_or_else(|| {
        let message = format!("The topic '{name}' does not exist.");
        Refusal::new(ResponseError::UnknownTopicOrPartition, message)
    })?;
    if topic.table.origin == Origin::Internal {
        let message = format!("The settings of {name} are the broker's own.");
        return Err(Refusal::new(ResponseError::PolicyViolation, message));
    }
    let config = broker.config();
    if validate_only {
        return changes_of_table(&config, &topic.table, &resource).map(|_| ());
    }
    let id = topic.table.id;
    blocking(broker, move |broker| {
        let decide = |table: &Table| changes_of_table(&config, table, &resource);
        broker.catalog.alter_table(id, decide)?;
        broker.tablets.refresh();
        Ok(())
    })
    .await
}

/// What changes of a table: a setting that a Fluss table has as a property changes there, so that
/// both wires show the same.
fn changes_of_table(
    config: &Config,
    table: &Table,
    resource: &Resource,
) -> Result<TableChanges, Refusal> {
    let before = overrides_of(table);
    let inherited = |name: &str| {
        let entries = config.describe_topic(&StringMap::new());
        let entry = entries.into_iter().find(|entry| entry.name == name);
        entry.and_then(|entry| entry.value)
    };
    let known = Known {
        find: keys::find_topic,
        inherited: &inherited,
    };
    let base = match resource.replaces {
        true => &StringMap::new(),
        false => &before,
    };
    let after = apply(base, &resource.changes, &known)?;
    let settings = TopicConfig::new(config, &after).map_err(|error| Refusal::from(&error))?;
    let mut changes = TableChanges::default();
    follow_policy(table, &settings, &mut changes);
    if let (Some(policies), Some(wanted)) = (policies_of(table), after.get(CLEANUP_POLICY))
        && !policies.contains(&wanted.as_str())
    {
        let path = &table.path;
        let message = format!(
            "{CLEANUP_POLICY} of {path} cannot be {wanted:?}: a Fluss client made it, and it is \
             compact with a primary key, delete or empty without one"
        );
        return Err(Refusal::new(ResponseError::PolicyViolation, message));
    }
    for (name, value) in differences(&before, &after) {
        let property = keys::find_topic(&name)
            .and_then(|key| key.fluss)
            .filter(|_| table.origin == Origin::Fluss);
        match (property, &value) {
            (Some(property), None) => {
                changes.properties.insert(property.to_owned(), None);
                changes.kafka_configs.insert(name, None);
            }
            (Some(_), Some(text)) => {
                match TopicConfig::property_of_setting(&name, text) {
                    Some((property, text)) => {
                        changes.properties.insert(property.to_owned(), Some(text));
                        changes.kafka_configs.insert(name, None);
                    }
                    None => drop(changes.kafka_configs.insert(name, value)),
                };
            }
            (None, _) => drop(changes.kafka_configs.insert(name, value)),
        }
    }
    Ok(changes)
}

fn differences(before: &StringMap, after: &StringMap) -> MapChanges {
    let removed = before.keys().filter(|name| !after.contains_key(*name));
    let removed = removed.map(|name| (name.clone(), None));
    let set = after
        .iter()
        .filter(|(name, value)| before.get(*name) != Some(*value));
    let set = set.map(|(name, value)| (name.clone(), Some(value.clone())));
    removed.chain(set).collect::<BTreeMap<_, _>>()
}

async fn alter_broker(
    broker: &Arc<Broker>,
    resource: Resource,
    validate_only: bool,
) -> Result<(), Refusal> {
    let node = broker.node_id;
    let scope = match resource.name.as_str() {
        "" => SettingScope::All,
        name => check_broker(name, node).map(|()| SettingScope::Node(node))?,
    };
    let config = broker.config();
    if validate_only {
        let view = broker.catalog.view();
        return settings_after(&config, &view, scope, node, &resource).map(|_| ());
    }
    blocking(broker, move |broker| {
        broker.catalog.alter_settings(scope, |view| {
            settings_after(&config, view, scope, node, &resource)
        })?;
        broker.reload_settings();
        align_all(&broker.catalog, &broker.config());
        broker.tablets.refresh();
        Ok(())
    })
    .await
}

/// The settings of a scope after the changes, checked together with the other scope's.
fn settings_after(
    config: &Config,
    view: &CatalogView,
    scope: SettingScope,
    node: i32,
    resource: &Resource,
) -> Result<StringMap, Refusal> {
    let inherited = |name: &str| {
        let key = keys::find_broker(name)?;
        let shown = key.kafka.unwrap_or(key.name);
        let entries = config.describe_broker();
        let entry = entries.into_iter().find(|entry| entry.name == shown);
        entry.and_then(|entry| entry.value)
    };
    let known = Known {
        find: keys::find_broker,
        inherited: &inherited,
    };
    let base = match resource.replaces {
        true => &StringMap::new(),
        false => view.settings(scope),
    };
    let after = apply(base, &resource.changes, &known)?;
    let checked = match scope {
        SettingScope::All => config.with_dynamic(&after, view.settings(SettingScope::Node(node))),
        SettingScope::Node(_) => config.with_dynamic(view.settings(SettingScope::All), &after),
    };
    checked.map_err(|error| Refusal::from(&error))?;
    Ok(after)
}

fn invalid(message: &str) -> Refusal {
    Refusal::new(ResponseError::InvalidRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, &str)]) -> StringMap {
        entries
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn only_what_differs_is_changed() {
        let before = map(&[("a", "1"), ("b", "2"), ("c", "3")]);
        let after = map(&[("a", "1"), ("b", "9"), ("d", "4")]);
        let expected = [("b", Some("9")), ("c", None), ("d", Some("4"))];
        let expected = expected.map(|(k, v)| (k.to_owned(), v.map(str::to_owned)));
        assert_eq!(differences(&before, &after), expected.into());
    }

    #[test]
    fn a_brokers_settings_are_checked_by_the_table_of_settings() {
        let after = |name: &str, value: &str| {
            let resource = Resource {
                kind: BROKER,
                name: StrBytes::default(),
                replaces: false,
                changes: vec![Change {
                    name: name.to_owned(),
                    operation: Operation::Set,
                    value: Some(value.to_owned()),
                }],
            };
            let view = CatalogView::default();
            let config = Config::default();
            let after = settings_after(&config, &view, SettingScope::All, 1, &resource);
            after.map_err(|refusal| refusal.error)
        };
        let set = map(&[("log.retention.ms", "5")]);
        assert_eq!(after("log.retention.ms", "5"), Ok(set));
        assert_eq!(
            after("log.retention.ms", "x"),
            Err(ResponseError::InvalidConfig)
        );
        assert_eq!(after("no.such", "x"), Err(ResponseError::InvalidConfig));
        assert_eq!(
            after("num.partitions", "5"),
            Err(ResponseError::InvalidRequest)
        );
    }
}
