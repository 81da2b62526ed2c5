//! A disk, a clock and randomness that live in memory and do as a test tells them.
//!
//! [`SimulatedDisk`] models what a crash may do: a file's bytes are durable after `sync_data`, its
//! name after `sync_directory`; [`SimulatedDisk::crash`] keeps that and a random part of the rest,
//! chosen by a seed alone.
//!
//! ```
//! use std::io::IoSlice;
//! use std::path::Path;
//! use storage::env::OpenMode;
//! use storage::env::simulated::Simulation;
//!
//! let simulation = Simulation::new(42);
//! let env = simulation.env();
//! let file = env.disk.open(Path::new("/log"), OpenMode::CreateNew).unwrap();
//! file.write_all_at(&[IoSlice::new(b"acknowledged")], 0).unwrap();
//! file.sync_data().unwrap();
//! env.disk.sync_directory(Path::new("/")).unwrap();
//! file.write_all_at(&[IoSlice::new(b"not yet")], 12).unwrap();
//!
//! simulation.disk.crash(7);
//! assert!(file.length().is_err());
//! let survived = simulation.disk.contents(Path::new("/log")).unwrap();
//! assert!(survived.starts_with(b"acknowledged"));
//! ```

mod clock;
mod content;
mod mount;
mod random;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Disk, Env};
pub use clock::ManualClock;
use mount::Mount;
pub use random::SeededRandomness;
use tree::{Kind, NodeId, Tree};

/// Bytes that a simulated disk holds unless a test says otherwise: far more than a test needs, and
/// little enough that a wrong position fails as a full disk instead of taking the memory.
const CAPACITY_BYTES_DEFAULT: u64 = 4 << 30;

/// A whole simulated world.
#[derive(Debug, Clone)]
pub struct Simulation {
    /// The disk and the handles of its faults.
    pub disk: SimulatedDisk,
    /// The clock.
    pub clock: Arc<ManualClock>,
    /// The randomness.
    pub randomness: Arc<SeededRandomness>,
}

impl Simulation {
    /// An empty disk, a clock in November 2023 and the random numbers of `seed`.
    pub fn new(seed: u64) -> Self {
        Simulation {
            disk: SimulatedDisk::new(),
            clock: Arc::new(ManualClock::new(1_700_000_000_000)),
            randomness: Arc::new(SeededRandomness::new(seed)),
        }
    }

    /// What the code under test gets. Its disk belongs to the running process: after the next
    /// crash or kill it fails every call, so that threads left over from before can do no harm,
    /// and the restarted code needs a new one.
    pub fn env(&self) -> Env {
        Env {
            clock: self.clock.clone(),
            randomness: self.randomness.clone(),
            disk: self.disk.mount(),
        }
    }
}

/// What has been done to a disk since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiskCounters {
    /// Calls of `sync_data` that succeeded.
    pub file_syncs: u64,
    /// Calls of `sync_directory` that succeeded.
    pub directory_syncs: u64,
    /// Calls of `write_all_at` that succeeded.
    pub writes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Calls that read.
    pub reads: u64,
    /// Bytes read.
    pub read_bytes: u64,
}

/// The disk, as the test holds it. Clones are the same disk.
#[derive(Debug, Clone)]
pub struct SimulatedDisk {
    shared: Arc<Mutex<State>>,
}

impl Default for SimulatedDisk {
    fn default() -> Self {
        SimulatedDisk::new()
    }
}

#[derive(Debug)]
struct State {
    tree: Tree,
    counters: DiskCounters,
    capacity_bytes: u64,
    used_bytes: u64,
    /// Raised by every crash and kill; mounts and handles of an older one are stale.
    generation: u64,
    faults: Faults,
}

#[derive(Debug, Default)]
struct Faults {
    /// Syncs that still succeed before one fails.
    sync_failure_after: Option<u64>,
    /// Changes that still succeed before the power is gone.
    power_cut_after: Option<u64>,
    power_is_off: bool,
    syncs_are_ignored: bool,
    reads_would_wait: bool,
    unreadable: BTreeSet<PathBuf>,
    unreadable_nodes: BTreeSet<NodeId>,
}

impl SimulatedDisk {
    /// An empty disk.
    pub fn new() -> Self {
        let state = State {
            tree: Tree::new(),
            counters: DiskCounters::default(),
            capacity_bytes: CAPACITY_BYTES_DEFAULT,
            used_bytes: 0,
            generation: 0,
            faults: Faults::default(),
        };
        SimulatedDisk {
            shared: Arc::new(Mutex::new(state)),
        }
    }

    /// The disk as the running process sees it, until the next [`SimulatedDisk::crash`] or
    /// [`SimulatedDisk::kill`].
    pub fn mount(&self) -> Arc<dyn Disk> {
        let generation = self.shared.lock().generation;
        Arc::new(Mount {
            shared: Arc::clone(&self.shared),
            generation,
        })
    }

    /// Power loss. Kept are synced bytes and synced names, of everything else a random part that
    /// depends on `seed` alone: sectors of 512 bytes, file lengths, changes of names in a legal
    /// order. Mounts and open files fail from now on; a pending sync failure, power cut or
    /// unreadable file is forgotten, capacity and ignored syncs stay.
    pub fn crash(&self, seed: u64) {
        let mut state = self.shared.lock();
        state.tree.crash(&SeededRandomness::new(seed));
        state.restart();
    }

