//! LIST_OFFSETS (1021): the offsets of buckets, each answered or refused for itself.

use std::sync::Arc;

use protocol::fluss::error::ErrorCode;
use protocol::fluss::messages::{
    ListOffsetsRequest, ListOffsetsResponse, PbListOffsetsRespForBucket,
};
use protocol::ids::{LeaderEpoch, Offset};

use crate::fluss::error::Failure;
use crate::fluss::refusals::Refusals;
use crate::fluss::resolve;
use crate::fluss::wire::Context;
use crate::tablets::OpenBucket;

/// What a request asks for.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    Earliest,
    Latest,
    /// The first batch that was committed at this time or later, epoch milliseconds.
    Committed(i64),
    /// Where the epoch of this start began.
    EpochStart,
}

/// Finds the offsets of all buckets of the request.
pub async fn handle(
    context: &Context,
    request: ListOffsetsRequest,
) -> Result<ListOffsetsResponse, Failure> {
    resolve::check_bucket_count(request.bucket_id.len())?;
    let wanted = wanted(context, &request);
    let mut refusals = Refusals::new(context);
    let mut buckets_resp = Vec::with_capacity(request.bucket_id.len());
    for bucket_id in request.bucket_id {
        let id = resolve::tablet_id(request.table_id, request.partition_id, bucket_id);
        let found = match (&wanted, resolve::bucket(context.broker(), id).await) {
            (Ok(wanted), Ok(bucket)) => offset_of(&bucket, *wanted).await,
            (Err(failure), _) => Err(failure.clone()),
            (_, Err(failure)) => Err(failure),
        };
        buckets_resp.push(match found {
            Ok(offset) => PbListOffsetsRespForBucket {
                bucket_id,
                offset: Some(offset.value()),
                ..PbListOffsetsRespForBucket::default()
            },
            Err(failure) => {
                refusals.note(id, &failure);
                PbListOffsetsRespForBucket {
                    bucket_id,
                    error_code: Some(failure.code.code()),
                    error_message: Some(failure.message),
                    offset: None,
                }
            }
        });
    }
    Ok(ListOffsetsResponse { buckets_resp })
}

fn wanted(context: &Context, request: &ListOffsetsRequest) -> Result<Wanted, Failure> {
    let invalid = |text: String| Err(Failure::new(ErrorCode::InvalidTimestamp, text));
    match (request.offset_type, request.start_timestamp) {
        (0, _) => Ok(Wanted::Earliest),
        (1, _) => Ok(Wanted::Latest),
        (2, Some(time)) => match context.broker().env.clock.wall_ms() {
            now if time > now => invalid(format!("time {time} is later than {now}, the server's")),
            _ => Ok(Wanted::Committed(time)),
        },
        (2, None) => invalid("no time is given to look for".to_owned()),
        (3, _) => Ok(Wanted::EpochStart),
        (other, _) => invalid(format!("unknown offset type {other}")),
    }
}

async fn offset_of(bucket: &Arc<OpenBucket>, wanted: Wanted) -> Result<Offset, Failure> {
    let watermarks = bucket.tablet.watermarks();
    let end = watermarks.last_stable.min(watermarks.high_watermark);
    match wanted {
        Wanted::Earliest => Ok(watermarks.log_start),
        Wanted::Latest => Ok(end),
        Wanted::EpochStart => {
            let log = bucket.tablet.log().log();
            let before = LeaderEpoch::new(log.epoch().value() - 1);
            let began = log
                .end_of_epoch(before)
                .map_or(watermarks.log_start, |(_, end)| end);
            Ok(began.max(watermarks.log_start))
        }
        Wanted::Committed(time) => {
            let handle = bucket.tablet.log().clone();
            let look = {
                let handle = handle.clone();
                move || handle.log().first_committed_at(time)
            };
            let found = handle
                .wait(look)
                .await
                .map_err(|error| Failure::from(&error))?;
            let offset = found.map_or(end, |header| header.base_offset);
            Ok(offset.max(watermarks.log_start).min(end))
        }
    }
}
