//! The remote store over the `object_store` crate.
#![allow(
    clippy::disallowed_methods,
    reason = "a local directory is an object store whose files the crate does not sync"
)]

use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, future};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path as StorePath;
use object_store::{
    CopyMode, CopyOptions, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode,
    PutPayload,
};
use storage::env::Randomness;

use super::error::remote_error;
use super::{GetError, ObjectInfo, ObjectPath, PutIfAbsentError, RemoteError, RemoteStore};

/// The folder of a local directory in which objects are written before they get their name. No
/// [`ObjectPath`] starts with a dot.
const STAGING_FOLDER: &str = ".staging";

/// A remote store over one of the crate's stores.
#[derive(Debug)]
pub struct ObjectRemoteStore {
    store: Arc<dyn ObjectStore>,
    local: Option<Arc<Local>>,
}

/// What a local directory needs beyond the crate, which does not sync files.
struct Local {
    root: PathBuf,
    randomness: Arc<dyn Randomness>,
}

impl std::fmt::Debug for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Local")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

/// A local directory cannot be a remote store.
#[derive(Debug, thiserror::Error)]
#[error("remote directory {}", root.display())]
pub struct OpenLocalDirectoryError {
    /// The directory.
    pub root: PathBuf,
    /// Why.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl ObjectRemoteStore {
    /// Objects as files below `root`, which is made when it is missing. For one broker: two of them
    /// need a store that both reach.
    ///
    /// Files that a crash left half-written are removed.
    pub fn local_directory(
        root: &Path,
        randomness: Arc<dyn Randomness>,
    ) -> Result<Self, OpenLocalDirectoryError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| OpenLocalDirectoryError {
            root: root.to_owned(),
            source,
        };
        prepare_directory(root).map_err(|error| failed(error.into()))?;
        let store = LocalFileSystem::new_with_prefix(root).map_err(|error| failed(error.into()))?;
        let local = Local {
            root: root.to_owned(),
            randomness,
        };
        Ok(ObjectRemoteStore {
            store: Arc::new(store),
            local: Some(Arc::new(local)),
        })
    }

    /// Objects in memory, for tests.
    pub fn in_memory() -> Self {
        ObjectRemoteStore {
            store: Arc::new(InMemory::new()),
            local: None,
        }
    }

    async fn write(
        &self,
        path: &ObjectPath,
        parts: Vec<Bytes>,
        replace: bool,
    ) -> object_store::Result<()> {
        let payload = PutPayload::from_iter(parts);
        let target = store_path(path);
        let Some(local) = &self.local else {
            let mode = if replace {
                PutMode::Overwrite
            } else {
                PutMode::Create
            };
            return self
                .store
                .put_opts(&target, payload, mode.into())
                .await
                .map(|_| ());
        };
        // Written and synced under another name first: after a power loss the object is whole or
        // is not there.
        let staged = StorePath::from(format!(
            "{STAGING_FOLDER}/{:016x}",
            local.randomness.next_u64()
        ));
        let staged_file = local.file(&staged);
        let mode = if replace {
            CopyMode::Overwrite
        } else {
            CopyMode::Create
        };
        let written = async {
            self.store
                .put_opts(&staged, payload, PutMode::Create.into())
                .await?;
            blocking(move || fs::File::open(staged_file)?.sync_all()).await?;
            self.store
                .copy_opts(&staged, &target, CopyOptions::new().with_mode(mode))
                .await?;
            let (root, file) = (local.root.clone(), local.file(&target));
            blocking(move || sync_directories(&root, &file)).await
        }
        .await;
        if let Err(error) = self.store.delete(&staged).await {
            tracing::debug!(%error, path = %staged, "staged object was not removed");
        }
        written
    }
}

impl Local {
    /// Gives a file the name of an object. False when it lies on another file system.
    fn link(&self, file: &Path, target: &Path) -> io::Result<bool> {
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::File::open(file)?.sync_all()?;
        let staged = self.root.join(STAGING_FOLDER);
        fs::create_dir_all(&staged)?;
        let staged = staged.join(format!("{:016x}", self.randomness.next_u64()));
        match fs::hard_link(file, &staged) {
            Ok(()) => {}
            // Another file system, or one without links.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error),
            Err(_) => return Ok(false),
        }
        fs::rename(&staged, target)?;
        sync_directories(&self.root, target)?;
        Ok(true)
    }

