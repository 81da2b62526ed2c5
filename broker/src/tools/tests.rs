//! Both tools over a log on the simulated disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use protocol::batch::{BatchFormat, UnassignedBatch};
use protocol::ids::{BucketId, LeaderEpoch, SchemaId, TableId, TabletId};
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
    let append = || Append {
        batches: vec![batch()],
        expected_epoch: None,
        stamp_log_append_time: false,
    };
    for result in log.append_group(&[append(), append()]) {
        result.expect("appended");
    }
    log.close().expect("closed");
    simulation
}

fn dump(simulation: &Simulation) -> (Result<(), DumpError>, String) {
    let mut out = Vec::new();
    let outcome = dump_log(&*simulation.env().disk, Path::new(SEGMENT), &mut out);
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
