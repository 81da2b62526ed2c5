//! Upserts of Kafka producers into primary-key tables that Fluss clients made.
//!
//! ```text
//! batch ─► rows.rs: JSON ─► rows, by the bucket of their key ─► line.rs: one batch of a producer
//!            after the other, judged by sequences.rs ─► KvTablet of each bucket ─► answer
//! ```
//!
//! Whatever partition a client chose, Fluss's bucket function decides. So each part of a batch
//! carries where it comes from, and a bucket knows which parts it has: a retry completes a batch
//! that came into some buckets only, and applies nothing twice. Such a batch is answered with
//! errors that clients retry, and no others.

pub mod line;
#[cfg(test)]
mod model;
pub mod rows;
pub mod sequences;

pub use line::LineError;
pub use rows::{BucketRows, SplitError, Spread, Unsupported};

use std::sync::Arc;

use protocol::batch::SourceBlock;
use protocol::ids::{TableId, TablePartitionId};
use storage::kv::tablet::{KvError, KvTablet, Put, PutTicket, TakenPut};
use storage::log::{ProducerKey, SourcePart, Until};

use crate::tablets::OpenBucket;
use line::{LineTicket, Lines, Parts, PutFailure};
use sequences::{Batch, Sequences};

/// Whose batches come in order.
type LineKey = (TableId, Option<TablePartitionId>, ProducerKey);

/// The producers that write to primary-key tables.
#[derive(Default)]
pub struct Upserts {
    lines: Lines<LineKey, TableParts>,
}

/// A part of a batch: rows of one bucket.
pub struct Part {
    /// The bucket.
    pub kv: KvTablet,
    /// Its rows.
    pub put: Put,
    /// Place in the batch of its first record.
    pub first: i32,
    /// Place in the batch of its last record.
    pub last: i32,
}

/// The answer of a batch, to be awaited.
pub enum Ticket {
    /// Of a producer whose batches are told apart.
    Lined(LineTicket<Vec<TakenPut>>),
    /// Of any other.
    Loose(Vec<PutTicket>),
}

impl Upserts {
    /// Queues the parts of a batch; batches of one caller keep their order. `source` is the
    /// producer, if it is idempotent, `buckets` are all of the table or table partition. Never
    /// waits.
    pub fn put(
        &self,
        source: Option<SourceBlock>,
        buckets: Vec<Arc<OpenBucket>>,
        parts: Vec<Part>,
        until: Until,
        now_ms: i64,
    ) -> Ticket {
        let first = buckets.first().map(|bucket| bucket.tablet.log().log().id());
        let (Some(source), Some(id)) = (source, first) else {
            let puts = parts.into_iter();
            return Ticket::Loose(puts.map(|part| part.kv.put(part.put, until)).collect());
        };
        let batch = Batch {
            producer_id: source.producer_id,
            epoch: source.producer_epoch,
            first: source.first_sequence,
            last: source.last_sequence,
        };
        let key = (id.table, id.table_partition, ProducerKey::of(&source));
        let parts = TableParts {
            source,
            buckets,
            parts,
            until,
        };
        Ticket::Lined(self.lines.queue(key, batch, parts, now_ms))
    }

    /// Forgets the producers that sent nothing since `before_ms`, as the logs do. A producer that
    /// comes again is known by what the logs have.
    pub fn forget(&self, before_ms: i64) {
        self.lines.forget(before_ms);
        metrics::gauge!("vltava_upsert_producers").set(self.lines.count() as f64);
    }
}

impl Ticket {
    /// Waits until all parts are written as their producer asked for.
    ///
    /// # Errors
    /// Some parts are not.
    pub async fn answer(self) -> Result<(), LineError> {
        let taken = match self {
            Ticket::Lined(ticket) => match ticket.await {
                Ok(outcome) => outcome?,
                Err(_) => return Err(LineError::Refused(KvError::Closed)),
            },
            Ticket::Loose(tickets) => taken(tickets).await.map_err(LineError::from)?,
        };
        for part in taken {
            // What is in the log comes with a retry, or is there.
            part.answer().await.map_err(LineError::Partly)?;
        }
        Ok(())
    }
}

/// Waits until all parts are in the logs of their buckets.
async fn taken(tickets: Vec<PutTicket>) -> Result<Vec<TakenPut>, PutFailure> {
    let mut taken = Vec::with_capacity(tickets.len());
    let mut refused = None;
    for ticket in tickets {
        match ticket.taken().await {
            Ok(part) => taken.push(part),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    match refused {
        None => Ok(taken),
        Some(error) => Err(PutFailure {
            error,
            partly: !taken.is_empty(),
        }),
    }
}

/// The parts of a batch of an idempotent producer.
struct TableParts {
    source: SourceBlock,
    buckets: Vec<Arc<OpenBucket>>,
    parts: Vec<Part>,
    until: Until,
}

impl Parts for TableParts {
    type Taken = Vec<TakenPut>;

    async fn recall(&self) -> Result<Sequences, KvError> {
        let buckets = self.buckets.clone();
        let (key, scheme) = (ProducerKey::of(&self.source), self.source.scheme);
        // A log that is being written to lets nobody look.
        let looked = tokio::task::spawn_blocking(move || {
            let logs = buckets.iter().map(|bucket| bucket.tablet.log().log());
            let known = logs.filter_map(|log| log.producer(key));
            Sequences::recalled(known.filter(|entry| entry.scheme == scheme))
        });
        // The runtime is going down.
        looked.await.map_err(|_| KvError::Closed)
    }

    async fn put(self, newest: i32) -> Result<Self::Taken, PutFailure> {
        let tickets = self.parts.into_iter().map(|part| {
            let sequence = |place: i32| {
                let first = self.source.first_sequence;
                first.wrapping_add(place) & i32::MAX
            };
            let source = SourceBlock {
                first_sequence: sequence(part.first),
                last_sequence: sequence(part.last),
                ..self.source
            };
            let put = part.put.with_part(SourcePart { source, newest });
            part.kv.put(put, self.until)
        });
        taken(tickets.collect()).await
    }
}
