//! Times of single requests, and what of them is reported.

use std::time::Duration;

/// All times of a run: a run has few enough requests to keep every one.
#[derive(Clone, Debug, Default)]
pub struct Latencies(Vec<u64>);

impl Latencies {
    /// Notes one time.
    pub fn note(&mut self, time: Duration) {
        self.0
            .push(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds another thread's times.
    pub fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// How many times were noted.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The named percentiles in milliseconds; empty without times.
    pub fn percentiles(&mut self) -> Vec<(&'static str, f64)> {
        if self.0.is_empty() {
            return Vec::new();
        }
        self.0.sort_unstable();
        [("p50 ms", 0.5), ("p99 ms", 0.99), ("p99.9 ms", 0.999)]
            .into_iter()
            .map(|(name, part)| (name, self.at(part) as f64 / 1e6))
            .collect()
    }

    /// The smallest time that at least `part` of all times do not exceed.
    fn at(&self, part: f64) -> u64 {
        let rank = (part * self.0.len() as f64).ceil() as usize;
        self.0[rank.clamp(1, self.0.len()) - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_occurred() {
        let mut latencies = Latencies::default();
        for ms in 1..=1_000 {
            latencies.note(Duration::from_millis(ms));
        }
        let found = latencies.percentiles();
        assert_eq!(
            found,
            [("p50 ms", 500.0), ("p99 ms", 990.0), ("p99.9 ms", 999.0)]
        );
    }

    #[test]
    fn one_time_is_every_percentile() {
        let mut latencies = Latencies::default();
        latencies.note(Duration::from_millis(7));
        assert!(latencies.percentiles().iter().all(|(_, ms)| *ms == 7.0));
    }
}
