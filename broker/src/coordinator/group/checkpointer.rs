//! Keeps a shard's checkpoints on disk and makes new ones from the log.
//!
//! ```text
//! <directory>/<shard>/00000000000000000007.checkpoint     the number grows with each checkpoint
//! ```
//!
//! A checkpoint is made from the previous one and the log, not from the live state: what lies
//! between is durable and in order, so a checkpoint is right by construction. The newest two are
//! kept and the log is cut below the older one: a damaged newest costs replay, not state.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use protocol::ids::Offset;
use storage::env::{Disk, OpenMode};

use super::checkpoint::{Checkpoint, CheckpointError};
use super::log::{GroupLog, ShardId};

const SUFFIX: &str = ".checkpoint";
const UNFINISHED: &str = "unfinished";
const KEPT: usize = 2;

/// The checkpoints of one shard.
#[derive(Clone)]
pub(super) struct Checkpointer {
    shard: ShardId,
    directory: PathBuf,
    disk: Arc<dyn Disk>,
    log: Arc<dyn GroupLog>,
}

impl Checkpointer {
    pub(super) fn new(
        shard: ShardId,
        parent: &Path,
        disk: Arc<dyn Disk>,
        log: Arc<dyn GroupLog>,
    ) -> Self {
        Checkpointer {
            shard,
            directory: parent.join(shard.to_string()),
            disk,
            log,
        }
    }

    /// The newest checkpoint that can be read, or the empty one.
    ///
    /// # Errors
    /// When the disk fails.
    pub(super) async fn newest(&self) -> Result<Checkpoint, CheckpointError> {
        self.on_disk(|this| this.read_newest()).await
    }

    /// Makes a checkpoint of the log up to `to` and cuts the log below the one before it.
    ///
    /// # Errors
    /// When the log cannot be read or the file not written. The older checkpoints stay.
    pub(super) async fn advance(&self, to: Offset) -> Result<(), CheckpointError> {
        let mut checkpoint = self.newest().await?;
        let before = checkpoint.offset;
        let mut records = self.log.replay(self.shard, before);
        while checkpoint.offset < to {
            let Some(record) = records.next().await else {
                break;
            };
            let (offset, record) = record?;
            checkpoint.apply(offset, record);
        }
        self.store(checkpoint).await?;
        self.log.release_before(self.shard, before).await?;
        Ok(())
    }

    /// Writes a checkpoint as the newest one.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) async fn store(&self, checkpoint: Checkpoint) -> Result<(), CheckpointError> {
        self.on_disk(move |this| this.write(&checkpoint)).await
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Checkpointer) -> Result<T, CheckpointError> + Send + 'static,
    ) -> Result<T, CheckpointError> {
        let this = self.clone();
        tokio::task::spawn_blocking(move || work(&this))
            .await
            .map_err(|error| CheckpointError::Io(std::io::Error::other(error)))?
    }

    /// Numbers of the checkpoints, oldest first.
    fn numbers(&self) -> Result<Vec<u64>, CheckpointError> {
        if !self.disk.exists(&self.directory)? {
            return Ok(Vec::new());
        }
        let entries = self.disk.list(&self.directory)?;
        let mut numbers: Vec<u64> = entries
            .iter()
            .filter_map(|entry| entry.name.strip_suffix(SUFFIX)?.parse().ok())
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number:020}{SUFFIX}"))
    }

    fn read_newest(&self) -> Result<Checkpoint, CheckpointError> {
        for number in self.numbers()?.into_iter().rev() {
            let path = self.path(number);
            match Checkpoint::decode(self.read_file(&path)?, self.shard) {
                Ok(checkpoint) => return Ok(checkpoint),
                Err(error) => {
                    tracing::error!(path = %path.display(), %error, "group checkpoint cannot be read, trying an older one");
                }
            }
        }
        Ok(Checkpoint::empty())
    }

    fn read_file(&self, path: &Path) -> Result<Bytes, CheckpointError> {
        let file = self.disk.open(path, OpenMode::Read)?;
        let length = usize::try_from(file.length()?).map_err(|_| CheckpointError::TooLarge)?;
        let mut bytes = vec![0; length];
        if file.read_at(&mut bytes, 0)? != length {
            return Err(CheckpointError::Damaged("file became shorter"));
        }
        Ok(bytes.into())
    }

    fn write(&self, checkpoint: &Checkpoint) -> Result<(), CheckpointError> {
        let bytes = checkpoint.encode(self.shard)?;
        let is_new = !self.disk.exists(&self.directory)?;
        self.disk.create_directories(&self.directory)?;
        let numbers = self.numbers()?;
        let number = numbers.last().map_or(0, |newest| newest + 1);
        let unfinished = self.directory.join(UNFINISHED);
        let file = self.disk.open(&unfinished, OpenMode::CreateOrTruncate)?;
        file.write_all_at(&[std::io::IoSlice::new(&bytes)], 0)?;
        file.sync_data()?;
        drop(file);
        self.disk.rename(&unfinished, &self.path(number))?;
        self.disk.sync_directory(&self.directory)?;
        if is_new {
            // The new directory's own name, and that of its parent.
            for ancestor in self.directory.ancestors().skip(1).take(2) {
                self.disk.sync_directory(ancestor)?;
            }
        }
        let surplus = (numbers.len() + 1).saturating_sub(KEPT);
        for number in numbers.into_iter().take(surplus) {
            self.disk.remove_file(&self.path(number))?;
        }
        Ok(())
    }
}
