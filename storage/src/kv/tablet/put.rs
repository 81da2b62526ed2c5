//! A batch on its way into a bucket, and the answer that its writer waits for.

use protocol::batch::SourceBlock;
use protocol::fluss::kv_batch::KvBatch;
use protocol::ids::BucketId;
use tokio::sync::oneshot;

use super::KvError;
use crate::kv::merge::MergeMode;
use crate::log::{AppendResult, AppendTicket, Appended, SourcePart};

/// A KV batch that was checked.
#[derive(Debug)]
pub struct Put {
    pub(super) batch: KvBatch,
    pub(super) target_columns: Option<Box<[i32]>>,
    pub(super) mode: MergeMode,
    /// For rows that a Kafka producer sent.
    pub(super) part: Option<SourcePart>,
}

impl Put {
    /// Records of the batch.
    pub fn len(&self) -> usize {
        self.batch.len()
    }

    /// True for a batch without records.
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// The batch as part of what a Kafka producer sent, which has no writer id of its own. A
    /// bucket that has the part already says so, and does not apply it again.
    pub fn with_part(mut self, part: SourcePart) -> Put {
        self.part = Some(part);
        self
    }

    /// What the log of the bucket will know the batch's writer by.
    pub(super) fn source(&self, bucket: BucketId) -> Option<SourceBlock> {
        if let Some(part) = &self.part {
            return Some(part.source);
        }
        let (writer_id, sequence) = self.batch.writer()?;
        Some(SourceBlock::of_fluss(writer_id, sequence, bucket))
    }
}

/// The answer of a put, to be awaited.
#[derive(Debug)]
pub struct PutTicket {
    /// Closed without a word when the log was asked to take the batch.
    pub(super) refused: oneshot::Receiver<KvError>,
    pub(super) appended: AppendTicket,
}

impl PutTicket {
    /// Where the changelog of the batch went. Dropping the future forgets the answer, not the put.
    ///
    /// # Errors
    /// Nothing of the batch was applied, unless the log failed meanwhile.
    pub async fn answer(self) -> Result<Appended, KvError> {
        match self.appended.await {
            Ok(result) => result.map_err(KvError::Append),
            // Refused before it came to the log, or the process goes down.
            Err(_) => Err(self.refused.await.unwrap_or(KvError::Closed)),
        }
    }

    /// Waits until the log has the batch, which may be before the put is answered.
    ///
    /// # Errors
    /// Nothing of the batch was applied.
    pub async fn taken(mut self) -> Result<TakenPut, KvError> {
        if let Ok(error) = self.refused.await {
            return Err(error);
        }
        match self.appended.try_recv() {
            Ok(Err(error)) => Err(KvError::Append(error)),
            Ok(answered) => Ok(TakenPut::Answered(answered)),
            Err(oneshot::error::TryRecvError::Empty) => Ok(TakenPut::Waits(self.appended)),
            Err(oneshot::error::TryRecvError::Closed) => Err(KvError::Closed),
        }
    }
}

/// A put whose batch is in the log.
#[derive(Debug)]
pub enum TakenPut {
    /// There was no need to wait longer.
    Answered(AppendResult),
    /// It is to become durable.
    Waits(AppendTicket),
}

impl TakenPut {
    /// Where the changelog of the batch went.
    ///
    /// # Errors
    /// The log failed before the batch was durable.
    pub async fn answer(self) -> Result<Appended, KvError> {
        let result = match self {
            TakenPut::Answered(result) => result,
            TakenPut::Waits(ticket) => ticket.await.map_err(|_| KvError::Closed)?,
        };
        result.map_err(KvError::Append)
    }
}
