//! What the tests of the log share.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test uses a part of this module"
)]

use std::sync::Arc;

use bytes::Bytes;
use protocol::batch::{BatchFormat, SourceBlock, UnassignedBatch};
use protocol::ids::{BucketId, SchemaId, TableId, TabletId};
use storage::buffers::BufferPool;
use storage::clock::CommitClock;
use storage::env::Env;
use storage::log::{LogContext, OpenFiles};

/// The tablet of all tests.
pub fn tablet() -> TabletId {
    TabletId {
        table: TableId::new(1),
        table_partition: None,
        bucket: BucketId::new(0),
    }
}

/// What a broker would share between its logs; few open files, so that closing is exercised.
pub fn context(env: Env) -> Arc<LogContext> {
    Arc::new(LogContext {
        commit_clock: CommitClock::new(Arc::clone(&env.clock), 0),
        files: OpenFiles::new(3),
        buffers: BufferPool::new(8 << 20),
        recovery_debt: Arc::default(),
        env,
    })
}

/// A Kafka batch with a valid header and CRC around arbitrary bytes.
pub fn kafka_batch(payload: &[u8], records: i32, source: Option<SourceBlock>) -> UnassignedBatch {
    let mut bytes = vec![0u8; 61];
    bytes.extend_from_slice(payload);
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
        source,
    }
}
