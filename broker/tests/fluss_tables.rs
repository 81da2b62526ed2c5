//! Databases, tables and partitions of the Fluss wire.

#![allow(clippy::disallowed_methods, reason = "tests use the real world")]

mod common;

use common::TestBroker;
use common::fluss::{Client, log_table, path, schema};
use protocol::fluss::descriptor::{DatabaseDescriptor, TableDescriptor, schema_from_json};
use protocol::fluss::error::ErrorCode;
use protocol::fluss::messages::*;

fn create(
    path: &PbTablePath,
    table: &TableDescriptor,
    ignore_if_exists: bool,
) -> CreateTableRequest {
    CreateTableRequest {
        table_path: path.clone(),
        table_json: table.to_json().into(),
        ignore_if_exists,
    }
}

fn alter(path: &PbTablePath, changes: &[(&str, Option<&str>)]) -> AlterTableRequest {
    let changes = changes.iter().map(|(key, value)| PbAlterConfig {
        config_key: (*key).into(),
        config_value: value.map(Into::into),
        op_type: i32::from(value.is_none()),
    });
    AlterTableRequest {
        table_path: path.clone(),
        config_changes: changes.collect(),
        ..AlterTableRequest::default()
    }
}

fn spec(pairs: &[(&str, &str)]) -> PbPartitionSpec {
    let pair = |(key, value): &(&str, &str)| PbKeyValue {
        key: (*key).into(),
        value: (*value).into(),
    };
    PbPartitionSpec {
        partition_key_values: pairs.iter().map(pair).collect(),
    }
}

#[tokio::test]
async fn databases_are_made_listed_altered_and_dropped() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let described = DatabaseDescriptor {
        comment: Some("of the river".into()),
        custom_properties: [("owner".to_owned(), "me".to_owned())].into(),
    };
    let create = |ignore_if_exists| CreateDatabaseRequest {
        database_name: "flow".into(),
        ignore_if_exists,
        database_json: Some(described.to_json().into()),
    };
    client.ask(create(false)).await.expect("made");
    assert_eq!(
        client.refusal(create(false)).await,
        ErrorCode::DatabaseAlreadyExist
    );
    client.ask(create(true)).await.expect("exists, as is fine");
    let illegal = CreateDatabaseRequest {
        database_name: "a.b".into(),
        ..create(false)
    };
    assert_eq!(client.refusal(illegal).await, ErrorCode::InvalidDatabase);

    let list = client
        .ask(ListDatabasesRequest::default())
        .await
        .expect("a list");
    for name in ["flow", "fluss", "kafka", "vltava_system"] {
        assert!(
            list.database_name.iter().any(|found| found == name),
            "{name}"
        );
    }
    let request = ListDatabasesRequest {
        include_summary: Some(true),
    };
    let list = client.ask(request).await.expect("a list");
    assert!(list.database_name.is_empty());
    assert!(
        list.database_summary
            .iter()
            .any(|s| s.database_name == "flow" && s.table_count == 0)
    );

    let change = AlterDatabaseRequest {
        database_name: "flow".into(),
        ignore_if_not_exists: false,
        config_changes: vec![PbAlterConfig {
            config_key: "owner".into(),
            config_value: Some("you".into()),
            op_type: 0,
        }],
        comment: None,
    };
    client.ask(change).await.expect("altered");
    let info = GetDatabaseInfoRequest {
        database_name: "flow".into(),
    };
    let info = client.ask(info).await.expect("exists");
    let found = DatabaseDescriptor::from_json(&info.database_json).expect("JSON");
    assert_eq!(found.comment.as_deref(), Some("of the river"));
    assert_eq!(found.custom_properties["owner"], "you");

    let drop = |name: &str, ignore_if_not_exists, cascade| DropDatabaseRequest {
        database_name: name.into(),
        ignore_if_not_exists,
        cascade,
    };
    let inside = PbTablePath {
        database_name: "flow".into(),
        table_name: "t".into(),
    };
    client.create_table(&inside, &log_table(1)).await;
    assert_eq!(
        client.refusal(drop("flow", false, false)).await,
        ErrorCode::DatabaseNotEmpty
    );
    client
        .ask(drop("flow", false, true))
        .await
        .expect("dropped with its table");
    assert_eq!(
        client.refusal(drop("flow", false, false)).await,
        ErrorCode::DatabaseNotExist
    );
    client
        .ask(drop("flow", true, false))
        .await
        .expect("missing, as is fine");
    assert_eq!(
        client.refusal(drop("fluss", false, true)).await,
        ErrorCode::UnknownServerError
    );
    broker.stop().await;
}

