use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::{
    DescribeConfigsRequest, IncrementalAlterConfigsRequest, MetadataRequest,
};
use protocol::fluss::error::ErrorCode;
use protocol::ids::SchemaId;

use super::*;
use crate::common::fluss::{batch as fluss_batch, code, log_table, path};
use crate::common::keyed::{Keyed, put};
use crate::common::records::of_fluss;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const INVALID_RECORD: i16 = 87;
const POLICY_VIOLATION: i16 = 44;

impl Clients {
    /// Sets one setting; the error code.
    async fn set(&mut self, kind: i8, name: &str, setting: &str, value: &str) -> i16 {
        let config = AlterableConfig::default()
            .with_name(text(setting))
            .with_value(Some(text(value)));
        let resource = AlterConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(name))
            .with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let answer = self.kafka.ask(1, request).await.expect("an answer");
        answer.responses[0].error_code
    }

    /// The cleanup policy that Kafka clients are shown.
    async fn policy(&mut self, topic: &str) -> String {
        let resource = DescribeConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(topic))
            .with_configuration_keys(Some(vec![text("cleanup.policy")]));
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
        let mut answer = self.kafka.ask(4, request).await.expect("an answer");
        let shown = answer.results[0].configs.pop().expect("the setting");
        shown.value.expect("a value").to_string()
    }

    /// Makes `fluss.log` and, with a primary key, `fluss.rows`.
    async fn create_fluss_tables(&mut self) {
        let keyed = Keyed::new().table(1, &[]);
        self.fluss.create_table(&path("log"), &log_table(1)).await;
        self.fluss.create_table(&path("rows"), &keyed).await;
    }

    async fn topic_id(&mut self, name: &str) -> String {
        let request = MetadataRequest::default().with_topics(None);
        let answer = self.kafka.ask(12, request).await.expect("an answer");
        let mut topics = answer.topics.iter();
        let topic = topics.find(|topic| topic.name.as_ref().is_some_and(|n| n.0 == text(name)));
        topic.expect("the topic").topic_id.to_string()
    }

    async fn has_key(&mut self, topic: &str) -> bool {
        let info = self.fluss.table_info(&topic_path(topic)).await;
        let json = String::from_utf8(info.table_json.to_vec()).expect("JSON");
        json.contains("\"primary_key\":[\"key\"]")
    }
}

