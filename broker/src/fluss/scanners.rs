//! The scans of SCAN_KV that are under way: a session for each, found by its id.
//!
//! A session is over when all rows were sent, when a request for it fails, when its client closes
//! it or does not come back in time, and when its bucket goes. Facts: Fluss server semantics,
//! section 7.6; `ScannerManager.java`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use metrics::Gauge;
use parking_lot::Mutex;
use protocol::fluss::error::ErrorCode;
use protocol::ids::TabletId;
use storage::env::Env;
use storage::kv::scan::Scan;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::Failure;
use super::resolve;
use super::wire::Shared;
use crate::config::ScannerConfig;

/// The id of a session; clients send it back as they got it.
pub type ScannerId = [u8; 16];

/// Ids of sessions that ran out are known for so many times the time that a session has.
const EXPIRED_KEPT: u32 = 2;

/// All sessions.
pub struct Scanners {
    env: Env,
    config: ScannerConfig,
    /// A permit for each scan whose index is not let go of.
    permits: Arc<Semaphore>,
    buckets: Arc<Mutex<HashMap<TabletId, usize>>>,
    sessions: Mutex<Sessions>,
    open: Gauge,
}

#[derive(Default)]
struct Sessions {
    open: HashMap<ScannerId, Session>,
    /// Those that ran out, and when.
    expired: HashMap<ScannerId, Duration>,
    closed: bool,
}

struct Session {
    tablet: TabletId,
    /// When it was last heard of.
    used: Duration,
    /// The number of the next call.
    call: i32,
    /// None while a call is answered.
    scan: Option<Scan>,
}

/// The right to one scan, until it has let go of its index.
pub struct Slot {
    tablet: TabletId,
    buckets: Arc<Mutex<HashMap<TabletId, usize>>>,
    open: Gauge,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut buckets = self.buckets.lock();
        if let Some(count) = buckets.get_mut(&self.tablet) {
            *count -= 1;
            if *count == 0 {
                buckets.remove(&self.tablet);
            }
        }
        self.open.decrement(1);
    }
}

/// A session whose call is being answered.
pub struct Turn {
    /// What it scans.
    pub tablet: TabletId,
    /// Goes on with it.
    pub scan: Scan,
}

impl Scanners {
    /// No session yet; `open` counts them.
    pub fn new(env: Env, config: ScannerConfig, open: Gauge) -> Scanners {
        Scanners {
            env,
            permits: Arc::new(Semaphore::new(
                config.server_max.min(Semaphore::MAX_PERMITS),
            )),
            buckets: Arc::default(),
            sessions: Mutex::default(),
            config,
            open,
        }
    }

    fn now(&self) -> Duration {
        self.env.clock.monotonic()
    }

    /// What one answer may hold when a client asks for so many bytes.
    pub fn batch_bytes(&self, asked: usize) -> usize {
        asked.min(self.config.batch_bytes_max)
    }

