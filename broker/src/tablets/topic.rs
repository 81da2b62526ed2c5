//! The indexes of compacted topics.

use std::sync::Arc;

use protocol::ids::{BucketId, TabletId};
use storage::catalog::Table;
use storage::kv::topic::{TopicIndex, TopicIndexSpec};
use storage::log::LogHandle;

use super::kind::is_compacted;
use super::kv::DIRECTORY;
use super::{OpenBucket, TabletError, Tablets};

impl Tablets {
    /// The index of a bucket that is opened. What a topic left behind that is not compacted any more
    /// goes. Waits for the disk.
    pub(super) fn topic_of(&self, table: &Table, log: &LogHandle) -> Option<TopicIndex> {
        if is_compacted(table) {
            return Some(self.new_topic_index(table, log));
        }
        let directory = log.log().directory().join(DIRECTORY);
        let env = &self.resources.context.env;
        if !table.schema().schema.primary_key.is_empty()
            || !env.disk.exists(&directory).unwrap_or(false)
        {
            return None;
        }
        if let Err(error) = self.resources.topics.discard(&directory) {
            let path = directory.display();
            tracing::warn!(%path, %error, "cannot remove an index that is not used any more");
        }
        None
    }

    /// The index of a bucket whose table was changed: another one when the topic became another
    /// table. The old one closes when nobody reads from it any more, which the new one waits for.
    pub(super) fn topic_in_step(&self, bucket: &OpenBucket, table: &Table) -> Option<TopicIndex> {
        match &bucket.topic {
            Some(index) if table.fluss_id == bucket.table.fluss_id => return Some(index.clone()),
            Some(replaced) => replaced.retire(),
            None => {}
        }
        is_compacted(table).then(|| self.new_topic_index(table, bucket.tablet.log()))
    }

    /// All buckets of a compacted topic, in their order; opens those that are not. Waits for the disk.
    ///
    /// # Errors
    /// One cannot be opened, or the topic is being changed.
    pub fn buckets_of_topic(
        &self,
        bucket: &OpenBucket,
    ) -> Result<Vec<Arc<OpenBucket>>, TabletError> {
        let id = bucket.tablet.log().log().id();
        let count = i32::try_from(bucket.table.bucket_count).unwrap_or(i32::MAX);
        let open = |number| {
            let id = TabletId {
                bucket: BucketId::new(number),
                ..id
            };
            let other = self.open_now(id)?;
            // The topic is being changed.
            if other.topic.is_none() || other.table.fluss_id != bucket.table.fluss_id {
                return Err(TabletError::Unknown(id));
            }
            Ok(other)
        };
        (0..count).map(open).collect()
    }

    fn new_topic_index(&self, table: &Table, log: &LogHandle) -> TopicIndex {
        let spec = TopicIndexSpec {
            directory: log.log().directory().join(DIRECTORY),
            table: table.fluss_id,
            schema_id: table.schema().id,
        };
        TopicIndex::new(log.clone(), spec, Arc::clone(&self.resources.topics))
    }
}
