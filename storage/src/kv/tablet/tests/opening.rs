//! Opening the index.

use std::sync::atomic::{AtomicBool, AtomicUsize};

use futures::FutureExt;
use futures::future::join_all;

use super::*;
use crate::kv::index::{LogEnds, OpenedIndex, Rebuild};
use crate::kv::scan::{Scan, ScanError};

/// Bytes of each value of [`large`].
const VALUE_BYTES: usize = 512 << 10;
/// The same key gets a value again after so many rows.
const KEYS: i32 = 24;

/// One batch of many large rows: inserts, then updates, and a delete between them.
fn large(fixture: &Fixture) -> Bytes {
    let mut builder = KvBatchBuilder::new(TWO, None);
    let value = "x".repeat(VALUE_BYTES);
    for number in 0..2 * KEYS {
        let key = number % KEYS;
        let values = [Datum::Int(key), Datum::Int(number), Datum::String(&value)];
        let deleted = number == KEYS + 7;
        let row = row(&fixture.table, TWO, &values);
        builder.append(KvRecord {
            key: &encoded(key),
            row: (!deleted).then_some(&row),
        });
    }
    builder.finish()
}

#[tokio::test]
async fn a_replay_writes_much_in_parts_and_goes_on_after_each() {
    let mut fixture = Fixture::new(FlushMode::Fsync);
    fixture.table = table(&[("a", TypeKind::Int, ""), ("b", TypeKind::String, "")], 1);
    let kv = fixture.open();
    let put = kv.check(large(&fixture), &[], MergeMode::Engine).unwrap();
    kv.put(put, Until::Durable).answer().await.unwrap();
    let whole = kv.state().await.unwrap();
    assert_eq!(whole.row_count, Some(i64::from(KEYS - 1)));
    let rows = all_rows(&kv).await;
    power_off(kv);
    // From nothing: no write has much more than 4 MiB.
    *fixture.store.index.lock() = None;
    fixture.store.commits.bytes.lock().clear();
    let kv = fixture.open();
    assert_eq!(kv.state().await.unwrap(), whole);
    power_off(kv);
    let parts = fixture.store.commits.bytes.lock().clone();
    assert!(parts.len() > 4, "{parts:?}");
    let most = (4 << 20) + 2 * VALUE_BYTES;
    assert!(parts.iter().all(|bytes| *bytes < most), "{parts:?}");
    // After a crash between any two of them the rest is replayed, once.
    for kept in 0..parts.len() {
        *fixture.store.index.lock() = None;
        let kv = fixture.open();
        kv.state().await.unwrap();
        power_off(kv);
        let partly = {
            let index = fixture.store.index.lock();
            let index = index.as_ref().unwrap();
            assert_eq!(index.unflushed(), parts.len());
            index.crash(kept);
            index.state()
        };
        assert!(partly.applied < whole.applied, "{partly:?}");
        assert_eq!(partly.applied == Offset::ZERO, kept == 0);
        fixture.store.commits.bytes.lock().clear();
        let kv = fixture.open();
        assert_eq!(kv.state().await.unwrap(), whole, "after {partly:?}");
        let found = all_rows(&kv).await;
        assert!(found == rows, "after {partly:?}");
        assert_eq!(*fixture.store.commits.bytes.lock(), parts[kept..]);
        power_off(kv);
    }
}

async fn all_rows(kv: &KvTablet) -> Bytes {
    let rows = kv.first_rows(usize::MAX, usize::MAX, Err::<usize, usize>);
    rows.await.unwrap().unwrap()
}

/// Indexes that take as long to open as a test wants.
#[derive(Default)]
struct SlowStore {
    /// Held by a test while nothing is to be opened.
    gate: Mutex<()>,
    /// Of these all but so many are opened all the same.
    stopped_by_gate: Mutex<Option<usize>>,
    fails: AtomicBool,
    begun: AtomicUsize,
    /// Openings that are under way, and the most of them.
    now: AtomicUsize,
    most: AtomicUsize,
}

