//! Fetch (API 1): sessions, long polling, and batches that leave as they are stored.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::FetchRequest;
use protocol::ids::{LeaderEpoch, Offset};
use protocol::kafka::fetch_response::{FetchAnswer, FetchPartitionAnswer, FetchTopicAnswer};
use storage::log::DataSignal;
use storage::tablet::KafkaRead;
use tokio::time::Instant;

use crate::broker::Broker;
use crate::kafka::error;
use crate::kafka::fetch_session::{FetchPlan, PartitionKey, SessionRequest, Wanted};
use crate::kafka::topics::TopicRef;
use crate::kafka::wire::Context;
use crate::memory::{FetchMemory, Grant};
use crate::tablets::OpenBucket;

/// Isolation level read-committed, as the request writes it.
const READ_COMMITTED: i8 = 1;

/// How long a fetch waits for memory at least: one that does not wait for data still wants some.
const MEMORY_WAIT: Duration = Duration::from_secs(1);

/// With less than this part of an answer's room left it is full. Hardly a batch would fit, and
/// finding that out costs a read of every partition that is left.
const ROOM_PART_MIN: usize = 32;

/// Limits of one fetch.
#[derive(Clone, Copy)]
struct Limits {
    bytes_max: usize,
    bytes_min: usize,
    deadline: Instant,
    memory_deadline: Instant,
    committed_only: bool,
    /// Versions before 3 had no limit for the whole answer.
    strict: bool,
}

impl Limits {
    /// Bytes that may be added to what was found so far.
    fn bytes_left(&self, pass: &Pass) -> usize {
        let left = self.bytes_max.saturating_sub(pass.bytes);
        if pass.bytes > 0 && left < self.bytes_max / ROOM_PART_MIN {
            return 0;
        }
        left
    }
}

/// A partition of the plan, with its tablet or why it has none.
struct Target {
    key: PartitionKey,
    wanted: Wanted,
    bucket: Result<Arc<OpenBucket>, ResponseError>,
}

/// What a pass over all partitions found.
struct Pass {
    answers: Vec<(PartitionKey, FetchPartitionAnswer)>,
    bytes: usize,
    /// Something that the client should hear of without waiting.
    urgent: bool,
    /// Its part of the fetch memory; none when that was spent.
    grant: Option<Grant>,
}

/// Fetches; the answer comes when there is enough, or the time is up.
///
/// The grant is to be held until the answer has left.
pub async fn handle(context: Context, request: FetchRequest) -> (FetchAnswer, Option<Grant>) {
    let limits = limits(&context, &request);
    let session = session_request(&context, &request);
    let plan = context
        .shared
        .fetch_sessions
        .plan(session, &*context.broker().env.randomness);
    let plan = match plan {
        Ok(plan) => plan,
        Err(error) => {
            let answer = FetchAnswer {
                error_code: error.code(),
                ..FetchAnswer::default()
            };
            return (answer, None);
        }
    };
    let mut targets = resolve(&context, &plan).await;
    // A session lets its partitions take turns by itself.
    let first = match plan.session_id {
        0 => context.fetch_pace.first_of(targets.len()),
        _ => 0,
    };
    targets.rotate_left(first);
    let mut pass = fetch(context.broker(), &targets, &limits).await;
    pass.answers.rotate_right(first);
    let grant = pass.grant.take();
    context.fetch_pace.answered(Instant::now());
    (answer(&context, plan, pass), grant)
}

fn limits(context: &Context, request: &FetchRequest) -> Limits {
    let config = context.broker().config().fetch();
    let wait = Duration::from_millis(request.max_wait_ms.max(0) as u64).min(config.wait_max);
    let now = Instant::now();
    let bytes_min = (request.min_bytes.max(0) as usize).min(config.answer_bytes_max);
    // Twice, so that what does not fit any more never keeps the answer below the least.
    let bytes_paced = context
        .fetch_pace
        .answer_bytes(now)
        .max(bytes_min.saturating_mul(2));
    Limits {
        bytes_max: (request.max_bytes.max(0) as usize)
            .min(config.answer_bytes_max)
            .min(bytes_paced),
        bytes_min,
        deadline: now + wait,
        memory_deadline: now + wait.max(MEMORY_WAIT),
        committed_only: request.isolation_level == READ_COMMITTED,
        strict: false,
    }
}

