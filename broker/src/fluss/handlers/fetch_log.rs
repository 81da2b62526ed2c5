//! FETCH_LOG (1015): long polling, projections and filters, and batches that leave as they are
//! stored.
//!
//! Facts: Fluss server semantics, section 4. On purpose otherwise: an append answers a waiting
//! fetch at once, and so does any bucket that has data while others are drained.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::fluss::error::ErrorCode;
use protocol::fluss::messages::{
    FetchLogRequest, PbFetchLogReqForBucket, PbFetchLogReqForTable, PbFetchLogRespForBucket,
};
use protocol::fluss::predicate::Predicate;
use protocol::fluss::records_answer::{FetchedBucket, FetchedTable, encode_fetch_log};
use protocol::ids::{Offset, TabletId};
use storage::log::DataSignal;
use storage::tablet::FlussRead;
use tokio::time::Instant;

use super::filter;
use crate::fluss::error::Failure;
use crate::fluss::refusals::Refusals;
use crate::fluss::resolve;
use crate::fluss::wire::{Context, Records};
use crate::memory::Grant;
use crate::tablets::OpenBucket;

/// The offset by which clients without a position ask for the earliest one.
const EARLIEST: i64 = -2;
/// The wait of a request that names `min_bytes` and no time.
const WAIT_DEFAULT: Duration = Duration::from_millis(100);

/// How long a fetch waits for memory at least: one that does not wait for data still wants some.
const MEMORY_WAIT: Duration = Duration::from_secs(1);

/// Limits of one fetch.
#[derive(Clone, Copy)]
struct Limits {
    bytes_max: usize,
    bytes_min: usize,
    deadline: Instant,
    memory_deadline: Instant,
    /// The first batch is sent whole although it is larger.
    at_least_one: bool,
}

/// A bucket of the request, with its tablet or why it has none.
struct Target {
    table: i64,
    asked: PbFetchLogReqForBucket,
    projection: Option<Arc<[usize]>>,
    filter: Option<Arc<Predicate>>,
    bucket: Result<Arc<OpenBucket>, Failure>,
}

/// What a pass over all buckets found.
struct Pass {
    answers: Vec<FetchedBucket>,
    bytes: usize,
    /// Something that the client should hear of without waiting.
    urgent: bool,
    /// Its part of the fetch memory; none when that was spent.
    grant: Option<Grant>,
}

/// Fetches; the answer comes when there is enough, or the time is up.
pub async fn handle(context: &Context, request: FetchLogRequest) -> Result<Records, Failure> {
    let buckets = request
        .tables_req
        .iter()
        .map(|table| table.buckets_req.len());
    resolve::check_bucket_count(buckets.sum())?;
    let limits = limits(context, &request);
    let targets = resolve_all(context, request.tables_req).await;
    let pass = fetch(context, &targets, &limits).await;
    let mut refusals = Refusals::new(context);
    let mut tables: Vec<FetchedTable> = Vec::new();
    for (target, bucket) in targets.iter().zip(pass.answers) {
        if let Some(failure) = failure_of(&bucket.answer) {
            refusals.note(tablet_id(target.table, &target.asked), &failure);
        }
        match tables.last_mut() {
            Some(table) if table.table_id == target.table => table.buckets.push(bucket),
            _ => tables.push(FetchedTable {
                table_id: target.table,
                buckets: vec![bucket],
            }),
        }
    }
    Ok(Records {
        chunks: encode_fetch_log(context.request_id, tables),
        grant: pass.grant,
    })
}

fn limits(context: &Context, request: &FetchLogRequest) -> Limits {
    let config = context.broker().config().fetch();
    let size = |bytes: i32| {
        usize::try_from(bytes)
            .unwrap_or(0)
            .min(config.answer_bytes_max)
    };
    let wait = match (request.min_bytes, request.max_wait_ms) {
        (None, _) => Duration::ZERO,
        (Some(_), None) => WAIT_DEFAULT,
        (Some(_), Some(ms)) => Duration::from_millis(u64::try_from(ms).unwrap_or(0)),
    };
    let wait = wait.min(config.wait_max);
    Limits {
        bytes_max: size(request.max_bytes),
        bytes_min: size(request.min_bytes.unwrap_or(0)),
        deadline: Instant::now() + wait,
        memory_deadline: Instant::now() + wait.max(MEMORY_WAIT),
        at_least_one: true,
    }
}

async fn resolve_all(context: &Context, tables: Vec<PbFetchLogReqForTable>) -> Vec<Target> {
    let mut targets = Vec::new();
    for table in tables {
        let projection = projection(&table);
        let filter = filter::of_request(&table);
        for asked in table.buckets_req {
            let id = tablet_id(table.table_id, &asked);
            let bucket = match &projection {
                Ok(_) => resolve::bucket(context.broker(), id).await,
                Err(failure) => Err(failure.clone()),
            };
            targets.push(Target {
                table: table.table_id,
                asked,
                projection: projection.clone().ok().flatten(),
                filter: filter.clone(),
                bucket,
            });
        }
    }
    targets
}

