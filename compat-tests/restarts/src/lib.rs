//! Clients of both wires that stay while the broker is killed and started again.
//!
//! The suite starts a broker of its own, on addresses that stay the same.

mod broker;
pub mod columns;
pub mod records;
pub mod upserts;

pub use broker::Broker;

use std::time::Duration;

/// Longer than a client takes to come back to a broker on a loaded machine.
pub const LIMIT: Duration = Duration::from_secs(60);
