//! LOOKUP (1017): the values of keys, which may be inserted where they are missing; and
//! PREFIX_LOOKUP (1034): the values of all keys that begin with a prefix. Each bucket succeeds or
//! fails for itself.

mod insert;

use bytes::Bytes;
use futures::stream::{FuturesOrdered, StreamExt};
use protocol::fluss::error::ErrorCode;
use protocol::fluss::frame::encode_success;
use protocol::fluss::messages::{
    LookupRequest, LookupResponse, PbLookupReqForBucket, PbLookupRespForBucket,
    PbPrefixLookupReqForBucket, PbPrefixLookupRespForBucket, PbValue, PbValueList,
    PrefixLookupRequest, PrefixLookupResponse,
};
use protocol::ids::TabletId;

use crate::fluss::error::Failure;
use crate::fluss::keyed::{self, Asked, Keys};
use crate::fluss::refusals::Refusals;
use crate::fluss::resolve;
use crate::fluss::wire::{Context, Records};
use crate::memory::Grant;
use insert::Insert;

/// What the value of a key is taken to need before it is known.
const VALUE_BYTES: usize = 256;
/// What the rows of a prefix are taken to need at first.
const PREFIX_BYTES: usize = 64 << 10;
/// Keys that are looked up at once; how many more follows from the values of those before.
const KEYS_AT_ONCE: usize = 256;

/// LOOKUP (1017).
pub async fn handle(context: &Context, request: LookupRequest) -> Result<Records, Failure> {
    resolve::check_bucket_count(request.buckets_req.len())?;
    let insert = Insert::of(&request)?;
    let keys = request.buckets_req.iter().map(|b| b.keys.len()).sum();
    let budget = Budget::take(context, keys).await?;
    let mut answers: FuturesOrdered<_> = request
        .buckets_req
        .into_iter()
        .map(|bucket| look_up(context, request.table_id, bucket, insert, budget.bytes_max))
        .collect();
    let mut refusals = Refusals::new(context);
    let mut response = LookupResponse::default();
    let mut left = budget.bytes_max;
    while let Some((asked, answer, found)) = answers.next().await {
        let found = found.and_then(|values| {
            let bytes: usize = values.iter().flatten().map(Bytes::len).sum();
            left = left
                .checked_sub(bytes)
                .ok_or_else(|| too_large(budget.bytes_max))?;
            Ok(values)
        });
        response.buckets_resp.push(match found {
            Ok(values) => PbLookupRespForBucket {
                values: values
                    .into_iter()
                    .map(|values| PbValue { values })
                    .collect(),
                ..answer
            },
            Err(failure) => {
                refusals.note(asked.id, &failure);
                PbLookupRespForBucket {
                    error_code: Some(failure.code.code()),
                    error_message: Some(failure.message),
                    ..answer
                }
            }
        });
    }
    Ok(budget.spend(context, left, &response))
}

async fn look_up(
    context: &Context,
    table_id: i64,
    bucket: PbLookupReqForBucket,
    insert: Option<Insert>,
    bytes_max: usize,
) -> (
    Asked,
    PbLookupRespForBucket,
    Result<Vec<Option<Bytes>>, Failure>,
) {
    let asked = Asked {
        id: resolve::tablet_id(table_id, bucket.partition_id, bucket.bucket_id),
        routing_bucket_count: bucket.routing_bucket_count,
    };
    let answer = PbLookupRespForBucket {
        partition_id: bucket.partition_id,
        bucket_id: bucket.bucket_id,
        original_partition_name: bucket.original_partition_name,
        ..PbLookupRespForBucket::default()
    };
    let found = async {
        let (open, kv) = keyed::bucket(context, asked).await?;
        let mut found = values_of(&kv, &bucket.keys, bytes_max).await?;
        if let Some(insert) = insert {
            let kv = match &kv {
                Keys::Table(kv) => kv,
                Keys::Topic(topic) => return Err(topic.no_insert()),
            };
            insert
                .missing(context, &open, kv, &bucket.keys, &mut found)
                .await?;
        }
        Ok(found)
    };
    let found = found.await;
    (asked, answer, found)
}

/// The values of keys in their order.
async fn values_of(
    kv: &Keys,
    keys: &[Bytes],
    bytes_max: usize,
) -> Result<Vec<Option<Bytes>>, Failure> {
    let mut found = Vec::with_capacity(keys.len());
    let (mut rest, mut bytes, mut missing) = (keys, 0usize, 0u64);
    while !rest.is_empty() {
        // As many as fit, if their values are like those before.
        let usual = (bytes / found.len().max(1)).max(1);
        let fit = (bytes_max - bytes) / usual;
        let (now, later) = rest.split_at(rest.len().min(fit.clamp(1, KEYS_AT_ONCE)));
        let values = match kv {
            Keys::Table(kv) => {
                let values = kv.lookup(now.to_vec()).await;
                values.map_err(|error| Failure::from(&error))?
            }
            Keys::Topic(topic) => topic.lookup(now).await?,
        };
        bytes += values.iter().flatten().map(Bytes::len).sum::<usize>();
        missing += values.iter().filter(|value| value.is_none()).count() as u64;
        if bytes > bytes_max {
            return Err(too_large(bytes_max));
        }
        found.extend(values);
        rest = later;
    }
    metrics::counter!("vltava_kv_lookup_keys_total").increment(keys.len() as u64);
    metrics::counter!("vltava_kv_lookup_missing_total").increment(missing);
    Ok(found)
}

