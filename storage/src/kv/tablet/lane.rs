//! The writing side: one batch after the other, on one thread at a time.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use parking_lot::MutexGuard;
use protocol::ids::Offset;
use tokio::sync::oneshot;

use super::waiting::OpeningFailed;
use super::{Core, Inner, KvError, OpenIndex, Put, PutTicket, Slot};
use crate::kv::index::{Index, IndexError, epoch_below};
use crate::kv::writer::PutError;
use crate::log::{Append, AppendAnswer, AppendError, Appended, Until};

/// What waits for the lane.
#[derive(Default)]
pub(super) struct Queue {
    puts: VecDeque<QueuedPut>,
    bytes: usize,
    /// The lane runs or is about to.
    scheduled: bool,
    /// The log promises more than when the lane looked last.
    promised: bool,
    /// The write buffer is full: only what the log promises makes room.
    blocked: bool,
    /// An opening of the index is to let the lane go on.
    opening: bool,
    /// This index is damaged; it may be another that is open.
    damaged: Option<(Weak<OpenIndex>, IndexError)>,
    closed: bool,
}

struct QueuedPut {
    put: Put,
    until: Until,
    /// Dropped when the log has the batch.
    refused: oneshot::Sender<KvError>,
    answer: AppendAnswer,
}

impl QueuedPut {
    /// A closed channel is a client that went away.
    fn refuse(self, error: KvError) {
        let _ = self.refused.send(error);
    }
}

/// What became of a put on the lane.
enum Step {
    Done,
    /// There is no room until the log promises more.
    Blocked(QueuedPut),
}

impl Queue {
    fn take_puts(&mut self) -> VecDeque<QueuedPut> {
        self.bytes = 0;
        std::mem::take(&mut self.puts)
    }
}

impl Inner {
    pub(super) fn queue_put(self: &Arc<Self>, put: Put, until: Until) -> PutTicket {
        let (refused, refusal) = oneshot::channel();
        let (answer, appended) = oneshot::channel();
        let bytes = put.batch.bytes().len();
        let queued = QueuedPut {
            put,
            until,
            refused,
            answer,
        };
        let ticket = PutTicket {
            refused: refusal,
            appended,
        };
        let max = self.resources.limits.queue_bytes_max;
        let mut queue = self.queue.lock();
        if queue.closed {
            drop(queue);
            queued.refuse(KvError::Closed);
            return ticket;
        }
        if !queue.puts.is_empty() && queue.bytes + bytes > max {
            let bytes = queue.bytes;
            drop(queue);
            queued.refuse(KvError::QueueFull { bytes, max });
            return ticket;
        }
        queue.bytes += bytes;
        queue.puts.push_back(queued);
        self.wake_lane(queue);
        ticket
    }

    fn schedule(self: &Arc<Self>) {
        let inner = Arc::clone(self);
        self.resources.lanes.run(move || inner.run_lane());
    }

    /// The log promises more, or went offline.
    pub(super) fn promised(self: &Arc<Self>) {
        let mut queue = self.queue.lock();
        queue.promised = true;
        queue.blocked = false;
        self.wake_lane(queue);
    }

    /// `index` failed so: one that is damaged is rebuilt, when it still is the one that is open. Does
    /// not wait, and does not hold the index: the next one is opened when nobody has it any more.
    pub(super) fn found_damaged(self: &Arc<Self>, index: &Weak<OpenIndex>, error: &IndexError) {
        if !matches!(error, IndexError::Corrupt(_)) {
            return;
        }
        let mut queue = self.queue.lock();
        let is_open = |open: &Arc<OpenIndex>| Arc::as_ptr(open) == index.as_ptr();
        if !self.index.read().as_ref().is_some_and(is_open) {
            return;
        }
        queue.damaged = Some((Weak::clone(index), error.clone()));
        queue.blocked = false;
        self.wake_lane(queue);
    }

    /// Schedules the lane, unless it is or waits for the log.
    fn wake_lane(self: &Arc<Self>, mut queue: MutexGuard<'_, Queue>) {
        let schedule = !queue.blocked && !std::mem::replace(&mut queue.scheduled, true);
        drop(queue);
        if schedule {
            self.schedule();
        }
    }

