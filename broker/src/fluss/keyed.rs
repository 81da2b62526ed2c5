//! Buckets of primary-key tables as requests for their rows name them.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use protocol::fluss::error::ErrorCode;
use protocol::fluss::options::TableConfig;
use protocol::ids::TabletId;
use storage::catalog::Table;
use storage::kv::tablet::{KvError, KvTablet};

use super::error::Failure;
use super::resolve;
use super::topic::TopicKeys;
use super::wire::Context;
use crate::tablets::{OpenBucket, has_default_bucket_key};

/// Buckets that are opened for one request at once.
const OPENED_AT_ONCE: usize = 16;

/// What a request says about a bucket of a primary-key table.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// Which.
    pub id: TabletId,
    /// Buckets that the client chose among; 1.0.0 and later say it.
    pub routing_bucket_count: Option<i32>,
}

/// What has the rows of a bucket.
pub enum Keys {
    /// An index that is written through: a Fluss client made the table.
    Table(KvTablet),
    /// An index that follows what Kafka producers write.
    Topic(TopicKeys),
}

impl Keys {
    /// The values of keys in their order; none where they take more than `bytes_max`.
    pub async fn lookup(
        &self,
        keys: &[Bytes],
        bytes_max: usize,
    ) -> Result<Option<Vec<Option<Bytes>>>, Failure> {
        match self {
            Keys::Table(kv) => match kv.lookup(keys.to_vec(), bytes_max).await {
                Ok(values) => Ok(Some(values)),
                Err(KvError::AnswerTooLarge { .. }) => Ok(None),
                Err(error) => Err(Failure::from(&error)),
            },
            Keys::Topic(topic) => topic.lookup(keys, bytes_max).await,
        }
    }
}

/// The keys of a bucket; opens it when it is not open.
pub async fn bucket(context: &Context, asked: Asked) -> Result<(Arc<OpenBucket>, Keys), Failure> {
    let bucket = resolve::bucket(context.broker(), asked.id).await?;
    if bucket.kv.is_none() && bucket.topic.is_none() {
        let text = format!("table {} has no primary key", bucket.table.path);
        return Err(Failure::new(ErrorCode::NonPrimaryKeyTable, text));
    }
    check_routing(context, &bucket.table, asked)?;
    check_client(context.version, &bucket.table)?;
    let keys = match bucket.kv.clone() {
        Some(kv) => Keys::Table(kv),
        None => Keys::Topic(TopicKeys::open(context.broker(), Arc::clone(&bucket)).await?),
    };
    Ok((bucket, keys))
}

/// Opens buckets and their indexes where they are not. That may take as long as their logs are: who
/// answers waits for it before he holds what others wait for. What does not open is told by
/// [`bucket`] or by its keys.
pub async fn open(context: &Context, buckets: impl Iterator<Item = TabletId>) {
    // Most have all open, and no list is made.
    let closed: Vec<TabletId> = buckets.filter(|id| !is_open(context, *id)).collect();
    if closed.is_empty() {
        return;
    }
    let openings = closed.into_iter().map(|id| async move {
        if let Ok(bucket) = resolve::bucket(context.broker(), id).await
            && let Some(kv) = &bucket.kv
        {
            let _told_later = kv.index().await;
        }
    });
    let openings = stream::iter(openings).buffer_unordered(OPENED_AT_ONCE);
    openings.collect::<()>().await;
}

fn is_open(context: &Context, id: TabletId) -> bool {
    resolve::open_bucket(context.broker(), id).is_some_and(|bucket| {
        let index = bucket.kv.as_ref().map(KvTablet::index_if_open);
        index.is_none_or(|index| index.is_some())
    })
}

/// A client that hashed over another number of buckets asks the wrong one for its keys.
fn check_routing(context: &Context, table: &Table, asked: Asked) -> Result<(), Failure> {
    let Some(chosen_among) = asked.routing_bucket_count else {
        return Ok(());
    };
    let count = match asked.id.table_partition {
        None => table.bucket_count,
        Some(id) => {
            let view = context.broker().catalog.view();
            let partition = view.partition(id);
            partition.map_or(table.bucket_count, |partition| partition.bucket_count)
        }
    };
    if u32::try_from(chosen_among).is_ok_and(|chosen_among| chosen_among == count) {
        return Ok(());
    }
    let text = format!(
        "the bucket was chosen among {chosen_among}, and table {} has {count}",
        table.path
    );
    Err(Failure::new(ErrorCode::InvalidBucketRouting, text))
}

/// Clients before version 1 of these APIs encode keys of such tables in another way.
fn check_client(version: i16, table: &Table) -> Result<(), Failure> {
    if version > 0 || has_default_bucket_key(table) {
        return Ok(());
    }
    let Ok(config) = TableConfig::parse(&table.properties) else {
        return Ok(());
    };
    if config.datalake_format.is_none() || config.kv_format_version != Some(2) {
        return Ok(());
    }
    let text = format!(
        "table {} has keys of kv format version 2, which the client is too old for",
        table.path
    );
    Err(Failure::new(ErrorCode::UnsupportedVersion, text))
}
