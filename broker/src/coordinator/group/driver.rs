//! The task that owns one shard: it feeds the state machine, writes to the log and answers.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use protocol::ids::Offset;
use storage::env::Clock;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::checkpoint::CheckpointError;
use super::checkpointer::Checkpointer;
use super::error::GroupError;
use super::log::{GroupLog, GroupLogError, LogRecord, ShardId};
use super::metrics;
use super::request::{Answer, Request};
use super::shard::ShardState;
use super::turn::{Action, Now, ReplyId, Tally, Then, Write};

/// Batches on their way to the log before the task stops taking requests.
const WRITES_MAX: usize = 64;
/// Requests taken in one go, whose records share a batch.
const REQUESTS_PER_BATCH: usize = 256;
/// Where a batch for the log is closed; a larger write goes alone.
const BATCH_BYTES: usize = 256 << 10;
/// Records replayed between two looks at other tasks.
const RECORDS_PER_YIELD: usize = 1_000;
/// A wait without a deadline; only to have one.
const LONG_WAIT: Duration = Duration::from_secs(3_600);

/// What the task is sent.
pub(super) enum Command {
    /// A request and where its answer goes.
    Request(Request, oneshot::Sender<Answer>),
    /// Finish what was begun and end.
    Stop(oneshot::Sender<()>),
}

/// Whether a shard can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    Loading = 0,
    Serving = 1,
    /// It could not be loaded, or was stopped.
    Closed = 2,
}

/// The phase of a shard, shared with those who send to it.
#[derive(Clone, Default)]
pub(super) struct SharedPhase(Arc<AtomicU8>);

impl SharedPhase {
    pub(super) fn get(&self) -> Phase {
        match self.0.load(Ordering::Acquire) {
            0 => Phase::Loading,
            1 => Phase::Serving,
            _ => Phase::Closed,
        }
    }

    fn set(&self, phase: Phase) {
        self.0.store(phase as u8, Ordering::Release);
    }
}

type Written = (Vec<Then>, u64, Result<Option<Offset>, GroupLogError>);

/// The owner of one shard.
pub(super) struct Driver {
    pub(super) shard: ShardId,
    pub(super) state: ShardState,
    pub(super) log: Arc<dyn GroupLog>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) phase: SharedPhase,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) checkpointer: Checkpointer,
    pub(super) checkpoint_records: u64,
    progress: Progress,
}

#[derive(Default)]
struct Progress {
    replies: HashMap<ReplyId, oneshot::Sender<Answer>>,
    next_reply: u64,
    /// Writes of this round, not yet given to the log.
    gathered: Vec<Write>,
    writes: FuturesOrdered<BoxFuture<'static, Written>>,
    /// Up to here the log's records are in the state.
    applied: Offset,
    records_since_checkpoint: u64,
    checkpointing: Option<JoinHandle<()>>,
}