    /// Takes the right to one more scan of a bucket.
    ///
    /// # Errors
    /// There are too many.
    pub fn slot(&self, tablet: TabletId) -> Result<Slot, Failure> {
        let refuse = |whose: &str, most: usize| {
            let text = format!("there are {most} scans of {whose} already");
            Err(Failure::new(ErrorCode::TooManyScanners, text))
        };
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            return refuse("this server", self.config.server_max);
        };
        let mut buckets = self.buckets.lock();
        let count = buckets.entry(tablet).or_default();
        if *count >= self.config.bucket_max {
            if *count == 0 {
                buckets.remove(&tablet);
            }
            return refuse("the bucket", self.config.bucket_max);
        }
        *count += 1;
        self.open.increment(1);
        Ok(Slot {
            tablet,
            buckets: Arc::clone(&self.buckets),
            open: self.open.clone(),
            _permit: permit,
        })
    }

    /// Makes a session of a scan whose first call was answered.
    pub fn keep(&self, turn: Turn) -> ScannerId {
        let randomness = &self.env.randomness;
        let (high, low) = (randomness.next_u64(), randomness.next_u64());
        let id = (u128::from(high) << 64 | u128::from(low)).to_be_bytes();
        let session = Session {
            tablet: turn.tablet,
            used: self.now(),
            call: 1,
            scan: Some(turn.scan),
        };
        let mut sessions = self.sessions.lock();
        if !sessions.closed {
            sessions.open.insert(id, session);
        }
        id
    }

    /// Begins a call of a session. Whatever goes wrong with it ends the session.
    ///
    /// # Errors
    /// There is no such session, or the call is not its next one.
    pub fn take(&self, id: &[u8], call: i32) -> Result<Turn, Failure> {
        let mut sessions = self.sessions.lock();
        let known = ScannerId::try_from(id).ok();
        let Some(id) = known.filter(|id| sessions.open.contains_key(id)) else {
            return Err(match known.filter(|id| sessions.expired.contains_key(id)) {
                Some(_) => expired(),
                None => Failure::new(ErrorCode::UnknownScannerId, "there is no such scan"),
            });
        };
        let session = sessions.open.get_mut(&id).expect("it is there");
        let problem = if self.now() - session.used >= self.config.ttl {
            Some(expired())
        } else if session.call != call {
            let text = format!("call {call} of a scan whose next one is {}", session.call);
            Some(Failure::new(ErrorCode::InvalidScanRequest, text))
        } else {
            None
        };
        let scan = session.scan.take();
        session.used = self.now();
        match (problem, scan) {
            (None, Some(scan)) => Ok(Turn {
                tablet: session.tablet,
                scan,
            }),
            (problem, _) => {
                sessions.open.remove(&id);
                let text = "the call before is not answered yet";
                let busy = || Failure::new(ErrorCode::InvalidScanRequest, text);
                Err(problem.unwrap_or_else(busy))
            }
        }
    }

    /// Ends a call of a session that goes on.
    pub fn put_back(&self, id: &[u8], turn: Turn) {
        let mut sessions = self.sessions.lock();
        // It is gone when it was closed meanwhile.
        if let Ok(id) = ScannerId::try_from(id)
            && let Some(session) = sessions.open.get_mut(&id)
        {
            session.call += 1;
            session.used = self.now();
            session.scan = Some(turn.scan);
        }
    }

    /// Ends a session, if there is such.
    pub fn end(&self, id: &[u8]) {
        if let Ok(id) = ScannerId::try_from(id) {
            self.sessions.lock().open.remove(&id);
        }
    }

    /// Ends the sessions that nobody went on with, and those of buckets that are gone.
    pub fn sweep(&self, exists: impl Fn(TabletId) -> bool) {
        let now = self.now();
        let ttl = self.config.ttl;
        let mut sessions = self.sessions.lock();
        let Sessions { open, expired, .. } = &mut *sessions;
        expired.retain(|_, since| now - *since < ttl * EXPIRED_KEPT);
        open.retain(|id, session| {
            // Also one whose call was begun and given up, with its connection.
            let late = now - session.used >= ttl;
            if late {
                tracing::info!(tablet = %session.tablet, "ended a scan whose client did not go on");
                expired.insert(*id, now);
            }
            let dropped = !late && !exists(session.tablet);
            if dropped {
                tracing::info!(tablet = %session.tablet, "ended a scan whose bucket was dropped");
            }
            !(late || dropped)
        });
    }

    /// Ends all sessions and waits until they have let go of their indexes. No more are kept.
    pub async fn close(&self) {
        {
            let mut sessions = self.sessions.lock();
            sessions.closed = true;
            sessions.open.clear();
        }
        let all = u32::try_from(self.config.server_max).unwrap_or(u32::MAX);
        // Nobody closes the semaphore; who gets all permits gives them back at once.
        let _ = self.permits.acquire_many(all).await;
    }
}

fn expired() -> Failure {
    let text = "the scan was given up, as its client did not go on with it";
    Failure::new(ErrorCode::ScannerExpired, text)
}

/// Looks for sessions that nobody goes on with, for as long as the broker runs.
pub async fn keep(shared: Arc<Shared>) {
    let every: Duration = shared.broker.config().scanners().check_interval;
    loop {
        tokio::time::sleep(every).await;
        let view = shared.broker.catalog.view();
        let exists = |named| resolve::tablet_of(&view, named).is_some();
        shared.scanners.sweep(exists);
    }
}

#[cfg(test)]
mod tests {
    use protocol::fluss::value::ValueLayout;
    use protocol::ids::{BucketId, TableId};
    use storage::env::simulated::Simulation;
    use storage::kv::index::memory::MemoryIndex;

    use super::*;

