//! LOOKUP (1017): the values of keys, which may be inserted where they are missing; and
//! PREFIX_LOOKUP (1034): the values of all keys that begin with a prefix. Each bucket succeeds or
//! fails for itself.

mod insert;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use protocol::fluss::error::ErrorCode;
use protocol::fluss::frame::encode_success;
use protocol::fluss::messages::{
    LookupRequest, LookupResponse, PbLookupReqForBucket, PbLookupRespForBucket,
    PbPrefixLookupReqForBucket, PbPrefixLookupRespForBucket, PbValue, PbValueList,
    PrefixLookupRequest, PrefixLookupResponse,
};
use protocol::ids::TabletId;
use storage::kv::tablet::KvError;

use crate::fluss::error::Failure;
use crate::fluss::keyed::{self, Asked, Keys};
use crate::fluss::refusals::Refusals;
use crate::fluss::resolve;
use crate::fluss::room::{self, NoRoom, Room, Stop};
use crate::fluss::wire::{Context, Records};
use insert::Insert;

/// What the value of a key is taken to need before it is known. Keys are looked up again when it is
/// more; what it is less goes back with the answer.
const VALUE_BYTES: usize = 8 << 10;
/// With how much for a key one begins when memory is short.
const VALUE_BYTES_MIN: usize = 1 << 10;
/// What the rows of a prefix are taken to need at first.
const PREFIX_BYTES: usize = 64 << 10;
/// What a request is taken to need at first, however little or much it asks for.
const FIRST_BYTES_MIN: usize = 64 << 10;
const FIRST_BYTES_MAX: usize = 4 << 20;
/// Keys that are looked up at once; how many more follows from the values of those before. Others
/// have their turn on the thread after so many.
const KEYS_AT_ONCE: usize = 256;
/// Buckets that are looked into at once.
const BUCKETS_AT_ONCE: usize = 16;
/// Larger answers are encoded where they hold up nobody else.
const INLINE_BYTES_MAX: usize = 1 << 20;

/// LOOKUP (1017).
pub async fn handle(context: &Context, request: LookupRequest) -> Result<Records, Failure> {
    resolve::check_bucket_count(request.buckets_req.len())?;
    let insert = Insert::of(&request)?;
    let keys: usize = request.buckets_req.iter().map(|b| b.keys.len()).sum();
    let first = |value: usize| {
        let bytes = keys.saturating_mul(value);
        bytes.clamp(FIRST_BYTES_MIN, FIRST_BYTES_MAX)
    };
    let ids = request.buckets_req.iter();
    let ids = ids.map(|b| resolve::tablet_id(request.table_id, b.partition_id, b.bucket_id));
    keyed::open(context, ids).await;
    let mut room = Room::first(context, first(VALUE_BYTES_MIN)..=first(VALUE_BYTES)).await?;
    let usual = room.bytes() / keys.max(1);
    let found = match Found::at_once(context, &request, insert, &room, usual).await {
        Some(found) => found,
        None => {
            drop(room);
            room = Room::in_turn(context).await?;
            let insert = insert.map(Insert::anew);
            Found::one_by_one(context, &request, insert, &mut room).await
        }
    };
    found.answer(context, room).await
}

/// The answer as far as it is found.
#[derive(Default)]
struct Found {
    response: LookupResponse,
    refused: Vec<(TabletId, Failure)>,
    bytes: usize,
}

