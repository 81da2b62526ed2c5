//! Tables with a key as they are made, described and altered.

use protocol::fluss::descriptor::TableDescriptor;
use protocol::fluss::error::ErrorCode;
use protocol::fluss::messages::*;
use protocol::schema::{AggFunction, TypeKind};

use super::common::TestBroker;
use super::common::fluss::{Client, path};
use super::common::keyed::{Keyed, put, row};

async fn described(client: &mut Client, name: &str) -> TableDescriptor {
    let info = client.table_info(&path(name)).await;
    TableDescriptor::from_json(&info.table_json).expect("JSON")
}

fn create(name: &str, table: &TableDescriptor) -> CreateTableRequest {
    CreateTableRequest {
        table_path: path(name),
        table_json: table.to_json().into(),
        ignore_if_exists: false,
    }
}

#[tokio::test]
async fn a_table_is_described_with_what_clients_encode_keys_by() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let keyed = Keyed::new();
    client.create_table(&path("t"), &keyed.table(3, &[])).await;
    let found = described(&mut client, "t").await;
    assert_eq!(found.schema.primary_key, ["id"]);
    assert_eq!(found.bucket_keys, ["id"]);
    assert_eq!(found.properties["table.kv.format-version"], "2");
    assert!(!found.properties.contains_key("table.delete.behavior"));

    let regions = Keyed::of(
        &[
            ("region", TypeKind::String),
            ("id", TypeKind::Int),
            ("sum", TypeKind::BigInt),
        ],
        &["region", "id"],
    );
    let mut regions = regions.partitioned_by("region").table(1, &[]);
    regions
        .properties
        .insert("table.merge-engine".into(), "aggregation".into());
    regions.schema.columns[2].agg_function = Some(AggFunction {
        name: "sum".into(),
        parameters: Default::default(),
    });
    client.create_table(&path("regions"), &regions).await;
    let found = described(&mut client, "regions").await;
    assert_eq!(found.bucket_keys, ["id"]);
    assert_eq!(found.properties["table.delete.behavior"], "IGNORE");
    assert_eq!(found.schema, regions.schema);
    let broker = broker.restart().await;
    let mut client = Client::connect(broker.fluss()).await;
    assert_eq!(described(&mut client, "regions").await, found);
    broker.stop().await;
}

#[tokio::test]
async fn what_no_table_can_be_is_refused() {
    let broker = TestBroker::start_with([("allow.create.log.tables", "false")]).await;
    let mut client = Client::connect(broker.fluss()).await;
    let keyed = Keyed::new();
    for (properties, code) in [
        (
            &[("table.merge-engine", "versioned")][..],
            ErrorCode::InvalidConfig,
        ),
        (
            &[
                ("table.merge-engine", "aggregation"),
                ("table.changelog.image", "WAL"),
            ],
            ErrorCode::InvalidConfig,
        ),
        (
            &[
                ("table.merge-engine", "first_row"),
                ("table.delete.behavior", "allow"),
            ],
            ErrorCode::InvalidConfig,
        ),
        (
            &[("table.kv.format-version", "3")],
            ErrorCode::InvalidConfig,
        ),
        (&[("table.log.format", "INDEXED")], ErrorCode::InvalidConfig),
    ] {
        let refused = client
            .refusal(create("t", &keyed.table(1, properties)))
            .await;
        assert_eq!(refused, code, "{properties:?}");
    }
    let elsewhere = TableDescriptor {
        bucket_keys: vec!["name".into()],
        ..keyed.table(1, &[])
    };
    assert_eq!(
        client.refusal(create("t", &elsewhere)).await,
        ErrorCode::InvalidTable
    );
    let keyless = TableDescriptor {
        schema: protocol::schema::Schema {
            primary_key: Vec::new(),
            ..keyed.schema.clone()
        },
        ..keyed.table(1, &[])
    };
    assert_eq!(
        client.refusal(create("t", &keyless)).await,
        ErrorCode::InvalidTable
    );
    client.create_table(&path("t"), &keyed.table(1, &[])).await;
    broker.stop().await;

    let broker = TestBroker::start_with([("allow.create.kv.tables", "false")]).await;
    let mut client = Client::connect(broker.fluss()).await;
    let refused = client.refusal(create("t", &keyed.table(1, &[]))).await;
    assert_eq!(refused, ErrorCode::InvalidTable);
    broker.stop().await;
}

