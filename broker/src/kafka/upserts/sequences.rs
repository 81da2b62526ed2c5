//! Whether the batches of one producer, for one partition that it addressed, come in order.
//!
//! A batch is judged once, before its parts go into the buckets. What is known is what all buckets
//! took; after a start, or long silence, it is what the buckets' logs have: the newest sequence of
//! any of them. Some of them may lack parts of the batches up to there, so these are taken again,
//! and each bucket keeps what it does not have yet. Plain functions: `line.rs` does the rest.

use std::collections::VecDeque;

use storage::log::{AppendError, ProducerEntry, steps};

/// Batches remembered: clients keep at most five requests in flight.
const BATCHES_KEPT: usize = 5;

/// Sequences further apart than this are the other way round: they go on with 0 after 2³¹−1.
const HALF: i32 = 1 << 30;

/// The sequences of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// Who.
    pub producer_id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// Of the first record.
    pub first: i32,
    /// Of the last record.
    pub last: i32,
}

/// A log is ahead of another by what a producer has in flight, which is far less.
const AHEAD_MAX: i32 = 1 << 28;

/// What is known of the producer. By default nothing: its first batch is taken with any sequence,
/// as Kafka does, which may have forgotten it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sequences {
    epoch: Option<i16>,
    /// The sequence that has to come next.
    next: Option<i32>,
    /// Newest batches that all buckets took, oldest first.
    taken: VecDeque<(i32, i32)>,
    /// The newest sequence that the logs had when they were asked. Up to there a batch may be in
    /// some buckets only.
    recalled: Option<i32>,
    /// The newest sequence that any bucket may have.
    newest: Option<i32>,
}

impl Sequences {
    /// What the logs of the buckets know.
    pub fn recalled(entries: impl IntoIterator<Item = ProducerEntry>) -> Sequences {
        let entries: Vec<_> = entries.into_iter().collect();
        let Some(epoch) = entries.iter().map(|entry| entry.epoch).max() else {
            return Sequences::default();
        };
        let of_epoch = entries.iter().filter(|entry| entry.epoch == epoch);
        // The log that was written to last is near the newest sequence: it may have got a part that
        // it lacked while another log was ahead. Logs that had nothing for long are behind.
        let near = of_epoch
            .clone()
            .max_by_key(|entry| entry.last().commit_time);
        let near = near.map_or(0, |entry| entry.last().last_sequence);
        let ahead = of_epoch.map(|entry| steps(near, entry.last().last_sequence));
        let ahead = ahead.filter(|ahead| *ahead < AHEAD_MAX).max().unwrap_or(0);
        let last = near.wrapping_add(ahead) & i32::MAX;
        Sequences {
            epoch: Some(epoch),
            next: Some(after(last)),
            taken: VecDeque::new(),
            recalled: Some(last),
            newest: Some(last),
        }
    }

    /// Judges a batch. Gives the newest sequence that any bucket may have when its parts come.
    ///
    /// # Errors
    /// It does not come in order, or its producer was replaced.
    pub fn judge(&self, batch: &Batch) -> Result<i32, AppendError> {
        let out_of_order = |expected| AppendError::OutOfOrderSequence {
            producer_id: batch.producer_id,
            expected,
            found: batch.first,
        };
        match self.epoch {
            None => return Ok(batch.last),
            Some(current) if batch.epoch < current => {
                return Err(AppendError::FencedProducer {
                    producer_id: batch.producer_id,
                    current,
                    found: batch.epoch,
                });
            }
            Some(current) if batch.epoch > current => {
                return match batch.first {
                    0 => Ok(batch.last),
                    _ => Err(out_of_order(0)),
                };
            }
            Some(_) => {}
        }
        let is_recalled = self
            .recalled
            .is_some_and(|recalled| steps(batch.first, recalled) < HALF);
        let is_known = is_recalled || self.taken.contains(&(batch.first, batch.last));
        match self.next {
            Some(next) if batch.first != next && !is_known => Err(out_of_order(next)),
            _ => Ok(self
                .newest
                .map_or(batch.last, |newest| later(newest, batch.last))),
        }
    }