fn tablet_id(table: i64, asked: &PbFetchLogReqForBucket) -> TabletId {
    resolve::tablet_id(table, asked.partition_id, asked.bucket_id)
}

/// The wanted positions; whether they fit the table is for the tablet to say.
fn projection(table: &PbFetchLogReqForTable) -> Result<Option<Arc<[usize]>>, Failure> {
    if !table.projection_pushdown_enabled {
        return Ok(None);
    }
    let positions = table.projected_fields.iter().map(|field| {
        usize::try_from(*field).map_err(|_| {
            let text = format!("projected position {field} is negative");
            Failure::new(ErrorCode::InvalidColumnProjection, text)
        })
    });
    positions.collect::<Result<Arc<[usize]>, _>>().map(Some)
}

/// Reads until there is enough for an answer.
async fn fetch(context: &Context, targets: &[Target], limits: &Limits) -> Pass {
    let pass = read_granted(context, targets, limits).await;
    let nothing_to_wait_for = targets.iter().all(|target| target.bucket.is_err());
    if pass.is_enough(limits) || nothing_to_wait_for || Instant::now() >= limits.deadline {
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
        let pass = read_granted(context, targets, limits).await;
        if pass.is_enough(limits) {
            return pass;
        }
        drop(pass);
        let broker = context.broker();
        if !broker.wait_for_data(&signal.0, limits.deadline).await {
            return read_granted(context, targets, limits).await;
        }
    }
}

/// Reads as much as there is memory for.
async fn read_granted(context: &Context, targets: &[Target], limits: &Limits) -> Pass {
    let wanted = targets
        .iter()
        .map(|target| usize::try_from(target.asked.max_fetch_bytes).unwrap_or(0))
        .sum::<usize>();
    let wanted = wanted.min(limits.bytes_max);
    let memory = &context.broker().fetch_memory;
    let grant = memory.grant(&context.fetch_share, wanted, limits.memory_deadline);
    let Some(grant) = grant.await else {
        let nothing = Limits {
            bytes_max: 0,
            at_least_one: false,
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
        self.urgent || self.bytes >= limits.bytes_min
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
        let answer = match read(target, limits, &pass).await {
            Ok(answer) => {
                pass.bytes += answer
                    .records
                    .iter()
                    .flatten()
                    .map(Bytes::len)
                    .sum::<usize>();
                // The client moves on although it receives nothing.
                pass.urgent |= answer.answer.filtered_end_offset.is_some();
                answer
            }
            Err(failure) => {
                pass.urgent |= is_urgent(failure.code);
                refused(target, failure)
            }
        };
        pass.answers.push(answer);
    }
    pass
}

/// A bucket that is gone is no reason to cut the wait for the others short.
fn is_urgent(code: ErrorCode) -> bool {
    !matches!(
        code,
        ErrorCode::NotLeaderOrFollower | ErrorCode::UnknownTableOrBucket
    )
}

async fn read(target: &Target, limits: &Limits, pass: &Pass) -> Result<FetchedBucket, Failure> {
    let bucket = target.bucket.as_ref().map_err(Clone::clone)?;
    let tablet = &bucket.tablet;
    let offset = match target.asked.fetch_offset {
        EARLIEST => tablet.watermarks().log_start,
        offset if offset >= 0 => Offset::new(offset),
        offset => {
            let text = format!("offset {offset} is none");
            return Err(Failure::new(ErrorCode::LogOffsetOutOfRange, text));
        }
    };
    let left = limits.bytes_max.saturating_sub(pass.bytes);
    let read = FlussRead {
        offset,
        bytes_max: left.min(usize::try_from(target.asked.max_fetch_bytes).unwrap_or(0)),
        at_least_one: pass.bytes == 0 && limits.at_least_one,
        projection: target.projection.clone(),
        filter: target.filter.clone(),
    };
    let read = tablet
        .read_fluss(read)
        .await
        .map_err(|error| Failure::from(&error))?;
    let watermarks = read.watermarks;
    let end = watermarks.last_stable.min(watermarks.high_watermark);
    Ok(FetchedBucket {
        answer: PbFetchLogRespForBucket {
            partition_id: target.asked.partition_id,
            bucket_id: target.asked.bucket_id,
            high_watermark: Some(end.value()),
            // Fluss never tells another one.
            log_start_offset: Some(0),
            filtered_end_offset: read.filtered_end_offset.map(Offset::value),
            ..PbFetchLogRespForBucket::default()
        },
        records: Some(read.chunks),
    })
}

fn refused(target: &Target, failure: Failure) -> FetchedBucket {
    FetchedBucket {
        answer: PbFetchLogRespForBucket {
            partition_id: target.asked.partition_id,
            bucket_id: target.asked.bucket_id,
            error_code: Some(failure.code.code()),
            error_message: Some(failure.message),
            ..PbFetchLogRespForBucket::default()
        },
        records: None,
    }
}

/// Why a bucket is refused, if it is.
fn failure_of(answer: &PbFetchLogRespForBucket) -> Option<Failure> {
    let code = ErrorCode::from_code(answer.error_code?)?;
    Some(Failure::new(
        code,
        answer.error_message.clone().unwrap_or_default(),
    ))
}
