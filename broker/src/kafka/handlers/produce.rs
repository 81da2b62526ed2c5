//! Produce (API 0). The first stage validates the batches and queues them, so that requests of one
//! connection are appended in their order; the second waits for what `acks` asks for.
//!
//! Batches for primary-key tables that Fluss clients made become rows first: `upsert.rs`.

mod refusal;
mod upsert;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_response::{
    LeaderIdAndEpoch, PartitionProduceResponse, ProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{ProduceRequest, produce_request};
use protocol::batch::{NO_TIME, UnassignedBatch};
use protocol::kafka::compression::{Codec, DecompressError};
use protocol::kafka::validate::{self, InvalidBatch, TargetCompression, ValidateConfig};
use storage::catalog::{CatalogView, Origin};
use storage::log::{Append, AppendError, AppendTicket, Until};

use crate::config::{Compression, TimestampType, TopicConfig};
use crate::kafka::error;
use crate::kafka::topics::TopicRef;
use crate::kafka::upserts::Ticket;
use crate::kafka::wire::Context;
use crate::memory::{Unpacked, Unpacking};
use crate::tablets::{OpenBucket, is_compacted};
use refusal::{Refusal, Refusals};

/// Batches above this size that are compressed are validated off the connection threads.
const INLINE_BYTES_MAX: usize = 32 << 10;
/// A batch may grow this much when it is decompressed for validation, whatever its size.
const DECOMPRESSED_BYTES_MAX: usize = 256 << 20;

/// Longer than any broker lives.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// A produce request whose batches are queued.
pub struct Queued {
    acks: i16,
    timeout: Duration,
    node_id: i32,
    topics: Vec<(TopicRef, Vec<Partition>)>,
    refusals: Refusals,
}

struct Partition {
    index: i32,
    /// `LogAppendTime` topics answer with the time of the append.
    stamped: bool,
    outcome: Outcome,
}

enum Outcome {
    Queued(AppendTicket),
    Upserted(Ticket),
    Refused(Refusal),
}

/// Validates and queues all batches of a request.
pub async fn start(context: &Context, request: ProduceRequest) -> Queued {
    let view = context.broker().catalog.view();
    let by_id = context.version >= 13;
    let acks = request.acks;
    let mut topics = Vec::with_capacity(request.topic_data.len());
    let mut refusals = Refusals::new(context.clone());
    for topic in request.topic_data {
        let reference = TopicRef::new(by_id, &topic.name, topic.topic_id);
        let mut partitions = Vec::with_capacity(topic.partition_data.len());
        for data in topic.partition_data {
            let index = data.index;
            let queued = queue(
                context,
                &view,
                acks,
                &request.transactional_id,
                &reference,
                data,
            );
            partitions.push(match queued.await {
                Ok((outcome, stamped)) => Partition {
                    index,
                    stamped,
                    outcome,
                },
                Err(refusal) => {
                    refusals.note(&reference, index, &refusal);
                    Partition {
                        index,
                        stamped: false,
                        outcome: Outcome::Refused(refusal),
                    }
                }
            });
        }
        topics.push((reference, partitions));
    }
    let timeout = match acks {
        // A timeout is that of a wait for others.
        0 => FOREVER,
        _ => Duration::from_millis(request.timeout_ms.max(0) as u64),
    };
    Queued {
        acks,
        timeout,
        node_id: context.broker().node_id,
        topics,
        refusals,
    }
}

async fn queue(
    context: &Context,
    view: &CatalogView,
    acks: i16,
    transactional_id: &Option<kafka_protocol::messages::TransactionalId>,
    topic: &TopicRef,
    data: produce_request::PartitionProduceData,
) -> Result<(Outcome, bool), Refusal> {
    if !(-1..=1).contains(&acks) {
        return Err(ResponseError::InvalidRequiredAcks.into());
    }
    if transactional_id.is_some() {
        return Err(Refusal::new(
            ResponseError::UnsupportedVersion,
            "transactions are not supported yet",
        ));
    }
    let topic = topic.resolve(view)?;
    if topic.table.origin == Origin::Internal {
        return Err(ResponseError::InvalidTopicException.into());
    }
    let id = topic
        .tablet(data.index)
        .ok_or(ResponseError::UnknownTopicOrPartition)?;
    let bucket = match context.broker().tablets.get_open(id) {
        Some(bucket) => bucket,
        None => context
            .broker()
            .tablets
            .get(id)
            .await
            .map_err(|e| error::of_tablet(&e))?,
    };
    let shape = bucket.tablet.shape();
    if !shape.raw && bucket.kv.is_none() {
        let text = format!(
            "topic {} is the typed table {}: write it with a Fluss client",
            topic.topic().name,
            topic.table.path
        );
        return Err(Refusal::new(ResponseError::InvalidRecord, text));
    }
    if acks == -1 && bucket.settings.insync_replicas_min > 1 {
        return Err(ResponseError::NotEnoughReplicas.into());
    }
    let records = data.records.filter(|r| !r.is_empty());
    let records =
        records.ok_or_else(|| Refusal::new(ResponseError::InvalidRecord, "no record batch"))?;
    let settings = &bucket.settings;
    let config = ValidateConfig {
        key_required: is_compacted(&bucket.table),
        ..validate_config(settings, shape.latest, data.index, context)
    };
    if bucket.kv.is_some() {
        let partial = settings.partial_update;
        let ticket = upsert::queue(context, &topic, records, config, partial, acks).await?;
        return Ok((Outcome::Upserted(ticket), false));
    }
    let unpacking = &context.broker().unpacking;
    let batch = validated(unpacking, records, config)
        .await
        .map_err(refuse_batch)?;
    if batch.transactional {
        return Err(ResponseError::InvalidTxnState.into());
    }
    let stamped = settings.timestamp_type == TimestampType::LogAppendTime;
    let ticket = append(&bucket, batch, stamped, acks);
    Ok((Outcome::Queued(ticket), stamped))
}

fn validate_config(
    settings: &TopicConfig,
    schema_id: protocol::ids::SchemaId,
    source_partition: i32,
    context: &Context,
) -> ValidateConfig {
    ValidateConfig {
        schema_id,
        source_partition,
        max_message_bytes: settings.batch_bytes_max,
        // Set for each try.
        max_decompressed_bytes: 0,
        key_required: false,
        allow_control: false,
        timestamp_type: match settings.timestamp_type {
            TimestampType::CreateTime => protocol::kafka::batch::TimestampType::CreateTime,
            TimestampType::LogAppendTime => protocol::kafka::batch::TimestampType::LogAppendTime,
        },
        now_ms: context.broker().env.clock.wall_ms(),
        timestamp_before_max_ms: settings.timestamp_before_max_ms,
        timestamp_after_max_ms: settings.timestamp_after_max_ms,
        compression: target_compression(settings.compression),
    }
}

fn target_compression(compression: Compression) -> Option<TargetCompression> {
    let (codec, level) = match compression {
        Compression::Producer => return None,
        Compression::Uncompressed => (Codec::None, None),
        Compression::Gzip { level } => (Codec::Gzip, level.map(|level| level as i32)),
        Compression::Snappy => (Codec::Snappy, None),
        Compression::Lz4 => (Codec::Lz4, None),
        Compression::Zstd { level } => (Codec::Zstd, Some(level)),
    };
    Some(TargetCompression { codec, level })
}

/// Validates a batch; one that is large, or is when it is decompressed, where it holds up nobody
/// else.
async fn validated(
    unpacking: &Unpacking,
    records: Bytes,
    config: ValidateConfig,
) -> Result<UnassignedBatch, InvalidBatch> {
    /// Where the low bits of the attributes name the codec.
    const ATTRIBUTES_LOW: usize = 22;
    let compressed = records
        .get(ATTRIBUTES_LOW)
        .is_some_and(|bits| bits & 7 != 0);
    if !compressed && config.compression.is_none() {
        return validate::validate(records, &config);
    }
    let inline = records.len() <= INLINE_BYTES_MAX;
    let check = move |limit| {
        let config = ValidateConfig {
            max_decompressed_bytes: limit,
            ..config
        };
        match validate::validate(records.clone(), &config) {
            Err(error @ InvalidBatch::Decompress(DecompressError::TooLarge { .. })) => {
                Unpacked::TooLittle(Err(error))
            }
            done => Unpacked::Done(done),
        }
    };
    unpacking.check(inline, DECOMPRESSED_BYTES_MAX, check).await
}

fn refuse_batch(invalid: InvalidBatch) -> Refusal {
    let error = invalid.class().response_error();
    Refusal::new(error, invalid.to_string()).of_records(invalid.record_errors())
}

fn until(acks: i16) -> Until {
    match acks {
        -1 => Until::Durable,
        _ => Until::Appended,
    }
}

fn append(
    bucket: &Arc<OpenBucket>,
    batch: UnassignedBatch,
    stamped: bool,
    acks: i16,
) -> AppendTicket {
    let until = until(acks);
    let append = Append {
        batches: vec![batch],
        expected_epoch: None,
        stamp_log_append_time: stamped,
    };
    bucket.tablet.append(append, until)
}

impl Queued {
    /// The producer wants no answer. An error can only be told by closing the connection.
    pub fn is_unacknowledged(&self) -> bool {
        self.acks == 0
    }

