//! What every suite of real clients shares: starting and stopping the broker and its peers, waiting for conditions
//! instead of sleeping, unique names, and the addresses a suite is pointed at.
//!
//! Suites never start a server themselves unless they test starting and stopping: they read [`Addresses::from_env`],
//! which the `compat` binary fills. That lets the same suite run against `vltava serve`, Apache Kafka, Apache Fluss, or
//! any address given by hand.

pub mod addresses;
pub mod cache;
pub mod names;
pub mod peers;
pub mod ports;
pub mod probe;
pub mod process;
pub mod producer;
pub mod programs;
pub mod proxy;
pub mod vltava;
pub mod wait;

pub use addresses::{Addresses, Target};
