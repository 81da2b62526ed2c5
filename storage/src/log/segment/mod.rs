//! A segment: one file of a log, a header and frames, and its sparse index.
//!
//! *Invariant*: the bytes below the published length never change while the segment is in the log;
//! cleaning makes new files, and open readers keep the old.

mod header;
mod index_file;
mod place;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use protocol::ids::Offset;

pub(super) use header::file_name;
pub(super) use header::{CLEANED_SPAN_MAX, HEADER_LENGTH, with_one_bit_repaired};
pub use header::{SegmentHeader, base_of_file_name};
use index_file::IndexFile;
pub use place::OpenFiles;
pub(super) use place::{SegmentPlace, read_header};

use super::error::LogError;
use super::frame::FrameHeader;
use super::index::{SparseIndex, Summary};
use crate::env::{Disk, DiskFile, OpenMode};

enum IndexSlot {
    /// The segment is being written; the index grows with it.
    Growing(SparseIndex),
    /// The segment is closed; its index is read when it is needed.
    Closed {
        summary: Option<Summary>,
        index: Option<Arc<SparseIndex>>,
    },
}

/// A segment of an open log.
pub struct Segment {
    header: SegmentHeader,
    path: PathBuf,
    disk: Arc<dyn Disk>,
    files: Arc<OpenFiles>,
    file: Mutex<Option<Arc<dyn DiskFile>>>,
    /// Bytes that readers may look at.
    length: AtomicU64,
    index: RwLock<IndexSlot>,
    index_interval: u32,
    index_file: Mutex<IndexFile>,
    /// Another file has its name now; its own stays open while somebody holds the segment.
    retired: AtomicBool,
}

impl Segment {
    /// First offset that may lie in it.
    pub fn base(&self) -> Offset {
        self.header.base
    }

    /// The header of its file.
    pub fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that readers may look at.
    pub fn length(&self) -> u64 {
        self.length.load(Ordering::Acquire)
    }

    /// The open file; opens it when it was closed to make room.
    pub fn file(self: &Arc<Self>) -> io::Result<Arc<dyn DiskFile>> {
        let mut slot = self.file.lock();
        if let Some(file) = slot.as_ref() {
            return Ok(Arc::clone(file));
        }
        let file = self.disk.open(&self.path, OpenMode::ReadWrite)?;
        *slot = Some(Arc::clone(&file));
        drop(slot);
        self.files.opened(self);
        Ok(file)
    }

    /// Another file is about to get its name: from now on its own is kept open.
    pub(in crate::log) fn retire(&self) -> io::Result<()> {
        let mut slot = self.file.lock();
        if slot.is_none() {
            *slot = Some(self.disk.open(&self.path, OpenMode::ReadWrite)?);
        }
        self.retired.store(true, Ordering::Release);
        Ok(())
    }

    fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// True when its file is open and its index in memory: looking for a position then needs no
    /// disk.
    pub(in crate::log) fn is_at_hand(&self) -> bool {
        let index = match &*self.index.read() {
            IndexSlot::Growing(_) => true,
            IndexSlot::Closed { index, .. } => index.is_some(),
        };
        index && self.file.lock().is_some()
    }

    /// Takes note of a frame that was written at `position`, and lets readers see it.
    pub(in crate::log) fn publish(&self, frames: &[(FrameHeader, u64)]) {
        let mut slot = self.index.write();
        if let IndexSlot::Growing(index) = &mut *slot {
            for (header, position) in frames {
                index.add(header, *position, self.index_interval);
            }
            self.length.store(index.summary().length, Ordering::Release);
        }
    }

    /// Calls `look` with the growing index, for the checkpoint and for closing.
    pub(in crate::log) fn with_growing<T>(
        &self,
        look: impl FnOnce(&SparseIndex) -> T,
    ) -> Option<T> {
        match &*self.index.read() {
            IndexSlot::Growing(index) => Some(look(index)),
            IndexSlot::Closed { .. } => None,
        }
    }

    /// The segment takes no more frames: forgets the growing index, which is in its file now.
    pub(in crate::log) fn close_index(&self) {
        let mut slot = self.index.write();
        if let IndexSlot::Growing(index) = &*slot {
            *slot = IndexSlot::Closed {
                summary: Some(*index.summary()),
                index: None,
            };
        }
    }

    /// What is known of all its frames. May read the disk.
    pub fn summary(self: &Arc<Self>) -> Result<Summary, LogError> {
        if let IndexSlot::Growing(index) = &*self.index.read() {
            return Ok(*index.summary());
        }
        if let IndexSlot::Closed {
            summary: Some(summary),
            ..
        } = &*self.index.read()
        {
            return Ok(*summary);
        }
        let summary = match self.read_footer()? {
            Some(summary) if summary.length == self.length() => summary,
            _ => *self.load_index()?.summary(),
        };
        if let IndexSlot::Closed { summary: slot, .. } = &mut *self.index.write() {
            *slot = Some(summary);
        }
        Ok(summary)
    }

    /// Position from which to scan for `offset`. May read the disk.
    pub(crate) fn position_of_offset(self: &Arc<Self>, offset: Offset) -> Result<u64, LogError> {
        self.search(|index| index.position_of_offset(offset))
    }

    /// Position of a frame that begins at or before `position`, near to it. May read the disk.
    pub(crate) fn position_before(self: &Arc<Self>, position: u64) -> Result<u64, LogError> {
        self.search(|index| index.position_before(position))
    }

    /// Position from which to scan for the first frame committed at or after `time`.
    pub(in crate::log) fn position_of_commit_time(
        self: &Arc<Self>,
        time: i64,
    ) -> Result<u64, LogError> {
        self.search(|index| index.position_of_commit_time(time))
    }

    /// Position from which to scan for the first frame with a record at or after `time`.
    pub(in crate::log) fn position_of_record_time(
        self: &Arc<Self>,
        time: i64,
    ) -> Result<u64, LogError> {
        self.search(|index| index.position_of_record_time(time))
    }

    fn search(
        self: &Arc<Self>,
        find: impl Fn(&SparseIndex) -> Option<u64>,
    ) -> Result<u64, LogError> {
        {
            let slot = self.index.read();
            match &*slot {
                IndexSlot::Growing(index) => return Ok(find(index).unwrap_or(HEADER_LENGTH)),
                IndexSlot::Closed {
                    index: Some(index), ..
                } => {
                    return Ok(find(index).unwrap_or(HEADER_LENGTH));
                }
                IndexSlot::Closed { index: None, .. } => {}
            }
        }
        let index = self.load_index()?;
        Ok(find(&index).unwrap_or(HEADER_LENGTH))
    }
}
