//! Who waits for a log: appends until they are durable, fetches until there is more to read.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use protocol::ids::Offset;
use tokio::sync::{Notify, oneshot};

use super::error::AppendError;
use super::log::Appended;

/// Where the answer of an append goes.
pub type AppendAnswer = oneshot::Sender<Result<Appended, AppendError>>;

/// Wakes one fetch that may wait on several logs at once.
#[derive(Debug, Default)]
pub struct DataSignal {
    notify: Notify,
    fired: AtomicBool,
    abandoned: AtomicBool,
}

impl DataSignal {
    /// A signal that no log holds yet.
    pub fn new() -> Arc<DataSignal> {
        Arc::new(DataSignal::default())
    }

    /// Waits until a log that it was registered with has something new.
    pub async fn fired(&self) {
        while !self.fired.swap(false, Ordering::AcqRel) {
            self.notify.notified().await;
        }
    }

    /// Wakes the waiting fetch.
    pub fn fire(&self) {
        self.fired.store(true, Ordering::Release);
        self.notify.notify_one();
    }

    /// The fetch is over: logs may forget the signal.
    pub fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
    }
}

/// The waiters of one log.
#[derive(Default)]
pub(super) struct Waiters {
    durable: Mutex<VecDeque<(Offset, Appended, AppendAnswer)>>,
    /// Appends that were answered as durable, ever.
    answered: AtomicUsize,
    data: Mutex<Vec<Arc<DataSignal>>>,
}

impl Waiters {
    /// Answers once the high watermark is at `end` or above.
    pub(super) fn wait_durable(&self, end: Offset, appended: Appended, answer: AppendAnswer) {
        let mut durable = self.durable.lock();
        // Ends ascend but for those of batches that come again before they are durable. The queue
        // has to be in order: who waits behind a higher end would be answered with it.
        let at = durable.partition_point(|(other, _, _)| *other <= end);
        durable.insert(at, (end, appended, answer));
    }

    /// How many appends wait until they are durable.
    pub(super) fn durable_waiting(&self) -> usize {
        self.durable.lock().len()
    }

    /// How many appends were answered as durable, ever.
    pub(super) fn durable_answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// Registers a fetch that waits for more data.
    pub(super) fn wait_data(&self, signal: &Arc<DataSignal>) {
        let mut data = self.data.lock();
        // A fetch that timed out left its signal behind; forget these before the list grows.
        if data.len() == data.capacity() {
            data.retain(|s| !s.abandoned.load(Ordering::Acquire));
        }
        data.push(Arc::clone(signal));
    }

    /// The high watermark is `end` now.
    pub(super) fn moved_to(&self, end: Offset) {
        let reached: Vec<_> = {
            let mut durable = self.durable.lock();
            let count = durable.partition_point(|(target, _, _)| *target <= end);
            durable.drain(..count).collect()
        };
        self.answered.fetch_add(reached.len(), Ordering::Relaxed);
        for (_, appended, answer) in reached {
            // A closed channel is a client that went away.
            let _ = answer.send(Ok(appended));
        }
        self.wake_data();
    }

    /// Wakes every waiting fetch: there is data, or the log changed in another way.
    pub(super) fn wake_data(&self) {
        let waiting = std::mem::take(&mut *self.data.lock());
        for signal in waiting {
            signal.fire();
        }
    }

    /// The log went offline: nothing will become durable any more.
    pub(super) fn fail(&self, error: &AppendError) {
        let waiting = std::mem::take(&mut *self.durable.lock());
        for (_, _, answer) in waiting {
            let _ = answer.send(Err(error.clone()));
        }
        self.wake_data();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ids::LeaderEpoch;

    fn appended(base: i64) -> Appended {
        Appended {
            base_offset: Offset::new(base),
            last_offset: Offset::new(base),
            leader_epoch: LeaderEpoch::new(0),
            commit_time: 0,
            log_start: Offset::ZERO,
            duplicate: false,
        }
    }

    #[test]
    fn appends_are_answered_when_the_watermark_reaches_them() {
        let waiters = Waiters::default();
        let (first, mut first_answer) = oneshot::channel();
        let (second, mut second_answer) = oneshot::channel();
        waiters.wait_durable(Offset::new(1), appended(0), first);
        waiters.wait_durable(Offset::new(2), appended(1), second);
        waiters.moved_to(Offset::new(1));
        assert!(first_answer.try_recv().unwrap().is_ok());
        assert!(second_answer.try_recv().is_err());
        waiters.fail(&AppendError::DiskFull);
        assert!(matches!(
            second_answer.try_recv().unwrap(),
            Err(AppendError::DiskFull)
        ));
    }

    #[test]
    fn a_batch_that_comes_again_answers_nobody_early() {
        let waiters = Waiters::default();
        let wait = |end| {
            let (answer, answered) = oneshot::channel();
            waiters.wait_durable(Offset::new(end), appended(end - 1), answer);
            answered
        };
        // The first append is retried while it and the second wait for the disk.
        let mut first = [wait(1)];
        let mut second = wait(2);
        let mut again = [(); 5].map(|()| wait(1));
        waiters.moved_to(Offset::new(1));
        for answered in first.iter_mut().chain(&mut again) {
            assert!(answered.try_recv().is_ok());
        }
        assert!(second.try_recv().is_err());
        waiters.moved_to(Offset::new(2));
        assert!(second.try_recv().is_ok());
    }

    #[test]
    fn signals_of_ended_fetches_do_not_pile_up() {
        let waiters = Waiters::default();
        for _ in 0..10_000 {
            let signal = DataSignal::new();
            waiters.wait_data(&signal);
            signal.abandon();
        }
        assert!(waiters.data.lock().len() < 100);
    }
}