    /// The parts of a judged batch were put: all buckets have theirs, or some may.
    pub fn put(&mut self, batch: &Batch, all: bool) {
        if self.epoch != Some(batch.epoch) {
            *self = Sequences {
                epoch: Some(batch.epoch),
                next: Some(batch.first),
                ..Sequences::default()
            };
        }
        let newest = self.newest.map_or(batch.last, |n| later(n, batch.last));
        self.newest = Some(newest);
        let range = (batch.first, batch.last);
        if self.taken.contains(&range) {
            return;
        }
        if !all {
            // What follows it may be in the logs too, but must not come before it into the others.
            self.next = Some(batch.first);
            self.recalled = self.recalled.map(|_| before(batch.first));
            return;
        }
        if self.next == Some(batch.first) {
            // The producer is done with what was before.
            self.recalled = None;
        }
        let next = after(batch.last);
        self.next = Some(self.next.map_or(next, |before| later(before, next)));
        if self.taken.len() == BATCHES_KEPT {
            self.taken.pop_front();
        }
        self.taken.push_back(range);
    }
}

/// The sequence behind another.
fn after(sequence: i32) -> i32 {
    sequence.wrapping_add(1) & i32::MAX
}

/// The sequence before another.
fn before(sequence: i32) -> i32 {
    sequence.wrapping_sub(1) & i32::MAX
}

/// The later of two sequences that are not far apart.
fn later(a: i32, b: i32) -> i32 {
    if steps(a, b) < HALF { b } else { a }
}

#[cfg(test)]
mod tests {
    use protocol::batch::ProducerScheme;
    use protocol::ids::Offset;
    use storage::log::RememberedBatch;

    use super::*;

    fn batch(epoch: i16, first: i32, last: i32) -> Batch {
        Batch {
            producer_id: 7,
            epoch,
            first,
            last,
        }
    }

    fn entry(epoch: i16, last: i32, commit_time: i64) -> ProducerEntry {
        ProducerEntry {
            scheme: ProducerScheme::Kafka,
            epoch,
            batches: [RememberedBatch {
                first_sequence: last,
                last_sequence: last,
                base_offset: Offset::ZERO,
                last_offset: Offset::ZERO,
                commit_time,
            }]
            .into(),
        }
    }

