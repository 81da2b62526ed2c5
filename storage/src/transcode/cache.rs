//! What was transcoded, kept for the next reader, and what is being transcoded, so that nobody
//! else does it too.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use protocol::ids::{Offset, SchemaId, TabletId};
use protocol::raw::RawColumns;
use tokio::sync::oneshot;

use super::parts::Parts;
use crate::tablet::ConvertError;

/// What a span is transcoded to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Target {
    /// Fluss batches with these columns.
    Fluss(ColumnSet),
    /// Kafka batches.
    Kafka,
}

/// Columns of the raw schema as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ColumnSet(u8);

impl From<RawColumns> for ColumnSet {
    fn from(columns: RawColumns) -> ColumnSet {
        let bit = |position: &usize| 1u8 << position;
        ColumnSet(columns.positions().iter().map(bit).sum())
    }
}

/// Names what was made of a span. All that its bytes follow from is in it, so an entry is never
/// wrong, only forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// The tablet.
    pub(super) tablet: TabletId,
    /// Generation of the segment.
    pub(super) generation: u64,
    /// First offset that was transcoded.
    pub(super) start: Offset,
    /// Offset after the last of the span.
    pub(super) end: Offset,
    /// Schema of the frames.
    pub(super) schema_id: SchemaId,
    /// What it was transcoded to.
    pub(super) target: Target,
}

type Outcome = Result<Arc<Parts>, ConvertError>;

/// Who answers a claim.
pub(super) enum Claim {
    /// It is there.
    Hit(Arc<Parts>),
    /// Somebody is at it. The channel closes when that came to nothing: claim again.
    Wait(oneshot::Receiver<Outcome>),
    /// The caller does it.
    Lead(Flight),
}

/// A bounded cache of transcoded spans; the least recently used go first.
pub(super) struct Cache {
    inner: Mutex<Inner>,
    bytes_max: usize,
}

#[derive(Default)]
struct Inner {
    slots: HashMap<Key, Slot>,
    /// Keys by the time of their last use.
    uses: BTreeMap<u64, Key>,
    clock: u64,
    bytes: usize,
}

enum Slot {
    Ready {
        parts: Arc<Parts>,
        memory: usize,
        used: u64,
    },
    Flying {
        waiters: Vec<oneshot::Sender<Outcome>>,
        /// False when it was forgotten meanwhile: who waits gets it, nobody after.
        keep: bool,
    },
}

impl Cache {
    /// A cache of so many bytes.
    pub(super) fn new(bytes_max: usize) -> Arc<Cache> {
        Arc::new(Cache {
            inner: Mutex::default(),
            bytes_max,
        })
    }

    /// Asks for an entry.
    pub(super) fn claim(self: &Arc<Self>, key: Key) -> Claim {
        let mut inner = self.inner.lock();
        if let Some(parts) = inner.touch(&key) {
            metrics::counter!("vltava_transcoder_cache_hits_total").increment(1);
            return Claim::Hit(parts);
        }
        if let Some(Slot::Flying { waiters, .. }) = inner.slots.get_mut(&key) {
            let (sender, receiver) = oneshot::channel();
            waiters.push(sender);
            return Claim::Wait(receiver);
        }
        metrics::counter!("vltava_transcoder_cache_misses_total").increment(1);
        let flying = Slot::Flying {
            waiters: Vec::new(),
            keep: true,
        };
        inner.slots.insert(key, flying);
        Claim::Lead(Flight {
            cache: Arc::clone(self),
            key,
            landed: false,
        })
    }

    /// True when an entry is there.
    pub(super) fn has(&self, key: &Key) -> bool {
        matches!(self.inner.lock().slots.get(key), Some(Slot::Ready { .. }))
    }

    /// Forgets everything of a tablet that begins below `offset`.
    pub(super) fn forget_below(&self, tablet: TabletId, offset: Offset) {
        self.forget(|key| key.tablet == tablet && key.start < offset);
    }

    /// Forgets everything of a tablet that was made of segments it does not have any more.
    pub(super) fn forget_segments(&self, tablet: TabletId, generations: &HashSet<u64>) {
        self.forget(|key| key.tablet == tablet && !generations.contains(&key.generation));
    }

    fn forget(&self, is_gone: impl Fn(&Key) -> bool) {
        let mut inner = self.inner.lock();
        let gone: Vec<Key> = inner
            .slots
            .keys()
            .filter(|key| is_gone(key))
            .copied()
            .collect();
        for key in gone {
            match inner.slots.get_mut(&key) {
                Some(Slot::Flying { keep, .. }) => *keep = false,
                _ => inner.remove(&key),
            }
        }
        inner.report();
    }

    /// Bytes that it holds.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.inner.lock().bytes
    }
}

impl Inner {
    fn touch(&mut self, key: &Key) -> Option<Arc<Parts>> {
        let Some(Slot::Ready { parts, used, .. }) = self.slots.get_mut(key) else {
            return None;
        };
        self.clock += 1;
        self.uses.remove(used);
        *used = self.clock;
        self.uses.insert(self.clock, *key);
        Some(Arc::clone(parts))
    }

