//! Waiting for a condition. Nothing else in the suites sleeps.

use std::thread;
use std::time::{Duration, Instant};

/// How long between two looks at a condition: short beside any answer, long beside the look itself.
pub const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks until `condition` gives a value; `None` when `limit` has passed first.
pub fn until<T>(limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return Some(value);
        }
        if start.elapsed() >= limit {
            return None;
        }
        thread::sleep(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_ends_the_wait() {
        let mut looks = 0;
        let found = until(Duration::from_secs(5), || {
            looks += 1;
            (looks == 3).then_some("there")
        });
        assert_eq!((found, looks), (Some("there"), 3));
    }

    #[test]
    fn a_condition_that_never_holds_ends_at_the_limit() {
        assert_eq!(until(Duration::from_millis(30), || None::<()>), None);
    }
}
