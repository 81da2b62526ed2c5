//! The Fluss wire: coordinator and tablet server at one address.
//!
//! [`FlussWire`] takes frames, [`dispatch`] holds the one table of what is served, `handlers` a
//! file per API or resource. What the core says becomes an error code in [`error`], once.

mod acks;
pub mod auto_partition;
pub mod describe;
pub mod dispatch;
pub mod error;
pub mod handlers;
pub mod keyed;
pub mod login;
pub mod refusals;
pub mod resolve;
pub mod room;
pub mod scanners;
pub mod topic;
pub mod wire;

pub use wire::FlussWire;