    /// Puts and applies all that waits, until nothing does or another bucket wants the thread.
    fn run_lane(self: &Arc<Self>) {
        // Who opens the index holds the lock for as long. One that is open is lost by the lane only, or
        // is closed.
        if self.index.read().is_none() {
            return self.wait_for_index();
        }
        let mut slot = self.core.lock();
        loop {
            if !matches!(*slot, Slot::Open(_)) {
                drop(slot);
                return self.wait_for_index();
            }
            let (mut puts, damaged) = {
                let mut queue = self.queue.lock();
                if queue.puts.is_empty() && !queue.promised && queue.damaged.is_none() {
                    queue.scheduled = false;
                    return;
                }
                queue.promised = false;
                (queue.take_puts(), queue.damaged.take())
            };
            if let (Slot::Open(core), Some((index, error))) = (&*slot, damaged)
                && Arc::as_ptr(&core.index) == index.as_ptr()
            {
                self.lose_index(&mut slot, &error);
            }
            self.apply(&mut slot);
            if !puts.is_empty() {
                metrics::histogram!("vltava_kv_put_group_size").record(puts.len() as f64);
            }
            let mut appended = false;
            while let Slot::Open(core) = &mut *slot
                && let Some(put) = puts.pop_front()
            {
                match self.put_next(core, put) {
                    Ok(Step::Done) => appended = true,
                    Ok(Step::Blocked(put)) => {
                        puts.push_front(put);
                        break;
                    }
                    Err(error) => self.lose_index(&mut slot, &error),
                }
            }
            if appended {
                self.log.appended_here();
            }
            self.apply(&mut slot);
            let are_left = !puts.is_empty();
            if are_left {
                self.put_back(puts);
            }
            match &*slot {
                Slot::Open(core) if are_left && self.wait_for_room(core) => return,
                Slot::Open(_) => {}
                // The index failed: who waits for an answer is owed what the log promises.
                _ => self.queue.lock().promised = true,
            }
            if self.resources.lanes.is_contended() {
                self.schedule();
                return;
            }
        }
    }

    /// Puts go back to the front of the queue.
    fn put_back(&self, mut puts: VecDeque<QueuedPut>) {
        let mut queue = self.queue.lock();
        queue.bytes += puts
            .iter()
            .map(|p| p.put.batch.bytes().len())
            .sum::<usize>();
        puts.append(&mut queue.puts);
        queue.puts = puts;
    }

    /// There was no room for a put. True when the lane has to wait for the log.
    fn wait_for_room(&self, core: &Core) -> bool {
        let mut queue = self.queue.lock();
        // The log may have promised more since the lane applied; offline, it never will, and the
        // put is refused.
        if core.writer.buffer().is_empty()
            || queue.promised
            || queue.damaged.is_some()
            || self.log.log().offline_cause().is_some()
        {
            return false;
        }
        queue.blocked = true;
        queue.scheduled = false;
        drop(queue);
        self.log.sync_soon();
        true
    }

    /// Without its index the lane goes on when an opener has tried. That may take as long as the log
    /// is, in which the puts of other buckets are not held up.
    fn wait_for_index(self: &Arc<Self>) {
        {
            let mut queue = self.queue.lock();
            if self.index.read().is_some() {
                // Somebody else was quicker, and saw nobody wait.
                drop(queue);
                self.schedule();
                return;
            }
            if queue.puts.is_empty() && !queue.promised {
                queue.scheduled = false;
                return;
            }
            queue.opening = true;
        }
        self.open_soon();
    }

    /// An opening is over. When it failed, the next put has it tried again.
    pub(super) fn opening_ended(self: &Arc<Self>, failed: Option<OpeningFailed>) {
        let mut queue = self.queue.lock();
        if !std::mem::take(&mut queue.opening) {
            return;
        }
        // Somebody else may have had more luck since.
        let failed = failed.filter(|_| self.index.read().is_none());
        let Some(failed) = failed else {
            drop(queue);
            self.schedule();
            return;
        };
        queue.scheduled = false;
        queue.promised = false;
        let refused = queue.take_puts();
        drop(queue);
        for put in refused {
            put.refuse(failed.clone().into());
        }
    }

    /// # Errors
    /// The index failed; the client was told.
    fn put_next(&self, core: &mut Core, queued: QueuedPut) -> Result<Step, IndexError> {
        // A batch that is in the log already must not be merged with its own outcome.
        let log = self.log.log();
        let known = match (&queued.put.part, queued.put.source(log.id().bucket)) {
            (Some(part), _) => log.judge_part(part),
            (None, Some(source)) => log.judge(&source),
            (None, None) => Ok(None),
        };
        match known {
            Ok(None) => self.merge_and_append(core, queued),
            Ok(Some(known)) => {
                self.log.answer_known(known, queued.until, queued.answer);
                Ok(Step::Done)
            }
            Err(error) => {
                queued.refuse(error.into());
                Ok(Step::Done)
            }
        }
    }

