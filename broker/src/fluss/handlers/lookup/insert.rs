//! Keys that a lookup does not find, and inserts: rows of the key columns and null elsewhere, with
//! the next number in an auto-increment column.

use bytes::Bytes;
use protocol::fluss::error::ErrorCode;
use protocol::fluss::messages::LookupRequest;
use protocol::fluss::partition::value::value_of;
use protocol::row::Datum;
use storage::kv::tablet::KvTablet;
use storage::log::Until;
use tokio::time::Instant;

use super::{Part, values_of};
use crate::fluss::acks;
use crate::fluss::error::Failure;
use crate::fluss::handlers::put_kv;
use crate::fluss::keyed::Keys;
use crate::fluss::room::Stop;
use crate::fluss::wire::Context;
use crate::tablets::OpenBucket;

/// How missing keys are inserted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Insert {
    until: Until,
    timeout_ms: i32,
    deadline: Instant,
}

impl Insert {
    /// What the request asks for, if it does.
    pub(super) fn of(request: &LookupRequest) -> Result<Option<Insert>, Failure> {
        if request.insert_if_not_exists != Some(true) {
            return Ok(None);
        }
        let (Some(wanted), Some(timeout_ms)) = (request.acks, request.timeout_ms) else {
            let text = "to insert keys, a lookup needs acks and timeout_ms";
            return Err(Failure::new(ErrorCode::InvalidRequiredAcks, text));
        };
        Ok(Some(Insert {
            until: acks::until(wanted)?,
            timeout_ms,
            deadline: acks::deadline(timeout_ms),
        }))
    }

    /// With its time from now on.
    pub(super) fn anew(self) -> Insert {
        Insert {
            deadline: acks::deadline(self.timeout_ms),
            ..self
        }
    }
}

impl Insert {
    /// Inserts the keys without a value and finds those.
    pub(super) async fn missing(
        self,
        context: &Context,
        bucket: &OpenBucket,
        kv: &KvTablet,
        keys: &[Bytes],
        found: &mut [Option<Bytes>],
        part: &mut Part<'_>,
    ) -> Result<(), Stop> {
        let missing: Vec<usize> = (0..found.len()).filter(|at| found[*at].is_none()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        acks::check_replicas(bucket, self.until)?;
        let put = {
            let values = partition_values(context, bucket);
            let mut bytes = vec![Vec::new(); values.len()];
            let partition = typed(bucket, &values, &mut bytes)?;
            let keys = missing.iter().map(|at| keys[*at].as_ref());
            kv.check_insert(keys, &partition)
                .map_err(|error| Failure::from(&error))?
        };
        // Whatever `acks` says: what is looked up below has to be there.
        let written = put_kv::written(kv.put(put, Until::Durable), self.deadline).await;
        // No version of LOOKUP says that a client knows the code of a busy bucket.
        written.map_err(put_kv::for_any_client)?;
        let keys: Vec<Bytes> = missing.iter().map(|at| keys[*at].clone()).collect();
        let values = values_of(&Keys::Table(kv.clone()), &keys, part).await?;
        for (at, value) in missing.into_iter().zip(values) {
            found[at] = value;
        }
        Ok(())
    }
}

/// The texts of the bucket's partition.
fn partition_values(context: &Context, bucket: &OpenBucket) -> Vec<String> {
    let view = context.broker().catalog.view();
    let id = bucket.tablet.log().log().id().table_partition;
    let partition = id.and_then(|id| view.partition(id));
    partition.map_or_else(Vec::new, |partition| partition.values.clone())
}

/// The partition columns with the values of their texts.
fn typed<'a>(
    bucket: &OpenBucket,
    texts: &'a [String],
    bytes: &'a mut [Vec<u8>],
) -> Result<Vec<(String, Datum<'a>)>, Failure> {
    let table = &bucket.table;
    let schema = &table.schema().schema;
    let columns = table.partition_keys.iter().zip(texts).zip(bytes);
    columns
        .map(|((name, text), bytes)| {
            let column = schema.columns.iter().find(|column| column.name == *name);
            let value = column.and_then(|c| value_of(text, &c.data_type.kind, bytes));
            let value = value.ok_or_else(|| {
                let text = format!("partition value '{text}' is none of column '{name}'");
                Failure::new(ErrorCode::PartitionSpecInvalid, text)
            })?;
            Ok((name.clone(), value))
        })
        .collect()
}
