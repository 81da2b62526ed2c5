//! A log on threads: appends queue without waiting for the disk, a lane writes all that waits
//! together, and one fsync serves all that was written meanwhile.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use protocol::ids::{LeaderEpoch, TabletId};
use tokio::sync::oneshot;

use super::config::{FlushMode, LogConfig};
use super::error::{AppendError, LogError, ReadError};
use super::log::{Append, Appended, Log, LogContext};
use super::read::{FrameRun, ReadRange};
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

/// The threads that all logs of a broker share.
pub struct LogThreads {
    lanes: Workers,
    syncs: Workers,
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
    sync_wanted: AtomicBool,
    sync_running: AtomicBool,
}

#[derive(Default)]
struct Queue {
    appends: Vec<Append>,
    answers: Vec<(Until, AppendAnswer)>,
    bytes: usize,
    scheduled: bool,
}

/// The answer of an append, to be awaited.
pub type AppendTicket = oneshot::Receiver<Result<Appended, AppendError>>;

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
        Ok(LogHandle {
            inner: Arc::new(Inner {
                log,
                threads,
                queue: Mutex::default(),
                sync_wanted: AtomicBool::new(false),
                sync_running: AtomicBool::new(false),
            }),
        })
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
        Inner::sync_soon(&self.inner);
    }

    /// Syncs, writes a checkpoint and takes no more appends. Waits for the disk.
    pub fn close(&self) -> Result<(), LogError> {
        self.inner.log.close()
    }
}

impl Inner {
    /// Appends all that waits, until nothing does.
    fn run_lane(self: &Arc<Self>) {
        loop {
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
        let w = self.log.watermarks();
        let needed = match config.flush_mode {
            FlushMode::Fsync => w.high_watermark < w.log_end,
            FlushMode::PageCache => self.log.unsynced_bytes() >= config.background_sync_bytes,
        };
        if needed {
            Inner::sync_soon(self);
        } else {
            // The watermark may have passed an append between its look and its wait.
            self.log.move_high_watermark(w.high_watermark);
        }
    }

    fn sync_soon(self: &Arc<Self>) {
        self.sync_wanted.store(true, Ordering::Release);
        if !self.sync_running.swap(true, Ordering::AcqRel) {
            let inner = Arc::clone(self);
            self.threads.syncs.run(move || inner.run_sync());
        }
    }

    /// Syncs until nobody wants another.
    fn run_sync(self: &Arc<Self>) {
        loop {
            while self.sync_wanted.swap(false, Ordering::AcqRel) {
                // A failure took the log offline and answered everybody.
                if self.log.sync().is_err() {
                    break;
                }
            }
            self.sync_running.store(false, Ordering::Release);
            // Wanted between the last look and the line above: nobody else would start.
            let again = self.sync_wanted.load(Ordering::Acquire)
                && !self.sync_running.swap(true, Ordering::AcqRel);
            if !again {
                return;
            }
        }
    }
}
