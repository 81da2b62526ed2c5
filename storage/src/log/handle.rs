//! A log on threads: appends queue without waiting for the disk, a lane writes all that waits
//! together, and one fsync serves all that was written meanwhile.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use protocol::ids::{LeaderEpoch, TabletId};
use tokio::sync::oneshot;

use super::config::{FlushMode, LogConfig};
use super::error::{AppendError, LogError, ReadError};
use super::gather::Gather;
use super::log::{Append, Appended, Log, LogContext};
use super::read::{FrameRun, ReadRange};
use super::round::Round;
use super::watermark::{AppendAnswer, DataSignal};
use crate::threads::Workers;

/// When an append is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Once it is written (acks 0 and 1).
    Appended,
    /// Once the high watermark passed it (acks all).
    Durable,
}

/// Threads that write checkpoints. Their syncs may be long: no group commit waits behind them.
const CHECKPOINT_THREADS: usize = 2;

/// The threads that all logs of a broker share.
pub struct LogThreads {
    lanes: Workers,
    syncs: Workers,
    checkpoints: Workers,
    queue_bytes_max: usize,
}

impl LogThreads {
    /// Starts `lanes` threads that append and `syncs` that wait for fsync. A log takes at most
    /// `queue_bytes_max` bytes that wait for its lane.
    pub fn start(
        lanes: usize,
        syncs: usize,
        queue_bytes_max: usize,
    ) -> std::io::Result<Arc<LogThreads>> {
        Ok(Arc::new(LogThreads {
            lanes: Workers::start("append", lanes)?,
            syncs: Workers::start("sync", syncs)?,
            checkpoints: Workers::start("checkpoint", CHECKPOINT_THREADS)?,
            queue_bytes_max,
        }))
    }
}

/// A cheap handle of a log.
#[derive(Clone)]
pub struct LogHandle {
    inner: Arc<Inner>,
}

struct Inner {
    log: Log,
    threads: Arc<LogThreads>,
    queue: Mutex<Queue>,
    /// The lane stopped before a full queue until a checkpoint is written.
    lane_waits: AtomicBool,
    sync: Round,
    checkpoint: Round,
    /// Touched by the one sync that runs.
    gather: Mutex<Gather>,
    /// While a sync waits for more appends: how many.
    gather_goal: Mutex<Option<usize>>,
    gathered: Condvar,
}

#[derive(Default)]
struct Queue {
    appends: Vec<Append>,
    answers: Vec<(Until, AppendAnswer)>,
    bytes: usize,
    scheduled: bool,
}

/// What became of an append.
pub type AppendResult = Result<Appended, AppendError>;

/// The answer of an append, to be awaited.
pub type AppendTicket = oneshot::Receiver<AppendResult>;

impl LogHandle {
    /// Opens or makes the log in `directory`. Waits for the disk.
    pub fn open(
        context: Arc<LogContext>,
        threads: Arc<LogThreads>,
        id: TabletId,
        directory: PathBuf,
        config: LogConfig,
        epoch: LeaderEpoch,
    ) -> Result<LogHandle, LogError> {
        let log = Log::open(context, id, directory, config, epoch)?;
        let inner = Arc::new(Inner {
            log,
            threads,
            queue: Mutex::default(),
            lane_waits: AtomicBool::new(false),
            sync: Round::default(),
            checkpoint: Round::default(),
            gather: Mutex::default(),
            gather_goal: Mutex::default(),
            gathered: Condvar::new(),
        });
        // Once only: the next start is spared what this one had to read.
        if inner.log.bytes_behind() > 0 && inner.log.offline_cause().is_none() {
            inner.checkpoint_soon();
        }
        Ok(LogHandle { inner })
    }

    /// The log, for everything that may wait for the disk.
    pub fn log(&self) -> &Log {
        &self.inner.log
    }

