//! Sound inputs of the fuzz targets: what real clients send, and what our own writers make of
//! every type.

#[path = "seeds/fluss.rs"]
mod fluss;
#[path = "seeds/kafka.rs"]
mod kafka;

use std::fs;
use std::path::Path;

/// The seeds of a target.
pub fn of(target: &str) -> Vec<Vec<u8>> {
    match target {
        "kafka_request" => kafka::requests(),
        "kafka_group_blobs" => kafka::group_blobs(),
        "kafka_batch" => kafka::batches(),
        "kafka_compression" => kafka::compressed(),
        "kafka_offsets_log" => vec![golden("tests/golden/kafka/consumer-offsets.log")],
        "fluss_request" => fluss::requests(),
        "fluss_batch" => fluss::batches(),
        "fluss_rows" => fluss::rows(),
        "fluss_keyed" => fluss::keyed(),
        "fluss_arrow" => without_choices(fluss::batches(), 50),
        "fluss_statistics" => fluss::statistics(),
        "fluss_descriptors" => descriptors(),
        "fluss_options" => texts(),
        "json_rows" => fluss::json(),
        "stored" => without_choices([kafka::batches(), fluss::batches()].concat(), 1),
        other => panic!("no seeds of {other}"),
    }
}

/// Seeds of another target without what it reads first.
fn without_choices(seeds: Vec<Vec<u8>>, bytes: usize) -> Vec<Vec<u8>> {
    let seeds = seeds.into_iter();
    seeds
        .map(|seed| seed[bytes.min(seed.len())..].to_vec())
        .collect()
}

fn golden(path: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn descriptors() -> Vec<Vec<u8>> {
    let names = [
        "table_plain",
        "table_log_all_types",
        "table_pk_partitioned",
        "schema_all_types",
        "database",
        "database_empty",
    ];
    let mut seeds: Vec<_> = names
        .iter()
        .map(|name| golden(&format!("src/fluss/golden/{name}.json")))
        .collect();
    seeds.push(br#"{"type":"ARRAY","element_type":{"type":"INTEGER"}}"#.to_vec());
    seeds.push(
        [
            &br#"{"type":"ARRAY","element_type":"#.repeat(500)[..],
            b"{}",
        ]
        .concat(),
    );
    seeds.push(b"[".repeat(10_000));
    seeds
}

fn texts() -> Vec<Vec<u8>> {
    let texts = [
        "1",
        "-1",
        "true",
        "7 d",
        "1h",
        "99999999999999999999 d",
        "64mb",
        "9223372036854775807 tb",
        "lz4",
        "zstd",
        "yyyy-MM-dd",
        "yyyy-'x'-Q",
        "Europe/Prague",
        "+25:00",
        "a$b",
        "2026$08",
        "é€𝄞",
    ];
    let mut seeds = Vec::new();
    for text in texts {
        for option in 0..40 {
            seeds.push([&[option, option][..], text.as_bytes()].concat());
        }
    }
    seeds
}
