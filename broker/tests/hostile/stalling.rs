//! Clients that take their time.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use futures::future::join_all;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, RequestHeader, TopicName};
use kafka_protocol::protocol::{Encodable, StrBytes};
use prost::Message;
use protocol::fluss::api::Request;
use protocol::kafka::compression::Codec;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::io::AsyncWriteExt;

use crate::attack::{connect, fluss_request, framed, rest};
use crate::broker_under_attack::{CONNECTIONS_MAX, UnderAttack};
use crate::common::fluss::{self, Client, path};
use crate::common::kafka_peer::Kafka;
use crate::common::records::{Row, kafka_batch};

/// Files of this process that are no connections of [`idle`].
const OTHER_FILES: usize = 500;

const DROPPED: &str = "vltava_network_dropped_total";
const TOPIC: &str = "large";

/// Frames that never become whole: half a length, half a header, half a body, and a byte at a
/// time. All are dropped when the time of a frame is over.
pub async fn senders(broker: &UnderAttack) {
    const EACH: usize = 50;
    let before = broker.metric(DROPPED, "frame_timeout").await;
    let whole = framed(&[0; 100_000]);
    let mut stalled = Vec::new();
    for port in broker.ports() {
        for sent in [2, 9, 20_000] {
            for _ in 0..EACH {
                let mut stream = connect(port).await;
                stream.write_all(&whole[..sent]).await.expect("sent");
                stalled.push(stream);
            }
        }
    }
    let drops = broker
        .ports()
        .into_iter()
        .flat_map(|port| (0..EACH).map(move |_| drip(port)));
    let (_, drops) = tokio::join!(join_all(stalled.iter_mut().map(rest)), join_all(drops));
    assert_eq!(drops.len(), 2 * EACH);
    let dropped = broker.metric(DROPPED, "frame_timeout").await - before;
    assert_eq!(dropped, 8.0 * EACH as f64);
    broker
        .lines
        .must_have(&["client=127.0.0.1:", "a frame has not arrived in time"]);
}

/// Sends a byte now and then until the broker has enough of it.
async fn drip(port: SocketAddr) {
    let mut stream = connect(port).await;
    let mut time = tokio::time::interval(Duration::from_millis(50));
    for byte in framed(&[0; 100_000]) {
        time.tick().await;
        if stream.write_all(&[byte]).await.is_err() {
            return;
        }
    }
    panic!("a whole frame took a byte each 50 ms");
}

/// Clients that ask for much and take nothing of it.
pub async fn readers(broker: &UnderAttack) {
    const EACH: usize = 16;
    const BATCHES: usize = 40;
    let mut client = Kafka::connect(broker.kafka()).await.expect("connected");
    client.create_topic(TOPIC, 1).await.expect("made");
    let mut random = StdRng::seed_from_u64(1);
    for _ in 0..BATCHES {
        // Nothing that the transcoder could make small.
        let mut value = vec![0; 900 << 10];
        random.fill(&mut value[..]);
        let row = Row {
            value: Some(value),
            ..Row::of_value(String::new(), 1)
        };
        let records = kafka_batch(std::slice::from_ref(&row), Codec::None, None);
        client.send_batch(TOPIC, 0, records).await.expect("sent");
        client
            .acknowledged()
            .await
            .expect("an answer")
            .expect("appended");
    }
    let mut topic_path = path(TOPIC);
    topic_path.database_name = "kafka".into();
    let mut client = Client::connect(broker.fluss()).await;
    let table = client.table_info(&topic_path).await.table_id;
    let before = broker.metric(DROPPED, "write_timeout").await;

    let mut from_fluss = fluss::fetch(table, 0, 0, 1000);
    from_fluss.tables_req[0].buckets_req[0].max_fetch_bytes = i32::MAX;
    from_fluss.max_bytes = i32::MAX;
    let from_fluss = fluss_request(
        protocol::fluss::messages::FetchLogRequest::KEY.code(),
        0,
        &from_fluss.encode_to_vec(),
    );
    let (over_kafka, over_fluss) = (large_fetch(), from_fluss);
    let silent = (0..EACH).flat_map(|_| {
        [
            ask_and_take_nothing(broker.kafka(), &over_kafka),
            ask_and_take_nothing(broker.fluss(), &over_fluss),
        ]
    });
    join_all(silent).await;
    let dropped = broker.metric(DROPPED, "write_timeout").await - before;
    assert_eq!(dropped, 2.0 * EACH as f64);
    broker
        .lines
        .must_have(&["client=127.0.0.1:", "has not taken its answers in time"]);
}

/// Asks until the broker has enough of it.
async fn ask_and_take_nothing(port: SocketAddr, request: &[u8]) {
    let mut stream = connect(port).await;
    while stream.write_all(request).await.is_ok() {}
}

/// Everything from the start of the topic, in one answer.
fn large_fetch() -> Vec<u8> {
    let partition = FetchPartition::default()
        .with_current_leader_epoch(-1)
        .with_partition_max_bytes(i32::MAX);
    let topic = FetchTopic::default()
        .with_topic(TopicName(StrBytes::from_static_str(TOPIC)))
        .with_partitions(vec![partition]);
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(1000)
        .with_min_bytes(i32::MAX)
        .with_session_epoch(-1)
        .with_topics(vec![topic]);
    let mut frame = BytesMut::new();
    RequestHeader::default()
        .with_request_api_key(1)
        .with_request_api_version(11)
        .encode(&mut frame, 1)
        .expect("a header");
    request.encode(&mut frame, 11).expect("a request");
    framed(&frame)
}

/// Connections that say nothing.
pub async fn idle(broker: &UnderAttack) {
    let count = crate::number("VLTAVA_HOSTILE_IDLE", 5000) as usize;
    assert!(
        count < CONNECTIONS_MAX - 200,
        "the limit of the test's broker"
    );
    let count = count.min(files_max().saturating_sub(OTHER_FILES) / 2);
    let allocated = crate::ALLOCATOR.allocated();
    let resident = resident_bytes();
    let mut open = Vec::new();
    for port in broker.ports() {
        for _ in 0..count / 2 {
            open.push(connect(port).await);
        }
    }
    let all = count as f64;
    broker
        .metric_reaches("vltava_network_connections", "", all)
        .await;
    let each = crate::ALLOCATOR.allocated().saturating_sub(allocated) / count;
    let resident = resident_bytes().saturating_sub(resident) / count;
    println!(
        "{count} idle connections take {each} bytes each ({resident} resident), with their other \
         ends in the test"
    );
    assert!(each < 16 << 10);
    assert!(resident < 32 << 10);
}

/// Files that this process may have open, after asking for as many as it can get.
fn files_max() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: maximum,
        maximum,
    };
    // Without it there are fewer connections.
    let _ = setrlimit(Resource::Nofile, all);
    getrlimit(Resource::Nofile)
        .current
        .map_or(usize::MAX, |files| files as usize)
}

/// Memory of this process that is in use.
pub fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.parse::<usize>().ok())
        .expect("a number")
        << 10
}
