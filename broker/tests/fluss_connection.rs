//! The start of a connection of the Fluss wire: versions, logins, and what is refused before any
//! handler sees it.

#![allow(clippy::disallowed_methods, reason = "tests use the real world")]

mod common;

use common::TestBroker;
use common::fluss::{Client, UNKNOWN_KEY, keys, path};
use prost::Message;
use protocol::fluss::api::{ApiKey, SMALL_BODY_BYTES_MAX};
use protocol::fluss::error::ErrorCode;
use protocol::fluss::messages::*;

fn hello() -> ApiVersionsRequest {
    ApiVersionsRequest {
        client_software_name: "test".into(),
        client_software_version: "1".into(),
    }
}

fn plain(token: &'static [u8]) -> AuthenticateRequest {
    AuthenticateRequest {
        protocol: "PLAIN".into(),
        token: token.into(),
    }
}

#[tokio::test]
async fn versions_are_told_without_a_server_type() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let answer = client.ask(hello()).await.expect("an answer");
    assert_eq!(answer.server_type, None);
    for key in [
        ApiKey::ProduceLog,
        ApiKey::FetchLog,
        ApiKey::CreateTable,
        ApiKey::Authenticate,
    ] {
        assert!(keys(&answer).contains(&Some(key)), "{key}");
    }
    broker.stop().await;
}

#[tokio::test]
async fn unknown_keys_versions_and_bodies_are_answered_with_errors() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let code = async |client: &mut Client, key, version, body: &[u8]| {
        let id = client.send(key, version, body).await;
        let answer = client.receive().await.expect("an answer");
        assert_eq!((answer.kind, answer.request_id), (1, id));
        let error = ErrorResponse::decode(answer.body).expect("an error");
        ErrorCode::from_code(error.error_code)
    };
    let hello = hello().encode_to_vec();
    assert_eq!(
        code(&mut client, UNKNOWN_KEY, 0, &[]).await,
        Some(ErrorCode::UnsupportedVersion)
    );
    assert_eq!(
        code(&mut client, -1, 0, &[]).await,
        Some(ErrorCode::UnsupportedVersion)
    );
    assert_eq!(
        code(&mut client, 1000, 9, &hello).await,
        Some(ErrorCode::UnsupportedVersion)
    );
    let unserved = ApiKey::CommitLakeTableSnapshot.code();
    assert_eq!(
        code(&mut client, unserved, 0, &[]).await,
        Some(ErrorCode::UnsupportedVersion)
    );
    assert_eq!(
        code(&mut client, 1000, 0, &[]).await,
        Some(ErrorCode::CorruptMessage)
    );
    assert_eq!(
        code(&mut client, 1007, 0, &[0xff; 3]).await,
        Some(ErrorCode::CorruptMessage)
    );
    let large = vec![0; SMALL_BODY_BYTES_MAX + 1];
    assert_eq!(
        code(&mut client, 1007, 0, &large).await,
        Some(ErrorCode::RecordTooLarge)
    );
    // The connection is as good as before.
    assert_eq!(client.send(1000, 0, &hello).await, 8);
    assert_eq!(client.receive().await.map(|answer| answer.kind), Some(0));
    broker.stop().await;
}

#[tokio::test]
async fn a_listener_with_users_serves_nobody_else() {
    let broker = TestBroker::start_with([
        ("security.protocol.map", "FLUSS:SASL"),
        ("security.sasl.plain.credentials", "alice:alice-secret"),
    ])
    .await;
    let exists = || TableExistsRequest {
        table_path: path("t"),
    };
    let mut client = Client::connect(broker.fluss()).await;
    client
        .ask(hello())
        .await
        .expect("versions are for everybody");
    assert_eq!(client.refusal(exists()).await, ErrorCode::Authenticate);
    assert_eq!(
        client.refusal(plain(b"\0alice\0wrong")).await,
        ErrorCode::Authenticate
    );
    assert_eq!(client.refusal(exists()).await, ErrorCode::Authenticate);
    let answer = client
        .ask(plain(b"\0alice\0alice-secret"))
        .await
        .expect("logged in");
    assert_eq!(answer.challenge, None);
    assert!(!client.ask(exists()).await.expect("an answer").exists);

    // A login counts for its own connection.
    let mut other = Client::connect(broker.fluss()).await;
    assert_eq!(other.refusal(exists()).await, ErrorCode::Authenticate);
    broker.stop().await;
}

