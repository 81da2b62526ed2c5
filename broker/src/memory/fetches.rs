//! The bound on the bytes of records that wait, in answers, for their clients to take them.

use std::sync::Arc;
use std::time::Duration;

use metrics::Gauge;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::net::Held;

/// One connection gets at most this part of what is left, so that a few large fetches, or many of
/// one client, do not take it all.
const SHARE: usize = 8;

/// The least that a fetch begins with; it waits until there is so much.
const GRANT_BYTES_MIN: usize = 1 << 20;

/// A budget of bytes that the fetches of all connections, of both wires, share.
///
/// A fetch takes what it may read, gives back what it did not need, and the rest when the socket
/// has taken the answer. When the budget is spent, fetches wait as they do for data. The first
/// batch of an answer is sent whole, so a grant may be exceeded by one batch.
pub struct FetchMemory {
    budget: Arc<Semaphore>,
    bytes: usize,
    pressure: Arc<Pressure>,
    free: Gauge,
}

/// When a fetch last found the budget spent.
struct Pressure(Mutex<Option<Instant>>);

/// For so long after a fetch had to wait, others are taken to wait: longer than it takes a connection
/// to see that its client takes nothing.
const PRESSURE_LASTS: Duration = Duration::from_secs(10);

impl Pressure {
    fn note(&self) {
        *self.0.lock() = Some(Instant::now());
    }

    fn is_there(&self) -> bool {
        self.0
            .lock()
            .is_some_and(|since| since.elapsed() < PRESSURE_LASTS)
    }
}

/// What the fetches of one connection may hold together.
pub struct Share(Arc<Semaphore>);

impl FetchMemory {
    /// A budget of so many bytes; `free` shows how many are left.
    pub fn new(bytes: usize, free: Gauge) -> Self {
        let bytes = bytes.min(Semaphore::MAX_PERMITS);
        free.set(bytes as f64);
        Self {
            budget: Arc::new(Semaphore::new(bytes)),
            bytes,
            pressure: Arc::new(Pressure(Mutex::new(None))),
            free,
        }
    }

    /// The share of a new connection.
    pub fn share(&self) -> Share {
        Share(Arc::new(Semaphore::new(self.bytes / SHARE)))
    }

    /// Takes up to `wanted` bytes; `None` when there are too few until `deadline`.
    pub async fn grant(&self, share: &Share, wanted: usize, deadline: Instant) -> Option<Grant> {
        self.take(share, wanted, GRANT_BYTES_MIN, deadline).await
    }

    /// Takes `wanted` bytes, or as many as one may have; for what cannot do with less.
    pub async fn grant_whole(
        &self,
        share: &Share,
        wanted: usize,
        deadline: Instant,
    ) -> Option<Grant> {
        self.take(share, wanted, wanted, deadline).await
    }

    async fn take(
        &self,
        share: &Share,
        wanted: usize,
        least: usize,
        deadline: Instant,
    ) -> Option<Grant> {
        let wanted = wanted.min(self.bytes / SHARE);
        let least = least.min(wanted);
        let fair = self.budget.available_permits() / SHARE;
        let mut own = acquire(&share.0, wanted.min(fair), least, deadline).await?;
        let wanted = own.num_permits();
        if self.budget.available_permits() < least {
            self.pressure.note();
        }
        let Some(permit) = acquire(&self.budget, wanted, least, deadline).await else {
            self.pressure.note();
            return None;
        };
        drop(own.split(own.num_permits() - permit.num_permits()));
        self.free.set(self.budget.available_permits() as f64);
        Some(Grant {
            permit,
            budget: Arc::clone(&self.budget),
            own,
            share: Arc::clone(&share.0),
            pressure: Arc::clone(&self.pressure),
            free: self.free.clone(),
        })
    }
}

/// Takes up to `wanted` if that is there at once, else waits for `least`.
async fn acquire(
    budget: &Arc<Semaphore>,
    wanted: usize,
    least: usize,
    deadline: Instant,
) -> Option<OwnedSemaphorePermit> {
    let granted = wanted.min(budget.available_permits()).max(least);
    match Arc::clone(budget).try_acquire_many_owned(permits(granted)) {
        Ok(permit) => Some(permit),
        Err(_) => {
            let waited = Arc::clone(budget).acquire_many_owned(permits(least));
            let permit = timeout_at(deadline, waited).await.ok()?;
            Some(permit.expect("the semaphore is never closed"))
        }
    }
}

fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// A part of the budget, given back when dropped.
pub struct Grant {
    permit: OwnedSemaphorePermit,
    budget: Arc<Semaphore>,
    /// As much of the connection's share.
    own: OwnedSemaphorePermit,
    share: Arc<Semaphore>,
    pressure: Arc<Pressure>,
    free: Gauge,
}

impl Grant {
    /// Bytes that may be read.
    pub fn bytes(&self) -> usize {
        self.permit.num_permits()
    }

    /// Keeps what was read: gives back the rest, or takes what a large first batch went over, as
    /// far as there is some.
    pub fn settle(mut self, read: usize) -> Grant {
        settle(&mut self.permit, &self.budget, read);
        settle(&mut self.own, &self.share, read);
        self
    }
}

/// None of it is held when there was none left.
impl Held for Option<Grant> {
    fn is_wanted(&self) -> bool {
        self.as_ref().is_some_and(|grant| grant.pressure.is_there())
    }
}

fn settle(permit: &mut OwnedSemaphorePermit, budget: &Arc<Semaphore>, read: usize) {
    let held = permit.num_permits();
    if read < held {
        drop(permit.split(held - read));
    } else if let Ok(more) = Arc::clone(budget).try_acquire_many_owned(permits(read - held)) {
        permit.merge(more);
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        // The permit itself goes a moment later.
        let free = self.budget.available_permits() + self.permit.num_permits();
        self.free.set(free as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn memory(bytes: usize) -> FetchMemory {
        FetchMemory::new(bytes, Gauge::noop())
    }

    #[tokio::test]
    async fn a_fetch_keeps_what_it_read() {
        let memory = memory(64 * MIB);
        let share = memory.share();
        let grant = memory.grant(&share, usize::MAX, Instant::now()).await;
        let grant = grant.expect("an eighth");
        assert_eq!(grant.bytes(), 8 * MIB);
        assert!(!grant.pressure.is_there());
        let kept = grant.settle(100);
        assert_eq!(memory.budget.available_permits(), 64 * MIB - 100);
        let kept = kept.settle(2 * MIB);
        assert_eq!(memory.budget.available_permits(), 62 * MIB);
        drop(kept);
        assert_eq!(memory.budget.available_permits(), 64 * MIB);
    }

    #[tokio::test]
    async fn who_comes_later_gets_less_and_who_comes_too_late_waits() {
        let memory = memory(16 * MIB);
        let mut held = Vec::new();
        while let Some(grant) = memory
            .grant(&memory.share(), usize::MAX, Instant::now())
            .await
        {
            held.push(grant);
        }
        assert_eq!(held[0].bytes(), 2 * MIB);
        assert_eq!(held[7].bytes(), MIB);
        assert!(held.iter().all(|grant| grant.pressure.is_there()));
        let late = Instant::now() + Duration::from_secs(600);
        let share = memory.share();
        let (waited, ()) = tokio::join!(memory.grant(&share, 4 * MIB, late), async {
            drop(held.pop());
        });
        assert_eq!(waited.map(|grant| grant.bytes()), Some(MIB));
    }

    #[tokio::test]
    async fn one_connection_does_not_take_it_all() {
        let memory = memory(64 * MIB);
        let share = memory.share();
        let first = memory.grant(&share, 8 * MIB, Instant::now()).await;
        assert!(memory.grant(&share, MIB, Instant::now()).await.is_none());
        assert_eq!(memory.budget.available_permits(), 56 * MIB);
        let other = memory.share();
        assert!(memory.grant(&other, MIB, Instant::now()).await.is_some());
        drop(first);
        assert!(memory.grant(&share, MIB, Instant::now()).await.is_some());
    }

    #[tokio::test]
    async fn small_fetches_take_little() {
        let memory = memory(16 * MIB);
        let grant = memory.grant(&memory.share(), 10, Instant::now()).await;
        assert_eq!(grant.map(|grant| grant.bytes()), Some(10));
    }
}