impl SlowStore {
    /// Waits until so many openings were begun.
    async fn wait_begun(&self, count: usize) {
        while self.begun.load(Ordering::SeqCst) < count {
            tokio::task::yield_now().await;
        }
    }
}

impl IndexStore for SlowStore {
    fn open(&self, spec: &IndexSpec, _: &dyn LogEnds) -> Result<OpenedIndex, IndexError> {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        let before = self.begun.fetch_add(1, Ordering::SeqCst);
        if self
            .stopped_by_gate
            .lock()
            .is_none_or(|count| before < count)
        {
            drop(self.gate.lock());
        }
        self.now.fetch_sub(1, Ordering::SeqCst);
        if self.fails.load(Ordering::SeqCst) {
            return Err(IndexError::Failed("the test wants it".to_owned()));
        }
        Ok(OpenedIndex {
            index: Arc::new(MemoryIndex::new(spec.counts_rows)),
            rebuild: Some(Rebuild::Absent),
        })
    }

    fn discard(&self, _: &IndexSpec) -> Result<(), IndexError> {
        Ok(())
    }
}

/// Buckets that share threads.
fn buckets(store: &Arc<SlowStore>, count: usize, lanes: usize) -> Vec<(Fixture, KvTablet)> {
    let store = Arc::clone(store) as Arc<dyn IndexStore>;
    let resources = KvResources::start(store, lanes, KvLimits::default()).unwrap();
    let bucket = |number: usize| {
        let mut fixture = Fixture::new(FlushMode::Fsync);
        fixture.directory.push(number.to_string());
        let kv = fixture.open_with(Arc::clone(&resources));
        (fixture, kv)
    };
    (0..count).map(bucket).collect()
}

/// Runs with one thread for all that waits for a disk, which a hang of it would leave hanging.
fn with_one_blocking_thread(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .enable_time()
        .build()
        .unwrap();
    let limit = std::time::Duration::from_secs(60);
    let ended = runtime.block_on(async { tokio::time::timeout(limit, test).await });
    runtime.shutdown_background();
    ended.unwrap();
}

#[test]
fn who_waits_for_an_index_holds_no_thread() {
    let store = Arc::new(SlowStore::default());
    let buckets = buckets(&store, 3, 1);
    let gate = store.gate.lock();
    let mut held = Some(gate);
    with_one_blocking_thread(async {
        let key = || vec![Bytes::from(encoded(1))];
        let mut waiting: Vec<_> = (0..12)
            .map(|number| buckets[number % 3].1.lookup(key(), usize::MAX).boxed())
            .collect();
        for lookup in &mut waiting {
            assert!(lookup.now_or_never().is_none());
        }
        store.wait_begun(2).await;
        // The disk has a thread for others.
        tokio::task::spawn_blocking(|| ()).await.unwrap();
        // A client that goes away takes nothing with it.
        drop(waiting.remove(0));
        for (_, kv) in &buckets {
            assert_eq!(
                kv.inner.openings.waiting(),
                4 - usize::from(std::ptr::eq(kv, &buckets[0].1))
            );
        }
        held.take();
        for found in join_all(waiting).await {
            assert_eq!(found.unwrap(), [None]);
        }
        assert!(
            buckets
                .iter()
                .all(|(_, kv)| kv.inner.openings.waiting() == 0)
        );
    });
    let count = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
    assert_eq!((count(&store.begun), count(&store.most)), (3, 2));
}

#[test]
fn who_waited_for_an_index_that_does_not_open_is_told() {
    let store = Arc::new(SlowStore::default());
    let buckets = buckets(&store, 1, 1);
    let (fixture, kv) = &buckets[0];
    store.fails.store(true, Ordering::SeqCst);
    with_one_blocking_thread(async {
        let failed = join_all((0..3).map(|_| kv.row_count())).await;
        for error in failed {
            assert!(matches!(error, Err(KvError::Open(_))), "{error:?}");
        }
        assert_eq!(store.begun.load(Ordering::SeqCst), 1);
        // Not tried again at once, and then it is.
        store.fails.store(false, Ordering::SeqCst);
        assert!(kv.row_count().await.is_err());
        fixture.simulation.clock.advance(Duration::from_secs(1));
        assert_eq!(kv.row_count().await.unwrap(), Some(0));
        kv.discard();
        let closed = kv.row_count().await;
        assert!(matches!(closed, Err(KvError::Closed)), "{closed:?}");
    });
}

