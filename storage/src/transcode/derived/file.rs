//! A derived file that is open: finding and reading its batches.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use protocol::fluss::projection::{Planned, Projection};
use protocol::ids::{Offset, TabletId};
use protocol::raw::HEADERS;

use super::format::{Entry, FileHeader, HEADER_LENGTH, decode_entries};
use crate::buffers::BufferPool;
use crate::env::{Disk, DiskFile, OpenMode};

/// Which range of which segment a file is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::transcode) struct RangeKey {
    /// The tablet.
    pub(in crate::transcode) tablet: TabletId,
    /// Generation of the segment.
    pub(in crate::transcode) generation: u64,
    /// Number of the range in the segment.
    pub(in crate::transcode) range: u64,
}

/// What stood at a place does not hold: the file is to be made again.
#[derive(Debug, thiserror::Error)]
pub(in crate::transcode) enum Damaged {
    /// The bytes are not those that were written.
    #[error("{what} at byte {position}")]
    Bytes {
        /// What does not hold.
        what: &'static str,
        /// Where.
        position: u64,
    },
    /// The system could not read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// An open file.
pub(in crate::transcode) struct DerivedFile {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    header: FileHeader,
    entries: Vec<Entry>,
}

/// Reads the header of a file; `None` when it does not hold.
pub(super) fn read_header(file: &dyn DiskFile) -> io::Result<Option<FileHeader>> {
    let mut bytes = [0; HEADER_LENGTH];
    let read = file.read_at(&mut bytes, 0)?;
    let length = file.length()?;
    Ok(FileHeader::decode(&bytes[..read]).filter(|header| header.length == length))
}

impl DerivedFile {
    /// Opens a file; `None` when it does not hold, or is of another range.
    pub(super) fn open(
        disk: &dyn Disk,
        path: &Path,
        key: RangeKey,
    ) -> io::Result<Option<DerivedFile>> {
        let file = disk.open(path, OpenMode::Read)?;
        let Some(header) = read_header(&*file)? else {
            return Ok(None);
        };
        let found = RangeKey {
            tablet: header.tablet,
            generation: header.generation,
            range: header.range,
        };
        let Some(length) = header.entries_length().filter(|_| found == key) else {
            return Ok(None);
        };
        let mut bytes = vec![0; length];
        let read = file.read_at(&mut bytes, header.entries_position)?;
        let entries = decode_entries(&header, &bytes[..read]);
        Ok(entries.map(|entries| DerivedFile {
            path: path.to_path_buf(),
            file,
            header,
            entries,
        }))
    }

    /// Its name.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Its length.
    pub(super) fn length(&self) -> u64 {
        self.header.length
    }

    /// Its first offset.
    pub(super) fn start(&self) -> Offset {
        self.header.start
    }

    /// The batches from the one that holds `offset` on; none when it holds no such batch.
    pub(in crate::transcode) fn batches_from(&self, offset: Offset) -> &[Entry] {
        let first = self.entries.partition_point(|entry| entry.end <= offset);
        match self.entries.get(first) {
            Some(entry) if entry.start <= offset => &self.entries[first..],
            _ => &[],
        }
    }

    /// A whole batch.
    pub(in crate::transcode) fn read(
        &self,
        entry: &Entry,
        buffers: &Arc<BufferPool>,
    ) -> Result<Bytes, Damaged> {
        let mut buffer = buffers.take(entry.length as usize);
        let read = self.file.read_at(buffer.as_mut(), entry.position)?;
        if read != entry.length as usize || crc32c::crc32c(buffer.as_ref()) != entry.crc {
            return Err(Damaged::Bytes {
                what: "a batch whose crc does not hold",
                position: entry.position,
            });
        }
        Ok(buffer.freeze())
    }

    /// The wanted columns of a batch: reads what comes before the body, and of the body the wanted
    /// buffers only. Their bytes are not checked, as with stored Arrow batches.
    pub(in crate::transcode) fn read_projected(
        &self,
        entry: &Entry,
        projection: &Projection,
    ) -> Result<Bytes, Damaged> {
        let damaged = |what| Damaged::Bytes {
            what,
            position: entry.position,
        };
        let mut head = vec![0; entry.head_length as usize];
        let read = self.file.read_at(&mut head, entry.position)?;
        if read != head.len() || crc32c::crc32c(&head) != entry.head_crc {
            return Err(damaged("a head whose crc does not hold"));
        }
        let Ok(Planned::Plan(plan)) = projection.plan(&head, HEADERS + 1) else {
            return Err(damaged("a batch that cannot be projected"));
        };
        let mut out = Vec::with_capacity(plan.total_len);
        out.extend_from_slice(&plan.head);
        for range in &plan.body_ranges {
            let start = out.len();
            if range.end > u64::from(entry.length) {
                return Err(damaged("a buffer outside of its batch"));
            }
            out.resize(start + (range.end - range.start) as usize, 0);
            let read = self
                .file
                .read_at(&mut out[start..], entry.position + range.start)?;
            if start + read != out.len() {
                return Err(damaged("a batch that is cut"));
            }
        }
        out.extend_from_slice(&plan.tail);
        metrics::counter!("vltava_fluss_pruned_bytes_total")
            .increment(u64::from(entry.length).saturating_sub(out.len() as u64));
        Ok(Bytes::from(out))
    }
}