fn session_request(context: &Context, request: &FetchRequest) -> SessionRequest {
    let by_id = context.version >= 13;
    let mut partitions = Vec::new();
    for topic in &request.topics {
        let reference = TopicRef::new(by_id, &topic.topic, topic.topic_id);
        for p in &topic.partitions {
            let wanted = Wanted {
                offset: p.fetch_offset,
                leader_epoch: p.current_leader_epoch,
                last_fetched_epoch: p.last_fetched_epoch,
                bytes_max: p.partition_max_bytes,
            };
            partitions.push((
                PartitionKey {
                    topic: reference.clone(),
                    index: p.partition,
                },
                wanted,
            ));
        }
    }
    let mut forgotten = Vec::new();
    for topic in &request.forgotten_topics_data {
        let reference = TopicRef::new(by_id, &topic.topic, topic.topic_id);
        for index in &topic.partitions {
            forgotten.push(PartitionKey {
                topic: reference.clone(),
                index: *index,
            });
        }
    }
    let (id, epoch) = if context.version >= 7 {
        (request.session_id, request.session_epoch)
    } else {
        (0, -1)
    };
    SessionRequest {
        id,
        epoch,
        partitions,
        forgotten,
    }
}

async fn resolve(context: &Context, plan: &FetchPlan) -> Vec<Target> {
    let view = context.broker().catalog.view();
    let tablets = &context.broker().tablets;
    let mut targets = Vec::with_capacity(plan.partitions.len());
    for (key, wanted) in &plan.partitions {
        let id = key.topic.resolve(&view).and_then(|topic| {
            topic
                .tablet(key.index)
                .ok_or(ResponseError::UnknownTopicOrPartition)
        });
        let bucket = match id {
            Ok(id) => match tablets.get_open(id) {
                Some(bucket) => Ok(bucket),
                None => tablets.get(id).await.map_err(|e| error::of_tablet(&e)),
            },
            Err(error) => Err(error),
        };
        targets.push(Target {
            key: key.clone(),
            wanted: *wanted,
            bucket,
        });
    }
    targets
}

/// Reads until there is enough for an answer.
async fn fetch(broker: &Broker, targets: &[Target], limits: &Limits) -> Pass {
    let pass = read_granted(&broker.fetch_memory, targets, limits).await;
    if pass.is_enough(limits) || Instant::now() >= limits.deadline {
        return pass;
    }
    // What was read is too little to be sent, and waits for nobody.
    drop(pass);
    let signal = Waiting(DataSignal::new());
    loop {
        // Registered before the look: what comes in between wakes us.
        for target in targets {
            if let Ok(bucket) = &target.bucket {
                bucket.tablet.wait_for_data(&signal.0);
            }
        }
        let pass = read_granted(&broker.fetch_memory, targets, limits).await;
        if pass.is_enough(limits) {
            return pass;
        }
        drop(pass);
        if !broker.wait_for_data(&signal.0, limits.deadline).await {
            return read_granted(&broker.fetch_memory, targets, limits).await;
        }
    }
}

/// Reads as much as there is memory for.
async fn read_granted(memory: &FetchMemory, targets: &[Target], limits: &Limits) -> Pass {
    let wanted = targets
        .iter()
        .map(|target| target.wanted.bytes_max.max(0) as usize)
        .sum::<usize>();
    let wanted = wanted.min(limits.bytes_max);
    // A share for itself: the fetches of a connection are begun one after the other.
    let share = memory.share();
    let grant = memory.grant(&share, wanted, limits.memory_deadline);
    let Some(grant) = grant.await else {
        let nothing = Limits {
            bytes_max: 0,
            strict: true,
            ..*limits
        };
        return read_all(targets, &nothing).await;
    };
    let granted = Limits {
        bytes_max: grant.bytes(),
        ..*limits
    };
    let mut pass = read_all(targets, &granted).await;
    pass.grant = Some(grant.settle(pass.bytes));
    // Who wants more than is granted need not wait for it.
    pass.urgent |= wanted > granted.bytes_max && pass.bytes > granted.bytes_max / 2;
    pass
}

