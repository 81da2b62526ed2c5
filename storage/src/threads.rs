//! Threads that may wait for the disk: a fixed number of workers with one queue of jobs.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

type Job = Box<dyn FnOnce() + Send>;

/// Workers that run jobs in the order of their arrival. Dropping the pool runs what is queued and
/// waits for the workers.
pub struct Workers {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    stopping: bool,
}

impl Workers {
    /// Starts `count` threads, at least one.
    pub fn start(name: &str, count: usize) -> std::io::Result<Workers> {
        let queue = Arc::new(Queue::default());
        let threads = (0..count.max(1))
            .map(|number| {
                let queue = Arc::clone(&queue);
                std::thread::Builder::new()
                    .name(format!("{name}-{number}"))
                    .spawn(move || queue.work())
            })
            .collect::<Result<_, _>>()?;
        Ok(Workers { queue, threads })
    }

    /// Queues a job. The callers bound how many there can be: one per log and kind.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        self.queue.state.lock().jobs.push_back(Box::new(job));
        self.queue.wake_one();
    }

    /// True while jobs wait for a worker. A job that could go on for long queues itself again
    /// then, so that the others get their turn.
    pub fn is_contended(&self) -> bool {
        !self.queue.state.lock().jobs.is_empty()
    }
}

thread_local! {
    /// Queues whose workers this thread owes a wake, once for each job; `None` outside of
    /// [`wake_together`].
    static OWED: RefCell<Option<Vec<Arc<Queue>>>> = const { RefCell::new(None) };
}

/// Runs `work`, which does not wait, and wakes the workers for the jobs that it queues when it is
/// over: one wake of a worker that finds several appends costs less than a wake for each, in the
/// middle of the work that makes the next.
pub fn wake_together<T>(work: impl FnOnce() -> T) -> T {
    /// Pays also when `work` panics.
    struct Debt;
    impl Drop for Debt {
        fn drop(&mut self) {
            let owed = OWED.take();
            for queue in owed.into_iter().flatten() {
                queue.changed.notify_one();
            }
        }
    }
    if OWED.with_borrow(Option::is_some) {
        return work();
    }
    OWED.set(Some(Vec::new()));
    let _debt = Debt;
    work()
}

impl Queue {
    fn wake_one(self: &Arc<Self>) {
        OWED.with_borrow_mut(|owed| match owed {
            Some(owed) => owed.push(Arc::clone(self)),
            None => {
                self.changed.notify_one();
            }
        });
    }

    fn work(&self) {
        loop {
            let job = {
                let mut state = self.state.lock();
                loop {
                    if let Some(job) = state.jobs.pop_front() {
                        break job;
                    }
                    if state.stopping {
                        return;
                    }
                    self.changed.wait(&mut state);
                }
            };
            // A panic in one job must not take the worker from all other logs.
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
                tracing::error!("a storage job panicked");
            }
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.queue.state.lock().stopping = true;
        self.queue.changed.notify_all();
        let me = std::thread::current().id();
        for thread in self.threads.drain(..) {
            // The last handle may be dropped by a job: a worker cannot wait for itself.
            if thread.thread().id() != me && thread.join().is_err() {
                tracing::error!("a storage worker panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn workers_are_woken_when_the_work_is_over_even_by_a_panic() {
        let (done, waits) = std::sync::mpsc::channel();
        let workers = Workers::start("test", 1).unwrap();
        let queue = |number: i32| {
            let done = done.clone();
            workers.run(move || done.send(number).unwrap());
        };
        wake_together(|| {
            queue(1);
            wake_together(|| queue(2));
        });
        assert_eq!([waits.recv().unwrap(), waits.recv().unwrap()], [1, 2]);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wake_together(|| {
                queue(3);
                panic!("on purpose");
            })
        }));
        assert!(panicked.is_err());
        assert_eq!(waits.recv().unwrap(), 3);
        queue(4);
        assert_eq!(waits.recv().unwrap(), 4);
    }

    #[test]
    fn all_queued_jobs_run_even_after_a_panic() {
        let done = Arc::new(AtomicUsize::new(0));
        let workers = Workers::start("test", 2).unwrap();
        for number in 0..100 {
            let done = Arc::clone(&done);
            workers.run(move || {
                assert_ne!(number, 50, "this job panics on purpose");
                done.fetch_add(1, Ordering::SeqCst);
            });
        }
        drop(workers);
        assert_eq!(done.load(Ordering::SeqCst), 99);
    }
}
