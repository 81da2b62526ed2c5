//! The world as storage sees it: clock, randomness and disk, passed in so that tests of crashes,
//! expiry and recovery are deterministic.

pub mod real;
pub mod simulated;

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// Wall clock, epoch milliseconds. May step back or leap.
    fn wall_ms(&self) -> i64;

    /// Time since some fixed moment; never steps back.
    fn monotonic(&self) -> Duration;
}

/// Hands out random numbers.
pub trait Randomness: Send + Sync + 'static {
    /// 64 fresh random bits.
    fn next_u64(&self) -> u64;
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// For reading; the file must exist.
    Read,
    /// For reading and writing; the file must exist.
    ReadWrite,
    /// For reading and writing; the file must not exist yet.
    CreateNew,
    /// For reading and writing; an existing file is emptied.
    CreateOrTruncate,
}

/// The size of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// All its bytes.
    pub total_bytes: u64,
    /// Bytes that this process may still write.
    pub usable_bytes: u64,
}

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// The last part of the path.
    pub name: String,
    /// True for a directory.
    pub is_directory: bool,
    /// Length of a file in bytes; 0 for a directory.
    pub length: u64,
}

/// A disk with directories. A new, renamed or removed name survives power loss only after
/// [`Disk::sync_directory`] of its directory.
pub trait Disk: Send + Sync + 'static {
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;
    /// Renames a file or directory; an existing file at `to` is replaced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file. Handles that are open go on reading it.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Makes a directory and its parents; existing ones are no error.
    fn create_directories(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory and all that is in it; a missing one is no error.
    fn remove_directory(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory, sorted.
    fn list(&self, path: &Path) -> io::Result<Vec<DirectoryEntry>>;
    /// True when a file or directory is there.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Makes the names of a directory durable.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
    /// The size of the volume that holds `path`; `None` where nobody can tell.
    fn space(&self, path: &Path) -> io::Result<Option<DiskSpace>>;
}

/// An open file. All methods may be called from several threads at once.
pub trait DiskFile: Send + Sync + 'static {
    /// Fills `buffer` from `position` and returns how many bytes there were; fewer only at the end.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;

    /// As [`DiskFile::read_at`], but `None` when it would have to wait for the disk.
    fn read_at_without_waiting(
        &self,
        buffer: &mut [u8],
        position: u64,
    ) -> io::Result<Option<usize>>;

    /// Writes all slices one after the other from `position` on.
    fn write_all_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<()>;

    /// Makes what was written durable (fdatasync). After an error the state of the pages is
    /// unknown: the caller must not try again.
    fn sync_data(&self) -> io::Result<()>;

    /// The length in bytes.
    fn length(&self) -> io::Result<u64>;

    /// Cuts or extends the file.
    fn set_length(&self, length: u64) -> io::Result<()>;
}

/// The three together, cheap to clone.
#[derive(Clone)]
pub struct Env {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The randomness.
    pub randomness: Arc<dyn Randomness>,
    /// The disk.
    pub disk: Arc<dyn Disk>,
}
