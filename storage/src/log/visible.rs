//! Where what readers see ends: what the flush mode promises, and no more than what an index has
//! where one holds the watermark back.
//!
//! ```text
//! append or sync ─► promise(end) ─► high watermark ─► waiters
//!                        └────────► who holds it back: applies, then release_to(end) ─► as above
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::RwLock;
use protocol::ids::Offset;

use super::log::Log;

/// Told that the promised end has moved, or that the log goes offline and it never will again. Called on the thread that moved it: must not wait.
pub type OnPromise = Arc<dyn Fn() + Send + Sync>;

/// The ends below which readers see.
pub(super) struct VisibleEnd {
    /// What the flush mode promises.
    promised: AtomicI64,
    /// What the holder lets through; the largest offset while nobody holds back.
    released: AtomicI64,
    high_watermark: AtomicI64,
    holder: RwLock<Option<OnPromise>>,
}

impl VisibleEnd {
    pub(super) fn new(end: Offset) -> Self {
        VisibleEnd {
            promised: AtomicI64::new(end.value()),
            released: AtomicI64::new(i64::MAX),
            high_watermark: AtomicI64::new(end.value()),
            holder: RwLock::default(),
        }
    }

    pub(super) fn high_watermark(&self) -> Offset {
        Offset::new(self.high_watermark.load(Ordering::Acquire))
    }

    /// Moves the watermark to where it may be, and gives it.
    fn raise(&self) -> Offset {
        let promised = self.promised.load(Ordering::Acquire);
        let end = promised.min(self.released.load(Ordering::Acquire));
        let before = self.high_watermark.fetch_max(end, Ordering::AcqRel);
        Offset::new(before.max(end))
    }
}

impl Log {
    /// The flush mode's promise holds below `end`.
    pub(super) fn promise(&self, end: Offset) {
        let visible = &self.visible;
        let before = visible.promised.fetch_max(end.value(), Ordering::AcqRel);
        if before < end.value() {
            self.tell_holder();
        }
        self.waiters.moved_to(visible.raise());
    }

    pub(super) fn tell_holder(&self) {
        let holder = self.visible.holder.read().clone();
        if let Some(on_promise) = holder {
            on_promise();
        }
    }

    /// The offset below which the flush mode's promise holds. Readers see less while the watermark
    /// is held back.
    pub fn promised_end(&self) -> Offset {
        Offset::new(self.visible.promised.load(Ordering::Acquire))
    }

    /// From now on the high watermark passes only what [`Log::release_to`] lets through. What
    /// readers see already they go on to see. A second caller takes the first one's place.
    pub fn hold_back(&self, on_promise: OnPromise) {
        let visible = &self.visible;
        visible
            .released
            .store(self.visible.high_watermark().value(), Ordering::Release);
        *visible.holder.write() = Some(on_promise);
    }

    /// Who holds the watermark back lets it go up to `end`.
    pub fn release_to(&self, end: Offset) {
        self.visible
            .released
            .fetch_max(end.value(), Ordering::AcqRel);
        self.waiters.moved_to(self.visible.raise());
    }
}
