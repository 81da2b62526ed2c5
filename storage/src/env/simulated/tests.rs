use std::collections::BTreeSet;

use std::io::IoSlice;

use super::*;
use crate::env::{DiskFile, OpenMode};

fn path(name: &str) -> PathBuf {
    PathBuf::from(name)
}

fn put(disk: &Arc<dyn Disk>, name: &str, bytes: &[u8]) -> Arc<dyn DiskFile> {
    let file = disk.open(&path(name), OpenMode::CreateOrTruncate).unwrap();
    file.write_all_at(&[IoSlice::new(bytes)], 0).unwrap();
    file
}

fn names(disk: &SimulatedDisk, directory: &str) -> Vec<String> {
    disk.mount()
        .list(&path(directory))
        .unwrap()
        .into_iter()
        .map(|e| e.name)
        .collect()
}

/// The sets of names that are seen over many seeds.
fn outcomes(make: impl Fn(&Arc<dyn Disk>), directory: &str) -> BTreeSet<Vec<String>> {
    (0..300)
        .map(|seed| {
            let disk = SimulatedDisk::new();
            make(&disk.mount());
            disk.crash(seed);
            names(&disk, directory)
        })
        .collect()
}

fn sets(sets: &[&[&str]]) -> BTreeSet<Vec<String>> {
    sets.iter()
        .map(|set| set.iter().map(|s| (*s).to_owned()).collect())
        .collect()
}

#[test]
fn it_behaves_as_a_disk_while_nothing_goes_wrong() {
    let disk = SimulatedDisk::new();
    let mount = disk.mount();
    mount.create_directories(&path("/a/b")).unwrap();
    let file = put(&mount, "/a/b/x", b"hello");
    file.write_all_at(
        &[IoSlice::new(b"l"), IoSlice::new(b""), IoSlice::new(b"p!")],
        3,
    )
    .unwrap();
    let mut buffer = [0; 10];
    assert_eq!(file.read_at(&mut buffer, 1).unwrap(), 5);
    assert_eq!(&buffer[..5], b"ellp!");
    assert_eq!(
        file.read_at_without_waiting(&mut buffer, 6).unwrap(),
        Some(0)
    );
    mount.rename(&path("/a/b/x"), &path("/a/y")).unwrap();
    assert!(!mount.exists(&path("/a/b/x")).unwrap());
    let listed = mount.list(&path("/a")).unwrap();
    assert_eq!(
        listed
            .iter()
            .map(|e| (e.name.as_str(), e.length))
            .collect::<Vec<_>>(),
        [("b", 0), ("y", 6)]
    );
    let missing = mount.open(&path("/a/z"), OpenMode::Read).err().unwrap();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    let taken = mount
        .open(&path("/a/y"), OpenMode::CreateNew)
        .err()
        .unwrap();
    assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
    mount.remove_directory(&path("/a")).unwrap();
    mount.remove_directory(&path("/a")).unwrap();
    assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 6);
    assert_eq!(disk.used_bytes(), 0);
}

#[test]
fn a_synced_file_under_a_synced_name_survives_every_crash() {
    for seed in 0..200 {
        let disk = SimulatedDisk::new();
        let mount = disk.mount();
        mount.create_directories(&path("/d")).unwrap();
        mount.sync_directory(&path("/")).unwrap();
        put(&mount, "/d/x", &[5; 5000]).sync_data().unwrap();
        mount.sync_directory(&path("/d")).unwrap();
        disk.crash(seed);
        assert_eq!(disk.contents(&path("/d/x")).unwrap(), [5; 5000]);
    }
}

#[test]
fn a_crash_is_decided_by_its_seed() {
    let run = |seed| {
        let disk = SimulatedDisk::new();
        for i in 0..20 {
            put(&disk.mount(), &format!("f{i}"), &vec![i; 3000]);
        }
        disk.crash(seed);
        let all = names(&disk, "/")
            .into_iter()
            .map(|n| (disk.contents(&path(&n)).unwrap(), n));
        all.collect::<Vec<_>>()
    };
    assert!((0..20).all(|seed| run(seed) == run(seed)));
    assert!((0..20).any(|seed| run(seed) != run(seed + 1)));
}

#[test]
fn unsynced_names_are_kept_or_dropped_one_by_one() {
    let seen = outcomes(
        |disk| {
            put(disk, "a", b"").sync_data().unwrap();
            put(disk, "b", b"").sync_data().unwrap();
        },
        "/",
    );
    assert_eq!(seen, sets(&[&[], &["a"], &["b"], &["a", "b"]]));
}

