//! The rows of a bucket, to be scanned, by who can have a damaged index rebuilt.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Inner, KvError, KvTablet, Slot};
use crate::kv::index::{IndexError, IndexView};
use crate::kv::open_index::OpenIndex;
use crate::kv::scan::Scanned;

/// The rows of one bucket. Holds its index open.
pub struct KvRows {
    inner: Arc<Inner>,
    index: Arc<OpenIndex>,
}

impl KvTablet {
    /// The rows, to be scanned. The index is opened when it is not.
    ///
    /// # Errors
    /// It cannot be opened.
    pub async fn rows(&self) -> Result<KvRows, KvError> {
        Ok(KvRows {
            index: self.index().await?,
            inner: Arc::clone(&self.inner),
        })
    }
}

impl Scanned for KvRows {
    fn rows(&self) -> Result<Box<dyn IndexView + '_>, IndexError> {
        self.index.view()
    }

    fn retirement(&self) -> Option<watch::Receiver<bool>> {
        Some(self.index.retirement())
    }

    fn failed(&self, error: &IndexError) {
        if !matches!(error, IndexError::Corrupt(_)) {
            return;
        }
        let (inner, index) = (Arc::clone(&self.inner), Arc::clone(&self.index));
        let error = error.clone();
        // The lane may hold the lock for long.
        self.inner.resources.lanes.run(move || {
            let mut slot = inner.core.lock();
            if matches!(&*slot, Slot::Open(core) if Arc::ptr_eq(&core.index, &index)) {
                drop(index);
                inner.lose_index(&mut slot, &error);
            }
        });
    }
}
