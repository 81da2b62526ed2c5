//! A shard's state at one offset of its log, as a file: it bounds replay and lets the log be cut.
//!
//! ```text
//! offset  size
//!      0     4  magic "VGCP"
//!      4     2  version, 1
//!      6     2  zero
//!      8     4  shard
//!     12     8  log offset: replay goes on here
//!     20     8  number of records
//!     28     …  records: key length u32 | key | value length u32 | value
//!    end     4  CRC-32C of all bytes before it
//! ```
//!
//! All numbers are big endian. Keys and values are those of the log (Kafka's schemas), the last of
//! each key, without tombstones, sorted by key. `docs/formats/group-checkpoint.md` tells why.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes};
use protocol::ids::Offset;

use super::log::{LogRecord, ShardId};

const MAGIC: u32 = u32::from_be_bytes(*b"VGCP");
const VERSION: u16 = 1;
const HEADER_LENGTH: usize = 28;
const CRC_LENGTH: usize = 4;

/// Why a checkpoint could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file is damaged or no checkpoint.
    #[error("checkpoint is damaged: {0}")]
    Damaged(&'static str),
    /// It was written by another version.
    #[error("checkpoint has unknown version {0}")]
    Version(u16),
    /// A key or value is too long, or there are too many.
    #[error("state is too large for a checkpoint")]
    TooLarge,
    /// The disk failed.
    #[error("checkpoint could not be read or written")]
    Io(#[from] std::io::Error),
    /// The log could not be read.
    #[error("log could not be read")]
    Log(#[from] super::log::GroupLogError),
}

/// The last value of every key at one offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Records from here on are not in it.
    pub offset: Offset,
    /// Value by key.
    pub records: BTreeMap<Bytes, Bytes>,
}

impl Checkpoint {
    /// The state before the first record.
    pub fn empty() -> Self {
        Checkpoint {
            offset: Offset::ZERO,
            records: BTreeMap::new(),
        }
    }

    /// Takes in the record at `offset`.
    pub fn apply(&mut self, offset: Offset, record: LogRecord) {
        match record.value {
            Some(value) => {
                self.records.insert(record.key, value);
            }
            None => {
                self.records.remove(&record.key);
            }
        }
        self.offset = offset.next();
    }

    /// Its records, as a replay would bring them.
    pub fn into_records(self) -> impl Iterator<Item = LogRecord> {
        self.records.into_iter().map(|(key, value)| LogRecord {
            key,
            value: Some(value),
        })
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// When a key or value is longer than 4 GiB.
    pub fn encode(&self, shard: ShardId) -> Result<Vec<u8>, CheckpointError> {
        let body: usize = self
            .records
            .iter()
            .map(|(key, value)| 8 + key.len() + value.len())
            .sum();
        let mut bytes = Vec::with_capacity(HEADER_LENGTH + body + CRC_LENGTH);
        bytes.put_u32(MAGIC);
        bytes.put_u16(VERSION);
        bytes.put_u16(0);
        bytes.put_u32(shard.0);
        bytes.put_i64(self.offset.value());
        bytes.put_u64(self.records.len() as u64);
        for part in self.records.iter().flat_map(|(key, value)| [key, value]) {
            bytes.put_u32(u32::try_from(part.len()).map_err(|_| CheckpointError::TooLarge)?);
            bytes.put_slice(part);
        }
        bytes.put_u32(crc32c::crc32c(&bytes));
        Ok(bytes)
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// When they are damaged, of another version or of another shard.
    pub fn decode(bytes: Bytes, shard: ShardId) -> Result<Self, CheckpointError> {
        if bytes.len() < HEADER_LENGTH + CRC_LENGTH {
            return Err(CheckpointError::Damaged("too short"));
        }
        let mut body = bytes.slice(..bytes.len() - CRC_LENGTH);
        let mut crc = bytes.slice(bytes.len() - CRC_LENGTH..);
        if crc.get_u32() != crc32c::crc32c(&body) {
            return Err(CheckpointError::Damaged("CRC differs"));
        }
        if body.get_u32() != MAGIC {
            return Err(CheckpointError::Damaged("wrong magic"));
        }
        let version = body.get_u16();
        if version != VERSION {
            return Err(CheckpointError::Version(version));
        }
        body.advance(2);
        if body.get_u32() != shard.0 {
            return Err(CheckpointError::Damaged("of another shard"));
        }
        let offset = body.get_i64();
        if offset < 0 {
            return Err(CheckpointError::Damaged("negative offset"));
        }
        let count = body.get_u64();
        let mut records = BTreeMap::new();
        for _ in 0..count {
            let key = take_part(&mut body)?;
            let value = take_part(&mut body)?;
            records.insert(key, value);
        }
        if body.has_remaining() {
            return Err(CheckpointError::Damaged("bytes after the last record"));
        }
        Ok(Checkpoint {
            offset: Offset::new(offset),
            records,
        })
    }
}

fn take_part(body: &mut Bytes) -> Result<Bytes, CheckpointError> {
    let length = body
        .try_get_u32()
        .map_err(|_| CheckpointError::Damaged("too short"))? as usize;
    if length > body.len() {
        return Err(CheckpointError::Damaged("length out of range"));
    }
    // Copied, so that a small value that is kept does not keep the whole file in memory.
    Ok(Bytes::copy_from_slice(&body.split_to(length)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn checkpoint() -> impl Strategy<Value = Checkpoint> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..20).prop_map(Bytes::from);
        (
            0..i64::MAX,
            prop::collection::btree_map(bytes(), bytes(), 0..10),
        )
            .prop_map(|(offset, records)| Checkpoint {
                offset: Offset::new(offset),
                records,
            })
    }

    proptest! {
        #[test]
        fn a_checkpoint_reads_back(checkpoint in checkpoint(), shard in any::<u32>()) {
            let bytes = checkpoint.encode(ShardId(shard)).unwrap();
            prop_assert_eq!(Checkpoint::decode(bytes.into(), ShardId(shard)).unwrap(), checkpoint);
        }

        #[test]
        fn a_changed_byte_is_noticed(checkpoint in checkpoint(), at in any::<prop::sample::Index>(), bit in 0..8u8) {
            let mut bytes = checkpoint.encode(ShardId(3)).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(Checkpoint::decode(bytes.into(), ShardId(3)).is_err());
        }

        #[test]
        fn arbitrary_bytes_with_a_right_crc_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut all = MAGIC.to_be_bytes().to_vec();
            all.extend([0, 1, 0, 0, 0, 0, 0, 0]);
            all.append(&mut bytes);
            let crc = crc32c::crc32c(&all);
            all.extend(crc.to_be_bytes());
            let _ = Checkpoint::decode(all.into(), ShardId(0));
        }
    }

    #[test]
    fn the_last_value_of_a_key_counts_and_a_tombstone_removes_it() {
        let record = |key: &'static str, value: Option<&'static str>| LogRecord {
            key: key.into(),
            value: value.map(Bytes::from),
        };
        let mut checkpoint = Checkpoint::empty();
        checkpoint.apply(Offset::new(0), record("a", Some("1")));
        checkpoint.apply(Offset::new(1), record("b", Some("2")));
        checkpoint.apply(Offset::new(2), record("a", Some("3")));
        checkpoint.apply(Offset::new(5), record("b", None));
        assert_eq!(checkpoint.offset, Offset::new(6));
        assert_eq!(
            checkpoint.into_records().collect::<Vec<_>>(),
            [record("a", Some("3"))]
        );
    }
}