    /// Removes the folders of a removed object that nothing is left in.
    fn remove_empty_folders(&self, file: &Path) {
        for folder in file.ancestors().skip(1).take_while(|f| *f != self.root) {
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
    }

    fn file(&self, path: &StorePath) -> PathBuf {
        self.root.join(path.as_ref())
    }
}

fn prepare_directory(root: &Path) -> io::Result<()> {
    fs::create_dir_all(root)?;
    match fs::remove_dir_all(root.join(STAGING_FOLDER)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes the names durable that lead from `root` to `file`.
fn sync_directories(root: &Path, file: &Path) -> io::Result<()> {
    for directory in file.ancestors().skip(1) {
        fs::File::open(directory)?.sync_all()?;
        if directory == root {
            break;
        }
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> object_store::Result<T> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| object_store::Error::Generic {
        store: "local directory",
        source,
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| failed(error.into())),
        Err(error) => Err(failed(error.into())),
    }
}

#[async_trait]
impl RemoteStore for ObjectRemoteStore {
    async fn put(&self, path: &ObjectPath, parts: Vec<Bytes>) -> Result<(), RemoteError> {
        self.write(path, parts, true)
            .await
            .map_err(|e| remote_error("put", path.as_str(), e))
    }

    async fn put_file(&self, path: &ObjectPath, file: &Path) -> Result<(), RemoteError> {
        let failed = |error| remote_error("put file", path.as_str(), error);
        if let Some(local) = self.local.clone() {
            let (file, target) = (file.to_owned(), local.file(&store_path(path)));
            let linked = blocking(move || local.link(&file, &target)).await;
            if linked.map_err(failed)? {
                return Ok(());
            }
        }
        let file = file.to_owned();
        let content = blocking(move || fs::read(file)).await.map_err(failed)?;
        self.put(path, vec![Bytes::from(content)]).await
    }

    async fn put_if_absent(
        &self,
        path: &ObjectPath,
        parts: Vec<Bytes>,
    ) -> Result<(), PutIfAbsentError> {
        self.write(path, parts, false)
            .await
            .map_err(|error| match error {
                object_store::Error::AlreadyExists { .. } => {
                    PutIfAbsentError::AlreadyExists(path.clone())
                }
                error => remote_error("put if absent", path.as_str(), error).into(),
            })
    }

    async fn get_range(&self, path: &ObjectPath, range: Range<u64>) -> Result<Bytes, GetError> {
        let out_of_range = |length| GetError::Range {
            path: path.clone(),
            length,
            start: range.start,
            end: range.end,
        };
        if range.is_empty() {
            // Stores refuse to read nothing.
            let length = self.head(path).await?.length;
            let fits = range.start <= range.end && range.end <= length;
            return if fits {
                Ok(Bytes::new())
            } else {
                Err(out_of_range(length))
            };
        }
        let options = GetOptions::new().with_range(Some(GetRange::Bounded(range.clone())));
        let answer = match self.store.get_opts(&store_path(path), options).await {
            Ok(answer) => answer,
            Err(object_store::Error::NotFound { .. }) => {
                return Err(GetError::NotFound(path.clone()));
            }
            Err(error) => {
                // A range that starts behind the end has no error of its own.
                let length = self.head(path).await?.length;
                if range.end > length {
                    return Err(out_of_range(length));
                }
                return Err(remote_error("get", path.as_str(), error).into());
            }
        };
        if answer.range != range {
            return Err(out_of_range(answer.meta.size));
        }
        answer
            .bytes()
            .await
            .map_err(|e| remote_error("get", path.as_str(), e).into())
    }

    async fn head(&self, path: &ObjectPath) -> Result<ObjectInfo, GetError> {
        match self.store.head(&store_path(path)).await {
            Ok(meta) => Ok(info(path.clone(), &meta)),
            Err(object_store::Error::NotFound { .. }) => Err(GetError::NotFound(path.clone())),
            Err(error) => Err(remote_error("head", path.as_str(), error).into()),
        }
    }

    fn list(
        &self,
        prefix: Option<&ObjectPath>,
    ) -> BoxStream<'static, Result<ObjectInfo, RemoteError>> {
        let prefix = prefix.map(store_path);
        let name = prefix
            .as_ref()
            .map_or_else(String::new, ToString::to_string);
        self.store
            .list(prefix.as_ref())
            .map_err(move |error| remote_error("list", &name, error))
            // What is no path of ours was not written by us: staged objects, foreign files.
            .try_filter_map(|meta| {
                let path = ObjectPath::parse(meta.location.as_ref()).ok();
                future::ready(Ok(path.map(|path| info(path, &meta))))
            })
            .boxed()
    }

    async fn delete(&self, path: &ObjectPath) -> Result<(), RemoteError> {
        let target = store_path(path);
        match self.store.delete(&target).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(remote_error("delete", path.as_str(), error)),
        }
        let Some(local) = self.local.clone() else {
            return Ok(());
        };
        let file = local.file(&target);
        let emptied = blocking(move || {
            local.remove_empty_folders(&file);
            Ok(())
        });
        emptied
            .await
            .map_err(|error| remote_error("delete", path.as_str(), error))
    }
}

fn store_path(path: &ObjectPath) -> StorePath {
    StorePath::from(path.as_str())
}

fn info(path: ObjectPath, meta: &ObjectMeta) -> ObjectInfo {
    ObjectInfo {
        path,
        length: meta.size,
        modified_ms: meta.last_modified.timestamp_millis(),
    }
}