    /// Queues an append; appends of one caller keep their order. Never waits. The ticket's channel
    /// closes without an answer only when the process goes down.
    pub fn append(&self, append: Append, until: Until) -> AppendTicket {
        let (answer, ticket) = oneshot::channel();
        let bytes = append.bytes();
        let mut queue = self.inner.queue.lock();
        if !queue.appends.is_empty() && queue.bytes + bytes > self.inner.threads.queue_bytes_max {
            drop(queue);
            // The receiver is here: it cannot be closed.
            let _ = answer.send(Err(AppendError::QueueFull));
            return ticket;
        }
        queue.bytes += bytes;
        queue.appends.push(append);
        queue.answers.push((until, answer));
        let schedule = !std::mem::replace(&mut queue.scheduled, true);
        drop(queue);
        if schedule {
            let inner = Arc::clone(&self.inner);
            self.inner.threads.lanes.run(move || inner.run_lane());
        }
        ticket
    }

    /// Appends on this thread, which may wait for the disk, and answers `answer` as
    /// [`LogHandle::append`] does. For the one writer of a log whose appends do not queue; it calls
    /// [`LogHandle::appended_here`] after one or several.
    ///
    /// # Errors
    /// What `answer` is told as well.
    pub fn append_here(&self, append: Append, until: Until, answer: AppendAnswer) -> AppendResult {
        let appended = self
            .log()
            .append_group(std::slice::from_ref(&append))
            .pop()
            .expect("an append has a result");
        self.inner.answer(appended.clone(), until, answer);
        appended
    }

    /// Answers for a batch that the log had before, as [`LogHandle::append`] does.
    pub fn answer_known(&self, known: Appended, until: Until, answer: AppendAnswer) {
        self.inner.answer(Ok(known), until, answer);
    }

    /// Has what was appended here synced, and a checkpoint written when it is due; where recovery
    /// would have to read too much, waits for that.
    pub fn appended_here(&self) {
        self.inner.sync_if_needed();
        if self.log().must_wait_for_checkpoint() {
            self.inner.write_checkpoint();
        }
    }

    /// Registers a fetch to be woken when there is something new. Look for data after this: what
    /// came before it wakes nobody.
    pub fn wait_for_data(&self, signal: &Arc<DataSignal>) {
        self.inner.log.waiters.wait_data(signal);
    }

    /// Reads frames, without waiting where the page cache has them, else on a thread that may.
    pub async fn read_run(&self, range: ReadRange) -> Result<FrameRun, ReadError> {
        self.read_with(move |log, may_wait| log.read_run(range, may_wait))
            .await
    }

    /// Calls `read` at once and, when it says `None` because it would have to wait for the disk,
    /// again on a thread where it may.
    pub async fn read_with<T: Send + 'static>(
        &self,
        mut read: impl FnMut(&Log, bool) -> Result<Option<T>, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        if let Some(found) = read(self.log(), false)? {
            return Ok(found);
        }
        let handle = self.clone();
        match self.wait(move || read(handle.log(), true)).await? {
            Some(found) => Ok(found),
            None => Err(ReadError::from(std::io::Error::other(
                "a waiting read did not wait",
            ))),
        }
    }

    /// Runs `job` where it may wait for the disk.
    pub async fn wait<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, ReadError> {
        match tokio::task::spawn_blocking(job).await {
            Ok(result) => result,
            Err(_) => Err(ReadError::Closed),
        }
    }

    /// Asks for a sync in the background.
    pub fn sync_soon(&self) {
        self.inner.sync_soon();
    }

    /// Syncs, writes a checkpoint and takes no more appends. Waits for the disk.
    pub fn close(&self) -> Result<(), LogError> {
        self.inner.log.close()
    }
}

impl Inner {
    /// Appends all that waits, until nothing does or another log wants the lane.
    fn run_lane(self: &Arc<Self>) {
        loop {
            if self.log.must_wait_for_checkpoint() {
                // The lane stays scheduled; who writes the checkpoint starts it again.
                self.lane_waits.store(true, Ordering::Release);
                self.checkpoint_soon();
                return;
            }
            let (appends, answers) = {
                let mut queue = self.queue.lock();
                if queue.appends.is_empty() {
                    queue.scheduled = false;
                    return;
                }
                queue.bytes = 0;
                (
                    std::mem::take(&mut queue.appends),
                    std::mem::take(&mut queue.answers),
                )
            };
            metrics::histogram!("vltava_log_append_group_size").record(appends.len() as f64);
            let results = self.log.append_group(&appends);
            for (result, (until, answer)) in results.into_iter().zip(answers) {
                self.answer(result, until, answer);
            }
            self.sync_if_needed();
            if self.threads.lanes.is_contended() {
                let inner = Arc::clone(self);
                self.threads.lanes.run(move || inner.run_lane());
                return;
            }
        }
    }