    /// The process dies and the machine lives: every byte and name stays as readers saw it,
    /// durable or not; mounts and open files fail from now on.
    pub fn kill(&self) {
        let mut state = self.shared.lock();
        state.tree.close_all();
        state.restart();
    }

    /// Lets `count` more changes (writes, cuts, syncs, changes of names) succeed; then every call
    /// fails until [`SimulatedDisk::crash`] or [`SimulatedDisk::kill`].
    pub fn cut_power_after(&self, count: u64) {
        self.shared.lock().faults.power_cut_after = Some(count);
    }

    /// True once the cut asked for by [`SimulatedDisk::cut_power_after`] has happened.
    pub fn power_is_off(&self) -> bool {
        self.shared.lock().faults.power_is_off
    }

    /// Lets `count` more syncs of files succeed and the next one fail, once. The pages of the
    /// failed sync then look clean: later syncs return without an error, and a power loss may
    /// take the bytes all the same.
    pub fn fail_sync_after(&self, count: u64) {
        self.shared.lock().faults.sync_failure_after = Some(count);
    }

    /// Makes every sync return at once without doing anything: the proof that a crash test sees
    /// missing syncs.
    pub fn ignore_syncs(&self, ignore: bool) {
        self.shared.lock().faults.syncs_are_ignored = ignore;
    }

    /// Bytes that fit. A write past that writes what fits and fails with
    /// [`io::ErrorKind::StorageFull`].
    pub fn set_capacity_bytes(&self, bytes: u64) {
        self.shared.lock().capacity_bytes = bytes;
    }

    /// Bytes that are used by files that have a name.
    pub fn used_bytes(&self) -> u64 {
        self.shared.lock().used_bytes
    }

    /// Makes every read of the file at `path` fail, through handles that are open too; or lets
    /// them succeed again. A file that is not there yet is unreadable once it is opened.
    pub fn fail_reads(&self, path: &Path, fail: bool) {
        let mut state = self.shared.lock();
        let node = state.tree.find(path).ok();
        let faults = &mut state.faults;
        if fail {
            faults.unreadable.insert(path.to_owned());
            faults.unreadable_nodes.extend(node);
        } else {
            faults.unreadable.remove(path);
            node.map(|node| faults.unreadable_nodes.remove(&node));
        }
    }

    /// Makes every read that must not wait answer that it would have to.
    pub fn pretend_uncached(&self, uncached: bool) {
        self.shared.lock().faults.reads_would_wait = uncached;
    }

    /// Turns over bit `bit` (0 to 7) of the byte at `position`, now and on the platter. Positions
    /// past the end change nothing.
    pub fn flip_bit(&self, path: &Path, position: u64, bit: u8) -> io::Result<()> {
        self.with_content(path, |content| content.flip_bit(position as usize, bit))
    }

    /// All bytes of a file as readers see them.
    pub fn contents(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.with_content(path, |content| content.current().to_vec())
    }

    /// How many bytes of a file's length a power loss leaves for certain, if no cut is pending.
    pub fn durable_length(&self, path: &Path) -> io::Result<u64> {
        self.with_content(path, |content| content.durable().len() as u64)
    }

    fn with_content<T>(
        &self,
        path: &Path,
        f: impl FnOnce(&mut content::Content) -> T,
    ) -> io::Result<T> {
        let mut state = self.shared.lock();
        let node = state.tree.find(path)?;
        match &mut state.tree.node(node).kind {
            Kind::File(content) => Ok(f(content)),
            Kind::Directory(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    /// What has been done so far.
    pub fn counters(&self) -> DiskCounters {
        self.shared.lock().counters
    }
}

impl State {
    fn restart(&mut self) {
        self.generation += 1;
        self.used_bytes = self.tree.used_bytes();
        let syncs_are_ignored = self.faults.syncs_are_ignored;
        self.faults = Faults {
            syncs_are_ignored,
            ..Faults::default()
        };
    }

    /// Counts a change towards the power cut.
    fn before_change(&mut self) -> io::Result<()> {
        match &mut self.faults.power_cut_after {
            Some(0) => {
                self.faults.power_is_off = true;
                Err(io::Error::other("simulated power cut"))
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn content(&mut self, node: NodeId) -> &mut content::Content {
        match &mut self.tree.node(node).kind {
            Kind::File(content) => content,
            Kind::Directory(_) => unreachable!("only files are opened"),
        }
    }

    fn free_bytes(&self) -> u64 {
        self.capacity_bytes.saturating_sub(self.used_bytes)
    }

    /// Sets a length as far as the capacity allows; true when it did.
    fn set_length(&mut self, node: NodeId, length: u64) -> bool {
        let free = self.free_bytes();
        let content = self.content(node);
        let before = content.length() as u64;
        let possible = length.min(before.saturating_add(free));
        content.set_length(possible as usize);
        // A removed file gave its bytes back when its name went.
        if self.tree.node(node).linked {
            self.used_bytes = (self.used_bytes + possible).saturating_sub(before);
        }
        possible == length
    }
}
