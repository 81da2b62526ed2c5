//! How fast the cleaner may read and write.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use storage::env::Clock;

use crate::config::CleanerConfig;

/// A thread looks whether it shall stop at least so often.
const WAIT_MAX: Duration = Duration::from_millis(300);

/// Counts the bytes of all threads, and makes them wait.
#[derive(Default)]
pub(super) struct Pace {
    spent: Mutex<Spent>,
    changed: Condvar,
}

#[derive(Default)]
struct Spent {
    stopped: bool,
    /// When the bytes so far are paid for, on the monotonic clock.
    paid_at: Duration,
}

impl Pace {
    pub(super) fn stop(&self) {
        self.spent.lock().stopped = true;
        self.changed.notify_all();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.spent.lock().stopped
    }

    /// Takes note of bytes, and waits until they are paid for. False when the cleaner shall stop.
    pub(super) fn take(&self, clock: &dyn Clock, bytes: u64, config: &CleanerConfig) -> bool {
        let mut spent = self.spent.lock();
        let Some(rate) = config.bytes_per_second_max else {
            return !spent.stopped;
        };
        let now = clock.monotonic();
        // What was not used before does not count.
        spent.paid_at = spent.paid_at.max(now) + Duration::from_secs_f64(bytes as f64 / rate);
        let paid_at = spent.paid_at;
        while !spent.stopped {
            let left = paid_at.saturating_sub(clock.monotonic());
            if left.is_zero() {
                return true;
            }
            self.changed.wait_for(&mut spent, left.min(WAIT_MAX));
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use storage::env::simulated::ManualClock;

    fn config(rate: Option<f64>) -> CleanerConfig {
        CleanerConfig {
            enabled: true,
            threads: 1,
            backoff: Duration::ZERO,
            bytes_per_second_max: rate,
            map_bytes: 1 << 20,
        }
    }

    #[test]
    fn bytes_take_their_time_and_a_stop_ends_the_wait() {
        let clock = std::sync::Arc::new(ManualClock::new(0));
        let pace = std::sync::Arc::new(Pace::default());
        assert!(pace.take(&*clock, u64::MAX / 2, &config(None)));
        let waiting = {
            let (clock, pace) = (clock.clone(), pace.clone());
            std::thread::spawn(move || pace.take(&*clock, 3_000, &config(Some(1_000.0))))
        };
        while pace.spent.lock().paid_at < Duration::from_secs(3) {
            std::thread::yield_now();
        }
        assert!(!waiting.is_finished(), "the clock stands still");
        clock.advance(Duration::from_secs(3));
        pace.changed.notify_all();
        assert!(waiting.join().unwrap());
        pace.stop();
        assert!(!pace.take(&*clock, 1, &config(Some(1.0))));
        assert!(!pace.take(&*clock, 1, &config(None)));
    }
}
