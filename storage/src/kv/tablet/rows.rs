//! The rows of a bucket, to be scanned, by who can have a damaged index rebuilt.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Inner, KvError, KvTablet};
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
        self.inner
            .found_damaged(&Arc::downgrade(&self.index), error);
    }
}
