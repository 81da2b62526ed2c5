//! What the log must know of a batch's bytes: whether its own CRC holds, and where the assigned
//! fields are written when it is read.
//!
//! All assigned fields lie outside the range of the batch's CRC in both formats, so writing them
//! leaves the producer's checksum valid (Kafka `DefaultRecordBatch.java`, Fluss
//! `LogRecordBatchFormat.java`).

use crate::batch::BatchFormat;

const KAFKA_HEADER: usize = 61;
const KAFKA_LEADER_EPOCH: usize = 12;
const KAFKA_MAGIC: usize = 16;
const KAFKA_CRC: usize = 17;
const KAFKA_ATTRIBUTES: usize = 21;
const KAFKA_MAX_TIMESTAMP: usize = 35;
const KAFKA_TIMESTAMP_TYPE_BIT: u8 = 0x08;

const FLUSS_MAGIC: usize = 12;
const FLUSS_COMMIT_TIME: usize = 13;
const FLUSS_LEADER_EPOCH_V2: usize = 21;

/// The fields that a log assigns to a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assigned {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Epoch of the leader that appended it.
    pub leader_epoch: i32,
    /// Commit time, epoch milliseconds.
    pub commit_time: i64,
}

/// True when the batch is as long as it says, of a known magic, and its CRC-32C holds.
pub fn crc_holds(format: BatchFormat, batch: &[u8]) -> bool {
    if format == BatchFormat::Kafka {
        if batch.len() < KAFKA_HEADER || i64::from(be_i32(batch, 8)) + 12 != batch.len() as i64 {
            return false;
        }
        // The CRC does not cover the magic, and no other one is ever stored.
        batch[KAFKA_MAGIC] == 2
            && be_i32(batch, KAFKA_CRC) as u32 == crc32c::crc32c(&batch[KAFKA_CRC + 4..])
    } else {
        let Some(crc_at) = fluss_crc_position(batch) else {
            return false;
        };
        if i64::from(le_i32(batch, 8)) + 12 != batch.len() as i64 {
            return false;
        }
        le_i32(batch, crc_at) as u32 == crc32c::crc32c(&batch[crc_at + 4..])
    }
}

/// Writes the assigned fields into a stored batch.
///
/// # Panics
/// When `batch` is shorter than a batch header; the log validated it before it was appended.
pub fn write_assigned(format: BatchFormat, batch: &mut [u8], assigned: Assigned) {
    if format == BatchFormat::Kafka {
        batch[..8].copy_from_slice(&assigned.base_offset.to_be_bytes());
        batch[KAFKA_LEADER_EPOCH..KAFKA_LEADER_EPOCH + 4]
            .copy_from_slice(&assigned.leader_epoch.to_be_bytes());
    } else {
        batch[..8].copy_from_slice(&assigned.base_offset.to_le_bytes());
        batch[FLUSS_COMMIT_TIME..FLUSS_COMMIT_TIME + 8]
            .copy_from_slice(&assigned.commit_time.to_le_bytes());
        if batch[FLUSS_MAGIC] == 2 {
            batch[FLUSS_LEADER_EPOCH_V2..FLUSS_LEADER_EPOCH_V2 + 4]
                .copy_from_slice(&assigned.leader_epoch.to_le_bytes());
        }
    }
}

/// Gives a Kafka batch the time of its append (`message.timestamp.type=LogAppendTime`): the
/// timestamp type bit, the largest timestamp, and a new CRC.
///
/// # Panics
/// When `batch` is shorter than a Kafka batch header.
pub fn stamp_log_append_time(batch: &mut [u8], commit_time: i64) {
    batch[KAFKA_ATTRIBUTES + 1] |= KAFKA_TIMESTAMP_TYPE_BIT;
    batch[KAFKA_MAX_TIMESTAMP..KAFKA_MAX_TIMESTAMP + 8].copy_from_slice(&commit_time.to_be_bytes());
    let crc = crc32c::crc32c(&batch[KAFKA_CRC + 4..]);
    batch[KAFKA_CRC..KAFKA_CRC + 4].copy_from_slice(&crc.to_be_bytes());
}

/// Where the CRC of a Fluss batch stands, if its magic is known and its header is whole.
fn fluss_crc_position(batch: &[u8]) -> Option<usize> {
    let (crc_at, header) = match batch.get(FLUSS_MAGIC)? {
        0 => (21, 48),
        1 => (21, 52),
        2 => (25, 56),
        _ => return None,
    };
    (batch.len() >= header).then_some(crc_at)
}

fn be_i32(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn le_i32(bytes: &[u8], at: usize) -> i32 {
    i32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
            .collect()
    }

    // A batch that the released Java Fluss client wrote (schema a INT, b STRING, two rows).
    const FLUSS: &str = "0000000000000000240100000000000000000000007baa89230100010100000007000000000000000300000002000000ffffffffc800000014000000000000000c0016000e001500100004000c0000003000000000000000000004001000000000030a0018000c00080004000a00000014000000680000000200000000000000000000000500000000000000000000000100000000000000080000000000000008000000000000001000000000000000010000000000000018000000000000000c000000000000002800000000000000010000000000000000000000020000000200000000000000000000000000000002000000000000000100000000000000030000000000000001000000020000000100000000000000000000000100000001000000000000007800000000000000";

    #[test]
    fn assigned_fields_of_a_fluss_batch_lie_outside_its_crc() {
        let mut batch = unhex(FLUSS);
        assert!(crc_holds(BatchFormat::FlussArrow, &batch));
        let assigned = Assigned {
            base_offset: 77,
            leader_epoch: 3,
            commit_time: 1_700_000_000_000,
        };
        write_assigned(BatchFormat::FlussArrow, &mut batch, assigned);
        assert_eq!(&batch[..8], 77i64.to_le_bytes());
        assert_eq!(&batch[13..21], 1_700_000_000_000i64.to_le_bytes());
        assert!(crc_holds(BatchFormat::FlussArrow, &batch));
        batch[60] ^= 1;
        assert!(!crc_holds(BatchFormat::FlussArrow, &batch));
    }

    #[test]
    fn a_stamped_kafka_batch_has_the_new_time_and_a_valid_crc() {
        let mut batch = vec![0u8; 80];
        batch[8..12].copy_from_slice(&68i32.to_be_bytes());
        batch[16] = 2;
        assert!(!crc_holds(BatchFormat::Kafka, &batch));
        stamp_log_append_time(&mut batch, 42);
        assert!(crc_holds(BatchFormat::Kafka, &batch));
        assert_eq!(batch[22] & 0x08, 0x08);
        assert_eq!(&batch[35..43], 42i64.to_be_bytes());
    }

    #[test]
    fn short_or_unknown_bytes_never_hold() {
        for format in [BatchFormat::Kafka, BatchFormat::FlussArrow] {
            for length in 0..70 {
                assert!(!crc_holds(format, &vec![9; length]));
            }
        }
    }
}