fn unkeyed(value: &str) -> Row {
    Row::of_value(value.to_owned(), 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_without_a_key_is_refused_by_a_compacted_topic() {
    let broker = TestBroker::start().await;
    let mut clients = Clients::connect(&broker).await;
    clients.compacted("t", 1, "probe").await;
    let refused = clients.try_produce("t", 0, &[unkeyed("v")]).await;
    assert_eq!(refused, Err(INVALID_RECORD));
    let mixed = [record("a", Some("1"), 1), unkeyed("v")];
    assert_eq!(
        clients.try_produce("t", 0, &mixed).await,
        Err(INVALID_RECORD)
    );
    assert_eq!(clients.produce("t", 0, &[record("a", None, 1)]).await, 0);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_gets_a_key_and_loses_it_and_keeps_its_log() {
    let broker = TestBroker::start().await;
    let mut clients = Clients::connect(&broker).await;
    assert_eq!(clients.create("t", 1, &[]).await, 0);
    let before = clients.fluss.table_info(&topic_path("t")).await.table_id;
    let id = clients.topic_id("t").await;
    let rows = [
        record("a", Some("1"), 1),
        unkeyed("x"),
        record("b", Some("2"), 2),
    ];
    clients.produce("t", 0, &rows).await;
    assert!(!clients.has_key("t").await);

    assert_eq!(
        clients
            .set(TOPIC, "t", "cleanup.policy", "compact,delete")
            .await,
        0
    );
    let broker = broker.restart().await;
    let mut clients = Clients::connect(&broker).await;
    assert!(clients.has_key("t").await);
    assert_eq!(clients.topic_id("t").await, id);
    let table = clients.fluss.table_info(&topic_path("t")).await.table_id;
    assert_ne!(table, before);
    // Who has the old number has to look the table up again.
    let stale = clients
        .fluss
        .look_up(lookup(before, 0, vec![encoded(b"a")]))
        .await;
    assert_eq!(stale, Err(ErrorCode::UnknownTableOrBucket));
    let stale = clients.fluss.fetch(before, 0, 0, 0).await;
    assert_eq!(
        code(stale.error_code),
        Some(ErrorCode::UnknownTableOrBucket)
    );

    assert_eq!(clients.produce("t", 0, &[record("a", None, 3)]).await, 3);
    let found = clients.values(table, 0, &["a", "b"]).await;
    assert_eq!(found, [None, Some("2".to_owned())]);
    let log = clients.fluss.fetch(table, 0, 0, 0).await;
    let (seen, next) = of_fluss(log.records.expect("records"), 0);
    let keys: Vec<_> = seen
        .iter()
        .map(|(offset, row)| (*offset, row.key.clone()))
        .collect();
    let key = |key: &str| Some(key.as_bytes().to_vec());
    assert_eq!(
        (keys, next),
        (vec![(0, key("a")), (2, key("b")), (3, key("a"))], 4)
    );
    assert_eq!(clients.consume("t", 0).await.len(), 4);

    assert_eq!(clients.set(TOPIC, "t", "cleanup.policy", "delete").await, 0);
    assert!(!clients.has_key("t").await);
    assert_eq!(clients.topic_id("t").await, id);
    assert_eq!(clients.produce("t", 0, &[unkeyed("again")]).await, 4);
    let table = clients.fluss.table_info(&topic_path("t")).await.table_id;
    let log = clients.fluss.fetch(table, 0, 0, 0).await;
    let (seen, _) = of_fluss(log.records.expect("records"), 0);
    assert_eq!(seen.len(), 5);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_fluss_appended_before_the_topic_got_its_key_are_found() {
    let broker = TestBroker::start().await;
    let mut clients = Clients::connect(&broker).await;
    assert_eq!(clients.create("t", 1, &[]).await, 0);
    let table = clients.fluss.table_info(&topic_path("t")).await.table_id;
    let rows = [
        record("a", Some("1"), 1),
        unkeyed("x"),
        record("b", Some("2"), 2),
    ];
    let batch = crate::common::records::fluss_batch(&rows, None, None);
    let produced = clients.fluss.produce(table, 0, batch).await;
    assert_eq!(produced.error_code, None);
    assert_eq!(
        clients.set(TOPIC, "t", "cleanup.policy", "compact").await,
        0
    );
    let table = clients.fluss.table_info(&topic_path("t")).await.table_id;
    let found = clients.values(table, 0, &["a", "b", "x"]).await;
    assert_eq!(found, [Some("1".to_owned()), Some("2".to_owned()), None]);
    let log = clients.fluss.fetch(table, 0, 0, 0).await;
    let (seen, next) = of_fluss(log.records.expect("records"), 0);
    assert_eq!((seen.len(), next), (2, 3));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_without_a_policy_follow_the_brokers_and_fluss_tables_do_not() {
    let broker = TestBroker::start().await;
    let mut clients = Clients::connect(&broker).await;
    assert_eq!(clients.create("silent", 1, &[]).await, 0);
    let own = [("cleanup.policy", "delete")];
    assert_eq!(clients.create("own", 1, &own).await, 0);
    let log = clients
        .fluss
        .create_table(&path("log"), &log_table(1))
        .await;
    assert_eq!(
        clients
            .set(BROKER, "", "log.cleanup.policy", "compact")
            .await,
        0
    );
    assert!(clients.has_key("silent").await);
    assert!(!clients.has_key("own").await);
    assert_eq!(clients.fluss.table_info(&path("log")).await.table_id, log);
    let produced = clients.fluss.produce(log, 0, fluss_batch(0..3, None)).await;
    assert_eq!(produced.error_code, None);
    assert_eq!(clients.create("new", 1, &[]).await, 0);
    assert!(clients.has_key("new").await);

    let broker = broker.restart().await;
    let mut clients = Clients::connect(&broker).await;
    assert!(clients.has_key("silent").await);
    assert_eq!(
        clients
            .set(BROKER, "", "log.cleanup.policy", "delete")
            .await,
        0
    );
    assert!(!clients.has_key("silent").await);

    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_became_another_table_has_one_number_for_scans_and_snapshots() {
    // Scans are looked over many times while this one goes on.
    let broker = TestBroker::start_with([("kv.scanner.expiration-interval", "1")]).await;
    let mut clients = Clients::connect(&broker).await;
    assert_eq!(clients.create("t", 1, &[]).await, 0);
    let keys = (0..500).map(|key| format!("{key:03}"));
    let rows: Vec<Row> = keys.map(|key| record(&key, Some("v"), 1)).collect();
    assert_eq!(clients.produce("t", 0, &rows).await, 0);
    let before = clients.fluss.table_info(&topic_path("t")).await.table_id;
    assert_eq!(
        clients.set(TOPIC, "t", "cleanup.policy", "compact").await,
        0
    );
    let table = clients.fluss.table_info(&topic_path("t")).await.table_id;
    assert_ne!(table, before);

    let scanned = clients.fluss.scan_all(table, 0, 1).await;
    assert_eq!(scanned.len(), 500);
    let latest = GetLatestKvSnapshotsRequest {
        table_path: topic_path("t"),
        partition_name: None,
    };
    let latest = clients.fluss.ask(latest).await.expect("an answer");
    assert_eq!((latest.table_id, latest.latest_snapshots.len()), (table, 1));
    let list = |table_id| ListKvSnapshotsRequest {
        table_id,
        partition_id: None,
    };
    let listed = clients.fluss.ask(list(table)).await.expect("an answer");
    assert_eq!(listed.table_id, table);
    let old = clients.fluss.refusal(list(before)).await;
    assert_eq!(old, ErrorCode::TableNotExist);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_fluss_clients_show_the_policy_of_their_kind_and_keep_it() {
    let broker = TestBroker::start().await;
    let mut clients = Clients::connect(&broker).await;
    clients.create_fluss_tables().await;
    for brokers in ["compact", "delete"] {
        let changed = clients.set(BROKER, "", "log.cleanup.policy", brokers);
        assert_eq!(changed.await, 0);
        for (topic, own, other) in [
            ("fluss.log", "delete", "compact"),
            ("fluss.rows", "compact", "delete"),
        ] {
            assert_eq!(clients.policy(topic).await, own);
            // Who reads all settings and writes them back changes nothing.
            let same = clients.set(TOPIC, topic, "cleanup.policy", own).await;
            assert_eq!(same, 0);
            for wish in [other, "compact,delete"] {
                let refused = clients.set(TOPIC, topic, "cleanup.policy", wish).await;
                assert_eq!(refused, POLICY_VIOLATION, "{topic}: {wish}");
            }
        }
    }
    let internal = clients.policy("__consumer_offsets").await;
    assert_eq!(internal, "compact");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_table_of_a_fluss_client_may_be_kept_for_ever() {
    let broker = TestBroker::start().await;
    let mut clients = Clients::connect(&broker).await;
    clients.create_fluss_tables().await;
    let kept = clients.set(TOPIC, "fluss.log", "cleanup.policy", "").await;
    assert_eq!(kept, 0);
    let refused = clients.set(TOPIC, "fluss.rows", "cleanup.policy", "").await;
    assert_eq!(refused, POLICY_VIOLATION);

    let broker = broker.restart().await;
    let mut clients = Clients::connect(&broker).await;
    assert_eq!(clients.policy("fluss.log").await, "");
    assert_eq!(clients.policy("fluss.rows").await, "compact");
    // Another setting leaves it.
    let other = clients.set(TOPIC, "fluss.log", "retention.ms", "1000");
    assert_eq!(other.await, 0);
    assert_eq!(clients.policy("fluss.log").await, "");
    let cut = clients.set(TOPIC, "fluss.log", "cleanup.policy", "delete");
    assert_eq!(cut.await, 0);
    assert_eq!(clients.policy("fluss.log").await, "delete");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_of_the_topic_without_a_key_begins_anew_when_it_has_one() {
    let broker = TestBroker::start().await;
    let mut clients = Clients::connect(&broker).await;
    let configs = [("vltava.key.partitioner", "murmur2")];
    assert_eq!(clients.create("t", 1, &configs).await, 0);
    let writer = clients.fluss.ask(InitWriterRequest::default()).await;
    let writer = Some((writer.expect("an id").writer_id, 0));
    let table = clients.fluss.table_info(&topic_path("t")).await.table_id;
    let row = [record("a", Some("1"), 1)];
    let appended = crate::common::records::fluss_batch(&row, None, writer);
    let produced = clients.fluss.produce(table, 0, appended).await;
    assert_eq!(produced.error_code, None);
    for (kind, value) in [
        ("compact", Some("2")),
        ("delete", None),
        ("compact", Some("3")),
    ] {
        assert_eq!(clients.set(TOPIC, "t", "cleanup.policy", kind).await, 0);
        let info = clients.fluss.table_info(&topic_path("t")).await;
        if value.is_some() {
            // Its first batch to this table, whatever the log knows of the writer.
            let schema = SchemaId::new(i16::try_from(info.schema_id).expect("an id"));
            let records = upserts::batch_of(schema, writer, &[("a", value)]);
            let end = clients.fluss.put(put(info.table_id, 0, records)).await;
            end.expect("put");
            let found = clients.values(info.table_id, 0, &["a"]).await;
            assert_eq!(found, [value.map(str::to_owned)]);
        }
    }
    broker.stop().await;
}
