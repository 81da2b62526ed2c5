//! The Fluss wire: frames, messages, table descriptors, and the batches that travel in them.

pub mod api;
pub mod descriptor;
pub mod error;
pub mod frame;
pub mod messages;
pub mod names;
pub mod records_answer;
pub mod shape;
