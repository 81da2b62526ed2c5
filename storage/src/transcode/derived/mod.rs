//! Derived files: what history of Kafka frames looks like for Fluss readers, made once and kept.
//!
//! A segment is divided into ranges of 64 MiB. When a reader comes to a range that is closed,
//! its file is made in the background from the log; until then, and where there is none, the reader's
//! span is transcoded. Files lie in `derived` beside the segments.
//!
//! *Invariant*: losing a file loses nothing: whatever does not hold is removed and made again.
//! *Invariant*: a file holds only what was synced, so that no crash takes its source away.

mod build;
mod file;
mod format;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use protocol::ids::{Offset, TabletId};

use super::parts::Parts;
use super::spans::CELL_BYTES;
use crate::env::Disk;
use crate::log::{Log, LogHandle, Segment};
use crate::tablet::ConvertError;
use crate::threads::Workers;
use build::{BuildError, BuildSpec};
pub(super) use file::{Damaged, DerivedFile, RangeKey};

/// Bytes of a segment that one file is made of.
pub(super) const RANGE_BYTES: u64 = 64 << 20;
/// Bytes of a file at most: a range that decompresses to more stays in the log alone.
const FILE_BYTES_MAX: u64 = 8 * RANGE_BYTES;
/// Cells of a range.
const RANGE_CELLS: u64 = RANGE_BYTES / CELL_BYTES;
/// Files that are open at the same time.
const OPEN_MAX: usize = 64;
/// Files that wait to be made.
const BUILDS_MAX: usize = 64;
/// A file that was read within this time is not removed for another one: when the readers want
/// more than there is room for, some of it stays rather than all of it being made again and again.
const KEPT_AFTER_USE: Duration = Duration::from_secs(600);

/// All derived files of the broker.
pub(super) struct Derived {
    shelf: Arc<Shelf>,
    builder: Workers,
}

struct Shelf {
    state: Mutex<State>,
    /// Held while the files of a tablet are looked for.
    looking: Mutex<HashSet<TabletId>>,
    bytes_max: u64,
}

#[derive(Default)]
struct State {
    slots: HashMap<RangeKey, Slot>,
    bytes: u64,
    open: usize,
    building: usize,
}

struct Slot {
    content: Content,
    used: Duration,
}

enum Content {
    /// A file that is open.
    Open(Arc<DerivedFile>, Arc<dyn Disk>),
    /// A file that is there.
    Closed {
        path: PathBuf,
        start: Offset,
        length: u64,
        disk: Arc<dyn Disk>,
    },
    /// It is being made, and will have about so many bytes.
    Building(u64),
    /// There will be none: the range holds nothing to transcode, or cannot be.
    Nothing,
}

impl Content {
    fn length(&self) -> u64 {
        match self {
            Content::Open(file, _) => file.length(),
            Content::Closed { length, .. } => *length,
            Content::Building(estimate) => *estimate,
            Content::Nothing => 0,
        }
    }

    fn remove_file(&self) {
        let (path, disk) = match self {
            Content::Open(file, disk) => (file.path(), disk),
            Content::Closed { path, disk, .. } => (path.as_path(), disk),
            Content::Building(_) | Content::Nothing => return,
        };
        if let Err(error) = disk.remove_file(path) {
            tracing::warn!(path = %path.display(), %error, "cannot remove a derived file");
        }
    }
}

/// A range of a segment and where its file belongs.
pub(super) struct RangePlace {
    pub(super) key: RangeKey,
    pub(super) segment: Arc<Segment>,
}

impl RangePlace {
    /// The range of the frame that begins at `position`.
    pub(super) fn of(segment: &Arc<Segment>, position: u64) -> RangePlace {
        let header = segment.header();
        RangePlace {
            key: RangeKey {
                tablet: header.tablet,
                generation: header.generation,
                range: position / RANGE_BYTES,
            },
            segment: Arc::clone(segment),
        }
    }

    /// The cells of the segment that begin in the range.
    pub(super) fn cells(&self) -> std::ops::Range<u64> {
        self.key.range * RANGE_CELLS..self.position_end().div_ceil(CELL_BYTES)
    }

    fn position_end(&self) -> u64 {
        ((self.key.range + 1) * RANGE_BYTES).min(self.segment.length())
    }

    /// True when no frame will begin in the range any more.
    fn is_closed(&self, log: &Log) -> bool {
        let active = log
            .segments()
            .last()
            .is_some_and(|last| Arc::ptr_eq(last, &self.segment));
        !active || self.segment.length() >= (self.key.range + 1) * RANGE_BYTES
    }

