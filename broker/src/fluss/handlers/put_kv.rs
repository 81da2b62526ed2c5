//! PUT_KV (1016). The first stage checks the batches and queues them, so that requests of one
//! connection are put in their order; the second waits for what `acks` asks for. Each bucket
//! succeeds or fails for itself.
//!
//! Storage backpressure has a code of its own since version 2; `pressure` in answers stays unset,
//! as clients would only guess from it how long to wait.

use bytes::Bytes;
use protocol::fluss::error::ErrorCode;
use protocol::fluss::messages::{PbPutKvRespForBucket, PutKvRequest, PutKvResponse};
use protocol::ids::TablePartitionId;
use storage::kv::merge::MergeMode;
use storage::kv::tablet::{InvalidPut, KvTablet, Put, PutTicket};
use storage::log::{Appended, Until};
use tokio::time::Instant;

use crate::fluss::acks;
use crate::fluss::error::Failure;
use crate::fluss::keyed::{self, Asked, Keys};
use crate::fluss::refusals::Refusals;
use crate::fluss::resolve;
use crate::fluss::topic::TopicPut;
use crate::fluss::wire::Context;

/// Batches above this size are checked off the connection threads: below it, handing them over
/// costs more than the work.
const INLINE_BYTES_MAX: usize = 32 << 10;

/// The first version whose clients know [`ErrorCode::StorageBackpressure`].
const BACKPRESSURE_VERSION: i16 = 2;

/// A put request whose batches are queued.
pub struct Queued {
    deadline: Instant,
    buckets: Vec<Bucket>,
}

struct Bucket {
    asked: Asked,
    outcome: Result<Pending, Failure>,
}

/// A batch that is queued.
enum Pending {
    Table(PutTicket),
    Topic(TopicPut),
}

impl Pending {
    /// The end of the bucket's log behind what the batch became.
    async fn written(self, deadline: Instant) -> Result<i64, Failure> {
        match self {
            Pending::Table(ticket) => {
                let appended = written(ticket, deadline).await?;
                Ok(appended.last_offset.next().value())
            }
            Pending::Topic(put) => put.written(deadline).await,
        }
    }
}

/// Checks and queues all batches of a request.
pub async fn start(context: &Context, request: PutKvRequest) -> Result<Queued, Failure> {
    let until = acks::until(request.acks)?;
    let mode = MergeMode::of_code(request.agg_mode).ok_or_else(|| {
        let text = format!("merge mode {:?} is unknown", request.agg_mode);
        Failure::new(ErrorCode::UnknownServerError, text)
    })?;
    resolve::check_bucket_count(request.buckets_req.len())?;
    let mut queued = Queued {
        deadline: acks::deadline(request.timeout_ms),
        buckets: Vec::with_capacity(request.buckets_req.len()),
    };
    for bucket in request.buckets_req {
        let asked = Asked {
            id: resolve::tablet_id(request.table_id, bucket.partition_id, bucket.bucket_id),
            routing_bucket_count: bucket.routing_bucket_count,
        };
        let targets = &request.target_columns;
        let outcome = queue(context, asked, bucket.records, targets, mode, until).await;
        queued.buckets.push(Bucket { asked, outcome });
    }
    Ok(queued)
}

async fn queue(
    context: &Context,
    asked: Asked,
    records: Bytes,
    targets: &[i32],
    mode: MergeMode,
    until: Until,
) -> Result<Pending, Failure> {
    let (bucket, keys) = keyed::bucket(context, asked).await?;
    acks::check_replicas(&bucket, until)?;
    let kv = match keys {
        Keys::Table(kv) => kv,
        Keys::Topic(topic) => {
            let put = topic.put(context.broker(), records, targets, until).await?;
            metrics::counter!("vltava_kv_put_records_total").increment(put.len() as u64);
            return Ok(Pending::Topic(put));
        }
    };
    let put = checked(&kv, records, targets, mode).await;
    let put = put.map_err(|error| Failure::from(&error))?;
    metrics::counter!("vltava_kv_put_records_total").increment(put.len() as u64);
    Ok(Pending::Table(kv.put(put, until)))
}

/// Checks a batch; a large one where it holds up nobody else.
async fn checked(
    kv: &KvTablet,
    records: Bytes,
    targets: &[i32],
    mode: MergeMode,
) -> Result<Put, InvalidPut> {
    if records.len() <= INLINE_BYTES_MAX {
        return kv.check(records, targets, mode);
    }
    let (kv, targets) = (kv.clone(), targets.to_vec());
    let task = tokio::task::spawn_blocking(move || kv.check(records, &targets, mode));
    // A panic goes on to the connection, which answers it; so does a runtime that goes down.
    task.await
        .unwrap_or_else(|error| std::panic::resume_unwind(Box::new(error.to_string())))
}

impl Queued {
    /// Waits for the buckets and builds the answer.
    pub async fn answer(self, context: &Context) -> PutKvResponse {
        let mut refusals = Refusals::new(context);
        let mut buckets_resp = Vec::with_capacity(self.buckets.len());
        for Bucket { asked, outcome } in self.buckets {
            let answer = PbPutKvRespForBucket {
                partition_id: asked.id.table_partition.map(TablePartitionId::value),
                bucket_id: asked.id.bucket.value(),
                ..PbPutKvRespForBucket::default()
            };
            let put = match outcome {
                Ok(pending) => pending.written(self.deadline).await,
                Err(failure) => Err(failure),
            };
            buckets_resp.push(match put {
                Ok(end) => PbPutKvRespForBucket {
                    log_end_offset: Some(end),
                    ..answer
                },
                Err(failure) => {
                    let failure = for_version(failure, context.version);
                    refusals.note(asked.id, &failure);
                    PbPutKvRespForBucket {
                        error_code: Some(failure.code.code()),
                        error_message: Some(failure.message),
                        ..answer
                    }
                }
            });
        }
        PutKvResponse { buckets_resp }
    }
}

/// Clients before version 2 take an unknown code as final, and would not try again.
fn for_version(failure: Failure, version: i16) -> Failure {
    match version < BACKPRESSURE_VERSION {
        true => for_any_client(failure),
        false => failure,
    }
}

/// With a code that all clients retry.
pub(super) fn for_any_client(failure: Failure) -> Failure {
    match failure.code {
        ErrorCode::StorageBackpressure => Failure {
            code: ErrorCode::KvStorage,
            ..failure
        },
        _ => failure,
    }
}

/// Where the changelog of a put went. Also a put that need not be durable has a time limit: its
/// bucket may have to open its index first.
pub(super) async fn written(ticket: PutTicket, deadline: Instant) -> Result<Appended, Failure> {
    match tokio::time::timeout_at(deadline, ticket.answer()).await {
        Ok(answer) => answer.map_err(|error| Failure::from(&error)),
        Err(_) => Err(Failure::new(
            ErrorCode::RequestTimeOut,
            "the write is not yet acknowledged",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_clients_hear_a_code_that_they_retry_when_a_bucket_is_busy() {
        let busy = Failure::new(ErrorCode::StorageBackpressure, "busy");
        assert_eq!(
            for_version(busy.clone(), 2).code,
            ErrorCode::StorageBackpressure
        );
        assert_eq!(for_version(busy.clone(), 1).code, ErrorCode::KvStorage);
        assert_eq!(for_any_client(busy).code, ErrorCode::KvStorage);
        let other = Failure::new(ErrorCode::InvalidTargetColumn, "which");
        assert_eq!(for_version(other.clone(), 0), other);
    }
}
