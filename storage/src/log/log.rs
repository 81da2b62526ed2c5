//! One log: the tail that appends go to, the segments that reads come from, and the watermarks
//! between them.
//!
//! Everything here is synchronous and runs where it may wait for the disk; [`super::handle`] puts
//! it on threads. Appending and being durable are two events: [`Log::append_group`] writes
//! (`append.rs`), [`Log::sync`] makes durable (`durable.rs`), and the high watermark follows what the flush mode promises.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};
use protocol::batch::{NO_TIME, SourceBlock, UnassignedBatch};
use protocol::ids::{LeaderEpoch, Offset, TabletId};

use super::cleaner::CleanState;
use super::config::{FlushMode, LogConfig};
use super::debt::{LogDebt, RecoveryDebt};
use super::epochs::EpochHistory;
use super::error::{AppendError, LogError, OfflineCause};
use super::parts::SourcePart;
use super::producers::{ProducerEntry, ProducerKey, Producers, RememberedBatch, Verdict};
use super::recovery::{self, Recovered, Unsettled};
use super::segment::{OpenFiles, Segment, SegmentPlace};
use super::visible::VisibleEnd;
use super::watermark::Waiters;
use crate::buffers::BufferPool;
use crate::clock::CommitClock;
use crate::env::Env;

/// What all logs of a broker share.
pub struct LogContext {
    /// Disk, clock and randomness.
    pub env: Env,
    /// Commit times.
    pub commit_clock: Arc<CommitClock>,
    /// Open segment files.
    pub files: Arc<OpenFiles>,
    /// Read buffers.
    pub buffers: Arc<BufferPool>,
    /// What recovery of all logs would have to read.
    pub recovery_debt: Arc<RecoveryDebt>,
}

/// Batches that are appended together: all of them or none.
#[derive(Debug)]
pub struct Append {
    /// The batches, validated.
    pub batches: Vec<UnassignedBatch>,
    /// Refuse when the log's epoch is another one.
    pub expected_epoch: Option<LeaderEpoch>,
    /// Give Kafka batches the commit time (`message.timestamp.type=LogAppendTime`).
    pub stamp_log_append_time: bool,
}

impl Append {
    /// Bytes of all batches.
    pub fn bytes(&self) -> usize {
        self.batches.iter().map(|b| b.bytes.len()).sum()
    }
}

/// Where an append went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Offset of the last record.
    pub last_offset: Offset,
    /// Epoch it was appended under.
    pub leader_epoch: LeaderEpoch,
    /// Commit time, epoch milliseconds.
    pub commit_time: i64,
    /// First offset of the log at that moment.
    pub log_start: Offset,
    /// True when the batch was in the log already and nothing was appended.
    pub duplicate: bool,
}

/// The offsets between which a log can be read, taken together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    /// First offset.
    pub log_start: Offset,
    /// Offset after the last record that readers may see.
    pub high_watermark: Offset,
    /// Offset after the last record whose transaction is decided; not above the high watermark.
    pub last_stable: Offset,
    /// Offset after the last record that was appended.
    pub log_end: Offset,
    /// Offset up to which an fdatasync has returned.
    pub synced_end: Offset,
}

/// One log.
pub struct Log {
    pub(super) id: TabletId,
    pub(super) place: SegmentPlace,
    pub(super) context: Arc<LogContext>,
    pub(super) epoch: LeaderEpoch,
    pub(super) config: RwLock<Arc<LogConfig>>,
    pub(super) tail: Mutex<Tail>,
    /// Held by the one sync that runs.
    pub(super) syncing: Mutex<()>,
    pub(super) segments: RwLock<Arc<Vec<Arc<Segment>>>>,
    pub(super) epochs: RwLock<EpochHistory>,
    pub(super) log_start: AtomicI64,
    /// The start that the next checkpoint makes durable; not below `log_start`.
    pub(super) log_start_wanted: AtomicI64,
    pub(super) visible: VisibleEnd,
    pub(super) log_end: AtomicI64,
    pub(super) synced_end: AtomicI64,
    /// What recovery found that no sync is known to cover; the next sync writes it again.
    pub(super) unsettled: Mutex<Vec<Unsettled>>,
    pub(super) debt: LogDebt,
    /// Held by the one checkpoint that is written. Taken before `syncing`.
    pub(super) checkpointing: Mutex<()>,
    /// Where the newest checkpoint ends.
    pub(super) checkpointed_end: AtomicI64,
    /// Held while closed segments are replaced or removed. Taken before `tail` and `segments`.
    pub(super) reshaping: Mutex<()>,
    /// Held by the one round of the cleaner.
    pub(super) cleaning: Mutex<()>,
    /// How many wait for the round that is under way to end.
    pub(super) waiting_for_round: AtomicUsize,
    pub(super) clean_state: Mutex<CleanState>,
    pub(super) offline: RwLock<Option<OfflineCause>>,
    pub(super) waiters: Waiters,
}

