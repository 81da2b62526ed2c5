//! Starting, stopping and being asked how one is.

#![allow(clippy::disallowed_methods, reason = "tests use the real world")]

mod common;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use std::time::Duration;

use common::kafka_peer::Kafka;
use common::keyed::{Keyed, put, row};
use common::records::{Row, kafka_batch};
use common::{TestBroker, fluss};
use prost::Message;
use protocol::fluss::api::Request;
use protocol::fluss::messages::{DropTableRequest, FetchLogRequest};
use protocol::kafka::compression::Codec;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use vltava::server::StartError;

async fn get(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("HTTP is served");
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

#[tokio::test]
async fn health_and_metrics_are_served() {
    let broker = TestBroker::start().await;
    assert!(
        get(broker.http(), "/healthz")
            .await
            .starts_with("HTTP/1.1 200")
    );
    assert!(get(broker.http(), "/readyz").await.ends_with("ready\n"));
    drop(
        TcpStream::connect(broker.kafka())
            .await
            .expect("Kafka's port is open"),
    );
    drop(
        TcpStream::connect(broker.fluss())
            .await
            .expect("Fluss's port is open"),
    );
    let metrics = get(broker.http(), "/metrics").await;
    assert!(metrics.contains("text/plain; version=0.0.4"), "{metrics}");
    assert!(metrics.contains("vltava_build_info{version="), "{metrics}");
    assert!(metrics.contains("process_open_fds"), "{metrics}");
    assert!(
        get(broker.http(), "/nothing")
            .await
            .starts_with("HTTP/1.1 404")
    );
    broker.stop().await;
}

/// Long polls of both wires would wait ten minutes; the stop ends them, and what came after them
/// on the same connection is answered, too.
#[tokio::test]
async fn a_stop_does_not_wait_for_long_polls() {
    const WAIT_MS: i32 = 600_000;
    let wait_max = ("vltava.fetch.wait.max.ms", "600000");
    let patience = ("vltava.shutdown.timeout.ms", "600000");
    let broker = TestBroker::start_with([wait_max, patience]).await;
    let mut kafka = Kafka::connect(broker.kafka()).await.expect("open");
    for topic in ["idle", "busy"] {
        kafka.create_topic(topic, 1).await.expect("created");
    }
    let fetch = kafka.send_fetch("idle", 0, 0, WAIT_MS);
    fetch.await.expect("sent");
    let rows = [Row::of_value("v".into(), 1)];
    let batch = kafka_batch(&rows, Codec::None, None);
    kafka.send_batch("busy", 0, batch).await.expect("sent");
    // Requests of a connection start in order: the fetch waits now.
    let mut other = Kafka::connect(broker.kafka()).await.expect("open");
    let seen = other.fetch("busy", 0, 0, WAIT_MS).await.expect("answered");
    assert!(!seen.records.is_empty());

    let mut client = fluss::Client::connect(broker.fluss()).await;
    let table = client
        .create_table(&fluss::path("idle"), &fluss::log_table(1))
        .await;
    let request = fluss::fetch(table, 0, 0, WAIT_MS);
    let waiting = client
        .send(FetchLogRequest::KEY.code(), 0, &request.encode_to_vec())
        .await;
    client.table_info(&fluss::path("idle")).await;

    let stopped = tokio::time::timeout(Duration::from_secs(60), broker.stop());
    stopped.await.expect("without waiting for the long polls");
    let fetched = kafka.fetched().await.expect("answered");
    assert_eq!((fetched.error, fetched.records.len()), (0, 0));
    assert_eq!(kafka.acknowledged().await.expect("answered"), Ok(0));
    let answer = client.receive().await.expect("answered");
    assert_eq!((answer.kind, answer.request_id), (0, waiting));
}

#[tokio::test]
async fn a_second_broker_on_the_same_directory_or_port_is_refused() {
    let broker = TestBroker::start().await;
    let same_directory = common::start(broker.settings()).await;
    assert!(matches!(same_directory, Err(StartError::DataDir(_))));

    let mut settings = broker.settings().clone();
    let other = tempfile::tempdir().expect("a directory");
    settings.insert(
        "data.dir".into(),
        other.path().to_str().expect("UTF-8").into(),
    );
    settings.insert(
        "listeners".into(),
        format!("PLAINTEXT://{}", broker.kafka()),
    );
    let same_port = common::start(&settings).await;
    assert!(matches!(
        same_port,
        Err(StartError::Bind { wire: "kafka", .. })
    ));
    let broker = broker.restart().await;
    broker.stop().await;
}

/// The binary, with free ports and a directory.
fn command(directory: &std::path::Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vltava"));
    command.arg("serve").arg("--data-dir").arg(directory);
    for listener in ["--kafka-listen", "--fluss-listen", "--http-listen"] {
        command.args([listener, "127.0.0.1:0"]);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Waits for the ready line.
fn ready(child: &mut Child) -> String {
    let output = child.stdout.take().expect("piped");
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).expect("a line");
    line
}

fn end(mut child: Child) -> (Option<i32>, String) {
    let status = child.wait().expect("it ends");
    let mut log = String::new();
    child
        .stderr
        .take()
        .expect("piped")
        .read_to_string(&mut log)
        .expect("text");
    (status.code(), log)
}

fn terminate(child: &Child) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it lives");
}

#[test]
fn the_binary_says_when_it_is_ready_and_stops_on_sigterm() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut child = command(directory.path())
        .args(["--set", "vltava.log.format=json"])
        .spawn()
        .expect("the binary starts");
    let line = ready(&mut child);
    let words: Vec<_> = line.trim_end().split(' ').collect();
    assert!(
        line.ends_with('\n') && words.len() == 4 && words[0] == "ready",
        "{line:?}"
    );
    for (word, name) in words[1..].iter().zip(["kafka=", "fluss=", "http="]) {
        let address = word.strip_prefix(name).expect(name);
        assert_ne!(
            address
                .parse::<std::net::SocketAddr>()
                .expect("an address")
                .port(),
            0
        );
    }

    let (code, log) = end(command(directory.path())
        .spawn()
        .expect("the binary starts"));
    assert_eq!(code, Some(3), "{log}");
    assert!(
        log.contains(&format!("in use by process {}", child.id())),
        "{log}"
    );

    terminate(&child);
    let (code, log) = end(child);
    assert_eq!(code, Some(0), "{log}");
    for line in log.lines() {
        serde_json::from_str::<serde_json::Value>(line).expect(line);
    }
    assert!(log.contains("\"message\":\"stopped\""), "{log}");
}

