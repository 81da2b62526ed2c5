//! Databases, tables, partitions, and what is refused.

use fluss::client::FlussConnection;
use fluss::config::Config;
use fluss::error::{Error, FlussError};
use fluss::metadata::{
    AddColumn, AlterConfig, AlterConfigOpType, AlterTableChanges, ColumnPositionType, DataTypes,
    DatabaseDescriptor, JsonSerde, PartitionSpec, Schema, TablePath,
};
use harness::{addresses, names};
use std::collections::HashMap;
use vltava_compat_fluss_rust::{Client, config, describe, eventually, refusal, small};

#[tokio::test]
async fn a_database_is_made_described_and_dropped() {
    let client = Client::open().await;
    let name = names::unique("db");
    let descriptor = DatabaseDescriptor::builder()
        .comment("words")
        .custom_property("k", "v")
        .build();
    client
        .admin
        .create_database(&name, Some(&descriptor), false)
        .await
        .expect("created");
    assert!(
        client
            .admin
            .database_exists(&name)
            .await
            .expect("an answer")
    );
    assert!(
        client
            .admin
            .list_databases()
            .await
            .expect("a list")
            .contains(&name)
    );
    let info = client
        .admin
        .get_database_info(&name)
        .await
        .expect("described");
    assert_eq!(info.database_descriptor().comment(), Some("words"));
    assert_eq!(
        info.database_descriptor()
            .custom_properties()
            .get("k")
            .map(String::as_str),
        Some("v")
    );
    let again = client.admin.create_database(&name, None, false).await;
    assert_eq!(refusal(again), FlussError::DatabaseAlreadyExist);
    client
        .admin
        .create_database(&name, None, true)
        .await
        .expect("ignored");
    client
        .admin
        .drop_database(&name, false, false)
        .await
        .expect("dropped");
    assert!(
        !client
            .admin
            .database_exists(&name)
            .await
            .expect("an answer")
    );
    let gone = client.admin.drop_database(&name, false, false).await;
    assert_eq!(refusal(gone), FlussError::DatabaseNotExist);
}

#[tokio::test]
async fn a_database_with_tables_goes_only_with_them() {
    let client = Client::open().await;
    let name = names::unique("db");
    client
        .admin
        .create_database(&name, None, false)
        .await
        .expect("created");
    let path = TablePath::new(name.as_str(), "inside");
    client
        .admin
        .create_table(&path, &small().build().expect("a descriptor"), false)
        .await
        .expect("created");
    assert_eq!(
        client.admin.list_tables(&name).await.expect("a list"),
        ["inside"]
    );
    let full = client.admin.drop_database(&name, false, false).await;
    assert_eq!(refusal(full), FlussError::DatabaseNotEmpty);
    client
        .admin
        .drop_database(&name, false, true)
        .await
        .expect("dropped with its tables");
    assert!(
        !client
            .admin
            .database_exists(&name)
            .await
            .expect("an answer")
    );
}

#[tokio::test]
async fn a_table_is_described_as_it_was_made() {
    let client = Client::open().await;
    let descriptor = small()
        .distributed_by(Some(3), vec!["id".to_owned()])
        .comment("scores")
        .property("table.log.ttl", "3 d")
        .custom_property("owner", "tests");
    let path = client.table(descriptor).await;
    let info = client.admin.get_table_info(&path).await.expect("described");
    assert_eq!(info.get_num_buckets(), 3);
    assert_eq!(info.get_bucket_keys(), ["id"]);
    assert_eq!(info.get_comment(), Some("scores"));
    assert_eq!(info.get_schema().column_names(), ["id", "name", "score"]);
    assert_eq!(
        info.get_properties()
            .get("table.log.ttl")
            .map(String::as_str),
        Some("3 d")
    );
    assert_eq!(
        info.get_custom_properties()
            .get("owner")
            .map(String::as_str),
        Some("tests")
    );
    assert!(info.get_created_time() > 0);
    assert!(client.admin.table_exists(&path).await.expect("an answer"));
    assert!(
        client
            .admin
            .list_tables("fluss")
            .await
            .expect("a list")
            .contains(&path.table().to_owned())
    );
}

#[tokio::test]
async fn a_table_is_made_once_and_dropped_once() {
    let client = Client::open().await;
    let path = client.table(small()).await;
    let descriptor = small().build().expect("a descriptor");
    let again = client.admin.create_table(&path, &descriptor, false).await;
    assert_eq!(refusal(again), FlussError::TableAlreadyExist);
    client
        .admin
        .create_table(&path, &descriptor, true)
        .await
        .expect("ignored");
    let before = client
        .admin
        .get_table_info(&path)
        .await
        .expect("described")
        .get_table_id();
    client
        .admin
        .drop_table(&path, false)
        .await
        .expect("dropped");
    assert_eq!(
        refusal(client.admin.drop_table(&path, false).await),
        FlussError::TableNotExist
    );
    client.admin.drop_table(&path, true).await.expect("ignored");
    client
        .admin
        .create_table(&path, &descriptor, false)
        .await
        .expect("created anew");
    let after = client
        .admin
        .get_table_info(&path)
        .await
        .expect("described")
        .get_table_id();
    assert_ne!(before, after);
}

