//! `vltava check`: verifies every log of a data directory from its first byte.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use storage::env::Disk;
use storage::log::{LogCheck, LogError, base_of_file_name};

/// Directories below the data directory are followed so deep; logs lie higher.
const DEPTH_MAX: usize = 8;

/// Why a data directory cannot be checked to its end.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A directory cannot be listed.
    #[error("cannot list {}", path.display())]
    List {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Nobody takes the lines.
    #[error("cannot write")]
    Output(#[source] io::Error),
}

/// What was found in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Logs.
    pub logs: usize,
    /// Frames that hold.
    pub frames: u64,
    /// Bytes of segment files.
    pub bytes: u64,
    /// Logs in which acknowledged records are damaged or missing.
    pub damaged: usize,
    /// Logs with a tail that a crash has left, which the next start cuts.
    pub torn: usize,
}

/// Checks all logs below `directory` and writes a line for each to `out`, then the totals. Nothing
/// is changed; no broker may have the directory open.
pub fn check(disk: &dyn Disk, directory: &Path, out: &mut dyn Write) -> Result<Report, CheckError> {
    let mut report = Report::default();
    for log in logs(disk, directory)? {
        let found = storage::log::check(disk, &log)?;
        let name = log.strip_prefix(directory).unwrap_or(&log);
        show(name, &found, out).map_err(CheckError::Output)?;
        report.logs += 1;
        report.frames += found.frames;
        report.bytes += found.bytes;
        match found.finding {
            Some(finding) if finding.is_damage => report.damaged += 1,
            Some(_) => report.torn += 1,
            None => {}
        }
    }
    let Report {
        logs,
        frames,
        bytes,
        damaged,
        torn,
    } = report;
    writeln!(
        out,
        "{logs} logs, {frames} frames, {bytes} bytes: {damaged} damaged, {torn} with a torn tail"
    )
    .map_err(CheckError::Output)?;
    Ok(report)
}

fn show(name: &Path, log: &LogCheck, out: &mut dyn Write) -> io::Result<()> {
    let verdict = match &log.finding {
        None => "sound",
        Some(finding) if finding.is_damage => "DAMAGED",
        Some(_) => "torn tail",
    };
    writeln!(
        out,
        "{}: {verdict}, offsets {}..{} synced to {}, {} frames in {} segments, {} bytes",
        name.display(),
        log.start,
        log.end,
        log.synced_end,
        log.frames,
        log.segments,
        log.bytes
    )?;
    if let Some(finding) = &log.finding {
        let (path, position) = (finding.path.display(), finding.position);
        writeln!(
            out,
            "  {path} at {position}: {}, offset {}",
            finding.what, finding.offset
        )?;
    }
    Ok(())
}

/// The directories that hold segment files, sorted.
fn logs(disk: &dyn Disk, directory: &Path) -> Result<Vec<PathBuf>, CheckError> {
    let mut found = Vec::new();
    let mut open = vec![(directory.to_owned(), 0)];
    while let Some((path, depth)) = open.pop() {
        let entries = disk.list(&path).map_err(|source| CheckError::List {
            path: path.clone(),
            source,
        })?;
        let is_segment = |name: &str| base_of_file_name(name).is_some();
        if entries
            .iter()
            .any(|entry| !entry.is_directory && is_segment(&entry.name))
        {
            found.push(path);
        } else if depth < DEPTH_MAX {
            let inner = entries.iter().filter(|entry| entry.is_directory);
            open.extend(inner.map(|entry| (path.join(&entry.name), depth + 1)));
        }
    }
    found.sort();
    Ok(found)
}
