//! Hostile clients on both ports, while a sound client on each produces and reads all along: no
//! panic, no memory beyond the limits, no error for the sound ones, and each refusal says why.
//!
//! `VLTAVA_HOSTILE_ROUNDS` multiplies the random frames (default 1), `VLTAVA_HOSTILE_SEED` is
//! their seed (default 1), `VLTAVA_HOSTILE_IDLE` the number of idle connections
//! (default 5,000, or as many as this process may have files).

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    unreachable_pub,
    reason = "tests use the real world, and are a crate of their own"
)]

#[path = "../common/mod.rs"]
mod common;

mod attack;
mod batches;
mod broker_under_attack;
mod frames;
mod keyed;
mod log;
mod neighbours;
mod stalling;

use std::alloc::System;

use broker_under_attack::UnderAttack;
use cap::Cap;

/// Counts what broker and clients of this process allocate.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// The limits that the broker is given, and the largest batch that is decompressed (256 MiB, alone),
/// with as much again for what attackers and sound clients hold themselves.
const ALLOCATED_MAX: usize = 512 << 20;

/// The default of the variables above.
fn number(variable: &str, default: u64) -> u64 {
    let value = std::env::var(variable).ok();
    value.map_or(default, |text| text.parse().expect("a number"))
}

/// One broker for all attacks, one after the other: their memory is counted together.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn hostile_clients_harm_nobody() {
    let broker = UnderAttack::start().await;
    broker
        .during("random frames", frames::random(&broker))
        .await;
    broker
        .during("wrong lengths", frames::lengths(&broker))
        .await;
    broker
        .during("unknown APIs", frames::unknown(&broker))
        .await;
    broker
        .during("element counts", frames::counts(&broker))
        .await;
    broker.during("Kafka bombs", batches::kafka(&broker)).await;
    broker.during("Fluss bombs", batches::fluss(&broker)).await;
    broker.during("KV batches", keyed::all(&broker)).await;
    broker
        .during("slow senders", stalling::senders(&broker))
        .await;
    broker
        .during("slow readers", stalling::readers(&broker))
        .await;
    broker
        .during("idle connections", stalling::idle(&broker))
        .await;
    let allocated = ALLOCATOR.max_allocated();
    broker.stop().await;
    assert!(
        allocated < ALLOCATED_MAX,
        "{allocated} bytes were allocated"
    );
    let rounds = number("VLTAVA_HOSTILE_ROUNDS", 1);
    let seed = number("VLTAVA_HOSTILE_SEED", 1);
    let allocated = allocated >> 20;
    println!("seed {seed}, {rounds} rounds: {allocated} MiB were allocated at most");
}