impl Found {
    /// Looks into several buckets at once, each with `usual` bytes for a key at first. None where
    /// there is not enough room.
    async fn at_once(
        context: &Context,
        request: &LookupRequest,
        insert: Option<Insert>,
        room: &Room,
        usual: usize,
    ) -> Option<Found> {
        // By their positions: closures over references would have to be for any lifetime.
        let looked_up = (0..request.buckets_req.len()).map(|at| {
            let bucket = &request.buckets_req[at];
            let left = bucket.keys.len() * usual;
            look_up(
                context,
                request.table_id,
                bucket,
                insert,
                Part { room, left },
            )
        });
        let mut looked_up = stream::iter(looked_up).buffered(BUCKETS_AT_ONCE);
        let mut found = Found::default();
        let mut keys = 0;
        while let Some((asked, answer, outcome)) = looked_up.next().await {
            let outcome = match outcome {
                Ok(values) => Ok(values),
                Err(Stop::Failed(failure)) => Err(failure),
                Err(Stop::NoRoom(_)) => return None,
            };
            keys += 1 + outcome.as_ref().map_or(0, Vec::len);
            found.push(asked.id, answer, outcome);
            if keys > KEYS_AT_ONCE {
                keys = 0;
                tokio::task::yield_now().await;
            }
        }
        Some(found)
    }

    /// The same with a room that may wait, which the buckets have one after the other.
    async fn one_by_one(
        context: &Context,
        request: &LookupRequest,
        insert: Option<Insert>,
        room: &mut Room,
    ) -> Found {
        let mut found = Found::default();
        let (later, sooner) = in_rotation(context, &request.buckets_req);
        for bucket in sooner.iter().chain(later) {
            let left = room.bytes().saturating_sub(found.bytes);
            let part = Part { room, left };
            let (asked, answer, outcome) =
                look_up(context, request.table_id, bucket, insert, part).await;
            let outcome = outcome.map_err(|stop| failure(context, stop, found.bytes));
            found.push(asked.id, answer, outcome);
            tokio::task::yield_now().await;
        }
        found.response.buckets_resp.rotate_right(later.len());
        found
    }

    fn push(
        &mut self,
        id: TabletId,
        answer: PbLookupRespForBucket,
        outcome: Result<Vec<Option<Bytes>>, Failure>,
    ) {
        let answer = match outcome {
            Ok(values) => {
                self.bytes += values.iter().flatten().map(Bytes::len).sum::<usize>();
                let value = |values| PbValue { values };
                PbLookupRespForBucket {
                    values: values.into_iter().map(value).collect(),
                    ..answer
                }
            }
            Err(failure) => {
                let answer = PbLookupRespForBucket {
                    error_code: Some(failure.code.code()),
                    error_message: Some(failure.message.clone()),
                    ..answer
                };
                self.refused.push((id, failure));
                answer
            }
        };
        self.response.buckets_resp.push(answer);
    }

    async fn answer(self, context: &Context, room: Room) -> Result<Records, Failure> {
        note(context, &self.refused);
        encode(context, room, self.response, self.bytes).await
    }
}

/// What the values of one bucket may take.
struct Part<'r> {
    room: &'r Room,
    left: usize,
}

async fn look_up(
    context: &Context,
    table_id: i64,
    bucket: &PbLookupReqForBucket,
    insert: Option<Insert>,
    mut part: Part<'_>,
) -> (
    Asked,
    PbLookupRespForBucket,
    Result<Vec<Option<Bytes>>, Stop>,
) {
    let asked = Asked {
        id: resolve::tablet_id(table_id, bucket.partition_id, bucket.bucket_id),
        routing_bucket_count: bucket.routing_bucket_count,
    };
    let answer = PbLookupRespForBucket {
        partition_id: bucket.partition_id,
        bucket_id: bucket.bucket_id,
        original_partition_name: bucket.original_partition_name.clone(),
        ..PbLookupRespForBucket::default()
    };
    let room = part.room;
    let found = room.in_time(async {
        let (open, kv) = keyed::bucket(context, asked).await?;
        let mut found = values_of(&kv, &bucket.keys, &mut part).await?;
        if let Some(insert) = insert {
            let kv = match &kv {
                Keys::Table(kv) => kv,
                Keys::Topic(topic) => return Err(topic.no_insert().into()),
            };
            insert
                .missing(context, &open, kv, &bucket.keys, &mut found, &mut part)
                .await?;
        }
        Ok(found)
    });
    let found = found.await;
    (asked, answer, found)
}

