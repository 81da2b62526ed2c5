//! The keys of one bucket of a primary-key table: what the wires call to put rows and to look them
//! up.
//!
//! ```text
//! put ─► queue ─► lane: judge ─► merge ─► append to the log ─► place        (lane.rs)
//!                          the log is durable ─► lane: apply to the index
//!                                                └─► high watermark ─► answer
//! lookup ─► index                                                           (reads.rs)
//! ```
//!
//! The log is the write-ahead log of the index. While the index is open the log's high watermark is
//! held back to what the index has: whoever saw an offset, or was answered, finds the row. It is
//! opened at its first use and then brought up to the log (`open.rs`); until then nothing can have
//! been put, and the log's readers do not need it.
//!
//! *Invariant*: everything in the log of such a bucket was appended by its lane.

mod changelog_format;
mod error;
mod inserts;
mod lane;
mod open;
mod put;
mod reads;
mod restore;
mod rows;
mod snapshot;
mod successors;
mod table;
#[cfg(test)]
mod tests;
mod waiting;

pub use changelog_format::ChangelogFormat;
pub use error::{InvalidPut, KvError, OpenIndexError};
pub use inserts::InvalidInsert;
pub use put::{Put, PutTicket, TakenPut};
pub use restore::{IndexBackups, RestoreError};
pub use rows::KvRows;
pub use snapshot::{KvSnapshot, SnapshotError};
pub use successors::ChangelogSuccessors;
pub use table::{KvTable, KvTableSpec, TableIds};

use std::sync::atomic::{AtomicBool, AtomicI64};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use protocol::fluss::kv_batch::KvBatch;
use protocol::ids::Offset;

use super::index::{IndexError, IndexSpec, IndexStore, IndexUsage};
use super::merge::MergeMode;
use super::open_index::{OpenIndex, OpenIndexes};
use super::replay::ReplayError;
use super::writer::BucketWriter;
use crate::log::{LogHandle, Until};
use crate::threads::Workers;
use lane::Queue;
use waiting::Openings;

/// The bounds of one bucket, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvLimits {
    /// KV batches that wait for the bucket's lane.
    pub queue_bytes_max: usize,
    /// Changes that are in the log and not in the index (`server.buffer.*` in Fluss).
    pub buffer_bytes_max: usize,
    /// The largest KV batch.
    pub batch_bytes_max: usize,
    /// Log behind what the index has on disk, after which it is flushed: what an opening replays.
    pub replay_bytes_max: u64,
}

impl Default for KvLimits {
    fn default() -> Self {
        KvLimits {
            queue_bytes_max: 64 << 20,
            buffer_bytes_max: 64 << 20,
            batch_bytes_max: 64 << 20,
            replay_bytes_max: 64 << 20,
        }
    }
}

/// What the buckets of a broker share.
pub struct KvResources {
    indexes: OpenIndexes,
    lanes: Workers,
    /// Open indexes for readers and for lanes: a long replay holds up neither the disk of others nor
    /// the puts of a bucket whose index is open.
    openers: Workers,
    limits: KvLimits,
    backups: OnceLock<Arc<dyn IndexBackups>>,
}

impl KvResources {
    /// Starts `lanes` threads that merge and apply, and twice as many that open indexes.
    ///
    /// # Errors
    /// The system starts no threads.
    pub fn start(
        store: Arc<dyn IndexStore>,
        lanes: usize,
        limits: KvLimits,
    ) -> std::io::Result<Arc<KvResources>> {
        Ok(Arc::new(KvResources {
            indexes: OpenIndexes::new(store),
            lanes: Workers::start("kv", lanes)?,
            openers: Workers::start("kv-open", lanes.saturating_mul(2))?,
            limits,
            backups: OnceLock::new(),
        }))
    }

    /// Memory in use by all indexes.
    pub fn usage(&self) -> IndexUsage {
        self.indexes.usage()
    }

    /// Where indexes that are lost are looked for before they are made from their whole logs. To be
    /// called once, before any index is opened.
    pub fn set_backups(&self, backups: Arc<dyn IndexBackups>) {
        // A second call would be a mistake of the assembly, and changes nothing.
        let _ = self.backups.set(backups);
    }
}

/// A cheap handle of the keys of one bucket.
#[derive(Clone)]
pub struct KvTablet {
    inner: Arc<Inner>,
}

struct Inner {
    log: LogHandle,
    resources: Arc<KvResources>,
    spec: IndexSpec,
    table: RwLock<Arc<KvTable>>,
    queue: Mutex<Queue>,
    /// The writing side; held by the lane while it works, and by who opens the index.
    core: Mutex<Slot>,
    /// The index of `core`, for readers.
    index: RwLock<Option<Arc<OpenIndex>>>,
    openings: Openings,
    /// The applied offset that the index has on disk for sure.
    flushed: AtomicI64,
    /// The index is a backup that was restored.
    restored: AtomicBool,
}