#[test]
fn a_rename_is_atomic_and_needs_the_name_that_it_renames() {
    let replaced = outcomes(
        |disk| {
            put(disk, "checkpoint", b"old");
            disk.sync_directory(&path("/")).unwrap();
            put(disk, "new", b"new");
            disk.rename(&path("new"), &path("checkpoint")).unwrap();
        },
        "/",
    );
    assert_eq!(replaced, sets(&[&["checkpoint"], &["checkpoint", "new"]]));
    for seed in 0..100 {
        let disk = SimulatedDisk::new();
        let mount = disk.mount();
        put(&mount, "checkpoint", b"old").sync_data().unwrap();
        mount.sync_directory(&path("/")).unwrap();
        put(&mount, "new", b"new").sync_data().unwrap();
        mount.rename(&path("new"), &path("checkpoint")).unwrap();
        disk.crash(seed);
        let content = disk.contents(&path("checkpoint")).unwrap();
        assert!(content == b"old" || content == b"new");
    }
}

#[test]
fn a_removed_name_comes_back_unless_its_directory_was_synced() {
    let make = |disk: &Arc<dyn Disk>| {
        put(disk, "a", b"1");
        disk.sync_directory(&path("/")).unwrap();
        disk.remove_file(&path("a")).unwrap();
    };
    assert_eq!(outcomes(make, "/"), sets(&[&[], &["a"]]));
    let synced = outcomes(
        |disk| {
            make(disk);
            disk.sync_directory(&path("/")).unwrap();
        },
        "/",
    );
    assert_eq!(synced, sets(&[&[]]));
}

#[test]
fn syncing_one_directory_of_a_rename_brings_what_it_rests_on() {
    let seen = outcomes(
        |disk| {
            disk.create_directories(&path("a")).unwrap();
            disk.create_directories(&path("b")).unwrap();
            disk.sync_directory(&path("/")).unwrap();
            put(disk, "a/x", b"");
            disk.rename(&path("a/x"), &path("b/y")).unwrap();
            disk.sync_directory(&path("b")).unwrap();
        },
        "/b",
    );
    assert_eq!(seen, sets(&[&["y"]]));
}

#[test]
fn a_directory_whose_own_name_was_not_synced_may_go_with_all_in_it() {
    let seen = outcomes(
        |disk| {
            disk.create_directories(&path("d")).unwrap();
            put(disk, "d/x", b"1");
            disk.sync_directory(&path("d")).unwrap();
        },
        "/",
    );
    assert_eq!(seen, sets(&[&[], &["d"]]));
}

#[test]
fn a_removed_tree_goes_from_its_leaves() {
    for seed in 0..200 {
        let disk = SimulatedDisk::new();
        let mount = disk.mount();
        mount.create_directories(&path("d/e")).unwrap();
        put(&mount, "d/x", b"1");
        put(&mount, "d/e/y", b"1");
        for directory in ["d/e", "d", "/"] {
            mount.sync_directory(&path(directory)).unwrap();
        }
        mount.remove_directory(&path("d")).unwrap();
        if seed % 2 == 0 {
            mount.sync_directory(&path("/")).unwrap();
            disk.crash(seed);
            assert_eq!(names(&disk, "/"), [""; 0]);
            continue;
        }
        disk.crash(seed);
        // Whatever is left can be listed and removed.
        let mount = disk.mount();
        mount.remove_directory(&path("d")).unwrap();
        assert_eq!(disk.used_bytes(), 0);
    }
}

#[test]
fn handles_and_mounts_from_before_a_crash_fail() {
    for kill in [false, true] {
        let disk = SimulatedDisk::new();
        let mount = disk.mount();
        let file = put(&mount, "x", b"1");
        if kill {
            disk.kill()
        } else {
            disk.crash(1)
        }
        let mut buffer = [0; 1];
        assert!(file.read_at(&mut buffer, 0).is_err());
        assert!(file.write_all_at(&[IoSlice::new(b"1")], 0).is_err());
        assert!(file.sync_data().is_err());
        assert!(mount.open(&path("y"), OpenMode::CreateNew).is_err());
        assert!(mount.list(&path("/")).is_err());
        drop(file);
        assert!(disk.mount().list(&path("/")).is_ok());
    }
}

#[test]
fn a_kill_keeps_every_byte_and_leaves_unsynced_ones_unsynced() {
    let disk = SimulatedDisk::new();
    put(&disk.mount(), "x", b"1234");
    disk.kill();
    assert_eq!(disk.contents(&path("x")).unwrap(), b"1234");
    assert_eq!(disk.durable_length(&path("x")).unwrap(), 0);
    let lengths: BTreeSet<bool> = (0..100)
        .map(|seed| {
            let disk = SimulatedDisk::new();
            put(&disk.mount(), "x", b"1234");
            disk.kill();
            disk.crash(seed);
            names(&disk, "/").is_empty()
        })
        .collect();
    assert_eq!(lengths.len(), 2);
}

