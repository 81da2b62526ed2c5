//! The memory of the cleaner does not grow with the number of keys: neither what a round takes whose
//! questions somebody else answers, nor with the map of fixed size.
//!
//! `VLTAVA_CLEANER_KEYS` sets the number of keys (default 200,000), beside a tenth of them.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "common/keyed.rs"]
mod keyed;

use std::alloc::System;

use cap::Cap;
use keyed::{Keys, check, filled};
use protocol::ids::Offset;
use storage::log::Log;
use storage::log::cleaner::{Cleaned, KafkaFormat, OffsetMap, Round, Successors};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// What one key would take in the smallest of maps.
const BYTES_OF_A_KEY: usize = 16;
const MAP_BYTES: usize = 4 << 20;

/// The most memory ever, after a log of so many keys was filled and cleaned.
fn most_allocated(keys: u64) -> usize {
    let keys = Keys {
        keys,
        records: keys * 4,
    };
    for by_map in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let log = filled(&directory.path().join("log"), &keys, 4 << 20);
        if by_map {
            clean_with_map(&log);
        } else {
            let done = clean(&log, &keys);
            let records = (done.records_read, done.records_left);
            assert_eq!(records, (keys.records, keys.keys));
        }
        assert_eq!(check(&log, &keys), keys.keys);
    }
    ALLOCATOR.max_allocated()
}

fn clean(log: &Log, successors: &dyn Successors) -> Cleaned {
    let done = log.clean(Round {
        end: log.watermarks().high_watermark,
        delete_retention_ms: 0,
        successors,
        format: &mut KafkaFormat::default(),
        pace: &mut |_| true,
    });
    done.unwrap()
}

/// As many rounds as the map needs.
fn clean_with_map(log: &Log) {
    let (mut from, end) = (Offset::ZERO, log.watermarks().high_watermark);
    while from < end {
        let format = &mut KafkaFormat::default();
        let map = OffsetMap::of_log(log, from, end, MAP_BYTES, format, &mut |_| true);
        from = clean(log, &map.unwrap()).end;
    }
}

#[test]
fn ten_times_the_keys_take_no_more_memory() {
    let keys = std::env::var("VLTAVA_CLEANER_KEYS").map_or(200_000, |keys| keys.parse().unwrap());
    let few = most_allocated(keys / 10);
    let many = most_allocated(keys);
    println!("{keys} keys: {many} bytes were allocated at most, {few} with a tenth of the keys");
    let grown = many - few;
    let map_of_keys = (keys - keys / 10) as usize * BYTES_OF_A_KEY;
    assert!(grown < map_of_keys / 2, "{few} bytes, then {many}");
}