    fn scanners(world: &Simulation, bucket_max: usize, server_max: usize) -> Scanners {
        let config = ScannerConfig {
            ttl: Duration::from_secs(600),
            check_interval: Duration::from_secs(30),
            bucket_max,
            server_max,
            batch_bytes_max: 100,
        };
        Scanners::new(world.env(), config, Gauge::noop())
    }

    fn tablet(bucket: i32) -> TabletId {
        TabletId {
            table: TableId::new(1),
            table_partition: None,
            bucket: BucketId::new(bucket),
        }
    }

    async fn begun(scanners: &Scanners, bucket: i32) -> ScannerId {
        let tablet = tablet(bucket);
        let slot = scanners.slot(tablet).expect("there is room");
        let index = Arc::new(MemoryIndex::new(true));
        let scan = Scan::open(index, ValueLayout::Plain, u64::MAX, slot).await;
        let scan = scan.expect("a scan");
        scanners.keep(Turn { tablet, scan })
    }

    fn code<T>(result: Result<T, Failure>) -> Option<ErrorCode> {
        result.err().map(|failure| failure.code)
    }

    #[tokio::test]
    async fn calls_are_taken_in_order_and_one_at_a_time() {
        let scanners = scanners(&Simulation::new(1), 8, 8);
        let id = begun(&scanners, 0).await;
        for call in 1..4 {
            let turn = scanners.take(&id, call).expect("the next call");
            scanners.put_back(&id, turn);
        }
        // A repeated call ends the session.
        assert_eq!(
            code(scanners.take(&id, 3)),
            Some(ErrorCode::InvalidScanRequest)
        );
        assert_eq!(
            code(scanners.take(&id, 4)),
            Some(ErrorCode::UnknownScannerId)
        );
        let id = begun(&scanners, 0).await;
        let turn = scanners.take(&id, 1).expect("the next call");
        assert_eq!(
            code(scanners.take(&id, 1)),
            Some(ErrorCode::InvalidScanRequest)
        );
        scanners.put_back(&id, turn);
        assert_eq!(
            code(scanners.take(&id, 2)),
            Some(ErrorCode::UnknownScannerId)
        );
        assert_eq!(
            code(scanners.take(b"short", 1)),
            Some(ErrorCode::UnknownScannerId)
        );
    }

    #[tokio::test]
    async fn scans_are_counted_by_bucket_and_in_all_until_they_end() {
        let scanners = scanners(&Simulation::new(1), 2, 3);
        let first = begun(&scanners, 0).await;
        begun(&scanners, 0).await;
        assert_eq!(
            code(scanners.slot(tablet(0))),
            Some(ErrorCode::TooManyScanners)
        );
        let other = scanners.slot(tablet(1)).expect("another bucket has room");
        assert_eq!(
            code(scanners.slot(tablet(2))),
            Some(ErrorCode::TooManyScanners)
        );
        drop(other);
        scanners.end(&first);
        scanners.close().await;
        assert!(scanners.buckets.lock().is_empty());
        scanners.slot(tablet(0)).expect("all have ended");
    }

    #[tokio::test]
    async fn a_session_that_nobody_goes_on_with_runs_out() {
        let world = Simulation::new(1);
        let advance = |seconds| world.clock.advance(Duration::from_secs(seconds));
        let scanners = scanners(&world, 8, 8);
        let swept = begun(&scanners, 0).await;
        advance(599);
        let kept = begun(&scanners, 1).await;
        scanners.sweep(|_| true);
        let turn = scanners.take(&swept, 1).expect("in time");
        scanners.put_back(&swept, turn);
        advance(599);
        let late = scanners.take(&kept, 1).expect("in time");
        scanners.put_back(&kept, late);
        advance(1);
        // Known to be late also before the next sweep.
        assert_eq!(
            code(scanners.take(&swept, 2)),
            Some(ErrorCode::ScannerExpired)
        );
        advance(600);
        scanners.sweep(|_| true);
        assert_eq!(
            code(scanners.take(&kept, 2)),
            Some(ErrorCode::ScannerExpired)
        );
        advance(1200);
        scanners.sweep(|_| true);
        assert_eq!(
            code(scanners.take(&kept, 2)),
            Some(ErrorCode::UnknownScannerId)
        );
        let gone = begun(&scanners, 2).await;
        scanners.sweep(|tablet| tablet.bucket.value() != 2);
        assert_eq!(
            code(scanners.take(&gone, 1)),
            Some(ErrorCode::UnknownScannerId)
        );
    }
}
