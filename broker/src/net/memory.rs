//! The bound on the bytes of requests that are in the process at one time.

use std::sync::Arc;

use futures::future::{BoxFuture, Either, select};
use storage::buffers::{BufferPool, PooledBuffer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Memory of large frames that is kept for the next ones. Without it each frame is new memory that
/// the system has to clear first, and gets back soon after.
const FRAME_POOL_BYTES: usize = 16 << 20;

/// A budget of bytes that all connections share.
///
/// A connection that finds the budget spent stops reading, and its client waits in the kernel's
/// buffers. So that half-read frames cannot wait for each other for ever, one connection at a time
/// may go past the budget and finish its frame: the process holds at most the budget and one frame.
#[derive(Clone)]
pub struct RequestMemory {
    budget: Arc<Semaphore>,
    overdraft: Arc<Semaphore>,
    buffers: Arc<BufferPool>,
}

impl RequestMemory {
    /// A budget of so many bytes.
    pub fn new(bytes: usize) -> Self {
        Self {
            budget: Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))),
            overdraft: Arc::new(Semaphore::new(1)),
            buffers: BufferPool::new(FRAME_POOL_BYTES),
        }
    }

    /// Room for a large frame. It is not part of the budget: what arrives in it is.
    pub(crate) fn room(&self, bytes: usize) -> PooledBuffer {
        self.buffers.take(bytes)
    }

    /// Bytes that are free now.
    pub fn free_bytes(&self) -> usize {
        self.budget.available_permits()
    }

    /// Grows `reservation` to cover `bytes`; false when the budget is spent.
    pub(crate) fn try_grow(&self, reservation: &mut Reservation, bytes: usize) -> bool {
        let missing = reservation.missing(bytes);
        if missing == 0 {
            return true;
        }
        match Arc::clone(&self.budget).try_acquire_many_owned(missing) {
            Ok(permit) => {
                reservation.add(permit);
                true
            }
            Err(_) => false,
        }
    }

    /// As [`RequestMemory::try_grow`], waiting for the budget or for the right to go past it.
    pub(crate) fn grow(
        &self,
        mut reservation: Reservation,
        bytes: usize,
    ) -> BoxFuture<'static, Reservation> {
        let (budget, overdraft) = (Arc::clone(&self.budget), Arc::clone(&self.overdraft));
        Box::pin(async move {
            let missing = reservation.missing(bytes);
            let within = std::pin::pin!(budget.acquire_many_owned(missing));
            let past = std::pin::pin!(overdraft.acquire_owned());
            match select(within, past).await {
                Either::Left((permit, _)) => {
                    reservation.add(permit.expect("the semaphore is never closed"));
                }
                Either::Right((permit, _)) => {
                    reservation.overdraft = Some(permit.expect("the semaphore is never closed"));
                }
            }
            reservation
        })
    }
}

/// A part of the budget, given back when dropped.
#[derive(Debug, Default)]
pub struct Reservation {
    permit: Option<OwnedSemaphorePermit>,
    overdraft: Option<OwnedSemaphorePermit>,
}

impl Reservation {
    /// Bytes that are still to be had before `bytes` may be held.
    fn missing(&self, bytes: usize) -> u32 {
        if self.overdraft.is_some() {
            return 0;
        }
        let held = self
            .permit
            .as_ref()
            .map_or(0, OwnedSemaphorePermit::num_permits);
        u32::try_from(bytes.saturating_sub(held)).unwrap_or(u32::MAX)
    }

    fn add(&mut self, permit: OwnedSemaphorePermit) {
        match &mut self.permit {
            Some(held) => held.merge(permit),
            None => self.permit = Some(permit),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn what_is_dropped_is_free_again() {
        let memory = RequestMemory::new(100);
        let mut held = Reservation::default();
        assert!(memory.try_grow(&mut held, 60));
        assert!(memory.try_grow(&mut held, 80));
        assert_eq!(memory.free_bytes(), 20);
        drop(held);
        assert_eq!(memory.free_bytes(), 100);
    }

    #[test]
    fn one_at_a_time_may_go_past_the_budget() {
        let memory = RequestMemory::new(100);
        let mut all = Reservation::default();
        assert!(memory.try_grow(&mut all, 100));
        assert!(!memory.try_grow(&mut Reservation::default(), 1));

        let first = memory.grow(Reservation::default(), 500).now_or_never();
        assert!(first.is_some());
        let mut second = memory.grow(Reservation::default(), 10);
        assert!((&mut second).now_or_never().is_none());
        drop(first);
        assert!(second.now_or_never().is_some());
    }

    #[test]
    fn a_frame_larger_than_the_budget_is_let_in_alone() {
        let memory = RequestMemory::new(10);
        assert!(
            memory
                .grow(Reservation::default(), 1_000)
                .now_or_never()
                .is_some()
        );
    }
}