#[test]
fn a_bucket_that_is_opened_holds_up_puts_of_no_other() {
    let store = Arc::new(SlowStore::default());
    let buckets = buckets(&store, 3, 1);
    let [(first, slow), (second, open), (third, waits)] = &buckets[..] else {
        panic!("three buckets");
    };
    let mut held = None;
    with_one_blocking_thread(async {
        second
            .put(open, None, &[(1, Some(1))])
            .answer()
            .await
            .unwrap();
        held = Some(store.gate.lock());
        let mut puts: Vec<_> = [(first, slow), (first, slow), (third, waits)]
            .iter()
            .zip(1..)
            .map(|((fixture, kv), n)| fixture.put(kv, None, &[(n, Some(n))]).answer().boxed())
            .collect();
        store.wait_begun(2).await;
        let answered = second.put(open, None, &[(1, Some(2))]).answer();
        answered.await.unwrap();
        assert_eq!(second.get(open, 1).await, Some(2));
        for put in &mut puts {
            assert!(put.now_or_never().is_none());
        }
        held.take();
        for answered in join_all(puts).await {
            answered.unwrap();
        }
        assert_eq!(first.get(slow, 2).await, Some(2));
        assert_eq!(third.get(waits, 3).await, Some(3));
    });
    assert_eq!(store.begun.load(Ordering::SeqCst), 3);
}

#[test]
fn a_damaged_index_that_is_made_again_holds_up_puts_of_no_other() {
    let store = Arc::new(SlowStore::default());
    let buckets = buckets(&store, 2, 1);
    let [(first, damaged), (second, open)] = &buckets[..] else {
        panic!("two buckets");
    };
    let mut held = None;
    with_one_blocking_thread(async {
        for (fixture, kv) in &buckets {
            let put = fixture.put(kv, None, &[(1, Some(1))]);
            put.answer().await.unwrap();
        }
        held = Some(store.gate.lock());
        let index = Arc::downgrade(&damaged.index_if_open().unwrap());
        let error = IndexError::Corrupt("the test wants it".to_owned());
        damaged.inner.found_damaged(&index, &error);
        store.wait_begun(3).await;
        // Somebody else found the same, and somebody wants to write.
        damaged.inner.found_damaged(&index, &error);
        let mut put = first.put(damaged, None, &[(2, Some(2))]).answer().boxed();
        assert!((&mut put).now_or_never().is_none());
        let answered = second.put(open, None, &[(1, Some(2))]).answer();
        answered.await.unwrap();
        held.take();
        put.await.unwrap();
        assert_eq!(first.get(damaged, 1).await, Some(1));
        assert_eq!(first.get(damaged, 2).await, Some(2));
    });
    assert_eq!(store.begun.load(Ordering::SeqCst), 3);
}

#[test]
fn whoever_opens_an_index_lets_its_lane_go_on() {
    let store = Arc::new(SlowStore::default());
    let buckets = buckets(&store, 3, 1);
    let mut held = Some(store.gate.lock());
    let (fixture, kv) = &buckets[2];
    with_one_blocking_thread(async {
        // All threads that open have something to do, and go on with it.
        *store.stopped_by_gate.lock() = Some(2);
        let mut readers: Vec<_> = buckets[..2]
            .iter()
            .map(|(_, kv)| kv.row_count().boxed())
            .collect();
        for reader in &mut readers {
            assert!(reader.now_or_never().is_none());
        }
        store.wait_begun(2).await;
        let mut put = fixture.put(kv, None, &[(1, Some(1))]).answer().boxed();
        assert!((&mut put).now_or_never().is_none());
        while !kv.inner.openings.is_asked() {
            tokio::task::yield_now().await;
        }
        let cleaner = kv.clone();
        let flushed = std::thread::spawn(move || cleaner.flushed_end());
        put.await.unwrap();
        held.take();
        flushed.join().unwrap().unwrap();
        for reader in readers {
            assert_eq!(reader.await.unwrap(), Some(0));
        }
    });
}