#[tokio::test]
async fn unknown_things_are_named_as_such() {
    let client = Client::open().await;
    let nowhere = TablePath::new("fluss", names::unique("nowhere"));
    assert_eq!(
        refusal(client.admin.get_table_info(&nowhere).await),
        FlussError::TableNotExist
    );
    assert_eq!(
        refusal(client.admin.list_partition_infos(&nowhere).await),
        FlussError::TableNotExist
    );
    let database = names::unique("nowhere");
    assert_eq!(
        refusal(client.admin.get_database_info(&database).await),
        FlussError::DatabaseNotExist
    );
    assert_eq!(
        refusal(client.admin.list_tables(&database).await),
        FlussError::DatabaseNotExist
    );
    let descriptor = small().build().expect("a descriptor");
    let inside = TablePath::new(database.as_str(), "t");
    assert_eq!(
        refusal(client.admin.create_table(&inside, &descriptor, false).await),
        FlussError::DatabaseNotExist
    );
    assert!(
        !client
            .admin
            .table_exists(&nowhere)
            .await
            .expect("an answer")
    );
    let flat = client.table(small()).await;
    let spec = PartitionSpec::new(HashMap::from([("day", "1")]));
    let refused = client.admin.create_partition(&flat, &spec, false).await;
    assert_eq!(refusal(refused), FlussError::TableNotPartitionedException);
}

#[tokio::test]
async fn settings_that_do_not_exist_are_refused() {
    let client = Client::open().await;
    let path = TablePath::new("fluss", names::unique("refused"));
    for (key, value) in [("table.no.such.option", "1"), ("table.log.ttl", "soon")] {
        let descriptor = small().property(key, value).build().expect("a descriptor");
        let refused = client.admin.create_table(&path, &descriptor, false).await;
        assert!(refused.is_err(), "{key}={value} was accepted");
    }
    assert!(!client.admin.table_exists(&path).await.expect("an answer"));
}

fn set(key: &str, value: &str) -> AlterConfig {
    AlterConfig::new(key, Some(value.to_owned()), AlterConfigOpType::Set)
}

async fn alter(
    client: &Client,
    path: &TablePath,
    config_changes: Vec<AlterConfig>,
) -> Result<(), Error> {
    let changes = AlterTableChanges {
        config_changes,
        ..AlterTableChanges::default()
    };
    client.admin.alter_table(path, false, changes).await
}

#[tokio::test]
async fn custom_properties_are_set_and_deleted() {
    let client = Client::open().await;
    let path = client.table(small()).await;
    let owner = async || {
        let info = client.admin.get_table_info(&path).await.expect("described");
        info.get_custom_properties().get("owner").cloned()
    };
    alter(&client, &path, vec![set("owner", "new")])
        .await
        .expect("altered");
    assert_eq!(owner().await.as_deref(), Some("new"));
    let delete = AlterConfig::new("owner", None, AlterConfigOpType::Delete);
    alter(&client, &path, vec![delete]).await.expect("altered");
    assert_eq!(owner().await, None);
}

#[tokio::test]
async fn a_property_that_is_fixed_at_creation_cannot_be_altered() {
    let client = Client::open().await;
    let path = client.table(small()).await;
    let refused = alter(&client, &path, vec![set("table.log.format", "INDEXED")]).await;
    assert_eq!(refusal(refused), FlussError::InvalidAlterTableException);
    let info = client.admin.get_table_info(&path).await.expect("described");
    assert_ne!(
        info.get_properties()
            .get("table.log.format")
            .map(String::as_str),
        Some("INDEXED")
    );
}

#[tokio::test]
async fn a_column_is_added_at_the_end() {
    let client = Client::open().await;
    let path = client.table(small()).await;
    let before = client
        .admin
        .get_table_info(&path)
        .await
        .expect("described")
        .get_schema_id();
    let data_type = DataTypes::double().serialize_json().expect("a type");
    let add = AddColumn {
        column_name: "extra".to_owned(),
        data_type_json: serde_json::to_vec(&data_type).expect("json"),
        comment: Some("later".to_owned()),
        position: ColumnPositionType::Last,
    };
    let changes = AlterTableChanges {
        add_columns: vec![add],
        ..AlterTableChanges::default()
    };
    client
        .admin
        .alter_table(&path, false, changes)
        .await
        .expect("altered");
    let info = client.admin.get_table_info(&path).await.expect("described");
    assert_eq!(
        info.get_schema().column_names(),
        ["id", "name", "score", "extra"]
    );
    assert_eq!(info.get_schema_id(), before + 1);
    let old = client
        .admin
        .get_table_schema(&path, Some(before))
        .await
        .expect("the old schema");
    assert_eq!(old.schema().column_names(), ["id", "name", "score"]);
}

