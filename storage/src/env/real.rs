//! The world as it is: this machine's clock, its randomness and its disk.
//!
//! This is the one place where the standard library's clock and file functions are called.
#![allow(
    clippy::disallowed_methods,
    reason = "everything else in the workspace asks this module instead"
)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::io::{Errno, ReadWriteFlags};

use super::{Clock, DirectoryEntry, Disk, DiskFile, DiskSpace, Env, OpenMode, Randomness};

/// Most slices that one `pwritev` takes (`IOV_MAX` of Linux).
const SLICES_PER_WRITE_MAX: usize = 1024;

impl Env {
    /// The clock, randomness and disk of this machine.
    pub fn real() -> Self {
        Env {
            clock: Arc::new(SystemClock::default()),
            randomness: Arc::new(SystemRandomness),
            disk: Arc::new(RealDisk::default()),
        }
    }
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock {
            start: Instant::now(),
        }
    }
}

impl Clock for SystemClock {
    fn wall_ms(&self) -> i64 {
        let ms = |elapsed: Duration| i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX);
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => ms(since),
            Err(before) => -ms(before.duration()),
        }
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// The process's random number generator, seeded by the kernel.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemRandomness;

impl Randomness for SystemRandomness {
    fn next_u64(&self) -> u64 {
        rand::random()
    }
}

/// The file system of this machine.
///
/// A full disk is an error of kind [`io::ErrorKind::StorageFull`] (a quota:
/// [`io::ErrorKind::QuotaExceeded`]); bytes in front of the ones that did not fit may have been
/// written.
#[derive(Debug, Default)]
pub struct RealDisk {
    /// Set once a file system answered that it cannot tell whether a read would wait.
    cannot_tell_waiting: Arc<AtomicBool>,
}

