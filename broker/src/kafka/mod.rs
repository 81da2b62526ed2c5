//! The Kafka wire: what its clients ask, converted to our types and back.

pub mod handlers;
