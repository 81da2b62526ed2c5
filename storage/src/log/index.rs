//! The sparse index of a segment: one entry for about every 4 KiB of log, with three keys.
//!
//! Each entry describes one frame: its offset, its position, its commit time, and the largest
//! record time of all frames up to and including it. Offsets and both times never decrease from
//! entry to entry, so each key is found by binary search: offset → position, commit time →
//! position, record time → position. The two clocks stay apart, they only share the file.
//!
//! ```text
//!  <base offset>.index                         (all integers little-endian)
//!   0   8  magic "VLTINDEX"
//!   8   4  version, 1
//!  12   4  zero
//!  16   8  salt of the segment, so that an index never serves another file
//!  24      entries of 24 bytes: relative offset u32, position u32, commit time i64,
//!          largest record time i64
//!  then, in a closed segment, the footer of 64 bytes:
//!   0   8  magic "VLTFOOTR"
//!   8   4  number of entries
//!  12   4  CRC-32C of the entries
//!  16   8  end offset      24  8  length of the segment
//!  32   8  first commit time    40  8  last commit time
//!  48   8  largest record time  56  4  relative offset of its frame   60  4  CRC-32C of 0..60
//! ```
//!
//! The index is derived: where it is missing or its CRC does not hold, it is built from the frames.

use protocol::batch::NO_TIME;
use protocol::ids::Offset;

use super::frame::{FrameHeader, i64_at, u32_at};

const HEADER_MAGIC: [u8; 8] = *b"VLTINDEX";
const FOOTER_MAGIC: [u8; 8] = *b"VLTFOOTR";
const VERSION: u32 = 1;
/// Length of the index file's header.
pub(super) const HEADER_LENGTH: usize = 24;
/// Length of an entry.
pub(super) const ENTRY_LENGTH: usize = 24;
/// Length of the footer.
pub(super) const FOOTER_LENGTH: usize = 64;

/// One frame in the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// Base offset of the frame minus that of the segment.
    pub relative_offset: u32,
    /// Where the frame begins.
    pub position: u32,
    /// Its commit time.
    pub commit_time: i64,
    /// Largest record time of the segment up to and including it.
    pub record_time_max: i64,
}

/// What is known of all frames of a segment together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Offset after the last record.
    pub end_offset: Offset,
    /// Length in bytes, the header included.
    pub length: u64,
    /// Commit time of the first frame; [`NO_TIME`] when there is none.
    pub commit_time_first: i64,
    /// Commit time of the last frame; [`NO_TIME`] when there is none.
    pub commit_time_last: i64,
    /// Largest record time; [`NO_TIME`] when there is none.
    pub record_time_max: i64,
    /// Base offset of the frame that holds it.
    pub record_time_max_at: Offset,
}

impl Summary {
    pub(super) fn empty(base: Offset, length: u64) -> Summary {
        Summary {
            end_offset: base,
            length,
            commit_time_first: NO_TIME,
            commit_time_last: NO_TIME,
            record_time_max: NO_TIME,
            record_time_max_at: base,
        }
    }
}

/// The index of one segment in memory, growing with its frames.
#[derive(Debug, Clone)]
pub(super) struct SparseIndex {
    base: Offset,
    entries: Vec<Entry>,
    summary: Summary,
    next_entry_at: u64,
}

impl SparseIndex {
    pub(super) fn new(base: Offset, first_position: u64) -> SparseIndex {
        SparseIndex {
            base,
            entries: Vec::new(),
            summary: Summary::empty(base, first_position),
            next_entry_at: first_position,
        }
    }

