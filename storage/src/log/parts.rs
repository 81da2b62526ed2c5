//! Parts of what a Kafka producer sent: its records are spread over several logs, so the sequences
//! of each log have gaps by nature.
//!
//! Whether a producer's batches come in order is judged where they are split, once. A log is told
//! the sequences of each part with the part, and knows from them which parts it has: when a batch
//! came into some of the logs only, the producer's retry completes it.
//!
//! Sequences go on with 0 after 2³¹−1, so of two of them alone nobody can tell which is older. A
//! part says which sequence is the newest that any of the logs may have; ages are counted back
//! from there.

use protocol::batch::{ProducerScheme, SourceBlock, UnassignedBatch};

use super::error::AppendError;
use super::producers::{ProducerEntry, Verdict};

/// Where a part comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourcePart {
    /// The producer, the partition that it addressed, and the sequences of the part's first and
    /// last record.
    pub source: SourceBlock,
    /// The newest sequence of the same producer, epoch and partition that any log may have, this
    /// part's batch included.
    pub newest: i32,
}

/// True for a batch that holds a part: changelogs are Fluss batches, and what Kafka producers send
/// whole is not.
pub(super) fn is_part(batch: &UnassignedBatch) -> bool {
    let source = batch.source.as_ref();
    batch.format.is_fluss() && source.is_some_and(|s| s.scheme == ProducerScheme::Kafka)
}

/// What a log that knows `entry` of the producer does with a part.
pub(super) fn judge_part(
    entry: Option<&ProducerEntry>,
    part: &SourcePart,
) -> Result<Verdict, AppendError> {
    admit_part(entry, &part.source)?;
    let entry = entry.filter(|entry| entry.epoch == part.source.producer_epoch);
    let Some(last) = entry.map(ProducerEntry::last) else {
        return Ok(Verdict::Next);
    };
    let age = |sequence| steps(sequence, part.newest);
    Ok(
        match age(part.source.last_sequence) < age(last.last_sequence) {
            true => Verdict::Next,
            false => Verdict::Duplicate(*last),
        },
    )
}

/// Refuses what no order makes right: a producer that a newer one has replaced, or an id of the
/// other wire.
pub(super) fn admit_part(
    entry: Option<&ProducerEntry>,
    source: &SourceBlock,
) -> Result<(), AppendError> {
    let Some(entry) = entry else {
        return Ok(());
    };
    if entry.scheme != source.scheme {
        return Err(AppendError::WrongScheme {
            producer_id: source.producer_id,
            scheme: entry.scheme,
        });
    }
    if source.producer_epoch < entry.epoch {
        return Err(AppendError::FencedProducer {
            producer_id: source.producer_id,
            current: entry.epoch,
            found: source.producer_epoch,
        });
    }
    Ok(())
}

/// How many sequences `to` comes after `from`, which are counted from 0 to 2³¹−1 and again.
pub fn steps(from: i32, to: i32) -> i32 {
    to.wrapping_sub(from) & i32::MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::RememberedBatch;
    use protocol::ids::Offset;

    fn source(epoch: i16, first: i32, last: i32) -> SourceBlock {
        SourceBlock {
            scheme: ProducerScheme::Kafka,
            producer_id: 7,
            producer_epoch: epoch,
            source_partition: 3,
            first_sequence: first,
            last_sequence: last,
        }
    }

    fn part(first: i32, last: i32, newest: i32) -> SourcePart {
        SourcePart {
            source: source(2, first, last),
            newest,
        }
    }

    fn entry(last: i32) -> ProducerEntry {
        ProducerEntry {
            scheme: ProducerScheme::Kafka,
            epoch: 2,
            batches: [RememberedBatch {
                first_sequence: last,
                last_sequence: last,
                base_offset: Offset::new(40),
                last_offset: Offset::new(41),
                commit_time: 0,
            }]
            .into(),
        }
    }

    fn is_new(known: i32, part: &SourcePart) -> bool {
        matches!(judge_part(Some(&entry(known)), part), Ok(Verdict::Next))
    }

    #[test]
    fn a_part_that_is_not_above_the_logs_own_is_a_duplicate() {
        assert!(is_new(9, &part(12, 17, 19)));
        assert!(is_new(11, &part(12, 17, 19)));
        assert!(!is_new(17, &part(12, 17, 19)));
        // A retry of an older batch, after newer ones.
        assert!(!is_new(30, &part(12, 17, 35)));
        assert!(is_new(9, &part(12, 17, 35)));
        // Sequences begin again.
        assert!(is_new(i32::MAX, &part(0, 3, 3)));
        assert!(is_new(i32::MAX - 5, &part(i32::MAX - 1, 2, 2)));
        assert!(!is_new(2, &part(i32::MAX - 1, i32::MAX, 5)));
        // A log that had nothing of the producer for most of a round.
        assert!(is_new(
            1_000_000,
            &part(2_000_000_000, 2_000_000_001, 2_000_000_001)
        ));
    }

    #[test]
    fn a_log_that_does_not_know_the_epoch_takes_any_sequence() {
        let first = judge_part(None, &part(12, 17, 17));
        assert_eq!(first.ok(), Some(Verdict::Next));
        let newer = SourcePart {
            source: source(3, 0, 4),
            newest: 4,
        };
        let first = judge_part(Some(&entry(90)), &newer);
        assert_eq!(first.ok(), Some(Verdict::Next));
    }

    #[test]
    fn replaced_producers_and_ids_of_the_other_wire_are_refused() {
        let older = source(1, 0, 4);
        let fenced = admit_part(Some(&entry(9)), &older);
        assert!(matches!(
            fenced,
            Err(AppendError::FencedProducer {
                current: 2,
                found: 1,
                ..
            })
        ));
        let fluss = ProducerEntry {
            scheme: ProducerScheme::Fluss,
            ..entry(9)
        };
        let wrong = admit_part(Some(&fluss), &source(2, 0, 4));
        assert!(matches!(wrong, Err(AppendError::WrongScheme { .. })));
    }

    #[test]
    fn steps_go_over_the_end() {
        assert_eq!(steps(3, 5), 2);
        assert_eq!(steps(5, 5), 0);
        assert_eq!(steps(i32::MAX, 0), 1);
        assert_eq!(steps(i32::MAX - 1, 4), 6);
    }
}