#[test]
fn a_sync_fails_once_and_its_bytes_may_be_gone() {
    let survived: BTreeSet<Vec<u8>> = (0..100)
        .map(|seed| {
            let disk = SimulatedDisk::new();
            let mount = disk.mount();
            let file = put(&mount, "x", &[1; 512]);
            mount.sync_directory(&path("/")).unwrap();
            disk.fail_sync_after(1);
            file.sync_data().unwrap();
            file.write_all_at(&[IoSlice::new(&[2; 512])], 0).unwrap();
            assert!(file.sync_data().is_err());
            file.sync_data().unwrap();
            disk.crash(seed);
            disk.contents(&path("x")).unwrap()
        })
        .collect();
    assert_eq!(survived, BTreeSet::from([vec![1; 512], vec![2; 512]]));
}

#[test]
fn a_full_disk_writes_what_fits_and_has_room_again_after_a_removal() {
    let disk = SimulatedDisk::new();
    disk.set_capacity_bytes(10);
    let mount = disk.mount();
    let file = put(&mount, "x", b"123456");
    let full = file
        .write_all_at(&[IoSlice::new(b"789"), IoSlice::new(b"abc")], 6)
        .err()
        .unwrap();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    assert_eq!(disk.contents(&path("x")).unwrap(), b"123456789a");
    file.write_all_at(&[IoSlice::new(b"overwriting is fine"[..10].as_ref())], 0)
        .unwrap();
    assert_eq!(
        file.set_length(11).err().unwrap().kind(),
        io::ErrorKind::StorageFull
    );
    mount.remove_file(&path("x")).unwrap();
    put(&mount, "y", b"0123456789");
    assert_eq!(disk.used_bytes(), 10);
}

#[test]
fn reads_fail_and_bits_flip_when_told_to() {
    let disk = SimulatedDisk::new();
    let mount = disk.mount();
    let file = put(&mount, "x", &[0; 4]);
    let mut buffer = [0; 4];
    disk.fail_reads(&path("x"), true);
    assert!(file.read_at(&mut buffer, 0).is_err());
    assert!(
        mount
            .open(&path("x"), OpenMode::Read)
            .unwrap()
            .read_at(&mut buffer, 0)
            .is_err()
    );
    disk.fail_reads(&path("x"), false);
    disk.flip_bit(&path("x"), 2, 7).unwrap();
    disk.flip_bit(&path("x"), 100, 0).unwrap();
    assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 4);
    assert_eq!(buffer, [0, 0, 128, 0]);
    disk.pretend_uncached(true);
    assert_eq!(file.read_at_without_waiting(&mut buffer, 0).unwrap(), None);
}

#[test]
fn after_a_power_cut_nothing_works_until_the_crash() {
    let disk = SimulatedDisk::new();
    let mount = disk.mount();
    let file = put(&mount, "x", b"1");
    disk.cut_power_after(2);
    file.sync_data().unwrap();
    mount.sync_directory(&path("/")).unwrap();
    assert!(!disk.power_is_off());
    assert!(file.write_all_at(&[IoSlice::new(b"2")], 0).is_err());
    assert!(disk.power_is_off());
    assert!(file.length().is_err());
    disk.crash(3);
    assert_eq!(disk.contents(&path("x")).unwrap(), b"1");
}

#[test]
fn ignored_syncs_keep_nothing() {
    let lost = (0..50).any(|seed| {
        let disk = SimulatedDisk::new();
        disk.ignore_syncs(true);
        let mount = disk.mount();
        put(&mount, "x", b"1").sync_data().unwrap();
        mount.sync_directory(&path("/")).unwrap();
        disk.crash(seed);
        names(&disk, "/").is_empty()
    });
    assert!(lost);
}

#[test]
fn several_threads_may_use_one_file() {
    let disk = SimulatedDisk::new();
    let mount = disk.mount();
    let file = put(&mount, "x", &[0; 8 * 600]);
    std::thread::scope(|scope| {
        for i in 0..8u8 {
            let file = &file;
            scope.spawn(move || {
                file.write_all_at(&[IoSlice::new(&[i; 600])], u64::from(i) * 600)
                    .unwrap();
                file.sync_data().unwrap();
            });
        }
    });
    let expected: Vec<u8> = (0..8).flat_map(|i| vec![i; 600]).collect();
    assert_eq!(disk.contents(&path("x")).unwrap(), expected);
    assert_eq!(disk.counters().file_syncs, 8);
    assert_eq!(disk.counters().written_bytes, 2 * 8 * 600);
}
