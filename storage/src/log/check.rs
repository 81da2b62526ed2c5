//! Verifies the files of a log that nobody has open, from the first byte, and changes nothing.
//!
//! The rules are recovery's: each frame's header, order and batch CRC must hold; what fails is
//! damage when the checkpoint or a later frame says that it had been synced, and else the tail that
//! a crash leaves, which the next start cuts. Recovery begins at the checkpoint; this does not.

use std::path::{Path, PathBuf};

use protocol::ids::Offset;

use super::checkpoint::Checkpoint;
use super::error::LogError;
use super::frame::ALIGNMENT;
use super::scan::{FrameScanner, Step};
use super::segment::{HEADER_LENGTH, SegmentHeader, base_of_file_name};
use crate::env::{Disk, OpenMode};

/// What was read of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogCheck {
    /// Segment files.
    pub segments: usize,
    /// Frames that hold.
    pub frames: u64,
    /// Bytes of segment files.
    pub bytes: u64,
    /// First offset there is.
    pub start: Offset,
    /// Offset behind the last frame that holds.
    pub end: Offset,
    /// Everything below it had been synced, as far as the files say.
    pub synced_end: Offset,
    /// The first thing that does not hold.
    pub finding: Option<Finding>,
}

/// Something that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub path: PathBuf,
    /// Where in it.
    pub position: u64,
    /// The offset that should stand there.
    pub offset: Offset,
    /// What does not hold.
    pub what: &'static str,
    /// True when it had been synced: acknowledged records are damaged or missing. False for the
    /// tail that a crash leaves.
    pub is_damage: bool,
}

struct File {
    base: Offset,
    path: PathBuf,
    length: u64,
    header: Option<SegmentHeader>,
}

/// Reads all segments of the log in `directory`.
pub fn check(disk: &dyn Disk, directory: &Path) -> Result<LogCheck, LogError> {
    let files = find(disk, directory)?;
    let checkpoint = Checkpoint::read(disk, directory)?;
    let start = files.first().map_or(Offset::ZERO, |file| file.base);
    let mut check = LogCheck {
        segments: files.len(),
        frames: 0,
        bytes: files.iter().map(|file| file.length).sum(),
        start,
        end: start,
        synced_end: checkpoint.map_or(start, |checkpoint| checkpoint.synced_end),
        finding: None,
    };
    for (number, file) in files.iter().enumerate() {
        let next = files.get(number + 1).map(|file| file.base);
        let stopped = if file.base == check.end {
            walk(disk, file, next, &mut check)?
        } else {
            Some((0, "records are missing before this segment"))
        };
        if let Some((position, what)) = stopped {
            let proof = synced_behind(disk, &files[number..], position)?;
            check.synced_end = check.synced_end.max(proof);
            check.finding = Some(Finding {
                path: file.path.clone(),
                position,
                offset: check.end,
                what,
                is_damage: check.synced_end > check.end,
            });
            return Ok(check);
        }
    }
    if check.synced_end > check.end {
        let last = files.last();
        check.finding = Some(Finding {
            path: last.map_or_else(|| directory.to_path_buf(), |file| file.path.clone()),
            position: last.map_or(0, |file| file.length),
            offset: check.end,
            what: "synced records are missing",
            is_damage: true,
        });
    }
    Ok(check)
}

/// The segment files, by base offset.
fn find(disk: &dyn Disk, directory: &Path) -> Result<Vec<File>, LogError> {
    let entries = disk
        .list(directory)
        .map_err(LogError::io("cannot list", directory))?;
    let mut files = Vec::new();
    for entry in entries {
        let Some(base) = base_of_file_name(&entry.name).filter(|_| !entry.is_directory) else {
            continue;
        };
        let path = directory.join(&entry.name);
        let mut bytes = vec![0; HEADER_LENGTH as usize];
        let read = disk
            .open(&path, OpenMode::Read)
            .and_then(|file| file.read_at(&mut bytes, 0))
            .map_err(LogError::io("cannot read", &path))?;
        let header = SegmentHeader::decode(&bytes[..read]).filter(|header| header.base == base);
        files.push(File {
            base,
            path,
            length: entry.length,
            header,
        });
    }
    files.sort_by_key(|file| file.base);
    Ok(files)
}

/// Walks the frames of a segment. Returns where and why it had to stop before its end.
fn walk(
    disk: &dyn Disk,
    file: &File,
    next_base: Option<Offset>,
    check: &mut LogCheck,
) -> Result<Option<(u64, &'static str)>, LogError> {
    let Some(header) = &file.header else {
        return Ok(Some((0, "the segment header is damaged")));
    };
    let mut scanner = scanner(disk, file, header.salt, HEADER_LENGTH)?;
    loop {
        let step = scanner
            .next_frame()
            .map_err(LogError::io("cannot read", &file.path))?;
        // What a rewritten tail replaced does not count.
        if next_base == Some(check.end) {
            return Ok(None);
        }
        let (frame, position) = match step {
            Step::Frame { header, position } => (header, position),
            Step::End => return Ok(None),
            Step::Damaged { position, what } => return Ok(Some((position, what))),
        };
        let follows = if header.cleaned {
            frame.base_offset >= check.end
        } else {
            frame.base_offset == check.end
        };
        if !follows {
            return Ok(Some((position, "a frame with an unexpected base offset")));
        }
        if !scanner.batch_crc_holds(&frame) {
            return Ok(Some((position, "a batch whose CRC does not hold")));
        }
        check.frames += 1;
        check.synced_end = check.synced_end.max(frame.synced_end);
        check.end = Offset::new(frame.last_offset.value() + 1);
    }
}

/// The largest synced end that valid frames behind a position vouch for.
fn synced_behind(disk: &dyn Disk, files: &[File], position: u64) -> Result<Offset, LogError> {
    let mut proof = Offset::ZERO;
    for (number, file) in files.iter().enumerate() {
        let Some(header) = &file.header else { continue };
        let from = match number {
            0 => (position + ALIGNMENT as u64).max(HEADER_LENGTH),
            _ => HEADER_LENGTH,
        };
        let mut scanner = scanner(disk, file, header.salt, from)?;
        loop {
            let step = scanner
                .next_header()
                .map_err(LogError::io("cannot read", &file.path))?;
            match step {
                Step::Frame { header, .. } => proof = proof.max(header.synced_end),
                Step::Damaged { position, .. } => scanner.skip_to(position + ALIGNMENT as u64),
                Step::End => break,
            }
        }
    }
    Ok(proof)
}

fn scanner(disk: &dyn Disk, file: &File, salt: u64, from: u64) -> Result<FrameScanner, LogError> {
    let opened = disk
        .open(&file.path, OpenMode::Read)
        .map_err(LogError::io("cannot open", &file.path))?;
    Ok(FrameScanner::new(opened, salt, from, file.length))
}
