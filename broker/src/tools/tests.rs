//! Both tools over a log on the simulated disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use protocol::batch::{BatchFormat, UnassignedBatch};
use protocol::ids::{BucketId, LeaderEpoch, SchemaId, TableId, TabletId};
use protocol::kafka::builder::{BatchBuilder, BatchOptions};
use protocol::kafka::compression::Codec;
use protocol::kafka::record::Header;
use storage::buffers::BufferPool;
use storage::clock::CommitClock;
use storage::env::simulated::Simulation;
use storage::log::{Append, Log, LogConfig, LogContext, OpenFiles};

use super::*;

const SEGMENT: &str = "/data/logs/7/0/00000000000000000000.log";

/// A Kafka batch header around two records that nobody decodes here.
fn batch() -> UnassignedBatch {
    let mut bytes = vec![0; 90];
    bytes[8..12].copy_from_slice(&78i32.to_be_bytes());
    bytes[16] = 2;
    bytes[23..27].copy_from_slice(&1i32.to_be_bytes());
    bytes[57..61].copy_from_slice(&2i32.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    UnassignedBatch {
        bytes: Bytes::from(bytes),
        format: BatchFormat::Kafka,
        schema_id: SchemaId::new(1),
        record_count: 2,
        last_offset_delta: 1,
        record_time_max: 1_600_000_000_000,
        transactional: false,
        control: false,
        source: None,
    }
}

fn log() -> Simulation {
    log_of(&[batch(), batch()], false)
}

/// A log of these batches, each in a segment of its own when `rolled`.
fn log_of(batches: &[UnassignedBatch], rolled: bool) -> Simulation {
    let simulation = Simulation::new(1);
    let env = simulation.env();
    let context = LogContext {
        commit_clock: CommitClock::new(Arc::clone(&env.clock), 0),
        files: OpenFiles::new(10),
        buffers: BufferPool::new(1 << 20),
        recovery_debt: Arc::default(),
        env,
    };
    let directory = Path::new(SEGMENT).parent().expect("a directory");
    let log = Log::open(
        Arc::new(context),
        TabletId {
            table: TableId::new(7),
            table_partition: None,
            bucket: BucketId::new(0),
        },
        PathBuf::from(directory),
        LogConfig::default(),
        LeaderEpoch::new(3),
    )
    .expect("a new log");
    for (number, batch) in batches.iter().enumerate() {
        if rolled && number > 0 {
            log.roll_active().expect("rolled");
        }
        let append = Append {
            batches: vec![batch.clone()],
            expected_epoch: None,
            stamp_log_append_time: false,
        };
        log.append_group(&[append]).remove(0).expect("appended");
    }
    log.close().expect("closed");
    simulation
}

fn dump(simulation: &Simulation) -> (Result<(), DumpError>, String) {
    let mut out = Vec::new();
    let outcome = dump_log(&simulation.env(), Path::new(SEGMENT), false, &mut out);
    (outcome, String::from_utf8(out).expect("text"))
}

#[test]
fn each_frame_is_a_line_and_the_salt_is_kept() {
    let simulation = log();
    let (outcome, text) = dump(&simulation);
    outcome.expect("sound");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].starts_with("segment base=0 "), "{text}");
    assert!(
        lines[1].starts_with("frame position=64 offsets=0..=1 epoch=3 schema=1 "),
        "{text}"
    );
    assert!(
        lines[2].ends_with("batch=kafka bytes=90 records=2 codec=none crc=ok"),
        "{text}"
    );
    let file = simulation.disk.contents(Path::new(SEGMENT)).expect("there");
    let salt = u64::from_le_bytes(file[16..24].try_into().expect("eight bytes"));
    assert!(!text.contains(&format!("{salt:x}")) && !text.contains(&salt.to_string()));
}

/// A Kafka batch of a text record with a header, and one of bytes and nothing.
fn batch_of_records() -> UnassignedBatch {
    let mut builder = BatchBuilder::new(BatchOptions {
        codec: Codec::Lz4,
        ..BatchOptions::default()
    });
    let header = Header {
        key: b"trace",
        value: None,
    };
    builder.append(0, 1_600, Some(b"k\"1"), Some(b"v"), [header]);
    builder.append(1, 1_601, Some(&[0xff, 0]), None, []);
    UnassignedBatch {
        bytes: builder.finish(),
        ..batch()
    }
}

#[test]
fn records_are_lines_of_json_and_a_directory_shows_all_its_segments() {
    let simulation = log_of(&[batch_of_records(), batch_of_records()], true);
    let mut out = Vec::new();
    dump_log(&simulation.env(), Path::new("/data"), true, &mut out).expect("sound");
    let text = String::from_utf8(out).expect("text");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 10, "{text}");
    assert_eq!(lines[0], SEGMENT);
    assert_eq!(
        lines[3],
        r#"  {"offset":0,"timestamp":1600,"key":"k\"1","value":"v","headers":[{"key":"trace","value":null}]}"#
    );
    assert_eq!(
        lines[4],
        r#"  {"offset":1,"timestamp":1601,"key":{"hex":"ff00"},"value":null,"headers":[]}"#
    );
    assert!(lines[5].ends_with("/00000000000000000002.log"), "{text}");
    assert!(lines[8].starts_with(r#"  {"offset":2,"#), "{text}");
}

#[test]
fn damage_in_one_segment_does_not_hide_the_others() {
    let simulation = log_of(&[batch_of_records(), batch_of_records()], true);
    simulation
        .disk
        .flip_bit(Path::new(SEGMENT), 64, 0)
        .expect("there");
    let mut out = Vec::new();
    let outcome = dump_log(&simulation.env(), Path::new("/data"), false, &mut out);
    assert!(matches!(
        outcome,
        Err(DumpError::Damaged { position: 64, .. })
    ));
    let text = String::from_utf8(out).expect("text");
    assert!(text.contains("offsets=2..=3"), "{text}");
}

#[test]
fn damage_is_named_by_both() {
    let simulation = log();
    simulation
        .disk
        .flip_bit(Path::new(SEGMENT), 64 + 64 + 70, 3)
        .expect("there");
    let (outcome, text) = dump(&simulation);
    outcome.expect("the frames themselves hold");
    assert!(text.contains("crc=WRONG"), "{text}");
    let mut out = Vec::new();
    let report = check(&simulation.env(), Path::new("/data"), &mut out).expect("readable");
    let text = String::from_utf8(out).expect("text");
    assert_eq!((report.logs, report.damaged), (1, 1), "{text}");
    assert!(text.contains("logs/7/0: DAMAGED"), "{text}");
    assert!(
        text.contains(&format!("{SEGMENT} at 64: a batch whose CRC does not hold")),
        "{text}"
    );

    simulation
        .disk
        .flip_bit(Path::new(SEGMENT), 64, 0)
        .expect("there");
    assert!(matches!(
        dump(&simulation).0,
        Err(DumpError::Damaged { position: 64, .. })
    ));
}