/// The values of keys in their order.
async fn values_of(
    kv: &Keys,
    keys: &[Bytes],
    part: &mut Part<'_>,
) -> Result<Vec<Option<Bytes>>, Stop> {
    let mut found = Vec::with_capacity(keys.len());
    let (mut rest, mut bytes, mut missing) = (keys, 0usize, 0u64);
    while !rest.is_empty() {
        // As many as fit, if their values are like those before.
        let usual = (bytes / found.len().max(1)).max(1);
        let (now, later) =
            rest.split_at(rest.len().min((part.left / usual).clamp(1, KEYS_AT_ONCE)));
        let Some(values) = kv.lookup(now, part.left).await? else {
            let wanted = usual.saturating_mul(rest.len()).max(bytes + part.left);
            part.left += part.room.more(wanted).await?;
            continue;
        };
        let taken = values.iter().flatten().map(Bytes::len).sum::<usize>();
        bytes += taken;
        part.left -= taken;
        missing += values.iter().filter(|value| value.is_none()).count() as u64;
        found.extend(values);
        rest = later;
        if !rest.is_empty() {
            // Nothing above waits where memory has all.
            tokio::task::yield_now().await;
        }
    }
    metrics::counter!("vltava_kv_lookup_keys_total").increment(keys.len() as u64);
    metrics::counter!("vltava_kv_lookup_missing_total").increment(missing);
    Ok(found)
}

/// Those that have their turn later, and those that have it sooner. Clients may ask for one with the
/// same others each time: were it always the last of them, it would never be known whether it
/// fits alone. The numbers of their requests times the golden ratio get to every place soon, also
/// when other requests come between.
fn in_rotation<'b, B>(context: &Context, buckets: &'b [B]) -> (&'b [B], &'b [B]) {
    let fraction = context.request_id.cast_unsigned().wrapping_mul(0x9e37_79b9);
    let begin = (u64::from(fraction) * buckets.len() as u64) >> 32;
    buckets.split_at(usize::try_from(begin).expect("less than there are"))
}

/// Why a bucket is not answered. What did not fit beside the buckets before it is asked for again,
/// when those are answered; unless they are so small that it will not fit then.
fn failure(context: &Context, stop: Stop, before: usize) -> Failure {
    match stop {
        Stop::Failed(failure) => failure,
        Stop::NoRoom(NoRoom::Full) if before < room::STEP_BYTES => {
            room::too_large(context, "the values", "ask for fewer keys at a time")
        }
        Stop::NoRoom(NoRoom::Full) => {
            let text = format!(
                "the buckets before this one fill the answer with {before} bytes: ask for it again"
            );
            Failure::new(ErrorCode::RequestTimeOut, text)
        }
        Stop::NoRoom(NoRoom::Starved | NoRoom::Late) => room::late(),
    }
}

/// PREFIX_LOOKUP (1034).
pub async fn prefix(context: &Context, request: PrefixLookupRequest) -> Result<Records, Failure> {
    resolve::check_bucket_count(request.buckets_req.len())?;
    let prefixes: usize = request.buckets_req.iter().map(|b| b.keys.len()).sum();
    let usual = prefixes.saturating_mul(PREFIX_BYTES).min(FIRST_BYTES_MAX);
    let ids = request.buckets_req.iter();
    let ids = ids.map(|b| resolve::tablet_id(request.table_id, b.partition_id, b.bucket_id));
    keyed::open(context, ids).await;
    let mut room = Room::first(context, usual..=usual).await?;
    let rows = match PrefixRows::find(context, &request, &mut room).await {
        Some(rows) => rows,
        None => {
            drop(room);
            room = Room::in_turn(context).await?;
            let rows = PrefixRows::find(context, &request, &mut room).await;
            rows.ok_or_else(room::late)?
        }
    };
    note(context, &rows.refused);
    encode(context, room, rows.response, rows.bytes).await
}

