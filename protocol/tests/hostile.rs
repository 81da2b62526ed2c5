//! Hostile bytes into every decoder: the fuzz targets with sound frames that were damaged, on the
//! stable toolchain. `protocol/fuzz/README.md` says how the fuzzers themselves are run.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test"
)]

#[path = "../fuzz/src/runner.rs"]
mod runner;
#[path = "hostile/seeds.rs"]
mod seeds;
#[path = "../fuzz/src/targets/mod.rs"]
mod targets;

use std::alloc::System;
use std::path::Path;

use cap::Cap;

/// Counts what is allocated.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Far above what the targets allow themselves, far below what a length of 32 bits can ask for.
const ALLOCATED_MAX: usize = 192 << 20;

/// One after the other: together they would share the count of the memory.
#[test]
fn no_decoder_panics_or_takes_memory_for_what_is_only_announced() {
    let limits = runner::Limits {
        allocated_max: || ALLOCATOR.max_allocated(),
        bytes: ALLOCATED_MAX,
    };
    let regressions = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/regressions");
    for target in targets::TARGETS {
        let seeds = seeds::of(target.name);
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        runner::feed(target.name, target.run, &seeds, &regressions, &limits);
    }
}
