//! The handle that the rest of the broker holds.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use storage::env::{Env, Randomness};
use tokio::sync::{mpsc, oneshot};

use super::checkpointer::Checkpointer;
use super::config::GroupConfig;
use super::driver::{Command, Driver, Phase, SharedPhase};
use super::error::GroupError;
use super::log::{GroupLog, ShardId};
use super::names::{GroupId, TopicName};
use super::request::{
    Answer, CommitRequest, DeleteOffsetsRequest, DescribedGroup, FetchOffsetsRequest,
    HeartbeatRequest, JoinAnswer, JoinRequest, LeaveOutcome, LeaveRequest, ListedGroup, Request,
    SyncRequest, Synced, TopicOffsets, TopicOutcome,
};
use super::shard::ShardState;

/// The group coordinator. Cheap to clone; every clone is the same coordinator.
///
/// Every method hands its request over when it is *called*; the future only waits for the answer.
/// So two requests of one connection are handled in the order of the calls, although a join may be
/// answered much later. A dropped future loses the answer, not the request.
#[derive(Clone)]
pub struct GroupCoordinator {
    shards: Arc<[Shard]>,
    randomness: Arc<dyn Randomness>,
    commit_timeout: Duration,
}

struct Shard {
    commands: mpsc::Sender<Command>,
    phase: SharedPhase,
}

type Outcome<T> = BoxFuture<'static, Result<T, GroupError>>;

impl GroupCoordinator {
    /// Starts a task per shard. They load their groups first; until then requests are answered
    /// with [`GroupError::Loading`]. Must be called inside a tokio runtime.
    ///
    /// Checkpoints are kept in `directory`, which is made when needed.
    pub fn start(env: &Env, config: GroupConfig, log: Arc<dyn GroupLog>, directory: &Path) -> Self {
        let config = Arc::new(config);
        let shard = |number| {
            let shard = ShardId(number);
            let (sender, commands) = mpsc::channel(config.queued_requests_max);
            let phase = SharedPhase::default();
            let driver = Driver::new(
                shard,
                ShardState::new(config.clone()),
                log.clone(),
                env.clock.clone(),
                phase.clone(),
                commands,
                Checkpointer::new(shard, directory, env.disk.clone(), log.clone()),
                config.checkpoint_records,
            );
            tokio::spawn(driver.run());
            Shard {
                commands: sender,
                phase,
            }
        };
        let shards = (0..config.shard_count.max(1)).map(shard).collect();
        GroupCoordinator {
            shards,
            randomness: env.randomness.clone(),
            commit_timeout: Duration::from_millis(u64::from(config.commit_timeout_ms)),
        }
    }

    /// The shard of a group: the partition of `__consumer_offsets` where Kafka would keep it.
    pub fn shard_of(&self, group: &str) -> ShardId {
        let hash = java_hash(group).checked_abs().unwrap_or(0).unsigned_abs();
        // `start` makes at least one shard, and their number came from a u32.
        ShardId(hash % u32::try_from(self.shards.len()).unwrap_or(u32::MAX))
    }

    /// Waits until every shard is loaded. True when all can serve.
    pub async fn loaded(&self) -> bool {
        let ask = |shard: &Shard| {
            let commands = shard.commands.clone();
            async move {
                let (sender, answer) = oneshot::channel();
                // The task takes commands only after it has loaded.
                commands
                    .send(Command::Request(Request::List, sender))
                    .await
                    .is_ok()
                    && answer.await.is_ok()
            }
        };
        join_all(self.shards.iter().map(ask))
            .await
            .into_iter()
            .all(|served| served)
    }

    /// Answers all parked requests, finishes writes and makes checkpoints. Later requests are
    /// answered with [`GroupError::NotCoordinator`].
    pub async fn stop(&self) {
        let stop = |shard: &Shard| {
            let commands = shard.commands.clone();
            async move {
                let (sender, stopped) = oneshot::channel();
                if commands.send(Command::Stop(sender)).await.is_ok() {
                    // An error means that it has stopped before.
                    let _ = stopped.await;
                }
            }
        };
        join_all(self.shards.iter().map(stop)).await;
    }