/// PREFIX_LOOKUP (1034).
pub async fn prefix(context: &Context, request: PrefixLookupRequest) -> Result<Records, Failure> {
    resolve::check_bucket_count(request.buckets_req.len())?;
    let bytes_max = context.broker().config().fetch().answer_bytes_max;
    let prefixes: usize = request.buckets_req.iter().map(|b| b.keys.len()).sum();
    let usual = prefixes.saturating_mul(PREFIX_BYTES).min(bytes_max);
    // Only few answers at a time can have all the memory that one may take, and few need it.
    let mut rows = PrefixRows::find(context, request.clone(), usual).await?;
    if rows.is_cut() && usual < bytes_max {
        drop(rows);
        rows = PrefixRows::find(context, request, bytes_max).await?;
    }
    let mut refusals = Refusals::new(context);
    for (tablet, failure) in &rows.refused {
        refusals.note(*tablet, failure);
    }
    Ok(rows.budget.spend(context, rows.left, &rows.response))
}

/// What was found with the memory that there was.
struct PrefixRows {
    budget: Budget,
    left: usize,
    response: PrefixLookupResponse,
    refused: Vec<(TabletId, Failure)>,
}

impl PrefixRows {
    async fn find(
        context: &Context,
        request: PrefixLookupRequest,
        bytes_max: usize,
    ) -> Result<PrefixRows, Failure> {
        let budget = Budget::take_bytes(context, bytes_max).await?;
        let mut rows = PrefixRows {
            left: budget.bytes_max,
            budget,
            response: PrefixLookupResponse::default(),
            refused: Vec::new(),
        };
        // One bucket after the other: how many rows a prefix has is not known before.
        for bucket in request.buckets_req {
            let asked = Asked {
                id: resolve::tablet_id(request.table_id, bucket.partition_id, bucket.bucket_id),
                routing_bucket_count: bucket.routing_bucket_count,
            };
            let mut answer = PbPrefixLookupRespForBucket {
                partition_id: bucket.partition_id,
                bucket_id: bucket.bucket_id,
                ..PbPrefixLookupRespForBucket::default()
            };
            match rows_of(context, asked, bucket, rows.left).await {
                Ok(lists) => {
                    rows.left -= lists.iter().flatten().map(Bytes::len).sum::<usize>();
                    let list = |values| PbValueList { values };
                    answer.value_lists = lists.into_iter().map(list).collect();
                }
                Err(failure) => {
                    answer.error_code = Some(failure.code.code());
                    answer.error_message = Some(failure.message.clone());
                    rows.refused.push((asked.id, failure));
                }
            }
            rows.response.buckets_resp.push(answer);
        }
        Ok(rows)
    }

    /// True when some rows did not fit.
    fn is_cut(&self) -> bool {
        let too_large = |(_, failure): &(_, Failure)| failure.code == ErrorCode::RecordTooLarge;
        self.refused.iter().any(too_large)
    }
}

async fn rows_of(
    context: &Context,
    asked: Asked,
    bucket: PbPrefixLookupReqForBucket,
    bytes_max: usize,
) -> Result<Vec<Vec<Bytes>>, Failure> {
    let (_, keys) = keyed::bucket(context, asked).await?;
    let kv = match keys {
        Keys::Table(kv) => kv,
        Keys::Topic(topic) => return Err(topic.no_prefix()),
    };
    let prefixes = bucket.keys.len() as u64;
    let rows = kv.prefix_lookup(bucket.keys, bytes_max).await;
    let rows = rows.map_err(|error| Failure::from(&error))?;
    metrics::counter!("vltava_kv_prefix_lookups_total").increment(prefixes);
    Ok(rows)
}

fn too_large(bytes_max: usize) -> Failure {
    let text = format!("the values together take more than {bytes_max} bytes");
    Failure::new(ErrorCode::RecordTooLarge, text)
}

/// Memory for the values of one answer.
struct Budget {
    grant: Grant,
    bytes_max: usize,
}

impl Budget {
    /// For the values of so many keys, whose sizes are known when they are found.
    async fn take(context: &Context, keys: usize) -> Result<Budget, Failure> {
        let bytes_max = context.broker().config().fetch().answer_bytes_max;
        let wanted = (keys.saturating_mul(VALUE_BYTES)).min(bytes_max);
        let budget = Budget::take_bytes(context, wanted).await?;
        Ok(Budget {
            bytes_max,
            ..budget
        })
    }

    async fn take_bytes(context: &Context, wanted: usize) -> Result<Budget, Failure> {
        Ok(Budget {
            grant: context.memory(wanted).await?,
            bytes_max: wanted,
        })
    }

    /// The answer, with what it holds of the memory.
    fn spend(self, context: &Context, left: usize, response: &impl prost::Message) -> Records {
        let chunks = encode_success(context.request_id, response);
        Records {
            chunks: chunks.map(|frame| vec![frame]),
            grant: Some(self.grant.settle(self.bytes_max - left)),
        }
    }
}
