//! Primary-key tables: what one batch of upserts and deletes does to a bucket.
//!
//! ```text
//! KV batch ──► merge (plan) ──► outcome ──► changelog: one log batch
//!                 ▲ old value       └─────► write buffer, until the log is durable ──► index
//! ```
//!
//! Everything here is a function of bytes and schemas: no disk, no log, no lock. Facts: Fluss
//! server semantics of primary-key tables; `KvTablet.java`.

pub mod auto_increment;
pub mod changelog;
pub mod merge;
pub mod write_buffer;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod model;