/// The rows of prefixes as far as they are found.
#[derive(Default)]
struct PrefixRows {
    response: PrefixLookupResponse,
    refused: Vec<(TabletId, Failure)>,
    bytes: usize,
}

impl PrefixRows {
    /// None where the room would have to wait, and may not.
    async fn find(
        context: &Context,
        request: &PrefixLookupRequest,
        room: &mut Room,
    ) -> Option<PrefixRows> {
        let mut rows = PrefixRows::default();
        // One bucket after the other: how many rows a prefix has is not known before.
        let (later, sooner) = match room.has_turn() {
            true => in_rotation(context, &request.buckets_req),
            false => request.buckets_req.split_at(0),
        };
        for bucket in sooner.iter().chain(later) {
            let asked = Asked {
                id: resolve::tablet_id(request.table_id, bucket.partition_id, bucket.bucket_id),
                routing_bucket_count: bucket.routing_bucket_count,
            };
            let mut answer = PbPrefixLookupRespForBucket {
                partition_id: bucket.partition_id,
                bucket_id: bucket.bucket_id,
                ..PbPrefixLookupRespForBucket::default()
            };
            let left = room.bytes().saturating_sub(rows.bytes);
            let part = Part { room, left };
            match room.in_time(rows_of(context, asked, bucket, part)).await {
                Ok(lists) => {
                    rows.bytes += lists.iter().flatten().map(Bytes::len).sum::<usize>();
                    let list = |values| PbValueList { values };
                    answer.value_lists = lists.into_iter().map(list).collect();
                }
                Err(Stop::NoRoom(_)) if !room.has_turn() => return None,
                Err(stop) => {
                    let failure = failure(context, stop, rows.bytes);
                    answer.error_code = Some(failure.code.code());
                    answer.error_message = Some(failure.message.clone());
                    rows.refused.push((asked.id, failure));
                }
            }
            rows.response.buckets_resp.push(answer);
        }
        rows.response.buckets_resp.rotate_right(later.len());
        Some(rows)
    }
}

async fn rows_of(
    context: &Context,
    asked: Asked,
    bucket: &PbPrefixLookupReqForBucket,
    mut part: Part<'_>,
) -> Result<Vec<Vec<Bytes>>, Stop> {
    let (_, keys) = keyed::bucket(context, asked).await?;
    let kv = match keys {
        Keys::Table(kv) => kv,
        Keys::Topic(topic) => return Err(topic.no_prefix().into()),
    };
    let rows = loop {
        match kv.prefix_lookup(bucket.keys.clone(), part.left).await {
            Ok(rows) => break rows,
            Err(KvError::AnswerTooLarge { .. }) => part.left += part.room.more(part.left).await?,
            Err(error) => return Err(Failure::from(&error).into()),
        }
    };
    metrics::counter!("vltava_kv_prefix_lookups_total").increment(bucket.keys.len() as u64);
    Ok(rows)
}

/// Counts and logs the buckets that are refused.
fn note(context: &Context, refused: &[(TabletId, Failure)]) {
    let mut refusals = Refusals::new(context);
    for (tablet, failure) in refused {
        refusals.note(*tablet, failure);
    }
}

/// The answer, with what it holds of the memory. While it is encoded its rows are there twice; a
/// room with the turn keeps that so long.
async fn encode(
    context: &Context,
    room: Room,
    response: impl prost::Message + 'static,
    bytes: usize,
) -> Result<Records, Failure> {
    let id = context.request_id;
    let frame = match bytes {
        ..=INLINE_BYTES_MAX => encode_success(id, &response),
        _ => {
            let task = tokio::task::spawn_blocking(move || encode_success(id, &response));
            // A panic goes on to the connection, which answers it.
            task.await
                .unwrap_or_else(|error| std::panic::resume_unwind(Box::new(error.to_string())))
        }
    };
    Ok(Records {
        chunks: frame.map(|frame| vec![frame]),
        grant: Some(room.settle(bytes)),
    })
}