    pub(super) fn summary(&self) -> &Summary {
        &self.summary
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Takes note of the frame that was appended at `position`.
    pub(super) fn add(&mut self, header: &FrameHeader, position: u64, interval: u32) {
        let summary = &mut self.summary;
        if summary.commit_time_first == NO_TIME {
            summary.commit_time_first = header.commit_time;
        }
        summary.commit_time_last = header.commit_time;
        if header.record_time_max > summary.record_time_max {
            summary.record_time_max = header.record_time_max;
            summary.record_time_max_at = header.base_offset;
        }
        summary.end_offset = header.last_offset.next();
        summary.length = position + header.frame_length() as u64;
        if position >= self.next_entry_at {
            let relative_offset = (header.base_offset - self.base) as u32;
            self.entries.push(Entry {
                relative_offset,
                position: position as u32,
                commit_time: header.commit_time,
                record_time_max: summary.record_time_max,
            });
            self.next_entry_at = position + u64::from(interval);
        }
    }

    /// Position of the last entry whose frame begins at or below `offset`.
    pub(super) fn position_of_offset(&self, offset: Offset) -> Option<u64> {
        let relative = (offset - self.base).clamp(0, i64::from(u32::MAX)) as u32;
        let after = self
            .entries
            .partition_point(|e| e.relative_offset <= relative);
        after
            .checked_sub(1)
            .map(|i| u64::from(self.entries[i].position))
    }

    /// Position of the last entry whose frame begins at or before `position`.
    pub(super) fn position_before(&self, position: u64) -> Option<u64> {
        let after = self
            .entries
            .partition_point(|e| u64::from(e.position) <= position);
        after
            .checked_sub(1)
            .map(|i| u64::from(self.entries[i].position))
    }

    /// Position from which to look for the first frame committed at or after `time`.
    pub(super) fn position_of_commit_time(&self, time: i64) -> Option<u64> {
        let first = self.entries.partition_point(|e| e.commit_time < time);
        first
            .checked_sub(1)
            .map(|i| u64::from(self.entries[i].position))
    }

    /// Position from which to look for the first frame with a record at or after `time`.
    pub(super) fn position_of_record_time(&self, time: i64) -> Option<u64> {
        let first = self.entries.partition_point(|e| e.record_time_max < time);
        first
            .checked_sub(1)
            .map(|i| u64::from(self.entries[i].position))
    }

    pub(super) fn encode_header(salt: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LENGTH);
        out.extend_from_slice(&HEADER_MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&salt.to_le_bytes());
        out
    }

    /// The entries from number `from` on, as they stand in the file.
    pub(super) fn encode_entries(&self, from: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity((self.entries.len() - from) * ENTRY_LENGTH);
        for entry in &self.entries[from..] {
            out.extend_from_slice(&entry.relative_offset.to_le_bytes());
            out.extend_from_slice(&entry.position.to_le_bytes());
            out.extend_from_slice(&entry.commit_time.to_le_bytes());
            out.extend_from_slice(&entry.record_time_max.to_le_bytes());
        }
        out
    }

    /// CRC-32C of all entries as they stand in the file.
    pub(super) fn entries_crc(&self) -> u32 {
        crc32c::crc32c(&self.encode_entries(0))
    }