#[tokio::test]
async fn partitions_are_made_listed_and_dropped() {
    let client = Client::open().await;
    let columns = Schema::builder()
        .column("id", DataTypes::int())
        .column("day", DataTypes::string())
        .column("region", DataTypes::string());
    let path = client
        .table(describe(columns).partitioned_by(vec!["day", "region"]))
        .await;
    let spec = |day: &str, region: &str| {
        PartitionSpec::new(HashMap::from([
            ("day".to_owned(), day.to_owned()),
            ("region".to_owned(), region.to_owned()),
        ]))
    };
    client
        .admin
        .create_partition(&path, &spec("1", "eu"), false)
        .await
        .expect("created");
    client
        .admin
        .create_partition(&path, &spec("2", "eu"), false)
        .await
        .expect("created");
    client
        .admin
        .create_partition(&path, &spec("2", "us"), false)
        .await
        .expect("created");
    let again = client
        .admin
        .create_partition(&path, &spec("1", "eu"), false)
        .await;
    assert_eq!(refusal(again), FlussError::PartitionAlreadyExists);
    let listed = async |filter: Option<&PartitionSpec>| {
        let infos = client
            .admin
            .list_partition_infos_with_spec(&path, filter)
            .await
            .expect("a list");
        let mut found: Vec<_> = infos.iter().map(|info| info.get_partition_name()).collect();
        found.sort();
        found
    };
    assert_eq!(listed(None).await, ["1$eu", "2$eu", "2$us"]);
    assert_eq!(
        listed(Some(&PartitionSpec::new(HashMap::from([("day", "2")])))).await,
        ["2$eu", "2$us"]
    );
    client
        .admin
        .drop_partition(&path, &spec("2", "us"), false)
        .await
        .expect("dropped");
    let gone = client
        .admin
        .drop_partition(&path, &spec("2", "us"), false)
        .await;
    assert_eq!(refusal(gone), FlussError::PartitionNotExists);
    assert_eq!(listed(None).await, ["1$eu", "2$eu"]);
}

#[tokio::test]
async fn an_auto_partitioned_table_makes_its_partitions_ahead() {
    let client = Client::open().await;
    let columns = Schema::builder()
        .column("id", DataTypes::int())
        .column("day", DataTypes::string());
    let descriptor = describe(columns)
        .partitioned_by(vec!["day"])
        .property("table.auto-partition.enabled", "true")
        .property("table.auto-partition.time-unit", "DAY")
        .property("table.auto-partition.num-precreate", "3");
    let path = client.table(descriptor).await;
    let names = eventually("three partitions", async || {
        let infos = client.admin.list_partition_infos(&path).await.ok()?;
        (infos.len() == 3).then(|| {
            infos
                .iter()
                .map(|info| info.get_partition_name())
                .collect::<Vec<_>>()
        })
    })
    .await;
    assert!(
        names
            .iter()
            .all(|name| name.len() == 8 && name.parse::<u32>().is_ok()),
        "{names:?}"
    );
}

#[tokio::test]
async fn the_servers_are_named() {
    let client = Client::open().await;
    let nodes = client.admin.get_server_nodes().await.expect("nodes");
    assert!(
        nodes.len() >= 2,
        "a coordinator and a tablet server: {nodes:?}"
    );
}

fn signed_in(user: &str, password: &str) -> Config {
    Config {
        bootstrap_servers: addresses::fluss_sasl(),
        security_protocol: "sasl".to_owned(),
        security_sasl_mechanism: "PLAIN".to_owned(),
        security_sasl_username: user.to_owned(),
        security_sasl_password: password.to_owned(),
        ..config()
    }
}

#[tokio::test]
async fn a_user_signs_in_with_the_right_password_only() {
    let connection = FlussConnection::new(signed_in("admin", "admin-secret"))
        .await
        .expect("signed in");
    let databases = connection
        .get_admin()
        .expect("an admin client")
        .list_databases()
        .await
        .expect("a list");
    assert!(databases.contains(&"fluss".to_owned()));
    FlussConnection::new(signed_in("alice", "alice-secret"))
        .await
        .expect("signed in");
    assert!(
        FlussConnection::new(signed_in("admin", "wrong"))
            .await
            .is_err()
    );
    assert!(
        FlussConnection::new(signed_in("nobody", "admin-secret"))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_sasl_listener_answers_nobody_else() {
    let anonymous = Config {
        bootstrap_servers: addresses::fluss_sasl(),
        ..config()
    };
    assert!(FlussConnection::new(anonymous).await.is_err());
}