/// What only the appending side touches.
pub(super) struct Tail {
    pub(super) segment: Arc<Segment>,
    pub(super) position: u64,
    /// Commit time of the first frame of the active segment, for rolling by age.
    pub(super) first_commit_time: i64,
    pub(super) producers: Producers,
    /// Closed segments with bytes that no sync has covered yet.
    pub(super) unsynced: Vec<Arc<Segment>>,
    /// The directory has names that no sync has covered yet.
    pub(super) directory_dirty: bool,
    /// Closed segments whose index files no checkpoint has synced yet.
    pub(super) unsynced_indexes: Vec<Arc<Segment>>,
    pub(super) headers: Vec<u8>,
    /// When it was last said that an append failed.
    pub(super) failure_told: i64,
}

impl Log {
    /// Opens the log in `directory`, recovering it where it was not closed cleanly, or makes it.
    /// A corrupt log is opened too, offline, so that it can say what is wrong.
    pub fn open(
        context: Arc<LogContext>,
        id: TabletId,
        directory: PathBuf,
        config: LogConfig,
        epoch: LeaderEpoch,
    ) -> Result<Log, LogError> {
        let place = SegmentPlace {
            directory,
            disk: Arc::clone(&context.env.disk),
            files: Arc::clone(&context.files),
            index_interval: config.index_interval_bytes.max(1),
        };
        let recovered = recovery::recover(&context, &place, id, epoch)?;
        let Recovered {
            segments,
            log_end,
            synced_end,
            unsettled,
            offline,
            ..
        } = recovered;
        let segment = Arc::clone(segments.last().expect("recovery leaves an active segment"));
        let summary = segment.summary()?;
        // An active segment without frames says nothing of time: the one before does.
        for segment in segments.iter().rev().take(2) {
            context
                .commit_clock
                .raise_to(segment.summary()?.commit_time_last);
        }
        let is_settled = unsettled.is_empty();
        // Page-cache mode promised nothing of the disk: what can be read counts.
        let high_watermark = match config.flush_mode {
            FlushMode::Fsync => synced_end,
            FlushMode::PageCache => log_end,
        };
        let checkpointed_end = match is_settled && recovered.bytes_behind == 0 {
            true => log_end.value(),
            false => -1,
        };
        let tail = Tail {
            position: segment.length(),
            first_commit_time: summary.commit_time_first,
            unsynced: unsettled
                .iter()
                .map(|part| Arc::clone(&part.segment))
                .filter(|closed| !Arc::ptr_eq(closed, &segment))
                .collect(),
            segment,
            producers: recovered.producers,
            directory_dirty: !is_settled,
            unsynced_indexes: Vec::new(),
            headers: Vec::new(),
            failure_told: NO_TIME,
        };
        let log = Log {
            id,
            place,
            epoch,
            config: RwLock::new(Arc::new(config)),
            tail: Mutex::new(tail),
            syncing: Mutex::new(()),
            segments: RwLock::new(Arc::new(segments)),
            epochs: RwLock::new(recovered.epochs),
            log_start: AtomicI64::new(recovered.log_start.value()),
            log_start_wanted: AtomicI64::new(recovered.log_start.value()),
            visible: VisibleEnd::new(high_watermark),
            log_end: AtomicI64::new(log_end.value()),
            synced_end: AtomicI64::new(synced_end.value()),
            unsettled: Mutex::new(unsettled),
            debt: LogDebt::new(&context.recovery_debt, recovered.bytes_behind),
            checkpointing: Mutex::new(()),
            checkpointed_end: AtomicI64::new(checkpointed_end),
            reshaping: Mutex::default(),
            cleaning: Mutex::default(),
            waiting_for_round: AtomicUsize::new(0),
            clean_state: Mutex::default(),
            offline: RwLock::new(offline),
            waiters: Waiters::default(),
            context,
        };
        log.begin_to_serve(recovered.tail_was_cut, recovered.loss_accepted)?;
        Ok(log)
    }

    /// What remains to be done after recovery, before anybody reads or writes.
    fn begin_to_serve(&self, tail_was_cut: bool, loss_accepted: bool) -> Result<(), LogError> {
        if self.offline_cause().is_some() {
            return Ok(());
        }
        match self.config().flush_mode {
            // A failure takes the log offline, which is said to whoever comes.
            FlushMode::Fsync if !self.is_settled() => drop(self.sync()),
            // The cut is not on disk yet: what is appended goes where the old bytes cannot come
            // back behind it.
            FlushMode::PageCache if tail_was_cut => self.roll_active()?,
            _ => {}
        }
        if loss_accepted && self.offline_cause().is_none() {
            self.checkpoint()?;
            recovery::forget_acceptance(&self.place)?;
        }
        Ok(())
    }

    /// True when everything that recovery found is known to be on disk.
    pub(super) fn is_settled(&self) -> bool {
        self.unsettled.lock().is_empty()
    }

    /// The tablet it belongs to.
    pub fn id(&self) -> TabletId {
        self.id
    }