#[test]
fn a_wrong_setting_is_named_and_ends_with_its_own_code() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = command(directory.path());
    command.args(["--set", "log.segment.byte=1"]);
    let (code, log) = end(command.spawn().expect("the binary starts"));
    assert_eq!(code, Some(2));
    let expected = "vltava: unknown setting log.segment.byte (from --set log.segment.byte); \
                    did you mean log.segment.bytes?\n";
    assert_eq!(log, expected);
}

#[test]
fn the_tools_read_what_is_there_and_refuse_what_is_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let run = |args: &[&std::ffi::OsStr]| {
        let output = Command::new(env!("CARGO_BIN_EXE_vltava"))
            .args(args)
            .output()
            .expect("it runs");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).expect("text"))
    };
    let path = directory.path().as_os_str();
    let (code, text) = run(&["check".as_ref(), path]);
    assert_eq!(code, Some(3), "{text}");

    let mut child = command(directory.path())
        .spawn()
        .expect("the binary starts");
    ready(&mut child);
    let (code, text) = run(&["check".as_ref(), path]);
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("in use by process"), "{text}");
    terminate(&child);
    end(child);
    let (code, text) = run(&["check".as_ref(), path]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("0 damaged"), "{text}");

    let file = directory.path().join("vltava.format");
    let (code, text) = run(&["dump-log".as_ref(), file.as_os_str()]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("is no segment file"), "{text}");
}

#[tokio::test]
async fn metrics_tell_of_open_logs_and_indexes_and_of_dropped_ones_no_more() {
    let broker = TestBroker::start().await;
    let mut client = fluss::Client::connect(broker.fluss()).await;
    let keyed = Keyed::new();
    let path = fluss::path("counted");
    let table = client.create_table(&path, &keyed.table(1, &[])).await;
    let batch = keyed.upserts(None, &[row(1, "one", 1), row(2, "two", 2)]);
    client.put(put(table, 0, batch)).await.expect("put");
    let metrics = get(broker.http(), "/metrics").await;
    let labels = r#"{topic="fluss.counted",partition="0"}"#;
    for line in [
        format!("kafka_log_log_logendoffset{labels} 2"),
        format!("vltava_log_high_watermark{labels} 2"),
        format!("vltava_kv_index_lag{labels} 0"),
        "vltava_kv_open_indexes 1".to_owned(),
    ] {
        let told = metrics.lines().any(|told| told.trim_end() == line);
        assert!(told, "{line} is not in {metrics}");
    }
    let drop = DropTableRequest {
        table_path: path,
        ignore_if_not_exists: false,
    };
    client.ask(drop).await.expect("dropped");
    let metrics = get(broker.http(), "/metrics").await;
    assert!(!metrics.contains("fluss.counted"), "{metrics}");
    assert!(metrics.contains("vltava_kv_open_indexes 0"), "{metrics}");
    broker.stop().await;
}
