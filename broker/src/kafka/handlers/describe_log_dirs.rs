//! DescribeLogDirs (API 35): the one data directory, and what each log takes of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse, TopicName};
use protocol::ids::TabletId;
use storage::catalog::Topic;

use super::context::text;
use crate::broker::Broker;
use crate::kafka::topics::blocking;
use crate::kafka::wire::Context;

/// "Unknown", for sizes of volumes.
const UNKNOWN_BYTES: i64 = -1;

/// Tells the sizes of logs and of the volume.
pub async fn handle(context: &Context, request: DescribeLogDirsRequest) -> DescribeLogDirsResponse {
    let view = context.broker().catalog.view();
    let wanted: Vec<(Arc<Topic>, Vec<i32>)> = match request.topics {
        None => view
            .topics()
            .map(|topic| {
                let all = topic.tablets().map(|id| id.bucket.value());
                (Arc::clone(topic), all.collect())
            })
            .collect(),
        Some(topics) => topics
            .into_iter()
            .filter_map(|asked| Some((Arc::clone(view.topic(&asked.topic)?), asked.partitions)))
            .collect(),
    };
    let described = blocking(context.broker(), move |broker| Ok(describe(broker, wanted))).await;
    match described {
        Ok(directory) => DescribeLogDirsResponse::default().with_results(vec![directory]),
        Err(refusal) => DescribeLogDirsResponse::default().with_error_code(refusal.code()),
    }
}

/// Waits for the disk.
fn describe(broker: &Broker, wanted: Vec<(Arc<Topic>, Vec<i32>)>) -> DescribeLogDirsResult {
    let mut topics: BTreeMap<String, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for (topic, partitions) in wanted {
        let sizes = partitions.into_iter().filter_map(|index| {
            let size = size_of(broker, topic.tablet(index)?);
            Some(
                DescribeLogDirsPartition::default()
                    .with_partition_index(index)
                    .with_partition_size(i64::try_from(size).unwrap_or(i64::MAX)),
            )
        });
        let sizes = sizes.collect::<Vec<_>>();
        if !sizes.is_empty() {
            topics
                .entry(topic.topic().name.clone())
                .or_default()
                .extend(sizes);
        }
    }
    let topics = topics.into_iter().map(|(name, partitions)| {
        DescribeLogDirsTopic::default()
            .with_name(TopicName(text(&name)))
            .with_partitions(partitions)
    });
    let directory = broker.config().storage().data_dir;
    let directory = std::path::absolute(&directory).unwrap_or(directory);
    let answer = DescribeLogDirsResult::default()
        .with_log_dir(text(&directory.to_string_lossy()))
        .with_topics(topics.collect())
        .with_total_bytes(UNKNOWN_BYTES)
        .with_usable_bytes(UNKNOWN_BYTES);
    let bytes = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    match broker.env.disk.space(&directory) {
        Ok(Some(space)) => answer
            .with_total_bytes(bytes(space.total_bytes))
            .with_usable_bytes(bytes(space.usable_bytes)),
        Ok(None) => answer,
        Err(error) => {
            tracing::warn!(path = %directory.display(), %error, "cannot ask for the size of the disk");
            answer.with_error_code(ResponseError::KafkaStorageError.code())
        }
    }
}

/// Bytes of a log; a bucket that was never written to has no files.
fn size_of(broker: &Broker, id: TabletId) -> u64 {
    let tablets = &broker.tablets;
    let open = tablets.get_open(id).or_else(|| {
        // One that cannot be opened says so in the log, and shows as empty.
        tablets.has_files(id).then(|| tablets.open_now(id).ok())?
    });
    open.map_or(0, |bucket| bucket.tablet.log().log().size_bytes())
}
