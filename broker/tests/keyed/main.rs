//! Primary-key tables over the Fluss wire, on real indexes: made, written, read, scanned, restarted,
//! and read as topics.

#![allow(clippy::disallowed_methods, reason = "tests use the real world")]

#[path = "../common/mod.rs"]
mod common;

mod inserts;
mod large;
mod reads;
mod scans;
mod snapshots;
mod tables;
mod upserts;
mod writes;
