//! Primary-key tables: what one batch of upserts and deletes does to a bucket.
//!
//! ```text
//! KV batch ──► merge (plan) ──► outcome ──► changelog: one log batch
//!                 ▲ old value       └─────► write buffer, until the log is durable ──► index
//! ```
//!
//! [`writer`] runs this for a bucket, [`replay`] makes the index again from the log. But for the
//! index everything here is a function of bytes and schemas: no disk, no log. Facts: Fluss server
//! semantics of primary-key tables; `KvTablet.java`.

pub mod auto_increment;
pub mod changelog;
pub mod index;
pub mod merge;
pub mod missing;
pub mod open_index;
pub mod plans;
pub mod replay;
pub mod scan;
pub mod tablet;
pub mod topic;
pub mod write_buffer;
pub mod writer;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod model;
