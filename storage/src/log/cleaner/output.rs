//! The new segment that takes the place of some old ones, while it is written.

use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::Arc;

use super::together::waiting;
use crate::env::{DiskFile, OpenMode};
use crate::log::error::LogError;
use crate::log::frame::FrameHeader;
use crate::log::index::SparseIndex;
use crate::log::segment::{HEADER_LENGTH, SegmentHeader, SegmentPlace};

/// Bytes that are gathered before they are written.
const GATHERED_BYTES: usize = 1 << 20;

/// Writes frames into a file beside the log; a crash leaves a name that recovery removes.
pub(super) struct Output {
    place: SegmentPlace,
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) header: SegmentHeader,
    pub(super) index: SparseIndex,
    gathered: Vec<u8>,
    written: u64,
}

impl Output {
    /// Begins the file for the segment that `header` describes.
    pub(super) fn create(place: &SegmentPlace, header: SegmentHeader) -> Result<Output, LogError> {
        let path = waiting(&place.directory, header.base);
        let file = place
            .disk
            .open(&path, OpenMode::CreateOrTruncate)
            .map_err(LogError::io("cannot create", &path))?;
        Ok(Output {
            place: place.clone(),
            path,
            file,
            header,
            index: SparseIndex::new(header.base, HEADER_LENGTH),
            gathered: header.encode(),
            written: 0,
        })
    }

    /// Adds a frame.
    pub(super) fn add(&mut self, header: &FrameHeader, batch: &[u8]) -> io::Result<()> {
        let position = self.length();
        header.encode(self.header.salt, &mut self.gathered);
        self.gathered.extend_from_slice(batch);
        let end = position + header.frame_length() as u64 - self.written;
        self.gathered.resize(end as usize, 0);
        self.index.add(header, position, self.place.index_interval);
        if self.gathered.len() >= GATHERED_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Bytes so far.
    pub(super) fn length(&self) -> u64 {
        self.written + self.gathered.len() as u64
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file
            .write_all_at(&[IoSlice::new(&self.gathered)], self.written)?;
        self.written += self.gathered.len() as u64;
        self.gathered.clear();
        Ok(())
    }

    /// All frames are added: makes the file durable, not yet its name.
    pub(super) fn finish(&mut self) -> Result<(), LogError> {
        self.flush()
            .and_then(|()| self.file.sync_data())
            .map_err(LogError::io("cannot write", &self.path))?;
        // It may wait for the others of its round.
        self.gathered = Vec::new();
        Ok(())
    }

    /// It is not wanted any more.
    pub(super) fn discard(self) {
        // The next start removes it otherwise.
        if let Err(error) = self.place.disk.remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a cleaner's file");
        }
    }
}
