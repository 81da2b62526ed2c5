#![allow(
    clippy::disallowed_methods,
    reason = "the database writes to the file system, and so does whoever damages it"
)]

use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;

use proptest::prelude::*;
use protocol::schema::{DataType, TypeKind};
use tempfile::TempDir;

use super::super::conformance::{self, Ends};
use super::*;
use crate::kv::model::{MortalIndex, scenario};

fn shared() -> RocksShared {
    RocksShared::new(RocksConfig::default()).unwrap()
}

fn spec(directory: &Path) -> IndexSpec {
    let byte = || DataType::not_null(TypeKind::TinyInt);
    IndexSpec {
        directory: directory.to_owned(),
        identity: *b"one of the logs!",
        counts_rows: true,
        prefix: vec![byte(), byte()],
    }
}

fn open(spec: &IndexSpec, shared: &RocksShared) -> Result<RocksIndex, OpenError> {
    RocksIndex::open(spec, shared, &ends(0, 1000))
}

fn ends(start: i64, end: i64) -> Ends {
    Ends {
        start,
        end,
        epoch: None,
    }
}

fn state(applied: i64, row_count: i64) -> IndexState {
    IndexState {
        applied: Offset::new(applied),
        epoch: None,
        row_count: Some(row_count),
    }
}

fn write(index: &dyn Index, keys: &[&[u8]], state: IndexState) {
    let mut batch = index.start();
    for key in keys {
        batch.put(key, &[*key, b"'s row"].concat());
    }
    batch.commit(state).unwrap();
}

fn keys(index: &dyn Index) -> Vec<String> {
    let mut keys = Vec::new();
    let scanned = index.view().unwrap().scan(None, &mut |key, value| {
        assert_eq!(value, [key, &b"'s row"[..]].concat());
        keys.push(String::from_utf8(key.to_vec()).unwrap());
        ControlFlow::Continue(())
    });
    scanned.unwrap();
    keys
}

/// Copies a directory while the database works: what a kill leaves. A file that is named by what
/// was copied before it is still there.
fn copy_killed(index: &RocksIndex, from: &Path, to: &Path) {
    index.db.disable_file_deletions().unwrap();
    fs::create_dir_all(to).unwrap();
    for first in ["CURRENT", "MANIFEST"] {
        for file in files_of(from, first) {
            fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
        }
    }
    for file in files_of(from, ".sst") {
        fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
    index.db.enable_file_deletions().unwrap();
}

/// Copies a directory that nobody works in.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn files_of(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(directory).unwrap().map(|e| e.unwrap().path());
    let mut files: Vec<_> = files
        .filter(|path| path.to_string_lossy().contains(ending))
        .collect();
    files.sort();
    files
}

#[test]
fn an_index_on_disk_conforms_with_and_without_prefixes() {
    let shared = shared();
    for prefixes in [true, false] {
        let directory = TempDir::new().unwrap();
        let mut spec = spec(directory.path());
        if !prefixes {
            spec.prefix.clear();
        }
        let index = RocksIndex::create(&spec, &shared, Offset::ZERO).unwrap();
        conformance::run(&index);
        drop(index);
        let index = open(&spec, &shared).unwrap();
        assert_eq!(index.state(), state(9, 3));
    }
}

#[test]
fn an_index_that_is_closed_keeps_everything() {
    let (shared, directory) = (shared(), TempDir::new().unwrap());
    let spec = spec(directory.path());
    let index = RocksIndex::create(&spec, &shared, Offset::new(5)).unwrap();
    assert_eq!(index.state(), state(5, 0));
    write(&index, &[b"aa1", b"ab1"], state(7, 2));
    drop(index);
    let index = open(&spec, &shared).unwrap();
    assert_eq!(index.state(), state(7, 2));
    assert_eq!(keys(&index), ["aa1", "ab1"]);
    drop(index);
    // To make it anew forgets what was there.
    let index = RocksIndex::create(&spec, &shared, Offset::ZERO).unwrap();
    assert_eq!(index.state(), state(0, 0));
    assert!(keys(&index).is_empty());
}

#[test]
fn a_killed_index_has_rows_and_state_of_the_same_batch() {
    let (shared, directory) = (shared(), TempDir::new().unwrap());
    let home = directory.path().join("index");
    let index = RocksIndex::create(&spec(&home), &shared, Offset::ZERO).unwrap();
    write(&index, &[b"aa1"], state(1, 1));
    index.flush().unwrap();
    write(&index, &[b"aa2"], state(2, 2));
    let killed = spec(&directory.path().join("killed"));
    copy_killed(&index, &home, &killed.directory);
    let survivor = open(&killed, &shared).unwrap();
    assert_eq!(survivor.state(), state(1, 1));
    assert_eq!(keys(&survivor), ["aa1"]);
    assert_eq!(keys(&index), ["aa1", "aa2"]);
}

