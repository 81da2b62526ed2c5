//! Waiting for the index without a thread. One worker opens it for all who want to read, and for the
//! lane; an opening may take as long as the log is, and what else waits for the disk must get on
//! meanwhile.
//!
//! ```text
//! index() ─► not open: ask ─► openers: open ─► all who wait look again
//! lane ────────────┘                       └─► the lane goes on
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use super::{Inner, KvError, OpenIndex, OpenIndexError};

/// An index that is lost again before who waited for it has it is asked for so many times.
const ATTEMPTS: usize = 3;

/// The openings that were asked for.
#[derive(Default)]
pub(super) struct Openings {
    /// One is queued or under way.
    asked: AtomicBool,
    ended: watch::Sender<Ended>,
}

/// Those that are over.
#[derive(Default)]
struct Ended {
    count: u64,
    /// What the last one came to; nothing when the index was open then.
    failed: Option<OpeningFailed>,
}

impl Openings {
    /// Who waits for one.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.ended.receiver_count()
    }

    /// One is queued or under way.
    #[cfg(test)]
    pub(super) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }
}

/// Why an index is not open.
#[derive(Clone)]
pub(super) enum OpeningFailed {
    Closed,
    Open(Arc<OpenIndexError>),
}

impl From<OpeningFailed> for KvError {
    fn from(failed: OpeningFailed) -> Self {
        match failed {
            OpeningFailed::Closed => KvError::Closed,
            OpeningFailed::Open(error) => KvError::Open(error),
        }
    }
}

impl Inner {
    /// The index, once it is open.
    pub(super) async fn index_when_open(self: &Arc<Self>) -> Result<Arc<OpenIndex>, KvError> {
        let mut ended = self.openings.ended.subscribe();
        for _ in 0..ATTEMPTS {
            let before = ended.borrow_and_update().count;
            if let Some(index) = self.index.read().clone() {
                return Ok(index);
            }
            self.open_soon();
            let failed = match ended.wait_for(|ended| ended.count > before).await {
                Ok(now) => now.failed.clone(),
                Err(_) => Some(OpeningFailed::Closed),
            };
            if let Some(failed) = failed {
                return Err(failed.into());
            }
        }
        let again = "it was lost as soon as it was open".to_owned();
        Err(OpenIndexError::Recently(again).into())
    }

    /// Has the index opened, once however many ask.
    pub(super) fn open_soon(self: &Arc<Self>) {
        if self.openings.asked.swap(true, Ordering::AcqRel) {
            return;
        }
        let panicked = OpenIndexError::Recently("the opening panicked".to_owned());
        let mut opener = Opener {
            inner: Arc::clone(self),
            failed: Some(OpeningFailed::Open(Arc::new(panicked))),
        };
        self.resources.openers.run(move || {
            let opened = match opener.inner.opened() {
                // The second attempt removes it.
                Err(KvError::Open(error)) if error.is_corrupt() => opener.inner.opened(),
                opened => opened,
            };
            opener.failed = match opened {
                Ok(_) => None,
                Err(KvError::Open(error)) => Some(OpeningFailed::Open(error)),
                Err(_) => Some(OpeningFailed::Closed),
            };
            // Tells them, as a panic does.
            drop(opener);
        });
    }
}

/// Who opens. However it ends, those who wait are told.
struct Opener {
    inner: Arc<Inner>,
    failed: Option<OpeningFailed>,
}

impl Drop for Opener {
    fn drop(&mut self) {
        let openings = &self.inner.openings;
        let failed = self.failed.take();
        // Who sees the end of this one may ask for another.
        openings.asked.store(false, Ordering::Release);
        openings.ended.send_modify(|ended| {
            ended.count += 1;
            ended.failed = failed.clone();
        });
        // A lane that found it asked for has said before that it waits.
        self.inner.opening_ended(failed);
    }
}
