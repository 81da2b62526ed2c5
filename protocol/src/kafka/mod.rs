//! Everything pure about the Kafka wire: record batches, frames, messages and stored state.
//!
//! [`request`] reads frames, after [`shape`] has made sure that decoding them is safe; [`response`]
//! and [`fetch_response`] write the answers; [`api`] lists what is spoken. Record batches
//! ([`batch`], [`record`], [`compression`]) are checked by [`mod@validate`] before a log takes
//! them; [`builder`] makes batches of our own, [`mod@retain`] leaves
//! records of a batch out; [`offsets_log`] holds Kafka's schemas of
//! consumer-group state.

pub mod api;
pub mod batch;
pub mod builder;
pub mod compression;
pub mod fetch_response;
pub mod offsets_log;
pub mod partitioner;
pub mod record;
pub mod request;
pub mod response;
pub mod retain;
pub mod shape;
pub mod validate;
pub mod varint;