#[test]
fn an_index_that_does_not_fit_asks_to_be_rebuilt() {
    let (shared, directory) = (shared(), TempDir::new().unwrap());
    let spec = spec(directory.path());
    let rebuild = |spec: &IndexSpec, start, end| {
        let opened = RocksIndex::open(spec, &shared, &ends(start, end));
        match opened {
            Err(OpenError::Rebuild(rebuild)) => rebuild,
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("it opened"),
        }
    };
    assert_eq!(rebuild(&spec, 0, 9), Rebuild::Absent);
    let index = RocksIndex::create(&spec, &shared, Offset::ZERO).unwrap();
    write(&index, &[b"aa1"], state(7, 1));
    drop(index);
    assert!(matches!(rebuild(&spec, 0, 6), Rebuild::Ahead { .. }));
    assert!(matches!(rebuild(&spec, 8, 9), Rebuild::Behind { .. }));
    let mut other = spec.clone();
    other.identity = [0; 16];
    assert!(matches!(rebuild(&other, 0, 9), Rebuild::Foreign(_)));
    other = spec.clone();
    other.counts_rows = false;
    assert!(matches!(rebuild(&other, 0, 9), Rebuild::Foreign(_)));
    open(&spec, &shared).unwrap();
}

#[test]
fn lost_and_damaged_files_are_noticed() {
    let (shared, directory) = (shared(), TempDir::new().unwrap());
    let home = directory.path().join("index");
    let index = RocksIndex::create(&spec(&home), &shared, Offset::ZERO).unwrap();
    for i in 0..200u8 {
        write(
            &index,
            &[&[b'a', b'a', b'0' + i % 10, b'0' + i / 10]],
            state(1, 1),
        );
    }
    index.flush().unwrap();
    drop(index);
    let damage = |name: &str, ending: &str, damage: &dyn Fn(&Path)| {
        let damaged = spec(&directory.path().join(name));
        copy(&home, &damaged.directory);
        let files = files_of(&damaged.directory, ending);
        assert!(!files.is_empty(), "{name}");
        for file in files {
            damage(&file);
        }
        // It does not open, or says so when it is read.
        match open(&damaged, &shared) {
            Err(OpenError::Rebuild(Rebuild::Corrupt(_) | Rebuild::Absent)) => {}
            Err(other) => panic!("{name}: {other}"),
            Ok(index) => {
                let read = index
                    .view()
                    .and_then(|v| v.scan(None, &mut |_, _| ControlFlow::Continue(())));
                assert!(
                    matches!(read, Err(IndexError::Corrupt(_))),
                    "{name}: {read:?}"
                );
            }
        }
    };
    let remove = |file: &Path| fs::remove_file(file).unwrap();
    let flip = |file: &Path| {
        let mut bytes = fs::read(file).unwrap();
        for at in (0..bytes.len()).step_by(64) {
            bytes[at] ^= 0x55;
        }
        fs::write(file, bytes).unwrap();
    };
    let cut = |file: &Path| {
        let bytes = fs::read(file).unwrap();
        fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
    };
    damage("no rows", ".sst", &remove);
    damage("flipped rows", ".sst", &flip);
    damage("cut rows", ".sst", &cut);
    damage("no manifest", "MANIFEST", &remove);
    damage("flipped manifest", "MANIFEST", &flip);
    damage("no current", "CURRENT", &remove);
    damage("cut current", "CURRENT", &cut);
}

#[test]
fn linked_files_are_an_index_of_their_own() {
    let (shared, directory) = (shared(), TempDir::new().unwrap());
    let index = RocksIndex::create(
        &spec(&directory.path().join("index")),
        &shared,
        Offset::ZERO,
    );
    let index = index.unwrap();
    write(&index, &[b"aa1"], state(3, 1));
    let linked = spec(&directory.path().join("linked"));
    let files = index.link_files(&linked.directory).unwrap();
    assert_eq!(files.state, state(3, 1));
    assert!(!files.database.is_empty());
    write(&index, &[b"aa2"], state(4, 2));
    let opened = open(&linked, &shared).unwrap();
    assert_eq!(
        (opened.state(), keys(&opened)),
        (state(3, 1), vec!["aa1".to_owned()])
    );
}