/// Tells the logs to forget the signal, also when the client goes away meanwhile.
struct Waiting(Arc<DataSignal>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl Pass {
    fn is_enough(&self, limits: &Limits) -> bool {
        self.urgent || self.bytes >= limits.bytes_min || self.answers.is_empty()
    }
}

async fn read_all(targets: &[Target], limits: &Limits) -> Pass {
    let mut pass = Pass {
        answers: Vec::with_capacity(targets.len()),
        bytes: 0,
        urgent: false,
        grant: None,
    };
    for target in targets {
        let answer = read(target, limits, &pass).await;
        pass.bytes += answer.records.iter().map(bytes::Bytes::len).sum::<usize>();
        pass.urgent |= answer.error_code != 0 || answer.diverging_epoch.is_some();
        pass.answers.push((target.key.clone(), answer));
    }
    pass
}

async fn read(target: &Target, limits: &Limits, pass: &Pass) -> FetchPartitionAnswer {
    let failed = |error: ResponseError| FetchPartitionAnswer {
        index: target.key.index,
        error_code: error.code(),
        ..FetchPartitionAnswer::default()
    };
    let bucket = match &target.bucket {
        Ok(bucket) => bucket,
        Err(error) => return failed(*error),
    };
    let tablet = &bucket.tablet;
    let log = tablet.log().log();
    if target.wanted.leader_epoch >= 0 {
        let known = LeaderEpoch::new(target.wanted.leader_epoch);
        if known < log.epoch() {
            return failed(ResponseError::FencedLeaderEpoch);
        }
        if known > log.epoch() {
            return failed(ResponseError::UnknownLeaderEpoch);
        }
    }
    if let Some(diverging) = diverging(target, log) {
        let w = tablet.watermarks();
        return FetchPartitionAnswer {
            index: target.key.index,
            high_watermark: w.high_watermark.value(),
            last_stable_offset: w.last_stable.value(),
            log_start_offset: w.log_start.value(),
            diverging_epoch: Some(diverging),
            ..FetchPartitionAnswer::default()
        };
    }
    let left = limits.bytes_left(pass);
    let range = KafkaRead {
        offset: Offset::new(target.wanted.offset),
        bytes_max: left.min(target.wanted.bytes_max.max(0) as usize),
        at_least_one: pass.bytes == 0 && !limits.strict,
        committed_only: limits.committed_only,
    };
    match tablet.read_kafka(range).await {
        Ok(read) => FetchPartitionAnswer {
            index: target.key.index,
            high_watermark: read.watermarks.high_watermark.value(),
            last_stable_offset: read.watermarks.last_stable.value(),
            log_start_offset: read.watermarks.log_start.value(),
            aborted_transactions: limits.committed_only.then(Vec::new),
            records: read.chunks,
            ..FetchPartitionAnswer::default()
        },
        Err(read_error) => {
            let code = error::of_kafka_read(&read_error);
            if code != ResponseError::OffsetOutOfRange {
                tracing::warn!(
                    table = %bucket.table.path,
                    bucket = target.key.index,
                    offset = target.wanted.offset,
                    error = %read_error,
                    "a fetch failed"
                );
            }
            failed(code)
        }
    }
}

/// Where the client's log and ours part, when they do (KIP-595's truncation on fetch).
fn diverging(target: &Target, log: &storage::log::Log) -> Option<(i32, i64)> {
    let last = target.wanted.last_fetched_epoch;
    if last < 0 {
        return None;
    }
    let (epoch, end) = log.end_of_epoch(LeaderEpoch::new(last))?;
    let parted = epoch.value() < last || end < Offset::new(target.wanted.offset);
    parted.then_some((epoch.value(), end.value()))
}

fn answer(context: &Context, plan: FetchPlan, pass: Pass) -> FetchAnswer {
    let mut topics: Vec<(TopicRef, FetchTopicAnswer)> = Vec::new();
    for (key, answer) in pass.answers {
        let news = plan.session_id == 0
            || context.shared.fetch_sessions.note(
                plan.session_id,
                &key,
                answer.high_watermark,
                answer.log_start_offset,
                answer.error_code != 0 || answer.diverging_epoch.is_some(),
                !answer.records.is_empty(),
            );
        if plan.incremental && !news {
            continue;
        }
        match topics.last_mut() {
            Some((topic, entry)) if *topic == key.topic => entry.partitions.push(answer),
            _ => {
                let entry = FetchTopicAnswer {
                    name: key.topic.name().0,
                    id: key.topic.id(),
                    partitions: vec![answer],
                };
                topics.push((key.topic, entry));
            }
        }
    }
    FetchAnswer {
        session_id: plan.session_id,
        topics: topics.into_iter().map(|(_, entry)| entry).collect(),
        ..FetchAnswer::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(bytes_max: usize, bytes: usize) -> usize {
        let limits = Limits {
            bytes_max,
            bytes_min: 1,
            deadline: Instant::now(),
            memory_deadline: Instant::now(),
            committed_only: false,
            strict: false,
        };
        let pass = Pass {
            answers: Vec::new(),
            bytes,
            urgent: false,
            grant: None,
        };
        limits.bytes_left(&pass)
    }

    #[test]
    fn an_answer_with_hardly_any_room_left_is_full() {
        assert_eq!(left(512 << 10, 490 << 10), 22 << 10);
        assert_eq!(left(512 << 10, 500 << 10), 0);
        assert_eq!(left(512 << 10, 600 << 10), 0);
    }

    #[test]
    fn small_limits_are_used_up() {
        assert_eq!(left(20, 0), 20);
        assert_eq!(left(20, 19), 1);
        assert_eq!(left(0, 0), 0);
    }
}
