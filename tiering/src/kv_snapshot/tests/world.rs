//! A catalog, a remote store and real indexes, which survive what a test does to the snapshots; and
//! a fuse that makes everything fail from some change on, as a kill does.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use protocol::ids::{BucketId, LeaderEpoch, TableId};
use protocol::schema::{Column, DataType, Schema, TypeKind};
use storage::catalog::store::memory::MemoryStore;
use storage::catalog::store::{CatalogStore, RecordChange, StoreError};
use storage::catalog::{CatalogSettings, NewName, NewTable, TableKind, TablePath};
use storage::env::simulated::Simulation;
use storage::kv::index::rocks::{RocksConfig, RocksIndex, RocksShared};
use storage::kv::index::{Index, IndexSpec, IndexState, LogEnds};
use storage::kv::tablet::{IndexBackups, KvSnapshot, SnapshotError};
use tempfile::TempDir;

use super::super::*;
use crate::remote::{ObjectInfo, ObjectRemoteStore, RemoteError, RemoteErrorKind};

pub(super) const TABLE: &str = "rows";

/// The bucket of the one table.
pub(super) fn tablet() -> TabletId {
    TabletId {
        table: TableId::new(1),
        table_partition: None,
        bucket: BucketId::new(0),
    }
}

/// Lets so many changes through.
#[derive(Debug)]
pub(super) struct Fuse(AtomicI64);

impl Fuse {
    pub(super) fn burn_after(&self, changes: i64) {
        self.0.store(changes, Ordering::SeqCst);
    }

    pub(super) fn mend(&self) {
        self.burn_after(i64::MAX);
    }

    pub(super) fn is_burnt(&self) -> bool {
        self.0.load(Ordering::SeqCst) < 0
    }

    /// True when the change may happen.
    fn change(&self) -> bool {
        self.0.fetch_sub(1, Ordering::SeqCst) > 0
    }

    fn remote(&self, happens: bool) -> Result<(), RemoteError> {
        match happens && !self.is_burnt() {
            true => Ok(()),
            false => Err(RemoteError {
                action: "anything".to_owned(),
                kind: RemoteErrorKind::Unavailable,
                source: "the fuse is burnt".into(),
            }),
        }
    }
}

struct FusedCatalog(Arc<MemoryStore>, Arc<Fuse>);

impl CatalogStore for FusedCatalog {
    fn load(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.0.load()
    }

    fn commit(&self, changes: &[RecordChange]) -> Result<(), StoreError> {
        match self.1.change() {
            true => self.0.commit(changes),
            false => Err(StoreError::Io(std::io::Error::other("the fuse is burnt"))),
        }
    }
}

/// Listing and reading fail as well when the fuse is burnt: the process is gone.
#[derive(Debug)]
struct FusedRemote(Arc<dyn RemoteStore>, Arc<Fuse>);

#[async_trait]
impl RemoteStore for FusedRemote {
    async fn put(&self, path: &ObjectPath, parts: Vec<Bytes>) -> Result<(), RemoteError> {
        self.1.remote(self.1.change())?;
        self.0.put(path, parts).await
    }

    async fn put_file(&self, path: &ObjectPath, file: &Path) -> Result<(), RemoteError> {
        self.1.remote(self.1.change())?;
        self.0.put_file(path, file).await
    }

    async fn put_if_absent(
        &self,
        path: &ObjectPath,
        parts: Vec<Bytes>,
    ) -> Result<(), PutIfAbsentError> {
        self.1.remote(self.1.change())?;
        self.0.put_if_absent(path, parts).await
    }

    async fn get_range(&self, path: &ObjectPath, range: Range<u64>) -> Result<Bytes, GetError> {
        self.1.remote(!self.1.is_burnt())?;
        self.0.get_range(path, range).await
    }

    async fn head(&self, path: &ObjectPath) -> Result<ObjectInfo, GetError> {
        self.1.remote(!self.1.is_burnt())?;
        self.0.head(path).await
    }

    fn list(
        &self,
        prefix: Option<&ObjectPath>,
    ) -> BoxStream<'static, Result<ObjectInfo, RemoteError>> {
        match self.1.remote(!self.1.is_burnt()) {
            Ok(()) => self.0.list(prefix),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }

    async fn delete(&self, path: &ObjectPath) -> Result<(), RemoteError> {
        self.1.remote(self.1.change())?;
        self.0.delete(path).await
    }
}

pub(super) struct World {
    pub(super) fuse: Arc<Fuse>,
    pub(super) remote: Arc<dyn RemoteStore>,
    pub(super) simulation: Simulation,
    records: Arc<MemoryStore>,
    catalog: parking_lot::Mutex<Arc<Catalog>>,
    rocks: RocksShared,
    home: TempDir,
    restores: AtomicU64,
}

impl World {
    /// A local directory as the store, and a table with one bucket.
    pub(super) fn new() -> World {
        World::of_seed(1)
    }

    /// Another seed is another cluster.
    pub(super) fn of_seed(seed: u64) -> World {
        let home = TempDir::new().unwrap();
        let simulation = Simulation::new(seed);
        let remote =
            ObjectRemoteStore::local_directory(&home.path().join("remote"), Env::real().randomness);
        let fuse = Arc::new(Fuse(AtomicI64::new(i64::MAX)));
        let records = Arc::new(MemoryStore::default());
        let catalog = open_catalog(&records, &fuse, &simulation);
        catalog
            .create_database("kv", None, BTreeMap::new())
            .unwrap();
        catalog
            .create_table(NewTable {
                kind: TableKind::PrimaryKey,
                ..NewTable::log(NewName::Path(TablePath::new("kv", TABLE)), schema(), 1)
            })
            .unwrap();
        World {
            fuse,
            remote: Arc::new(remote.unwrap()),
            simulation,
            records,
            catalog: parking_lot::Mutex::new(catalog),
            rocks: RocksShared::new(RocksConfig::default()).unwrap(),
            home,
            restores: AtomicU64::new(0),
        }
    }

    /// The disk is real, time and randomness are not.
    fn env(&self) -> Env {
        Env {
            disk: Env::real().disk,
            ..self.simulation.env()
        }
    }

    pub(super) fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog.lock())
    }

    /// The catalog as a start of the process reads it.
    pub(super) fn reload(&self) -> Arc<Catalog> {
        let catalog = open_catalog(&self.records, &self.fuse, &self.simulation);
        *self.catalog.lock() = Arc::clone(&catalog);
        catalog
    }

    pub(super) async fn open(&self) -> Arc<KvSnapshots> {
        let opened = self.open_in(Arc::clone(&self.remote)).await;
        opened.unwrap()
    }

    pub(super) async fn open_in(
        &self,
        remote: Arc<dyn RemoteStore>,
    ) -> Result<Arc<KvSnapshots>, OpenSnapshotsError> {
        let remote = Arc::new(FusedRemote(remote, Arc::clone(&self.fuse)));
        let config = KvSnapshotsConfig {
            retained: 2,
            transfers: 2,
            scratch: self.scratch(),
            uri: "file:///remote".to_owned(),
        };
        KvSnapshots::open(remote, self.reload(), self.env(), config).await
    }

    pub(super) fn scratch(&self) -> PathBuf {
        self.home.path().join("scratch")
    }

    fn spec(&self, directory: &Path) -> IndexSpec {
        IndexSpec {
            directory: directory.to_owned(),
            identity: *b"one of the logs!",
            counts_rows: true,
            prefix: Vec::new(),
        }
    }

    /// A new, empty index.
    pub(super) fn index(&self, name: &str) -> Writing {
        let spec = self.spec(&self.home.path().join(name));
        Writing {
            index: Arc::new(RocksIndex::create(&spec, &self.rocks, Offset::ZERO).unwrap()),
        }
    }

    pub(super) async fn take(
        &self,
        snapshots: &KvSnapshots,
        index: &Writing,
    ) -> Option<SnapshotEntry> {
        snapshots.take(tablet(), index.link()).await.unwrap()
    }

    /// The keys of the newest snapshot.
    pub(super) fn restored(&self, snapshots: &Arc<KvSnapshots>) -> Vec<String> {
        let number = self.restores.fetch_add(1, Ordering::SeqCst);
        let directory = self.home.path().join(format!("restored-{number}"));
        let restorer = Restorer::new(Arc::clone(snapshots));
        let fetch = || restorer.fetch(tablet(), &directory);
        std::thread::scope(|threads| threads.spawn(fetch).join().unwrap()).unwrap();
        let index = RocksIndex::open(&self.spec(&directory), &self.rocks, &Anything).unwrap();
        let newest = snapshots.newest(tablet()).unwrap();
        assert_eq!(index.state().applied, newest.log_offset);
        let mut keys = Vec::new();
        let scanned = index.view().unwrap().scan(None, &mut |key, _| {
            keys.push(String::from_utf8(key.to_vec()).unwrap());
            ControlFlow::Continue(())
        });
        scanned.unwrap();
        assert_eq!(index.state().row_count, Some(keys.len() as i64));
        keys
    }

    pub(super) async fn objects(&self) -> Vec<String> {
        let all = self.remote.list(None).map_ok(|info| info.path.to_string());
        let mut all: Vec<_> = all.try_collect().await.unwrap();
        all.sort();
        all
    }

    /// All snapshots have their files, and no file is without a snapshot.
    pub(super) async fn check(&self, snapshots: &KvSnapshots) {
        let mut needed = BTreeSet::from([OWNER.to_owned()]);
        for entry in snapshots.all(tablet()) {
            let completed = snapshots.read(tablet(), entry.id).await.unwrap();
            let records = snapshots.records.read();
            let folder = &records.buckets[&tablet()].directory;
            needed.insert(format!("{folder}/snap-{}/_METADATA", entry.id));
            needed.extend(completed.files().map(|file| file.object.to_string()));
        }
        let there: BTreeSet<_> = self.objects().await.into_iter().collect();
        assert_eq!(there, needed);
    }

    /// Removes all objects.
    pub(super) async fn wipe(&self) {
        for object in self.objects().await {
            let object = ObjectPath::parse(&object).unwrap();
            self.remote.delete(&object).await.unwrap();
        }
    }
}

