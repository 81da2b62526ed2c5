//! The group coordinator: Kafka's classic group protocol and committed offsets.
//!
//! Groups are spread over *shards*, one per partition of `__consumer_offsets`. A shard's state
//! machine ([`ShardState`]) is plain: a request, a timer or a finished append goes in, actions
//! come out, nothing waits and nothing is read from a clock. Around each shard runs one task that
//! writes to the log and answers ([`GroupCoordinator`]).
//!
//! ```text
//!            join                all joined              leader's assignment durable
//!   Empty ─────────▶ Preparing ─────────────▶ Completing ───────────────────────────▶ Stable
//!     ▲               │   ▲ ▲                     │ member joins, leaves or fails       │
//!     └───────────────┘   │ └─────────────────────┘                                     │
//!       nobody joined     └─────────────────────────────────────────────────────────────┘
//! ```
//!
//! *Invariant*: a committed offset is shown to a fetch, and an assignment to a member, only after
//! its record is past the high watermark of the internal log. Finished appends are applied in the
//! order of the log, so that a replay gives the same state.
//!
//! *Invariant*: no group, member or parked request without a limit ([`GroupConfig`]).

mod checkpoint;
mod checkpointer;
mod config;
mod driver;
mod error;
mod heartbeat;
mod join;
mod leave;
mod loading;
mod log;
mod member;
mod memory_log;
mod metrics;
mod names;
mod offset_requests;
mod offsets;
mod rebalance;
mod records;
mod request;
mod service;
mod shard;
mod state;
mod static_member;
mod subscription;
mod sync;
mod timers;
mod turn;

#[cfg(test)]
mod test_support;
#[cfg(test)]
mod tests;

pub use checkpoint::{Checkpoint, CheckpointError};
pub use config::GroupConfig;
pub use error::GroupError;
pub use log::{GroupLog, GroupLogError, LogBounds, LogRecord, ShardId};
pub use memory_log::MemoryGroupLog;
pub use names::{GroupId, InstanceId, MemberId, TopicName};
pub use offsets::CommittedOffset;
pub use request::*;
pub use service::GroupCoordinator;
pub use shard::ShardState;
pub use state::GroupState;
pub use turn::{Action, Now, ReplyId, Tally, Then, Write};