    /// What it shares with the broker's other logs.
    pub fn context(&self) -> &Arc<LogContext> {
        &self.context
    }

    /// Where its files lie.
    pub fn directory(&self) -> &std::path::Path {
        &self.place.directory
    }

    /// The epoch under which it appends.
    pub fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// Where read buffers come from.
    pub fn buffers(&self) -> &Arc<BufferPool> {
        &self.context.buffers
    }

    /// Its settings.
    pub fn config(&self) -> Arc<LogConfig> {
        Arc::clone(&self.config.read())
    }

    /// Takes new settings; they count from the next append, read and retention round on.
    pub fn set_config(&self, config: LogConfig) {
        *self.config.write() = Arc::new(config);
        // A change of flush mode may let the watermark move.
        if self.config().flush_mode == FlushMode::PageCache {
            self.promise(Offset::new(self.log_end.load(Ordering::Acquire)));
        }
    }

    /// Why it takes no writes, if it does not.
    pub fn offline_cause(&self) -> Option<OfflineCause> {
        self.offline.read().clone()
    }

    /// The offsets between which it can be read.
    pub fn watermarks(&self) -> Watermarks {
        // The start is read first and the end last, so that they never cross.
        let log_start = Offset::new(self.log_start.load(Ordering::Acquire));
        let high_watermark = self.visible.high_watermark();
        let synced_end = Offset::new(self.synced_end.load(Ordering::Acquire));
        let log_end = Offset::new(self.log_end.load(Ordering::Acquire));
        Watermarks {
            log_start,
            high_watermark,
            last_stable: high_watermark,
            log_end,
            synced_end,
        }
    }

    /// The segments as they are now; open readers keep the ones they hold.
    pub fn segments(&self) -> Arc<Vec<Arc<Segment>>> {
        Arc::clone(&self.segments.read())
    }

    /// Bytes of all segment files.
    pub fn size_bytes(&self) -> u64 {
        self.segments().iter().map(|s| s.length()).sum()
    }

    /// Bytes behind the newest checkpoint: what recovery would have to read.
    pub fn bytes_behind(&self) -> u64 {
        self.debt.bytes()
    }

    /// The largest epoch not above `epoch` and where it ended (KIP-320).
    pub fn end_of_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        self.epochs
            .read()
            .end_of(epoch, self.watermarks().high_watermark)
    }

    /// The epoch of the record at `offset`.
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.epochs.read().at(offset)
    }

    /// What is known of each producer.
    pub fn producers(&self) -> Vec<(ProducerKey, ProducerEntry)> {
        self.tail.lock().producers.entries()
    }

    /// What an append of this source would find: nothing, or that the log has it already.
    ///
    /// # Errors
    /// It would be refused.
    pub fn judge(&self, source: &SourceBlock) -> Result<Option<Appended>, AppendError> {
        match self.tail.lock().producers.judge(source)? {
            Verdict::Next => Ok(None),
            Verdict::Duplicate(known) => Ok(Some(self.duplicate(&known))),
        }
    }

    /// As [`Log::judge`], of a part of what a Kafka producer sent. Its order was judged before.
    ///
    /// # Errors
    /// An append of it would be refused.
    pub fn judge_part(&self, part: &SourcePart) -> Result<Option<Appended>, AppendError> {
        match self.tail.lock().producers.judge_part(part)? {
            Verdict::Next => Ok(None),
            Verdict::Duplicate(known) => Ok(Some(self.duplicate(&known))),
        }
    }

    /// What is known of one producer.
    pub fn producer(&self, key: ProducerKey) -> Option<ProducerEntry> {
        self.tail.lock().producers.entry(key).cloned()
    }

    /// The answer for a batch that the log has already.
    pub(super) fn duplicate(&self, known: &RememberedBatch) -> Appended {
        Appended {
            base_offset: known.base_offset,
            last_offset: known.last_offset,
            leader_epoch: self.epoch,
            commit_time: known.commit_time,
            log_start: Offset::new(self.log_start.load(Ordering::Acquire)),
            duplicate: true,
        }
    }

    /// Forgets producers that wrote nothing for long.
    pub fn expire_producers(&self) {
        let config = self.config();
        let now = self.context.commit_clock.now();
        self.tail.lock().producers.expire(
            now,
            config.kafka_producer_expiry_ms,
            config.fluss_writer_expiry_ms,
        );
    }

    /// Stops writing to this log; reads go on. The first cause stays.
    pub(super) fn go_offline(&self, cause: OfflineCause) {
        {
            let mut offline = self.offline.write();
            if offline.is_some() {
                return;
            }
            *offline = Some(cause.clone());
        }
        if !matches!(cause, OfflineCause::Closed) {
            tracing::error!(log = %self.id, %cause, "log goes offline");
        }
        self.waiters.fail(&AppendError::Offline(cause));
        // Nothing will be promised any more.
        self.tell_holder();
    }
}
