//! The suite that every store passes, and what the embedded one promises beyond it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::memory::MemoryStore;
use super::redb::RedbStore;
use super::{CatalogStore, RecordChange, StoreError};
use crate::env::simulated::SimulatedDisk;
use crate::env::{Disk, Env};

fn put(key: &str, value: &[u8]) -> RecordChange {
    RecordChange::Put {
        key: key.to_owned(),
        value: value.to_vec(),
    }
}

fn delete(key: &str) -> RecordChange {
    RecordChange::Delete {
        key: key.to_owned(),
    }
}

fn records(store: &dyn CatalogStore) -> Vec<(String, Vec<u8>)> {
    store.load().unwrap()
}

/// What every store does. `open` opens the same store again and again.
fn conformance<S: CatalogStore>(open: impl Fn() -> S) {
    let store = open();
    assert_eq!(records(&store), []);
    store
        .commit(&[put("b", b"2"), put("a", b"1"), put("c/d", b"")])
        .unwrap();
    store
        .commit(&[delete("b"), put("a", b"3"), delete("missing")])
        .unwrap();
    store
        .commit(&[put("e", b"1"), put("e", b"2"), put("f", b""), delete("f")])
        .unwrap();
    store.commit(&[]).unwrap();
    let expected = [
        ("a".to_owned(), b"3".to_vec()),
        ("c/d".to_owned(), Vec::new()),
        ("e".to_owned(), b"2".to_vec()),
    ];
    assert_eq!(records(&store), expected);
    let large = vec![7; 3 << 20];
    store.commit(&[put("large", &large)]).unwrap();
    drop(store);
    let again = open();
    let found = records(&again);
    assert_eq!(found[..3], expected);
    assert_eq!(found[3], ("large".to_owned(), large));
}

#[test]
fn memory_store_conforms() {
    #[derive(Clone)]
    struct Shared(Arc<MemoryStore>);
    impl CatalogStore for Shared {
        fn load(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
            self.0.load()
        }
        fn commit(&self, changes: &[RecordChange]) -> Result<(), StoreError> {
            self.0.commit(changes)
        }
    }
    let shared = Shared(Arc::new(MemoryStore::default()));
    conformance(|| shared.clone());
}

#[test]
fn redb_store_conforms_on_a_real_disk() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Env::real().disk;
    conformance(|| RedbStore::open(disk.as_ref(), directory.path()).unwrap());
}

#[test]
fn redb_store_conforms_on_a_simulated_disk() {
    let disk = SimulatedDisk::new().mount();
    conformance(|| RedbStore::open(disk.as_ref(), Path::new("/")).unwrap());
}

fn open_root(disk: &Arc<dyn Disk>) -> Result<RedbStore, StoreError> {
    RedbStore::open(disk.as_ref(), Path::new("/"))
}

#[test]
fn commits_survive_power_loss_at_any_moment_whole_or_not_at_all() {
    for seed in 0..300 {
        let disk = SimulatedDisk::new();
        let mut committed = 0u32;
        // Three lives, each cut short somewhere, the first ones perhaps while the file is made.
        for life in 0..3 {
            disk.cut_power_after((seed * 7 + life * 31) % 90);
            let store = open_root(&disk.mount());
            if let Ok(store) = &store {
                let found = records_as_number(store);
                assert!(found >= committed, "seed {seed}: {found} after {committed}");
                committed = found;
                loop {
                    let next = committed + 1;
                    let digits = next.to_string().into_bytes();
                    let filler = vec![next as u8; (next as usize % 7) * 2000];
                    if store
                        .commit(&[put("x", &digits), put("filler", &filler), put("y", &digits)])
                        .is_err()
                    {
                        break;
                    }
                    committed = next;
                }
            }
            disk.crash(seed * 10 + life);
        }
        let store = open_root(&disk.mount()).unwrap_or_else(|e| panic!("seed {seed}: {e:?}"));
        let found = records_as_number(&store);
        assert!(found == committed || found == committed + 1, "seed {seed}");
    }
}

fn records_as_number(store: &RedbStore) -> u32 {
    let records = records(store);
    let number = |key: &str| {
        let value = records
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v.clone());
        value.map_or(0, |v| String::from_utf8(v).unwrap().parse().unwrap())
    };
    assert_eq!(number("x"), number("y"));
    number("x")
}

#[test]
fn a_full_disk_fails_a_change_and_a_failed_sync_all_later_ones() {
    let disk = SimulatedDisk::new();
    let store = open_root(&disk.mount()).unwrap();
    store.commit(&[put("a", b"1")]).unwrap();
    disk.set_capacity_bytes(disk.used_bytes());
    let full = store.commit(&[put("b", &vec![1; 8 << 20])]).unwrap_err();
    assert!(matches!(full, StoreError::Full(_)), "{full:?}");
    assert_eq!(records(&store), [("a".to_owned(), b"1".to_vec())]);
    // A change that needs no more room goes through, and with more room every change does.
    store.commit(&[put("a", b"2")]).unwrap();
    disk.set_capacity_bytes(1 << 30);
    store
        .commit(&[put("b", &vec![1; 8 << 20]), put("a", b"3")])
        .unwrap();
    assert_eq!(records(&store)[0], ("a".to_owned(), b"3".to_vec()));
    disk.fail_sync_after(0);
    assert!(matches!(
        store.commit(&[put("a", b"4")]),
        Err(StoreError::Io(_))
    ));
    assert!(store.commit(&[put("a", b"5")]).is_err());
}

#[test]
fn a_foreign_file_is_refused() {
    let disk = SimulatedDisk::new();
    let mount = disk.mount();
    let file = mount
        .open(
            &Path::new("/").join(super::redb::FILE_NAME),
            crate::env::OpenMode::CreateNew,
        )
        .unwrap();
    file.write_all_at(&[io::IoSlice::new(&[b'x'; 10_000])], 0)
        .unwrap();
    assert!(open_root(&mount).is_err());
}
