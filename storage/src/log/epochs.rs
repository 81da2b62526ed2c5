//! Leader-epoch history of one log: which epoch began at which offset (KIP-101, KIP-320). It tells
//! a client whose epoch is older where its view of the log ends.

use protocol::ids::{LeaderEpoch, Offset};

use super::frame::{i64_at, u32_at};

/// Epochs with the offset of their first record, both strictly ascending.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EpochHistory {
    starts: Vec<(LeaderEpoch, Offset)>,
}

impl EpochHistory {
    /// Notes that a batch of `epoch` begins at `offset`. Older epochs do not come back.
    pub fn note(&mut self, epoch: LeaderEpoch, offset: Offset) {
        if self.starts.last().is_none_or(|(last, _)| *last < epoch) {
            self.starts.push((epoch, offset));
        }
    }

    /// The newest epoch that wrote.
    pub fn last(&self) -> Option<LeaderEpoch> {
        self.starts.last().map(|(epoch, _)| *epoch)
    }

    /// The largest epoch not above `epoch`, and the offset where it ended: the start of the next
    /// one, or `log_end`. `None` when every known epoch is above.
    ///
    /// With starts `[(1, 0), (4, 100)]` and a log end of 150, asking for 1, 2 or 3 gives
    /// `(1, 100)`, asking for 4 or more gives `(4, 150)`.
    pub fn end_of(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<(LeaderEpoch, Offset)> {
        let after = self.starts.partition_point(|(e, _)| *e <= epoch);
        let (found, _) = self.starts.get(after.checked_sub(1)?)?;
        let end = self.starts.get(after).map_or(log_end, |(_, start)| *start);
        Some((*found, end))
    }

    /// The epoch of the record at `offset`.
    pub fn at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.starts.partition_point(|(_, start)| *start <= offset);
        after.checked_sub(1).map(|i| self.starts[i].0)
    }

    /// Forgets what lies at or above `end`: the log was cut there.
    pub fn cut_at(&mut self, end: Offset) {
        self.starts.retain(|(_, start)| *start < end);
    }

    /// Forgets epochs that ended at or below `log_start`; the one it lies in begins there.
    pub fn start_at(&mut self, log_start: Offset) {
        let after = self
            .starts
            .partition_point(|(_, start)| *start <= log_start);
        if after > 0 {
            self.starts.drain(..after - 1);
            self.starts[0].1 = log_start;
        }
    }

    /// Appends the history to a checkpoint: count u32, then epoch i32 and offset i64 each.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.starts.len() as u32).to_le_bytes());
        for (epoch, start) in &self.starts {
            out.extend_from_slice(&epoch.value().to_le_bytes());
            out.extend_from_slice(&start.value().to_le_bytes());
        }
    }

    /// Reads what [`EpochHistory::encode`] wrote and returns the rest of the bytes.
    pub(super) fn decode(bytes: &[u8]) -> Option<(EpochHistory, &[u8])> {
        let count = u32_at(bytes.get(..4)?, 0) as usize;
        let end = count.checked_mul(12)?.checked_add(4)?;
        let starts = bytes
            .get(4..end)?
            .chunks_exact(12)
            .map(|e| {
                (
                    LeaderEpoch::new(u32_at(e, 0) as i32),
                    Offset::new(i64_at(e, 4)),
                )
            })
            .collect();
        Some((EpochHistory { starts }, &bytes[end..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> EpochHistory {
        let mut history = EpochHistory::default();
        history.note(LeaderEpoch::new(1), Offset::new(0));
        history.note(LeaderEpoch::new(1), Offset::new(50));
        history.note(LeaderEpoch::new(4), Offset::new(100));
        history
    }

    fn end_of(history: &EpochHistory, epoch: i32) -> Option<(i32, i64)> {
        history
            .end_of(LeaderEpoch::new(epoch), Offset::new(150))
            .map(|(e, o)| (e.value(), o.value()))
    }

    #[test]
    fn an_epoch_ends_where_the_next_one_begins() {
        let history = history();
        assert_eq!(end_of(&history, 0), None);
        assert_eq!(end_of(&history, 1), Some((1, 100)));
        assert_eq!(end_of(&history, 3), Some((1, 100)));
        assert_eq!(end_of(&history, 4), Some((4, 150)));
        assert_eq!(end_of(&history, 9), Some((4, 150)));
        assert_eq!(history.at(Offset::new(99)), Some(LeaderEpoch::new(1)));
        assert_eq!(history.at(Offset::new(100)), Some(LeaderEpoch::new(4)));
    }

    #[test]
    fn cutting_and_moving_the_start_keep_the_rest() {
        let mut history = history();
        history.start_at(Offset::new(120));
        assert_eq!(history.at(Offset::new(120)), Some(LeaderEpoch::new(4)));
        assert_eq!(end_of(&history, 3), None);
        let mut history = self::history();
        history.cut_at(Offset::new(100));
        assert_eq!(end_of(&history, 9), Some((1, 150)));
    }

    #[test]
    fn the_history_survives_the_round_trip() {
        let mut bytes = Vec::new();
        history().encode(&mut bytes);
        bytes.push(9);
        assert_eq!(EpochHistory::decode(&bytes), Some((history(), &[9u8][..])));
        assert_eq!(EpochHistory::decode(&bytes[..10]), None);
    }
}