    /// The expected sequence, where a batch is refused.
    fn expected(known: &Sequences, batch: Batch) -> Option<i32> {
        match known.judge(&batch) {
            Ok(_) => None,
            Err(AppendError::OutOfOrderSequence { expected, .. }) => Some(expected),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn batches_follow_each_other_and_may_be_repeated() {
        let mut known = Sequences::default();
        for first in [40, 50, 60, 70, 80, 90] {
            let batch = batch(1, first, first + 9);
            assert_eq!(known.judge(&batch).ok(), Some(first + 9));
            known.put(&batch, true);
        }
        assert_eq!(expected(&known, batch(1, 100, 100)), None);
        assert_eq!(expected(&known, batch(1, 101, 101)), Some(100));
        assert_eq!(known.judge(&batch(1, 50, 59)).ok(), Some(99));
        // Too old, and not one that was.
        assert_eq!(expected(&known, batch(1, 40, 49)), Some(100));
        assert_eq!(expected(&known, batch(1, 60, 65)), Some(100));
        // A repetition takes nothing back.
        known.put(&batch(1, 50, 59), true);
        assert_eq!(expected(&known, batch(1, 100, 100)), None);
    }

    #[test]
    fn what_some_buckets_lack_has_to_come_again_before_anything_else() {
        let mut known = Sequences::default();
        known.put(&batch(0, 0, 9), true);
        known.put(&batch(0, 10, 19), false);
        assert_eq!(expected(&known, batch(0, 20, 29)), Some(10));
        assert_eq!(known.judge(&batch(0, 10, 19)).ok(), Some(19));
        // An older one meets buckets that may be ahead.
        assert_eq!(known.judge(&batch(0, 0, 9)).ok(), Some(19));
        known.put(&batch(0, 10, 19), true);
        assert_eq!(expected(&known, batch(0, 20, 29)), None);
    }

    #[test]
    fn a_new_epoch_begins_with_0_and_fences_the_old_one() {
        let mut known = Sequences::default();
        known.put(&batch(1, 0, 9), true);
        assert_eq!(expected(&known, batch(2, 10, 11)), Some(0));
        assert_eq!(known.judge(&batch(2, 0, 4)).ok(), Some(4));
        known.put(&batch(2, 0, 4), false);
        assert_eq!(expected(&known, batch(2, 5, 5)), Some(0));
        let fenced = known.judge(&batch(1, 10, 10));
        assert!(matches!(
            fenced,
            Err(AppendError::FencedProducer {
                current: 2,
                found: 1,
                ..
            })
        ));
    }

    #[test]
    fn after_a_start_the_newest_sequence_of_all_logs_counts() {
        let known = Sequences::recalled([entry(1, 500, 9), entry(2, 13, 5), entry(2, 7, 4)]);
        assert_eq!(expected(&known, batch(2, 14, 20)), None);
        assert_eq!(expected(&known, batch(2, 15, 20)), Some(14));
        // Half of this batch is there, and the one before may be.
        assert_eq!(known.judge(&batch(2, 10, 19)).ok(), Some(19));
        assert_eq!(known.judge(&batch(2, 0, 9)).ok(), Some(13));
        let mut done = known.clone();
        done.put(&batch(2, 10, 19), true);
        assert_eq!(expected(&done, batch(2, 20, 20)), None);
        assert_eq!(expected(&done, batch(2, 14, 20)), Some(20));
        done.put(&batch(2, 20, 20), true);
        assert_eq!(expected(&done, batch(2, 0, 9)), Some(21));
        assert_eq!(Sequences::recalled([]), Sequences::default());
        // A log got an older part after another had the newer one; a third one is far behind.
        let known = Sequences::recalled([entry(2, 90, 5), entry(2, 80, 9), entry(2, 1 << 30, 1)]);
        assert_eq!(known.judge(&batch(2, 71, 80)).ok(), Some(90));
        assert_eq!(expected(&known, batch(2, 92, 92)), Some(91));
    }

    #[test]
    fn what_may_be_there_does_not_overtake_what_is_not() {
        let mut known = Sequences::recalled([entry(0, 39, 5)]);
        let (first, second) = (batch(0, 10, 19), batch(0, 20, 29));
        known.put(&first, true);
        known.put(&second, false);
        assert_eq!(expected(&known, batch(0, 30, 39)), Some(20));
        assert_eq!(expected(&known, batch(0, 40, 49)), Some(20));
        // A repetition changes nothing, also when a part of it was refused.
        known.put(&first, false);
        assert_eq!(known.judge(&second).ok(), Some(39));
        known.put(&second, true);
        assert_eq!(known.judge(&batch(0, 30, 39)).ok(), Some(39));
        assert_eq!(expected(&known, batch(0, 40, 49)), Some(30));
    }

    #[test]
    fn sequences_go_on_with_0() {
        let known = Sequences::recalled([entry(0, i32::MAX - 2, 5), entry(0, 1, 5)]);
        assert_eq!(expected(&known, batch(0, 2, 3)), None);
        let mut known = Sequences::recalled([entry(0, i32::MAX, 5)]);
        assert_eq!(known.judge(&batch(0, 0, 3)).ok(), Some(3));
        known.put(&batch(0, 0, 3), true);
        assert_eq!(expected(&known, batch(0, 4, 4)), None);
        let over = batch(0, i32::MAX - 1, 2);
        let mut known = Sequences::recalled([entry(0, i32::MAX - 2, 5)]);
        assert_eq!(known.judge(&over).ok(), Some(2));
        known.put(&over, true);
        assert_eq!(expected(&known, batch(0, 3, 3)), None);
    }
}
