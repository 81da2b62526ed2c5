//! Everything that lies on the local disk: the log of each tablet, the transcoder between the two
//! batch worlds, and the catalog.
//!
//! What this crate promises: an acknowledged append is as durable as its flush mode says, offsets
//! are dense and never reused, and a reader never sees what a crash could take back.
//!
//! *Invariant*: no network, no wire message; the crate has never heard of a request.
//! *Invariant*: [`log`] uses neither the catalog nor the transcoder.
//! *Invariant*: time, randomness and the disk come in through [`mod@env`].

pub mod buffers;
pub mod catalog;
pub mod clock;
pub mod env;
pub mod kv;
pub mod log;
pub mod tablet;
pub mod threads;
pub mod transcode;
