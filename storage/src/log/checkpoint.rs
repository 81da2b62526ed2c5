//! The checkpoint of a log: where recovery begins, so that it does not grow with the data.
//!
//! ```text
//!  checkpoint                                  (all integers little-endian)
//!   0   8  magic "VLTCHECK"
//!   8   4  version, 1
//!  12   4  CRC-32C of everything behind this field
//!  16   8  log start offset
//!  24   8  synced end: the offset that `position` stands for
//!  32   8  base offset of the segment that was active
//!  40   8  position in it: every byte of the log before it had been synced
//!  48   4  entries of its index that lie before the position
//!  52   4  CRC-32C of these entries
//!  56   8  zero
//!  64  40  summary of that segment up to the position (as in the index footer)
//! 104      leader-epoch history, then producer state
//! ```
//!
//! It is written to a second file, synced, and renamed over the first; what it says had been
//! synced before. Where it is missing or its CRC does not hold, recovery reads the whole log.

use std::io::IoSlice;
use std::path::{Path, PathBuf};

use protocol::ids::Offset;

use super::epochs::EpochHistory;
use super::error::LogError;
use super::frame::{i64_at, u32_at};
use super::index::Summary;
use super::producers::Producers;
use crate::env::{Disk, OpenMode};

const MAGIC: [u8; 8] = *b"VLTCHECK";
const VERSION: u32 = 1;
const FIXED: usize = 104;
/// A checkpoint is some kilobytes; this bounds what is read of a damaged one.
const LENGTH_MAX: u64 = 1 << 30;

/// What a checkpoint says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Checkpoint {
    pub log_start: Offset,
    pub synced_end: Offset,
    pub segment_base: Offset,
    pub position: u64,
    pub index_entries: u32,
    pub index_crc: u32,
    pub summary: Summary,
    pub epochs: EpochHistory,
    pub producers: Producers,
}

/// Where the checkpoint of a log lies.
pub(super) fn path(directory: &Path) -> PathBuf {
    directory.join("checkpoint")
}

impl Checkpoint {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED + 64);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.log_start.value().to_le_bytes());
        out.extend_from_slice(&self.synced_end.value().to_le_bytes());
        out.extend_from_slice(&self.segment_base.value().to_le_bytes());
        out.extend_from_slice(&self.position.to_le_bytes());
        out.extend_from_slice(&self.index_entries.to_le_bytes());
        out.extend_from_slice(&self.index_crc.to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        let s = &self.summary;
        for word in [
            s.end_offset.value(),
            s.commit_time_first,
            s.commit_time_last,
            s.record_time_max,
            s.record_time_max_at.value(),
        ] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        self.epochs.encode(&mut out);
        self.producers.encode(&mut out);
        let crc = crc32c::crc32c(&out[16..]);
        out[12..16].copy_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Checkpoint> {
        if bytes.len() < FIXED
            || bytes[..8] != MAGIC
            || u32_at(bytes, 8) != VERSION
            || u32_at(bytes, 12) != crc32c::crc32c(&bytes[16..])
        {
            return None;
        }
        let (epochs, rest) = EpochHistory::decode(&bytes[FIXED..])?;
        let (producers, rest) = Producers::decode(rest)?;
        if !rest.is_empty() {
            return None;
        }
        let position = i64_at(bytes, 40) as u64;
        Some(Checkpoint {
            log_start: Offset::new(i64_at(bytes, 16)),
            synced_end: Offset::new(i64_at(bytes, 24)),
            segment_base: Offset::new(i64_at(bytes, 32)),
            position,
            index_entries: u32_at(bytes, 48),
            index_crc: u32_at(bytes, 52),
            summary: Summary {
                end_offset: Offset::new(i64_at(bytes, 64)),
                length: position,
                commit_time_first: i64_at(bytes, 72),
                commit_time_last: i64_at(bytes, 80),
                record_time_max: i64_at(bytes, 88),
                record_time_max_at: Offset::new(i64_at(bytes, 96)),
            },
            epochs,
            producers,
        })
    }

    /// Writes the checkpoint so that after a crash either the old or the new one is there.
    pub(super) fn write(&self, disk: &dyn Disk, directory: &Path) -> Result<(), LogError> {
        write_atomically(disk, directory, "checkpoint", &self.encode())
    }

    /// Reads the checkpoint of a log, if there is a whole one.
    pub(super) fn read(disk: &dyn Disk, directory: &Path) -> Result<Option<Checkpoint>, LogError> {
        let path = path(directory);
        let Some(bytes) = read_if_there(disk, &path)? else {
            return Ok(None);
        };
        let checkpoint = Checkpoint::decode(&bytes);
        if checkpoint.is_none() {
            tracing::warn!(path = %path.display(), "checkpoint does not hold, recovery reads the whole log");
        }
        Ok(checkpoint)
    }
}