impl RealDisk {
    /// Bytes that an unprivileged process may still write below `path`.
    pub fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => {}
            OpenMode::ReadWrite => {
                options.write(true);
            }
            OpenMode::CreateNew => {
                options.write(true).create_new(true);
            }
            OpenMode::CreateOrTruncate => {
                options.write(true).create(true).truncate(true);
            }
        }
        let file = options.open(path)?;
        // Opening a directory for reading succeeds on Linux and fails later, at the first read.
        if mode == OpenMode::Read && file.metadata()?.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(Arc::new(RealFile {
            file,
            cannot_tell_waiting: Arc::clone(&self.cannot_tell_waiting),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_directories(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirectoryEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            // A name that is not UTF-8 is none of ours.
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // Removed between the two calls.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let is_directory = metadata.is_dir();
            let length = if is_directory { 0 } else { metadata.len() };
            entries.push(DirectoryEntry {
                name,
                is_directory,
                length,
            });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        let directory = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        File::open(directory)?.sync_all()
    }

    fn space(&self, path: &Path) -> io::Result<Option<DiskSpace>> {
        let volume = rustix::fs::statvfs(path)?;
        Ok(Some(DiskSpace {
            total_bytes: volume.f_blocks.saturating_mul(volume.f_frsize),
            usable_bytes: volume.f_bavail.saturating_mul(volume.f_frsize),
        }))
    }
}

#[derive(Debug)]
struct RealFile {
    file: File,
    cannot_tell_waiting: Arc<AtomicBool>,
}

impl DiskFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match rustix::io::pread(&self.file, &mut buffer[filled..], position + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(filled)
    }

    fn read_at_without_waiting(
        &self,
        buffer: &mut [u8],
        position: u64,
    ) -> io::Result<Option<usize>> {
        if self.cannot_tell_waiting.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let mut filled = 0;
        while filled < buffer.len() {
            let answer = rustix::io::preadv2(
                &self.file,
                &mut [IoSliceMut::new(&mut buffer[filled..])],
                position + filled as u64,
                ReadWriteFlags::NOWAIT,
            );
            match answer {
                Ok(0) => break,
                // Short when the page cache ends inside the range: the next turn tells whether
                // that is the end of the file or a page that is not there.
                Ok(count) => filled += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                    self.cannot_tell_waiting.store(true, Ordering::Relaxed);
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(filled))
    }

    fn write_all_at(&self, slices: &[IoSlice<'_>], mut position: u64) -> io::Result<()> {
        // How much of the first slice is already written.
        let mut skipped = 0;
        let mut index = 0;
        while index < slices.len() {
            if skipped == slices[index].len() {
                index += 1;
                skipped = 0;
                continue;
            }
            let written = if skipped == 0 {
                let end = slices.len().min(index + SLICES_PER_WRITE_MAX);
                rustix::io::pwritev(&self.file, &slices[index..end], position)
            } else {
                rustix::io::pwrite(&self.file, &slices[index][skipped..], position)
            };
            let mut written = match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => written,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            position += written as u64;
            while written > 0 {
                let step = written.min(slices[index].len() - skipped);
                written -= step;
                skipped += step;
                if skipped == slices[index].len() {
                    index += 1;
                    skipped = 0;
                }
            }
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        // Not repeated on EINTR: whether the pages are still dirty is not known then.
        Ok(rustix::fs::fdatasync(&self.file)?)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        loop {
            match rustix::fs::ftruncate(&self.file, length) {
                Err(Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_of_many_slices_are_read_back_and_reads_end_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::default();
        let path = dir.path().join("f");
        let file = disk.open(&path, OpenMode::CreateNew).unwrap();
        let parts: Vec<Vec<u8>> = (0..2500u32)
            .map(|i| vec![i as u8; (i % 7) as usize])
            .collect();
        let slices: Vec<IoSlice<'_>> = parts.iter().map(|p| IoSlice::new(p)).collect();
        file.write_all_at(&slices, 3).unwrap();
        file.sync_data().unwrap();
        disk.sync_directory(dir.path()).unwrap();

        let expected: Vec<u8> = [0, 0, 0].into_iter().chain(parts.concat()).collect();
        assert_eq!(file.length().unwrap(), expected.len() as u64);
        let mut buffer = vec![1; expected.len() + 10];
        assert_eq!(file.read_at(&mut buffer, 0).unwrap(), expected.len());
        assert_eq!(buffer[..expected.len()], expected);
        if let Some(count) = file.read_at_without_waiting(&mut buffer, 0).unwrap() {
            assert_eq!(count, expected.len());
            assert_eq!(buffer[..count], expected);
        }
        assert_eq!(file.read_at(&mut buffer, 1 << 40).unwrap(), 0);
    }

    #[test]
    fn open_modes_mind_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::default();
        let path = dir.path().join("f");
        let kind = |mode| disk.open(&path, mode).err().map(|e| e.kind());
        assert_eq!(kind(OpenMode::Read), Some(io::ErrorKind::NotFound));
        assert_eq!(kind(OpenMode::ReadWrite), Some(io::ErrorKind::NotFound));
        assert_eq!(kind(OpenMode::CreateNew), None);
        assert_eq!(
            kind(OpenMode::CreateNew),
            Some(io::ErrorKind::AlreadyExists)
        );
        disk.open(&path, OpenMode::ReadWrite)
            .unwrap()
            .set_length(5)
            .unwrap();
        assert_eq!(
            disk.open(&path, OpenMode::CreateOrTruncate)
                .unwrap()
                .length()
                .unwrap(),
            0
        );
        let directory = disk
            .open(dir.path(), OpenMode::Read)
            .err()
            .map(|e| e.kind());
        assert_eq!(directory, Some(io::ErrorKind::IsADirectory));
    }

    #[test]
    fn directories_are_listed_renamed_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk::default();
        let deep = dir.path().join("a/b");
        disk.create_directories(&deep).unwrap();
        disk.create_directories(&deep).unwrap();
        let file = disk.open(&deep.join("x"), OpenMode::CreateNew).unwrap();
        file.write_all_at(&[IoSlice::new(b"hello")], 0).unwrap();
        disk.rename(&deep.join("x"), &dir.path().join("a/y"))
            .unwrap();
        let entry = |name: &str, is_directory, length| DirectoryEntry {
            name: name.to_owned(),
            is_directory,
            length,
        };
        let listed = disk.list(&dir.path().join("a")).unwrap();
        assert_eq!(listed, [entry("b", true, 0), entry("y", false, 5)]);
        disk.remove_file(&dir.path().join("a/y")).unwrap();
        let mut buffer = [0; 5];
        assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 5);
        disk.remove_directory(&dir.path().join("a")).unwrap();
        disk.remove_directory(&dir.path().join("a")).unwrap();
        assert!(!disk.exists(&dir.path().join("a")).unwrap());
        assert!(disk.free_bytes(dir.path()).unwrap() > 0);
    }
}