/// An index that is written to.
pub(super) struct Writing {
    index: Arc<RocksIndex>,
}

impl Writing {
    /// A row for each key, each at the next offset.
    pub(super) fn write(&mut self, keys: &[impl AsRef<str>]) {
        let before = self.index.state();
        let mut batch = self.index.start();
        for key in keys {
            batch.put(key.as_ref().as_bytes(), b"a row");
        }
        let count = keys.len() as i64;
        let state = IndexState {
            applied: before.applied + count,
            epoch: None,
            row_count: before.row_count.map(|rows| rows + count),
        };
        batch.commit(state).unwrap();
    }

    pub(super) fn link(
        &self,
    ) -> impl FnOnce(&Path) -> Result<Option<KvSnapshot>, SnapshotError> + Send + 'static {
        let index = Arc::clone(&self.index);
        move |directory| {
            let files = index.link_files(directory)?;
            Ok(Some(KvSnapshot { files, ids: None }))
        }
    }
}

/// A log that fits to every index.
struct Anything;

impl LogEnds for Anything {
    fn log_start(&self) -> Offset {
        Offset::ZERO
    }

    fn log_end(&self) -> Offset {
        Offset::new(i64::MAX)
    }

    fn epoch_at(&self, _: Offset) -> Option<LeaderEpoch> {
        None
    }
}

fn open_catalog(
    records: &Arc<MemoryStore>,
    fuse: &Arc<Fuse>,
    simulation: &Simulation,
) -> Arc<Catalog> {
    let store = FusedCatalog(Arc::clone(records), Arc::clone(fuse));
    let settings = CatalogSettings {
        default_database: "kafka".to_owned(),
    };
    Arc::new(Catalog::open(Box::new(store), simulation.env(), settings).unwrap())
}

fn schema() -> Schema {
    Schema {
        columns: vec![Column {
            name: "a".to_owned(),
            data_type: DataType::not_null(TypeKind::String),
            comment: None,
            id: 0,
            agg_function: None,
        }],
        primary_key: vec!["a".to_owned()],
        auto_increment_column: None,
        highest_field_id: 0,
    }
}
