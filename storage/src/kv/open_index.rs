//! Indexes that are open. A directory has one database at a time, and whoever reads from an index
//! keeps it open: so one that failed, or was replaced, is let go of before the next is opened.
//!
//! ```text
//! owner ─ retire ─► OpenIndex ◄─ scans, which see it and end
//!                       │ dropped by the last one
//!                       ▼
//!             OpenIndexes::open goes on
//! ```

use std::collections::HashSet;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use super::index::{
    Index, IndexError, IndexSpec, IndexStore, IndexUsage, LogEnds, OpenedIndex, Rebuild,
};

/// How long an opening waits for readers of what was open before. All but scans are short, and these
/// see that they have to end, but for a limit scan that waits for memory: the next attempt comes
/// after it.
const READERS_WAIT: Duration = Duration::from_secs(5);

/// An index that is open, for its owner and its readers; it closes when the last one drops it.
pub struct OpenIndex {
    // Fields are dropped in this order: the directory is free when the database is closed.
    index: Arc<dyn Index>,
    retired: watch::Sender<bool>,
    _place: Place,
}

impl Deref for OpenIndex {
    type Target = dyn Index;

    fn deref(&self) -> &Self::Target {
        &*self.index
    }
}

impl OpenIndex {
    /// Its owner gave it up: who reads for long is to let go of it.
    pub fn retire(&self) {
        self.retired.send_replace(true);
    }

    /// True when its owner gave it up.
    pub fn is_retired(&self) -> bool {
        *self.retired.borrow()
    }

    /// Turns to true when its owner gives it up. Does not hold it open.
    pub fn retirement(&self) -> watch::Receiver<bool> {
        self.retired.subscribe()
    }
}

/// What was opened.
pub(super) struct Opened {
    pub(super) index: Arc<OpenIndex>,
    /// Why it begins empty, as in [`OpenedIndex`].
    pub(super) rebuild: Option<Rebuild>,
}

/// Opens indexes, each directory once at a time. Blocks.
pub(super) struct OpenIndexes {
    store: Arc<dyn IndexStore>,
    places: Arc<Places>,
}

/// Directories that are in use.
#[derive(Default)]
struct Places {
    taken: Mutex<HashSet<PathBuf>>,
    left: Condvar,
}

/// The right to a directory.
struct Place {
    directory: PathBuf,
    places: Arc<Places>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken.lock().remove(&self.directory);
        self.places.left.notify_all();
    }
}

impl OpenIndexes {
    pub(super) fn new(store: Arc<dyn IndexStore>) -> OpenIndexes {
        OpenIndexes {
            store,
            places: Arc::default(),
        }
    }

    /// As [`IndexStore::open`], once nobody has the index any more that was open there before.
    ///
    /// # Errors
    /// The disk refuses, or somebody does not let go.
    pub(super) fn open(&self, spec: &IndexSpec, log: &dyn LogEnds) -> Result<Opened, IndexError> {
        let place = self.place(&spec.directory)?;
        let OpenedIndex { index, rebuild } = self.store.open(spec, log)?;
        let index = OpenIndex {
            index,
            retired: watch::Sender::new(false),
            _place: place,
        };
        Ok(Opened {
            index: Arc::new(index),
            rebuild,
        })
    }

    /// As [`IndexStore::discard`], once nobody has the index any more.
    ///
    /// # Errors
    /// The disk refuses, or somebody does not let go.
    pub(super) fn discard(&self, spec: &IndexSpec) -> Result<(), IndexError> {
        let _place = self.place(&spec.directory)?;
        self.store.discard(spec)
    }

    pub(super) fn usage(&self) -> IndexUsage {
        self.store.usage()
    }

    fn place(&self, directory: &Path) -> Result<Place, IndexError> {
        let places = &self.places;
        let mut taken = places.taken.lock();
        let is_taken = |taken: &mut HashSet<PathBuf>| taken.contains(directory);
        let waited = places
            .left
            .wait_while_for(&mut taken, is_taken, READERS_WAIT);
        if waited.timed_out() && taken.contains(directory) {
            let reason = "what was open before is still read from".to_owned();
            return Err(IndexError::Failed(reason));
        }
        taken.insert(directory.to_path_buf());
        Ok(Place {
            directory: directory.to_path_buf(),
            places: Arc::clone(places),
        })
    }
}
