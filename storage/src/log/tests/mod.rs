//! Tests of a log on a simulated disk: what the crash test does not show.

mod append;
mod durable;
mod handle;
mod read;
mod recovery;
mod retention;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use protocol::batch::{BatchFormat, ProducerScheme, SourceBlock, UnassignedBatch};
use protocol::ids::{BucketId, LeaderEpoch, Offset, SchemaId, TableId, TabletId};

use super::{
    Append, AppendError, Appended, FrameRun, Log, LogConfig, LogContext, OpenFiles, ReadRange,
};
use crate::buffers::BufferPool;
use crate::clock::CommitClock;
use crate::env::simulated::Simulation;

const DIRECTORY: &str = "/logs/1/0";

fn context(simulation: &Simulation) -> Arc<LogContext> {
    let env = simulation.env();
    Arc::new(LogContext {
        commit_clock: CommitClock::new(Arc::clone(&env.clock), 0),
        files: OpenFiles::new(2),
        buffers: BufferPool::new(8 << 20),
        recovery_debt: Arc::default(),
        env,
    })
}

fn tablet_id() -> TabletId {
    TabletId {
        table: TableId::new(1),
        table_partition: None,
        bucket: BucketId::new(0),
    }
}

fn open(simulation: &Simulation, config: LogConfig, epoch: i32) -> Log {
    Log::open(
        context(simulation),
        tablet_id(),
        PathBuf::from(DIRECTORY),
        config,
        LeaderEpoch::new(epoch),
    )
    .unwrap()
}

/// A log that rolls only when a test says so.
fn config() -> LogConfig {
    LogConfig {
        segment_ms_max: None,
        retention_ms: None,
        ..LogConfig::default()
    }
}

fn with_segments_of(bytes: u64) -> LogConfig {
    LogConfig {
        segment_bytes_max: bytes,
        ..config()
    }
}

/// A Kafka batch with a valid header and CRC around `size` bytes of `fill`.
fn batch(fill: u8, size: usize, records: i32) -> UnassignedBatch {
    let mut bytes = vec![0u8; 61];
    bytes.resize(61 + size, fill);
    let length = (bytes.len() - 12) as i32;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[16] = 2;
    bytes[23..27].copy_from_slice(&(records - 1).to_be_bytes());
    bytes[57..61].copy_from_slice(&records.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    UnassignedBatch {
        bytes: Bytes::from(bytes),
        format: BatchFormat::Kafka,
        schema_id: SchemaId::new(1),
        record_count: records,
        last_offset_delta: records - 1,
        record_time_max: 1_600_000_000_000,
        transactional: false,
        control: false,
        source: None,
    }
}

fn recorded_at(time: i64) -> UnassignedBatch {
    UnassignedBatch {
        record_time_max: time,
        ..batch(1, 100, 1)
    }
}

/// A batch of producer 9 with these sequence numbers.
fn in_sequence(first: i32, records: i32) -> UnassignedBatch {
    UnassignedBatch {
        source: Some(SourceBlock {
            scheme: ProducerScheme::Kafka,
            producer_id: 9,
            producer_epoch: 0,
            source_partition: 0,
            first_sequence: first,
            last_sequence: first + records - 1,
        }),
        ..batch(1, 100, records)
    }
}

fn append_of(batches: impl IntoIterator<Item = UnassignedBatch>) -> Append {
    Append {
        batches: batches.into_iter().collect(),
        expected_epoch: None,
        stamp_log_append_time: false,
    }
}

fn append(log: &Log, batch: UnassignedBatch) -> Result<Appended, AppendError> {
    log.append_group(&[append_of([batch])]).remove(0)
}

fn range(offset: i64, end: i64) -> ReadRange {
    ReadRange {
        offset: Offset::new(offset),
        end: Offset::new(end),
        bytes_max: 1 << 20,
        at_least_one: true,
    }
}

fn read(log: &Log, offset: i64) -> FrameRun {
    let end = log.watermarks().high_watermark.value();
    log.read_run(range(offset, end), true).unwrap().unwrap()
}

/// Base offsets of the segments.
fn bases(log: &Log) -> Vec<i64> {
    log.segments().iter().map(|s| s.base().value()).collect()
}

/// Fill byte and first offset of all frames that a reader sees from `offset` on.
fn contents(log: &Log, offset: i64) -> Vec<(i64, u8)> {
    let end = log.watermarks().high_watermark.value();
    let mut found = Vec::new();
    let mut at = offset;
    while at < end {
        let run = read(log, at);
        for (header, batch) in run.frames() {
            found.push((header.base_offset.value(), batch[batch.len() - 1]));
        }
        at = run.next_offset().unwrap().value();
    }
    found
}
