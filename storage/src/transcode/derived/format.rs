//! The file of a derived range: Fluss batches that were made of Kafka frames, and where they lie.
//!
//! ```text
//!  <base offset of the segment, 20 digits>-<range, 5 digits>.columnar     (all little-endian)
//!   0   8  magic "VLTADERV"
//!   8   4  version, 1
//!  12   4  CRC-32C of 16..104
//!  16   4  transcoder version
//!  20   4  number of entries
//!  24   8  generation of the segment
//!  32   8  table id
//!  40   8  table partition id, -1 without
//!  48   4  bucket
//!  52   4  CRC-32C of the entries
//!  56   8  number of the range
//!  64   8  end of what it covers in the segment file
//!  72   8  first offset
//!  80   8  offset after the last batch
//!  88   8  position of the entries
//!  96   8  length of the file
//! 104      batches, each on a multiple of 8
//!          entries of 40 bytes:
//!   0   8  first offset        8   8  offset after the last
//!  16   8  position           24   4  length
//!  28   4  length of the head: what comes before the body of the Arrow message
//!  32   4  CRC-32C of the head    36  4  CRC-32C of the whole batch
//! ```
//!
//! A file is whole or absent: it gets its name after it was synced, and whatever does not hold
//! makes it absent. Why it is so: `docs/formats/derived.md`.

use protocol::fluss::arrow_message::{PREFIX_LEN, body_start};
use protocol::fluss::batch::HeaderView;
use protocol::ids::{BucketId, Offset, TableId, TablePartitionId, TabletId};

use crate::transcode::TRANSCODER_VERSION;

const MAGIC: [u8; 8] = *b"VLTADERV";
const VERSION: u32 = 1;
/// Where the batches begin.
pub(in crate::transcode) const HEADER_LENGTH: usize = 104;
/// Length of an entry.
pub(super) const ENTRY_LENGTH: usize = 40;

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileHeader {
    pub(super) entries: u32,
    pub(super) generation: u64,
    pub(super) tablet: TabletId,
    pub(super) entries_crc: u32,
    pub(super) range: u64,
    pub(super) position_end: u64,
    pub(super) start: Offset,
    pub(super) end: Offset,
    pub(super) entries_position: u64,
    pub(super) length: u64,
}

impl FileHeader {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LENGTH);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&TRANSCODER_VERSION.to_le_bytes());
        out.extend_from_slice(&self.entries.to_le_bytes());
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&self.tablet.table.value().to_le_bytes());
        let partition = self.tablet.table_partition.map_or(-1, |p| p.value());
        out.extend_from_slice(&partition.to_le_bytes());
        out.extend_from_slice(&self.tablet.bucket.value().to_le_bytes());
        out.extend_from_slice(&self.entries_crc.to_le_bytes());
        out.extend_from_slice(&self.range.to_le_bytes());
        out.extend_from_slice(&self.position_end.to_le_bytes());
        out.extend_from_slice(&self.start.value().to_le_bytes());
        out.extend_from_slice(&self.end.value().to_le_bytes());
        out.extend_from_slice(&self.entries_position.to_le_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
        debug_assert_eq!(out.len(), HEADER_LENGTH);
        let crc = crc32c::crc32c(&out[16..]);
        out[12..16].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a header; `None` when it is damaged, or of another version of format or transcoder.
    pub(super) fn decode(bytes: &[u8]) -> Option<FileHeader> {
        let bytes = bytes.get(..HEADER_LENGTH)?;
        if bytes[..8] != MAGIC
            || u32_at(bytes, 8) != VERSION
            || u32_at(bytes, 12) != crc32c::crc32c(&bytes[16..])
            || u32_at(bytes, 16) != TRANSCODER_VERSION
        {
            return None;
        }
        let partition = u64_at(bytes, 40) as i64;
        Some(FileHeader {
            entries: u32_at(bytes, 20),
            generation: u64_at(bytes, 24),
            tablet: TabletId {
                table: TableId::new(u64_at(bytes, 32) as i64),
                table_partition: (partition != -1).then(|| TablePartitionId::new(partition)),
                bucket: BucketId::new(u32_at(bytes, 48) as i32),
            },
            entries_crc: u32_at(bytes, 52),
            range: u64_at(bytes, 56),
            position_end: u64_at(bytes, 64),
            start: Offset::new(u64_at(bytes, 72) as i64),
            end: Offset::new(u64_at(bytes, 80) as i64),
            entries_position: u64_at(bytes, 88),
            length: u64_at(bytes, 96),
        })
    }

    /// Bytes of the entries; `None` when they do not end where the file does.
    pub(super) fn entries_length(&self) -> Option<usize> {
        let length = u64::from(self.entries) * ENTRY_LENGTH as u64;
        (self.entries_position.checked_add(length)? == self.length).then_some(length as usize)
    }
}