    /// A text that makes a member id unique, in the form of a random UUID.
    pub fn fresh_id(&self) -> String {
        let bits =
            (u128::from(self.randomness.next_u64()) << 64) | u128::from(self.randomness.next_u64());
        uuid::Builder::from_random_bytes(bits.to_be_bytes())
            .into_uuid()
            .to_string()
    }

    /// Joins a group. Waits until the generation is complete.
    pub fn join(&self, request: JoinRequest) -> BoxFuture<'static, JoinAnswer> {
        let member_id = request.member_id.clone();
        let shard = self.shard_of(&request.group);
        let refused = move |error| JoinAnswer {
            member_id,
            outcome: Err(error),
        };
        let answer = self.ask(shard, Request::Join(request), |answer| match answer {
            Answer::Join(answer) => Some(answer),
            _ => None,
        });
        answer.map(|answer| answer.unwrap_or_else(refused)).boxed()
    }

    /// Syncs with the joined generation. Waits until the leader has assigned.
    pub fn sync(&self, request: SyncRequest) -> Outcome<Synced> {
        let shard = self.shard_of(&request.group);
        self.ask_fallibly(shard, Request::Sync(request), |answer| match answer {
            Answer::Sync(outcome) => Some(outcome),
            _ => None,
        })
    }

    /// Keeps a session alive.
    pub fn heartbeat(&self, request: HeartbeatRequest) -> Outcome<()> {
        let shard = self.shard_of(&request.group);
        let outcome =
            self.ask_fallibly(shard, Request::Heartbeat(request), |answer| match answer {
                Answer::Heartbeat(outcome) => Some(outcome),
                _ => None,
            });
        // A member of a group that is loading need not do anything: its session starts anew.
        outcome
            .map(|outcome| {
                if outcome == Err(GroupError::Loading) {
                    Ok(())
                } else {
                    outcome
                }
            })
            .boxed()
    }

    /// Leaves a group.
    pub fn leave(&self, request: LeaveRequest) -> Outcome<Vec<LeaveOutcome>> {
        let shard = self.shard_of(&request.group);
        self.ask_fallibly(shard, Request::Leave(request), |answer| match answer {
            Answer::Leave(outcome) => Some(outcome),
            _ => None,
        })
    }

    /// Commits offsets. Waits until they are durable.
    pub fn commit(&self, request: CommitRequest) -> Outcome<Vec<TopicOutcome>> {
        let shard = self.shard_of(&request.group);
        self.within_timeout(self.ask_fallibly(shard, Request::Commit(request), partitions))
    }

    /// Reads committed offsets.
    pub fn fetch_offsets(&self, request: FetchOffsetsRequest) -> Outcome<Vec<TopicOffsets>> {
        let shard = self.shard_of(&request.group);
        self.ask_fallibly(
            shard,
            Request::FetchOffsets(request),
            |answer| match answer {
                Answer::Offsets(outcome) => Some(outcome),
                _ => None,
            },
        )
    }

    /// Removes committed offsets of topics that the group does not read.
    pub fn delete_offsets(&self, request: DeleteOffsetsRequest) -> Outcome<Vec<TopicOutcome>> {
        let shard = self.shard_of(&request.group);
        self.within_timeout(self.ask_fallibly(shard, Request::DeleteOffsets(request), partitions))
    }

    /// Removes an empty group and its offsets.
    pub fn delete_group(&self, group: GroupId) -> Outcome<()> {
        let shard = self.shard_of(&group);
        let outcome =
            self.ask_fallibly(shard, Request::DeleteGroup(group), |answer| match answer {
                Answer::Deleted(outcome) => Some(outcome),
                _ => None,
            });
        self.within_timeout(outcome)
    }

    /// Describes a group; nothing when it does not exist.
    pub fn describe(&self, group: GroupId) -> Outcome<Option<DescribedGroup>> {
        let shard = self.shard_of(&group);
        self.ask(shard, Request::Describe(group), |answer| match answer {
            Answer::Described(group) => Some(group),
            _ => None,
        })
    }

    /// Lists all groups.
    pub fn list(&self) -> Outcome<Vec<ListedGroup>> {
        let listed = |answer| match answer {
            Answer::Listed(groups) => Some(groups),
            _ => None,
        };
        let all = self
            .all_shards()
            .map(|shard| self.ask(shard, Request::List, listed));
        let all = join_all(all);
        async move {
            Ok(all
                .await
                .into_iter()
                .collect::<Result<Vec<_>, _>>()?
                .concat())
        }
        .boxed()
    }

    /// Removes the offsets of topics that were dropped, in all groups.
    pub fn forget_topics(&self, topics: Vec<TopicName>) -> Outcome<()> {
        let topics: Arc<[TopicName]> = topics.into();
        let forgotten = |answer| matches!(answer, Answer::Forgotten).then_some(());
        let all = self
            .all_shards()
            .map(|shard| self.ask(shard, Request::ForgetTopics(topics.clone()), forgotten));
        let all = join_all(all);
        async move { all.await.into_iter().collect::<Result<(), _>>() }.boxed()
    }

    fn all_shards(&self) -> impl Iterator<Item = ShardId> {
        (0..).map(ShardId).take(self.shards.len())
    }

    fn ask<T: Send + 'static>(
        &self,
        shard: ShardId,
        request: Request,
        pick: impl FnOnce(Answer) -> Option<T> + Send + 'static,
    ) -> Outcome<T> {
        let sent = self.send(shard, request);
        async move {
            // A task that ends without an answer has stopped.
            let answer = sent?.await.map_err(|_| GroupError::NotCoordinator)?;
            pick(answer).ok_or(GroupError::NotAvailable)
        }
        .boxed()
    }

    fn ask_fallibly<T: Send + 'static>(
        &self,
        shard: ShardId,
        request: Request,
        pick: impl FnOnce(Answer) -> Option<Result<T, GroupError>> + Send + 'static,
    ) -> Outcome<T> {
        self.ask(shard, request, pick)
            .map(|outcome| outcome.and_then(|inner| inner))
            .boxed()
    }

    fn within_timeout<T: Send + 'static>(&self, outcome: Outcome<T>) -> Outcome<T> {
        let limit = self.commit_timeout;
        async move {
            tokio::time::timeout(limit, outcome)
                .await
                .unwrap_or(Err(GroupError::NotAvailable))
        }
        .boxed()
    }

    fn send(
        &self,
        shard: ShardId,
        request: Request,
    ) -> Result<oneshot::Receiver<Answer>, GroupError> {
        let shard = self
            .shards
            .get(shard.0 as usize)
            .ok_or(GroupError::NotCoordinator)?;
        match shard.phase.get() {
            Phase::Loading => return Err(GroupError::Loading),
            Phase::Closed => return Err(GroupError::NotCoordinator),
            Phase::Serving => {}
        }
        let (sender, answer) = oneshot::channel();
        match shard.commands.try_send(Command::Request(request, sender)) {
            Ok(()) => Ok(answer),
            Err(mpsc::error::TrySendError::Full(_)) => Err(GroupError::Loading),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(GroupError::NotCoordinator),
        }
    }
}

fn partitions(answer: Answer) -> Option<Result<Vec<TopicOutcome>, GroupError>> {
    match answer {
        Answer::Partitions(outcome) => Some(outcome),
        _ => None,
    }
}

/// The hash of a string in Java, over UTF-16 units.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_hash_as_in_java() {
        assert_eq!(java_hash(""), 0);
        assert_eq!(java_hash("my-group"), -1_906_497_762);
        assert_eq!(java_hash("polygenelubricants"), i32::MIN);
    }
}
