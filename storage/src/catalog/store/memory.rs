//! A store that forgets: for tests and for checking fixtures.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::{CatalogStore, RecordChange, StoreError};

/// Records in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    records: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl MemoryStore {
    /// A store that holds `records`.
    pub fn new(records: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        MemoryStore {
            records: Mutex::new(records.into_iter().collect()),
        }
    }
}

impl CatalogStore for MemoryStore {
    fn load(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        Ok(self
            .records
            .lock()
            .iter()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect())
    }

    fn commit(&self, changes: &[RecordChange]) -> Result<(), StoreError> {
        let mut records = self.records.lock();
        for change in changes {
            match change {
                RecordChange::Put { key, value } => records.insert(key.clone(), value.clone()),
                RecordChange::Delete { key } => records.remove(key),
            };
        }
        Ok(())
    }
}