#[test]
fn prefix_lookups_find_all_rows_across_files_and_memory() {
    let (shared, directory) = (shared(), TempDir::new().unwrap());
    let mut spec = spec(directory.path());
    spec.prefix = vec![DataType::not_null(TypeKind::String)];
    let index = RocksIndex::create(&spec, &shared, Offset::ZERO).unwrap();
    let key = |name: &str, n: u8| [&[name.len() as u8], name.as_bytes(), &[n]].concat();
    for n in 0..40 {
        for name in ["a", "b", "bb", ""] {
            write(&index, &[&key(name, n)], state(1, 1));
        }
        if n % 10 == 0 {
            index.flush().unwrap();
        }
    }
    for name in ["a", "b", "bb", ""] {
        let prefix = [&[name.len() as u8], name.as_bytes()].concat();
        let mut found = Vec::new();
        let scanned = index.scan_prefixes(&[&prefix], true, &mut |_, key, _| {
            found.push(key.to_vec());
            ControlFlow::Continue(())
        });
        scanned.unwrap();
        let expected: Vec<_> = (0..40).map(|n| key(name, n)).collect();
        assert_eq!(found, expected, "{name}");
    }
    // A prefix that is no whole column.
    let mut count = 0;
    let scanned = index.scan_prefixes(&[&[1]], true, &mut |_, _, _| {
        count += 1;
        ControlFlow::Continue(())
    });
    scanned.unwrap();
    assert_eq!(count, 80);
}

#[test]
fn many_indexes_stay_within_the_memory_of_one_process() {
    let directory = TempDir::new().unwrap();
    let config = RocksConfig {
        cache_bytes_max: 8 << 20,
        write_buffers_bytes_max: 2 << 20,
        write_buffer_bytes_max: 1 << 20,
        compaction_bytes_per_second_max: None,
        ..RocksConfig::default()
    };
    let shared = RocksShared::new(config).unwrap();
    let indexes: Vec<_> = (0..6)
        .map(|i| {
            let spec = spec(&directory.path().join(i.to_string()));
            RocksIndex::create(&spec, &shared, Offset::ZERO).unwrap()
        })
        .collect();
    let value = [7; 1000];
    let mut most = 0;
    for round in 0..40u32 {
        for (i, index) in (0..).zip(&indexes) {
            let mut batch = index.start();
            for n in 0..50u32 {
                batch.put(&(round * 50 + n).to_be_bytes(), &value);
            }
            batch.commit(state(i64::from(round), i)).unwrap();
        }
        most = most.max(shared.usage().write_buffers_bytes);
    }
    // 12 MB were written; what is being flushed comes on top of the limit.
    assert!(most < 5 << 20, "{most}");
    assert!(indexes.iter().all(|i| i.pressure().disk_bytes > 0));
}

#[test]
fn what_is_looked_up_stays_in_memory_and_what_is_merged_does_not() {
    let directory = TempDir::new().unwrap();
    let shared = shared();
    let index = RocksIndex::create(&spec(directory.path()), &shared, Offset::ZERO).unwrap();
    write(&index, &[b"ab", b"cd"], state(2, 2));
    let mut found = FoundRows::new();
    index.get_many(&[b"ab", b"cd"], &mut found).unwrap();
    assert_eq!(shared.usage().row_cache_bytes, 0);
    index.look_up(&[b"ab", b"none"], &mut found).unwrap();
    let one = shared.usage().row_cache_bytes;
    assert!(one > 0);
    assert!(index.look_up_cached(&[b"ab", b"cd"], &mut found).unwrap());
    assert_eq!(shared.usage().row_cache_bytes, 2 * one);
    assert_eq!(found.get(1), Some(&b"cd's row"[..]));
}

#[test]
fn readers_never_see_a_row_older_than_one_they_saw() {
    const WRITES: i64 = 5_000;
    let directory = TempDir::new().unwrap();
    // Few of the keys stay in memory: they come and go.
    let config = RocksConfig {
        row_cache_bytes_max: 4 << 10,
        ..RocksConfig::default()
    };
    let shared = RocksShared::new(config).unwrap();
    let index = RocksIndex::create(&spec(directory.path()), &shared, Offset::ZERO).unwrap();
    let keys: Vec<[u8; 1]> = (0..64).map(|key| [key]).collect();
    let slices: Vec<&[u8]> = keys.iter().map(AsRef::as_ref).collect();
    std::thread::scope(|scope| {
        for reader in 0..3 {
            let (index, slices) = (&index, &slices);
            scope.spawn(move || {
                let mut seen = vec![0; slices.len()];
                let mut found = FoundRows::new();
                loop {
                    let written = index.state().applied.value();
                    match reader {
                        0 => index.look_up(slices, &mut found).unwrap(),
                        1 => index.get_many(slices, &mut found).unwrap(),
                        _ => assert!(index.look_up_cached(slices, &mut found).unwrap()),
                    }
                    for (at, seen) in seen.iter_mut().enumerate() {
                        let value = found.get(at).map(|value| value.try_into().unwrap());
                        let value = value.map_or(0, i64::from_be_bytes);
                        assert!(value >= *seen, "{value} after {seen}");
                        *seen = value;
                    }
                    // Each write writes all keys.
                    assert!(seen.iter().all(|seen| *seen >= written), "{written}");
                    if written == WRITES {
                        return;
                    }
                }
            });
        }
        for number in 1..=WRITES {
            let mut batch = index.start();
            for key in &slices {
                batch.put(key, &number.to_be_bytes());
            }
            batch.commit(state(number, 64)).unwrap();
        }
    });
}