    fn path(&self, log: &Log) -> PathBuf {
        let base = self.segment.base().value();
        directory_of(log).join(format!("{base:020}-{:05}.columnar", self.key.range))
    }
}

fn directory_of(log: &Log) -> PathBuf {
    log.directory().join("derived")
}

impl Derived {
    /// Keeps at most `bytes_max` bytes of files.
    pub(super) fn start(bytes_max: u64) -> std::io::Result<Derived> {
        Ok(Derived {
            shelf: Arc::new(Shelf {
                state: Mutex::default(),
                looking: Mutex::default(),
                bytes_max,
            }),
            builder: Workers::start("columnar", 1)?,
        })
    }

    /// The file of a range, if it is there.
    pub(super) fn look(&self, log: &Log, place: &RangePlace) -> Option<Arc<DerivedFile>> {
        if self.shelf.bytes_max == 0 {
            return None;
        }
        self.shelf.discover(log);
        self.shelf.open(log, place)
    }

    /// Asks for the file of a range, when it is closed and nobody asked yet. `spans` gives what
    /// goes into it, and is called on the builder's thread.
    pub(super) fn want<I>(
        &self,
        log: &LogHandle,
        place: RangePlace,
        spans: impl FnOnce(&LogHandle, &RangePlace) -> I + Send + 'static,
    ) where
        I: Iterator<Item = Result<Parts, ConvertError>>,
    {
        if self.shelf.bytes_max == 0 || !place.is_closed(log.log()) {
            return;
        }
        self.shelf.discover(log.log());
        if !self.shelf.reserve(log.log(), &place) {
            return;
        }
        let shelf = Arc::clone(&self.shelf);
        let log = log.clone();
        self.builder.run(move || {
            let parts = spans(&log, &place);
            shelf.build(log.log(), &place, parts);
        });
    }

    /// A file did not hold: removes it.
    pub(super) fn condemn(&self, key: &RangeKey, damage: &Damaged) {
        tracing::warn!(tablet = %key.tablet, generation = key.generation, range = key.range, %damage,
            "a derived file is damaged and will be made again");
        metrics::counter!("vltava_transcoder_derived_damaged_total").increment(1);
        self.shelf.remove(key, true);
    }

    /// A file is of no use any more: its topic got a key since, or lost it.
    pub(super) fn outlived(&self, key: &RangeKey) {
        tracing::info!(tablet = %key.tablet, range = key.range, "a derived file shows another kind of table and will be made again");
        self.shelf.remove(key, true);
    }

    /// The tablet is gone and its directory with it.
    pub(super) fn forget(&self, tablet: TabletId) {
        self.shelf.looking.lock().remove(&tablet);
        let mut state = self.shelf.state.lock();
        let gone = state.keys_of(tablet, |_| true);
        for key in gone {
            state.take(&key);
        }
        state.report();
    }

    /// Removes the files of a tablet that hold offsets below `offset`.
    pub(super) fn forget_below(&self, tablet: TabletId, offset: Offset) {
        let gone = self
            .shelf
            .state
            .lock()
            .keys_of(tablet, |content| match content {
                Content::Open(file, _) => file.start() < offset,
                Content::Closed { start, .. } => *start < offset,
                Content::Building(_) | Content::Nothing => false,
            });
        for key in gone {
            self.shelf.remove(&key, true);
        }
    }

    /// Forgets what belongs to segments that the log has no more, files included.
    pub(super) fn forget_segments(&self, log: &Log) {
        let segments = log.segments();
        let has = |key: &RangeKey| {
            let mut all = segments.iter().map(|s| s.header().generation);
            all.any(|generation| generation == key.generation)
        };
        let mut gone = self.shelf.state.lock().keys_of(log.id(), |_| true);
        gone.retain(|key| !has(key));
        for key in gone {
            self.shelf.remove(&key, true);
        }
    }

    /// Waits until no file is being made.
    #[cfg(test)]
    pub(super) fn settle(&self) {
        loop {
            if self.shelf.state.lock().building == 0 {
                return;
            }
            std::thread::yield_now();
        }
    }
}

