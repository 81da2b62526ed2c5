//! The question that the cleaner asks of whoever knows a log by key: which offset of this key is the
//! newest?

use protocol::ids::Offset;

/// Knows the newest offset of every key of one log: as a rule a map that a pass over the log has
/// built ([`super::OffsetMap`]).
///
/// A record at `o` is superseded when [`Successors::newest`] gives an offset above `o` for its key.
/// With keys `a@3 b@4 a@7` the answer for `a` is 7, and `a@3` may go; the answer 3 would keep both.
///
/// *Invariant*: answers never decrease, but for [`Successors::forget`]. A key that is not known has
/// no answer, and its records stay.
pub trait Successors: Send + Sync {
    /// Offset below which every record is in the answers, and will not be asked of the log again:
    /// not after a crash, and not by whoever starts from a snapshot. The cleaner judges nothing at
    /// or above it. An index in memory that is rebuilt from the whole log may name its applied
    /// offset; one that was flushed up to somewhere names that, because a tombstone that it had
    /// applied and not flushed would be gone from the log when it comes back. Who loses what this
    /// was said of ends the round before reading the log again ([`Log::end_round`]).
    ///
    /// [`Log::end_round`]: crate::log::Log::end_round
    fn known_end(&self) -> Result<Offset, SuccessorsError>;

    /// Clears `found` and pushes for each key the offset of its newest record, a tombstone
    /// included; `None` when the key is not known. May wait for the disk. The cleaner asks for some
    /// thousands of keys at once, each of them possibly more than once.
    fn newest(
        &self,
        keys: &[&[u8]],
        found: &mut Vec<Option<Offset>>,
    ) -> Result<(), SuccessorsError>;

    /// Whether nobody will look for this tombstone in the log any more: who follows the log by key
    /// has it, also after a crash. Until then it stays. Asked of tombstones whose time is over. May
    /// wait for the disk.
    fn has_noted(&self, _tombstone: Offset) -> Result<bool, SuccessorsError> {
        Ok(true)
    }

    /// Whether [`Successors::forget`] does something. Tombstones whose keys nobody has to forget go
    /// in any number; of others a bounded number goes in one round.
    fn remembers_tombstones(&self) -> bool {
        true
    }

    /// The tombstones at these offsets are gone from the log, durably, and nothing older of their
    /// keys is left. Entries whose newest offset still is the given one are to be dropped; others
    /// stay. To lose this in a crash is harmless: the key then has a tombstone without a record.
    fn forget(&self, gone: &[(&[u8], Offset)]) -> Result<(), SuccessorsError>;
}

/// Why the question has no answer now. The round ends, and a later one asks again.
#[derive(Debug, thiserror::Error)]
#[error("the newest offsets are not known: {0}")]
pub struct SuccessorsError(#[source] pub Box<dyn std::error::Error + Send + Sync>);
