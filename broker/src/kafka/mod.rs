//! The Kafka wire: what its clients ask, converted to our types and back.
//!
//! A frame goes `wire.rs` (header, versions) → `dispatch.rs` (one line per API) → a file of
//! `handlers/` → the core, and its answer back the same way.

mod answer_errors;
mod dispatch;
pub mod error;
pub mod fetch_pace;
pub mod fetch_session;
pub mod handlers;
pub mod topics;
pub mod upserts;
pub mod wire;