#[tokio::test]
async fn a_table_has_the_servers_defaults_and_all_its_buckets() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let id = client.create_table(&path("t"), &log_table(3)).await;
    let table = TableDescriptor::from_json(&client.table_info(&path("t")).await.table_json);
    let table = table.expect("JSON");
    assert_eq!(table.schema, schema());
    assert_eq!(table.bucket_count, Some(3));
    assert_eq!(table.properties["table.replication.factor"], "1");
    assert_eq!(table.custom_properties["vltava.topic"], "fluss.t");

    assert_eq!(
        client
            .refusal(create(&path("t"), &log_table(1), false))
            .await,
        ErrorCode::TableAlreadyExist
    );
    client
        .ask(create(&path("t"), &log_table(1), true))
        .await
        .expect("exists, as is fine");

    let request = MetadataRequest {
        table_path: vec![path("t")],
        ..MetadataRequest::default()
    };
    let metadata = client.ask(request).await.expect("metadata").table_metadata;
    assert_eq!(metadata[0].table_id, id);
    let buckets: Vec<_> = metadata[0]
        .bucket_metadata
        .iter()
        .map(|b| b.bucket_id)
        .collect();
    assert_eq!(buckets, [0, 1, 2]);
    assert!(
        metadata[0]
            .bucket_metadata
            .iter()
            .all(|bucket| bucket.leader_id.is_some())
    );
    let missing = MetadataRequest {
        table_path: vec![path("t"), path("u")],
        ..MetadataRequest::default()
    };
    assert_eq!(client.refusal(missing).await, ErrorCode::TableNotExist);

    let broker = broker.restart().await;
    let mut client = Client::connect(broker.fluss()).await;
    assert_eq!(client.table_info(&path("t")).await.table_id, id);
    broker.stop().await;
}

#[tokio::test]
async fn what_cannot_be_a_table_is_refused_with_a_reason() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let mut refusal = async |path: PbTablePath, table: &TableDescriptor| {
        client.refusal(create(&path, table, false)).await
    };
    let mut key = log_table(1);
    key.schema.primary_key = vec!["missing".into()];
    assert_eq!(refusal(path("t"), &key).await, ErrorCode::InvalidTable);
    let mut option = log_table(1);
    option.properties.insert("table.unknown".into(), "1".into());
    assert_eq!(refusal(path("t"), &option).await, ErrorCode::InvalidConfig);
    assert_eq!(
        refusal(path("t"), &log_table(100_000)).await,
        ErrorCode::BucketMaxNum
    );
    assert_eq!(
        refusal(path("a.b"), &log_table(1)).await,
        ErrorCode::InvalidTable
    );
    let nowhere = PbTablePath {
        database_name: "nowhere".into(),
        table_name: "t".into(),
    };
    assert_eq!(
        refusal(nowhere, &log_table(1)).await,
        ErrorCode::DatabaseNotExist
    );
    let system = PbTablePath {
        database_name: "vltava_system".into(),
        table_name: "t".into(),
    };
    assert_eq!(
        refusal(system, &log_table(1)).await,
        ErrorCode::InvalidTable
    );
    let json = CreateTableRequest {
        table_json: "{".into(),
        ..create(&path("t"), &log_table(1), false)
    };
    assert_eq!(client.refusal(json).await, ErrorCode::InvalidTable);
    broker.stop().await;
}

