//! One round over one log.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use protocol::ids::Offset;

use super::format::{RecordFormat, UnreadableBatch};
use super::rewrite::Cleaning;
use super::successors::{Successors, SuccessorsError};
use crate::log::error::{LogError, OfflineCause};
use crate::log::log::Log;
use crate::log::segment::{CLEANED_SPAN_MAX, HEADER_LENGTH, Segment};

/// What a round needs.
pub struct Round<'a> {
    /// Nothing at or above it is touched ([`super::Backlog::first_uncleanable`]).
    pub end: Offset,
    /// How long tombstones stay after the first round that saw them, milliseconds.
    pub delete_retention_ms: i64,
    /// Who knows the newest offset of each key.
    pub successors: &'a dyn Successors,
    /// Who reads and writes the batches.
    pub format: &'a mut dyn RecordFormat,
    /// Called with the bytes that were read or written; may wait, to bound their rate. The round
    /// ends where it stands when the answer is false.
    pub pace: &'a mut dyn FnMut(u64) -> bool,
}

/// What a round did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Offset below which everything has been through a round now.
    pub end: Offset,
    /// False when the round was told to stop, or a segment went away under it.
    pub complete: bool,
    /// Segments that were walked, and their bytes.
    pub segments_read: usize,
    /// Bytes of them.
    pub bytes_read: u64,
    /// Segments that took their place, those that had not to change included.
    pub segments_left: usize,
    /// Bytes of them.
    pub bytes_left: u64,
    /// Bytes that were written.
    pub bytes_written: u64,
    /// Records that were judged.
    pub records_read: u64,
    /// Records that stayed.
    pub records_left: u64,
    /// Tombstones among those that went because their time was over.
    pub tombstones_removed: u64,
}

/// Why a round ended early. What it put in place before stays; of a log that goes as a whole
/// ([`RecordFormat::goes_as_a_whole`]) that is nothing.
#[derive(Debug, thiserror::Error)]
pub enum CleanError {
    /// A batch cannot be read: the log is not cleaned until somebody looks at it.
    #[error("{} at byte {position}, offset {offset}: {what}", path.display())]
    Unreadable {
        /// The segment.
        path: std::path::PathBuf,
        /// Where the frame begins.
        position: u64,
        /// Its offset.
        offset: Offset,
        /// Why.
        #[source]
        what: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The newest offsets are not known now.
    #[error(transparent)]
    Successors(#[from] SuccessorsError),
    /// The disk refused something; a later round may do.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl CleanError {
    pub(super) fn unreadable(
        segment: &Segment,
        position: u64,
        offset: Offset,
    ) -> impl FnOnce(UnreadableBatch) -> CleanError {
        let path = segment.path().to_path_buf();
        move |error| CleanError::Unreadable {
            path,
            position,
            offset,
            what: error.0,
        }
    }

    /// True when trying again does not help.
    pub fn is_lasting(&self) -> bool {
        matches!(self, CleanError::Unreadable { .. })
    }
}

impl From<OfflineCause> for CleanError {
    fn from(cause: OfflineCause) -> Self {
        CleanError::Log(LogError::Offline(cause))
    }
}

impl Log {
    /// Cleans closed segments from the log's start up to the end of the round. Waits for the disk.
    /// Reads and appends go on; another round of this log waits.
    pub fn clean(&self, round: Round<'_>) -> Result<Cleaned, CleanError> {
        let _one = self.cleaning.lock();
        if let Some(cause) = self.offline_cause() {
            return Err(cause.into());
        }
        if self.round_shall_end() {
            return Ok(Cleaned {
                end: self.clean_state.lock().first_dirty(&self.place)?,
                ..Cleaned::default()
            });
        }
        let segments = self.segments();
        // Recovery begins at the checkpoint, so it has to lie behind what is replaced.
        self.checkpoint()?;
        let known_end = round.successors.known_end()?;
        let limit = round.end.min(self.clean_limit());
        let chosen: Vec<Arc<Segment>> = segments
            .windows(2)
            .take_while(|pair| pair[1].base() <= limit && pair[0].base() < known_end)
            // More offsets than the header of a cleaned segment can say: none has so many.
            .take_while(|pair| pair[1].base() - pair[0].base() <= CLEANED_SPAN_MAX)
            .map(|pair| Arc::clone(&pair[0]))
            .collect();
        let end = segments[chosen.len()].base().min(known_end);
        let mut cleaning = Cleaning::new(self, round, end, last_frame_end(&chosen)?);
        let ends = segments[1..].iter().map(|next| next.base());
        let groups = groups(&chosen, ends, self.config().segment_bytes_max);
        let mut done = cleaning.run(&groups)?;
        let mut state = self.clean_state.lock();
        done.end = state.first_dirty(&self.place)?;
        if done.complete && !chosen.is_empty() {
            state.cleaned_to(&self.place, end)?;
            done.end = end;
        }
        Ok(done)
    }

    /// Has the round that is under way end, and waits until it has. For who is about to read what
    /// the round was told nobody would read any more, as an index that was lost: what it has read
    /// already does not go together with what a swap leaves. A round that begins later asks anew.
    ///
    /// Whoever answers a round's questions must not wait here; see [`Log::no_round`].
    pub fn end_round(&self) {
        self.waiting_for_round.fetch_add(1, Ordering::SeqCst);
        drop(self.cleaning.lock());
        self.waiting_for_round.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether no round is under way. Does not wait.
    pub fn no_round(&self) -> bool {
        self.cleaning.try_lock().is_some()
    }

    pub(crate) fn round_shall_end(&self) -> bool {
        self.waiting_for_round.load(Ordering::SeqCst) > 0
    }
}

/// The last offset of the range that has a frame, plus one. That frame stays, empty if need be:
/// who reads on from there must find something as long as nothing follows.
fn last_frame_end(chosen: &[Arc<Segment>]) -> Result<Offset, LogError> {
    let mut end = Offset::ZERO;
    for segment in chosen {
        end = end.max(segment.summary()?.end_offset);
    }
    Ok(end)
}

/// Neighbours that become one segment.
pub(super) struct Group {
    pub(super) segments: Vec<Arc<Segment>>,
    /// Offset up to which they stand for the log.
    pub(super) end: Offset,
}

fn groups(
    chosen: &[Arc<Segment>],
    ends: impl Iterator<Item = Offset>,
    segment_bytes_max: u64,
) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut length = 0;
    for (segment, end) in chosen.iter().zip(ends) {
        let fits = groups.last().is_some_and(|group| {
            length + segment.length() - HEADER_LENGTH <= segment_bytes_max
                && end - group.segments[0].base() <= CLEANED_SPAN_MAX
        });
        match groups.last_mut().filter(|_| fits) {
            Some(group) => {
                length += segment.length() - HEADER_LENGTH;
                group.segments.push(Arc::clone(segment));
                group.end = end;
            }
            None => {
                length = segment.length();
                groups.push(Group {
                    segments: vec![Arc::clone(segment)],
                    end,
                });
            }
        }
    }
    groups
}