    /// Waits for the log and builds the answer. The append that was queued last is awaited first:
    /// when it is done the others mostly are, and the connection wakes once, not for each of them.
    pub async fn answer(mut self) -> ProduceResponse {
        let deadline = tokio::time::Instant::now() + self.timeout;
        let mut responses = Vec::with_capacity(self.topics.len());
        for (topic, partitions) in self.topics.into_iter().rev() {
            let mut answers = Vec::with_capacity(partitions.len());
            for Partition {
                index,
                stamped,
                outcome,
            } in partitions.into_iter().rev()
            {
                let answer = PartitionProduceResponse::default()
                    .with_index(index)
                    .with_base_offset(-1)
                    .with_log_append_time_ms(NO_TIME)
                    .with_log_start_offset(-1);
                let (answer, refusal) = match outcome {
                    Outcome::Queued(ticket) => {
                        written(answer, ticket, stamped, deadline, self.node_id).await
                    }
                    // The answer keeps an offset of -1: the rows have several, and none for a
                    // producer to use.
                    Outcome::Upserted(ticket) => {
                        (answer, upsert::written(ticket, deadline).await.err())
                    }
                    // It was noted when it was refused.
                    Outcome::Refused(refusal) => (refusal.answer(answer), None),
                };
                answers.push(match refusal {
                    None => answer,
                    Some(refusal) => {
                        self.refusals.note(&topic, index, &refusal);
                        refusal.answer(answer)
                    }
                });
            }
            answers.reverse();
            responses.push(
                TopicProduceResponse::default()
                    .with_name(topic.name())
                    .with_topic_id(topic.id())
                    .with_partition_responses(answers),
            );
        }
        responses.reverse();
        ProduceResponse::default().with_responses(responses)
    }
}

/// The answer with the place of the batch in its log, or why it has none.
async fn written(
    answer: PartitionProduceResponse,
    ticket: AppendTicket,
    stamped: bool,
    deadline: tokio::time::Instant,
    node_id: i32,
) -> (PartitionProduceResponse, Option<Refusal>) {
    let failed = match tokio::time::timeout_at(deadline, ticket).await {
        Ok(Ok(Ok(appended))) => {
            let time = match stamped {
                true => appended.commit_time,
                false => NO_TIME,
            };
            let answer = answer
                .with_base_offset(appended.base_offset.value())
                .with_log_append_time_ms(time)
                .with_log_start_offset(appended.log_start.value());
            return (answer, None);
        }
        Ok(Ok(Err(failed))) => failed,
        // The log's thread is gone: the broker stops.
        Ok(Err(_)) => return (answer, Some(ResponseError::NotLeaderOrFollower.into())),
        Err(_) => return (answer, Some(ResponseError::RequestTimedOut.into())),
    };
    let refusal = Refusal::new(error::of_append(&failed), failed.to_string());
    let answer = match failed {
        AppendError::FencedLeader { current, .. } => answer.with_current_leader(
            LeaderIdAndEpoch::default()
                .with_leader_id(node_id.into())
                .with_leader_epoch(current.value()),
        ),
        _ => answer,
    };
    (answer, Some(refusal))
}
