//! The index file of a segment: written as the segment grows, whole once it is closed, built from
//! the frames where it does not hold.

use std::io::{ErrorKind, IoSlice};
use std::path::PathBuf;
use std::sync::Arc;

use super::{IndexSlot, Segment};
use crate::env::OpenMode;
use crate::log::error::LogError;
use crate::log::index::{self, SparseIndex, Summary};

/// What is known of the index file.
#[derive(Default)]
pub(super) struct IndexFile {
    /// Entries that are in it.
    saved: usize,
    /// It has its footer: nothing is added any more.
    whole: bool,
}

impl IndexFile {
    /// A file that has the first `saved` entries.
    pub(super) fn growing(saved: usize) -> IndexFile {
        IndexFile {
            saved,
            whole: false,
        }
    }
}

impl Segment {
    pub(super) fn read_footer(&self) -> Result<Option<Summary>, LogError> {
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
        // The cleaner puts other segments under the same name.
        let mut header = [0; index::HEADER_LENGTH];
        let read = file
            .read_at(&mut header, 0)
            .map_err(LogError::io("cannot read", &path))?;
        if header[..read] != SparseIndex::encode_header(self.header.salt) {
            return Ok(None);
        }
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
    pub(super) fn load_index(self: &Arc<Self>) -> Result<Arc<SparseIndex>, LogError> {
        let path = self.index_path();
        let index = crate::log::checkpoint::read_if_there(&*self.disk, &path)?
            .and_then(|bytes| {
                SparseIndex::decode_closed(&bytes, self.header.base, self.header.salt)
            })
            .filter(|index| index.summary().length == self.length());
        let index = match index {
            Some(index) => index,
            None => {
                tracing::info!(path = %self.path.display(), "building the index from the frames");
                let built = crate::log::scan::build_index(self, self.index_interval)?;
                // It serves from memory too; the next start builds it again.
                self.index_file.lock().saved = 0;
                if self.is_retired() {
                    // The file of that name belongs to the segment that took its place.
                } else if let Err(error) = self.write_index(&built) {
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
    pub(in crate::log) fn unload_index(&self) {
        if let IndexSlot::Closed { index, .. } = &mut *self.index.write() {
            *index = None;
        }
    }

    fn index_path(&self) -> PathBuf {
        self.path.with_extension("index")
    }

    /// Writes what the index file lacks of the entries, and the footer: the segment takes no more
    /// frames.
    pub(in crate::log) fn write_index(&self, index: &SparseIndex) -> Result<(), LogError> {
        let mut file = self.index_file.lock();
        let from = file.saved;
        let mut tail = index.encode_entries(from);
        tail.extend(index.encode_footer());
        self.write_index_at(from, &tail, true)?;
        file.saved = index.entries().len();
        file.whole = true;
        Ok(())
    }

    /// Entries that are in the index file.
    pub(in crate::log) fn index_saved(&self) -> usize {
        self.index_file.lock().saved
    }

    /// Writes `tail`, the entries from number `from` up to `entries`, into the index file, which
    /// has those before. When the segment was closed meanwhile, they are there.
    pub(in crate::log) fn save_index_tail(
        &self,
        from: usize,
        tail: &[u8],
        entries: usize,
    ) -> Result<(), LogError> {
        let mut file = self.index_file.lock();
        if !file.whole && entries > file.saved {
            self.write_index_at(from, tail, false)?;
            file.saved = entries;
        }
        Ok(())
    }

    /// Makes the index file durable, where there is one: a checkpoint behind it spares the next
    /// start from building the index.
    pub(in crate::log) fn sync_index(&self) -> Result<(), LogError> {
        let path = self.index_path();
        match self.disk.open(&path, OpenMode::ReadWrite) {
            Ok(file) => file.sync_data().map_err(LogError::io("cannot sync", &path)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(LogError::io("cannot open", &path)(error)),
        }
    }

    /// Writes `tail` behind the first `from` entries of the index file, which must be there.
    fn write_index_at(&self, from: usize, tail: &[u8], last: bool) -> Result<(), LogError> {
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
            file.write_all_at(&[IoSlice::new(&header)], 0)
                .map_err(LogError::io("cannot write", &path))?;
        }
        file.write_all_at(&[IoSlice::new(tail)], position)
            .map_err(LogError::io("cannot write", &path))?;
        if last {
            file.set_length(position + tail.len() as u64)
                .map_err(LogError::io("cannot cut", &path))?;
        }
        Ok(())
    }
}
