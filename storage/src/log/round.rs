//! Work that one thread at a time does for everybody who wanted it before it began.

use std::sync::atomic::{AtomicBool, Ordering};

/// Such work of one log: its syncs, or its checkpoints.
#[derive(Default)]
pub(super) struct Round {
    wanted: AtomicBool,
    running: AtomicBool,
}

impl Round {
    /// Asks for a round. True when the caller must start a thread that runs them.
    pub(super) fn want(&self) -> bool {
        self.wanted.store(true, Ordering::Release);
        !self.running.swap(true, Ordering::AcqRel)
    }

    /// Does `work` until nobody wants another round: true. Or until `work` says that the thread
    /// should serve others first: false, and the caller must have [`Self::run`] called again.
    pub(super) fn run(&self, mut work: impl FnMut() -> bool) -> bool {
        loop {
            while self.wanted.swap(false, Ordering::AcqRel) {
                if !work() {
                    // Still running as far as others can see, so that nobody starts a second thread.
                    return false;
                }
            }
            self.running.store(false, Ordering::Release);
            // Wanted between the last look and the line above: nobody else would start.
            let again =
                self.wanted.load(Ordering::Acquire) && !self.running.swap(true, Ordering::AcqRel);
            if !again {
                return true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_in_the_middle_of_a_round_gets_another() {
        let round = Round::default();
        assert!(round.want());
        let mut rounds = 0;
        assert!(round.run(|| {
            rounds += 1;
            assert!(rounds == 3 || !round.want());
            true
        }));
        assert_eq!(rounds, 3);
        assert!(round.want());
    }

    #[test]
    fn who_lets_others_go_first_comes_back() {
        let round = Round::default();
        assert!(round.want());
        assert!(!round.run(|| false));
        assert!(!round.want(), "nobody else starts meanwhile");
        let mut rounds = 0;
        assert!(round.run(|| {
            rounds += 1;
            true
        }));
        assert_eq!(rounds, 1);
        assert!(round.want());
    }
}
