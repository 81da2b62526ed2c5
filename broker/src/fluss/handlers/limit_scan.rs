//! LIMIT_SCAN (1033): of a log the last rows of a bucket, in whole batches that clients cut; of a
//! primary-key table the first rows by their keys, in one batch of values. All of them or an error:
//! clients take fewer for all that there are.
//!
//! Failures are frames of their own: Java clients up to 0.9.1 and after it do not look for one in
//! the answer, and take it for one without rows (`LimitBatchScanner`).

use std::sync::Arc;

use bytes::Bytes;
use protocol::fluss::error::ErrorCode;
use protocol::fluss::frame::encode_error;
use protocol::fluss::messages::{LimitScanRequest, LimitScanResponse};
use protocol::fluss::records_answer::encode_limit_scan;
use storage::tablet::FlussRead;
use tokio::runtime::Handle;

use crate::fluss::error::Failure;
use crate::fluss::keyed::{self, Asked, Keys};
use crate::fluss::refusals::Refusals;
use crate::fluss::resolve;
use crate::fluss::room::{self, NoRoom, Room, Stop};
use crate::fluss::wire::{Context, Records};
use crate::memory::Grant;
use crate::tablets::OpenBucket;

/// What a row is taken to need before it is known.
const ROW_BYTES: usize = 1 << 10;
/// What the rows are taken to need at first, however many are asked for.
const FIRST_BYTES_MAX: usize = 1 << 20;

/// Reads the last rows of a log, or the first of a table with a key.
pub async fn handle(context: &Context, request: LimitScanRequest) -> Result<Records, Failure> {
    let id = resolve::tablet_id(request.table_id, request.partition_id, request.bucket_id);
    let asked = Asked {
        id,
        routing_bucket_count: request.routing_bucket_count,
    };
    serve(context, asked, request.limit)
        .await
        .or_else(|failure| {
            // Here and not by whoever gets an `Err`: the line of the log has to name the table.
            Refusals::new(context).note(id, &failure);
            let Failure { code, message } = failure;
            Ok(Records {
                chunks: Ok(vec![encode_error(context.request_id, code, Some(&message))]),
                grant: None,
            })
        })
}

async fn serve(context: &Context, asked: Asked, limit: i32) -> Result<Records, Failure> {
    let limit = usize::try_from(limit).unwrap_or(0);
    let wanted = limit.saturating_mul(ROW_BYTES).min(FIRST_BYTES_MAX);
    keyed::open(context, std::iter::once(asked.id)).await;
    let room = Room::first(context, wanted..=wanted).await?;
    let found = match scan(context, asked, limit, room).await {
        Err(Stop::NoRoom(NoRoom::Starved)) => {
            let room = Room::in_turn(context).await?;
            scan(context, asked, limit, room).await
        }
        found => found,
    };
    let found = found.map_err(|stop| match stop {
        Stop::Failed(failure) => failure,
        Stop::NoRoom(NoRoom::Full) => room::too_large(
            context,
            "the rows",
            "set a lower limit, or read the table without one",
        ),
        Stop::NoRoom(NoRoom::Starved | NoRoom::Late) => room::late(),
    })?;
    let answer = LimitScanResponse {
        is_log_table: Some(found.is_log),
        ..LimitScanResponse::default()
    };
    Ok(Records {
        chunks: encode_limit_scan(context.request_id, answer, Some(found.records)),
        grant: found.grant,
    })
}

/// What a scan found.
struct Found {
    is_log: bool,
    records: Vec<Bytes>,
    grant: Option<Grant>,
}

async fn scan(context: &Context, asked: Asked, limit: usize, room: Room) -> Result<Found, Stop> {
    let bucket = resolve::bucket(context.broker(), asked.id).await?;
    match bucket.kv.is_some() || bucket.topic.is_some() {
        false => last_of_log(&bucket, limit, room).await,
        true => first_by_key(context, asked, limit, room).await,
    }
}

async fn last_of_log(bucket: &OpenBucket, limit: usize, mut room: Room) -> Result<Found, Stop> {
    let watermarks = bucket.tablet.watermarks();
    let end = watermarks.last_stable.min(watermarks.high_watermark);
    let rows = (end - watermarks.log_start).min(i64::try_from(limit).unwrap_or(i64::MAX));
    let mut next = end + -rows.max(0);
    let (mut records, mut bytes, mut has) = (Vec::new(), 0, room.bytes());
    while next < end {
        let read = FlussRead {
            offset: next,
            bytes_max: has - bytes,
            at_least_one: true,
            projection: None,
            filter: None,
        };
        let read = bucket.tablet.read_fluss(read).await;
        let read = read.map_err(|error| Failure::from(&error))?;
        if read.next_offset <= next {
            // Clients would take the rows so far for the last ones.
            let text = format!("the log has nothing at offset {next} and should end at {end}");
            return Err(Failure::new(ErrorCode::LogStorage, text).into());
        }
        next = read.next_offset;
        bytes += read.bytes;
        records.extend(read.chunks);
        while has < bytes {
            has += room.more(has.max(bytes - has)).await?;
        }
        if next < end {
            has += match room.more(has).await {
                // What is left may be enough.
                Err(NoRoom::Full) => 0,
                grown => grown?,
            };
        }
    }
    Ok(Found {
        is_log: true,
        records,
        grant: Some(room.settle(bytes)),
    })
}

async fn first_by_key(
    context: &Context,
    asked: Asked,
    limit: usize,
    mut room: Room,
) -> Result<Found, Stop> {
    let (_, kv) = keyed::bucket(context, asked).await?;
    let bytes = room.bytes();
    let room = Arc::new(room);
    let grow = {
        let (room, mut has, runtime) = (Arc::clone(&room), bytes, Handle::current());
        // Called on a thread that may wait.
        move |wanted: usize| {
            while has < wanted {
                has += runtime.block_on(room.more(has.max(wanted - has)))?;
            }
            Ok::<_, NoRoom>(has)
        }
    };
    let records = match kv {
        Keys::Table(kv) => {
            let found = kv.first_rows(limit, bytes, grow).await;
            found.map_err(|error| Failure::from(&error))?
        }
        Keys::Topic(topic) => topic.first_rows(limit, bytes, grow).await?,
    }?;
    Ok(Found {
        is_log: false,
        // Nobody else has it: the scan is over.
        grant: Arc::into_inner(room).map(|room| room.settle(records.len())),
        records: vec![records],
    })
}
