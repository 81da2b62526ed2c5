//! Producer state of one log: which sequences came last, so that a retried batch is recognised.
//!
//! Kept per (producer id, source partition) and tagged with its scheme. Kafka counts records and
//! knows epochs (`ProducerAppendInfo.java`), Fluss counts batches (`WriterAppendInfo.java`). The
//! functions here are plain: they look at a source block and say what to do.

use std::collections::{HashMap, VecDeque};

use protocol::batch::{ProducerScheme, SourceBlock};
use protocol::ids::Offset;

use super::error::AppendError;
use super::frame::{FrameHeader, i64_at, u32_at};
use super::parts::{self, SourcePart};

/// Batches remembered per producer: retries of older ones cannot be recognised. Both protocols'
/// clients keep at most five requests in flight.
pub(super) const BATCHES_KEPT: usize = 5;

/// One remembered batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RememberedBatch {
    /// Sequence of its first record or of the batch.
    pub first_sequence: i32,
    /// Sequence of its last record or of the batch.
    pub last_sequence: i32,
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// When it was committed, epoch milliseconds.
    pub commit_time: i64,
}

/// What is known of one producer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerEntry {
    /// Whose rules.
    pub scheme: ProducerScheme,
    /// Newest epoch.
    pub epoch: i16,
    /// Newest batches, oldest first; never empty.
    pub batches: VecDeque<RememberedBatch>,
}

impl ProducerEntry {
    /// The newest batch.
    pub fn last(&self) -> &RememberedBatch {
        self.batches
            .back()
            .expect("an entry is made with its first batch and keeps the newest")
    }
}

/// Who an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProducerKey {
    /// Kafka producer id or Fluss writer id.
    pub producer_id: i64,
    /// The partition that the client addressed.
    pub source_partition: i32,
}

impl ProducerKey {
    /// The key of a source block.
    pub fn of(source: &SourceBlock) -> ProducerKey {
        ProducerKey {
            producer_id: source.producer_id,
            source_partition: source.source_partition,
        }
    }
}

/// What the sequence of a batch means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The next in order: append it.
    Next,
    /// It is in the log already, at these offsets.
    Duplicate(RememberedBatch),
}

/// Producer state of one log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Producers {
    entries: HashMap<ProducerKey, ProducerEntry>,
}

impl Producers {
    /// Looks what the sequence of `source` means, without changing anything.
    pub fn judge(&self, source: &SourceBlock) -> Result<Verdict, AppendError> {
        let entry = self.entries.get(&ProducerKey::of(source));
        if let Some(entry) = entry
            && entry.scheme != source.scheme
        {
            return Err(AppendError::WrongScheme {
                producer_id: source.producer_id,
                scheme: entry.scheme,
            });
        }
        match (entry, source.scheme) {
            (Some(entry), _) => judge_known(entry, source),
            // It may have been expired or its records removed: its first batch is taken whatever
            // its sequence, as Kafka does.
            (None, ProducerScheme::Kafka) => Ok(Verdict::Next),
            // Fluss clients take a refusal of what is behind an acknowledged batch for one of a
            // retry. So nothing may come before what is missing.
            (None, ProducerScheme::Fluss) => in_order(source, 0),
        }
    }

    /// As [`Producers::judge`], of a part of what a Kafka producer sent, whose order was judged.
    pub fn judge_part(&self, part: &SourcePart) -> Result<Verdict, AppendError> {
        parts::judge_part(self.entry(ProducerKey::of(&part.source)), part)
    }

    /// What is known of a producer.
    pub(super) fn entry(&self, key: ProducerKey) -> Option<&ProducerEntry> {
        self.entries.get(&key)
    }

