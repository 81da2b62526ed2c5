//! What the cleaner remembers of a log: up to where it has cleaned.
//!
//! ```text
//!  cleaned                                     (all integers little-endian)
//!   0   8  magic "VLTCLEAN"
//!   8   4  version, 1
//!  12   4  CRC-32C of everything behind this field
//!  16   8  first dirty offset: everything below it has been through a round
//! ```
//!
//! Where it is missing or its CRC does not hold, the whole log counts as dirty: a round more.

use protocol::ids::Offset;

use crate::log::checkpoint::{read_if_there, write_atomically};
use crate::log::error::LogError;
use crate::log::frame::{i64_at, u32_at};
use crate::log::segment::SegmentPlace;

const NAME: &str = "cleaned";
const MAGIC: [u8; 8] = *b"VLTCLEAN";
const VERSION: u32 = 1;
const LENGTH: usize = 24;

/// The cleaner's memory of one log.
#[derive(Debug, Default)]
pub(in crate::log) struct CleanState {
    first_dirty: Option<Offset>,
}

impl CleanState {
    /// Offset from which on nothing has been cleaned.
    pub(super) fn first_dirty(&mut self, place: &SegmentPlace) -> Result<Offset, LogError> {
        if let Some(offset) = self.first_dirty {
            return Ok(offset);
        }
        let path = place.directory.join(NAME);
        let read = read_if_there(&*place.disk, &path)?;
        let offset = read.and_then(|bytes| decode(&bytes)).unwrap_or_default();
        self.first_dirty = Some(offset);
        Ok(offset)
    }

    /// Everything below `offset` has been cleaned; durable when this returns.
    pub(super) fn cleaned_to(
        &mut self,
        place: &SegmentPlace,
        offset: Offset,
    ) -> Result<(), LogError> {
        write_atomically(&*place.disk, &place.directory, NAME, &encode(offset))?;
        self.first_dirty = Some(offset);
        Ok(())
    }
}

fn encode(first_dirty: Offset) -> Vec<u8> {
    let mut out = Vec::with_capacity(LENGTH);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&first_dirty.value().to_le_bytes());
    let crc = crc32c::crc32c(&out[16..]);
    out[12..16].copy_from_slice(&crc.to_le_bytes());
    out
}

fn decode(bytes: &[u8]) -> Option<Offset> {
    let holds = bytes.len() == LENGTH
        && bytes[..8] == MAGIC
        && u32_at(bytes, 8) == VERSION
        && u32_at(bytes, 12) == crc32c::crc32c(&bytes[16..]);
    holds.then(|| Offset::new(i64_at(bytes, 16)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_dirty_offset_survives_the_round_trip_and_damage_is_noticed() {
        let mut bytes = encode(Offset::new(1 << 40));
        assert_eq!(decode(&bytes), Some(Offset::new(1 << 40)));
        for at in 0..bytes.len() {
            bytes[at] ^= 16;
            assert_eq!(decode(&bytes), None, "byte {at}");
            bytes[at] ^= 16;
        }
        assert_eq!(decode(&bytes[..23]), None);
    }
}
