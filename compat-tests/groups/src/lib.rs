//! Members of one consumer group, each a process of its own and made with another client library, and the account of
//! what they committed.
//!
//! A member is started as `MEMBER GROUP TOPIC`. It reads a few records at a time and prints, for each partition,
//! `committing PARTITION FIRST NEXT` before it commits `NEXT`, and then `committed …` or `refused …` with the same numbers.
//! A record counts as consumed when its commit was accepted: [`Account`] holds that no record is consumed twice, also
//! not by a member that was frozen, missed a rebalance, and wakes with records in its hands.

mod account;
mod member;

pub use account::{Account, Range};
pub use member::{Library, Member};