    /// Notes a frame that was appended. Returns the entry as it was, for [`Producers::restore`].
    pub fn note(&mut self, header: &FrameHeader) -> Option<(ProducerKey, Option<ProducerEntry>)> {
        let source = header.source.as_ref()?;
        let key = ProducerKey::of(source);
        let before = self.entries.get(&key).cloned();
        let batch = RememberedBatch {
            first_sequence: source.first_sequence,
            last_sequence: source.last_sequence,
            base_offset: header.base_offset,
            last_offset: header.last_offset,
            commit_time: header.commit_time,
        };
        let entry = self.entries.entry(key).or_insert_with(|| ProducerEntry {
            scheme: source.scheme,
            epoch: source.producer_epoch,
            batches: VecDeque::with_capacity(BATCHES_KEPT),
        });
        if entry.epoch != source.producer_epoch || entry.scheme != source.scheme {
            entry.epoch = source.producer_epoch;
            entry.scheme = source.scheme;
            entry.batches.clear();
        }
        if entry.batches.len() == BATCHES_KEPT {
            entry.batches.pop_front();
        }
        entry.batches.push_back(batch);
        Some((key, before))
    }

    /// Takes back a [`Producers::note`].
    pub fn restore(&mut self, key: ProducerKey, before: Option<ProducerEntry>) {
        match before {
            Some(entry) => self.entries.insert(key, entry),
            None => self.entries.remove(&key),
        };
    }

    /// Forgets producers whose newest batch is older than their scheme's expiry.
    pub fn expire(&mut self, now_ms: i64, kafka_expiry_ms: i64, fluss_expiry_ms: i64) {
        self.entries.retain(|_, entry| {
            let expiry = match entry.scheme {
                ProducerScheme::Kafka => kafka_expiry_ms,
                ProducerScheme::Fluss => fluss_expiry_ms,
            };
            now_ms.saturating_sub(entry.last().commit_time) < expiry
        });
    }

    /// All entries in the order of their keys.
    pub fn entries(&self) -> Vec<(ProducerKey, ProducerEntry)> {
        let mut all: Vec<_> = self.entries.iter().map(|(k, e)| (*k, e.clone())).collect();
        all.sort_by_key(|(key, _)| *key);
        all
    }

    /// Number of known producers.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when no producer is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Appends the state to a checkpoint: count u32, then per entry producer id i64, source
    /// partition i32, scheme u8, batches u8, epoch i16, and per batch first and last sequence i32,
    /// base and last offset i64, commit time i64.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.entries.len() as u32).to_le_bytes());
        for (key, entry) in self.entries() {
            out.extend_from_slice(&key.producer_id.to_le_bytes());
            out.extend_from_slice(&key.source_partition.to_le_bytes());
            out.extend_from_slice(&[entry.scheme.code(), entry.batches.len() as u8]);
            out.extend_from_slice(&entry.epoch.to_le_bytes());
            for batch in &entry.batches {
                out.extend_from_slice(&batch.first_sequence.to_le_bytes());
                out.extend_from_slice(&batch.last_sequence.to_le_bytes());
                out.extend_from_slice(&batch.base_offset.value().to_le_bytes());
                out.extend_from_slice(&batch.last_offset.value().to_le_bytes());
                out.extend_from_slice(&batch.commit_time.to_le_bytes());
            }
        }
    }

    /// Reads what [`Producers::encode`] wrote and returns the rest of the bytes.
    pub(super) fn decode(bytes: &[u8]) -> Option<(Producers, &[u8])> {
        const ENTRY: usize = 16;
        const BATCH: usize = 32;
        let count = u32_at(bytes.get(..4)?, 0) as usize;
        let mut rest = &bytes[4..];
        let mut entries = HashMap::new();
        for _ in 0..count {
            let head = rest.get(..ENTRY)?;
            let batch_count = usize::from(head[13]);
            let body = rest.get(ENTRY..ENTRY + batch_count * BATCH)?;
            if batch_count == 0 || batch_count > BATCHES_KEPT {
                return None;
            }
            let batches = body
                .chunks_exact(BATCH)
                .map(|b| RememberedBatch {
                    first_sequence: u32_at(b, 0) as i32,
                    last_sequence: u32_at(b, 4) as i32,
                    base_offset: Offset::new(i64_at(b, 8)),
                    last_offset: Offset::new(i64_at(b, 16)),
                    commit_time: i64_at(b, 24),
                })
                .collect();
            let key = ProducerKey {
                producer_id: i64_at(head, 0),
                source_partition: u32_at(head, 8) as i32,
            };
            let entry = ProducerEntry {
                scheme: ProducerScheme::from_code(head[12])?,
                epoch: i16::from_le_bytes([head[14], head[15]]),
                batches,
            };
            entries.insert(key, entry);
            rest = &rest[ENTRY + batch_count * BATCH..];
        }
        Some((Producers { entries }, rest))
    }
}

