//! The bound on what produced batches are decompressed to while they are checked.

use std::sync::Arc;

use metrics::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A batch that decompresses to no more is checked where its request is read.
const INLINE_BYTES_MAX: usize = 1 << 20;

/// One that needs more gets so much at first, away from the connections' threads: what real
/// producers send fits, and many are checked at the same time.
const USUAL_BYTES_MAX: usize = 16 << 20;

/// A budget of bytes that the batches of all connections, of both wires, share.
///
/// A few kilobytes may decompress to the largest batch that is allowed. Which do is not known
/// before, so a batch is tried with little memory, and again with more when that was not enough.
/// What a bomb costs is some milliseconds; others of its kind wait for the budget, and for each
/// other only.
pub struct Unpacking {
    budget: Arc<Semaphore>,
    bytes: usize,
    free: Gauge,
    lookups: Arc<Semaphore>,
}

/// Stored batches that are decompressed at the same time to find a record in them. Each may take
/// what the largest batch takes; it is in memory for some milliseconds.
const LOOKUPS_MAX: usize = 2;

/// How a check with a limit on the decompressed bytes went.
pub enum Unpacked<T> {
    /// It was enough.
    Done(T),
    /// The limit was reached; `T` is the refusal if there is no more.
    TooLittle(T),
}

impl Unpacking {
    /// A budget of so many bytes; `free` shows how many are left.
    pub fn new(bytes: usize, free: Gauge) -> Self {
        let bytes = bytes.min(u32::MAX as usize);
        free.set(bytes as f64);
        Self {
            budget: Arc::new(Semaphore::new(bytes)),
            bytes,
            free,
            lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)),
        }
    }

    /// Waits for the right to look for a record in a stored batch; it ends when that is dropped.
    pub async fn lookup(&self) -> OwnedSemaphorePermit {
        let permit = Arc::clone(&self.lookups).acquire_owned().await;
        permit.expect("the semaphore is never closed")
    }

    /// Runs a check with limits that grow up to `most` bytes; at first where it is called when
    /// `inline`.
    pub async fn check<T: Send + 'static>(
        &self,
        inline: bool,
        most: usize,
        check: impl Fn(usize) -> Unpacked<T> + Send + Sync + 'static,
    ) -> T {
        if inline && let Unpacked::Done(done) = check(INLINE_BYTES_MAX.min(most)) {
            return done;
        }
        let check = Arc::new(check);
        if USUAL_BYTES_MAX < most
            && let Unpacked::Done(done) = self.away(USUAL_BYTES_MAX, Arc::clone(&check)).await
        {
            return done;
        }
        match self.away(most, check).await {
            Unpacked::Done(done) | Unpacked::TooLittle(done) => done,
        }
    }

    /// Runs a check on a thread that may take its time, when its memory is there.
    async fn away<T: Send + 'static>(
        &self,
        limit: usize,
        check: Arc<impl Fn(usize) -> Unpacked<T> + Send + Sync + 'static>,
    ) -> Unpacked<T> {
        // A limit above the budget takes it all.
        let permits = u32::try_from(limit.min(self.bytes)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.budget).acquire_many_owned(permits).await;
        let permit = permit.expect("the semaphore is never closed");
        self.free.set(self.budget.available_permits() as f64);
        let task = tokio::task::spawn_blocking(move || {
            let unpacked = check(limit);
            // Not before: a client that goes away meanwhile does not free the memory.
            drop(permit);
            unpacked
        });
        // A panic goes on to the connection, which answers it; so does a runtime that goes down.
        let unpacked = task
            .await
            .unwrap_or_else(|error| std::panic::resume_unwind(Box::new(error.to_string())));
        self.free.set(self.budget.available_permits() as f64);
        unpacked
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// The limits with which a batch of `size` bytes is tried.
    async fn tried(inline: bool, size: usize, most: usize) -> (Vec<usize>, bool) {
        let limits = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&limits);
        let fits = Unpacking::new(32 << 20, Gauge::noop())
            .check(inline, most, move |limit| {
                seen.lock().expect("sound").push(limit);
                match size <= limit {
                    true => Unpacked::Done(true),
                    false => Unpacked::TooLittle(false),
                }
            })
            .await;
        let limits = limits.lock().expect("sound").clone();
        (limits, fits)
    }

    #[tokio::test]
    async fn limits_grow_until_the_batch_fits() {
        let most = 256 << 20;
        assert_eq!(tried(true, 100, most).await, (vec![1 << 20], true));
        assert_eq!(tried(false, 100, most).await, (vec![16 << 20], true));
        let all = vec![1 << 20, 16 << 20, most];
        assert_eq!(tried(true, 100 << 20, most).await, (all.clone(), true));
        assert_eq!(tried(true, usize::MAX, most).await, (all, false));
    }

    #[tokio::test]
    async fn a_small_limit_is_never_exceeded() {
        assert_eq!(tried(true, 2000, 1000).await, (vec![1000, 1000], false));
    }

    #[tokio::test]
    async fn what_cannot_be_held_together_is_done_in_turn() {
        let unpacking = Unpacking::new(16 << 20, Gauge::noop());
        let one = || unpacking.check(false, 64 << 20, |_| Unpacked::Done(()));
        tokio::join!(one(), one(), one());
        assert_eq!(unpacking.budget.available_permits(), 16 << 20);
    }
}
