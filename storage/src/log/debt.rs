//! How much recovery would have to read: bytes behind the newest checkpoints, which are kept few.
//!
//! A log asks for a checkpoint when [`LogConfig::checkpoint_bytes`] lie behind its last one. When
//! all logs together have [`CROWDED_BYTES`] behind theirs, every log with [`SMALL_BYTES`] asks; and
//! at [`FULL_BYTES`] such a log takes no more appends until its checkpoint is written. So recovery
//! of all logs together reads at most [`FULL_BYTES`], [`SMALL_BYTES`] for each log, and for each
//! log one group of appends that was under way.
//!
//! [`LogConfig::checkpoint_bytes`]: super::LogConfig::checkpoint_bytes

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Behind the checkpoints of all logs: from here on smaller ones are written too. Reading so much
/// takes less than a second.
const CROWDED_BYTES: u64 = 512 << 20;
/// Behind the checkpoints of all logs: appends wait. A disk that takes bytes more slowly than they
/// come gets so much of a lead; the kernel's own limit of unwritten pages is of this size.
const FULL_BYTES: u64 = 4 << 30;
/// A checkpoint costs four syncs; for fewer bytes it is not worth them.
const SMALL_BYTES: u64 = 4 << 20;

/// What all logs of a broker would have to read after a crash.
#[derive(Debug, Default)]
pub struct RecoveryDebt {
    bytes: AtomicU64,
}

impl RecoveryDebt {
    /// Bytes behind the checkpoints of all logs.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// True when logs that no longer grow should get a checkpoint, too.
    pub fn is_crowded(&self) -> bool {
        self.bytes() >= CROWDED_BYTES
    }
}

/// The part of one log. What it still owes when it is dropped is taken off the sum.
pub(super) struct LogDebt {
    all: Arc<RecoveryDebt>,
    bytes: AtomicU64,
    /// After a checkpoint that failed: how much more there must be before the next attempt.
    excused_bytes: AtomicU64,
    /// A segment was closed since the last checkpoint.
    rolled: AtomicBool,
}

impl LogDebt {
    pub(super) fn new(all: &Arc<RecoveryDebt>, bytes: u64) -> LogDebt {
        let debt = LogDebt {
            all: Arc::clone(all),
            bytes: AtomicU64::new(0),
            excused_bytes: AtomicU64::new(0),
            rolled: AtomicBool::new(false),
        };
        debt.add(bytes);
        debt
    }

    /// Bytes behind the checkpoint.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.all.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn note_roll(&self) {
        self.rolled.store(true, Ordering::Relaxed);
    }

    /// A checkpoint covers `bytes` of it.
    pub(super) fn settle(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.all.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.excused_bytes.store(0, Ordering::Relaxed);
    }

    /// A checkpoint begins: what is closed from now on is for the next one.
    pub(super) fn begin(&self) {
        self.rolled.store(false, Ordering::Relaxed);
    }

    /// A checkpoint could not be written: the log goes on without for a while.
    pub(super) fn excuse(&self, checkpoint_bytes: u64) {
        let until = self
            .bytes()
            .saturating_add(checkpoint_bytes.max(SMALL_BYTES));
        self.excused_bytes.store(until, Ordering::Relaxed);
    }

    /// True when a checkpoint should be written.
    pub(super) fn is_due(&self, checkpoint_bytes: u64) -> bool {
        let bytes = self.bytes();
        if bytes < self.excused_bytes.load(Ordering::Relaxed) {
            return false;
        }
        let early = self.rolled.load(Ordering::Relaxed) || self.all.is_crowded();
        bytes >= checkpoint_bytes.max(1) || (early && bytes >= SMALL_BYTES)
    }

    /// True when nothing should be appended before the next checkpoint.
    pub(super) fn is_full(&self) -> bool {
        let bytes = self.bytes();
        bytes >= SMALL_BYTES
            && bytes >= self.excused_bytes.load(Ordering::Relaxed)
            && self.all.bytes() >= FULL_BYTES
    }
}

impl Drop for LogDebt {
    fn drop(&mut self) {
        self.all.bytes.fetch_sub(self.bytes(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_log_asks_when_enough_lies_behind_it_or_a_segment_was_closed() {
        let all = Arc::new(RecoveryDebt::default());
        let log = LogDebt::new(&all, 63 * MIB);
        assert!(!log.is_due(64 * MIB));
        log.note_roll();
        assert!(log.is_due(64 * MIB));
        log.begin();
        assert!(!log.is_due(64 * MIB));
        log.add(MIB);
        assert!(log.is_due(64 * MIB));
        log.settle(64 * MIB);
        assert!(!log.is_due(64 * MIB));
        assert_eq!(all.bytes(), 0);
    }

    #[test]
    fn many_logs_with_little_each_ask_and_in_the_end_wait() {
        let all = Arc::new(RecoveryDebt::default());
        let small = LogDebt::new(&all, 5 * MIB);
        assert!(!small.is_due(64 * MIB));
        let others = LogDebt::new(&all, CROWDED_BYTES);
        assert!(small.is_due(64 * MIB));
        assert!(!small.is_full());
        others.add(FULL_BYTES);
        assert!(small.is_full());
        drop(others);
        assert!(!small.is_full() && !small.is_due(64 * MIB));
        assert_eq!(all.bytes(), 5 * MIB);
    }

    #[test]
    fn a_log_whose_checkpoint_failed_goes_on_for_a_while() {
        let all = Arc::new(RecoveryDebt::default());
        let log = LogDebt::new(&all, FULL_BYTES);
        assert!(log.is_due(64 * MIB) && log.is_full());
        log.excuse(64 * MIB);
        assert!(!log.is_due(64 * MIB) && !log.is_full());
        log.add(64 * MIB);
        assert!(log.is_due(64 * MIB) && log.is_full());
    }
}
