//! Where the segments of a log live, and how many of their files are open.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};
use protocol::ids::Offset;

use super::header::{HEADER_LENGTH, SegmentHeader, file_name};
use super::index_file::IndexFile;
use super::{IndexSlot, Segment};
use crate::env::{Disk, DiskFile, OpenMode};
use crate::log::error::LogError;
use crate::log::index::{SparseIndex, Summary};

/// Keeps the number of open segment files bounded, over all logs.
pub struct OpenFiles {
    files_max: usize,
    open: Mutex<VecDeque<Weak<Segment>>>,
}

impl OpenFiles {
    /// Keeps at most `files_max` segment files open besides those in use at the moment.
    pub fn new(files_max: usize) -> Arc<OpenFiles> {
        Arc::new(OpenFiles {
            files_max: files_max.max(1),
            open: Mutex::default(),
        })
    }

    /// Notes that a segment opened its file, and closes the file of the one that was opened
    /// longest ago when there are too many.
    pub(super) fn opened(&self, segment: &Arc<Segment>) {
        let closed = {
            let mut open = self.open.lock();
            open.push_back(Arc::downgrade(segment));
            if open.len() > self.files_max {
                open.pop_front()
            } else {
                None
            }
        };
        if let Some(segment) = closed.and_then(|s| s.upgrade()) {
            let mut file = segment.file.lock();
            if !segment.is_retired() {
                file.take();
            }
        }
    }
}

/// Where segments live and what they share.
#[derive(Clone)]
pub(in crate::log) struct SegmentPlace {
    pub directory: PathBuf,
    pub disk: Arc<dyn Disk>,
    pub files: Arc<OpenFiles>,
    pub index_interval: u32,
}

impl SegmentPlace {
    pub(in crate::log) fn path(&self, base: Offset, extension: &str) -> PathBuf {
        self.directory.join(file_name(base, extension))
    }

    /// Makes a new segment with its header written. Its name is durable only after a sync of the
    /// directory, its header after a sync of the file.
    pub(in crate::log) fn create(&self, header: SegmentHeader) -> Result<Arc<Segment>, LogError> {
        let path = self.path(header.base, "log");
        let file = self.write_header(&header, &path)?;
        Ok(self.fresh(header, path, file))
    }

    /// As [`SegmentPlace::create`] where a file of that name is there, without frames that count:
    /// after a crash the old or the new one is there, whole.
    pub(in crate::log) fn replace(&self, header: SegmentHeader) -> Result<Arc<Segment>, LogError> {
        let path = self.path(header.base, "log");
        let temporary = path.with_extension("log.tmp");
        let file = self.write_header(&header, &temporary)?;
        file.sync_data()
            .map_err(LogError::io("cannot sync", &temporary))?;
        self.disk
            .rename(&temporary, &path)
            .map_err(LogError::io("cannot rename to", &path))?;
        Ok(self.fresh(header, path, file))
    }

    fn write_header(
        &self,
        header: &SegmentHeader,
        path: &Path,
    ) -> Result<Arc<dyn DiskFile>, LogError> {
        let file = self
            .disk
            .open(path, OpenMode::CreateOrTruncate)
            .map_err(LogError::io("cannot create", path))?;
        file.write_all_at(&[io::IoSlice::new(&header.encode())], 0)
            .map_err(LogError::io("cannot write", path))?;
        Ok(file)
    }

    fn fresh(&self, header: SegmentHeader, path: PathBuf, file: Arc<dyn DiskFile>) -> Arc<Segment> {
        let index = SparseIndex::new(header.base, HEADER_LENGTH);
        let segment = self.segment(header, path, HEADER_LENGTH, IndexSlot::Growing(index));
        *segment.file.lock() = Some(file);
        self.files.opened(&segment);
        segment
    }

    /// A closed segment that is on disk.
    pub(in crate::log) fn closed(&self, header: SegmentHeader, length: u64) -> Arc<Segment> {
        let slot = IndexSlot::Closed {
            summary: None,
            index: None,
        };
        self.segment(header, self.path(header.base, "log"), length, slot)
    }

    /// A closed segment all of whose frames recovery has seen.
    pub(in crate::log) fn scanned(&self, header: SegmentHeader, summary: Summary) -> Arc<Segment> {
        let slot = IndexSlot::Closed {
            summary: Some(summary),
            index: None,
        };
        self.segment(header, self.path(header.base, "log"), summary.length, slot)
    }

    /// A segment that the cleaner has written.
    pub(in crate::log) fn cleaned(
        &self,
        header: SegmentHeader,
        index: &SparseIndex,
        file: Arc<dyn DiskFile>,
    ) -> Arc<Segment> {
        let segment = self.scanned(header, *index.summary());
        *segment.file.lock() = Some(file);
        self.files.opened(&segment);
        segment
    }

    /// The active segment, as recovery found it; `saved` entries of the index are in its file.
    pub(in crate::log) fn active(
        &self,
        header: SegmentHeader,
        index: SparseIndex,
        saved: usize,
    ) -> Arc<Segment> {
        let length = index.summary().length;
        let path = self.path(header.base, "log");
        let segment = self.segment(header, path, length, IndexSlot::Growing(index));
        *segment.index_file.lock() = IndexFile::growing(saved);
        segment
    }

    fn segment(
        &self,
        header: SegmentHeader,
        path: PathBuf,
        length: u64,
        index: IndexSlot,
    ) -> Arc<Segment> {
        Arc::new(Segment {
            header,
            path,
            disk: Arc::clone(&self.disk),
            files: Arc::clone(&self.files),
            file: Mutex::new(None),
            length: AtomicU64::new(length),
            index: RwLock::new(index),
            index_interval: self.index_interval,
            index_file: Mutex::default(),
            retired: AtomicBool::new(false),
        })
    }

    /// Reads what stands where the header of a segment file belongs.
    pub(in crate::log) fn read_header(&self, path: &Path) -> Result<Vec<u8>, LogError> {
        read_header(&*self.disk, path)
    }
}

/// Reads what stands where the header of a segment file belongs.
pub(in crate::log) fn read_header(disk: &dyn Disk, path: &Path) -> Result<Vec<u8>, LogError> {
    let file = disk
        .open(path, OpenMode::Read)
        .map_err(LogError::io("cannot open", path))?;
    let mut bytes = vec![0; HEADER_LENGTH as usize];
    let read = file
        .read_at(&mut bytes, 0)
        .map_err(LogError::io("cannot read", path))?;
    bytes.truncate(read);
    Ok(bytes)
}
