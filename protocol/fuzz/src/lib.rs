//! The targets as plain functions, for the fuzzers in `fuzz_targets` and for the stable runner in
//! `protocol/tests/hostile.rs`, which takes the same files by path.

pub mod runner;
pub mod targets;

/// Feeds the target of this name.
///
/// # Panics
/// When there is none.
pub fn run(name: &str, data: &[u8]) {
    let target = targets::TARGETS.iter().find(|target| target.name == name);
    (target.expect("a known target").run)(data);
}
