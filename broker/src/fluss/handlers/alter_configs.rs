//! ALTER_CLUSTER_CONFIGS (1046): settings that clients may change while the broker runs, for all
//! brokers. They are the ones that Kafka clients may change, under either wire's name.

use protocol::fluss::error::ErrorCode;
use protocol::fluss::messages::{
    AlterClusterConfigsRequest, AlterClusterConfigsResponse, PbAlterConfig,
};
use storage::catalog::{SettingScope, StringMap};

use super::change;
use crate::config::{Config, Key, Spelling, Value, keys};
use crate::fluss::error::Failure;
use crate::fluss::wire::Context;

const OP_SET: i32 = 0;
const OP_DELETE: i32 = 1;
const OP_APPEND: i32 = 2;
const OP_SUBTRACT: i32 = 3;

/// Changes settings; all of them, or none.
pub async fn handle(
    context: &Context,
    request: AlterClusterConfigsRequest,
) -> Result<AlterClusterConfigsResponse, Failure> {
    change(context, move |shared| {
        let broker = &shared.broker;
        let config = broker.config();
        broker.catalog.alter_settings(SettingScope::All, |view| {
            let mut settings = view.settings(SettingScope::All).clone();
            for change in &request.alter_configs {
                apply(&config, &mut settings, change)?;
            }
            config
                .with_dynamic(&settings, view.settings(SettingScope::Node(broker.node_id)))
                .map_err(|error| refused(error.to_string()))?;
            Ok::<_, Failure>(settings)
        })?;
        broker.reload_settings();
        Ok(AlterClusterConfigsResponse {})
    })
    .await
}

fn refused(text: impl Into<String>) -> Failure {
    Failure::new(ErrorCode::Config, text)
}

fn apply(config: &Config, settings: &mut StringMap, change: &PbAlterConfig) -> Result<(), Failure> {
    let name = change.config_key.as_str();
    let key = keys::find_broker(name)
        .filter(|key| key.dynamic)
        .ok_or_else(|| {
            refused(format!(
                "setting {name} cannot be changed while the server runs"
            ))
        })?;
    let value = match (change.op_type, &change.config_value) {
        (OP_SET, Some(text)) => Some(text.clone()),
        // Fluss takes a missing value for a reset.
        (OP_SET | OP_DELETE, _) => None,
        (op @ (OP_APPEND | OP_SUBTRACT), Some(text)) => {
            Some(changed_list(config, settings, key, text, op == OP_APPEND)?)
        }
        (op, _) => {
            return Err(refused(format!(
                "operation {op} on setting {name} is not known"
            )));
        }
    };
    // It may have been set under the other wire's name.
    settings.retain(|set, _| !key.names().any(|known| known == set));
    if let Some(text) = value {
        let parsed = key.kind.parse(&text, Spelling::Friendly);
        let parsed = parsed.map_err(|reason| refused(format!("{name} = {text:?}: {reason}")))?;
        // Settings are stored in Kafka's spelling.
        settings.insert(key.name.to_owned(), parsed.to_kafka().unwrap_or(text));
    }
    Ok(())
}

/// The list that a setting is, with these values more or less.
fn changed_list(
    config: &Config,
    settings: &StringMap,
    key: &Key,
    text: &str,
    append: bool,
) -> Result<String, Failure> {
    let set = key.names().find_map(|name| settings.get(name).cloned());
    let now = match set {
        Some(text) => key.kind.parse(&text, Spelling::Kafka).ok(),
        None => config
            .setting(key.name)
            .map(|setting| setting.value.clone()),
    };
    let mut values = match now {
        Some(Value::List(values)) => values,
        Some(Value::Unset) => Vec::new(),
        _ => return Err(refused(format!("setting {} is no list", key.name))),
    };
    for value in text
        .split(',')
        .map(str::trim)
        .filter(|value| !value.is_empty())
    {
        let at = values.iter().position(|known| known == value);
        match (at, append) {
            (None, true) => values.push(value.to_owned()),
            (Some(at), false) => drop(values.remove(at)),
            _ => {}
        }
    }
    Ok(values.join(","))
}
