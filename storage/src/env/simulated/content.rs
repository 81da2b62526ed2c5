//! What a simulated file holds, and which of it a power loss may take.
//!
//! ```text
//!  current   what readers see                     [a][B][c][D][e]
//!  durable   what the platter has                 [a][b][c]
//!  dirty     sectors written since the last sync      B     D  e
//!  lost      sectors of a failed sync: the page cache calls them clean, the platter has either
//! ```

use std::collections::BTreeSet;

use super::random::SeededRandomness;

/// Bytes that reach the platter together or not at all.
pub(super) const SECTOR_BYTES: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Content {
    current: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
    lost: BTreeSet<usize>,
    /// True when the length was changed since the last sync.
    length_is_dirty: bool,
    /// The least length since `durable` was taken: where an unsynced cut may have reached.
    length_min: usize,
}

impl Content {
    pub(super) fn current(&self) -> &[u8] {
        &self.current
    }

    pub(super) fn durable(&self) -> &[u8] {
        &self.durable
    }

    pub(super) fn length(&self) -> usize {
        self.current.len()
    }

    pub(super) fn write(&mut self, bytes: &[u8], position: usize) {
        if bytes.is_empty() {
            return;
        }
        let end = position + bytes.len();
        if end > self.current.len() {
            self.set_length(end);
        }
        self.current[position..end].copy_from_slice(bytes);
        self.touch(position, end);
    }

    pub(super) fn set_length(&mut self, length: usize) {
        let before = self.current.len();
        if length == before {
            return;
        }
        self.current.resize(length, 0);
        self.length_is_dirty = true;
        if length < before {
            self.length_min = self.length_min.min(length);
            let keep = length.div_ceil(SECTOR_BYTES);
            self.dirty.split_off(&keep);
            self.lost.split_off(&keep);
        } else {
            // The zeros hide older bytes only where such bytes are durable; elsewhere they are a
            // hole, which every outcome of a crash shows as zeros.
            let hidden = length.min(self.durable.len());
            if before < hidden {
                self.touch(before, hidden);
            }
        }
    }

    fn touch(&mut self, start: usize, end: usize) {
        for sector in start / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES) {
            self.dirty.insert(sector);
            self.lost.remove(&sector);
        }
    }

    /// A sync that returned.
    pub(super) fn sync(&mut self) {
        if self.dirty.is_empty() && !self.length_is_dirty {
            return;
        }
        self.durable.truncate(self.length_min);
        self.durable.resize(self.current.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            copy_sector(&self.current, &mut self.durable, sector);
        }
        self.length_is_dirty = false;
        self.length_min = self.current.len();
    }

    /// A sync that failed: the pages look clean from now on, and nobody writes them again.
    pub(super) fn fail_sync(&mut self) {
        self.lost.append(&mut self.dirty);
        self.length_is_dirty = false;
    }

    /// Power loss: what is current afterwards is what survived.
    pub(super) fn crash(&mut self, random: &SeededRandomness) {
        let mut candidates = std::mem::take(&mut self.dirty);
        candidates.append(&mut self.lost);
        let cut_is_pending = self.length_min < self.durable.len();
        let mut survived = std::mem::take(&mut self.durable);
        if cut_is_pending && random.once_in(2) {
            // The cut and all that came after it is gone.
            candidates.split_off(&(self.length_min / SECTOR_BYTES));
        } else {
            survived.truncate(self.length_min);
            let (low, high) = (survived.len(), self.current.len());
            let length = match random.below(4) {
                0 => low,
                1 => high,
                _ => low + random.below((high - low) as u64 + 1) as usize,
            };
            survived.resize(length, 0);
        }
        // Mixtures where nearly all or nearly nothing survives find other faults than halves do.
        let kept_of_16 = [0, 1, 8, 15, 16][random.below(5) as usize];
        for sector in candidates {
            if sector * SECTOR_BYTES < survived.len() && random.below(16) < kept_of_16 {
                copy_sector(&self.current, &mut survived, sector);
            }
        }
        *self = Content::from_durable(survived);
    }

    fn from_durable(bytes: Vec<u8>) -> Self {
        Content {
            length_min: bytes.len(),
            current: bytes.clone(),
            durable: bytes,
            ..Content::default()
        }
    }

    /// Turns one bit over, on the platter and in the cache.
    pub(super) fn flip_bit(&mut self, position: usize, bit: u8) {
        for bytes in [&mut self.current, &mut self.durable] {
            if let Some(byte) = bytes.get_mut(position) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }
}

