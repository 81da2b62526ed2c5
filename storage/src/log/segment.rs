//! A segment: one file of a log, a header and frames, and its sparse index.
//!
//! ```text
//!  <base offset, 20 digits>.log                (all integers little-endian)
//!   0   8  magic "VLTASEG1"
//!   8   4  version, 1
//!  12   4  CRC-32C of 16..64
//!  16   8  salt of the frame headers
//!  24   8  base offset
//!  32   8  table id
//!  40   8  table partition id, -1 without
//!  48   4  bucket
//!  52   4  flags: 1 cleaned (offsets may have gaps)
//!  56   8  generation: tells this file from another with the same base offset
//!  64      frames
//! ```
//!
//! *Invariant*: the bytes below the published length never change while the segment is in the log;
//! truncation and cleaning make new files, and open readers keep the old.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};
use protocol::ids::{Offset, TabletId};

use super::error::LogError;
use super::frame::{FrameHeader, i64_at, u32_at};
use super::index::{self, SparseIndex, Summary};
use crate::env::{Disk, DiskFile, OpenMode};

const MAGIC: [u8; 8] = *b"VLTASEG1";
const VERSION: u32 = 1;
/// Length of the segment header: where the first frame begins.
pub(super) const HEADER_LENGTH: u64 = 64;

/// What the header of a segment file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Begins the CRC of each frame header.
    pub salt: u64,
    /// First offset that may lie in the segment.
    pub base: Offset,
    /// The tablet it belongs to.
    pub tablet: TabletId,
    /// True when the cleaner wrote it, so that offsets may have gaps.
    pub cleaned: bool,
    /// Tells this file from another with the same base offset.
    pub generation: u64,
}

impl SegmentHeader {
    /// The header as it stands in the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LENGTH as usize);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.salt.to_le_bytes());
        out.extend_from_slice(&self.base.value().to_le_bytes());
        out.extend_from_slice(&self.tablet.table.value().to_le_bytes());
        let partition = self.tablet.table_partition.map_or(-1, |p| p.value());
        out.extend_from_slice(&partition.to_le_bytes());
        out.extend_from_slice(&self.tablet.bucket.value().to_le_bytes());
        out.extend_from_slice(&u32::from(self.cleaned).to_le_bytes());
        out.extend_from_slice(&self.generation.to_le_bytes());
        let crc = crc32c::crc32c(&out[16..]);
        out[12..16].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a header; `None` when it is damaged or cut short.
    pub fn decode(bytes: &[u8]) -> Option<SegmentHeader> {
        let bytes = bytes.get(..HEADER_LENGTH as usize)?;
        if bytes[..8] != MAGIC
            || u32_at(bytes, 8) != VERSION
            || u32_at(bytes, 12) != crc32c::crc32c(&bytes[16..])
        {
            return None;
        }
        let partition = i64_at(bytes, 40);
        Some(SegmentHeader {
            salt: i64_at(bytes, 16) as u64,
            base: Offset::new(i64_at(bytes, 24)),
            tablet: TabletId {
                table: protocol::ids::TableId::new(i64_at(bytes, 32)),
                table_partition: (partition != -1)
                    .then(|| protocol::ids::TablePartitionId::new(partition)),
                bucket: protocol::ids::BucketId::new(u32_at(bytes, 48) as i32),
            },
            cleaned: u32_at(bytes, 52) & 1 == 1,
            generation: i64_at(bytes, 56) as u64,
        })
    }
}

/// The file name of a segment or of its index.
pub(super) fn file_name(base: Offset, extension: &str) -> String {
    format!("{:020}.{extension}", base.value())
}

/// The base offset in the name of a segment file, if it is one.
pub fn base_of_file_name(name: &str) -> Option<Offset> {
    let digits = name.strip_suffix(".log")?;
    (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit()))
        .then(|| digits.parse().ok().map(Offset::new))
        .flatten()
}

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
    fn opened(&self, segment: &Arc<Segment>) {
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
            segment.file.lock().take();
        }
    }
}

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
}

/// Where segments live and what they share.
#[derive(Clone)]
pub(super) struct SegmentPlace {
    pub directory: PathBuf,
    pub disk: Arc<dyn Disk>,
    pub files: Arc<OpenFiles>,
    pub index_interval: u32,
}

impl SegmentPlace {
    pub(super) fn path(&self, base: Offset, extension: &str) -> PathBuf {
        self.directory.join(file_name(base, extension))
    }

