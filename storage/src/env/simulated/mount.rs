//! The simulated disk as the code under test sees it: a disk and its open files.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::State;
use super::tree::{Kind, NodeId};
use crate::env::{DirectoryEntry, Disk, DiskFile, DiskSpace, OpenMode};

/// A disk as one process sees it.
#[derive(Debug)]
pub(super) struct Mount {
    pub(super) shared: Arc<Mutex<State>>,
    pub(super) generation: u64,
}

impl Mount {
    fn with<T>(&self, f: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.shared.lock();
        check_alive(&state, self.generation)?;
        f(&mut state)
    }

    fn change<T>(&self, f: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        self.with(|state| {
            state.before_change()?;
            f(state)
        })
    }
}

fn check_alive(state: &State, generation: u64) -> io::Result<()> {
    if state.generation != generation {
        return Err(io::Error::other("handle from before a simulated crash"));
    }
    if state.faults.power_is_off {
        return Err(io::Error::other("simulated power cut"));
    }
    Ok(())
}

impl Disk for Mount {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let node = self.with(|state| {
            let node = match (state.tree.find(path), mode) {
                (Ok(_), OpenMode::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
                (Err(error), OpenMode::CreateNew | OpenMode::CreateOrTruncate)
                    if error.kind() == io::ErrorKind::NotFound =>
                {
                    state.before_change()?;
                    state.tree.create_file(path)?
                }
                (found, _) => found?,
            };
            if matches!(state.tree.node(node).kind, Kind::Directory(_)) {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            if mode == OpenMode::CreateOrTruncate && state.content(node).length() > 0 {
                state.before_change()?;
                state.set_length(node, 0);
            }
            if state.faults.unreadable.contains(path) {
                state.faults.unreadable_nodes.insert(node);
            }
            state.tree.node(node).open_count += 1;
            Ok(node)
        })?;
        let (shared, generation) = (Arc::clone(&self.shared), self.generation);
        let writable = mode != OpenMode::Read;
        Ok(Arc::new(SimulatedFile {
            shared,
            generation,
            node,
            writable,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|state| {
            state.used_bytes -= state.tree.rename(from, to)?;
            Ok(())
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.change(|state| {
            state.used_bytes -= state.tree.remove_file(path)?;
            Ok(())
        })
    }

    fn create_directories(&self, path: &Path) -> io::Result<()> {
        self.change(|state| state.tree.create_directories(path))
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.change(|state| {
            state.used_bytes -= state.tree.remove_directory(path)?;
            Ok(())
        })
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirectoryEntry>> {
        self.with(|state| {
            let node = state.tree.find(path)?;
            let names = state.tree.list(node)?;
            let entry = |(name, id)| {
                let (is_directory, length) = match &state.tree.node(id).kind {
                    Kind::File(content) => (false, content.length() as u64),
                    Kind::Directory(_) => (true, 0),
                };
                DirectoryEntry {
                    name,
                    is_directory,
                    length,
                }
            };
            Ok(names.into_iter().map(entry).collect())
        })
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.with(|state| match state.tree.find(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        })
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.change(|state| {
            let node = state.tree.find(path)?;
            if !state.faults.syncs_are_ignored {
                state.tree.sync_directory(node)?;
            }
            state.counters.directory_syncs += 1;
            Ok(())
        })
    }

    fn space(&self, _path: &Path) -> io::Result<Option<DiskSpace>> {
        Ok(None)
    }
}

#[derive(Debug)]
struct SimulatedFile {
    shared: Arc<Mutex<State>>,
    generation: u64,
    node: NodeId,
    writable: bool,
}

impl SimulatedFile {
    fn with<T>(&self, f: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.shared.lock();
        check_alive(&state, self.generation)?;
        f(&mut state)
    }

    fn change<T>(&self, f: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        if !self.writable {
            return Err(io::Error::other("file is open for reading only"));
        }
        self.with(|state| {
            state.before_change()?;
            f(state)
        })
    }
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.with(|state| {
            if state.faults.unreadable_nodes.contains(&self.node) {
                return Err(io::Error::other("simulated read error"));
            }
            let bytes = state.content(self.node).current();
            let start = bytes
                .len()
                .min(usize::try_from(position).unwrap_or(usize::MAX));
            let count = buffer.len().min(bytes.len() - start);
            buffer[..count].copy_from_slice(&bytes[start..start + count]);
            state.counters.reads += 1;
            state.counters.read_bytes += count as u64;
            Ok(count)
        })
    }

    fn read_at_without_waiting(
        &self,
        buffer: &mut [u8],
        position: u64,
    ) -> io::Result<Option<usize>> {
        if self.with(|state| Ok(state.faults.reads_would_wait))? {
            return Ok(None);
        }
        self.read_at(buffer, position).map(Some)
    }

    fn write_all_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<()> {
        self.change(|state| {
            let wanted: u64 = slices.iter().map(|slice| slice.len() as u64).sum();
            let end = position
                .checked_add(wanted)
                .ok_or(io::ErrorKind::InvalidInput)?;
            let fits = end <= state.content(self.node).length() as u64
                || wanted == 0
                || state.set_length(self.node, end);
            let content = state.content(self.node);
            let mut at = position;
            for slice in slices {
                let room = (content.length() as u64).saturating_sub(at);
                let count = slice.len().min(usize::try_from(room).unwrap_or(usize::MAX));
                content.write(&slice[..count], at as usize);
                at += count as u64;
            }
            state.counters.written_bytes += at - position;
            if !fits {
                return Err(io::ErrorKind::StorageFull.into());
            }
            state.counters.writes += 1;
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        // Allowed on read-only handles, as fdatasync is.
        self.with(|state| {
            state.before_change()?;
            match &mut state.faults.sync_failure_after {
                Some(0) => {
                    state.faults.sync_failure_after = None;
                    state.content(self.node).fail_sync();
                    return Err(io::Error::other("simulated sync failure"));
                }
                Some(left) => *left -= 1,
                None => {}
            }
            if !state.faults.syncs_are_ignored {
                state.content(self.node).sync();
            }
            state.counters.file_syncs += 1;
            Ok(())
        })
    }

    fn length(&self) -> io::Result<u64> {
        self.with(|state| Ok(state.content(self.node).length() as u64))
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.change(|state| {
            if !state.set_length(self.node, length) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(())
        })
    }
}

impl Drop for SimulatedFile {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if state.generation == self.generation {
            state.tree.node(self.node).open_count -= 1;
        }
    }
}
