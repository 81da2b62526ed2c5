//! The index of one bucket, which follows the bucket's log.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};
use protocol::ids::Offset;
use tokio::sync::watch;

use super::error::TopicIndexError;
use super::frames::FrameReader;
use super::shared::{TopicIndexSpec, TopicIndexes};
use crate::kv::index::{FoundRows, Index, IndexError, IndexState, Rebuild, epoch_below};
use crate::kv::open_index::{OpenIndex, Opened};
use crate::log::{LogHandle, ReadRange};

/// Bytes of the log that are followed at a time; then another index gets its turn.
const STEP_BYTES: usize = 1 << 20;
/// Bytes of entries that are written together.
const COMMIT_BYTES: usize = 4 << 20;

/// A cheap handle of the index of one bucket. It is opened when it is first asked.
#[derive(Clone)]
pub struct TopicIndex {
    inner: Arc<Inner>,
}

struct Inner {
    log: LogHandle,
    spec: TopicIndexSpec,
    shared: Arc<TopicIndexes>,
    open: RwLock<Option<Arc<OpenIndex>>>,
    /// Damage was found: it is made again before it is opened.
    damaged: AtomicBool,
    /// It stays closed: the broker stops, or the topic was deleted.
    closed: AtomicBool,
    /// Held by the one who writes to the index.
    writing: Mutex<()>,
    /// A worker has it, or will.
    scheduled: AtomicBool,
    progress: watch::Sender<Progress>,
}

/// How far the index is, for those who wait.
#[derive(Debug, Clone, Default)]
struct Progress {
    /// The index that is open has all below it.
    applied: Option<Offset>,
    /// How often it could not follow, and why the last time.
    failures: u64,
    error: Option<TopicIndexError>,
}

impl TopicIndex {
    /// The index of this log. Does nothing yet.
    pub fn new(log: LogHandle, spec: TopicIndexSpec, shared: Arc<TopicIndexes>) -> TopicIndex {
        TopicIndex {
            inner: Arc::new(Inner {
                log,
                spec,
                shared,
                open: RwLock::new(None),
                damaged: AtomicBool::new(false),
                closed: AtomicBool::new(false),
                writing: Mutex::new(()),
                scheduled: AtomicBool::new(false),
                progress: watch::Sender::default(),
            }),
        }
    }

    /// The log that it follows.
    pub fn log(&self) -> &LogHandle {
        &self.inner.log
    }

    /// Offsets that readers see and the index lacks; none while it is not open.
    pub fn lag(&self) -> Option<i64> {
        let applied = self.inner.progress.borrow().applied?;
        Some((self.inner.end() - applied).max(0))
    }

    /// The index, if it is open.
    pub fn index_if_open(&self) -> Option<Arc<OpenIndex>> {
        self.inner.open.read().clone()
    }

    /// Has the index follow the log in the background, when it is open.
    pub fn tend(&self) {
        if self.lag().is_some_and(|lag| lag > 0) {
            self.inner.schedule();
        }
    }

    /// Waits until the index has all that readers saw when this was called.
    ///
    /// # Errors
    /// It cannot follow the log; a later call tries again.
    pub async fn follow(&self) -> Result<(), TopicIndexError> {
        let target = self.inner.end();
        let mut progress = self.inner.progress.subscribe();
        let failures = {
            let now = progress.borrow_and_update();
            if now.applied.is_some_and(|applied| applied >= target) {
                return Ok(());
            }
            now.failures
        };
        self.inner.schedule();
        loop {
            if progress.changed().await.is_err() {
                return Err(TopicIndexError::Closed);
            }
            let now = progress.borrow_and_update();
            if now.applied.is_some_and(|applied| applied >= target) {
                return Ok(());
            }
            if now.failures > failures
                && let Some(error) = &now.error
            {
                return Err(error.clone());
            }
            if now.applied.is_none() {
                // Damage was found after a worker was done with it.
                drop(now);
                self.inner.schedule();
            }
        }
    }

    /// As [`TopicIndex::follow`], on this thread.
    ///
    /// # Errors
    /// It cannot follow the log, or had to be opened while the log is cleaned.
    pub fn follow_now(&self) -> Result<(), TopicIndexError> {
        self.follow_as(Opener::Anybody)
    }