    /// # Errors
    /// The index failed; the client was told.
    fn merge_and_append(&self, core: &mut Core, queued: QueuedPut) -> Result<Step, IndexError> {
        let table = self.table();
        let Put {
            batch,
            target_columns,
            mode,
            ..
        } = &queued.put;
        let plan = table
            .plans
            .merge(batch.schema_id(), target_columns.as_deref(), *mode);
        let plan = match plan {
            Ok(plan) => plan,
            Err(error) => {
                queued.refuse(error.into());
                return Ok(Step::Done);
            }
        };
        let tag = self.log.log().context().commit_clock.now();
        let source = queued.put.source(self.log.log().id().bucket);
        let merged = core.writer.put(
            batch,
            source,
            &plan,
            table.plans.changelog(),
            tag,
            &**core.index,
        );
        let merged = match merged {
            Ok(merged) => merged,
            Err(PutError::Full(full)) if full.retriable => {
                // What would make room does not come any more.
                if let Some(cause) = self.log.log().offline_cause() {
                    queued.refuse(AppendError::Offline(cause).into());
                    return Ok(Step::Done);
                }
                return Ok(Step::Blocked(queued));
            }
            Err(error) => {
                let lost = match &error {
                    PutError::Index(error) => Some(error.clone()),
                    PutError::Stored { source, .. } => {
                        Some(IndexError::Corrupt(format!("stored value: {source}")))
                    }
                    _ => None,
                };
                queued.refuse(error.into());
                return lost.map_or(Ok(Step::Done), Err);
            }
        };
        let append = Append {
            batches: vec![merged.log_batch],
            expected_epoch: None,
            stamp_log_append_time: false,
        };
        match self.log.append_here(append, queued.until, queued.answer) {
            Ok(Appended {
                duplicate: false,
                base_offset,
                ..
            }) => core.writer.place(merged.id, base_offset),
            // Refused, or there after all: nothing of it may stay.
            Ok(_) | Err(_) => {
                core.writer.undo_from(merged.id);
            }
        }
        Ok(Step::Done)
    }

    /// Brings the index up to what the log promises, and lets readers see it.
    fn apply(&self, slot: &mut Slot) {
        let Slot::Open(core) = slot else {
            return;
        };
        let log = self.log.log();
        let end = log.promised_end();
        if end <= core.index.state().applied {
            return;
        }
        let Core { writer, index } = &mut **core;
        match writer.apply(end, epoch_below(log, end), &***index) {
            Ok(()) => log.release_to(end),
            Err(error) => self.lose_index(slot, &error),
        }
    }

    pub(super) fn flush_when_far(&self) {
        let Some(index) = self.index.read().clone() else {
            return;
        };
        let applied = index.state().applied;
        let flushed = Offset::new(self.flushed.load(Ordering::Relaxed));
        let behind = self.log.log().bytes_from(flushed.max(Offset::ZERO));
        if applied <= flushed || behind <= self.resources.limits.replay_bytes_max {
            return;
        }
        if let Err(error) = self.flush(&**index) {
            let log = self.log.log().id();
            tracing::warn!(%log, %error, "cannot flush the index, opening it would take longer");
        }
    }

    /// Flushes the index, and gives the offset below which it has everything on disk.
    pub(super) fn flush(&self, index: &dyn Index) -> Result<Offset, IndexError> {
        let applied = index.state().applied;
        index.flush()?;
        self.flushed.fetch_max(applied.value(), Ordering::Relaxed);
        Ok(applied)
    }

    pub(super) fn close(&self, flush: bool) {
        let waiting = {
            let mut queue = self.queue.lock();
            queue.closed = true;
            queue.take_puts()
        };
        for put in waiting {
            put.refuse(KvError::Closed);
        }
        let mut slot = self.core.lock();
        if flush {
            self.apply(&mut slot);
        }
        self.let_go();
        if let Slot::Open(core) = std::mem::replace(&mut *slot, Slot::Closed)
            && flush
            && let Err(error) = core.index.flush()
        {
            let log = self.log.log().id();
            tracing::warn!(%log, %error, "cannot flush the index, opening it will take longer");
        }
    }
}
