//! The memory of the cleaner does not grow with the number of keys.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "common/keyed.rs"]
mod keyed;

use std::alloc::System;

use cap::Cap;
use keyed::{Keys, check, filled};
use storage::log::cleaner::{KafkaFormat, Round};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// What one key would take in the smallest of maps.
const BYTES_OF_A_KEY: usize = 16;

/// The most memory ever, after a log of so many keys was filled and cleaned.
fn most_allocated(keys: u64) -> usize {
    let keys = Keys {
        keys,
        records: keys * 4,
    };
    let directory = tempfile::tempdir().unwrap();
    let log = filled(&directory.path().join("log"), &keys, 4 << 20);
    let done = log.clean(Round {
        end: log.watermarks().high_watermark,
        delete_retention_ms: 0,
        successors: &keys,
        format: &mut KafkaFormat::default(),
        pace: &mut |_| true,
    });
    let done = done.unwrap();
    assert_eq!(
        (done.records_read, done.records_left),
        (keys.records, keys.keys)
    );
    assert_eq!(check(&log, &keys), keys.keys);
    ALLOCATOR.max_allocated()
}

#[test]
fn ten_times_the_keys_take_no_more_memory() {
    let few = most_allocated(20_000);
    let many = most_allocated(200_000);
    let grown = many - few;
    assert!(
        grown < 180_000 * BYTES_OF_A_KEY / 2,
        "{few} bytes, then {many}"
    );
}
