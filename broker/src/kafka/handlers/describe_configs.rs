//! DescribeConfigs (API 32): the settings of topics, of this broker, and of all brokers.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use storage::catalog::names;

use super::context::text;
use super::delete_topics::error_text;
use crate::broker::Broker;
use crate::config::describe::KafkaEntry;
use crate::kafka::error::Refusal;
use crate::kafka::wire::Context;
use crate::tablets::overrides_of;

/// Kafka's number for the settings of a topic.
pub(super) const TOPIC: i8 = 2;
/// Kafka's number for the settings of a broker.
pub(super) const BROKER: i8 = 4;

/// Shows settings with where they come from.
pub async fn handle(context: &Context, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let results = request.resources.iter().map(|resource| {
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        match describe(context.broker(), resource) {
            Ok(entries) => {
                let wanted = entries
                    .into_iter()
                    .filter(|entry| is_wanted(resource, entry));
                let shown = wanted.map(|entry| show(entry, &request));
                result
                    .with_error_message(None)
                    .with_configs(shown.collect())
            }
            Err(refusal) => result
                .with_error_code(refusal.code())
                .with_error_message(refusal.text()),
        }
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

fn describe(
    broker: &Broker,
    resource: &DescribeConfigsResource,
) -> Result<Vec<KafkaEntry>, Refusal> {
    let config = broker.config();
    let name = resource.resource_name.as_str();
    match resource.resource_type {
        TOPIC => {
            let view = broker.catalog.view();
            if let Some(topic) = view.topic(name) {
                return Ok(config.describe_topic(&overrides_of(&topic.table)));
            }
            let unknown = ResponseError::UnknownTopicOrPartition;
            match names::check_topic_name(name) {
                Ok(()) => Err(Refusal::new(unknown, error_text(unknown))),
                Err(error) => {
                    let message = format!("Topic name is invalid: {error}");
                    Err(Refusal::new(ResponseError::InvalidTopicException, message))
                }
            }
        }
        BROKER if name.is_empty() => Ok(config.describe_cluster_defaults()),
        BROKER => check_broker(name, broker.node_id).map(|()| config.describe_broker()),
        other => Err(unsupported(other)),
    }
}

/// Checks that a client that names a broker means this one.
pub(super) fn check_broker(name: &str, node_id: i32) -> Result<(), Refusal> {
    let message = match name.parse::<i32>() {
        Ok(id) if id == node_id => return Ok(()),
        Ok(_) => {
            format!("Unexpected broker id, expected {node_id} or empty string, but received {name}")
        }
        Err(_) => format!("Broker id must be an integer, but it is: {name}"),
    };
    Err(Refusal::new(ResponseError::InvalidRequest, message))
}

pub(super) fn unsupported(resource_type: i8) -> Refusal {
    let message = format!("Unsupported resource type: {resource_type}");
    Refusal::new(ResponseError::InvalidRequest, message)
}

/// No names, or an empty list of them, mean all.
fn is_wanted(resource: &DescribeConfigsResource, entry: &KafkaEntry) -> bool {
    match resource.configuration_keys.as_deref() {
        None | Some([]) => true,
        Some(names) => names.iter().any(|name| name.as_str() == entry.name),
    }
}

fn show(entry: KafkaEntry, request: &DescribeConfigsRequest) -> DescribeConfigsResourceResult {
    let synonyms = entry.synonyms.iter().filter(|_| request.include_synonyms);
    let synonyms = synonyms.map(|synonym| {
        DescribeConfigsSynonym::default()
            .with_name(text(synonym.name))
            .with_value(synonym.value.as_deref().map(text))
            .with_source(synonym.source.code())
    });
    let documentation = request
        .include_documentation
        .then(|| text(entry.documentation));
    DescribeConfigsResourceResult::default()
        .with_name(text(entry.name))
        .with_value(entry.value.as_deref().map(text))
        .with_read_only(entry.read_only)
        .with_config_source(entry.source.code())
        .with_is_sensitive(entry.secret)
        .with_synonyms(synonyms.collect())
        .with_config_type(entry.kind)
        .with_documentation(documentation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::collections::BTreeMap;

    #[test]
    fn a_broker_is_named_by_its_id() {
        assert_eq!(check_broker("7", 7), Ok(()));
        for name in ["8", "seven"] {
            let refusal = check_broker(name, 7).unwrap_err();
            assert_eq!(refusal.error, ResponseError::InvalidRequest);
        }
    }

    #[test]
    fn synonyms_and_documentation_come_only_when_asked_for() {
        let entry = || {
            let entries = Config::default().describe_topic(&BTreeMap::new());
            entries
                .into_iter()
                .find(|e| e.name == "retention.ms")
                .unwrap()
        };
        let bare = show(entry(), &DescribeConfigsRequest::default());
        assert!(bare.synonyms.is_empty() && bare.documentation.is_none());
        let request = DescribeConfigsRequest::default()
            .with_include_synonyms(true)
            .with_include_documentation(true);
        let full = show(entry(), &request);
        assert!(!full.synonyms.is_empty() && full.documentation.is_some());
    }

    #[test]
    fn names_choose_settings_and_an_empty_list_means_all() {
        let entries = Config::default().describe_topic(&BTreeMap::new());
        let count = |keys: Option<Vec<&str>>| {
            let keys = keys.map(|keys| keys.into_iter().map(text).collect());
            let resource = DescribeConfigsResource::default().with_configuration_keys(keys);
            entries.iter().filter(|e| is_wanted(&resource, e)).count()
        };
        assert_eq!(count(Some(vec!["retention.ms", "no.such"])), 1);
        assert_eq!(count(None), entries.len());
        assert_eq!(count(Some(vec![])), entries.len());
    }
}