#[test]
fn puts_of_a_bucket_that_does_not_open_are_refused() {
    let store = Arc::new(SlowStore::default());
    let buckets = buckets(&store, 1, 1);
    let (fixture, kv) = &buckets[0];
    let put = |n| fixture.put(kv, None, &[(n, Some(n))]).answer();
    store.fails.store(true, Ordering::SeqCst);
    with_one_blocking_thread(async {
        for refused in join_all([put(1), put(2)]).await {
            assert!(matches!(refused, Err(KvError::Open(_))), "{refused:?}");
        }
        assert_eq!(store.begun.load(Ordering::SeqCst), 1);
        store.fails.store(false, Ordering::SeqCst);
        fixture.simulation.clock.advance(Duration::from_secs(1));
        put(3).await.unwrap();
        assert_eq!(fixture.get(kv, 1).await, None);
        assert_eq!(fixture.get(kv, 3).await, Some(3));
        kv.discard();
        let closed = put(4).await;
        assert!(matches!(closed, Err(KvError::Closed)), "{closed:?}");
    });
}

/// A scan of a bucket's rows whose client takes its time.
async fn scan(kv: &KvTablet) -> Scan {
    let rows = Arc::new(kv.rows().await.unwrap());
    let scan = Scan::open(rows, ValueLayout::Plain, u64::MAX, ()).await;
    scan.unwrap()
}

#[tokio::test]
async fn an_index_that_fails_is_opened_again_under_scans() {
    let mut fixture = Fixture::new(FlushMode::Fsync);
    let kv = fixture.open();
    let rows: Vec<_> = (0..20).map(|n| (n, Some(n))).collect();
    fixture.put(&kv, None, &rows).answer().await.unwrap();
    let (unused, begun) = (scan(&kv).await, scan(&kv).await);
    assert!(begun.next(1).await.unwrap().more);
    for error in [
        IndexError::Failed("the disk was full".to_owned()),
        IndexError::Corrupt("a bit".to_owned()),
    ] {
        fixture.store.fail(error);
        let put = fixture.put(&kv, None, &[(1, Some(100))]);
        let answered = tokio::time::timeout(Duration::from_secs(60), put.answer()).await;
        answered.unwrap().unwrap();
        assert_eq!(fixture.get(&kv, 1).await, Some(100));
        assert_eq!(kv.row_count().await.unwrap(), Some(20));
    }
    assert_eq!(*fixture.store.opened.lock(), [true, false, true]);
    for scan in [unused, begun] {
        let ended = scan.next(1 << 20).await;
        assert!(matches!(ended, Err(ScanError::Retired)), "{ended:?}");
    }
    let whole = scan(&kv).await.next(1 << 20).await.unwrap();
    assert!(whole.records.is_some() && !whole.more);
    // A dropped table does not wait for scans.
    let last = scan(&kv).await;
    kv.discard();
    assert!(matches!(last.next(1).await, Err(ScanError::Retired)));
}

#[tokio::test]
async fn a_damaged_index_that_cannot_be_removed_stays_a_damaged_one() {
    let mut fixture = Fixture::new(FlushMode::Fsync);
    let kv = fixture.open();
    let put = fixture.put(&kv, None, &[(1, Some(1))]);
    put.answer().await.unwrap();
    fixture.store.keeps.store(true, Ordering::Release);
    fixture.store.fail(IndexError::Corrupt("a bit".to_owned()));
    let unanswered = fixture.put(&kv, None, &[(1, Some(2))]);
    while kv.index_if_open().is_some() {
        tokio::task::yield_now().await;
    }
    assert!(kv.row_count().await.is_err());
    fixture.store.keeps.store(false, Ordering::Release);
    fixture.simulation.clock.advance(Duration::from_secs(1));
    assert_eq!(fixture.get(&kv, 1).await, Some(2));
    unanswered.answer().await.unwrap();
    assert_eq!(*fixture.store.opened.lock(), [true, true]);
}
