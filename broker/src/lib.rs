//! The broker: listeners, request handlers of both wires, coordinators, configuration, metrics.
//!
//! What this crate promises: a client of either wire gets the answer that its own broker would
//! give, and one client's bytes never harm another client.
//!
//! *Invariant*: the handlers of the two wires do not know each other; what they share lies beside
//! them.

#![cfg_attr(test, allow(clippy::disallowed_methods))]

pub mod assembly;
pub mod broker;
pub mod cleaning;
pub mod cli;
pub mod config;
pub mod coordinator;
pub mod data_dir;
pub mod fluss;
pub mod http;
pub mod kafka;
pub mod kv_snapshots;
pub mod logging;
pub mod machine;
pub mod memory;
pub mod metrics;
pub mod net;
pub mod server;
pub mod tablets;
pub mod tools;
