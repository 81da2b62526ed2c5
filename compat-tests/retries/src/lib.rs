//! Idempotent Kafka producers of several libraries write to tables with a key that a Fluss client made, while the broker
//! is killed and answers are lost. Each suite test has a broker of its own behind a network that fails.
//!
//! `ROUNDS` sets how often something fails (default 8); `SEED` when.

mod model;
mod tables;
mod trouble;

pub use model::{KEYS, Model, Upsert, added_up};
pub use tables::{Tables, history};
pub use trouble::{Random, Trouble};

use std::time::Duration;

/// Longer than a client takes to come back to a broker on a loaded machine.
pub const LIMIT: Duration = Duration::from_secs(60);
