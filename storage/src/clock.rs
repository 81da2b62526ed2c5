//! Commit time: one clock for all logs, which never decreases, not even across restarts.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::env::Clock;

/// A wall clock this far behind the newest commit time is worth a warning.
const STEP_BACK_MS: i64 = 1_000;
/// A wall clock this far ahead of the newest commit time, though that was read a moment ago on the
/// monotonic clock, is worth a warning.
const LEAP_MS: i64 = 60_000;

/// Hands out commit times.
pub struct CommitClock {
    clock: Arc<dyn Clock>,
    newest: AtomicI64,
    /// Wall minus monotonic time at the last reading: a change of it is a step of the wall clock.
    drift: AtomicI64,
    steps: AtomicI64,
}

impl CommitClock {
    /// A clock that begins at the larger of `floor` (the largest commit time of earlier starts)
    /// and the wall clock.
    pub fn new(clock: Arc<dyn Clock>, floor: i64) -> Arc<CommitClock> {
        let wall = clock.wall_ms();
        let drift = wall - clock.monotonic().as_millis() as i64;
        Arc::new(CommitClock {
            clock,
            newest: AtomicI64::new(floor.max(0)),
            drift: AtomicI64::new(drift),
            steps: AtomicI64::new(0),
        })
    }

    /// The commit time of what is appended now, epoch milliseconds.
    pub fn now(&self) -> i64 {
        let wall = self.clock.wall_ms();
        let drift = wall - self.clock.monotonic().as_millis() as i64;
        let before = self.drift.load(Ordering::Relaxed);
        if drift < before - STEP_BACK_MS || drift > before + LEAP_MS {
            self.drift.store(drift, Ordering::Relaxed);
            self.steps.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                by_ms = drift - before,
                "the wall clock was set; commit times never go back"
            );
        }
        self.newest.fetch_max(wall, Ordering::Relaxed).max(wall)
    }

    /// The largest commit time handed out or raised to so far.
    pub fn newest(&self) -> i64 {
        self.newest.load(Ordering::Relaxed)
    }

    /// Makes sure that later commit times are not below `time`, which a log holds already.
    pub fn raise_to(&self, time: i64) {
        self.newest.fetch_max(time, Ordering::Relaxed);
    }

    /// How often the wall clock was seen to step back or leap ahead.
    pub fn steps(&self) -> i64 {
        self.steps.load(Ordering::Relaxed)
    }
}
