//! Putting a cleaned segment in the place of old ones.
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

use std::sync::Arc;

use super::output::Output;
use crate::log::error::{LogError, OfflineCause};
use crate::log::log::Log;
use crate::log::recovery::remove_segment_files;
use crate::log::segment::Segment;

impl Log {
    /// Replaces `old`, neighbours in the log, by what was written. False when retention has removed
    /// one of them meanwhile: then nothing is replaced.
    pub(super) fn swap(&self, old: &[Arc<Segment>], output: Output) -> Result<bool, LogError> {
        let _shape = self.reshaping.lock();
        let Some(first) = old.first() else {
            return Ok(false);
        };
        let is_there = {
            let segments = self.segments();
            let at = segments.iter().position(|s| Arc::ptr_eq(s, first));
            at.and_then(|at| segments.get(at..at + old.len()))
                .is_some_and(|there| there.iter().zip(old).all(|(a, b)| Arc::ptr_eq(a, b)))
        };
        if !is_there || self.offline_cause().is_some() {
            output.discard();
            return Ok(false);
        }
        for segment in old {
            segment
                .retire()
                .map_err(LogError::io("cannot open", segment.path()))?;
        }
        let disk = &self.place.disk;
        let path = self.place.path(output.header.base, "log");
        if let Err(error) = disk.rename(&output.path, &path) {
            output.discard();
            return Err(LogError::io("cannot rename to", &path)(error));
        }
        let directory = &self.place.directory;
        if let Err(error) = disk.sync_directory(directory) {
            // Nobody knows which of the two a power loss would leave.
            let cause = OfflineCause::SyncFailed {
                path: directory.clone(),
                error: Arc::new(error),
            };
            self.go_offline(cause.clone());
            return Err(LogError::Offline(cause));
        }
        let fresh = self
            .place
            .cleaned(output.header, &output.index, Arc::clone(&output.file));
        {
            let mut segments = self.segments.write();
            let mut list = Vec::clone(&segments);
            // Appends only add behind them, and everything else waits for `reshaping`.
            if let Some(at) = list.iter().position(|s| Arc::ptr_eq(s, first)) {
                list.splice(at..at + old.len(), [Arc::clone(&fresh)]);
            }
            *segments = Arc::new(list);
        }
        if let Err(error) = fresh.write_index(&output.index) {
            tracing::warn!(log = %self.id, %error, "cannot write the index of a cleaned segment");
        }
        for segment in &old[1..] {
            remove_segment_files(&self.place, segment.path())?;
        }
        Ok(true)
    }
}
