//! Sockets to frames and answers to sockets: the part that both wires share.
//!
//! A [`Listener`] accepts connections within the limits of the [`Network`]; each connection is one
//! task that reads frames, hands them to its [`Wire`] and writes the answers. A request has two
//! stages: *started*, after which the next request of the connection may start, and *answered*.
//! See [`Wire`] for the contract.
//!
//! *Invariant*: memory is taken for bytes that have arrived, never for a length that was announced.
//! *Invariant*: nothing here knows an API of either wire.

mod connection;
mod in_flight;
mod limits;
mod listener;
mod memory;
mod reader;
mod transport;
mod wire;
mod writer;

#[cfg(test)]
mod tests;

pub use limits::{DroppedMeters, NetworkLimits, NetworkMeters};
pub use listener::{BindError, Listener, Network};
pub use memory::{RequestMemory, Reservation};
pub use wire::{Answer, HEAD_BYTES, Held, Hold, Order, Peer, Pending, Started, Wire};