    fn answer(&self, result: Result<Appended, AppendError>, until: Until, answer: AppendAnswer) {
        match result {
            Ok(appended) if until == Until::Durable => {
                let end = appended.last_offset.next();
                if end <= self.log.watermarks().high_watermark {
                    let _ = answer.send(Ok(appended));
                } else {
                    self.log.waiters.wait_durable(end, appended, answer);
                }
            }
            // A closed channel is a client that went away.
            other => drop(answer.send(other)),
        }
    }

    fn sync_if_needed(self: &Arc<Self>) {
        let config = self.log.config();
        let promised = self.log.promised_end();
        if config.flush_mode == FlushMode::Fsync && promised < self.log.watermarks().log_end {
            self.sync_soon();
        } else {
            // The watermark may have passed an append between its look and its wait.
            self.log.promise(promised);
        }
        if self.log.checkpoint_is_due() {
            self.checkpoint_soon();
        }
    }

    fn sync_soon(self: &Arc<Self>) {
        if self.sync.want() {
            self.queue_syncs();
            return;
        }
        let mut goal = self.gather_goal.lock();
        if goal.is_some_and(|goal| self.log.waiters.durable_waiting() >= goal) {
            *goal = None;
            self.gathered.notify_one();
        }
    }

    fn queue_syncs(self: &Arc<Self>) {
        let inner = Arc::clone(self);
        self.threads.syncs.run(move || inner.run_syncs());
    }

    /// Syncs until nobody wants another, or another log wants the thread.
    fn run_syncs(self: &Arc<Self>) {
        let ended = self.sync.run(|| {
            self.sync_gathered();
            !self.threads.syncs.is_contended()
        });
        if !ended {
            self.queue_syncs();
        }
    }

    /// Has a checkpoint written in the background.
    fn checkpoint_soon(self: &Arc<Self>) {
        if self.checkpoint.want() {
            let inner = Arc::clone(self);
            let work = move || {
                inner.checkpoint.run(|| {
                    inner.write_checkpoint();
                    true
                });
            };
            self.threads.checkpoints.run(work);
        }
    }

    fn write_checkpoint(self: &Arc<Self>) {
        match self.log.checkpoint() {
            Ok(()) | Err(LogError::Offline(_)) => {}
            Err(error) => {
                tracing::warn!(log = %self.log.id(), %error, "checkpoint failed, recovery would take longer");
            }
        }
        if self.lane_waits.swap(false, Ordering::AcqRel) {
            let inner = Arc::clone(self);
            self.threads.lanes.run(move || inner.run_lane());
        }
    }

    /// Syncs once, after a pause in which the producers that the last sync answered may come back.
    fn sync_gathered(&self) {
        let waiters = &self.log.waiters;
        let mut gather = self.gather.lock();
        // While other logs wait for a thread there is pause enough.
        if !self.threads.syncs.is_contended()
            && let Some((goal, longest)) = gather.pause(waiters.durable_waiting())
        {
            self.wait_for_appends(goal, longest);
            gather.paused(waiters.durable_waiting());
        }
        let clock = &self.log.context().env.clock;
        let (started, answered) = (clock.monotonic(), waiters.durable_answered());
        // A failure takes the log offline and answers everybody.
        drop(self.log.sync());
        let took = clock.monotonic().saturating_sub(started);
        let answered = waiters.durable_answered().wrapping_sub(answered);
        if answered > 0 {
            metrics::histogram!("vltava_flush_batches").record(answered as f64);
        }
        gather.synced(took, answered, waiters.durable_waiting());
    }

    fn wait_for_appends(&self, goal: usize, longest: Duration) {
        let mut wanted = self.gather_goal.lock();
        if self.log.waiters.durable_waiting() < goal {
            *wanted = Some(goal);
            // Woken for nothing, it syncs a little early.
            self.gathered.wait_for(&mut wanted, longest);
            *wanted = None;
        }
    }
}
