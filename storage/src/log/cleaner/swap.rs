//! Putting cleaned segments in the place of old ones.
//!
//! ```text
//!  before   0.log  500.log  800.log  900.log (active)      0.cleaned.tmp (0..900), synced
//!  rename   0.log (cleaned, stands for 0..900)  500.log  800.log  900.log
//!  sync     the directory: from here on the cleaned one counts
//!  remove   0.log (cleaned)  900.log
//! ```
//!
//! One rename decides. A crash before it leaves a `.tmp` that recovery removes; a crash behind it
//! leaves old segments that begin inside what the cleaned one stands for, which recovery removes as
//! well. Readers that hold an old segment keep its file open and go on reading it.
//!
//! Several that only make sense together are written down first (`together.rs`): then the rename of
//! that file decides, and recovery does the others.

use std::sync::Arc;

use super::output::Output;
use super::together;
use crate::log::error::{LogError, OfflineCause};
use crate::log::log::Log;
use crate::log::recovery::remove_segment_files;
use crate::log::segment::Segment;

/// A segment that is written and durable, and the neighbours whose place it takes.
pub(super) struct Replacement {
    pub(super) old: Vec<Arc<Segment>>,
    pub(super) output: Output,
}

impl Replacement {
    /// Where the old ones are in a list of segments.
    fn place_in(&self, segments: &[Arc<Segment>]) -> Option<usize> {
        let first = self.old.first()?;
        let at = segments.iter().position(|s| Arc::ptr_eq(s, first))?;
        let there = segments.get(at..at + self.old.len())?;
        let same = there.iter().zip(&self.old).all(|(a, b)| Arc::ptr_eq(a, b));
        same.then_some(at)
    }
}

impl Log {
    /// Puts all of it in place, or nothing. False when retention has removed one of the old segments
    /// meanwhile: then nothing is replaced.
    pub(super) fn swap(&self, all: Vec<Replacement>) -> Result<bool, LogError> {
        let _shape = self.reshaping.lock();
        if all.is_empty() {
            return Ok(true);
        }
        let is_there = {
            let segments = self.segments();
            all.iter().all(|one| one.place_in(&segments).is_some())
        };
        if !is_there || self.offline_cause().is_some() {
            discard(all);
            return Ok(false);
        }
        for segment in all.iter().flat_map(|one| &one.old) {
            if let Err(error) = segment.retire() {
                let failed = LogError::io("cannot open", segment.path())(error);
                discard(all);
                return Err(failed);
            }
        }
        let is_written_down = all.len() > 1;
        if is_written_down {
            let headers = all.iter().map(|one| one.output.header);
            if let Err(error) = together::prepare(&self.place, headers) {
                discard(all);
                return Err(error);
            }
            together::decide(&self.place).map_err(|error| self.undecided(error))?;
        }
        let disk = &self.place.disk;
        for one in &all {
            let path = self.place.path(one.output.header.base, "log");
            if let Err(error) = disk.rename(&one.output.path, &path) {
                if is_written_down {
                    // Some may be in place; the next start does the others.
                    return Err(self.undecided(error));
                }
                discard(all);
                return Err(LogError::io("cannot rename to", &path)(error));
            }
        }
        disk.sync_directory(&self.place.directory)
            .map_err(|error| self.undecided(error))?;
        let fresh: Vec<Arc<Segment>> = all
            .iter()
            .map(|Replacement { output, .. }| {
                let file = Arc::clone(&output.file);
                self.place.cleaned(output.header, &output.index, file)
            })
            .collect();
        {
            let mut segments = self.segments.write();
            let mut list = Vec::clone(&segments);
            for (one, fresh) in all.iter().zip(&fresh) {
                // Appends only add behind them, and everything else waits for `reshaping`.
                if let Some(at) = one.place_in(&list) {
                    list.splice(at..at + one.old.len(), [Arc::clone(fresh)]);
                }
            }
            *segments = Arc::new(list);
        }
        for (one, fresh) in all.iter().zip(&fresh) {
            if let Err(error) = fresh.write_index(&one.output.index) {
                tracing::warn!(log = %self.id, %error, "cannot write the index of a cleaned segment");
            }
        }
        if is_written_down {
            together::forget(&self.place)?;
        }
        for segment in all.iter().flat_map(|one| &one.old[1..]) {
            remove_segment_files(&self.place, segment.path())?;
        }
        Ok(true)
    }

    /// Nobody knows what a power loss would leave.
    fn undecided(&self, error: std::io::Error) -> LogError {
        let cause = OfflineCause::SyncFailed {
            path: self.place.directory.clone(),
            error: Arc::new(error),
        };
        self.go_offline(cause.clone());
        LogError::Offline(cause)
    }
}

fn discard(all: Vec<Replacement>) {
    for one in all {
        one.output.discard();
    }
}