    fn follow_as(&self, opener: Opener) -> Result<(), TopicIndexError> {
        let end = self.inner.end();
        while self.inner.step(end, opener)? {}
        Ok(())
    }

    /// Follows the log and writes what only memory has. Returns the offset below which the index on
    /// disk has everything: until the round ends, nobody opens an index that lacks some of it.
    ///
    /// # Errors
    /// It cannot follow the log, or was lost meanwhile.
    pub(super) fn follow_to_disk(&self) -> Result<Offset, TopicIndexError> {
        self.follow_as(Opener::Cleaner)?;
        let index = self.inner.opened()?;
        let applied = index.state().applied;
        let flushed = index.flush();
        flushed.map_err(|error| self.inner.failed(&index, error))?;
        Ok(applied)
    }

    /// Looks keys up, in their order, and gives the index that was asked. Waits for the disk.
    ///
    /// # Errors
    /// The index fails or was not followed; a damaged one is made again by the next
    /// [`TopicIndex::follow`].
    pub(super) fn look_up(
        &self,
        keys: &[&[u8]],
        found: &mut FoundRows,
    ) -> Result<Arc<OpenIndex>, TopicIndexError> {
        self.read(|index| index.look_up(keys, found))
    }

    /// The same for keys that nobody asks for again: what is found is not kept in memory.
    pub(super) fn get_many(
        &self,
        keys: &[&[u8]],
        found: &mut FoundRows,
    ) -> Result<Arc<OpenIndex>, TopicIndexError> {
        self.read(|index| index.get_many(keys, found))
    }

    fn read(
        &self,
        ask: impl FnOnce(&dyn Index) -> Result<(), IndexError>,
    ) -> Result<Arc<OpenIndex>, TopicIndexError> {
        let index = self.inner.opened()?;
        match ask(&**index) {
            Ok(()) => Ok(index),
            Err(error) => Err(self.inner.failed(&index, error)),
        }
    }

    /// `index` gave something with which this is wrong: where it is damaged, it is made again by the
    /// next [`TopicIndex::follow`].
    pub(super) fn checked(
        &self,
        index: &Arc<OpenIndex>,
        error: TopicIndexError,
    ) -> TopicIndexError {
        match error {
            TopicIndexError::Index(error) => self.inner.failed(index, error),
            TopicIndexError::Entry => {
                self.inner.lose(index, &error.to_string());
                error
            }
            other => other,
        }
    }

    /// The index, which was followed.
    pub(super) fn opened(&self) -> Result<Arc<OpenIndex>, TopicIndexError> {
        self.inner.opened()
    }

    /// What a worker says of an index when it is done with a step.
    #[cfg(test)]
    pub(super) fn say_applied(&self, index: &Arc<OpenIndex>, applied: Offset) -> bool {
        self.inner.applied(index, applied)
    }

    /// Removes entries for which `is_gone` says so. Waits for the disk.
    pub(super) fn remove_if(
        &self,
        keys: &[&[u8]],
        is_gone: impl Fn(usize, &[u8]) -> bool,
    ) -> Result<(), TopicIndexError> {
        let _turn = self.inner.writing.lock();
        let index = self.inner.opened()?;
        let mut found = FoundRows::new();
        let removed = index.get_many(keys, &mut found).and_then(|()| {
            let mut batch = index.start();
            for (i, (key, entry)) in keys.iter().zip(found.iter()).enumerate() {
                if entry.is_some_and(|entry| is_gone(i, entry)) {
                    batch.remove(key);
                }
            }
            batch.commit(index.state())
        });
        removed.map_err(|error| self.inner.failed(&index, error))
    }

    /// Writes what only memory has, so that the next start follows less. Waits for the disk.
    ///
    /// # Errors
    /// The index is not open, or the disk refuses; nothing is lost by it.
    pub fn flush(&self) -> Result<(), TopicIndexError> {
        Ok(self.inner.opened()?.flush()?)
    }

    /// Writes what only memory has, if the index is open, and closes it for good. Waits for the
    /// disk.
    ///
    /// # Errors
    /// The disk refuses; nothing is lost by it.
    pub fn close(&self) -> Result<(), TopicIndexError> {
        match self.inner.close() {
            Some(index) => Ok(index.flush()?),
            None => Ok(()),
        }
    }

