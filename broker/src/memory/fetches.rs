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

/// Answers that cannot be cut may hold this part of all together, and so may one of them, beyond
/// what their connections get. The rest stays for the others.
const WHOLE: usize = 2;

/// Clients take frames of less than 2 GiB; what stands around the records has room.
const WHOLE_BYTES_MAX: usize = (i32::MAX as usize) - (64 << 20);

/// A budget of bytes that the fetches of all connections, of both wires, share.
///
/// A fetch takes what it may read, gives back what it did not need, and the rest when the socket
/// has taken the answer. When the budget is spent, fetches wait as they do for data. The first
/// batch of an answer is sent whole, so a grant may be exceeded by one batch.
///
/// An answer that cannot be cut, and whose size is found out while it is made, begins with little
/// and grows. As long as it may not wait, it holds up nobody. What does not get enough that way lets
/// everything go and begins again with the [`Turn`], of which there is one: so those who wait for
/// memory hold none of what they wait for.
pub struct FetchMemory {
    budget: Arc<Semaphore>,
    bytes: usize,
    /// What those with the turn may hold until their clients took it.
    whole: Share,
    turn: Arc<Semaphore>,
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
            whole: Share(Arc::new(Semaphore::new(bytes / WHOLE))),
            turn: Arc::new(Semaphore::new(1)),
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

    /// Most bytes of an answer that cannot be cut.
    pub fn whole_bytes_max(&self) -> usize {
        (self.bytes / WHOLE).min(WHOLE_BYTES_MAX)
    }

    /// Waits for the turn to make a large answer, and takes as much of its memory as one gets at
    /// first; `None` when that does not come until `deadline`.
    pub async fn turn(&self, deadline: Instant) -> Option<(Turn, Grant)> {
        let turn = Arc::clone(&self.turn).acquire_owned();
        let turn = timeout_at(deadline, turn).await.ok()?;
        let turn = Turn(turn.expect("the semaphore is never closed"));
        let grant = self.grant_whole(&self.whole, GRANT_BYTES_MIN, deadline);
        Some((turn, grant.await?))
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

    /// Takes as much as makes it `bytes`, if that is there at once.
    pub fn try_grow(&mut self, bytes: usize) -> bool {
        let more = permits(bytes.saturating_sub(self.bytes()));
        let Ok(own) = Arc::clone(&self.share).try_acquire_many_owned(more) else {
            return false;
        };
        let Ok(permit) = Arc::clone(&self.budget).try_acquire_many_owned(more) else {
            return false;
        };
        self.take_in(own, permit);
        true
    }

    /// Takes as much as makes it `bytes`; false, and nothing taken, when that does not come until
    /// `deadline`. For those with the turn: others would wait for each other.
    pub async fn grow(&mut self, bytes: usize, deadline: Instant, _turn: &Turn) -> bool {
        if self.try_grow(bytes) {
            return true;
        }
        self.pressure.note();
        let more = permits(bytes.saturating_sub(self.bytes()));
        let both = async {
            let own = Arc::clone(&self.share).acquire_many_owned(more).await;
            (own, Arc::clone(&self.budget).acquire_many_owned(more).await)
        };
        let Ok((Ok(own), Ok(permit))) = timeout_at(deadline, both).await else {
            self.pressure.note();
            return false;
        };
        self.take_in(own, permit);
        true
    }

    fn take_in(&mut self, own: OwnedSemaphorePermit, permit: OwnedSemaphorePermit) {
        self.own.merge(own);
        self.permit.merge(permit);
        self.free.set(self.budget.available_permits() as f64);
    }

    /// Keeps what was read: gives back the rest, or takes what a large first batch went over, as
    /// far as there is some.
    pub fn settle(mut self, read: usize) -> Grant {
        settle(&mut self.permit, &self.budget, read);
        settle(&mut self.own, &self.share, read);
        self
    }
}

/// Held by the one who may wait for memory while he has some.
pub struct Turn(#[expect(dead_code, reason = "held until it is dropped")] OwnedSemaphorePermit);

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

    #[tokio::test]
    async fn an_answer_grows_without_waiting_within_its_share() {
        let memory = memory(16 * MIB);
        let share = memory.share();
        let grant = memory.grant_whole(&share, 100, Instant::now()).await;
        let mut grant = grant.expect("some");
        assert!(grant.try_grow(2 * MIB));
        assert_eq!(memory.budget.available_permits(), 14 * MIB);
        assert!(!grant.try_grow(2 * MIB + 1));
        assert_eq!(grant.bytes(), 2 * MIB);
        let small = grant.settle(10);
        assert_eq!(share.0.available_permits(), 2 * MIB - 10);
        assert_eq!(memory.budget.available_permits(), 16 * MIB - 10);
        drop(small);
    }

    #[tokio::test]
    async fn one_at_a_time_waits_for_memory_that_it_adds_to_its_own() {
        let memory = memory(16 * MIB);
        assert_eq!(memory.whole_bytes_max(), 8 * MIB);
        let late = Instant::now() + Duration::from_secs(600);
        let (turn, mut grant) = memory.turn(late).await.expect("the turn");
        assert!(memory.turn(Instant::now()).await.is_none());
        assert!(grant.grow(8 * MIB, late, &turn).await);
        // Its client has yet to take it: the next one gets the turn, and waits.
        drop(turn);
        assert!(memory.turn(Instant::now()).await.is_none());
        let (next, ()) = tokio::join!(memory.turn(late), async { drop(grant) });
        let (turn, mut grant) = next.expect("the turn");
        let mut others = Vec::new();
        while let Some(other) = memory.grant(&memory.share(), 2 * MIB, Instant::now()).await {
            others.push(other);
        }
        assert!(!grant.grow(8 * MIB, Instant::now(), &turn).await);
        assert_eq!(grant.bytes(), MIB);
        let (grown, ()) = tokio::join!(grant.grow(8 * MIB, late, &turn), async { drop(others) });
        assert!(grown);
        assert_eq!(grant.bytes(), 8 * MIB);
    }
}
