//! Opening the index: what was there, or an empty one, brought up to the log.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use protocol::fluss::batch::LogBatch;
use protocol::ids::Offset;

use super::{Core, FailedOpening, Inner, KvError, KvTable, OpenIndex, OpenIndexError, Slot};
use crate::kv::index::{Index, IndexError, IndexState, epoch_below};
use crate::kv::merge::KeyChange;
use crate::kv::open_index::Opened;
use crate::kv::replay::{Replay, ReplayError};
use crate::kv::writer::{BucketWriter, WriterConfig};
use crate::log::{FrameRun, ReadRange};

/// Bytes of log that are read at a time.
const REPLAY_BYTES: usize = 4 << 20;
/// Bytes of changes that are written together: a few KiB of compressed log may have many MiB of
/// them.
const COMMIT_BYTES: usize = 4 << 20;
/// An attempt that failed is not repeated before this.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl Inner {
    /// The index, which is opened when it is not. Blocks.
    pub(super) fn opened(self: &Arc<Self>) -> Result<Arc<OpenIndex>, KvError> {
        if let Some(index) = self.index.read().clone() {
            return Ok(index);
        }
        let index = self.open_slot(&mut self.core.lock())?;
        // Whoever opened it, who waits for it goes on.
        self.opening_ended(None);
        Ok(index)
    }

    fn open_slot(self: &Arc<Self>, slot: &mut Slot) -> Result<Arc<OpenIndex>, KvError> {
        let clock = &self.log.log().context().env.clock;
        let mut damaged = match slot {
            Slot::Open(core) => return Ok(Arc::clone(&core.index)),
            Slot::Closed => return Err(KvError::Closed),
            Slot::Failed(last) if clock.monotonic() < last.at + RETRY_AFTER => {
                return Err(OpenIndexError::Recently(last.reason.clone()).into());
            }
            Slot::Failed(last) => last.damaged,
            Slot::Damaged => true,
            Slot::NotOpen => false,
        };
        match self.open(&mut damaged) {
            Ok(core) => {
                let index = Arc::clone(&core.index);
                *slot = Slot::Open(Box::new(core));
                Ok(index)
            }
            Err(error) => {
                let log = self.log.log().id();
                tracing::error!(%log, %error, "cannot open the index");
                *slot = match error.is_corrupt() {
                    true => Slot::Damaged,
                    false => Slot::Failed(FailedOpening {
                        // The attempt may have waited for readers, longer than the pause.
                        at: clock.monotonic(),
                        reason: error.to_string(),
                        damaged,
                    }),
                };
                Err(error.into())
            }
        }
    }

    /// A damaged index is removed first, and is not `damaged` any more from then on.
    fn open(self: &Arc<Self>, damaged: &mut bool) -> Result<Core, OpenIndexError> {
        let log = self.log.log();
        if let Some(cause) = log.offline_cause() {
            return Err(OpenIndexError::Offline(cause));
        }
        let weak = Arc::downgrade(self);
        log.hold_back(Arc::new(move || {
            if let Some(inner) = weak.upgrade() {
                inner.promised();
            }
        }));
        // The index never shows what the log may lose. What was put before an index failed may
        // not be durable yet; else there is nothing to wait for.
        if log.promised_end() < log.watermarks().log_end {
            log.sync().map_err(OpenIndexError::Offline)?;
        }
        let was_damaged = *damaged;
        if was_damaged {
            self.resources.indexes.discard(&self.spec)?;
            *damaged = false;
        }
        let opened = self.resources.indexes.open(&self.spec, log)?;
        let Opened { index, rebuild } = self.restored(opened, was_damaged)?;
        let table = self.table();
        let started = log.context().env.clock.monotonic();
        let from = index.state().applied;
        // What is open now is what the disk had.
        self.flushed.store(from.value(), Ordering::Relaxed);
        let end = log.watermarks().log_end;
        // A round was told that what is replayed now would not be read any more.
        log.end_round();
        self.replay(&**index, &table, end)?;
        let millis = log
            .context()
            .env
            .clock
            .monotonic()
            .saturating_sub(started)
            .as_millis();
        match &rebuild {
            Some(reason) if end > from => {
                metrics::counter!("vltava_kv_index_rebuilds_total").increment(1);
                let restored = self.restored.load(Ordering::Relaxed);
                tracing::info!(log = %log.id(), %reason, restored, %from, %end, millis, "rebuilt the index");
            }
            _ => tracing::debug!(log = %log.id(), %from, %end, millis, "opened the index"),
        }
        log.release_to(end);
        let core = Core {
            writer: BucketWriter::new(WriterConfig {
                layout: table.layout,
                buffer_bytes_max: self.resources.limits.buffer_bytes_max,
                compressor: table.codec.compressor(),
                ids: table.numbers(),
            }),
            index: Arc::clone(&index),
        };
        *self.index.write() = Some(index);
        Ok(core)
    }

    /// Brings the index up to `end`, in steps.
    fn replay(
        &self,
        index: &dyn Index,
        table: &KvTable,
        end: Offset,
    ) -> Result<(), OpenIndexError> {
        let log = self.log.log();
        let mut replay = Replay::new(table.plans.table(), table.key, &table.key_columns)
            .map_err(OpenIndexError::Shape)?;
        let mut next = index.state().applied;
        while next < end {
            let range = ReadRange {
                offset: next,
                end,
                bytes_max: REPLAY_BYTES,
                at_least_one: true,
            };
            let run = log.read_run(range, true)?;
            // A cleaned log may have nothing more below its end.
            let found = run.as_ref().and_then(FrameRun::next_offset);
            let reached = found.unwrap_or(end);
            self.replay_run(run.as_ref(), index, table, &mut replay, reached)?;
            next = reached;
        }
        Ok(())
    }

    fn replay_run(
        &self,
        run: Option<&FrameRun>,
        index: &dyn Index,
        table: &KvTable,
        replay: &mut Replay,
        reached: Offset,
    ) -> Result<(), OpenIndexError> {
        let before = index.state();
        let mut row_count = before.row_count;
        let state_at = |applied, row_count| IndexState {
            applied,
            epoch: epoch_below(self.log.log(), applied),
            row_count,
        };
        let mut changes = index.start();
        let mut bytes_changed = 0usize;
        let mut stored = Vec::new();
        let mut records = 0u64;
        for (header, bytes) in run.iter().flat_map(|run| run.frames()) {
            let base = header.base_offset;
            let broken = |source| OpenIndexError::Replay {
                offset: base,
                source,
            };
            // Decoders share the bytes with what they give; the run's buffer goes back to its pool.
            let bytes = Bytes::copy_from_slice(bytes);
            let batch = LogBatch::parse(&bytes).map_err(|error| broken(error.into()))?;
            let read = replay.read(&batch, header.format, |change| {
                let offset = base + i64::from(change.offset_delta);
                if offset < before.applied {
                    return Ok(());
                }
                records += 1;
                row_count = row_count.map(|rows| rows + i64::from(change.row_delta));
                bytes_changed += change.key.len();
                match change.change {
                    KeyChange::Remove => changes.remove(change.key),
                    KeyChange::Put(value) => {
                        stored.clear();
                        table.layout.write(header.commit_time, value, &mut stored);
                        bytes_changed += stored.len();
                        changes.put(change.key, &stored);
                    }
                }
                if bytes_changed >= COMMIT_BYTES {
                    bytes_changed = 0;
                    let full = std::mem::replace(&mut changes, index.start());
                    // An opening that ends here goes on in the middle of the batch.
                    full.commit(state_at(offset.next(), row_count))?;
                }
                Ok(())
            });
            read.map_err(|stopped| match stopped {
                Stopped::Replay(source) => broken(source),
                Stopped::Index(error) => error.into(),
            })?;
        }
        metrics::counter!("vltava_kv_replayed_records_total").increment(records);
        Ok(changes.commit(state_at(reached, row_count))?)
    }
}

/// Why a batch was not replayed to its end.
enum Stopped {
    Replay(ReplayError),
    Index(IndexError),
}

impl From<ReplayError> for Stopped {
    fn from(error: ReplayError) -> Self {
        Stopped::Replay(error)
    }
}

impl From<IndexError> for Stopped {
    fn from(error: IndexError) -> Self {
        Stopped::Index(error)
    }
}
