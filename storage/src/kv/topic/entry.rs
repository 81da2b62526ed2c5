//! What the index of a compacted topic keeps for a key.
//!
//! ```text
//!  offset i64 | commit time i64 | record time i64 | kind u8 | schema id i16 | row
//!                                                   0 tombstone: nothing follows
//!                                                   1 value
//! ```
//!
//! Numbers are little-endian. From the schema id on it is what Fluss lookups answer with. Another
//! form of it gets another [`FORM`], and indexes are made again.

use protocol::ids::Offset;

/// Tells this form from others; a part of the index's identity.
pub(super) const FORM: [u8; 4] = *b"tpc1";

/// Bytes before the schema id.
pub(super) const HEAD_LEN: usize = 25;
const TOMBSTONE: u8 = 0;
const VALUE: u8 = 1;

/// The newest record of a key in one bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    /// Its offset.
    pub(super) offset: Offset,
    /// Its commit time, epoch milliseconds.
    pub(super) commit_time: i64,
    /// Its record time, epoch milliseconds, or -1.
    pub(super) record_time: i64,
    /// Schema id and row; none for a tombstone.
    pub(super) value: Option<&'a [u8]>,
}

impl<'a> Entry<'a> {
    /// Appends all but what the row writer appends behind it.
    pub(super) fn write_head(&self, is_value: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.offset.value().to_le_bytes());
        out.extend_from_slice(&self.commit_time.to_le_bytes());
        out.extend_from_slice(&self.record_time.to_le_bytes());
        out.push(if is_value { VALUE } else { TOMBSTONE });
    }

    /// Reads an entry; none when it is damaged.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Entry<'a>> {
        let (head, row) = bytes.split_first_chunk::<HEAD_LEN>()?;
        let number = |at: usize| {
            let bytes = head[at..at + 8].try_into().expect("eight bytes");
            i64::from_le_bytes(bytes)
        };
        let value = match head[24] {
            TOMBSTONE if row.is_empty() => None,
            VALUE => Some(row),
            _ => return None,
        };
        Some(Entry {
            offset: Offset::new(number(0)),
            commit_time: number(8),
            record_time: number(16),
            value,
        })
    }

    /// By what the newest of several buckets is found: commit time, then record time. Of equal ones
    /// that of the lower bucket is.
    pub(super) fn rank(&self) -> (i64, i64) {
        (self.commit_time, self.record_time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_reads_back_and_damage_is_seen() {
        for value in [None, Some(&b"\x01\x00row"[..])] {
            let entry = Entry {
                offset: Offset::new(7),
                commit_time: 8,
                record_time: -1,
                value,
            };
            let mut bytes = Vec::new();
            entry.write_head(value.is_some(), &mut bytes);
            bytes.extend_from_slice(value.unwrap_or_default());
            assert_eq!(Entry::read(&bytes), Some(entry));
            assert_eq!(Entry::read(&bytes[..24]), None);
            bytes[24] = 2;
            assert_eq!(Entry::read(&bytes), None);
        }
    }
}
