//! The bound on the bytes of records that wait, in answers, for their clients to take them.

use std::ops::RangeInclusive;
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

    /// Takes the most of `bytes` if that is there at once, and waits for the least.
    pub async fn grant_within(
        &self,
        share: &Share,
        bytes: RangeInclusive<usize>,
        deadline: Instant,
    ) -> Option<Grant> {
        self.take(share, *bytes.end(), *bytes.start(), deadline)
            .await
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
        let turn = Turn {
            source: self.source(&self.whole),
            held: turn.expect("the semaphore is never closed"),
        };
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
            own,
            source: self.source(share),
        })
    }

    fn source(&self, share: &Share) -> Source {
        Source {
            budget: Arc::clone(&self.budget),
            share: Arc::clone(&share.0),
            pressure: Arc::clone(&self.pressure),
            free: self.free.clone(),
        }
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

/// What grants are taken from.
#[derive(Clone)]
struct Source {
    budget: Arc<Semaphore>,
    share: Arc<Semaphore>,
    pressure: Arc<Pressure>,
    free: Gauge,
}

impl Source {
    /// So many bytes, if they are there at once.
    fn try_take(&self, bytes: usize) -> Option<Grant> {
        let bytes = permits(bytes);
        let own = Arc::clone(&self.share).try_acquire_many_owned(bytes).ok()?;
        let permit = Arc::clone(&self.budget).try_acquire_many_owned(bytes);
        Some(self.grant(own, permit.ok()?))
    }

    /// So many bytes, when they are there. In steps: whoever waits for a semaphore has all that comes
    /// until he has what he waits for, so that the others would get nothing. Between steps it is
    /// their turn.
    async fn wait(&self, bytes: usize) -> Grant {
        let own = acquired(&self.share, bytes).await;
        let mut permit = acquired(&self.budget, bytes.min(GRANT_BYTES_MIN)).await;
        while permit.num_permits() < bytes {
            let step = (bytes - permit.num_permits()).min(GRANT_BYTES_MIN);
            permit.merge(acquired(&self.budget, step).await);
        }
        self.grant(own, permit)
    }

    fn grant(&self, own: OwnedSemaphorePermit, permit: OwnedSemaphorePermit) -> Grant {
        self.free.set(self.budget.available_permits() as f64);
        Grant {
            permit,
            own,
            source: self.clone(),
        }
    }
}

async fn acquired(semaphore: &Arc<Semaphore>, bytes: usize) -> OwnedSemaphorePermit {
    let permit = Arc::clone(semaphore).acquire_many_owned(permits(bytes));
    permit.await.expect("the semaphore is never closed")
}

/// A part of the budget, given back when dropped.
pub struct Grant {
    permit: OwnedSemaphorePermit,
    /// As much of the connection's share.
    own: OwnedSemaphorePermit,
    source: Source,
}

impl Grant {
    /// Bytes that may be read.
    pub fn bytes(&self) -> usize {
        self.permit.num_permits()
    }

    /// Takes so many bytes more, if they are there at once.
    pub fn try_grow(&mut self, more: usize) -> bool {
        let more = self.source.try_take(more);
        more.map(|more| self.merge(more)).is_some()
    }

    /// Takes in another one of the same source.
    pub fn merge(&mut self, mut other: Grant) {
        self.own.merge(all_of(&mut other.own));
        self.permit.merge(all_of(&mut other.permit));
    }

    /// Keeps what was read: gives back the rest, or takes what a large first batch went over, as
    /// far as there is some.
    pub fn settle(mut self, read: usize) -> Grant {
        settle(&mut self.permit, &self.source.budget, read);
        settle(&mut self.own, &self.source.share, read);
        self
    }
}

fn all_of(permit: &mut OwnedSemaphorePermit) -> OwnedSemaphorePermit {
    let all = permit.num_permits();
    permit.split(all).expect("it has as many")
}

/// Held by the one who may wait for memory while he has some.
pub struct Turn {
    source: Source,
    #[expect(dead_code, reason = "held until it is dropped")]
    held: OwnedSemaphorePermit,
}

impl Turn {
    /// So many bytes more; `None`, and nothing taken, when they do not come until `deadline`.
    pub async fn more(&self, bytes: usize, deadline: Instant) -> Option<Grant> {
        if let Some(grant) = self.source.try_take(bytes) {
            return Some(grant);
        }
        self.source.pressure.note();
        let waited = timeout_at(deadline, self.source.wait(bytes)).await.ok();
        if waited.is_none() {
            self.source.pressure.note();
        }
        waited
    }
}

/// None of it is held when there was none left.
impl Held for Option<Grant> {
    fn is_wanted(&self) -> bool {
        self.as_ref()
            .is_some_and(|grant| grant.source.pressure.is_there())
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
        let free = self.source.budget.available_permits() + self.permit.num_permits();
        self.source.free.set(free as f64);
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
        assert!(!grant.source.pressure.is_there());
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
        assert!(held.iter().all(|grant| grant.source.pressure.is_there()));
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
        assert!(grant.try_grow(2 * MIB - 100));
        assert_eq!(memory.budget.available_permits(), 14 * MIB);
        assert!(!grant.try_grow(1));
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
        grant.merge(turn.more(7 * MIB, late).await.expect("the rest"));
        assert_eq!(grant.bytes(), 8 * MIB);
        // Its client has yet to take it: the next one gets the turn, and waits.
        drop(turn);
        assert!(memory.turn(Instant::now()).await.is_none());
        let (next, ()) = tokio::join!(memory.turn(late), async { drop(grant) });
        let (turn, mut grant) = next.expect("the turn");
        let mut others = Vec::new();
        while let Some(other) = memory.grant(&memory.share(), 2 * MIB, Instant::now()).await {
            others.push(other);
        }
        let free = memory.budget.available_permits();
        assert!(turn.more(7 * MIB, Instant::now()).await.is_none());
        assert_eq!(memory.budget.available_permits(), free);
        let (more, ()) = tokio::join!(turn.more(7 * MIB, late), async { drop(others) });
        grant.merge(more.expect("the rest"));
        assert_eq!(grant.bytes(), 8 * MIB);
    }

    #[tokio::test]
    async fn others_get_some_while_a_large_answer_waits_for_more() {
        let memory = memory(16 * MIB);
        let late = Instant::now() + Duration::from_secs(600);
        let (turn, _grant) = memory.turn(late).await.expect("the turn");
        let mut others = Vec::new();
        while let Some(other) = memory.grant(&memory.share(), MIB, Instant::now()).await {
            others.push(other);
        }
        assert_eq!(others.len(), 15);
        let mut large = std::pin::pin!(turn.more(7 * MIB, late));
        assert!(futures::poll!(large.as_mut()).is_pending());
        let share = memory.share();
        let mut small = std::pin::pin!(memory.grant(&share, 100, late));
        assert!(futures::poll!(small.as_mut()).is_pending());
        // Not enough for the large one, which is before.
        others.truncate(13);
        assert!(futures::poll!(large.as_mut()).is_pending());
        let small = tokio::time::timeout(Duration::from_secs(10), small).await;
        let small = small.expect("in time").expect("some");
        assert_eq!(small.bytes(), 100);
        drop((small, others));
        let large = large.await.expect("the rest");
        assert_eq!(large.bytes(), 7 * MIB);
    }

    #[tokio::test]
    async fn one_waits_for_the_least_and_gets_the_most_that_is_there() {
        let memory = memory(16 * MIB);
        let share = memory.share();
        let most = memory.grant_within(&share, 100..=MIB, Instant::now());
        assert_eq!(most.await.map(|grant| grant.bytes()), Some(MIB));
        let _most = memory
            .grant_whole(&share, 2 * MIB - 100, Instant::now())
            .await;
        let least = memory.grant_within(&share, 100..=MIB, Instant::now());
        assert_eq!(least.await.map(|grant| grant.bytes()), Some(100));
    }
}
