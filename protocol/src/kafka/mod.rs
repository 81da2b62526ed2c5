//! The Kafka wire and Kafka's stored formats.

pub mod offsets_log;
