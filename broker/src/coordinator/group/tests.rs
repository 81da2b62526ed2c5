//! The rules of the group protocol, one by one, on the state machine of a shard.

mod joining;
mod offsets;
mod restart;
mod service;
mod sessions;
mod simulation;
mod static_members;
mod syncing;
