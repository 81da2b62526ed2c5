//! Making a derived file: all spans of a range are transcoded once more, into a file.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use super::file::{DerivedFile, RangeKey};
use super::format::{ENTRY_LENGTH, Entry, FileHeader, HEADER_LENGTH};
use crate::env::{Disk, DiskFile, OpenMode};
use crate::tablet::ConvertError;
use crate::transcode::parts::{Part, Parts};

/// Batches of a file at most: a range of very small spans is read as well from the log, and its
/// entries would fill the memory.
const ENTRIES_MAX: usize = 100_000;
/// Bytes that are written with one call.
const WRITE_BYTES: usize = 1 << 20;

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub(super) enum BuildError {
    /// A span cannot be transcoded.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// The system could not write.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// There is nothing to be gained.
    #[error("nothing of the range is worth a file")]
    NotWorthIt,
}

/// What the file is of.
pub(super) struct BuildSpec {
    pub(super) key: RangeKey,
    /// End of the range in the segment file.
    pub(super) position_end: u64,
    /// Bytes of the file at most.
    pub(super) bytes_max: u64,
}

/// Writes the parts of all spans into a file beside `path`, syncs it and gives it its name.
pub(super) fn build(
    disk: &dyn Disk,
    path: &Path,
    spec: &BuildSpec,
    spans: impl Iterator<Item = Result<Parts, ConvertError>>,
) -> Result<DerivedFile, BuildError> {
    if let Some(directory) = path.parent() {
        disk.create_directories(directory)?;
    }
    let temporary = path.with_extension("columnar.tmp");
    let written = write(disk, &temporary, spec, spans);
    if let Err(error) = written {
        // What is half written would be removed at the next start; here it is at once.
        let _ = disk.remove_file(&temporary);
        return Err(error);
    }
    disk.rename(&temporary, path)?;
    DerivedFile::open(disk, path, spec.key)?
        .ok_or_else(|| io::Error::other("a derived file does not hold what was written").into())
}

fn write(
    disk: &dyn Disk,
    path: &Path,
    spec: &BuildSpec,
    spans: impl Iterator<Item = Result<Parts, ConvertError>>,
) -> Result<(), BuildError> {
    let mut writer = Writer {
        file: disk.open(path, OpenMode::CreateOrTruncate)?,
        position: HEADER_LENGTH as u64,
        pending: Vec::new(),
        entries: Vec::new(),
    };
    for parts in spans {
        for part in &parts?.parts {
            writer.add(part)?;
        }
        if writer.entries.len() > ENTRIES_MAX || writer.position > spec.bytes_max {
            return Err(BuildError::NotWorthIt);
        }
    }
    let (Some(first), Some(last)) = (writer.entries.first(), writer.entries.last()) else {
        return Err(BuildError::NotWorthIt);
    };
    let (start, end) = (first.start, last.end);
    writer.flush()?;
    let mut entries = Vec::with_capacity(writer.entries.len() * ENTRY_LENGTH);
    for entry in &writer.entries {
        entry.encode(&mut entries);
    }
    let header = FileHeader {
        entries: writer.entries.len() as u32,
        generation: spec.key.generation,
        tablet: spec.key.tablet,
        entries_crc: crc32c::crc32c(&entries),
        range: spec.key.range,
        position_end: spec.position_end,
        start,
        end,
        entries_position: writer.position,
        length: writer.position + entries.len() as u64,
    };
    let file = writer.file;
    file.write_all_at(&[IoSlice::new(&entries)], writer.position)?;
    file.write_all_at(&[IoSlice::new(&header.encode())], 0)?;
    file.sync_data()?;
    Ok(())
}

struct Writer {
    file: Arc<dyn DiskFile>,
    /// Where `pending` goes.
    position: u64,
    pending: Vec<u8>,
    entries: Vec<Entry>,
}

impl Writer {
    fn add(&mut self, part: &Part) -> io::Result<()> {
        let position = self.position + self.pending.len() as u64;
        self.entries
            .push(Entry::of(part.start, part.end, position, &part.bytes));
        self.pending.extend_from_slice(&part.bytes);
        self.pending
            .resize(self.pending.len().next_multiple_of(8), 0);
        if self.pending.len() >= WRITE_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file
            .write_all_at(&[IoSlice::new(&self.pending)], self.position)?;
        self.position += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }
}