#[tokio::test]
async fn an_unreadable_frame_closes_its_connection_only() {
    let broker = TestBroker::start().await;
    let mut other = Client::connect(broker.fluss()).await;
    let mut client = Client::connect(broker.fluss()).await;
    client.send_raw(&[0, 0, 0, 3, 1, 2, 3]).await;
    assert_eq!(client.receive().await, None);
    other.ask(hello()).await.expect("an answer");
    broker.stop().await;
}

#[tokio::test]
async fn the_cluster_answers_for_itself() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let metadata = client
        .ask(MetadataRequest::default())
        .await
        .expect("metadata");
    let coordinator = metadata.coordinator_server.expect("a coordinator");
    assert_eq!(coordinator.port, i32::from(broker.fluss().port()));
    assert_eq!(metadata.tablet_servers.len(), 1);
    assert_eq!(metadata.tablet_servers[0].host, "127.0.0.1");
    assert_eq!(metadata.table_metadata, []);

    let health = client
        .ask(GetClusterHealthRequest {})
        .await
        .expect("health");
    assert_eq!(
        (health.status, health.num_replicas),
        (0, health.active_leader_replicas)
    );
    let token = client
        .ask(GetFileSystemSecurityTokenRequest {})
        .await
        .expect("a token");
    assert_eq!((token.schema.as_str(), token.token.len()), ("file", 0));
    let configs = client
        .ask(DescribeClusterConfigsRequest {})
        .await
        .expect("settings")
        .configs;
    assert!(
        configs
            .iter()
            .any(|config| config.config_key == "default.bucket.number")
    );
    assert_eq!(
        client.refusal(CreateAclsRequest::default()).await,
        ErrorCode::SecurityDisabled
    );
    let ids = [
        client
            .ask(InitWriterRequest::default())
            .await
            .expect("an id")
            .writer_id,
        client
            .ask(InitWriterRequest::default())
            .await
            .expect("an id")
            .writer_id,
    ];
    assert_ne!(ids[0], ids[1]);
    broker.stop().await;
}

#[tokio::test]
async fn settings_are_changed_while_the_broker_runs_and_stay_changed() {
    let broker = TestBroker::start().await;
    let mut client = Client::connect(broker.fluss()).await;
    let alter = |key: &str, value: Option<&str>, op_type| AlterClusterConfigsRequest {
        alter_configs: vec![PbAlterConfig {
            config_key: key.into(),
            config_value: value.map(Into::into),
            op_type,
        }],
    };
    client
        .ask(alter("log.segment.file-size", Some("128 mb"), 0))
        .await
        .expect("may be changed");
    for (key, value) in [
        ("default.bucket.number", "7"),
        ("nothing", "1"),
        ("log.segment.file-size", "x"),
    ] {
        let refused = client.refusal(alter(key, Some(value), 0)).await;
        assert_eq!(refused, ErrorCode::Config, "{key}");
    }
    let broker = broker.restart().await;
    let mut client = Client::connect(broker.fluss()).await;
    let found = async |client: &mut Client| {
        let answer = client.ask(DescribeClusterConfigsRequest {}).await;
        let mut configs = answer.expect("settings").configs.into_iter();
        let config = configs.find(|config| config.config_key == "log.segment.file-size");
        let config = config.expect("a setting");
        (config.config_value.expect("a value"), config.config_source)
    };
    let (value, source) = found(&mut client).await;
    assert_eq!(source, "DYNAMIC_SERVER_CONFIG");
    assert!(value.to_lowercase().starts_with("128 m"), "{value}");
    // Kafka's name of the same setting.
    client
        .ask(alter("log.segment.bytes", None, 1))
        .await
        .expect("may be changed");
    assert_eq!(found(&mut client).await.1, "INITIAL_SERVER_CONFIG");
    broker.stop().await;
}