    fn remove(&mut self, key: &Key) {
        if let Some(Slot::Ready { memory, used, .. }) = self.slots.remove(key) {
            self.uses.remove(&used);
            self.bytes -= memory;
        }
    }

    fn insert(&mut self, key: Key, parts: Arc<Parts>, bytes_max: usize) {
        let memory = parts.memory();
        // One entry must not push all others out.
        if memory > bytes_max / 2 {
            return;
        }
        while self.bytes + memory > bytes_max {
            let Some((_, oldest)) = self.uses.first_key_value() else {
                break;
            };
            let oldest = *oldest;
            self.remove(&oldest);
        }
        self.clock += 1;
        self.bytes += memory;
        self.uses.insert(self.clock, key);
        let ready = Slot::Ready {
            parts,
            memory,
            used: self.clock,
        };
        self.slots.insert(key, ready);
    }

    fn report(&self) {
        metrics::gauge!("vltava_transcoder_cache_bytes").set(self.bytes as f64);
    }
}

/// The duty to transcode a span. Dropped without result, it passes to the next who claims.
pub(super) struct Flight {
    cache: Arc<Cache>,
    key: Key,
    landed: bool,
}

impl Flight {
    /// Hands the result to all who wait, and keeps it when there is one.
    pub(super) fn land(mut self, outcome: Outcome) {
        self.landed = true;
        let waiters = {
            let mut inner = self.cache.inner.lock();
            let Some(Slot::Flying { waiters, keep }) = inner.slots.remove(&self.key) else {
                return;
            };
            if let (Ok(parts), true) = (&outcome, keep) {
                inner.insert(self.key, Arc::clone(parts), self.cache.bytes_max);
            }
            inner.report();
            waiters
        };
        for waiter in waiters {
            // A closed channel is a reader that went away.
            let _ = waiter.send(outcome.clone());
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if !self.landed {
            self.cache.inner.lock().slots.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parts::Part;
    use super::*;
    use bytes::Bytes;
    use protocol::ids::{BucketId, TableId};

    fn key(table: i64, start: i64) -> Key {
        Key {
            tablet: TabletId {
                table: TableId::new(table),
                table_partition: None,
                bucket: BucketId::new(0),
            },
            generation: 1,
            start: Offset::new(start),
            end: Offset::new(start + 10),
            schema_id: SchemaId::new(1),
            target: Target::Kafka,
        }
    }

    fn parts(bytes: usize) -> Arc<Parts> {
        Arc::new(Parts {
            parts: vec![Part {
                start: Offset::ZERO,
                end: Offset::new(10),
                bytes: Bytes::from(vec![0; bytes]),
            }],
        })
    }

    fn put(cache: &Arc<Cache>, key: Key, bytes: usize) {
        match cache.claim(key) {
            Claim::Lead(flight) => flight.land(Ok(parts(bytes))),
            _ => panic!("it is there already"),
        }
    }

    #[test]
    fn the_least_recently_used_go_when_there_is_no_room() {
        let cache = Cache::new(4000);
        for start in 0..3 {
            put(&cache, key(1, start), 1000);
        }
        assert!(matches!(cache.claim(key(1, 0)), Claim::Hit(_)));
        put(&cache, key(1, 3), 1000);
        assert!(cache.has(&key(1, 0)));
        assert!(!cache.has(&key(1, 1)));
        assert!(cache.bytes() <= 4000);
        put(&cache, key(1, 9), 3000);
        assert!(!cache.has(&key(1, 9)), "too large to be kept");
    }

    #[test]
    fn who_comes_second_waits_for_the_first() {
        let cache = Cache::new(4000);
        let Claim::Lead(flight) = cache.claim(key(1, 0)) else {
            panic!("the first leads");
        };
        let Claim::Wait(mut receiver) = cache.claim(key(1, 0)) else {
            panic!("the second waits");
        };
        flight.land(Ok(parts(10)));
        assert_eq!(receiver.try_recv().unwrap().unwrap().bytes(), 10);
        assert!(matches!(cache.claim(key(1, 0)), Claim::Hit(_)));
    }

    #[test]
    fn a_flight_that_comes_to_nothing_is_taken_over() {
        let cache = Cache::new(4000);
        let Claim::Lead(flight) = cache.claim(key(1, 0)) else {
            panic!("the first leads");
        };
        let Claim::Wait(mut receiver) = cache.claim(key(1, 0)) else {
            panic!("the second waits");
        };
        drop(flight);
        assert!(receiver.try_recv().is_err());
        assert!(matches!(cache.claim(key(1, 0)), Claim::Lead(_)));
    }

    #[test]
    fn what_is_forgotten_is_gone_also_when_it_was_in_flight() {
        let cache = Cache::new(4000);
        put(&cache, key(1, 0), 10);
        put(&cache, key(1, 50), 10);
        put(&cache, key(2, 0), 10);
        let Claim::Lead(flight) = cache.claim(key(1, 20)) else {
            panic!("the first leads");
        };
        cache.forget_below(key(1, 0).tablet, Offset::new(50));
        flight.land(Ok(parts(10)));
        assert!(!cache.has(&key(1, 0)));
        assert!(!cache.has(&key(1, 20)));
        assert!(cache.has(&key(1, 50)));
        assert!(cache.has(&key(2, 0)));
    }
}
