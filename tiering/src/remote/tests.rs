//! The suite that every remote store passes, and what a local directory promises beyond it.
#![allow(
    clippy::disallowed_methods,
    reason = "looks at the directory behind the store's back"
)]

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, future};
use storage::env::simulated::SeededRandomness;

use super::{
    GetError, ObjectPath, ObjectRemoteStore, PutIfAbsentError, RemoteErrorKind, RemoteStore,
};

fn path(path: &str) -> ObjectPath {
    ObjectPath::parse(path).unwrap()
}

fn parts(parts: &[&'static str]) -> Vec<Bytes> {
    parts
        .iter()
        .map(|part| Bytes::from_static(part.as_bytes()))
        .collect()
}

async fn whole(store: &dyn RemoteStore, at: &ObjectPath) -> Bytes {
    let length = store.head(at).await.unwrap().length;
    store.get_range(at, 0..length).await.unwrap()
}

async fn listed(store: &dyn RemoteStore, prefix: Option<&str>) -> Vec<(String, u64)> {
    let prefix = prefix.map(path);
    let mut all: Vec<_> = store
        .list(prefix.as_ref())
        .map_ok(|info| (info.path.to_string(), info.length))
        .try_collect()
        .await
        .unwrap();
    all.sort();
    all
}

/// What every store does, starting from an empty one.
async fn conformance(store: Arc<dyn RemoteStore>) {
    an_object_is_written_whole_and_read_in_ranges(store.as_ref()).await;
    a_missing_object_is_told(store.as_ref()).await;
    put_replaces_and_put_if_absent_does_not(store.as_ref()).await;
    of_many_writers_exactly_one_wins(&store).await;
    lists_go_by_folders(store.as_ref()).await;
    large_objects_come_back(store.as_ref()).await;
    a_file_becomes_an_object_and_may_go(store.as_ref()).await;
}

async fn an_object_is_written_whole_and_read_in_ranges(store: &dyn RemoteStore) {
    let at = path("ranges/of$an/object=1.log");
    store
        .put(&at, parts(&["hello", "", " ", "world"]))
        .await
        .unwrap();
    let info = store.head(&at).await.unwrap();
    assert_eq!((info.path, info.length), (at.clone(), 11));
    assert!(info.modified_ms > 1_600_000_000_000, "{}", info.modified_ms);
    assert_eq!(whole(store, &at).await, "hello world");
    assert_eq!(store.get_range(&at, 4..7).await.unwrap(), "o w");
    assert_eq!(store.get_range(&at, 11..11).await.unwrap(), "");
    for range in [5..12, 11..12, 50..60, 12..12] {
        let (start, end) = (range.start, range.end);
        match store.get_range(&at, range).await {
            Err(GetError::Range {
                length: 11,
                start: s,
                end: e,
                ..
            }) if (s, e) == (start, end) => {}
            other => panic!("{start}..{end}: {other:?}"),
        }
    }
    let empty = path("ranges/empty");
    store.put(&empty, Vec::new()).await.unwrap();
    assert_eq!(store.head(&empty).await.unwrap().length, 0);
    assert_eq!(store.get_range(&empty, 0..0).await.unwrap(), "");
}

async fn a_missing_object_is_told(store: &dyn RemoteStore) {
    let nowhere = path("no/where");
    assert!(matches!(store.head(&nowhere).await, Err(GetError::NotFound(p)) if p == nowhere));
    for range in [0..0, 0..1] {
        let read = store.get_range(&nowhere, range).await;
        assert!(matches!(read, Err(GetError::NotFound(_))), "{read:?}");
    }
    store.delete(&nowhere).await.unwrap();
    assert_eq!(listed(store, Some("no")).await, []);
}

async fn put_replaces_and_put_if_absent_does_not(store: &dyn RemoteStore) {
    let at = path("put/object");
    store.put_if_absent(&at, parts(&["first"])).await.unwrap();
    let again = store.put_if_absent(&at, parts(&["second"])).await;
    assert!(matches!(again, Err(PutIfAbsentError::AlreadyExists(p)) if p == at));
    assert_eq!(whole(store, &at).await, "first");
    store.put(&at, parts(&["third"])).await.unwrap();
    assert_eq!(whole(store, &at).await, "third");
    store.delete(&at).await.unwrap();
    assert!(matches!(store.head(&at).await, Err(GetError::NotFound(_))));
    store.put_if_absent(&at, parts(&["fourth"])).await.unwrap();
    assert_eq!(whole(store, &at).await, "fourth");
}

async fn of_many_writers_exactly_one_wins(store: &Arc<dyn RemoteStore>) {
    let at = path("wal/1/7/00000000000000000042");
    let writers = (0..16u8).map(|writer| {
        let (store, at) = (Arc::clone(store), at.clone());
        tokio::spawn(async move {
            match store
                .put_if_absent(&at, vec![Bytes::from(vec![writer; 1000])])
                .await
            {
                Ok(()) => Some(writer),
                Err(PutIfAbsentError::AlreadyExists(_)) => None,
                Err(other) => panic!("{other:?}"),
            }
        })
    });
    let winners: Vec<u8> = future::join_all(writers)
        .await
        .into_iter()
        .filter_map(Result::unwrap)
        .collect();
    assert_eq!(winners.len(), 1, "{winners:?}");
    assert_eq!(whole(store.as_ref(), &at).await, vec![winners[0]; 1000]);
}

async fn lists_go_by_folders(store: &dyn RemoteStore) {
    for name in ["list/a/b/c", "list/a/b/d/e", "list/a/bc", "list/f"] {
        store.put(&path(name), parts(&["1234"])).await.unwrap();
    }
    let names = |names: &[&str]| {
        names
            .iter()
            .map(|n| ((*n).to_owned(), 4))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        listed(store, Some("list/a/b")).await,
        names(&["list/a/b/c", "list/a/b/d/e"])
    );
    assert_eq!(listed(store, Some("list/a/b/c")).await, []);
    assert_eq!(listed(store, Some("list/nothing")).await, []);
    let all = listed(store, None).await;
    let below: Vec<_> = all
        .into_iter()
        .filter(|(name, _)| name.starts_with("list/"))
        .collect();
    assert_eq!(
        below,
        names(&["list/a/b/c", "list/a/b/d/e", "list/a/bc", "list/f"])
    );
}

async fn large_objects_come_back(store: &dyn RemoteStore) {
    let at = path("large");
    let part = |i: u8| Bytes::from(vec![i; (1 << 20) + usize::from(i)]);
    store
        .put_if_absent(&at, (0..8).map(part).collect())
        .await
        .unwrap();
    let expected: Vec<u8> = (0..8).flat_map(part).collect();
    assert_eq!(whole(store, &at).await, expected);
    let middle = store.get_range(&at, 1_000_000..5_000_000).await.unwrap();
    assert_eq!(middle, expected[1_000_000..5_000_000]);
}

async fn a_file_becomes_an_object_and_may_go(store: &dyn RemoteStore) {
    let directory = tempfile::tempdir().unwrap();
    let at = path("files/of/a");
    for content in ["first", "the second"] {
        let file = directory.path().join("file");
        std::fs::write(&file, content).unwrap();
        store.put_file(&at, &file).await.unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(whole(store, &at).await, content);
        assert!(store.put_file(&at, &file).await.is_err(), "it is gone");
    }
    assert_eq!(whole(store, &at).await, "the second");
    store.delete(&at).await.unwrap();
    assert_eq!(listed(store, Some("files")).await, []);
}

fn local(root: &std::path::Path) -> ObjectRemoteStore {
    ObjectRemoteStore::local_directory(root, Arc::new(SeededRandomness::new(1))).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_conforms() {
    conformance(Arc::new(ObjectRemoteStore::in_memory())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_local_directory_conforms() {
    let directory = tempfile::tempdir().unwrap();
    conformance(Arc::new(local(&directory.path().join("made/on/opening")))).await;
}

#[tokio::test]
async fn a_local_directory_keeps_its_objects_and_forgets_staged_ones() {
    let directory = tempfile::tempdir().unwrap();
    local(directory.path())
        .put(&path("a/b"), parts(&["1"]))
        .await
        .unwrap();
    let staging = directory.path().join(".staging");
    assert_eq!(std::fs::read_dir(&staging).unwrap().count(), 0);
    std::fs::write(staging.join("left-over"), "half of it").unwrap();
    std::fs::write(directory.path().join("foreign file"), "").unwrap();
    let store = local(directory.path());
    assert!(!staging.exists());
    assert_eq!(listed(&store, None).await, [("a/b".to_owned(), 1)]);
    assert_eq!(whole(&store, &path("a/b")).await, "1");
}

#[tokio::test]
async fn a_local_directory_takes_another_name_of_a_file_and_leaves_no_empty_folders() {
    let directory = tempfile::tempdir().unwrap();
    let (root, file) = (
        directory.path().join("store"),
        directory.path().join("file"),
    );
    let store = local(&root);
    std::fs::write(&file, "content").unwrap();
    store.put_file(&path("a/b/c"), &file).await.unwrap();
    store.put(&path("a/d"), parts(&["1"])).await.unwrap();
    let links = std::os::unix::fs::MetadataExt::nlink(&std::fs::metadata(&file).unwrap());
    assert_eq!(links, 2);
    store.delete(&path("a/b/c")).await.unwrap();
    assert!(!root.join("a/b").exists());
    assert!(root.join("a/d").exists());
    store.delete(&path("a/d")).await.unwrap();
    assert!(root.exists() && !root.join("a").exists());
}

#[tokio::test]
async fn a_failing_store_says_what_was_tried_and_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let store = local(directory.path());
    store.put(&path("file"), parts(&["1"])).await.unwrap();
    // `file` would have to be a folder.
    let error = store
        .put(&path("file/below"), parts(&["1"]))
        .await
        .unwrap_err();
    assert_eq!(error.kind, RemoteErrorKind::Unavailable);
    assert_eq!(
        error.to_string(),
        "remote store, put file/below: unavailable"
    );
    assert_eq!(
        std::fs::read_dir(directory.path().join(".staging"))
            .unwrap()
            .count(),
        0
    );
    assert_eq!(store.list(None).count().await, 1);
    let no_directory = ObjectRemoteStore::local_directory(
        &directory.path().join("file"),
        Arc::new(SeededRandomness::new(1)),
    );
    assert!(no_directory.is_err());
}
