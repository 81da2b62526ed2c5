//! One line per producer and partition: its batches go into the buckets one after the other.
//!
//! A batch is put when all parts of the one before are in the buckets' logs, or one of them was
//! refused: so nothing overtakes a part that has to come again. Becoming durable is not waited for
//! here. Who queues does not wait; a task works the line off.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use storage::kv::tablet::KvError;
use storage::log::AppendError;
use tokio::sync::oneshot;

use super::sequences::{Batch, Sequences};

/// The parts of a batch, each with its bucket, wherever that is.
pub trait Parts: Send + 'static {
    /// What is left to wait for when all buckets took their part.
    type Taken: Send + 'static;

    /// What the buckets know of the producer.
    fn recall(&self) -> impl Future<Output = Result<Sequences, KvError>> + Send;

    /// Puts all parts, and waits until each is in its bucket's log or refused. `newest` is the
    /// newest sequence of the producer that any bucket may have.
    fn put(self, newest: i32) -> impl Future<Output = Result<Self::Taken, PutFailure>> + Send;
}

/// Some parts were refused.
#[derive(Debug)]
pub struct PutFailure {
    /// Why, of the first of them.
    pub error: KvError,
    /// Other parts were taken.
    pub partly: bool,
}

/// Why a batch was not taken by all buckets.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// It does not come in order, or its producer was replaced. No bucket has anything of it.
    #[error(transparent)]
    Sequence(AppendError),
    /// No bucket has anything of it.
    #[error(transparent)]
    Refused(KvError),
    /// Some buckets have their part. The same batch has to come again, and completes it.
    #[error("a part of the batch was not written, and has to be sent again: {0}")]
    Partly(KvError),
}

impl From<PutFailure> for LineError {
    fn from(failure: PutFailure) -> Self {
        match failure.partly {
            true => LineError::Partly(failure.error),
            false => LineError::Refused(failure.error),
        }
    }
}

/// Where the outcome of a batch arrives. Closed without one when the broker stops.
pub type LineTicket<T> = oneshot::Receiver<Result<T, LineError>>;

/// All lines, each by what tells its producer and partition.
pub struct Lines<K, P: Parts> {
    lines: Mutex<HashMap<K, Arc<Line<P>>>>,
}

struct Line<P: Parts> {
    queue: Mutex<Queue<P>>,
    /// None before the buckets were asked. Taken out by the task that works the line off.
    known: Mutex<Option<Sequences>>,
}

struct Queue<P: Parts> {
    jobs: VecDeque<Job<P>>,
    /// A task works the line off.
    runs: bool,
    used_ms: i64,
}

struct Job<P: Parts> {
    batch: Batch,
    parts: P,
    outcome: oneshot::Sender<Result<P::Taken, LineError>>,
}

impl<K: Eq + Hash, P: Parts> Default for Lines<K, P> {
    fn default() -> Self {
        Lines {
            lines: Mutex::default(),
        }
    }
}

impl<K: Eq + Hash, P: Parts> Lines<K, P> {
    /// Queues a batch; batches of one caller keep their order. Never waits.
    pub fn queue(&self, key: K, batch: Batch, parts: P, now_ms: i64) -> LineTicket<P::Taken> {
        let (outcome, ticket) = oneshot::channel();
        let job = Job {
            batch,
            parts,
            outcome,
        };
        let mut lines = self.lines.lock();
        let line = lines.entry(key).or_insert_with(Line::new);
        // Inside the lock: a line that is used is not forgotten.
        let starts = {
            let mut queue = line.queue.lock();
            queue.used_ms = now_ms;
            queue.jobs.push_back(job);
            !std::mem::replace(&mut queue.runs, true)
        };
        if starts {
            tokio::spawn(Arc::clone(line).work_off());
        }
        ticket
    }

    /// Forgets the producers that sent nothing since `before_ms`: their buckets know them.
    pub fn forget(&self, before_ms: i64) {
        self.lines.lock().retain(|_, line| {
            let queue = line.queue.lock();
            queue.runs || queue.used_ms >= before_ms
        });
    }

    /// How many producers are known.
    pub fn count(&self) -> usize {
        self.lines.lock().len()
    }
}

impl<P: Parts> Line<P> {
    fn new() -> Arc<Line<P>> {
        Arc::new(Line {
            queue: Mutex::new(Queue {
                jobs: VecDeque::new(),
                runs: false,
                used_ms: 0,
            }),
            known: Mutex::new(None),
        })
    }

    async fn work_off(self: Arc<Self>) {
        loop {
            let job = {
                let mut queue = self.queue.lock();
                let Some(job) = queue.jobs.pop_front() else {
                    queue.runs = false;
                    return;
                };
                job
            };
            let Job {
                batch,
                parts,
                outcome,
            } = job;
            let put = self.put(&batch, parts).await;
            // A closed channel is a client that went away.
            let _ = outcome.send(put);
        }
    }

    async fn put(&self, batch: &Batch, parts: P) -> Result<P::Taken, LineError> {
        let known = self.known.lock().take();
        let mut known = match known {
            Some(known) => known,
            None => parts.recall().await.map_err(LineError::Refused)?,
        };
        let put = match known.judge(batch) {
            Ok(newest) => {
                let put = parts.put(newest).await;
                known.put(batch, put.is_ok());
                put.map_err(LineError::from)
            }
            Err(error) => Err(LineError::Sequence(error)),
        };
        *self.known.lock() = Some(known);
        put
    }
}
