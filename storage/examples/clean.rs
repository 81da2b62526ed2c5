//! Measures the cleaner: ten million records over one million keys, cleaned once.
//!
//! `cargo run --release -p vltava-storage --example clean -- [records] [keys] [directory]`

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement, not the product"
)]

#[path = "../tests/common/keyed.rs"]
mod keyed;

use std::alloc::System;
use std::path::PathBuf;
use std::time::Instant;

use cap::Cap;
use keyed::{Keys, check, filled};
use protocol::ids::Offset;
use storage::log::Log;
use storage::log::cleaner::{Cleaned, KafkaFormat, OffsetMap, Round, Successors};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// `log.cleaner.dedupe.buffer.size`
const MAP_BYTES: usize = 32 << 20;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default| arguments.next().map_or(default, |n| n.parse().unwrap());
    let (records, keys) = (number(10_000_000), number(1_000_000));
    let directory = arguments
        .next()
        .map_or_else(std::env::temp_dir, PathBuf::from)
        .join(format!("vltava-clean-{}", std::process::id()));
    let keys = Keys { keys, records };
    for by_map in [false, true] {
        let log = filled(&directory.join("log"), &keys, 256 << 20);
        let (bytes, allocated) = (log.size_bytes(), ALLOCATOR.allocated());
        let started = Instant::now();
        let (who, done) = match by_map {
            false => ("an index", clean(&log, &keys)),
            true => ("a map of 32 MiB", with_map(&log)),
        };
        let seconds = started.elapsed().as_secs_f64();
        let peak = ALLOCATOR.max_allocated().saturating_sub(allocated);
        println!(
            "{records} records over {} keys, {who}: {:.1} s, {:.0} MB/s, {} MB to {} MB, at most {} MiB allocated",
            keys.keys,
            seconds,
            bytes as f64 / 1e6 / seconds,
            bytes / 1_000_000,
            log.size_bytes() / 1_000_000,
            peak >> 20,
        );
        assert!(done.complete);
        assert_eq!(check(&log, &keys), keys.keys);
        drop(log);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}

fn clean(log: &Log, successors: &dyn Successors) -> Cleaned {
    let round = Round {
        end: log.watermarks().high_watermark,
        delete_retention_ms: 0,
        successors,
        format: &mut KafkaFormat::default(),
        pace: &mut |_| true,
    };
    log.clean(round).unwrap()
}

/// As many rounds as the map needs.
fn with_map(log: &Log) -> Cleaned {
    let end = log.watermarks().high_watermark;
    let mut from = Offset::ZERO;
    loop {
        let mut format = KafkaFormat::default();
        let map = OffsetMap::of_log(log, from, end, MAP_BYTES, &mut format, &mut |_| true);
        let done = clean(log, &map.unwrap());
        from = done.end;
        if from >= end {
            return done;
        }
    }
}
