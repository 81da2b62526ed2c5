//! The memory that requests may take beside their frames: what one client asks for must leave room
//! for the others.

mod fetches;
mod unpacking;

pub use fetches::{FetchMemory, Grant, Share, Turn};
pub use unpacking::{Unpacked, Unpacking};
