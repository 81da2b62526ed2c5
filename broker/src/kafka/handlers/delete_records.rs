//! DeleteRecords (API 21, KIP-107): moves the log start up.

use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};
use protocol::ids::Offset;
use storage::catalog::CatalogView;
use storage::log::{LogError, Watermarks};

use crate::kafka::error::Refusal;
use crate::kafka::topics::{blocking, is_internal, open_partition};
use crate::kafka::wire::Context;

/// Means the high watermark.
const HIGH_WATERMARK: i64 = -1;

/// Deletes records below an offset; the answer has the new log start.
pub async fn handle(context: &Context, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let view = context.broker().catalog.view();
    let timeout = Duration::from_millis(request.timeout_ms.max(0) as u64);
    let deadline = tokio::time::Instant::now() + timeout;
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let deleted = delete(
                context,
                &view,
                &topic.name,
                asked.partition_index,
                asked.offset,
            );
            // Work that was begun is finished, whoever waits for it.
            let outcome = match tokio::time::timeout_at(deadline, deleted).await {
                Ok(outcome) => outcome,
                Err(_) => Err(ResponseError::RequestTimedOut),
            };
            let answer =
                DeleteRecordsPartitionResult::default().with_partition_index(asked.partition_index);
            partitions.push(match outcome {
                Ok(start) => answer.with_low_watermark(start.value()),
                Err(error) => answer.with_low_watermark(-1).with_error_code(error.code()),
            });
        }
        topics.push(
            DeleteRecordsTopicResult::default()
                .with_name(topic.name)
                .with_partitions(partitions),
        );
    }
    DeleteRecordsResponse::default().with_topics(topics)
}

async fn delete(
    context: &Context,
    view: &CatalogView,
    name: &str,
    partition: i32,
    offset: i64,
) -> Result<Offset, ResponseError> {
    let topic = view
        .topic(name)
        .ok_or(ResponseError::UnknownTopicOrPartition)?;
    if is_internal(topic) {
        return Err(ResponseError::InvalidTopicException);
    }
    let bucket = open_partition(context.broker(), topic, partition).await?;
    if !bucket.settings.deletes {
        return Err(ResponseError::PolicyViolation);
    }
    let start = new_start(&bucket.tablet.watermarks(), offset)?;
    let table = topic.table.path.clone();
    let deleted = blocking(context.broker(), move |_| {
        let log = bucket.tablet.log().log();
        log.delete_before(start).map_err(|error| {
            tracing::warn!(%table, bucket = partition, %error, "cannot delete records");
            let code = match &error {
                LogError::Offline(_) | LogError::Io { .. } | LogError::Format { .. } => {
                    ResponseError::KafkaStorageError
                }
            };
            Refusal::new(code, error.to_string())
        })
    });
    let deleted = deleted.await.map_err(|refusal| refusal.error)?;
    tracing::info!(topic = name, partition, log_start = %deleted, client = %context.peer.address, "deleted records");
    Ok(deleted)
}

fn new_start(w: &Watermarks, offset: i64) -> Result<Offset, ResponseError> {
    match offset {
        HIGH_WATERMARK => Ok(w.high_watermark),
        offset if offset < 0 || Offset::new(offset) > w.high_watermark => {
            Err(ResponseError::OffsetOutOfRange)
        }
        offset => Ok(Offset::new(offset)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_moves_up_to_the_high_watermark_and_no_further() {
        let w = Watermarks {
            log_start: Offset::new(5),
            high_watermark: Offset::new(10),
            last_stable: Offset::new(10),
            log_end: Offset::new(12),
            synced_end: Offset::new(10),
        };
        assert_eq!(new_start(&w, -1), Ok(Offset::new(10)));
        assert_eq!(new_start(&w, 10), Ok(Offset::new(10)));
        assert_eq!(new_start(&w, 3), Ok(Offset::new(3)));
        for offset in [11, -2, i64::MIN] {
            assert_eq!(new_start(&w, offset), Err(ResponseError::OffsetOutOfRange));
        }
    }
}
