//! The cleaner at work: which log is cleaned next, how fast, and what is told of it.
//!
//! A thread of the cleaner takes the log that needs it most, cleans it, and looks again; when none
//! needs it, it sleeps (`log.cleaner.backoff.ms`). What a round does to a log is in
//! `storage::log::cleaner`.

mod pace;
mod report;
mod round;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use protocol::ids::{Offset, TabletId};
use storage::log::LogError;
use storage::log::cleaner::{Backlog, CleanError, CompactionConfig};

use crate::broker::Broker;
use crate::tablets::OpenBucket;
use pace::Pace;

/// What the threads of the cleaner share.
pub struct Cleaning {
    broker: Arc<Broker>,
    pace: Pace,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Logs that a thread is at.
    busy: HashSet<TabletId>,
    /// Logs whose last round failed or did not get on: others come first, then there is a pause.
    stalled: HashSet<TabletId>,
    /// Logs with a batch that cannot be read, and their bytes: they are left alone until the next
    /// start.
    uncleanable: BTreeMap<TabletId, u64>,
}

/// A log that needs cleaning.
struct Candidate {
    bucket: Arc<OpenBucket>,
    config: CompactionConfig,
    backlog: Backlog,
}

impl Cleaning {
    /// The cleaner of a broker; nothing is cleaned yet.
    pub fn new(broker: Arc<Broker>) -> Arc<Cleaning> {
        Arc::new(Cleaning {
            broker,
            pace: Pace::default(),
            state: Mutex::default(),
        })
    }

    /// Ends the rounds that are under way, and begins no more.
    pub fn stop(&self) {
        self.pace.stop();
    }

    /// Cleans the log that needs it most. False when there is nothing to do before a pause. Waits
    /// for the disk.
    pub fn clean_next(&self) -> bool {
        let Some(candidate) = self.take_filthiest() else {
            return false;
        };
        let id = candidate.bucket.tablet.log().log().id();
        let done = self.clean(&candidate);
        let got_on = matches!(done, Ok(end) if end > candidate.backlog.first_dirty);
        let mut state = self.state.lock();
        state.busy.remove(&id);
        if !got_on {
            state.stalled.insert(id);
        }
        if let Err(error) = done {
            tracing::warn!(table = %candidate.bucket.table.path, tablet = %id, %error, "cleaning failed");
            if error.is_lasting() {
                let bytes = candidate.backlog.clean_bytes + candidate.backlog.dirty_bytes;
                state.uncleanable.insert(id, bytes);
            }
        }
        true
    }

    /// The log with the largest part to clean, of those that are due; it is busy from now on.
    fn take_filthiest(&self) -> Option<Candidate> {
        if self.pace.is_stopped() || !self.broker.config().cleaner().enabled {
            return None;
        }
        let mut dirtiest = 0.0f64;
        let mut overdue_ms = 0;
        let mut found: Option<Candidate> = None;
        let mut state = self.state.lock();
        for bucket in self.broker.tablets.all_open() {
            let log = bucket.tablet.log().log();
            let Some(config) = log.config().compaction else {
                continue;
            };
            let skipped = state.busy.contains(&log.id())
                || state.stalled.contains(&log.id())
                || state.uncleanable.contains_key(&log.id());
            if skipped || log.offline_cause().is_some() {
                continue;
            }
            // Whoever has a snapshot reads on from its offset, deletions included.
            let needed = self.broker.snapshots.oldest_offset(log.id());
            let end = needed.unwrap_or(Offset::new(i64::MAX));
            let backlog = match log.clean_backlog_below(&config, end) {
                Ok(backlog) => backlog,
                Err(error) => {
                    told(&bucket, &error);
                    continue;
                }
            };
            dirtiest = dirtiest.max(backlog.dirty_ratio());
            overdue_ms = overdue_ms.max(backlog.overdue_ms);
            let more = found
                .as_ref()
                .is_none_or(|best| backlog.dirty_ratio() > best.backlog.dirty_ratio());
            if backlog.is_due(&config) && more {
                found = Some(Candidate {
                    bucket,
                    config,
                    backlog,
                });
            }
        }
        match &found {
            Some(candidate) => {
                state.busy.insert(candidate.bucket.tablet.log().log().id());
            }
            None => state.stalled.clear(),
        }
        report::looked(dirtiest, overdue_ms, &state.uncleanable);
        found
    }

    /// Gives the offset below which all has been through a round.
    fn clean(&self, candidate: &Candidate) -> Result<Offset, CleanError> {
        let config = self.broker.config().cleaner();
        let started = self.broker.env.clock.monotonic();
        let log = candidate.bucket.tablet.log().log();
        let mut pace = |bytes| self.pace.take(&*self.broker.env.clock, bytes, &config);
        let (done, map_utilization) = round::run(
            &self.broker.tablets,
            log,
            candidate,
            config.map_bytes,
            &mut pace,
        )?;
        // What was made of the records that are gone goes too.
        candidate.bucket.tablet.tend();
        let took = self.broker.env.clock.monotonic().saturating_sub(started);
        report::cleaned(&candidate.bucket, &done, map_utilization, took);
        Ok(done.end)
    }
}

fn told(bucket: &OpenBucket, error: &LogError) {
    let id = bucket.tablet.log().log().id();
    tracing::warn!(table = %bucket.table.path, tablet = %id, %error, "cannot tell whether a log needs cleaning");
}
