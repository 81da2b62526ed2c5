use super::*;
use crate::log::cleaner::Successors;

impl World {
    fn successors(&self, owner: Owner, bucket: usize) -> impl Successors {
        self.table(owner).successors(bucket).unwrap()
    }
}

#[tokio::test]
async fn the_cleaner_hears_the_newest_offset_of_each_key() {
    let world = World::new(2);
    for key in ["a", "b", "a"] {
        world.put(0, key, Some("v")).await;
    }
    world.put(0, "b", None).await;
    world.put(1, "a", Some("elsewhere")).await;
    let successors = world.successors(Owner::Probe, 0);
    assert_eq!(successors.known_end().unwrap(), Offset::new(4));
    let mut found = Vec::new();
    successors.newest(&[b"a", b"b", b"c"], &mut found).unwrap();
    assert_eq!(found, [Some(Offset::new(2)), Some(Offset::new(3)), None]);
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "RocksDB's files are real")]
async fn what_the_cleaner_was_told_is_on_disk() {
    let mut world = World::new(1);
    world.put(0, "a", Some("v")).await;
    world.put(0, "a", None).await;
    let end = world.successors(Owner::Probe, 0).known_end().unwrap();
    // What a kill leaves.
    let killed = tempfile::TempDir::new().unwrap();
    std::fs::create_dir(killed.path().join("0")).unwrap();
    for entry in std::fs::read_dir(world.files.path().join("0")).unwrap() {
        let path = entry.unwrap().path();
        let copy = killed.path().join("0").join(path.file_name().unwrap());
        std::fs::copy(&path, copy).unwrap();
    }
    world.files = killed;
    world.reopen_index(0, 1);
    let index = &world.buckets[0];
    assert!(index.log().log().watermarks().log_end == end);
    world
        .simulation
        .disk
        .fail_reads(index.log().log().segments()[0].path(), true);
    // The log is not read for it.
    assert_eq!(index.follow_now().unwrap(), end);
    assert_eq!(world.value(Owner::Probe, "a").await, None);
}

#[tokio::test]
async fn a_cleaned_tombstone_goes_unless_it_hides_a_value_elsewhere() {
    let world = World::new(2);
    world.put(1, "hidden", Some("old")).await;
    world
        .simulation
        .clock
        .advance(std::time::Duration::from_millis(5));
    let hides = world.put(0, "hidden", None).await;
    let gone = world.put(0, "gone", None).await;
    let back = world.put(0, "back", None).await;
    world.put(0, "back", Some("v")).await;
    let successors = world.successors(Owner::Probe, 0);
    successors.known_end().unwrap();
    let told: [(&[u8], Offset); 3] = [(b"hidden", hides), (b"gone", gone), (b"back", back)];
    successors.forget(&told).unwrap();
    let mut found = Vec::new();
    successors
        .newest(&[b"hidden", b"gone"], &mut found)
        .unwrap();
    assert_eq!(found, [Some(hides), None]);
    assert_eq!(world.value(Owner::Probe, "hidden").await, None);
    assert!(world.value(Owner::Probe, "back").await.is_some());
}