    pub(super) fn encode_footer(&self) -> Vec<u8> {
        let s = &self.summary;
        let mut out = Vec::with_capacity(FOOTER_LENGTH);
        out.extend_from_slice(&FOOTER_MAGIC);
        out.extend_from_slice(&(self.entries.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.entries_crc().to_le_bytes());
        out.extend_from_slice(&s.end_offset.value().to_le_bytes());
        out.extend_from_slice(&s.length.to_le_bytes());
        out.extend_from_slice(&s.commit_time_first.to_le_bytes());
        out.extend_from_slice(&s.commit_time_last.to_le_bytes());
        out.extend_from_slice(&s.record_time_max.to_le_bytes());
        out.extend_from_slice(&((s.record_time_max_at - self.base) as u32).to_le_bytes());
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads the whole index file of a closed segment; `None` when anything in it does not hold.
    pub(super) fn decode_closed(bytes: &[u8], base: Offset, salt: u64) -> Option<SparseIndex> {
        let body = bytes.strip_prefix(Self::encode_header(salt).as_slice())?;
        let entries_length = body.len().checked_sub(FOOTER_LENGTH)?;
        let (entries, footer) = body.split_at(entries_length);
        let summary = decode_footer(footer, base)?;
        if u32_at(footer, 8) as usize * ENTRY_LENGTH != entries.len()
            || u32_at(footer, 12) != crc32c::crc32c(entries)
        {
            return None;
        }
        Some(SparseIndex {
            base,
            entries: decode_entries(entries),
            summary,
            next_entry_at: u64::MAX,
        })
    }

    /// True when the file of a closed segment seems whole: there is a footer, whatever it says.
    pub(super) fn has_footer(bytes: &[u8]) -> bool {
        let footer = bytes.len().checked_sub(FOOTER_LENGTH);
        footer.is_some_and(|at| bytes[at..].starts_with(&FOOTER_MAGIC))
    }

    /// Reads the first `count` entries of the file of a segment that was still growing; `None`
    /// when they are not those that the checkpoint noted.
    pub(super) fn decode_growing(
        bytes: &[u8],
        base: Offset,
        salt: u64,
        count: usize,
        crc: u32,
        summary: Summary,
        interval: u32,
    ) -> Option<SparseIndex> {
        let body = bytes.strip_prefix(Self::encode_header(salt).as_slice())?;
        let entries = body.get(..count.checked_mul(ENTRY_LENGTH)?)?;
        if crc32c::crc32c(entries) != crc {
            return None;
        }
        let entries = decode_entries(entries);
        let next_entry_at = entries
            .last()
            .map_or(0, |e| u64::from(e.position) + u64::from(interval));
        Some(SparseIndex {
            base,
            entries,
            summary,
            next_entry_at,
        })
    }
}

/// Reads the footer of a closed segment's index file.
pub(super) fn decode_footer(footer: &[u8], base: Offset) -> Option<Summary> {
    if footer.len() != FOOTER_LENGTH
        || footer[..8] != FOOTER_MAGIC
        || u32_at(footer, 60) != crc32c::crc32c(&footer[..60])
    {
        return None;
    }
    Some(Summary {
        end_offset: Offset::new(i64_at(footer, 16)),
        length: i64_at(footer, 24) as u64,
        commit_time_first: i64_at(footer, 32),
        commit_time_last: i64_at(footer, 40),
        record_time_max: i64_at(footer, 48),
        record_time_max_at: base + i64::from(u32_at(footer, 56)),
    })
}

fn decode_entries(bytes: &[u8]) -> Vec<Entry> {
    bytes
        .chunks_exact(ENTRY_LENGTH)
        .map(|e| Entry {
            relative_offset: u32_at(e, 0),
            position: u32_at(e, 4),
            commit_time: i64_at(e, 8),
            record_time_max: i64_at(e, 16),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::batch::BatchFormat;
    use protocol::ids::{LeaderEpoch, SchemaId};

    fn frame(base: i64, last: i64, commit_time: i64, record_time_max: i64) -> FrameHeader {
        FrameHeader {
            format: BatchFormat::Kafka,
            transactional: false,
            control: false,
            batch_length: 1000,
            base_offset: Offset::new(base),
            last_offset: Offset::new(last),
            leader_epoch: LeaderEpoch::new(1),
            schema_id: SchemaId::new(1),
            commit_time,
            record_time_max,
            synced_end: Offset::ZERO,
            source: None,
        }
    }

    fn filled() -> SparseIndex {
        let mut index = SparseIndex::new(Offset::new(100), 64);
        let mut position = 64;
        // Record times run backwards in the middle; commit times never do.
        for (i, record_time) in [50, 80, 20, 30, 90, 10].into_iter().enumerate() {
            let base = 100 + i as i64 * 10;
            let header = frame(base, base + 9, 1000 + i as i64, record_time);
            index.add(&header, position, 1);
            position += header.frame_length() as u64;
        }
        index
    }

    #[test]
    fn offsets_lead_to_the_frame_at_or_before_them() {
        let index = filled();
        let at = |n: usize| u64::from(index.entries[n].position);
        assert_eq!(index.position_of_offset(Offset::new(100)), Some(at(0)));
        assert_eq!(index.position_of_offset(Offset::new(109)), Some(at(0)));
        assert_eq!(index.position_of_offset(Offset::new(110)), Some(at(1)));
        assert_eq!(index.position_of_offset(Offset::new(9999)), Some(at(5)));
    }

    #[test]
    fn both_clocks_are_searched_on_their_own() {
        let index = filled();
        let at = |n: usize| u64::from(index.entries[n].position);
        assert_eq!(
            index.position_of_record_time(81),
            Some(at(3)),
            "frame 4 is the first with 90"
        );
        assert_eq!(
            index.position_of_record_time(10),
            None,
            "the first frame has it already"
        );
        assert_eq!(index.position_of_commit_time(1003), Some(at(2)));
        assert_eq!(index.summary().record_time_max, 90);
        assert_eq!(index.summary().record_time_max_at, Offset::new(140));
        assert_eq!(index.summary().end_offset, Offset::new(160));
    }

    #[test]
    fn a_closed_index_survives_the_round_trip_and_notices_damage() {
        let index = filled();
        let mut file = SparseIndex::encode_header(7);
        file.extend(index.encode_entries(0));
        file.extend(index.encode_footer());
        let read = SparseIndex::decode_closed(&file, Offset::new(100), 7).unwrap();
        assert_eq!(read.entries, index.entries);
        assert_eq!(read.summary, index.summary);
        assert!(
            SparseIndex::decode_closed(&file, Offset::new(100), 8).is_none(),
            "another segment"
        );
        for at in 0..file.len() {
            file[at] ^= 0x10;
            assert!(
                SparseIndex::decode_closed(&file, Offset::new(100), 7).is_none(),
                "byte {at}"
            );
            file[at] ^= 0x10;
        }
    }

    #[test]
    fn a_growing_index_is_read_up_to_the_checkpoint() {
        let index = filled();
        let mut file = SparseIndex::encode_header(7);
        file.extend(index.encode_entries(0));
        file.extend([0xab; 40]);
        let read = SparseIndex::decode_growing(
            &file,
            Offset::new(100),
            7,
            6,
            index.entries_crc(),
            *index.summary(),
            1,
        )
        .unwrap();
        assert_eq!(read.entries, index.entries);
    }
}
