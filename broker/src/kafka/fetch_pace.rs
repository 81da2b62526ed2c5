//! How much one fetch gathers before its answer leaves.
//!
//! An answer's records go through memory twice: from the page cache into a buffer, from there into
//! the socket. While an answer is small, both happen in the processor's cache; six partitions of
//! 1 MiB each do not fit, and cost half as much again. But a client far away waits a round trip
//! for each answer, so for it the answers must be large. The time that a client took to come back
//! tells the two apart:
//!
//! ```text
//!   answer ready ──── written, read, handled, asked again ──── next fetch
//!                 └──────── away: so many ms, so many bytes ──────┘
//! ```

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Bytes that a client gets at once however fast it comes back: little enough for the cache, and
/// so much that the cost of a request does not count.
const ANSWER_BYTES_MIN: usize = 512 << 10;
/// For each millisecond that a client was away: 128 MiB/s over any distance, where the client asks
/// for as much.
const BYTES_PER_MS: usize = 128 << 10;

/// The pace of one connection's fetches.
#[derive(Debug, Default)]
pub struct FetchPace {
    /// When the last answer was ready.
    answered: Mutex<Option<Instant>>,
    /// Fetches without a session.
    fetches: AtomicUsize,
}

impl FetchPace {
    /// Bytes to gather for a fetch that came at `now`.
    pub fn answer_bytes(&self, now: Instant) -> usize {
        let answered = *self.answered.lock();
        let away = answered.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let earned = (away.as_millis() as usize).saturating_mul(BYTES_PER_MS);
        earned.max(ANSWER_BYTES_MIN)
    }

    /// Which of so many partitions a fetch without a session reads first: another one each time. A
    /// client that always names them in the same order would else get nothing of the last ones
    /// while the first ones fill its answers.
    pub fn first_of(&self, partitions: usize) -> usize {
        let turn = self.fetches.fetch_add(1, Ordering::Relaxed);
        turn.checked_rem(partitions).unwrap_or(0)
    }

    /// An answer is ready.
    pub fn answered(&self, now: Instant) {
        *self.answered.lock() = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_comes_back_at_once_gets_little_and_a_distant_one_much() {
        let pace = FetchPace::default();
        let start = Instant::now();
        assert_eq!(pace.answer_bytes(start), ANSWER_BYTES_MIN);
        pace.answered(start);
        let after = |ms| pace.answer_bytes(start + Duration::from_millis(ms));
        assert_eq!(after(0), ANSWER_BYTES_MIN);
        assert_eq!(after(1), ANSWER_BYTES_MIN);
        assert_eq!(after(20), 5 << 19);
        assert!(after(u64::from(u32::MAX)) > 1 << 40);
    }

    #[test]
    fn every_partition_is_first_in_turn() {
        let pace = FetchPace::default();
        assert_eq!(pace.first_of(0), 0);
        let turns: Vec<usize> = (0..4).map(|_| pace.first_of(3)).collect();
        assert_eq!(turns, [1, 2, 0, 1]);
    }

    #[test]
    fn requests_that_overlap_do_not_go_back_in_time() {
        let pace = FetchPace::default();
        let start = Instant::now();
        pace.answered(start + Duration::from_millis(5));
        assert_eq!(pace.answer_bytes(start), ANSWER_BYTES_MIN);
    }
}
