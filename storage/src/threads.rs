//! Threads that may wait for the disk: a fixed number of workers with one queue of jobs.

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
        self.queue.changed.notify_one();
    }
}

impl Queue {
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