impl Driver {
    #[allow(
        clippy::too_many_arguments,
        reason = "the parts are named fields at the one caller"
    )]
    pub(super) fn new(
        shard: ShardId,
        state: ShardState,
        log: Arc<dyn GroupLog>,
        clock: Arc<dyn Clock>,
        phase: SharedPhase,
        commands: mpsc::Receiver<Command>,
        checkpointer: Checkpointer,
        checkpoint_records: u64,
    ) -> Self {
        let progress = Progress::default();
        Driver {
            shard,
            state,
            log,
            clock,
            phase,
            commands,
            checkpointer,
            checkpoint_records,
            progress,
        }
    }

    /// Loads the shard and serves it until it is told to stop.
    pub(super) async fn run(mut self) {
        if let Err(error) = self.load().await {
            tracing::error!(shard = %self.shard, %error, "groups cannot be loaded");
            self.phase.set(Phase::Closed);
            return;
        }
        self.phase.set(Phase::Serving);
        let stopped = self.serve().await;
        self.phase.set(Phase::Closed);
        self.finish().await;
        // The channel first: a command that is sent while it goes down may stay in it for ever, and
        // a second stop follows the first one's answer.
        drop(self);
        if let Some(stopped) = stopped {
            // Nobody may be waiting any more.
            let _ = stopped.send(());
        }
    }

    async fn serve(&mut self) -> Option<oneshot::Sender<()>> {
        loop {
            self.fire_timers();
            self.submit();
            self.publish();
            let deadline = self.state.next_deadline();
            let wait = deadline.map_or(LONG_WAIT, |at| at.saturating_sub(self.clock.monotonic()));
            let progress = &mut self.progress;
            tokio::select! {
                biased;
                Some(written) = progress.writes.next(), if !progress.writes.is_empty() => self.written(written),
                command = self.commands.recv(), if progress.writes.len() < WRITES_MAX => match command {
                    None => return None,
                    Some(command) => if let Some(stopped) = self.take(command) {
                        return Some(stopped);
                    }
                },
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Takes a command and those that wait behind it.
    fn take(&mut self, command: Command) -> Option<oneshot::Sender<()>> {
        let mut next = command;
        for _ in 1..REQUESTS_PER_BATCH {
            match next {
                Command::Stop(stopped) => return Some(stopped),
                Command::Request(request, sender) => self.handle(request, sender),
            }
            next = self.commands.try_recv().ok()?;
        }
        match next {
            Command::Stop(stopped) => Some(stopped),
            Command::Request(request, sender) => {
                self.handle(request, sender);
                None
            }
        }
    }

    fn handle(&mut self, request: Request, sender: oneshot::Sender<Answer>) {
        let reply = ReplyId(self.progress.next_reply);
        self.progress.next_reply += 1;
        self.progress.replies.insert(reply, sender);
        let actions = self.state.handle(self.now(), reply, request);
        self.perform(actions);
    }

    fn now(&self) -> Now {
        Now {
            monotonic: self.clock.monotonic(),
            wall_ms: self.clock.wall_ms(),
        }
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Answer(reply, answer) => {
                    if let Some(sender) = self.progress.replies.remove(&reply) {
                        // The client may be gone.
                        let _ = sender.send(answer);
                    }
                }
                Action::Append(write) => self.progress.gathered.push(write),
            }
        }
    }

    fn fire_timers(&mut self) {
        let now = self.now();
        while let Some(actions) = self.state.advance(now) {
            self.perform(actions);
        }
    }

    /// Gives the gathered writes to the log, many in one batch.
    fn submit(&mut self) {
        while !self.progress.gathered.is_empty() {
            let mut records: Vec<LogRecord> = Vec::new();
            let mut thens: Vec<Then> = Vec::new();
            let mut bytes = 0;
            let gathered = std::mem::take(&mut self.progress.gathered);
            for write in gathered {
                let size: usize = write.records.iter().map(LogRecord::size).sum();
                if bytes > 0 && bytes + size > BATCH_BYTES {
                    self.write(std::mem::take(&mut records), std::mem::take(&mut thens));
                    bytes = 0;
                }
                bytes += size;
                records.extend(write.records);
                thens.push(write.then);
            }
            self.write(records, thens);
        }
    }

    fn write(&mut self, records: Vec<LogRecord>, thens: Vec<Then>) {
        let count = records.len() as u64;
        if count > 0 {
            let appended = self.log.append(self.shard, records);
            self.progress.writes.push_back(Box::pin(async move {
                (thens, count, appended.await.map(Some))
            }));
        } else if self.progress.writes.is_empty() {
            self.written((thens, 0, Ok(None)));
        } else {
            self.progress
                .writes
                .push_back(Box::pin(std::future::ready((thens, 0, Ok(None)))));
        }
    }

    fn written(&mut self, (thens, count, outcome): Written) {
        match &outcome {
            Ok(Some(end)) => self.progress.applied = *end,
            Ok(None) => {}
            Err(error) => {
                tracing::error!(shard = %self.shard, %error, "group state was not written")
            }
        }
        let outcome = outcome.map(drop).map_err(|error| GroupError::from(&error));
        let now = self.now();
        for then in thens {
            let actions = self.state.appended(now, then, outcome);
            self.perform(actions);
        }
        self.progress.records_since_checkpoint += count;
        self.start_checkpoint_when_due();
    }

    fn publish(&mut self) {
        let tally = self.state.take_tally();
        if tally != Tally::default() {
            metrics::publish(&tally);
        }
    }

    fn start_checkpoint_when_due(&mut self) {
        let running = self
            .progress
            .checkpointing
            .as_ref()
            .is_some_and(|task| !task.is_finished());
        if running || self.progress.records_since_checkpoint < self.checkpoint_records {
            return;
        }
        self.progress.records_since_checkpoint = 0;
        let (shard, to, checkpointer) =
            (self.shard, self.progress.applied, self.checkpointer.clone());
        self.progress.checkpointing = Some(tokio::spawn(async move {
            if let Err(error) = checkpointer.advance(to).await {
                tracing::warn!(%shard, %error, "group checkpoint was not made, the log is kept");
            }
        }));
    }

    async fn load(&mut self) -> Result<(), CheckpointError> {
        let checkpoint = self.checkpointer.newest().await?;
        let bounds = self.log.bounds(self.shard).await?;
        let now = self.now();
        if checkpoint.offset < bounds.start {
            let text = format!(
                "checkpoint ends at {}, log starts at {}",
                checkpoint.offset, bounds.start
            );
            return Err(GroupLogError::Damaged(text).into());
        }
        let mut from = checkpoint.offset;
        if from > bounds.end {
            // The log lost its tail (page-cache mode and a power loss). The checkpoint holds all
            // that was in it; it must not hide what is appended from here on.
            tracing::warn!(shard = %self.shard, checkpoint = %from, log = %bounds.end, "group log ends before its checkpoint");
            let mut moved = checkpoint.clone();
            moved.offset = bounds.end;
            self.checkpointer.store(moved).await?;
            from = bounds.end;
        }
        for record in checkpoint.into_records() {
            self.replay(now, &record)?;
        }
        let mut records = self.log.replay(self.shard, from);
        let mut count = 0usize;
        while let Some(record) = records.next().await {
            let (_, record) = record?;
            self.replay(now, &record)?;
            count += 1;
            if count.is_multiple_of(RECORDS_PER_YIELD) {
                tokio::task::yield_now().await;
            }
        }
        self.progress.applied = bounds.end;
        self.progress.records_since_checkpoint = count as u64;
        let actions = self.state.loaded(self.now());
        self.perform(actions);
        Ok(())
    }

    fn replay(&mut self, now: Now, record: &LogRecord) -> Result<(), CheckpointError> {
        self.state
            .replay(now, record)
            .map_err(|error| GroupLogError::Damaged(error.to_string()).into())
    }

    /// Answers who waits, lets writes end and makes a checkpoint, so that the next start is quick.
    async fn finish(&mut self) {
        let actions = self.state.stop(self.now());
        self.perform(actions);
        self.submit();
        while let Some(written) = self.progress.writes.next().await {
            self.written(written);
            self.submit();
        }
        // What is parked in the channel is answered by dropping it.
        self.progress.replies.clear();
        if let Some(task) = self.progress.checkpointing.take() {
            // It logs its own failure.
            let _ = task.await;
        }
        if self.progress.records_since_checkpoint > 0
            && let Err(error) = self.checkpointer.advance(self.progress.applied).await
        {
            tracing::warn!(shard = %self.shard, %error, "group checkpoint was not made");
        }
        self.publish();
    }
}