impl State {
    fn keys_of(&self, tablet: TabletId, wanted: impl Fn(&Content) -> bool) -> Vec<RangeKey> {
        let of_tablet = self.slots.iter().filter(|(key, _)| key.tablet == tablet);
        of_tablet
            .filter(|(_, slot)| wanted(&slot.content))
            .map(|(key, _)| *key)
            .collect()
    }

    /// Takes a slot out, and keeps the sums right.
    fn take(&mut self, key: &RangeKey) -> Option<Content> {
        let slot = self.slots.remove(key)?;
        self.bytes -= slot.content.length();
        match slot.content {
            Content::Open(..) => self.open -= 1,
            Content::Building(_) => self.building -= 1,
            Content::Closed { .. } | Content::Nothing => {}
        }
        Some(slot.content)
    }

    /// Puts a slot in the place of whatever was there.
    fn put(&mut self, key: RangeKey, content: Content, used: Duration) {
        self.take(&key);
        self.bytes += content.length();
        match &content {
            Content::Open(..) => self.open += 1,
            Content::Building(_) => self.building += 1,
            Content::Closed { .. } | Content::Nothing => {}
        }
        self.slots.insert(key, Slot { content, used });
    }

    fn oldest(&self, wanted: impl Fn(&Content) -> bool) -> Option<(RangeKey, Duration)> {
        let slots = self.slots.iter().filter(|(_, slot)| wanted(&slot.content));
        slots
            .min_by_key(|(_, slot)| slot.used)
            .map(|(key, slot)| (*key, slot.used))
    }

    /// Closes the file that was not read for longest, when too many are open.
    fn close_oldest(&mut self) {
        if self.open <= OPEN_MAX {
            return;
        }
        let is_open = |content: &Content| matches!(content, Content::Open(..));
        let Some((key, used)) = self.oldest(is_open) else {
            return;
        };
        if let Some(Content::Open(file, disk)) = self.take(&key) {
            let closed = Content::Closed {
                path: file.path().to_path_buf(),
                start: file.start(),
                length: file.length(),
                disk,
            };
            self.put(key, closed, used);
        }
    }

    fn report(&self) {
        metrics::gauge!("vltava_transcoder_derived_bytes").set(self.bytes as f64);
    }
}

impl Shelf {
    /// Looks once for the files of a tablet: takes note of those of its segments, and removes all
    /// others.
    fn discover(&self, log: &Log) {
        let mut looking = self.looking.lock();
        if !looking.insert(log.id()) {
            return;
        }
        let directory = directory_of(log);
        let disk = &log.context().env.disk;
        if !disk.exists(&directory).unwrap_or(false) {
            return;
        }
        let entries = match disk.list(&directory) {
            Ok(entries) => entries,
            Err(error) => {
                tracing::warn!(path = %directory.display(), %error, "cannot list derived files");
                return;
            }
        };
        for entry in entries {
            let path = directory.join(&entry.name);
            match found(log, &**disk, &path) {
                Some((key, start, length)) => {
                    let closed = Content::Closed {
                        path,
                        start,
                        length,
                        disk: Arc::clone(disk),
                    };
                    self.state.lock().put(key, closed, Duration::ZERO);
                }
                None => {
                    if let Err(error) = disk.remove_file(&path) {
                        tracing::warn!(path = %path.display(), %error, "cannot remove a derived file");
                    }
                }
            }
        }
        self.state.lock().report();
    }

    fn open(&self, log: &Log, place: &RangePlace) -> Option<Arc<DerivedFile>> {
        let now = log.context().env.clock.monotonic();
        let (path, disk) = {
            let mut state = self.state.lock();
            let slot = state.slots.get_mut(&place.key)?;
            slot.used = now;
            match &slot.content {
                Content::Open(file, _) => return Some(Arc::clone(file)),
                Content::Closed { path, disk, .. } => (path.clone(), Arc::clone(disk)),
                Content::Building(_) | Content::Nothing => return None,
            }
        };
        match DerivedFile::open(&*disk, &path, place.key) {
            Ok(Some(file)) => {
                let file = Arc::new(file);
                let mut state = self.state.lock();
                // It may have been forgotten meanwhile.
                if state.slots.contains_key(&place.key) {
                    state.put(place.key, Content::Open(Arc::clone(&file), disk), now);
                    state.close_oldest();
                }
                Some(file)
            }
            Ok(None) => {
                metrics::counter!("vltava_transcoder_derived_damaged_total").increment(1);
                self.remove(&place.key, true);
                None
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot open a derived file");
                self.remove(&place.key, true);
                None
            }
        }
    }