#[tokio::test]
async fn rows_have_the_new_column_of_a_table_that_is_altered() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let before = Keyed::new();
    let table = client.create_table(&path("t"), &before.table(1, &[])).await;
    let batch = before.upserts(None, &[row(1, "one", 1), row(2, "two", 2)]);
    client.put(put(table, 0, batch)).await.expect("put");
    let add = AlterTableRequest {
        table_path: path("t"),
        add_columns: vec![PbAddColumn {
            column_name: "more".into(),
            data_type_json: br#"{"type":"STRING"}"#.as_slice().into(),
            column_position_type: 0,
            ..PbAddColumn::default()
        }],
        ..AlterTableRequest::default()
    };
    client.ask(add).await.expect("added");
    let mut after = Keyed::of(
        &[
            ("id", TypeKind::Int),
            ("name", TypeKind::String),
            ("n", TypeKind::BigInt),
            ("more", TypeKind::String),
        ],
        &["id"],
    );
    after.schema_id = 2;
    let mut wide = row(1, "uno", 10);
    wide.push(protocol::row::Datum::String("new"));
    let batch = after.upserts(None, &[wide.clone()]);
    client.put(put(table, 0, batch)).await.expect("put");
    assert_eq!(client.rows(&after, table, &[wide]).await, ["1|uno|10|new"]);
    // Rows keep the schema of their writer.
    assert_eq!(
        client.rows(&before, table, &[row(2, "", 0)]).await,
        ["2|two|2"]
    );
    let batch = before.upserts(None, &[row(2, "due", 20)]);
    client.put(put(table, 0, batch)).await.expect("put");
    assert_eq!(
        client.rows(&before, table, &[row(2, "", 0)]).await,
        ["2|due|20"]
    );
    let mut unknown = before.clone();
    unknown.schema_id = 3;
    let batch = unknown.upserts(None, &[row(3, "three", 3)]);
    let refused = client.put(put(table, 0, batch)).await;
    assert_eq!(refused, Err(ErrorCode::SchemaNotExist));
    broker.stop().await;
}

#[tokio::test]
async fn every_bucket_is_named_without_a_snapshot() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let keyed = Keyed::new();
    let table = client.create_table(&path("t"), &keyed.table(2, &[])).await;
    let latest = |name: &str, partition: Option<&str>| GetLatestKvSnapshotsRequest {
        table_path: path(name),
        partition_name: partition.map(str::to_owned),
    };
    let answer = client.ask(latest("t", None)).await.expect("an answer");
    assert_eq!((answer.table_id, answer.partition_id), (table, None));
    let buckets: Vec<_> = answer
        .latest_snapshots
        .iter()
        .map(|bucket| (bucket.bucket_id, bucket.snapshot_id, bucket.log_offset))
        .collect();
    assert_eq!(buckets, [(0, None, None), (1, None, None)]);
    assert_eq!(
        client.refusal(latest("t", Some("nowhere"))).await,
        ErrorCode::TableNotPartitioned
    );
    broker.stop().await;
}

#[tokio::test]
async fn offsets_of_a_job_are_kept_once_and_over_a_restart() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let table = |table_id, buckets: &[(i32, i64)]| PbProducerTableOffsets {
        table_id,
        bucket_offsets: buckets
            .iter()
            .map(|&(bucket_id, offset)| PbBucketOffset {
                partition_id: None,
                bucket_id,
                log_end_offset: Some(offset),
            })
            .collect(),
    };
    let left = vec![table(3, &[(0, 5), (1, 0)]), table(4, &[(0, 7)])];
    let register =
        |producer: &str, offsets: &[PbProducerTableOffsets]| RegisterProducerOffsetsRequest {
            producer_id: producer.to_owned(),
            table_offsets: offsets.to_vec(),
            ttl_ms: None,
        };
    let get = |producer: &str| GetProducerOffsetsRequest {
        producer_id: producer.to_owned(),
    };
    let answer = client.ask(get("job")).await.expect("an answer");
    assert_eq!(answer, GetProducerOffsetsResponse::default());
    for (offsets, result) in [(&left[..], 0), (&[], 1)] {
        let answer = client.ask(register("job", offsets)).await.expect("kept");
        assert_eq!(answer.result, Some(result));
    }
    let delete = |producer: &str| DeleteProducerOffsetsRequest {
        producer_id: producer.to_owned(),
    };
    for refused in [
        client.refusal(register("a/b", &left)).await,
        client.refusal(get("a/b")).await,
        client.refusal(delete("")).await,
    ] {
        assert_eq!(refused, ErrorCode::InvalidProducerId);
    }
    let broker = broker.restart().await;
    let mut client = Client::connect(broker.fluss()).await;
    let answer = client.ask(get("job")).await.expect("an answer");
    assert_eq!(answer.table_offsets, left);
    assert_eq!(answer.producer_id.as_deref(), Some("job"));
    client.ask(delete("job")).await.expect("forgotten");
    let answer = client.ask(get("job")).await.expect("an answer");
    assert_eq!(answer, GetProducerOffsetsResponse::default());
    broker.stop().await;
}