/// Writes `bytes` under `name`: a second file, synced, renamed over the first, and the rename
/// synced.
pub(super) fn write_atomically(
    disk: &dyn Disk,
    directory: &Path,
    name: &str,
    bytes: &[u8],
) -> Result<(), LogError> {
    let temporary = directory.join(format!("{name}.tmp"));
    let target = directory.join(name);
    let file = disk
        .open(&temporary, OpenMode::CreateOrTruncate)
        .map_err(LogError::io("cannot create", &temporary))?;
    file.write_all_at(&[IoSlice::new(bytes)], 0)
        .map_err(LogError::io("cannot write", &temporary))?;
    file.sync_data()
        .map_err(LogError::io("cannot sync", &temporary))?;
    disk.rename(&temporary, &target)
        .map_err(LogError::io("cannot rename to", &target))?;
    disk.sync_directory(directory)
        .map_err(LogError::io("cannot sync", directory))
}

/// Reads a small file whole, where there is one.
pub(super) fn read_if_there(disk: &dyn Disk, path: &Path) -> Result<Option<Vec<u8>>, LogError> {
    let there = disk
        .exists(path)
        .map_err(LogError::io("cannot look for", path))?;
    if !there {
        return Ok(None);
    }
    let file = disk
        .open(path, OpenMode::Read)
        .map_err(LogError::io("cannot open", path))?;
    let length = file.length().map_err(LogError::io("cannot read", path))?;
    if length > LENGTH_MAX {
        return Err(LogError::Format {
            path: path.to_path_buf(),
            what: format!("an impossible length of {length} bytes"),
        });
    }
    let mut bytes = vec![0; length as usize];
    let read = file
        .read_at(&mut bytes, 0)
        .map_err(LogError::io("cannot read", path))?;
    bytes.truncate(read);
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ids::LeaderEpoch;

    fn checkpoint() -> Checkpoint {
        let mut epochs = EpochHistory::default();
        epochs.note(LeaderEpoch::new(2), Offset::new(10));
        Checkpoint {
            log_start: Offset::new(5),
            synced_end: Offset::new(90),
            segment_base: Offset::new(50),
            position: 4096,
            index_entries: 3,
            index_crc: 0xdead_beef,
            summary: Summary {
                end_offset: Offset::new(90),
                length: 4096,
                commit_time_first: 1,
                commit_time_last: 2,
                record_time_max: 3,
                record_time_max_at: Offset::new(60),
            },
            epochs,
            producers: Producers::default(),
        }
    }

    #[test]
    fn a_checkpoint_survives_the_round_trip() {
        assert_eq!(
            Checkpoint::decode(&checkpoint().encode()),
            Some(checkpoint())
        );
    }

    #[test]
    fn a_damaged_checkpoint_is_no_checkpoint() {
        let mut bytes = checkpoint().encode();
        for at in 0..bytes.len() {
            bytes[at] ^= 0x01;
            assert_eq!(Checkpoint::decode(&bytes), None, "byte {at}");
            bytes[at] ^= 0x01;
        }
        assert_eq!(Checkpoint::decode(&bytes[..bytes.len() - 1]), None);
    }
}
