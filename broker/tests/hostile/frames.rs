//! Frames that are no requests, or ask for more than they are.

use futures::future::join_all;
use prost::Message;
use protocol::fluss::api::ApiKey;
use protocol::fluss::error::ErrorCode;
use protocol::fluss::messages::ErrorResponse;
use protocol::kafka::api;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::attack::{ask, connect, exchange, fluss_request, framed, kafka_request, rest, send};
use crate::broker_under_attack::UnderAttack;

/// Random connections of one round, on each port.
const CONNECTIONS: usize = 100;

/// Requests of one connection.
const REQUESTS: usize = 8;

/// Frames of random bytes, most behind a sound header, some cut short.
pub async fn random(broker: &UnderAttack) {
    let seed = crate::number("VLTAVA_HOSTILE_SEED", 1);
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..crate::number("VLTAVA_HOSTILE_ROUNDS", 1) {
        let mut connections = Vec::new();
        for port in broker.ports() {
            for _ in 0..CONNECTIONS {
                let mut bytes = Vec::new();
                for _ in 0..REQUESTS {
                    bytes.extend(random_frame(&mut random, port == broker.kafka()));
                }
                if random.random_bool(0.3) {
                    bytes.truncate(random.random_range(0..bytes.len()));
                }
                connections.push((port, bytes));
            }
        }
        join_all(
            connections
                .iter()
                .map(|(port, bytes)| exchange(*port, bytes)),
        )
        .await;
    }
}

fn random_frame(random: &mut StdRng, is_kafka: bool) -> Vec<u8> {
    let mut body = vec![0; random.random_range(0..200)];
    match random.random_range(0..4) {
        0 => {}
        1 => random.fill(&mut body[..]),
        // Small numbers are sound lengths and counts more often.
        _ => body.fill_with(|| random.random_range(0..4)),
    }
    if random.random_bool(0.1) {
        return framed(&body);
    }
    if is_kafka {
        let api = &api::APIS[random.random_range(0..api::APIS.len())];
        let version = random.random_range(api.min..=api.max);
        let flexible = api.key.request_header_version(version) >= 2;
        kafka_request(api.key as i16, version, flexible, &body)
    } else {
        let key = random.random_range(1000..1070);
        fluss_request(key, 0, &body)
    }
}

/// Lengths that are negative or too large, and frames that end before their length.
pub async fn lengths(broker: &UnderAttack) {
    const DROPPED: &str = "vltava_network_dropped_total";
    let before = broker.metric(DROPPED, "frame_length").await;
    for port in broker.ports() {
        for length in [-1, i32::MIN, i32::MAX, (16 << 20) + 1] {
            let mut stream = connect(port).await;
            send(&mut stream, &length.to_be_bytes()).await;
            assert!(rest(&mut stream).await.is_empty());
        }
        for sent in [0, 1, 3, 4, 10, 1003] {
            let whole = framed(&[0; 1000]);
            assert!(exchange(port, &whole[..sent]).await.is_empty());
        }
        // An empty frame is none.
        let _ = exchange(port, &framed(&[])).await;
    }
    assert_eq!(broker.metric(DROPPED, "frame_length").await, before + 8.0);
    broker
        .lines
        .must_have(&["client=127.0.0.1:", "a frame of -1 bytes was announced"]);
}

/// APIs and versions that there are not.
pub async fn unknown(broker: &UnderAttack) {
    // Kafka has no answer to what it does not know, except to the question what is known.
    for (key, version) in [(999, 0), (-1, 0), (0, 1), (0, 99), (3, -1)] {
        let answer = ask(broker.kafka(), &kafka_request(key, version, false, &[])).await;
        assert!(answer.is_empty(), "{key} {version}");
    }
    let answer = ask(broker.kafka(), &kafka_request(18, 99, true, &[])).await;
    assert_eq!(
        answer[..6],
        [0, 0, 0, 7, 0, 35],
        "UNSUPPORTED_VERSION in version 0"
    );
    broker
        .lines
        .must_have(&["client=127.0.0.1:", "unknown api key 999"]);

    for (key, version) in [(999, 0), (-1, 0), (1000, 9), (1016, 0), (1063, 0)] {
        let answer = ask(broker.fluss(), &fluss_request(key, version, &[])).await;
        assert_eq!(refusal(&answer), ErrorCode::UnsupportedVersion);
    }
    broker.lines.must_have(&[
        "client=127.0.0.1:",
        "API key 999 is not served in version 0",
    ]);
}

/// The code of the only answer, an error.
fn refusal(answer: &[u8]) -> ErrorCode {
    assert_eq!(answer.first(), Some(&1), "an error: {answer:?}");
    let error = ErrorResponse::decode(&answer[5..]).expect("an error");
    ErrorCode::from_code(error.error_code).expect("a known code")
}

/// Counts of elements that the frame cannot hold, and such that it can and the memory cannot.
pub async fn counts(broker: &UnderAttack) {
    const ELEMENTS: usize = 5_000_000;
    let (produce, metadata, fetch) = (0, 3, 1);
    for count in [i32::MAX, 1 << 24, -2] {
        let body = count.to_be_bytes();
        let answer = ask(broker.kafka(), &kafka_request(metadata, 1, false, &body)).await;
        assert!(answer.is_empty(), "{count}");
    }
    // Names of topics, each two bytes of length and nothing else.
    let mut body = (ELEMENTS as u32).to_be_bytes().to_vec();
    body.resize(4 + 2 * ELEMENTS, 0);
    let answer = ask(broker.kafka(), &kafka_request(metadata, 1, false, &body)).await;
    assert!(answer.is_empty());
    // The same as varints, in requests that carry records and forgotten topics.
    for (key, version, front) in [(produce, 9, 8), (fetch, 12, 25)] {
        let mut body = vec![0; front];
        body.extend([0xc1, 0x96, 0xb1, 0x02]);
        body.resize(front + 4 + 3 * ELEMENTS, 1);
        let answer = ask(broker.kafka(), &kafka_request(key, version, true, &body)).await;
        assert!(answer.is_empty());
    }
    broker
        .lines
        .must_have(&["client=127.0.0.1:", "bad Metadata request"]);

    // Nested messages with what they must have and nothing else: buckets to write, tables to fetch,
    // names of tables. The last two go up to the size of a request without records.
    let front = [8, 1, 16, 1, 24, 1];
    for (key, front, element, elements) in [
        (
            ApiKey::ProduceLog,
            &front[..],
            [0x22, 4, 0x10, 0, 0x1a, 0],
            2_500_000,
        ),
        (
            ApiKey::FetchLog,
            &front[..4],
            [0x1a, 4, 0x08, 0, 0x10, 0],
            650_000,
        ),
        (
            ApiKey::GetMetadata,
            &[],
            [0x0a, 4, 0x0a, 0, 0x12, 0],
            650_000,
        ),
    ] {
        let body = [front, &element.repeat(elements)].concat();
        let answer = ask(broker.fluss(), &fluss_request(key.code(), 0, &body)).await;
        assert_eq!(refusal(&answer), ErrorCode::RecordTooLarge, "{key}");
    }
    broker
        .lines
        .must_have(&["client=127.0.0.1:", "request has too many elements"]);
}
