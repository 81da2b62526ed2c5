//! Group commit: how long a sync waits for appends that are about to come.
//!
//! Producers wait for their answers and then send again. Without a pause a log falls into two
//! halves that take turns, one being synced while the other is written, and every sync carries
//! half of what it could:
//!
//! ```text
//! at once    sync A ─ sync B ─ sync A ─ sync B        each waits for two syncs
//! gathered   sync A+B ─ pause ─ sync A+B ─ pause      each waits for one and a short pause
//! ```
//!
//! So a sync waits until those that the last one answered are back, at most for half of the time
//! that a sync takes. Who is alone is never waited for, and when producers do not come back the
//! log stops waiting for a while. Plain state, without a clock or threads of its own.

use std::time::Duration;

/// Longest pause before a sync.
const PAUSE_MAX: Duration = Duration::from_millis(1);
/// So many syncs go without a pause after pauses that brought too little.
const SYNCS_WITHOUT_PAUSE: u32 = 64;
/// Pauses that may bring too little in a row: one may be a producer's hiccup.
const VAIN_PAUSES_MAX: u32 = 2;

/// What the last sync of a log tells about the next one.
#[derive(Debug, Default)]
pub(super) struct Gather {
    /// Appends that the last sync answered.
    answered: usize,
    /// Appends that had come while it ran.
    left: usize,
    /// How long it took.
    took: Duration,
    /// Pauses in a row that brought too little.
    vain: u32,
    /// Syncs that go without a pause.
    skip: u32,
}

impl Gather {
    /// Whether a sync should wait while `waiting` appends do: until there are so many, and how
    /// long at most.
    pub(super) fn pause(&mut self, waiting: usize) -> Option<(usize, Duration)> {
        let goal = self.answered + self.left;
        if waiting >= goal || self.took.is_zero() {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        Some((goal, (self.took / 2).min(PAUSE_MAX)))
    }

    /// A pause is over and `waiting` appends are there.
    pub(super) fn paused(&mut self, waiting: usize) {
        // Those that come anyway, at whatever rate, bring half of the goal in half of the time.
        let enough = self.left + self.answered * 3 / 4;
        if waiting >= enough {
            self.vain = 0;
        } else {
            self.vain += 1;
            if self.vain >= VAIN_PAUSES_MAX {
                self.vain = 0;
                self.skip = SYNCS_WITHOUT_PAUSE;
            }
        }
    }

    /// A sync took so long and answered so many; `left` came meanwhile.
    pub(super) fn synced(&mut self, took: Duration, answered: usize, left: usize) {
        self.took = took;
        self.answered = answered;
        self.left = left;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYNC: Duration = Duration::from_micros(400);

    #[test]
    fn a_producer_that_is_alone_is_never_waited_for() {
        let mut gather = Gather::default();
        assert_eq!(gather.pause(1), None);
        gather.synced(SYNC, 1, 0);
        assert_eq!(gather.pause(1), None);
    }

    #[test]
    fn a_sync_waits_until_those_that_were_answered_are_back() {
        let mut gather = Gather::default();
        gather.synced(SYNC, 5, 5);
        assert_eq!(gather.pause(5), Some((10, SYNC / 2)));
        gather.paused(10);
        gather.synced(SYNC, 10, 0);
        assert_eq!(gather.pause(3), Some((10, SYNC / 2)));
        assert_eq!(gather.pause(10), None);
    }

    #[test]
    fn no_pause_is_long() {
        let mut gather = Gather::default();
        gather.synced(Duration::from_secs(3), 2, 0);
        assert_eq!(gather.pause(1), Some((2, PAUSE_MAX)));
    }

    #[test]
    fn pauses_in_vain_end() {
        let mut gather = Gather::default();
        for _ in 0..VAIN_PAUSES_MAX {
            gather.synced(SYNC, 4, 2);
            assert!(gather.pause(2).is_some());
            gather.paused(4);
        }
        gather.synced(SYNC, 4, 2);
        for _ in 0..SYNCS_WITHOUT_PAUSE {
            assert_eq!(gather.pause(2), None);
        }
        assert!(gather.pause(2).is_some());
        gather.paused(6);
        gather.synced(SYNC, 4, 2);
        assert!(gather.pause(2).is_some());
    }
}