    /// Another index takes this one's place: it is closed for good, as soon as nobody uses it. Waits
    /// for nobody.
    pub fn retire(&self) {
        self.inner.retire();
    }

    /// Closes the index without a flush: its files are about to be deleted. Waits for who writes to
    /// it.
    pub fn discard(&self) {
        self.inner.close();
    }
}

impl Inner {
    /// The offset up to which the log is decided and visible.
    fn end(&self) -> Offset {
        let w = self.log.log().watermarks();
        w.last_stable.min(w.high_watermark)
    }

    fn opened(&self) -> Result<Arc<OpenIndex>, TopicIndexError> {
        self.open.read().clone().ok_or(TopicIndexError::Closed)
    }

    fn close(&self) -> Option<Arc<OpenIndex>> {
        let _turn = self.writing.lock();
        self.retire()
    }

    /// Has readers let go of the index, for good.
    fn retire(&self) -> Option<Arc<OpenIndex>> {
        self.closed.store(true, Ordering::Release);
        let index = self.open.write().take()?;
        index.retire();
        Some(index)
    }

    /// Has a worker follow the log, once however many ask.
    fn schedule(self: &Arc<Self>) {
        if !self.scheduled.swap(true, Ordering::AcqRel) {
            let inner = Arc::clone(self);
            self.shared.workers.run(move || inner.work());
        }
    }

    fn work(self: Arc<Self>) {
        loop {
            match self.step(self.end(), Opener::Anybody) {
                Ok(true) => {
                    if self.shared.workers.is_contended() {
                        let inner = Arc::clone(&self);
                        self.shared.workers.run(move || inner.work());
                        return;
                    }
                }
                Ok(false) => {
                    self.scheduled.store(false, Ordering::Release);
                    // Who came after the step's look at the log found it scheduled.
                    let applied = self.progress.borrow().applied;
                    // Nothing is applied where the index was lost since: who waits found it scheduled.
                    if applied.is_some_and(|applied| applied >= self.end())
                        || self.scheduled.swap(true, Ordering::AcqRel)
                    {
                        return;
                    }
                }
                // Nothing is held here that the round may want.
                Err(TopicIndexError::BeingCleaned) => self.log.log().end_round(),
                Err(error) => {
                    let tablet = self.log.log().id();
                    if !self.closed.load(Ordering::Acquire) {
                        tracing::warn!(%tablet, %error, "the index of a topic cannot follow its log");
                    }
                    self.scheduled.store(false, Ordering::Release);
                    self.progress.send_modify(|progress| {
                        progress.failures += 1;
                        progress.error = Some(error);
                    });
                    return;
                }
            }
        }
    }

    /// Brings the index a little nearer to `end`; false when it is there.
    fn step(&self, end: Offset, opener: Opener) -> Result<bool, TopicIndexError> {
        let _turn = self.writing.lock();
        let index = self.open_index(opener)?;
        let applied = index.state().applied;
        let applied = match applied < end {
            true => self.apply_some(&index, applied, end)?,
            false => applied,
        };
        // One that was lost meanwhile has to be made again.
        let is_there = self.applied(&index, applied);
        Ok(!is_there || applied < end)
    }

    /// `index` has everything below `applied`. False when it is not the one that is open any more.
    fn applied(&self, index: &Arc<OpenIndex>, applied: Offset) -> bool {
        let open = self.open.read();
        if !is(&open, index) {
            return false;
        }
        self.progress.send_if_modified(|progress| {
            let moved = progress.applied != Some(applied);
            progress.applied = Some(applied);
            moved
        });
        true
    }

