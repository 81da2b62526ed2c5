//! The frame: a small header before each batch of a segment.
//!
//! ```text
//!  offset size  field                      (all integers little-endian)
//!   0      4    magic "VLTF"
//!   4      1    version, 1
//!   5      1    header length in units of 8 bytes: 8, or 11 with a source block
//!   6      1    batch format (protocol::batch::BatchFormat)
//!   7      1    flags: 1 source block, 2 transactional, 4 control
//!   8      4    batch length in bytes
//!  12      4    CRC-32C of the header with this field zero, begun with the segment's salt
//!  16      8    base offset
//!  24      8    last offset
//!  32      4    leader epoch
//!  36      2    schema id
//!  38      2    zero
//!  40      8    commit time, epoch milliseconds
//!  48      8    largest record time, epoch milliseconds; -1: the commit time
//!  56      8    synced end: an fdatasync had returned for all offsets below it
//!  64      8    source block: producer id
//!  72      2      producer epoch
//!  74      1      producer scheme (protocol::batch::ProducerScheme)
//!  75      1      zero
//!  76      4      source partition
//!  80      4      first sequence
//!  84      4      last sequence
//! ```
//!
//! The batch follows, then zeros up to the next multiple of 8. The header says what the batch's
//! own bytes cannot: a batch is stored as its producer sent it, so its base offset and epoch are
//! whatever the client wrote there. The salt never leaves the broker, so a header cannot be forged
//! from inside a record. Why it is so: `docs/formats/log.md`.

use protocol::batch::{BatchFormat, ProducerScheme, SourceBlock};
use protocol::ids::{LeaderEpoch, Offset, SchemaId};
use protocol::stored::Assigned;

/// Frames begin on multiples of this.
pub const ALIGNMENT: usize = 8;
/// Length of a header without a source block.
pub const HEADER_LENGTH: usize = 64;
/// Length of a header with one; no header is longer.
pub const HEADER_LENGTH_MAX: usize = 88;

const MAGIC: [u8; 4] = *b"VLTF";
const VERSION: u8 = 1;
const FLAG_SOURCE: u8 = 1;
const FLAG_TRANSACTIONAL: u8 = 2;
const FLAG_CONTROL: u8 = 4;

/// A decoded frame header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Layout of the batch.
    pub format: BatchFormat,
    /// Part of a Kafka transaction.
    pub transactional: bool,
    /// A Kafka control batch.
    pub control: bool,
    /// Length of the batch in bytes.
    pub batch_length: u32,
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Offset of the last record.
    pub last_offset: Offset,
    /// Epoch of the leader that appended it.
    pub leader_epoch: LeaderEpoch,
    /// The schema that was valid at append.
    pub schema_id: SchemaId,
    /// Commit time, epoch milliseconds.
    pub commit_time: i64,
    /// Largest record time, epoch milliseconds; the commit time where records carry none.
    pub record_time_max: i64,
    /// All offsets below it were on disk when this frame was written.
    pub synced_end: Offset,
    /// Who wrote it, for idempotent producers.
    pub source: Option<SourceBlock>,
}

impl FrameHeader {
    /// Length of the encoded header.
    pub fn header_length(&self) -> usize {
        if self.source.is_some() {
            HEADER_LENGTH_MAX
        } else {
            HEADER_LENGTH
        }
    }

    /// Bytes from the start of this frame to the start of the next one.
    pub fn frame_length(&self) -> usize {
        (self.header_length() + self.batch_length as usize).next_multiple_of(ALIGNMENT)
    }

    /// The fields to write into the batch when it is read.
    pub fn assigned(&self) -> Assigned {
        Assigned {
            base_offset: self.base_offset.value(),
            leader_epoch: self.leader_epoch.value(),
            commit_time: self.commit_time,
        }
    }

