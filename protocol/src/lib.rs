//! Bytes and messages of both wires.
//!
//! What this crate promises: it turns bytes into checked values and back, for the Kafka wire
//! ([`kafka`]) and the Fluss wire ([`fluss`]), and holds what both share: [`ids`], the unassigned
//! [`batch`], the type system ([`schema`]), row codecs ([`row`]) and the JSON mapping ([`json`]).
//!
//! *Invariant*: no I/O, no clock, no state. *Invariant*: bytes from outside never panic here and
//! never make an allocation that is larger than a limit the caller named.

pub mod batch;
pub mod columnar;
pub mod fluss;
pub mod ids;
pub mod json;
pub mod kafka;
pub mod raw;
pub mod row;
pub mod schema;
pub mod stored;
