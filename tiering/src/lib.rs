//! What leaves the local disk: closed segments, snapshots and lake files go to a remote store.
//!
//! What this crate promises: what a [`remote::RemoteStore`] said to have stored is there after any
//! crash of the broker, whole, under a name that says so; a snapshot of an index that is told of
//! ([`kv_snapshot`]) is complete.
//!
//! *Invariant*: the crate reads from storage and never writes to a log.

pub mod kv_snapshot;
pub mod remote;