/// An index on disk that is killed: its files are copied, as they are, and opened anew.
struct Mortal {
    /// None only while it changes. Closed before its directory goes.
    index: Option<RocksIndex>,
    shared: RocksShared,
    directory: TempDir,
    lives: u32,
    spec: IndexSpec,
}

impl Mortal {
    fn new() -> Mortal {
        let directory = TempDir::new().unwrap();
        let mut mortal = Mortal {
            shared: shared(),
            spec: spec(directory.path()),
            directory,
            lives: 0,
            index: None,
        };
        mortal.lose(true);
        mortal
    }

    fn next_home(&mut self) -> PathBuf {
        self.lives += 1;
        self.directory.path().join(self.lives.to_string())
    }
}

impl MortalIndex for Mortal {
    fn index(&self) -> &dyn Index {
        self.index.as_ref().unwrap()
    }

    fn kill(&mut self, _: u8) {
        let home = self.next_home();
        if let Some(index) = self.index.take() {
            copy_killed(&index, &self.spec.directory, &home);
        }
        self.spec.directory = home;
        self.index = Some(open(&self.spec, &self.shared).unwrap());
    }

    fn lose(&mut self, counts_rows: bool) {
        self.index = None;
        self.spec.directory = self.next_home();
        self.spec.counts_rows = counts_rows;
        let created = RocksIndex::create(&self.spec, &self.shared, Offset::ZERO);
        self.index = Some(created.unwrap());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_bucket_on_disk_equals_the_model(scenario in scenario()) {
        scenario.run(&mut Mortal::new());
    }
}

#[test]
fn what_was_flushed_is_still_in_memory() {
    let home = TempDir::new().unwrap();
    let index = RocksIndex::create(&spec(home.path()), &shared(), Offset::ZERO).unwrap();
    let mut rows = index.start();
    let keys: Vec<_> = (0..2_000u32).map(u32::to_be_bytes).collect();
    for key in &keys {
        rows.put(key, &[7; 50]);
    }
    rows.commit(state(1, 2_000)).unwrap();
    index.flush().unwrap();
    let mut found = FoundRows::new();
    for keys in keys.chunks(100) {
        let slices: Vec<&[u8]> = keys.iter().map(<[u8; 4]>::as_slice).collect();
        assert!(index.look_up_cached(&slices, &mut found).unwrap());
        assert!(found.iter().all(|value| value == Some(&[7; 50])));
    }
}

#[test]
fn what_no_memory_has_is_never_answered_from_memory() {
    let home = TempDir::new().unwrap();
    let spec = spec(home.path());
    let key = |n: u32| n.to_be_bytes();
    {
        let shared = shared();
        let index = RocksIndex::create(&spec, &shared, Offset::ZERO).unwrap();
        let mut rows = index.start();
        for n in 0..2_000 {
            rows.put(&key(n), &[7; 50]);
        }
        rows.commit(state(1, 2_000)).unwrap();
        index.flush().unwrap();
    }
    // Nothing is in the cache of the next start.
    let shared = shared();
    let index = open(&spec, &shared).unwrap();
    let mut found = FoundRows::new();
    for first in (0..2_000).step_by(100) {
        let keys: Vec<_> = (first..first + 10).map(key).collect();
        let slices: Vec<&[u8]> = keys.iter().map(<[u8; 4]>::as_slice).collect();
        if index.look_up_cached(&slices, &mut found).unwrap() {
            assert!(found.iter().all(|value| value == Some(&[7; 50])));
        }
    }
    assert!(
        !index
            .look_up_cached(&[&key(1_999), &key(5)], &mut found)
            .unwrap()
    );
    // Once they were read, memory has them.
    index.get_many(&[&key(1_999), &key(5)], &mut found).unwrap();
    assert!(
        index
            .look_up_cached(&[&key(1_999), &key(5)], &mut found)
            .unwrap()
    );
    assert!(found.iter().all(|value| value == Some(&[7; 50])));
}
