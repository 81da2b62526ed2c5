//! A clock that tests move.

use std::time::Duration;

use parking_lot::Mutex;

use crate::env::Clock;

/// Stands still until it is told to move. The wall clock may be set to anything, back included;
/// the monotonic clock only advances.
#[derive(Debug)]
pub struct ManualClock {
    now: Mutex<(i64, Duration)>,
}

impl ManualClock {
    /// A clock that shows `wall_ms` (epoch milliseconds) and a monotonic time of 0.
    pub fn new(wall_ms: i64) -> Self {
        ManualClock {
            now: Mutex::new((wall_ms, Duration::ZERO)),
        }
    }

    /// Lets time pass on both clocks.
    pub fn advance(&self, by: Duration) {
        let mut now = self.now.lock();
        now.0 = now
            .0
            .saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX));
        now.1 += by;
    }

    /// Sets the wall clock alone, forward or back.
    pub fn set_wall_ms(&self, wall_ms: i64) {
        self.now.lock().0 = wall_ms;
    }
}

impl Clock for ManualClock {
    fn wall_ms(&self) -> i64 {
        self.now.lock().0
    }

    fn monotonic(&self) -> Duration {
        self.now.lock().1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_steps_back_and_the_monotonic_one_does_not() {
        let clock = ManualClock::new(1_000);
        clock.advance(Duration::from_millis(500));
        clock.set_wall_ms(10);
        assert_eq!(
            (clock.wall_ms(), clock.monotonic()),
            (10, Duration::from_millis(500))
        );
    }
}
