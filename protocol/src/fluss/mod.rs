//! The Fluss wire: frames, messages, table descriptors, and the batches that travel in them.

pub mod api;
pub mod arrow_encode;
pub mod arrow_message;
pub mod batch;
pub mod bucketing;
pub mod buffer_codec;
pub mod descriptor;
pub mod error;
pub mod frame;
pub mod key;
pub mod kv_batch;
pub mod messages;
pub mod names;
pub mod options;
pub mod partition;
pub mod predicate;
pub mod projection;
pub mod records_answer;
pub mod shape;
pub mod statistics;
pub mod value;

#[cfg(test)]
pub(crate) mod vectors;
