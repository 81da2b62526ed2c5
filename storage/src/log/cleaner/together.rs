//! Cleaned segments that are put in place together, though each takes a rename.
//!
//! ```text
//!  swaps                                       (all integers little-endian)
//!   0   8  magic "VLTSWAPS"
//!   8   4  version, 1
//!  12   4  CRC-32C of everything behind this field
//!  16      of each segment: base offset (8), generation (8)
//! ```
//!
//! The file exists while the renames are under way. Each segment that it names is in place, or lies
//! beside the log as `<base>.cleaned.tmp` and is put in place by the next start. A left-over of
//! another round has another generation and is none of it.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use protocol::ids::Offset;

use crate::env::{Disk, OpenMode};
use crate::log::checkpoint::read_if_there;
use crate::log::error::LogError;
use crate::log::frame::{i64_at, u32_at};
use crate::log::segment::{SegmentHeader, SegmentPlace, file_name, read_header};

const NAME: &str = "swaps";
const MAGIC: [u8; 8] = *b"VLTSWAPS";
const VERSION: u32 = 1;
const HEADER_LENGTH: usize = 16;
const ENTRY_LENGTH: usize = 16;

fn path(directory: &Path) -> PathBuf {
    directory.join(NAME)
}

fn temporary(place: &SegmentPlace) -> PathBuf {
    place.directory.join(format!("{NAME}.tmp"))
}

/// Where a segment is until it is put in place.
pub(super) fn waiting(directory: &Path, base: Offset) -> PathBuf {
    directory.join(file_name(base, "cleaned.tmp"))
}

/// Writes down which segments are to be put in place. They are durable, and so are their names when
/// this returns. Nothing is decided yet.
pub(super) fn prepare(
    place: &SegmentPlace,
    segments: impl Iterator<Item = SegmentHeader>,
) -> Result<(), LogError> {
    let named: Vec<(Offset, u64)> = segments.map(|s| (s.base, s.generation)).collect();
    let path = temporary(place);
    let file = place
        .disk
        .open(&path, OpenMode::CreateOrTruncate)
        .map_err(LogError::io("cannot create", &path))?;
    file.write_all_at(&[IoSlice::new(&encode(&named))], 0)
        .and_then(|()| file.sync_data())
        .map_err(LogError::io("cannot write", &path))?;
    place
        .disk
        .sync_directory(&place.directory)
        .map_err(LogError::io("cannot sync", &place.directory))
}

/// From here on all of them count. Where this fails, nobody knows.
pub(super) fn decide(place: &SegmentPlace) -> io::Result<()> {
    place
        .disk
        .rename(&temporary(place), &path(&place.directory))?;
    place.disk.sync_directory(&place.directory)
}

/// They are in place, durably.
pub(super) fn forget(place: &SegmentPlace) -> Result<(), LogError> {
    let path = path(&place.directory);
    place
        .disk
        .remove_file(&path)
        .map_err(LogError::io("cannot remove", &path))
}

/// Puts in place what a round had decided on before it was cut short. To be called before anything
/// of the directory is read or removed.
pub(in crate::log) fn finish(place: &SegmentPlace) -> Result<(), LogError> {
    let Some(waiting) = decided(&*place.disk, &place.directory)? else {
        return Ok(());
    };
    for (base, path) in waiting {
        tracing::info!(path = %path.display(), "putting a cleaned segment in place");
        let target = place.path(base, "log");
        place
            .disk
            .rename(&path, &target)
            .map_err(LogError::io("cannot rename to", &target))?;
    }
    place
        .disk
        .sync_directory(&place.directory)
        .map_err(LogError::io("cannot sync", &place.directory))?;
    forget(place)
}

/// Segments, by their base offset, that count before those of the same base that are in place: a
/// round had decided on them before it was cut short. None without a list of such.
pub(in crate::log) fn decided(
    disk: &dyn Disk,
    directory: &Path,
) -> Result<Option<Vec<(Offset, PathBuf)>>, LogError> {
    let list = path(directory);
    let Some(bytes) = read_if_there(disk, &list)? else {
        return Ok(None);
    };
    let Some(named) = decode(&bytes) else {
        return Err(LogError::Format {
            path: list,
            what: "a damaged list of cleaned segments".to_owned(),
        });
    };
    let mut decided = Vec::with_capacity(named.len());
    for (base, generation) in named {
        let path = waiting(directory, base);
        let there = disk
            .exists(&path)
            .map_err(LogError::io("cannot look for", &path))?;
        let is_named = there
            && SegmentHeader::decode(&read_header(disk, &path)?)
                .is_some_and(|header| header.base == base && header.generation == generation);
        if is_named {
            decided.push((base, path));
        }
    }
    Ok(Some(decided))
}

fn encode(named: &[(Offset, u64)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_LENGTH + ENTRY_LENGTH * named.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    for (base, generation) in named {
        out.extend_from_slice(&base.value().to_le_bytes());
        out.extend_from_slice(&generation.to_le_bytes());
    }
    let crc = crc32c::crc32c(&out[HEADER_LENGTH..]);
    out[12..16].copy_from_slice(&crc.to_le_bytes());
    out
}

fn decode(bytes: &[u8]) -> Option<Vec<(Offset, u64)>> {
    let holds = bytes.len() >= HEADER_LENGTH
        && bytes.len().is_multiple_of(ENTRY_LENGTH)
        && bytes[..8] == MAGIC
        && u32_at(bytes, 8) == VERSION
        && u32_at(bytes, 12) == crc32c::crc32c(&bytes[HEADER_LENGTH..]);
    let entries = bytes.get(HEADER_LENGTH..)?.chunks_exact(ENTRY_LENGTH);
    let named = entries.map(|entry| (Offset::new(i64_at(entry, 0)), i64_at(entry, 8) as u64));
    holds.then(|| named.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_survives_the_round_trip_and_damage_is_noticed() {
        let named = [(Offset::new(0), u64::MAX), (Offset::new(1 << 40), 7)];
        let mut bytes = encode(&named);
        assert_eq!(decode(&bytes).as_deref(), Some(&named[..]));
        for at in 0..bytes.len() {
            bytes[at] ^= 16;
            assert_eq!(decode(&bytes), None, "byte {at}");
            bytes[at] ^= 16;
        }
        assert_eq!(decode(&bytes[..bytes.len() - 16]), None);
        assert_eq!(decode(&[]), None);
    }
}