    fn remove(&self, key: &RangeKey, with_file: bool) {
        let content = {
            let mut state = self.state.lock();
            let content = state.take(key);
            state.report();
            content
        };
        if let (Some(content), true) = (content, with_file) {
            content.remove_file();
        }
    }

    /// Claims the making of a file. False when it is there, or cannot be made now.
    fn reserve(&self, log: &Log, place: &RangePlace) -> bool {
        let now = log.context().env.clock.monotonic();
        let estimate = place.position_end() - place.key.range * RANGE_BYTES;
        let mut gone = Vec::new();
        let reserved = {
            let mut state = self.state.lock();
            if state.slots.contains_key(&place.key) || state.building >= BUILDS_MAX {
                return false;
            }
            while state.bytes + estimate > self.bytes_max {
                let has_file = |content: &Content| {
                    matches!(content, Content::Open(..) | Content::Closed { .. })
                };
                match state.oldest(has_file) {
                    Some((key, used)) if now.saturating_sub(used) >= KEPT_AFTER_USE => {
                        gone.extend(state.take(&key));
                    }
                    _ => break,
                }
            }
            let room = state.bytes + estimate <= self.bytes_max;
            if room {
                state.put(place.key, Content::Building(estimate), now);
            }
            room
        };
        for content in gone {
            content.remove_file();
        }
        reserved
    }

    fn build(
        &self,
        log: &Log,
        place: &RangePlace,
        parts: impl Iterator<Item = Result<Parts, ConvertError>>,
    ) {
        let now = log.context().env.clock.monotonic();
        // The directory of a log that was dropped must not come back.
        if log.offline_cause().is_some() || !is_settled(log, place) {
            return self.remove(&place.key, false);
        }
        let spec = BuildSpec {
            key: place.key,
            position_end: place.position_end(),
            bytes_max: self.bytes_max.min(FILE_BYTES_MAX),
        };
        let path = place.path(log);
        let disk = &log.context().env.disk;
        let content = match build::build(&**disk, &path, &spec, parts) {
            Ok(file) => {
                metrics::counter!("vltava_transcoder_derived_built_total").increment(1);
                Content::Open(Arc::new(file), Arc::clone(disk))
            }
            Err(BuildError::NotWorthIt) => Content::Nothing,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot make a derived file");
                Content::Nothing
            }
        };
        let mut state = self.state.lock();
        // Records may have been deleted meanwhile, or the whole tablet.
        let stale = match &content {
            Content::Open(file, _) => file.start() < log.watermarks().log_start,
            _ => false,
        };
        if stale || !state.slots.contains_key(&place.key) {
            state.take(&place.key);
            drop(state);
            return content.remove_file();
        }
        state.put(place.key, content, now);
        if state.bytes > self.bytes_max {
            // It became larger than was thought: better none than too much.
            let content = state.take(&place.key);
            state.put(place.key, Content::Nothing, now);
            drop(state);
            return content.iter().for_each(Content::remove_file);
        }
        state.close_oldest();
        state.report();
    }
}

/// True when all of a range was synced and is decided.
fn is_settled(log: &Log, place: &RangePlace) -> bool {
    let w = log.watermarks();
    let limit = w.high_watermark.min(w.last_stable).min(w.synced_end);
    let cells = place.cells();
    let last =
        cells.rev().find_map(
            |cell| match super::spans::spans_of_cell(log, &place.segment, cell) {
                Ok(spans) => spans.last().map(|span| Some(span.end)),
                Err(_) => Some(None),
            },
        );
    // Without any frame there is nothing to wait for.
    last.is_none_or(|end| end.is_some_and(|end| end <= limit))
}

/// Key, first offset and length of a file that belongs to a segment of the log.
fn found(log: &Log, disk: &dyn Disk, path: &Path) -> Option<(RangeKey, Offset, u64)> {
    if path.extension()? != "columnar" {
        return None;
    }
    let file = disk.open(path, crate::env::OpenMode::Read).ok()?;
    let header = file::read_header(&*file).ok()??;
    let of_segment = log.segments().iter().any(|segment| {
        segment.header().generation == header.generation
            && segment.header().tablet == header.tablet
            && header.position_end <= segment.length()
    });
    let key = RangeKey {
        tablet: header.tablet,
        generation: header.generation,
        range: header.range,
    };
    (of_segment && header.start >= log.watermarks().log_start).then_some((
        key,
        header.start,
        header.length,
    ))
}
