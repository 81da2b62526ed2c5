//! The data directory belongs to one process and one format.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// The layout of a data directory that this program reads and writes. A change that older programs
/// cannot read raises it.
pub const DATA_FORMAT: u32 = 1;

/// Holds the lock and the owner's process id.
const LOCK_FILE: &str = "vltava.lock";

/// Holds the format, as text: it is read by every version there will be.
const FORMAT_FILE: &str = "vltava.format";

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Another process has it.
    #[error("the data directory {} is in use by process {owner}", directory.display())]
    InUse {
        /// The directory.
        directory: PathBuf,
        /// The process id that it has written down.
        owner: String,
    },
    /// Another version has written it.
    #[error(
        "the data directory {} has format {found}, and this program reads format {DATA_FORMAT}; \
         start the version that wrote it, or another directory",
        directory.display()
    )]
    Format {
        /// The directory.
        directory: PathBuf,
        /// The format found.
        found: String,
    },
    /// The directory holds files that are not ours.
    #[error(
        "the directory {} is not empty and was not made by vltava",
        directory.display()
    )]
    Foreign {
        /// The directory.
        directory: PathBuf,
    },
    /// The disk refuses.
    #[error("cannot use the data directory {}", directory.display())]
    Io {
        /// The directory.
        directory: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// A claimed data directory; given back when dropped, or by the system when the process ends.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Claims `path`, which a broker has made before.
    #[expect(
        clippy::disallowed_methods,
        reason = "before there is an environment: the lock is real"
    )]
    pub fn claim_existing(path: &Path) -> Result<Self, ClaimError> {
        match std::fs::metadata(path.join(FORMAT_FILE)) {
            Ok(_) => Self::claim(path),
            Err(source) => Err(ClaimError::Io {
                directory: path.to_owned(),
                source,
            }),
        }
    }

    /// Claims `path`, and makes it when it is not there.
    pub fn claim(path: &Path) -> Result<Self, ClaimError> {
        let io = |source| ClaimError::Io {
            directory: path.to_owned(),
            source,
        };
        let is_new = make(path).map_err(io)?;
        let mut lock = open_lock(path).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                lock.read_to_string(&mut owner).map_err(io)?;
                let owner = owner.trim().to_owned();
                return Err(ClaimError::InUse {
                    directory: path.to_owned(),
                    owner,
                });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        check_format(path, is_new)?;
        lock.set_len(0).map_err(io)?;
        lock.rewind().map_err(io)?;
        writeln!(lock, "{}", std::process::id()).map_err(io)?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes the directory; true when nothing is in it, `lost+found` of a fresh disk apart.
#[expect(
    clippy::disallowed_methods,
    reason = "before there is an environment: the lock is real"
)]
fn make(path: &Path) -> io::Result<bool> {
    std::fs::create_dir_all(path)?;
    for entry in std::fs::read_dir(path)? {
        let name = entry?.file_name();
        if name != LOCK_FILE && name != "lost+found" {
            return Ok(false);
        }
    }
    Ok(true)
}

#[expect(
    clippy::disallowed_methods,
    reason = "before there is an environment: the lock is real"
)]
fn open_lock(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path.join(LOCK_FILE))
}

/// Reads the format, or writes it into a new directory, durably.
#[expect(
    clippy::disallowed_methods,
    reason = "before there is an environment: the lock is real"
)]
fn check_format(path: &Path, is_new: bool) -> Result<(), ClaimError> {
    let io = |source| ClaimError::Io {
        directory: path.to_owned(),
        source,
    };
    let file = path.join(FORMAT_FILE);
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && is_new => String::new(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ClaimError::Foreign {
                directory: path.to_owned(),
            });
        }
        Err(error) => return Err(io(error)),
    };
    let found = text.trim();
    if found == DATA_FORMAT.to_string() {
        return Ok(());
    }
    if !found.is_empty() {
        let found = found.chars().take(20).collect();
        return Err(ClaimError::Format {
            directory: path.to_owned(),
            found,
        });
    }
    // Empty: new, or a crash came between making and filling the file.
    let mut file = File::create(&file).map_err(io)?;
    writeln!(file, "{DATA_FORMAT}").map_err(io)?;
    file.sync_all().map_err(io)?;
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(io)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time_and_again_after_it() {
        let temporary = tempfile::tempdir().expect("a directory");
        let path = temporary.path().join("deep/data");
        let first = DataDir::claim(&path).expect("free");
        let refused = DataDir::claim(&path).expect_err("taken");
        let pid = std::process::id();
        let expected = format!(
            "the data directory {} is in use by process {pid}",
            path.display()
        );
        assert_eq!(refused.to_string(), expected);
        drop(first);
        DataDir::claim(&path).expect("free again");
    }

    #[test]
    fn a_directory_of_another_format_or_owner_is_left_alone() {
        let temporary = tempfile::tempdir().expect("a directory");
        drop(DataDir::claim(temporary.path()).expect("free"));
        std::fs::write(temporary.path().join(FORMAT_FILE), "77\n").expect("written");
        let refused = DataDir::claim(temporary.path()).expect_err("of the future");
        assert!(refused.to_string().contains("has format 77"), "{refused}");

        let foreign = tempfile::tempdir().expect("a directory");
        std::fs::write(foreign.path().join("thesis.tex"), "x").expect("written");
        let refused = DataDir::claim(foreign.path());
        assert!(matches!(refused, Err(ClaimError::Foreign { .. })));
    }

    #[test]
    fn a_crash_while_making_it_does_no_harm() {
        let temporary = tempfile::tempdir().expect("a directory");
        std::fs::write(temporary.path().join(FORMAT_FILE), "").expect("written");
        DataDir::claim(temporary.path()).expect("made now");
        assert!(DataDir::claim(temporary.path()).is_ok());
    }
}