/// Copies what both have of a sector.
fn copy_sector(from: &[u8], to: &mut [u8], sector: usize) {
    let start = sector * SECTOR_BYTES;
    let end = (start + SECTOR_BYTES).min(from.len()).min(to.len());
    if start < end {
        to[start..end].copy_from_slice(&from[start..end]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(make: impl Fn() -> Content) -> BTreeSet<Vec<u8>> {
        (0..400)
            .map(|seed| {
                let mut content = make();
                content.crash(&SeededRandomness::new(seed));
                assert_eq!(content.current, content.durable);
                content.current
            })
            .collect()
    }

    #[test]
    fn synced_bytes_always_survive() {
        let seen = outcomes(|| {
            let mut content = Content::default();
            content.write(&[7; 3000], 0);
            content.sync();
            content
        });
        assert_eq!(seen, BTreeSet::from([vec![7; 3000]]));
    }

    #[test]
    fn unsynced_sectors_survive_in_every_mixture_and_never_in_parts() {
        let seen = outcomes(|| {
            let mut content = Content::default();
            content.write(&[1; 1024], 0);
            content.sync();
            content.write(&[2; 1024], 0);
            content
        });
        let half = |a, b| [vec![a; 512], vec![b; 512]].concat();
        assert_eq!(
            seen,
            BTreeSet::from([half(1, 1), half(1, 2), half(2, 1), half(2, 2)])
        );
    }

    #[test]
    fn an_unsynced_tail_ends_anywhere_after_the_synced_part() {
        let seen = outcomes(|| {
            let mut content = Content::default();
            content.write(&[1; 100], 0);
            content.sync();
            content.write(&[2; 900], 100);
            content
        });
        assert!(
            seen.iter()
                .all(|s| s.len() >= 100 && s.len() <= 1000 && s[..100] == [1; 100])
        );
        assert!(seen.iter().any(|s| s.len() == 100) && seen.iter().any(|s| s.len() == 1000));
        assert!(seen.iter().any(|s| s.len() > 100 && s.len() < 1000));
        // Sectors that did not make it read as zeros.
        assert!(seen.iter().any(|s| s.len() == 1000 && s[600..] == [0; 400]));
    }

    #[test]
    fn an_unsynced_cut_happened_whole_or_not() {
        let seen = outcomes(|| {
            let mut content = Content::default();
            content.write(&[1; 2000], 0);
            content.sync();
            content.set_length(700);
            content
        });
        assert_eq!(seen, BTreeSet::from([vec![1; 700], vec![1; 2000]]));
    }

    #[test]
    fn after_a_cut_and_a_regrowth_old_bytes_do_not_mix_with_new_ones() {
        let seen = outcomes(|| {
            let mut content = Content::default();
            content.write(&[1; 1536], 0);
            content.sync();
            content.set_length(512);
            content.write(&[2; 1024], 512);
            content
        });
        for s in seen {
            let old = s == [1; 1536];
            let new = s[..512] == [1; 512] && s[512..].iter().all(|b| *b == 0 || *b == 2);
            assert!(old || new, "{} bytes, {:?}", s.len(), s.last());
        }
    }

    #[test]
    fn a_failed_sync_loses_bytes_though_the_next_one_succeeds() {
        let seen = outcomes(|| {
            let mut content = Content::default();
            content.write(&[1; 512], 0);
            content.sync();
            content.write(&[2; 512], 0);
            content.fail_sync();
            content.sync();
            assert_eq!(content.current, [2; 512]);
            content.write(&[3; 512], 512);
            content.sync();
            content
        });
        let with = |a| [vec![a; 512], vec![3; 512]].concat();
        assert_eq!(seen, BTreeSet::from([with(1), with(2)]));
    }

    #[test]
    fn writing_again_after_a_failed_sync_makes_the_bytes_durable() {
        let seen = outcomes(|| {
            let mut content = Content::default();
            content.write(&[1; 512], 0);
            content.fail_sync();
            content.write(&[1; 512], 0);
            content.sync();
            content
        });
        assert_eq!(seen, BTreeSet::from([vec![1; 512]]));
    }
}