#[tokio::test]
async fn columns_are_added_under_a_new_schema_id_and_options_are_set() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    client.create_table(&path("t"), &log_table(1)).await;
    let add = AlterTableRequest {
        add_columns: vec![PbAddColumn {
            column_name: "more".into(),
            data_type_json: br#"{"type":"BIGINT"}"#.as_slice().into(),
            column_position_type: 0,
            ..PbAddColumn::default()
        }],
        ..alter(&path("t"), &[])
    };
    client.ask(add.clone()).await.expect("added");
    assert_eq!(client.refusal(add).await, ErrorCode::InvalidAlterTable);
    assert_eq!(client.table_info(&path("t")).await.schema_id, 2);
    let mut columns = async |schema_id| {
        let request = GetTableSchemaRequest {
            table_path: path("t"),
            schema_id,
        };
        let answer = client.ask(request).await?;
        Ok::<_, ErrorResponse>(
            schema_from_json(&answer.schema_json)
                .expect("JSON")
                .columns
                .len(),
        )
    };
    assert_eq!(columns(Some(1)).await, Ok(2));
    assert_eq!(columns(Some(2)).await, Ok(3));
    assert_eq!(columns(None).await, Ok(3));
    assert_eq!(
        columns(Some(3)).await.map_err(|e| e.error_code),
        Err(ErrorCode::SchemaNotExist.code())
    );

    client
        .ask(alter(
            &path("t"),
            &[("table.log.ttl", Some("1 h")), ("note", Some("x"))],
        ))
        .await
        .expect("set");
    let table =
        TableDescriptor::from_json(&client.table_info(&path("t")).await.table_json).expect("JSON");
    assert_eq!(table.properties["table.log.ttl"], "1 h");
    assert_eq!(table.custom_properties["note"], "x");
    let fixed = alter(&path("t"), &[("table.log.format", Some("INDEXED"))]);
    assert_eq!(client.refusal(fixed).await, ErrorCode::InvalidAlterTable);
    assert_eq!(
        client.refusal(alter(&path("u"), &[])).await,
        ErrorCode::TableNotExist
    );
    let ignored = AlterTableRequest {
        ignore_if_not_exists: true,
        ..alter(&path("u"), &[])
    };
    client.ask(ignored).await.expect("missing, as is fine");
    broker.stop().await;
}

#[tokio::test]
async fn a_dropped_table_is_gone_and_its_name_is_free() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let first = client.create_table(&path("t"), &log_table(1)).await;
    let drop = |ignore_if_not_exists| DropTableRequest {
        table_path: path("t"),
        ignore_if_not_exists,
    };
    client.ask(drop(false)).await.expect("dropped");
    assert_eq!(client.refusal(drop(false)).await, ErrorCode::TableNotExist);
    client.ask(drop(true)).await.expect("missing, as is fine");
    let exists = TableExistsRequest {
        table_path: path("t"),
    };
    assert!(!client.ask(exists).await.expect("an answer").exists);
    let second = client.create_table(&path("t"), &log_table(1)).await;
    assert_ne!(first, second);
    let groups = DropTableRequest {
        table_path: PbTablePath {
            database_name: "vltava_system".into(),
            table_name: "consumer_offsets".into(),
        },
        ignore_if_not_exists: false,
    };
    assert_eq!(client.refusal(groups).await, ErrorCode::InvalidTable);
    broker.stop().await;
}

fn by_name() -> TableDescriptor {
    TableDescriptor {
        partition_keys: vec!["name".into()],
        ..log_table(2)
    }
}

fn partition(path: &PbTablePath, value: &str, ignore: bool) -> CreatePartitionRequest {
    CreatePartitionRequest {
        table_path: path.clone(),
        partition_spec: spec(&[("name", value)]),
        ignore_if_not_exists: ignore,
    }
}

fn list(path: &PbTablePath) -> ListPartitionInfosRequest {
    ListPartitionInfosRequest {
        table_path: path.clone(),
        ..ListPartitionInfosRequest::default()
    }
}