/// The writing side of an open index.
struct Core {
    writer: BucketWriter,
    index: Arc<OpenIndex>,
}

#[derive(Default)]
enum Slot {
    #[default]
    NotOpen,
    Open(Box<Core>),
    /// An attempt failed.
    Failed(FailedOpening),
    /// The index is damaged and is removed before it is opened again.
    Damaged,
    Closed,
}

/// An attempt that is not repeated at once.
struct FailedOpening {
    at: Duration,
    reason: String,
    /// The index is damaged, and still there.
    damaged: bool,
}

impl KvTablet {
    /// The keys of a log. The index is opened at its first use.
    pub fn new(
        log: LogHandle,
        resources: Arc<KvResources>,
        spec: IndexSpec,
        table: Arc<KvTable>,
    ) -> KvTablet {
        KvTablet {
            inner: Arc::new(Inner {
                log,
                resources,
                spec,
                table: RwLock::new(table),
                queue: Mutex::default(),
                core: Mutex::default(),
                index: RwLock::default(),
                openings: Openings::default(),
                flushed: AtomicI64::new(-1),
                restored: AtomicBool::new(false),
            }),
        }
    }

    /// What its table looks like now.
    pub fn table(&self) -> Arc<KvTable> {
        self.inner.table()
    }

    /// The table was altered. Batches that were checked before are merged into the new shape.
    pub fn set_table(&self, table: Arc<KvTable>) {
        *self.inner.table.write() = table;
    }

    /// Checks a batch from a client: bytes, schema, rows, and that the table can do what is asked.
    /// `target_columns` are positions of the newest schema; empty for full rows. Work in
    /// proportion to the batch, but no waiting.
    ///
    /// # Errors
    /// The batch is malformed, or asks for what the table cannot do.
    pub fn check(
        &self,
        records: Bytes,
        target_columns: &[i32],
        mode: MergeMode,
    ) -> Result<Put, InvalidPut> {
        let batch = KvBatch::parse(records, self.inner.resources.limits.batch_bytes_max)?;
        let targets = (!target_columns.is_empty()).then_some(target_columns);
        let plan = self.table().plans.merge(batch.schema_id(), targets, mode)?;
        batch.check_rows(plan.input_layout())?;
        Ok(Put {
            batch,
            target_columns: targets.map(Box::from),
            mode,
            part: None,
        })
    }

    /// Queues a batch; batches of one caller keep their order. Never waits.
    pub fn put(&self, put: Put, until: Until) -> PutTicket {
        self.inner.queue_put(put, until)
    }

    /// Offsets that the log promises and the index does not have; none while it is not open.
    pub fn lag(&self) -> Option<i64> {
        let applied = self.index_if_open()?.state().applied;
        Some((self.inner.log.log().promised_end() - applied).max(0))
    }

    /// Flushes the index where an opening would have to replay much. Blocks.
    pub fn tend(&self) {
        self.inner.flush_when_far();
    }

    /// The table's changelog as the cleaner reads it.
    ///
    /// # Errors
    /// The table's key columns are none of its columns.
    pub fn changelog_format(&self) -> Result<ChangelogFormat, ReplayError> {
        ChangelogFormat::new(self.table())
    }

    /// Flushes the index, which is opened when it is not, and gives the offset below which it has
    /// everything on disk: what lies below is not replayed any more, so that it may be compacted.
    /// Blocks.
    ///
    /// # Errors
    /// The index cannot be opened or flushed.
    pub fn flushed_end(&self) -> Result<Offset, KvError> {
        let index = self.inner.opened()?;
        let flushed = self.inner.flush(&**index);
        Ok(flushed.map_err(OpenIndexError::Index)?)
    }

    /// Answers what waits, flushes the index and takes no more puts. To be called before the log
    /// is closed. Blocks.
    pub fn close(&self) {
        self.inner.close(true);
    }

    /// Forgets the index without flushing it: the table's files are about to be deleted. Blocks.
    pub fn discard(&self) {
        self.inner.close(false);
    }
}

impl Inner {
    fn table(&self) -> Arc<KvTable> {
        Arc::clone(&self.table.read())
    }

    /// Has readers let go of the index.
    fn let_go(&self) {
        if let Some(index) = self.index.write().take() {
            index.retire();
        }
    }

    /// The index failed. It is opened anew, and what it lacks is replayed.
    fn lose_index(&self, slot: &mut Slot, error: &IndexError) {
        self.let_go();
        let log = self.log.log().id();
        *slot = match error {
            IndexError::Corrupt(_) => {
                tracing::error!(%log, %error, "the index is damaged and is rebuilt");
                Slot::Damaged
            }
            IndexError::Failed(_) => {
                tracing::error!(%log, %error, "the index failed and is opened again");
                Slot::NotOpen
            }
        };
    }
}
