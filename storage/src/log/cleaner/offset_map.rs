//! Newest offsets of keys in memory of a fixed size: for logs whose keys nobody else remembers with
//! their offsets. Kafka's cleaner works so (`SkimpyOffsetMap.java`).
//!
//! A slot is a hash of 128 bits and an offset. Keys are not kept: two keys of one hash would be
//! taken for one, with a probability of n²/2¹²⁹ for n keys. The hash begins with random words, so
//! that nobody can choose keys that collide.

use std::hash::{DefaultHasher, Hasher};

use protocol::ids::Offset;

use super::format::RecordFormat;
use super::frames::scan_frames;
use super::round::CleanError;
use super::successors::{Successors, SuccessorsError};
use super::window::Window;
use crate::log::log::Log;

/// Bytes of a slot.
const SLOT_BYTES: usize = 24;
/// Part of the slots that is used at most: fuller tables take longer to search.
const LOAD_PERCENT: usize = 75;
/// A slot that is free.
const FREE: i64 = -1;

#[derive(Clone, Copy)]
struct Slot {
    hash: [u64; 2],
    offset: i64,
}

/// A map from keys to the newest offset of each, among the records that it was given.
pub struct OffsetMap {
    slots: Vec<Slot>,
    keys: usize,
    seeds: [u64; 2],
    known_end: Offset,
}

impl OffsetMap {
    /// A map that takes up to `bytes` of memory.
    pub fn new(bytes: usize, seeds: [u64; 2]) -> OffsetMap {
        let free = Slot {
            hash: [0; 2],
            offset: FREE,
        };
        OffsetMap {
            slots: vec![free; (bytes / SLOT_BYTES).max(16)],
            keys: 0,
            seeds,
            known_end: Offset::ZERO,
        }
    }

    /// The map of the records of a log from `from` on, up to `end` or until the map is full.
    pub fn of_log(
        log: &Log,
        from: Offset,
        end: Offset,
        bytes: usize,
        format: &mut dyn RecordFormat,
        pace: &mut dyn FnMut(u64) -> bool,
    ) -> Result<OffsetMap, CleanError> {
        let randomness = &log.context().env.randomness;
        let mut map = OffsetMap::new(bytes, [randomness.next_u64(), randomness.next_u64()]);
        map.known_end = from;
        let mut window = Window::default();
        let whole = scan_frames(log, from, end, pace, &mut |at| {
            let unreadable = CleanError::unreadable(at.segment, at.position, at.header.base_offset);
            window
                .take(at.header, at.position, at.batch, format)
                .map_err(unreadable)?;
            let fits = window
                .records(&window.frames()[0])
                .iter()
                .filter(|record| record.offset >= from)
                .all(|record| {
                    let key = window.key(record);
                    key.is_none_or(|key| map.put(key, record.offset))
                });
            window.clear();
            if fits {
                map.known_end = at.header.last_offset.next();
            }
            Ok(fits)
        })?;
        if whole {
            // Nothing is in the gap behind the last frame.
            map.known_end = map.known_end.max(end);
        }
        Ok(map)
    }

    fn keys_max(&self) -> usize {
        self.slots.len() / 100 * LOAD_PERCENT + self.slots.len() % 100 * LOAD_PERCENT / 100
    }

    /// Part of the room for keys that is used, 0 to 1.
    pub fn utilization(&self) -> f64 {
        self.keys as f64 / self.keys_max().max(1) as f64
    }

    /// Notes that `key` has a record at `offset`. False when there is no room for another key.
    pub fn put(&mut self, key: &[u8], offset: Offset) -> bool {
        let hash = self.hash(key);
        let at = self.find(hash);
        let full = self.keys >= self.keys_max();
        let slot = &mut self.slots[at];
        if slot.offset == FREE {
            if full {
                return false;
            }
            slot.hash = hash;
            self.keys += 1;
        }
        slot.offset = slot.offset.max(offset.value());
        true
    }

    /// The newest offset of `key`.
    pub fn get(&self, key: &[u8]) -> Option<Offset> {
        let slot = self.slots[self.find(self.hash(key))];
        (slot.offset != FREE).then(|| Offset::new(slot.offset))
    }

    /// The slot of this hash, or the free one where it belongs; there always is a free one.
    fn find(&self, hash: [u64; 2]) -> usize {
        let mut at = (hash[0] % self.slots.len() as u64) as usize;
        while self.slots[at].offset != FREE && self.slots[at].hash != hash {
            at = (at + 1) % self.slots.len();
        }
        at
    }

    fn hash(&self, key: &[u8]) -> [u64; 2] {
        self.seeds.map(|seed| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u64(seed);
            hasher.write(key);
            hasher.finish()
        })
    }
}

impl Successors for OffsetMap {
    fn known_end(&self) -> Result<Offset, SuccessorsError> {
        Ok(self.known_end)
    }

    fn newest(
        &self,
        keys: &[&[u8]],
        found: &mut Vec<Option<Offset>>,
    ) -> Result<(), SuccessorsError> {
        found.clear();
        found.extend(keys.iter().map(|key| self.get(key)));
        Ok(())
    }

    /// It lives for one round.
    fn remembers_tombstones(&self) -> bool {
        false
    }

    fn forget(&self, _gone: &[(&[u8], Offset)]) -> Result<(), SuccessorsError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_offset_of_each_key_is_known_until_the_map_is_full() {
        let mut map = OffsetMap::new(SLOT_BYTES * 1000, [1, 2]);
        let key = |n: i64| n.to_le_bytes();
        for n in 0..750 {
            assert!(map.put(&key(n), Offset::new(n)), "{n}");
        }
        assert!(!map.put(&key(750), Offset::new(750)));
        assert!(map.put(&key(3), Offset::new(900)));
        assert!(map.put(&key(3), Offset::new(800)));
        assert_eq!(map.get(&key(3)), Some(Offset::new(900)));
        assert_eq!(map.get(&key(749)), Some(Offset::new(749)));
        assert_eq!(map.get(&key(750)), None);
        assert!((map.utilization() - 1.0).abs() < f64::EPSILON);
    }
}