    /// Makes a new segment with its header written. Its name is durable only after a sync of the
    /// directory, its header after a sync of the file.
    pub(super) fn create(&self, header: SegmentHeader) -> Result<Arc<Segment>, LogError> {
        let path = self.path(header.base, "log");
        let file = self
            .disk
            .open(&path, OpenMode::CreateOrTruncate)
            .map_err(LogError::io("cannot create", &path))?;
        file.write_all_at(&[io::IoSlice::new(&header.encode())], 0)
            .map_err(LogError::io("cannot write", &path))?;
        let segment = self.segment(
            header,
            path,
            HEADER_LENGTH,
            IndexSlot::Growing(SparseIndex::new(header.base, HEADER_LENGTH)),
        );
        *segment.file.lock() = Some(file);
        self.files.opened(&segment);
        Ok(segment)
    }

    /// A closed segment that is on disk.
    pub(super) fn closed(&self, header: SegmentHeader, length: u64) -> Arc<Segment> {
        let slot = IndexSlot::Closed {
            summary: None,
            index: None,
        };
        self.segment(header, self.path(header.base, "log"), length, slot)
    }

    /// The active segment, as recovery found it.
    pub(super) fn active(&self, header: SegmentHeader, index: SparseIndex) -> Arc<Segment> {
        let length = index.summary().length;
        self.segment(
            header,
            self.path(header.base, "log"),
            length,
            IndexSlot::Growing(index),
        )
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
        })
    }

    /// Reads the header of a segment file; `None` when it is damaged or cut short.
    pub(super) fn read_header(&self, path: &Path) -> Result<Option<SegmentHeader>, LogError> {
        let file = self
            .disk
            .open(path, OpenMode::Read)
            .map_err(LogError::io("cannot open", path))?;
        let mut bytes = [0; HEADER_LENGTH as usize];
        let read = file
            .read_at(&mut bytes, 0)
            .map_err(LogError::io("cannot read", path))?;
        Ok(SegmentHeader::decode(&bytes[..read]))
    }
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

    /// True when its file is open and its index in memory: looking for a position then needs no
    /// disk.
    pub(super) fn is_at_hand(&self) -> bool {
        let index = match &*self.index.read() {
            IndexSlot::Growing(_) => true,
            IndexSlot::Closed { index, .. } => index.is_some(),
        };
        index && self.file.lock().is_some()
    }

    /// Takes note of a frame that was written at `position`, and lets readers see it.
    pub(super) fn publish(&self, frames: &[(FrameHeader, u64)]) {
        let mut slot = self.index.write();
        if let IndexSlot::Growing(index) = &mut *slot {
            for (header, position) in frames {
                index.add(header, *position, self.index_interval);
            }
            self.length.store(index.summary().length, Ordering::Release);
        }
    }

    /// Calls `look` with the growing index, for the checkpoint and for closing.
    pub(super) fn with_growing<T>(&self, look: impl FnOnce(&SparseIndex) -> T) -> Option<T> {
        match &*self.index.read() {
            IndexSlot::Growing(index) => Some(look(index)),
            IndexSlot::Closed { .. } => None,
        }
    }

    /// The segment takes no more frames: forgets the growing index, which is in its file now.
    pub(super) fn close_index(&self) {
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
    pub(super) fn position_of_commit_time(self: &Arc<Self>, time: i64) -> Result<u64, LogError> {
        self.search(|index| index.position_of_commit_time(time))
    }

    /// Position from which to scan for the first frame with a record at or after `time`.
    pub(super) fn position_of_record_time(self: &Arc<Self>, time: i64) -> Result<u64, LogError> {
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

    fn read_footer(&self) -> Result<Option<Summary>, LogError> {
        let path = self.index_path();
        if !self
            .disk
            .exists(&path)
            .map_err(LogError::io("cannot look for", &path))?
        {
            return Ok(None);
        }
        let file = self
            .disk
            .open(&path, OpenMode::Read)
            .map_err(LogError::io("cannot open", &path))?;
        let length = file.length().map_err(LogError::io("cannot read", &path))?;
        let mut footer = [0; index::FOOTER_LENGTH];
        let Some(position) = length.checked_sub(footer.len() as u64) else {
            return Ok(None);
        };
        let read = file
            .read_at(&mut footer, position)
            .map_err(LogError::io("cannot read", &path))?;
        Ok(index::decode_footer(&footer[..read], self.header.base))
    }

    /// Reads the index of a closed segment, or builds it from the frames when its file is missing
    /// or does not hold.
    fn load_index(self: &Arc<Self>) -> Result<Arc<SparseIndex>, LogError> {
        let path = self.index_path();
        let mut index = None;
        if self
            .disk
            .exists(&path)
            .map_err(LogError::io("cannot look for", &path))?
        {
            let bytes = super::checkpoint::read_whole(&*self.disk, &path)?;
            index = SparseIndex::decode_closed(&bytes, self.header.base, self.header.salt)
                .filter(|index| index.summary().length == self.length());
        }
        let index = match index {
            Some(index) => index,
            None => {
                tracing::info!(path = %self.path.display(), "building the index from the frames");
                let built = super::scan::build_index(self, self.index_interval)?;
                // It serves from memory too; the next start builds it again.
                if let Err(error) = self.write_index(&built, 0) {
                    tracing::warn!(%error, "cannot write the index of a closed segment");
                }
                built
            }
        };
        let index = Arc::new(index);
        if let IndexSlot::Closed {
            index: slot,
            summary,
        } = &mut *self.index.write()
        {
            *slot = Some(Arc::clone(&index));
            *summary = Some(*index.summary());
        }
        Ok(index)
    }

    /// Drops the loaded index of a closed segment; it is read again when needed.
    pub(super) fn unload_index(&self) {
        if let IndexSlot::Closed { index, .. } = &mut *self.index.write() {
            *index = None;
        }
    }

    pub(super) fn index_path(&self) -> PathBuf {
        self.path.with_extension("index")
    }

    /// Writes the entries from number `from` on, and the footer, to the index file.
    pub(super) fn write_index(&self, index: &SparseIndex, from: usize) -> Result<(), LogError> {
        let mut tail = index.encode_entries(from);
        tail.extend(index.encode_footer());
        self.write_index_tail(from, &tail, true).map(|_| ())
    }

    /// Writes `tail` behind the first `from` entries of the index file, which must be there.
    pub(super) fn write_index_tail(
        &self,
        from: usize,
        tail: &[u8],
        last: bool,
    ) -> Result<Arc<dyn DiskFile>, LogError> {
        let path = self.index_path();
        let mode = if from == 0 {
            OpenMode::CreateOrTruncate
        } else {
            OpenMode::ReadWrite
        };
        let file = self
            .disk
            .open(&path, mode)
            .map_err(LogError::io("cannot open", &path))?;
        let header = SparseIndex::encode_header(self.header.salt);
        let position = (index::HEADER_LENGTH + from * index::ENTRY_LENGTH) as u64;
        if from == 0 {
            file.write_all_at(&[io::IoSlice::new(&header)], 0)
                .map_err(LogError::io("cannot write", &path))?;
        }
        file.write_all_at(&[io::IoSlice::new(tail)], position)
            .map_err(LogError::io("cannot write", &path))?;
        if last {
            file.set_length(position + tail.len() as u64)
                .map_err(LogError::io("cannot cut", &path))?;
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ids::{BucketId, TableId, TablePartitionId};

    #[test]
    fn a_header_survives_the_round_trip_and_notices_damage() {
        let header = SegmentHeader {
            salt: 0x1234_5678_9abc_def0,
            base: Offset::new(77),
            tablet: TabletId {
                table: TableId::new(3),
                table_partition: Some(TablePartitionId::new(9)),
                bucket: BucketId::new(2),
            },
            cleaned: true,
            generation: 5,
        };
        let mut bytes = header.encode();
        assert_eq!(bytes.len() as u64, HEADER_LENGTH);
        assert_eq!(SegmentHeader::decode(&bytes), Some(header));
        for at in 0..bytes.len() {
            bytes[at] ^= 4;
            assert_eq!(SegmentHeader::decode(&bytes), None, "byte {at}");
            bytes[at] ^= 4;
        }
        assert_eq!(SegmentHeader::decode(&bytes[..63]), None);
    }

    #[test]
    fn only_segment_files_have_a_base_offset() {
        assert_eq!(
            base_of_file_name("00000000000000000042.log"),
            Some(Offset::new(42))
        );
        for name in [
            "42.log",
            "00000000000000000042.index",
            "checkpoint",
            "0000000000000000004x.log",
        ] {
            assert_eq!(base_of_file_name(name), None, "{name}");
        }
    }
}
