//! Logs whose files are gone: told at every start, until someone says that the loss is accepted.

use std::path::PathBuf;

use protocol::ids::Offset;

use super::files::fresh_header;
use super::{Recovered, Recovery};
use crate::log::checkpoint;
use crate::log::epochs::EpochHistory;
use crate::log::error::{LogError, OfflineCause};
use crate::log::index::SparseIndex;
use crate::log::producers::Producers;
use crate::log::segment::{HEADER_LENGTH, SegmentPlace};

/// An empty file of this name in a log's directory says that what is missing shall not be waited
/// for: the log goes on with what is there.
pub(in crate::log) const ACCEPT_LOSS: &str = "accept-loss";

/// What an offline log says of its missing files.
const ALL_MISSING: &str = "all segment files are missing; docs/durability.md says how to go on";
const FIRST_MISSING: &str =
    "segment files are missing at the beginning; docs/durability.md says how to go on";

impl Recovery<'_> {
    /// No segment is there: a new log, or one whose files were lost. Nothing is written in the
    /// latter case, so that the next start says the same.
    pub(super) fn begin_or_report_loss(self) -> Result<Recovered, LogError> {
        let accepted = self.loss_is_accepted()?;
        let checkpoint = self.checkpoint.as_ref();
        let base = checkpoint.map_or(Offset::ZERO, |c| c.synced_end);
        let lost = match checkpoint {
            Some(c) => c.synced_end > c.log_start,
            // One that does not hold says at least that there was a log.
            None => self.exists(checkpoint::path(&self.place.directory))?,
        };
        let offline = (lost && !accepted).then(|| OfflineCause::Corrupt {
            path: self.place.directory.clone(),
            position: 0,
            offset: checkpoint.map_or(Offset::ZERO, |c| c.log_start),
            what: ALL_MISSING,
        });
        let header = fresh_header(self.context, self.tablet, base);
        let segment = if offline.is_some() {
            let index = SparseIndex::new(base, HEADER_LENGTH);
            self.place.active(header, index, 0)
        } else {
            self.create_durably(header)?
        };
        let (producers, epochs) = match self.checkpoint {
            Some(c) => (c.producers, c.epochs),
            None => (Producers::default(), EpochHistory::default()),
        };
        Ok(Recovered {
            segments: vec![segment],
            log_start: base,
            log_end: base,
            synced_end: base,
            producers,
            epochs,
            offline,
            unsettled: Vec::new(),
            tail_was_cut: false,
            bytes_behind: 0,
            loss_accepted: accepted,
        })
    }

    /// The log began above its start as the checkpoint knows it: its first segments are gone.
    pub(super) fn missing_beginning(&self) -> Result<Option<OfflineCause>, LogError> {
        let first = self.found[0].base;
        let start = self.checkpoint.as_ref().map(|c| c.log_start);
        let Some(offset) = start.filter(|start| first > *start) else {
            return Ok(None);
        };
        Ok((!self.loss_is_accepted()?).then(|| OfflineCause::Corrupt {
            path: self.place.directory.clone(),
            position: 0,
            offset,
            what: FIRST_MISSING,
        }))
    }

    pub(super) fn loss_is_accepted(&self) -> Result<bool, LogError> {
        self.exists(self.place.directory.join(ACCEPT_LOSS))
    }

    fn exists(&self, path: PathBuf) -> Result<bool, LogError> {
        self.place
            .disk
            .exists(&path)
            .map_err(LogError::io("cannot look for", &path))
    }
}

/// The loss is on record: what accepted it counts no more.
pub(in crate::log) fn forget_acceptance(place: &SegmentPlace) -> Result<(), LogError> {
    let path = place.directory.join(ACCEPT_LOSS);
    place
        .disk
        .remove_file(&path)
        .map_err(LogError::io("cannot remove", &path))
}
