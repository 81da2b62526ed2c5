//! Frames that are no requests, or ask for more than they are.

use std::time::Duration;

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use prost::Message;
use protocol::fluss::api::ApiKey;
use protocol::fluss::error::ErrorCode;
use protocol::fluss::messages::ErrorResponse;
use protocol::kafka::api;

use crate::attack::{ask, connect, exchange, fluss_request, framed, kafka_request, rest, send};
use crate::broker_under_attack::UnderAttack;

/// Random connections of one round, on each port.
const CONNECTIONS: u32 = 100;

/// What never happens to one connection is given up after this time.
const CASE_PATIENCE: Duration = Duration::from_secs(30);

/// Requests of one connection at most.
const REQUESTS: usize = 8;

/// Frames of random bytes, most behind a sound header, some cut short. After each connection the
/// broker still answers others; a case that fails is made as small as possible.
pub async fn random(broker: &UnderAttack) {
    let rounds = crate::number("VLTAVA_HOSTILE_ROUNDS", 1) as u32;
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&crate::number("VLTAVA_HOSTILE_SEED", 1).to_le_bytes());
    let config = Config {
        cases: CONNECTIONS * rounds,
        failure_persistence: None,
        ..Config::default()
    };
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(config, random);
    let cases = (connection(kafka_frame()), connection(fluss_frame()));
    let runtime = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| {
        let outcome = runner.run(&cases, |(kafka, fluss)| {
            runtime.block_on(answers_after(broker, &kafka, &fluss))
        });
        outcome.unwrap_or_else(|failure| panic!("{failure}"));
    });
}

async fn answers_after(
    broker: &UnderAttack,
    kafka: &[u8],
    fluss: &[u8],
) -> Result<(), TestCaseError> {
    let attacks = async {
        tokio::join!(
            exchange(broker.kafka(), kafka),
            exchange(broker.fluss(), fluss)
        );
        let api_versions = kafka_request(18, 0, false, &[]);
        ask(broker.kafka(), &api_versions).await
    };
    let answer = tokio::time::timeout(CASE_PATIENCE, attacks).await;
    prop_assert_eq!(broker.panics(), 0, "the broker panicked");
    prop_assert!(answer.is_ok(), "no end within {CASE_PATIENCE:?}");
    prop_assert!(answer.is_ok_and(|answer| !answer.is_empty()), "no answer");
    Ok(())
}

/// Several frames, perhaps cut short.
fn connection(frame: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let frames = vec(frame, 1..=REQUESTS).prop_map(|frames| frames.concat());
    (frames, weighted(0.3, any::<Index>())).prop_map(|(mut bytes, cut)| {
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        bytes
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        1 => vec(Just(0), 0..200),
        1 => vec(any::<u8>(), 0..200),
        // Small numbers are sound lengths and counts more often.
        2 => vec(0..4u8, 0..200),
    ]
}

fn kafka_frame() -> impl Strategy<Value = Vec<u8>> {
    let api = (0..api::APIS.len()).prop_flat_map(|at| {
        let api = &api::APIS[at];
        (Just(at), api.min..=api.max)
    });
    let sound = (api, body()).prop_map(|((at, version), body)| {
        let api = &api::APIS[at];
        let flexible = api.key.request_header_version(version) >= 2;
        kafka_request(api.key as i16, version, flexible, &body)
    });
    prop_oneof![9 => sound, 1 => body().prop_map(|body| framed(&body))]
}

fn fluss_frame() -> impl Strategy<Value = Vec<u8>> {
    let sound = (1000..1070i16, body()).prop_map(|(key, body)| fluss_request(key, 0, &body));
    prop_oneof![9 => sound, 1 => body().prop_map(|body| framed(&body))]
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

    for (key, version) in [(999, 0), (-1, 0), (1000, 9), (1016, 3), (1063, 0)] {
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
            ApiKey::PutKv,
            &front[..],
            [0x2a, 4, 0x10, 0, 0x1a, 0],
            2_500_000,
        ),
        (
            ApiKey::Lookup,
            &front[..2],
            [0x12, 4, 0x10, 0, 0x1a, 0],
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