#[tokio::test]
async fn partitions_are_made_listed_and_dropped() {
    let broker = TestBroker::start_with([("max.partition.num", "2")]).await;
    let mut client = Client::connect(broker.fluss()).await;
    let path = path("t");
    let table_id = client.create_table(&path, &by_name()).await;
    client
        .ask(partition(&path, "a", false))
        .await
        .expect("made");
    assert_eq!(
        client.refusal(partition(&path, "a", false)).await,
        ErrorCode::PartitionAlreadyExists
    );
    client
        .ask(partition(&path, "a", true))
        .await
        .expect("exists, as is fine");
    client
        .ask(partition(&path, "b", false))
        .await
        .expect("made");
    assert_eq!(
        client.refusal(partition(&path, "c", false)).await,
        ErrorCode::PartitionMaxNum
    );
    assert_eq!(
        client.refusal(partition(&path, "$", false)).await,
        ErrorCode::PartitionSpecInvalid
    );
    let other_key = CreatePartitionRequest {
        partition_spec: spec(&[("id", "1")]),
        ..partition(&path, "d", false)
    };
    assert_eq!(
        client.refusal(other_key).await,
        ErrorCode::PartitionSpecInvalid
    );

    let found = client
        .ask(list(&path))
        .await
        .expect("a list")
        .partitions_info;
    assert_eq!(found.len(), 2);
    assert!(
        found
            .iter()
            .all(|partition| partition.bucket_count == Some(2))
    );
    let filtered = ListPartitionInfosRequest {
        partial_partition_spec: Some(spec(&[("name", "b")])),
        ..list(&path)
    };
    let filtered = client.ask(filtered).await.expect("a list").partitions_info;
    assert_eq!(filtered, [found[1].clone()]);

    // The table has no buckets of its own; partitions come only when they are asked for.
    let by_path = |name: &str| MetadataRequest {
        table_path: vec![path.clone()],
        partitions_path: vec![PbPhysicalTablePath {
            database_name: "fluss".into(),
            table_name: "t".into(),
            partition_name: Some(name.into()),
        }],
        partitions_id: vec![found[1].partition_id],
    };
    let metadata = client.ask(by_path("a")).await.expect("metadata");
    assert_eq!(metadata.table_metadata[0].bucket_metadata, []);
    let names: Vec<_> = metadata
        .partition_metadata
        .iter()
        .map(|p| p.partition_name.as_str())
        .collect();
    assert_eq!(names, ["a", "b"]);
    assert!(
        metadata
            .partition_metadata
            .iter()
            .all(|p| p.table_id == table_id && p.bucket_metadata.len() == 2)
    );
    assert_eq!(
        client.refusal(by_path("x")).await,
        ErrorCode::PartitionNotExists
    );

    let drop = |ignore_if_not_exists| DropPartitionRequest {
        table_path: path.clone(),
        partition_spec: spec(&[("name", "a")]),
        ignore_if_not_exists,
    };
    client.ask(drop(false)).await.expect("dropped");
    assert_eq!(
        client.refusal(drop(false)).await,
        ErrorCode::PartitionNotExists
    );
    client.ask(drop(true)).await.expect("missing, as is fine");
    broker.stop().await;
}

#[tokio::test]
async fn a_table_without_partition_keys_has_no_partitions() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    client.create_table(&path("t"), &log_table(1)).await;
    let refused = client.refusal(partition(&path("t"), "a", false)).await;
    assert_eq!(refused, ErrorCode::TableNotPartitioned);
    assert_eq!(
        client.refusal(list(&path("t"))).await,
        ErrorCode::TableNotPartitioned
    );
    broker.stop().await;
}

#[tokio::test]
async fn partitions_by_time_are_made_ahead_and_again_after_a_drop() {
    let broker = TestBroker::start_with([("auto-partition.check.interval", "50 ms")]).await;
    let mut client = Client::connect(broker.fluss()).await;
    let mut table = by_name();
    for (key, value) in [
        ("table.auto-partition.enabled", "true"),
        ("table.auto-partition.time-unit", "YEAR"),
        ("table.auto-partition.num-precreate", "3"),
    ] {
        table.properties.insert(key.into(), value.into());
    }
    client.create_table(&path("t"), &table).await;
    let found = client
        .ask(list(&path("t")))
        .await
        .expect("a list")
        .partitions_info;
    assert_eq!(found.len(), 3, "at once: {found:?}");
    let old = client.refusal(partition(&path("t"), "1990", false)).await;
    assert_eq!(old, ErrorCode::PartitionSpecInvalid);

    let last = found[2].partition_spec.clone();
    let drop = DropPartitionRequest {
        table_path: path("t"),
        partition_spec: last,
        ignore_if_not_exists: false,
    };
    client.ask(drop).await.expect("dropped");
    for _ in 0..100 {
        if client
            .ask(list(&path("t")))
            .await
            .expect("a list")
            .partitions_info
            .len()
            == 3
        {
            broker.stop().await;
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the check in the background made no partition");
}