    /// The index, in the hands of the one who writes to it.
    fn open_index(&self, opener: Opener) -> Result<Arc<OpenIndex>, TopicIndexError> {
        if let Some(index) = &*self.open.read() {
            return Ok(Arc::clone(index));
        }
        if self.closed.load(Ordering::Acquire) {
            return Err(TopicIndexError::Closed);
        }
        let log = self.log.log();
        // A round may have heard that this index is further than it will be when it is opened. Rounds
        // that begin later ask again.
        if opener == Opener::Anybody && !log.no_round() {
            return Err(TopicIndexError::BeingCleaned);
        }
        let spec = self.spec.index(log.id());
        let indexes = &self.shared.indexes;
        if self.damaged.load(Ordering::Acquire) {
            indexes.discard(&spec)?;
        }
        let Opened { index, rebuild } = indexes.open(&spec, log)?;
        self.damaged.store(false, Ordering::Release);
        if let Some(reason) = rebuild {
            if reason != Rebuild::Absent {
                tracing::info!(tablet = %log.id(), %reason, "the index of a topic is made again");
                metrics::counter!("vltava_kv_index_rebuilds_total").increment(1);
            }
            let start = index.state().applied;
            index.start().commit(self.state_at(start))?;
        }
        let mut open = self.open.write();
        // Who closes it took what was open, or comes after this.
        if self.closed.load(Ordering::Acquire) {
            return Err(TopicIndexError::Closed);
        }
        *open = Some(Arc::clone(&index));
        drop(open);
        Ok(index)
    }

    fn state_at(&self, applied: Offset) -> IndexState {
        IndexState {
            applied,
            row_count: None,
            epoch: epoch_below(self.log.log(), applied),
        }
    }

    /// Applies a run of frames and returns how far the index is then. Later offsets come later, so
    /// that the highest one of a key stays.
    fn apply_some(
        &self,
        index: &Arc<OpenIndex>,
        applied: Offset,
        end: Offset,
    ) -> Result<Offset, TopicIndexError> {
        thread_local! {
            static READER: RefCell<FrameReader> = RefCell::new(FrameReader::new());
        }
        let log = self.log.log();
        // What retention removed since needs no entry.
        let from = applied.max(log.watermarks().log_start);
        let range = ReadRange {
            offset: from,
            end,
            bytes_max: STEP_BYTES,
            at_least_one: true,
        };
        let run = log.read_run(range, true)?.ok_or(TopicIndexError::Closed)?;
        // No frame up to the end: the cleaner left a gap.
        let reached = run.next_offset().unwrap_or(end);
        let mut batch = index.start();
        let mut bytes = 0;
        let mut records = 0u64;
        READER.with_borrow_mut(|reader| {
            for (header, frame) in run.frames() {
                let mut apply = |keyed: super::frames::Keyed<'_>| {
                    batch.put(keyed.key, keyed.entry);
                    bytes += keyed.key.len() + keyed.entry.len();
                    records += 1;
                    if bytes >= COMMIT_BYTES {
                        bytes = 0;
                        let state = self.state_at(keyed.offset.next());
                        std::mem::replace(&mut batch, index.start())
                            .commit(state)
                            .map_err(|error| self.failed(index, error))?;
                    }
                    Ok(())
                };
                reader
                    .read(header, frame, from, self.spec.schema_id, &mut apply)
                    .map_err(|error: TopicIndexError| error.at(header.base_offset))?;
            }
            Ok::<_, TopicIndexError>(())
        })?;
        batch
            .commit(self.state_at(reached))
            .map_err(|error| self.failed(index, error))?;
        metrics::counter!("vltava_topic_index_records_total").increment(records);
        Ok(reached)
    }

    /// A damaged index is closed, and made again by who follows the log next.
    fn failed(&self, index: &Arc<OpenIndex>, error: IndexError) -> TopicIndexError {
        if let IndexError::Corrupt(reason) = &error {
            self.lose(index, reason);
        }
        TopicIndexError::Index(error)
    }

    fn lose(&self, index: &Arc<OpenIndex>, reason: &str) {
        // Held until all of it is said: who is in the middle of a step looks whether this is open.
        let mut open = self.open.write();
        if !is(&open, index) {
            // The one that took its place is another.
            return;
        }
        let tablet = self.log.log().id();
        tracing::warn!(%tablet, reason, "the index of a topic is damaged");
        self.damaged.store(true, Ordering::Release);
        self.progress
            .send_modify(|progress| progress.applied = None);
        *open = None;
        index.retire();
    }
}

/// Who opens the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opener {
    /// The round over its log, which waits for it and then asks how far it is.
    Cleaner,
    Anybody,
}

fn is(open: &Option<Arc<OpenIndex>>, index: &Arc<OpenIndex>) -> bool {
    open.as_ref().is_some_and(|open| Arc::ptr_eq(open, index))
}