/// The sequence after `last`: Kafka and Fluss both go on with 0 after 2³¹−1.
fn next_sequence(last: i32) -> i32 {
    if last == i32::MAX { 0 } else { last + 1 }
}

fn duplicate(entry: &ProducerEntry, source: &SourceBlock) -> Option<Verdict> {
    entry
        .batches
        .iter()
        .find(|b| {
            b.first_sequence == source.first_sequence && b.last_sequence == source.last_sequence
        })
        .map(|b| Verdict::Duplicate(*b))
}

fn judge_known(entry: &ProducerEntry, source: &SourceBlock) -> Result<Verdict, AppendError> {
    if source.producer_epoch < entry.epoch {
        return Err(AppendError::FencedProducer {
            producer_id: source.producer_id,
            current: entry.epoch,
            found: source.producer_epoch,
        });
    }
    if source.producer_epoch > entry.epoch {
        return in_order(source, 0);
    }
    match duplicate(entry, source) {
        Some(verdict) => Ok(verdict),
        None => in_order(source, next_sequence(entry.last().last_sequence)),
    }
}

fn in_order(source: &SourceBlock, expected: i32) -> Result<Verdict, AppendError> {
    if source.first_sequence == expected {
        Ok(Verdict::Next)
    } else {
        Err(AppendError::OutOfOrderSequence {
            producer_id: source.producer_id,
            expected,
            found: source.first_sequence,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::batch::BatchFormat;
    use protocol::ids::{LeaderEpoch, SchemaId};

    fn source(scheme: ProducerScheme, epoch: i16, first: i32, last: i32) -> SourceBlock {
        SourceBlock {
            scheme,
            producer_id: 7,
            producer_epoch: epoch,
            source_partition: 0,
            first_sequence: first,
            last_sequence: last,
        }
    }

    fn frame(source: SourceBlock, base: i64, commit_time: i64) -> FrameHeader {
        FrameHeader {
            format: BatchFormat::Kafka,
            transactional: false,
            control: false,
            batch_length: 100,
            base_offset: Offset::new(base),
            last_offset: Offset::new(base),
            leader_epoch: LeaderEpoch::new(0),
            schema_id: SchemaId::new(1),
            commit_time,
            record_time_max: commit_time,
            synced_end: Offset::ZERO,
            source: Some(source),
        }
    }

    use ProducerScheme::{Fluss, Kafka};

    #[test]
    fn a_retried_batch_is_found_among_the_last_five() {
        let mut producers = Producers::default();
        for i in 0..6 {
            let s = source(Kafka, 0, i, i);
            assert_eq!(producers.judge(&s).unwrap(), Verdict::Next);
            producers.note(&frame(s, i64::from(i) + 100, 1));
        }
        let verdict = producers.judge(&source(Kafka, 0, 1, 1)).unwrap();
        assert!(matches!(verdict, Verdict::Duplicate(b) if b.base_offset == Offset::new(101)));
        let forgotten = producers.judge(&source(Kafka, 0, 0, 0));
        assert!(matches!(
            forgotten,
            Err(AppendError::OutOfOrderSequence { expected: 6, .. })
        ));
    }

    #[test]
    fn a_gap_is_out_of_order_on_both_schemes() {
        for scheme in [Kafka, Fluss] {
            let mut producers = Producers::default();
            producers.note(&frame(source(scheme, 0, 0, 0), 0, 1));
            let gap = producers.judge(&source(scheme, 0, 2, 2));
            assert!(matches!(
                gap,
                Err(AppendError::OutOfOrderSequence {
                    expected: 1,
                    found: 2,
                    ..
                })
            ));
        }
    }

    #[test]
    fn an_unknown_kafka_producer_may_begin_anywhere_a_fluss_writer_only_at_zero() {
        let producers = Producers::default();
        assert_eq!(
            producers.judge(&source(Kafka, 0, 9, 9)).unwrap(),
            Verdict::Next
        );
        assert!(producers.judge(&source(Fluss, 0, 9, 9)).is_err());
        assert_eq!(
            producers.judge(&source(Fluss, 0, 0, 0)).unwrap(),
            Verdict::Next
        );
    }

    #[test]
    fn an_older_epoch_is_fenced_and_a_newer_one_begins_at_zero() {
        for scheme in [Kafka, Fluss] {
            let mut producers = Producers::default();
            producers.note(&frame(source(scheme, 3, 0, 0), 0, 1));
            let old = producers.judge(&source(scheme, 2, 1, 1));
            assert!(matches!(
                old,
                Err(AppendError::FencedProducer {
                    current: 3,
                    found: 2,
                    ..
                })
            ));
            assert!(producers.judge(&source(scheme, 4, 1, 1)).is_err());
            // Also when the older epoch had the same sequence.
            assert_eq!(
                producers.judge(&source(scheme, 4, 0, 0)).unwrap(),
                Verdict::Next
            );
        }
    }

    #[test]
    fn an_id_of_the_other_scheme_is_refused() {
        let mut producers = Producers::default();
        producers.note(&frame(source(Kafka, 0, 0, 0), 0, 1));
        let other = producers.judge(&source(Fluss, 0, 1, 1));
        assert!(matches!(
            other,
            Err(AppendError::WrongScheme { scheme: Kafka, .. })
        ));
    }

    #[test]
    fn sequences_go_on_with_zero_after_the_largest() {
        let mut producers = Producers::default();
        producers.note(&frame(source(Fluss, 0, i32::MAX, i32::MAX), 0, 1));
        assert_eq!(
            producers.judge(&source(Fluss, 0, 0, 0)).unwrap(),
            Verdict::Next
        );
    }

    #[test]
    fn a_note_can_be_taken_back() {
        let mut producers = Producers::default();
        producers.note(&frame(source(Kafka, 0, 0, 0), 0, 1));
        let before = producers.clone();
        let (key, entry) = producers
            .note(&frame(source(Kafka, 0, 1, 1), 1, 1))
            .unwrap();
        assert_ne!(producers, before);
        producers.restore(key, entry);
        assert_eq!(producers, before);
    }

    #[test]
    fn each_scheme_has_its_own_expiry() {
        let mut producers = Producers::default();
        producers.note(&frame(source(Kafka, 0, 0, 0), 0, 1000));
        let mut other = source(Fluss, 0, 0, 0);
        other.producer_id = 8;
        producers.note(&frame(other, 1, 1000));
        producers.expire(1500, 400, 600);
        assert_eq!(producers.len(), 1);
        assert_eq!(producers.entries()[0].0.producer_id, 8);
    }

    #[test]
    fn the_state_survives_the_round_trip_and_every_cut_is_noticed() {
        let mut producers = Producers::default();
        for i in 0..7 {
            let mut s = source(Kafka, 1, i, i);
            s.producer_id = i64::from(i % 3);
            producers.note(&frame(s, i64::from(i), 5));
        }
        let mut bytes = Vec::new();
        producers.encode(&mut bytes);
        let (read, rest) = Producers::decode(&bytes).unwrap();
        assert_eq!(read, producers);
        assert!(rest.is_empty());
        for cut in 0..bytes.len() {
            assert!(Producers::decode(&bytes[..cut]).is_none());
        }
    }
}
