//! Being durable: sync, checkpoint, close.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use protocol::ids::Offset;

use super::checkpoint::Checkpoint;
use super::error::{LogError, OfflineCause};
use super::log::Log;
use super::recovery::Unsettled;
use super::segment::Segment;

/// What a sync that began at some moment covers.
struct Captured {
    end: Offset,
    closed: Vec<Arc<Segment>>,
    active: Arc<Segment>,
    directory_dirty: bool,
    draft: Option<Draft>,
}

/// A checkpoint of that moment, to be written once the sync has returned.
struct Draft {
    checkpoint: Checkpoint,
    /// Entries of the index that are not in its file yet, and the number of the first.
    index_tail: Vec<u8>,
    index_from: usize,
    /// Segments that were closed since the last checkpoint.
    closed: Vec<Arc<Segment>>,
    /// What recovery need not read any more.
    bytes: u64,
}

impl Log {
    /// Makes everything appended so far durable, moves the watermark and returns the synced end.
    /// Several callers take turns; each sync covers all that was appended before it began.
    pub fn sync(&self) -> Result<Offset, OfflineCause> {
        let _turn = self.syncing.lock();
        self.sync_in_turn(false).map(|captured| captured.end)
    }

    /// Syncs and writes a checkpoint, so that recovery begins here. Other syncs may take place
    /// while it is written.
    pub fn checkpoint(&self) -> Result<(), LogError> {
        let _one = self.checkpointing.lock();
        let captured = {
            let _turn = self.syncing.lock();
            self.sync_in_turn(true)?
        };
        let Some(draft) = captured.draft else {
            return Ok(());
        };
        let (end, bytes) = (captured.end, draft.bytes);
        let written = self.write_checkpoint(&captured.active, draft);
        match &written {
            Ok(()) => {
                self.debt.settle(bytes);
                self.checkpointed_end.store(end.value(), Ordering::Release);
            }
            Err(_) => self.debt.excuse(self.config().checkpoint_bytes),
        }
        written
    }

    fn write_checkpoint(&self, active: &Segment, mut draft: Draft) -> Result<(), LogError> {
        let entries = draft.checkpoint.index_entries as usize;
        active.save_index_tail(draft.index_from, &draft.index_tail, entries)?;
        for segment in draft.closed.iter().map(AsRef::as_ref).chain([active]) {
            segment.sync_index()?;
        }
        // The start may have moved on since; it never moves back.
        draft.checkpoint.log_start = Offset::new(self.log_start_wanted.load(Ordering::Acquire));
        draft
            .checkpoint
            .write(&*self.place.disk, &self.place.directory)
    }

    /// Writes a checkpoint when something changed since the last one.
    pub fn checkpoint_if_changed(&self) -> Result<(), LogError> {
        let changed =
            self.log_end.load(Ordering::Acquire) != self.checkpointed_end.load(Ordering::Acquire);
        if changed && self.offline_cause().is_none() {
            self.checkpoint()
        } else {
            Ok(())
        }
    }

    /// True when so much lies behind the last checkpoint that the next one should be written.
    pub fn checkpoint_is_due(&self) -> bool {
        self.offline_cause().is_none() && self.debt.is_due(self.config().checkpoint_bytes)
    }

    /// True when nothing should be appended until the next checkpoint is written, so that recovery
    /// stays short.
    pub(super) fn must_wait_for_checkpoint(&self) -> bool {
        self.debt.is_full() && self.offline_cause().is_none()
    }

    /// Takes no more appends and writes nothing any more: the log is about to be deleted.
    pub fn abandon(&self) {
        self.go_offline(OfflineCause::Closed);
    }

    /// Syncs, writes a checkpoint where something changed since the last one, and takes no more
    /// appends.
    pub fn close(&self) -> Result<(), LogError> {
        let closed = self.checkpoint_if_changed();
        self.go_offline(OfflineCause::Closed);
        // A round of the cleaner that sees this ends soon.
        drop(self.cleaning.lock());
        closed
    }

    fn sync_in_turn(&self, with_draft: bool) -> Result<Captured, OfflineCause> {
        if let Some(cause) = self.offline_cause() {
            return Err(cause);
        }
        let captured = self.capture(with_draft);
        self.write_unsettled()
            .inspect_err(|cause| self.go_offline(cause.clone()))?;
        let nothing_new = captured.end.value() == self.synced_end.load(Ordering::Acquire)
            && captured.closed.is_empty()
            && !captured.directory_dirty;
        if nothing_new {
            return Ok(captured);
        }
        let clock = &self.context.env.clock;
        let started = clock.monotonic();
        self.sync_files(&captured)
            .inspect_err(|cause| self.go_offline(cause.clone()))?;
        let took = clock.monotonic().saturating_sub(started);
        metrics::histogram!("kafka_log_logflushstats_logflushrateandtimems")
            .record(took.as_secs_f64() * 1e3);
        self.synced_end
            .fetch_max(captured.end.value(), Ordering::AcqRel);
        self.promise(captured.end);
        Ok(captured)
    }

    /// Writes again what recovery found above the recorded synced end; see `recovery/settle.rs`.
    fn write_unsettled(&self) -> Result<(), OfflineCause> {
        let unsettled = std::mem::take(&mut *self.unsettled.lock());
        for part in &unsettled {
            part.write_again()?;
        }
        if !unsettled.is_empty() {
            let bytes: u64 = unsettled.iter().map(Unsettled::bytes).sum();
            tracing::info!(log = %self.id, bytes, "wrote again what no sync was known to cover");
        }
        Ok(())
    }

    fn sync_files(&self, captured: &Captured) -> Result<(), OfflineCause> {
        for segment in captured.closed.iter().chain([&captured.active]) {
            segment
                .file()
                .and_then(|file| file.sync_data())
                .map_err(|error| OfflineCause::SyncFailed {
                    path: segment.path().to_path_buf(),
                    error: Arc::new(error),
                })?;
        }
        if captured.directory_dirty {
            let directory = &self.place.directory;
            self.place.disk.sync_directory(directory).map_err(|error| {
                OfflineCause::SyncFailed {
                    path: directory.clone(),
                    error: Arc::new(error),
                }
            })?;
        }
        Ok(())
    }

    /// Takes down what a sync that begins now covers.
    fn capture(&self, with_draft: bool) -> Captured {
        let mut tail = self.tail.lock();
        let tail = &mut *tail;
        let end = Offset::new(self.log_end.load(Ordering::Acquire));
        let saved = tail.segment.index_saved();
        if with_draft {
            self.debt.begin();
        }
        let draft = with_draft
            .then(|| {
                tail.segment.with_growing(|index| Draft {
                    checkpoint: Checkpoint {
                        log_start: Offset::ZERO,
                        synced_end: end,
                        segment_base: tail.segment.base(),
                        position: tail.position,
                        index_entries: index.entries().len() as u32,
                        index_crc: index.entries_crc(),
                        summary: *index.summary(),
                        epochs: self.epochs.read().clone(),
                        producers: tail.producers.clone(),
                    },
                    index_tail: index.encode_entries(saved),
                    index_from: saved,
                    closed: std::mem::take(&mut tail.unsynced_indexes),
                    bytes: self.debt.bytes(),
                })
            })
            .flatten();
        Captured {
            end,
            closed: std::mem::take(&mut tail.unsynced),
            active: Arc::clone(&tail.segment),
            directory_dirty: std::mem::take(&mut tail.directory_dirty),
            draft,
        }
    }
}