    /// Appends the encoded header to `out`.
    pub fn encode(&self, salt: u64, out: &mut Vec<u8>) {
        let start = out.len();
        let length = self.header_length();
        let flags = if self.source.is_some() {
            FLAG_SOURCE
        } else {
            0
        } | if self.transactional {
            FLAG_TRANSACTIONAL
        } else {
            0
        } | if self.control { FLAG_CONTROL } else { 0 };
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[VERSION, (length / 8) as u8, self.format.code(), flags]);
        out.extend_from_slice(&self.batch_length.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.base_offset.value().to_le_bytes());
        out.extend_from_slice(&self.last_offset.value().to_le_bytes());
        out.extend_from_slice(&self.leader_epoch.value().to_le_bytes());
        out.extend_from_slice(&self.schema_id.value().to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&self.commit_time.to_le_bytes());
        out.extend_from_slice(&self.record_time_max.to_le_bytes());
        out.extend_from_slice(&self.synced_end.value().to_le_bytes());
        if let Some(source) = &self.source {
            out.extend_from_slice(&source.producer_id.to_le_bytes());
            out.extend_from_slice(&source.producer_epoch.to_le_bytes());
            out.extend_from_slice(&[source.scheme.code(), 0]);
            out.extend_from_slice(&source.source_partition.to_le_bytes());
            out.extend_from_slice(&source.first_sequence.to_le_bytes());
            out.extend_from_slice(&source.last_sequence.to_le_bytes());
        }
        debug_assert_eq!(out.len() - start, length);
        let crc = header_crc(salt, &out[start..]);
        out[start + 12..start + 16].copy_from_slice(&crc.to_le_bytes());
    }

    /// Reads the header at the start of `bytes`; `None` when there is no valid one.
    pub fn decode(salt: u64, bytes: &[u8]) -> Option<FrameHeader> {
        if bytes.len() < HEADER_LENGTH || bytes[..4] != MAGIC || bytes[4] != VERSION {
            return None;
        }
        let flags = bytes[7];
        let length = if flags & FLAG_SOURCE != 0 {
            HEADER_LENGTH_MAX
        } else {
            HEADER_LENGTH
        };
        if usize::from(bytes[5]) * 8 != length || bytes.len() < length {
            return None;
        }
        if u32_at(bytes, 12) != header_crc(salt, &bytes[..length]) {
            return None;
        }
        let source = if flags & FLAG_SOURCE != 0 {
            Some(SourceBlock {
                scheme: ProducerScheme::from_code(bytes[74])?,
                producer_id: i64_at(bytes, 64),
                producer_epoch: i16::from_le_bytes([bytes[72], bytes[73]]),
                source_partition: u32_at(bytes, 76) as i32,
                first_sequence: u32_at(bytes, 80) as i32,
                last_sequence: u32_at(bytes, 84) as i32,
            })
        } else {
            None
        };
        Some(FrameHeader {
            format: BatchFormat::from_code(bytes[6])?,
            transactional: flags & FLAG_TRANSACTIONAL != 0,
            control: flags & FLAG_CONTROL != 0,
            batch_length: u32_at(bytes, 8),
            base_offset: Offset::new(i64_at(bytes, 16)),
            last_offset: Offset::new(i64_at(bytes, 24)),
            leader_epoch: LeaderEpoch::new(u32_at(bytes, 32) as i32),
            schema_id: SchemaId::new(i16::from_le_bytes([bytes[36], bytes[37]])),
            commit_time: i64_at(bytes, 40),
            record_time_max: i64_at(bytes, 48),
            synced_end: Offset::new(i64_at(bytes, 56)),
            source,
        })
    }
}

/// CRC of a header: the salt's bytes, then the header with its CRC field zero.
fn header_crc(salt: u64, header: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&salt.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &header[..12]);
    let crc = crc32c::crc32c_append(crc, &[0; 4]);
    crc32c::crc32c_append(crc, &header[16..])
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(super) fn i64_at(bytes: &[u8], at: usize) -> i64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    i64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(source: Option<SourceBlock>) -> FrameHeader {
        FrameHeader {
            format: BatchFormat::FlussArrow,
            transactional: false,
            control: false,
            batch_length: 1001,
            base_offset: Offset::new(5),
            last_offset: Offset::new(9),
            leader_epoch: LeaderEpoch::new(3),
            schema_id: SchemaId::new(2),
            commit_time: 1_700_000_000_000,
            record_time_max: 1_600_000_000_000,
            synced_end: Offset::new(4),
            source,
        }
    }

    fn source() -> SourceBlock {
        SourceBlock {
            scheme: ProducerScheme::Kafka,
            producer_id: 7,
            producer_epoch: 1,
            source_partition: 2,
            first_sequence: 10,
            last_sequence: 14,
        }
    }

    #[test]
    fn a_header_survives_the_round_trip_with_and_without_source() {
        for header in [header(None), header(Some(source()))] {
            let mut bytes = Vec::new();
            header.encode(99, &mut bytes);
            assert_eq!(bytes.len(), header.header_length());
            assert_eq!(FrameHeader::decode(99, &bytes), Some(header));
            assert_eq!(header.frame_length() % ALIGNMENT, 0);
        }
    }

    #[test]
    fn a_header_of_another_segment_is_not_accepted() {
        let mut bytes = Vec::new();
        header(None).encode(99, &mut bytes);
        assert_eq!(FrameHeader::decode(98, &bytes), None);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut bytes = Vec::new();
        header(Some(source())).encode(1, &mut bytes);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FrameHeader::decode(1, &bytes), None, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), salt: u64) {
            let _ = FrameHeader::decode(salt, &bytes);
        }
    }
}
