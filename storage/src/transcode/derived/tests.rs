//! Derived files over real logs on a simulated disk.

use super::super::tests::{World, kafka_batch_of, raw_shape, small_segments};
use super::*;
use crate::tablet::ArrowCodec;

const ROOM: u64 = 1 << 30;

/// A world with two closed segments and an open one.
fn world() -> World {
    let world = World::with_files(raw_shape(ArrowCodec::None), small_segments(), ROOM);
    for i in 0..80u64 {
        world.append(kafka_batch_of(3, &vec![7; 30_000]));
        world.pause(if i % 17 == 0 { 1500 } else { 20 });
    }
    world
}

fn files(world: &World) -> Vec<String> {
    let disk = &world.log.log().context().env.disk;
    let directory = directory_of(world.log.log());
    if !disk.exists(&directory).unwrap() {
        return Vec::new();
    }
    let entries = disk.list(&directory).unwrap();
    entries.into_iter().map(|entry| entry.name).collect()
}

fn path(world: &World, name: &str) -> PathBuf {
    directory_of(world.log.log()).join(name)
}

#[test]
fn the_first_read_makes_files_and_later_ones_read_them() {
    let mut world = world();
    let end = world.end().value();
    let before = world.fluss(0, 64 << 20, None);
    world.settle();
    assert_eq!(files(&world).len(), 2, "one per closed segment");
    // Nothing is remembered but the files.
    world.restart_transcoder(ROOM);
    let after = world.fluss(0, 64 << 20, None);
    assert_eq!(before.chunks, after.chunks);
    for offset in (0..end).step_by(7) {
        world.restart_transcoder(ROOM);
        let rows = world.fluss_rows(offset, 1 << 20);
        let expected = offset..end;
        assert!(rows.iter().map(|row| row.0).eq(expected));
    }
}

#[test]
fn a_projected_read_takes_only_the_wanted_buffers_from_the_disk() {
    let mut world = world();
    world.fluss(0, 64 << 20, None);
    world.settle();
    world.restart_transcoder(ROOM);
    let segment_end = world.log.log().segments()[1].base();
    let before = world.simulation.disk.counters().read_bytes;
    let read = world.fluss_below(0, segment_end, Some(&[2]));
    let bytes = world.simulation.disk.counters().read_bytes - before;
    assert_eq!(read.next_offset, segment_end);
    assert!(bytes < 20_000, "{bytes} bytes of 3 MiB");
}

#[test]
fn a_damaged_file_is_made_again() {
    let mut world = world();
    let rows = world.fluss_rows(0, 1 << 20);
    world.settle();
    let names = files(&world);
    let length = world
        .simulation
        .disk
        .contents(&path(&world, &names[0]))
        .unwrap()
        .len() as u64;
    // In the header, in a batch, in an entry.
    for position in [20, length / 2, length - 3] {
        world
            .simulation
            .disk
            .flip_bit(&path(&world, &names[0]), position, 3)
            .unwrap();
        world.restart_transcoder(ROOM);
        assert_eq!(world.fluss_rows(0, 1 << 20), rows, "byte {position}");
        world.settle();
        world.fluss_rows(0, 1 << 20);
        world.settle();
        assert_eq!(files(&world), names);
        let disk = &*world.log.log().context().env.disk;
        let key = RangePlace::of(&world.log.log().segments()[0], 0).key;
        let whole = DerivedFile::open(disk, &path(&world, &names[0]), key).unwrap();
        assert!(whole.is_some(), "byte {position}");
    }
}

#[test]
fn files_go_with_their_segments_and_with_deleted_records() {
    let mut world = world();
    world.fluss(0, 64 << 20, None);
    world.settle();
    let second = world.log.log().segments()[1].base();
    world.log.log().delete_before(second).unwrap();
    world.tend();
    assert_eq!(files(&world).len(), 1);
    // Some records of the next one are deleted: none of its bytes stay.
    world.log.log().delete_before(second + 10).unwrap();
    world.tend();
    assert_eq!(files(&world).len(), 0);
    let rows = world.fluss_rows(second.value() + 10, 1 << 20);
    assert_eq!(rows[0].0, second.value() + 10);
    world.settle();
    assert_eq!(files(&world).len(), 1);
    world.restart_transcoder(ROOM);
    assert_eq!(world.fluss_rows(second.value() + 10, 1 << 20), rows);
}

#[test]
fn foreign_and_half_written_files_are_removed_at_the_first_look() {
    let mut world = world();
    world.fluss(0, 64 << 20, None);
    world.settle();
    let names = files(&world);
    let disk = Arc::clone(&world.log.log().context().env.disk);
    for name in ["x.columnar", "y.columnar.tmp"] {
        disk.open(&path(&world, name), crate::env::OpenMode::CreateNew)
            .unwrap();
    }
    world.restart_transcoder(ROOM);
    world.fluss(0, 1, None);
    assert_eq!(files(&world), names);
}

#[test]
fn files_stay_within_their_room() {
    let world = World::with_files(raw_shape(ArrowCodec::None), small_segments(), 4 << 20);
    for _ in 0..80 {
        world.append(kafka_batch_of(3, &vec![7; 30_000]));
    }
    world.fluss(0, 64 << 20, None);
    world.settle();
    assert_eq!(files(&world).len(), 1, "there is no room for a second");
    let none = World::with_files(raw_shape(ArrowCodec::None), small_segments(), 0);
    for _ in 0..80 {
        none.append(kafka_batch_of(3, &vec![7; 30_000]));
    }
    none.fluss(0, 64 << 20, None);
    none.settle();
    assert!(files(&none).is_empty());
}

#[test]
fn eager_tables_get_their_files_without_a_reader() {
    let shape = crate::tablet::TableShape {
        columnar: crate::tablet::Columnar::Eager,
        ..raw_shape(ArrowCodec::None)
    };
    let world = World::with_files(shape, small_segments(), ROOM);
    for _ in 0..80 {
        world.append(kafka_batch_of(3, &vec![7; 30_000]));
    }
    world.tend();
    world.settle();
    assert_eq!(files(&world).len(), 2);
}
