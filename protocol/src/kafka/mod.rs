//! Everything pure about the Kafka wire: record batches, frames, messages and stored state.
//!
//! Record batches ([`batch`], [`record`], [`compression`]) are checked by [`mod@validate`] before
//! a log takes them; [`builder`] makes batches of our own; [`offsets_log`] holds Kafka's schemas
//! of consumer-group state.

pub mod batch;
pub mod builder;
pub mod compression;
pub mod offsets_log;
pub mod record;
pub mod validate;
pub mod varint;
