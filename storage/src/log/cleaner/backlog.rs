//! When a round is worth it: Kafka's rules (`LogCleanerManager.java`).
//!
//! ```text
//!  log start      first dirty        first uncleanable     active segment
//!     |  cleaned      |     dirty          |  too young         |
//!     '---------------'--------------------'--------------------'------
//!       clean bytes      dirty bytes
//! ```

use protocol::ids::Offset;

use crate::log::error::LogError;
use crate::log::log::Log;
use crate::log::segment::HEADER_LENGTH;

/// How a log is compacted. Times are milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CompactionConfig {
    /// Part of the log that is dirty before a round is worth it, 0 to 1
    /// (`min.cleanable.dirty.ratio`).
    pub dirty_ratio_min: f64,
    /// A segment with a younger record is left alone (`min.compaction.lag.ms`).
    pub lag_min_ms: i64,
    /// A record is cleaned when it has been in the log so long, however little is dirty; the active
    /// segment is rolled for it (`max.compaction.lag.ms`).
    pub lag_max_ms: Option<i64>,
    /// A tombstone stays so long after the first round that saw it (`delete.retention.ms`).
    pub delete_retention_ms: i64,
}

/// What a round would find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// Everything below it has been through a round.
    pub first_dirty: Offset,
    /// From here on nothing may be cleaned yet.
    pub first_uncleanable: Offset,
    /// Bytes of segments below `first_dirty`.
    pub clean_bytes: u64,
    /// Bytes of segments from there to `first_uncleanable`.
    pub dirty_bytes: u64,
    /// How long the oldest dirty record has been waiting longer than it should.
    pub overdue_ms: i64,
}

impl Backlog {
    /// Dirty bytes of all cleanable bytes, 0 to 1.
    pub fn dirty_ratio(&self) -> f64 {
        match self.clean_bytes + self.dirty_bytes {
            0 => 0.0,
            all => self.dirty_bytes as f64 / all as f64,
        }
    }

    /// True when a round should take place.
    pub fn is_due(&self, config: &CompactionConfig) -> bool {
        self.dirty_bytes > 0 && (self.dirty_ratio() > config.dirty_ratio_min || self.overdue_ms > 0)
    }
}

impl Log {
    /// What the cleaner would find. Rolls the active segment when its oldest record has to be
    /// cleaned soon. Waits for the disk, and for a round that is under way.
    pub fn clean_backlog(&self, config: &CompactionConfig) -> Result<Backlog, LogError> {
        self.clean_backlog_below(config, Offset::new(i64::MAX))
    }

    /// The same, of a log of which somebody needs everything from `end` on as it is.
    pub fn clean_backlog_below(
        &self,
        config: &CompactionConfig,
        end: Offset,
    ) -> Result<Backlog, LogError> {
        let committed_now = self.context.commit_clock.now();
        if let Some(lag) = config.lag_max_ms {
            let segments = self.segments();
            if let Some(active) = segments.last() {
                let first = active.summary()?.commit_time_first;
                let is_old = committed_now.saturating_sub(first) >= lag;
                if active.length() > HEADER_LENGTH && is_old && self.offline_cause().is_none() {
                    self.roll_active()?;
                }
            }
        }
        let now = self.context.env.clock.wall_ms();
        let segments = self.segments();
        let w = self.watermarks();
        // What is not durable yet, a round makes so before it begins.
        let limit = w.last_stable.min(end);
        let active = segments.last().map_or(w.log_start, |s| s.base());
        let first_dirty = self.clean_state.lock().first_dirty(&self.place)?;
        // A checkpoint past the log or before it says nothing of this log.
        let first_dirty = match first_dirty > active {
            true => w.log_start,
            false => first_dirty.max(w.log_start),
        };
        let mut backlog = Backlog {
            first_dirty,
            first_uncleanable: segments.first().map_or(w.log_start, |s| s.base()),
            clean_bytes: 0,
            dirty_bytes: 0,
            overdue_ms: 0,
        };
        for pair in segments.windows(2) {
            let (segment, next) = (&pair[0], &pair[1]);
            let summary = segment.summary()?;
            let young = config.lag_min_ms > 0
                && summary.record_time_max > now.saturating_sub(config.lag_min_ms);
            if next.base() > limit || (young && next.base() > first_dirty) {
                break;
            }
            backlog.first_uncleanable = next.base();
            if next.base() <= first_dirty {
                backlog.clean_bytes += segment.length();
                continue;
            }
            backlog.dirty_bytes += segment.length();
            if let Some(lag) = config.lag_max_ms
                && summary.commit_time_first >= 0
            {
                let age = committed_now.saturating_sub(summary.commit_time_first);
                backlog.overdue_ms = backlog.overdue_ms.max(age.saturating_sub(lag));
            }
        }
        Ok(backlog)
    }

    /// Below it everything is durable and decided.
    pub(super) fn clean_limit(&self) -> Offset {
        let w = self.watermarks();
        w.synced_end.min(w.last_stable)
    }
}
