//! Where a log begins: DeleteRecords, retention by time and size.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use protocol::batch::NO_TIME;
use protocol::ids::Offset;

use super::error::LogError;
use super::log::Log;
use super::recovery::remove_segment_files;
use super::segment::{HEADER_LENGTH, Segment};

/// What a retention round did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// Segments that are gone.
    pub segments: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl Log {
    /// Moves the log start to `offset`, at most to the high watermark (KIP-107). The new start is
    /// durable when this returns, and the segments wholly below it are removed. Returns the start.
    pub fn delete_before(&self, offset: Offset) -> Result<Offset, LogError> {
        let w = self.watermarks();
        let start = offset.min(w.high_watermark);
        if start <= w.log_start {
            return Ok(w.log_start);
        }
        // Readers see the new start only once it is durable: it never moves back.
        self.log_start_wanted
            .fetch_max(start.value(), Ordering::AcqRel);
        self.checkpoint()?;
        self.log_start.fetch_max(start.value(), Ordering::AcqRel);
        self.epochs.write().start_at(start);
        self.remove_below_start()?;
        self.waiters.wake_data();
        Ok(start)
    }

    /// Removes segments that retention no longer wants: too old by record time (`retention.ms`)
    /// or by commit time (`table.log.ttl`), or more than `retention.bytes`. The active segment is
    /// rolled first when all of it is too old.
    pub fn enforce_retention(&self) -> Result<Removed, LogError> {
        let config = self.config();
        let now = self.context.env.clock.wall_ms();
        let committed_now = self.context.commit_clock.now();
        let segments = self.segments();
        let mut size = self.size_bytes();
        let mut start = self.watermarks().log_start;
        for (number, segment) in segments.iter().enumerate() {
            let summary = segment.summary()?;
            let active = number + 1 == segments.len();
            if summary.commit_time_last == NO_TIME {
                // Of a closed segment the cleaner may have left nothing.
                match active {
                    true => break,
                    false => continue,
                }
            }
            let older = |limit: Option<i64>, now: i64, time: i64| {
                limit.is_some_and(|limit| now.saturating_sub(time) > limit)
            };
            let expired = older(config.retention_ms, now, summary.record_time_max)
                || older(config.ttl_ms, committed_now, summary.commit_time_last);
            // By size only what is closed goes, as in Kafka.
            let too_much = !active
                && config
                    .retention_bytes
                    .is_some_and(|max| size - segment.length() >= max);
            let whole = summary.end_offset <= self.watermarks().high_watermark;
            if !whole || !(expired || too_much) {
                break;
            }
            if active {
                self.roll_active()?;
            }
            size -= segment.length();
            start = start.max(summary.end_offset);
        }
        let before = (segments.len(), self.size_bytes());
        if start > self.watermarks().log_start {
            self.delete_before(start)?;
        }
        let left = self.segments();
        let gone = segments
            .iter()
            .filter(|s| !left.iter().any(|l| Arc::ptr_eq(l, s)))
            .count();
        Ok(Removed {
            segments: gone,
            bytes: before.1.saturating_sub(self.size_bytes()),
        })
    }

    /// Begins a new segment, when the active one has records.
    pub fn roll_active(&self) -> Result<(), LogError> {
        let mut tail = self.tail.lock();
        if tail.position > HEADER_LENGTH {
            let base = Offset::new(self.log_end.load(Ordering::Acquire));
            self.roll(&mut tail, base)?;
        }
        Ok(())
    }

    /// Removes segments whose records all lie below the log start.
    fn remove_below_start(&self) -> Result<(), LogError> {
        let _shape = self.reshaping.lock();
        let start = self.watermarks().log_start;
        let gone: Vec<Arc<Segment>> = {
            // Appends roll segments under the same lock order: tail, then segments.
            let _tail = self.tail.lock();
            let mut segments = self.segments.write();
            // A segment ends where the next one begins; the active one always stays.
            let keep_from = segments
                .windows(2)
                .take_while(|pair| pair[1].base() <= start)
                .count();
            let mut list = Vec::clone(&segments);
            let gone = list.drain(..keep_from).collect();
            *segments = Arc::new(list);
            gone
        };
        for segment in &gone {
            remove_segment_files(&self.place, segment.path())?;
        }
        if !gone.is_empty() {
            let directory = &self.place.directory;
            self.place
                .disk
                .sync_directory(directory)
                .map_err(LogError::io("cannot sync", directory))?;
        }
        Ok(())
    }
}
