//! The files of a log as they lie in its directory.

use std::path::{Path, PathBuf};

use protocol::ids::{Offset, TabletId};

use crate::log::checkpoint;
use crate::log::cleaner::finish_swaps;
use crate::log::error::LogError;
use crate::log::log::LogContext;
use crate::log::segment::{self, SegmentHeader, SegmentPlace};

/// A segment file that was found.
pub(super) struct Found {
    pub base: Offset,
    pub length: u64,
    pub path: PathBuf,
    /// `None`: the header is damaged or cut short.
    pub header: Option<SegmentHeader>,
    /// What the frame headers' checksums begin with, as far as it can be told.
    pub salt: Option<u64>,
}

/// A fresh segment header.
pub(in crate::log) fn fresh_header(
    context: &LogContext,
    tablet: TabletId,
    base: Offset,
) -> SegmentHeader {
    SegmentHeader {
        salt: context.env.randomness.next_u64(),
        base,
        tablet,
        cleaned_to: None,
        generation: context.env.randomness.next_u64(),
    }
}

/// Makes the log's directory and its name durable. A log that has a checkpoint was opened before,
/// so its name is; one that has none may have been killed between the two steps.
pub(super) fn make_directory(place: &SegmentPlace) -> Result<(), LogError> {
    /// `logs`, the table, the table partition and the bucket may all be new.
    const LEVELS: usize = 4;
    let directory = &place.directory;
    let checkpoint = checkpoint::path(directory);
    if place
        .disk
        .exists(&checkpoint)
        .map_err(LogError::io("cannot look for", &checkpoint))?
    {
        return Ok(());
    }
    place
        .disk
        .create_directories(directory)
        .map_err(LogError::io("cannot create", directory))?;
    for parent in directory.ancestors().skip(1).take(LEVELS) {
        if parent.as_os_str().is_empty() {
            break;
        }
        place
            .disk
            .sync_directory(parent)
            .map_err(LogError::io("cannot sync", parent))?;
    }
    Ok(())
}

/// The segment files in order of their base offsets. Left-overs of interrupted writes go.
pub(super) fn find_segments(
    place: &SegmentPlace,
    tablet: TabletId,
) -> Result<Vec<Found>, LogError> {
    let directory = &place.directory;
    finish_swaps(place)?;
    let mut found = Vec::new();
    for entry in place
        .disk
        .list(directory)
        .map_err(LogError::io("cannot list", directory))?
    {
        let path = directory.join(&entry.name);
        if entry.name.ends_with(".tmp") {
            place
                .disk
                .remove_file(&path)
                .map_err(LogError::io("cannot remove", &path))?;
        } else if let Some(base) = segment::base_of_file_name(&entry.name) {
            let bytes = place.read_header(&path)?;
            let header = SegmentHeader::decode(&bytes).filter(|h| h.base == base);
            let witness = header.or_else(|| segment::with_one_bit_repaired(&bytes));
            if let Some(header) = &header
                && header.tablet != tablet
            {
                return Err(LogError::Format {
                    path,
                    what: format!("the data of tablet {}, not of {tablet}", header.tablet),
                });
            }
            found.push(Found {
                base,
                length: entry.length,
                path,
                header,
                salt: witness.map(|h| h.salt),
            });
        }
    }
    found.sort_by_key(|f| f.base);
    remove_replaced(place, &mut found)?;
    Ok(found)
}

/// Removes old segments that a cleaned one stands for: a crash came before the cleaner did.
fn remove_replaced(place: &SegmentPlace, found: &mut Vec<Found>) -> Result<(), LogError> {
    let mut covered = Offset::ZERO;
    let mut replaced = Vec::new();
    found.retain(|f| {
        if f.base < covered {
            replaced.push(f.path.clone());
            return false;
        }
        covered = f.header.and_then(|h| h.cleaned_to).unwrap_or(covered);
        true
    });
    for path in replaced {
        tracing::info!(path = %path.display(), "removing a segment that a cleaned one stands for");
        remove_segment_files(place, &path)?;
    }
    Ok(())
}

/// Removes a segment file and its index.
pub(in crate::log) fn remove_segment_files(
    place: &SegmentPlace,
    path: &Path,
) -> Result<(), LogError> {
    place
        .disk
        .remove_file(path)
        .map_err(LogError::io("cannot remove", path))?;
    let index = path.with_extension("index");
    if place
        .disk
        .exists(&index)
        .map_err(LogError::io("cannot look for", &index))?
    {
        place
            .disk
            .remove_file(&index)
            .map_err(LogError::io("cannot remove", &index))?;
    }
    Ok(())
}
