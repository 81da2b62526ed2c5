//! What the cleaner asks about a changelog.

use protocol::ids::Offset;

use super::{KvError, KvTablet, OpenIndexError};
use crate::log::cleaner::{OffsetMap, Successors, SuccessorsError};

/// The newest offsets of a changelog's keys, from a map, as far as the index is on disk.
pub struct ChangelogSuccessors<'m> {
    map: &'m OffsetMap,
    kv: KvTablet,
}

impl KvTablet {
    /// What the cleaner asks about this changelog, of which `map` knows the newest offsets.
    pub fn successors<'m>(&self, map: &'m OffsetMap) -> ChangelogSuccessors<'m> {
        ChangelogSuccessors {
            map,
            kv: self.clone(),
        }
    }
}

impl Successors for ChangelogSuccessors<'_> {
    /// What is said here holds until the round ends: an index that is lost later is opened again
    /// when the round is over. One that was lost before, and has not on disk what it had, is
    /// flushed again; one that is not open may be about to be replayed.
    fn known_end(&self) -> Result<Offset, SuccessorsError> {
        let inner = &self.kv.inner;
        let failed = |error: KvError| SuccessorsError(Box::new(error));
        let index = self.kv.index_if_open();
        let index = index.ok_or_else(|| failed(KvError::Closed))?;
        let flushed = inner.flush(&**index);
        let flushed = flushed.map_err(|error| failed(OpenIndexError::Index(error).into()))?;
        Ok(self.map.known_end()?.min(flushed))
    }

    fn newest(
        &self,
        keys: &[&[u8]],
        found: &mut Vec<Option<Offset>>,
    ) -> Result<(), SuccessorsError> {
        self.map.newest(keys, found)
    }

    fn remembers_tombstones(&self) -> bool {
        self.map.remembers_tombstones()
    }

    fn forget(&self, gone: &[(&[u8], Offset)]) -> Result<(), SuccessorsError> {
        self.map.forget(gone)
    }
}
