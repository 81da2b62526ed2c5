use super::*;
use crate::kv::index::FoundRows;
use crate::kv::topic::{TopicFormat, TopicSuccessors};
use crate::log::cleaner::{OffsetMap, Successors};

/// Enough for some thousands of keys.
const MAP_BYTES: usize = 1 << 18;

impl World {
    /// What the cleaner asks of all that is in closed segments.
    pub(super) fn successors(&self, owner: Owner, bucket: usize) -> TopicSuccessors {
        let log = self.buckets[bucket].log().log();
        let w = log.watermarks();
        let (from, end) = (w.log_start, w.high_watermark);
        let format = &mut TopicFormat::default();
        let map = OffsetMap::of_log(log, from, end, MAP_BYTES, format, &mut |_| true);
        self.table(owner).successors(bucket, map.unwrap()).unwrap()
    }

    /// Whether the index has an entry of a key.
    fn has_entry(&self, bucket: usize, key: &[u8]) -> bool {
        let mut found = FoundRows::new();
        let index = &self.buckets[bucket];
        index.look_up(&[key], &mut found).unwrap();
        found.iter().any(|entry| entry.is_some())
    }
}

#[tokio::test]
async fn the_cleaner_hears_the_newest_offset_of_each_key_without_an_index() {
    let world = World::new(2);
    for key in ["a", "b", "a"] {
        world.put(0, key, Some("v")).await;
    }
    world.put(0, "b", None).await;
    world.put(1, "a", Some("elsewhere")).await;
    world.buckets[0].log().log().roll_active().unwrap();
    let successors = world.successors(Owner::Probe, 0);
    assert_eq!(successors.known_end().unwrap(), Offset::new(4));
    let mut found = Vec::new();
    successors.newest(&[b"a", b"b", b"c"], &mut found).unwrap();
    assert_eq!(found, [Some(Offset::new(2)), Some(Offset::new(3)), None]);
    assert!(world.buckets[0].index_if_open().is_none());
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "RocksDB's files are real")]
async fn a_tombstone_may_go_when_the_index_on_disk_has_it() {
    let mut world = World::new(1);
    world.put(0, "a", Some("v")).await;
    world.buckets[0].follow().await.unwrap();
    let tombstone = world.put(0, "a", None).await;
    let successors = world.successors(Owner::Probe, 0);
    assert!(successors.has_noted(tombstone).unwrap());
    let later = world.put(0, "b", None).await;
    assert!(
        !successors.has_noted(later).unwrap(),
        "it stays for a round"
    );
    drop(successors);
    let end = tombstone.next();
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
    let segment = index.log().log().segments()[0].path().to_path_buf();
    // The log is not read for it.
    world.simulation.disk.fail_reads(&segment, true);
    assert!(index.follow_now().is_err(), "of what came later it is");
    assert_eq!(index.opened().unwrap().state().applied, end);
    world.simulation.disk.fail_reads(&segment, false);
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
    assert!(successors.has_noted(back).unwrap());
    let told: [(&[u8], Offset); 3] = [(b"hidden", hides), (b"gone", gone), (b"back", back)];
    successors.forget(&told).unwrap();
    assert!(world.has_entry(0, b"hidden") && !world.has_entry(0, b"gone"));
    assert_eq!(world.value(Owner::Probe, "hidden").await, None);
    assert!(world.value(Owner::Probe, "back").await.is_some());
}