/// One batch of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::transcode) struct Entry {
    /// First offset.
    pub(in crate::transcode) start: Offset,
    /// Offset after the last.
    pub(in crate::transcode) end: Offset,
    pub(super) position: u64,
    pub(super) length: u32,
    pub(super) head_length: u32,
    pub(super) head_crc: u32,
    pub(super) crc: u32,
}

impl Entry {
    /// The entry of a batch that is written at `position`.
    pub(super) fn of(start: Offset, end: Offset, position: u64, batch: &[u8]) -> Entry {
        let head = &batch[..head_length(batch)];
        Entry {
            start,
            end,
            position,
            length: batch.len() as u32,
            head_length: head.len() as u32,
            head_crc: crc32c::crc32c(head),
            crc: crc32c::crc32c(batch),
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.start.value().to_le_bytes());
        out.extend_from_slice(&self.end.value().to_le_bytes());
        out.extend_from_slice(&self.position.to_le_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
        out.extend_from_slice(&self.head_length.to_le_bytes());
        out.extend_from_slice(&self.head_crc.to_le_bytes());
        out.extend_from_slice(&self.crc.to_le_bytes());
    }

    /// Reads an entry from exactly [`ENTRY_LENGTH`] bytes.
    fn decode(bytes: &[u8]) -> Entry {
        Entry {
            start: Offset::new(u64_at(bytes, 0) as i64),
            end: Offset::new(u64_at(bytes, 8) as i64),
            position: u64_at(bytes, 16),
            length: u32_at(bytes, 24),
            head_length: u32_at(bytes, 28),
            head_crc: u32_at(bytes, 32),
            crc: u32_at(bytes, 36),
        }
    }
}

/// Reads the entries; `None` when they are not those of the header.
pub(super) fn decode_entries(header: &FileHeader, bytes: &[u8]) -> Option<Vec<Entry>> {
    if bytes.len() != header.entries_length()? || crc32c::crc32c(bytes) != header.entries_crc {
        return None;
    }
    let entries: Vec<Entry> = bytes
        .chunks_exact(ENTRY_LENGTH)
        .map(Entry::decode)
        .collect();
    let inside = |e: &Entry| {
        e.start < e.end
            && e.head_length <= e.length
            && e.position.saturating_add(e.length.into()) <= header.entries_position
    };
    let in_order = entries.windows(2).all(|pair| pair[0].end <= pair[1].start);
    (entries.iter().all(inside) && in_order).then_some(entries)
}

/// Bytes before the body of a batch's Arrow message: all that planning a projection looks at.
fn head_length(batch: &[u8]) -> usize {
    let Ok(header) = HeaderView::parse(batch) else {
        return batch.len();
    };
    let types = match header.append_only() {
        true => 0,
        false => usize::try_from(header.record_count()).unwrap_or(0),
    };
    let message = header.records_at() + types;
    let prefix = batch.get(message..message + PREFIX_LEN);
    match prefix.and_then(|prefix| body_start(prefix).ok()) {
        Some(length) => (message + length).min(batch.len()),
        None => batch.len(),
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> FileHeader {
        FileHeader {
            entries: 2,
            generation: 77,
            tablet: TabletId {
                table: TableId::new(5),
                table_partition: Some(TablePartitionId::new(6)),
                bucket: BucketId::new(7),
            },
            entries_crc: 0,
            range: 3,
            position_end: 9,
            start: Offset::new(1),
            end: Offset::new(40),
            entries_position: 304,
            length: 384,
        }
    }

    fn entries() -> Vec<Entry> {
        let batch = [1; 100];
        vec![
            Entry::of(Offset::new(10), Offset::new(20), 104, &batch),
            Entry::of(Offset::new(30), Offset::new(40), 204, &batch),
        ]
    }

    #[test]
    fn header_and_entries_survive_the_round_trip() {
        let mut bytes = Vec::new();
        for entry in entries() {
            entry.encode(&mut bytes);
        }
        let header = FileHeader {
            entries_crc: crc32c::crc32c(&bytes),
            ..header()
        };
        assert_eq!(FileHeader::decode(&header.encode()), Some(header));
        assert_eq!(decode_entries(&header, &bytes), Some(entries()));
        bytes[3] ^= 1;
        assert_eq!(decode_entries(&header, &bytes), None);
    }

    #[test]
    fn every_flipped_bit_of_the_header_is_noticed() {
        let mut bytes = header().encode();
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FileHeader::decode(&bytes), None, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_entries_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let header = FileHeader {
                entries: (bytes.len() / ENTRY_LENGTH) as u32,
                entries_crc: crc32c::crc32c(&bytes),
                ..header()
            };
            let _ = decode_entries(&header, &bytes);
        }
    }
}
