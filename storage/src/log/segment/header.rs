//! The header of a segment file, and its name.
//!
//! ```text
//!  <base offset, 20 digits>.log                (all integers little-endian)
//!   0   8  magic "VLTASEG1"
//!   8   4  version, 1
//!  12   4  CRC-32C of 16..64
//!  16   8  salt of the frame headers
//!  24   8  base offset
//!  32   8  table id
//!  40   8  table partition id, -1 without
//!  48   4  bucket
//!  52   4  bit 0: cleaned (offsets may have gaps); bits 1 to 31: how many offsets from the base
//!          on a cleaned segment stands for
//!  56   8  generation: tells this file from another with the same base offset
//!  64      frames
//! ```

use protocol::ids::{Offset, TabletId};

use crate::log::frame::{i64_at, u32_at};

const MAGIC: [u8; 8] = *b"VLTASEG1";
const VERSION: u32 = 1;
/// Length of the segment header: where the first frame begins.
pub(in crate::log) const HEADER_LENGTH: u64 = 64;

/// Offsets that a cleaned segment can stand for.
pub(in crate::log) const CLEANED_SPAN_MAX: i64 = (1 << 31) - 1;

/// What the header of a segment file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Begins the CRC of each frame header.
    pub salt: u64,
    /// First offset that may lie in the segment.
    pub base: Offset,
    /// The tablet it belongs to.
    pub tablet: TabletId,
    /// In a segment that the cleaner wrote, so that offsets may have gaps: the offset up to which
    /// it stands for the log. Segments that begin below it were replaced by it.
    pub cleaned_to: Option<Offset>,
    /// Tells this file from another with the same base offset.
    pub generation: u64,
}

impl SegmentHeader {
    /// The header as it stands in the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LENGTH as usize);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.salt.to_le_bytes());
        out.extend_from_slice(&self.base.value().to_le_bytes());
        out.extend_from_slice(&self.tablet.table.value().to_le_bytes());
        let partition = self.tablet.table_partition.map_or(-1, |p| p.value());
        out.extend_from_slice(&partition.to_le_bytes());
        out.extend_from_slice(&self.tablet.bucket.value().to_le_bytes());
        let cleaned = self.cleaned_to.map_or(0, |end| {
            let span = (end - self.base).clamp(0, CLEANED_SPAN_MAX) as u32;
            span << 1 | 1
        });
        out.extend_from_slice(&cleaned.to_le_bytes());
        out.extend_from_slice(&self.generation.to_le_bytes());
        let crc = crc32c::crc32c(&out[16..]);
        out[12..16].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a header; `None` when it is damaged or cut short.
    pub fn decode(bytes: &[u8]) -> Option<SegmentHeader> {
        let bytes = bytes.get(..HEADER_LENGTH as usize)?;
        if bytes[..8] != MAGIC
            || u32_at(bytes, 8) != VERSION
            || u32_at(bytes, 12) != crc32c::crc32c(&bytes[16..])
        {
            return None;
        }
        let partition = i64_at(bytes, 40);
        let base = Offset::new(i64_at(bytes, 24));
        let flags = u32_at(bytes, 52);
        Some(SegmentHeader {
            salt: i64_at(bytes, 16) as u64,
            base,
            tablet: TabletId {
                table: protocol::ids::TableId::new(i64_at(bytes, 32)),
                table_partition: (partition != -1)
                    .then(|| protocol::ids::TablePartitionId::new(partition)),
                bucket: protocol::ids::BucketId::new(u32_at(bytes, 48) as i32),
            },
            cleaned_to: (flags & 1 == 1).then(|| base + i64::from(flags >> 1)),
            generation: i64_at(bytes, 56) as u64,
        })
    }
}

/// Reads a header in which one bit is wrong. It serves as a witness only: with its salt, the frames
/// behind it can tell what had been synced.
pub(in crate::log) fn with_one_bit_repaired(bytes: &[u8]) -> Option<SegmentHeader> {
    let mut bytes = bytes.get(..HEADER_LENGTH as usize)?.to_vec();
    (0..bytes.len() * 8).find_map(|bit| {
        bytes[bit / 8] ^= 1 << (bit % 8);
        let header = SegmentHeader::decode(&bytes);
        bytes[bit / 8] ^= 1 << (bit % 8);
        header
    })
}

/// The file name of a segment or of its index.
pub(in crate::log) fn file_name(base: Offset, extension: &str) -> String {
    format!("{:020}.{extension}", base.value())
}

/// The base offset in the name of a segment file, if it is one.
pub fn base_of_file_name(name: &str) -> Option<Offset> {
    let digits = name.strip_suffix(".log")?;
    (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit()))
        .then(|| digits.parse().ok().map(Offset::new))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ids::{BucketId, TableId, TablePartitionId};

    #[test]
    fn a_header_survives_the_round_trip_and_notices_damage() {
        let header = SegmentHeader {
            salt: 0x1234_5678_9abc_def0,
            base: Offset::new(77),
            tablet: TabletId {
                table: TableId::new(3),
                table_partition: Some(TablePartitionId::new(9)),
                bucket: BucketId::new(2),
            },
            cleaned_to: Some(Offset::new(77 + CLEANED_SPAN_MAX)),
            generation: 5,
        };
        let mut bytes = header.encode();
        assert_eq!(bytes.len() as u64, HEADER_LENGTH);
        assert_eq!(SegmentHeader::decode(&bytes), Some(header));
        for at in 0..bytes.len() {
            bytes[at] ^= 4;
            assert_eq!(SegmentHeader::decode(&bytes), None, "byte {at}");
            assert_eq!(with_one_bit_repaired(&bytes), Some(header), "byte {at}");
            bytes[at] ^= 4;
        }
        assert_eq!(SegmentHeader::decode(&bytes[..63]), None);
        bytes[20] ^= 5;
        assert_eq!(with_one_bit_repaired(&bytes), None);
    }

    #[test]
    fn only_segment_files_have_a_base_offset() {
        assert_eq!(
            base_of_file_name("00000000000000000042.log"),
            Some(Offset::new(42))
        );
        for name in [
            "42.log",
            "00000000000000000042.index",
            "checkpoint",
            "0000000000000000004x.log",
        ] {
            assert_eq!(base_of_file_name(name), None, "{name}");
        }
    }
}
