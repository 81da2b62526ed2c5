//! Roaring bitmaps of a few numbers, in the portable format.
//!
//! ```text
//! cookie 12346 │ containers │ (high half, count - 1) of each │ place of each │ low halves of each
//! ```

use std::collections::{BTreeMap, BTreeSet};

/// Only containers that list their numbers.
const COOKIE: u32 = 12346;

/// A set of numbers.
pub(crate) type Numbers = BTreeSet<u32>;

pub(crate) fn encode(numbers: &Numbers) -> Vec<u8> {
    let mut containers = BTreeMap::<u16, Vec<u16>>::new();
    for number in numbers {
        let low = (number & 0xffff) as u16;
        containers
            .entry((number >> 16) as u16)
            .or_default()
            .push(low);
    }
    let mut out = Vec::new();
    out.extend(COOKIE.to_le_bytes());
    out.extend((containers.len() as u32).to_le_bytes());
    for (high, lows) in &containers {
        out.extend(high.to_le_bytes());
        out.extend((lows.len() as u16 - 1).to_le_bytes());
    }
    let mut place = out.len() + 4 * containers.len();
    for lows in containers.values() {
        out.extend((place as u32).to_le_bytes());
        place += 2 * lows.len();
    }
    for low in containers.values().flatten() {
        out.extend(low.to_le_bytes());
    }
    out
}

pub(crate) fn decode(bytes: &[u8]) -> Numbers {
    let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let word = |at: usize| u32::from(half(at)) | u32::from(half(at + 2)) << 16;
    assert_eq!(word(0), COOKIE);
    let containers = word(4) as usize;
    let mut numbers = Numbers::new();
    let mut at = 8 + 8 * containers;
    for container in 0..containers {
        let (high, count) = (half(8 + 4 * container), half(10 + 4 * container));
        for _ in 0..=count {
            numbers.insert(u32::from(high) << 16 | u32::from(half(at)));
            at += 2;
        }
    }
    assert_eq!(at, bytes.len());
    numbers
}
