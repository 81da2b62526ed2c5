//! `vltava check`: verifies every log of a data directory from its first byte, and its catalog.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use protocol::ids::{TableId, TablePartitionId};
use storage::catalog::store::StoreError;
use storage::catalog::store::redb::{FILE_NAME, RedbStore};
use storage::catalog::{Catalog, CatalogSettings, CatalogView, OpenCatalogError};
use storage::env::{Disk, Env};
use storage::log::{Expected, Finding, Severity, Verified, base_of_file_name, verify};

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
    /// Logs in which acknowledged records are damaged or missing, and the catalog where it does
    /// not open.
    pub damaged: usize,
    /// Logs with a tail that a crash has left, which the next start cuts.
    pub torn: usize,
}

/// Checks the catalog and all logs below `directory` and writes a line for each to `out`, with the
/// findings below it, then the totals. No log is changed; a catalog that was not closed is brought
/// to its last commit, as the next start would do. No broker may have the directory open.
pub fn check(env: &Env, directory: &Path, out: &mut dyn Write) -> Result<Report, CheckError> {
    let mut report = Report::default();
    let mut epoch = None;
    let catalog = match open_catalog(env, directory) {
        Ok(None) => None,
        Ok(Some(catalog)) => {
            let tables = catalog.view().tables().count();
            writeln!(out, "catalog: sound, {tables} tables").map_err(CheckError::Output)?;
            epoch = Some(catalog.broker_epoch());
            Some(catalog.view())
        }
        Err(error) => {
            report.damaged += 1;
            writeln!(out, "catalog: DAMAGED, {error}").map_err(CheckError::Output)?;
            None
        }
    };
    let expected = Expected {
        tablet: None,
        epoch,
    };
    for log in log_directories(&*env.disk, directory)? {
        let name = log.strip_prefix(directory).unwrap_or(&log);
        if catalog.as_ref().is_some_and(|view| is_dropped(view, name)) {
            writeln!(out, "{}: left over of a dropped table", name.display())
                .map_err(CheckError::Output)?;
            continue;
        }
        report.logs += 1;
        let found = match verify(&*env.disk, &log, expected) {
            Ok(found) => found,
            // What cannot be read is as good as damaged; the other logs are checked all the same.
            Err(error) => {
                report.damaged += 1;
                writeln!(out, "{}: DAMAGED, {error}", name.display())
                    .map_err(CheckError::Output)?;
                continue;
            }
        };
        show(name, &found, out).map_err(CheckError::Output)?;
        report.frames += found.frames;
        report.bytes += found.bytes;
        if found.is_damaged() {
            report.damaged += 1;
        } else if is_torn(&found) {
            report.torn += 1;
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

/// Why the catalog does not open.
#[derive(Debug, thiserror::Error)]
pub(super) enum CatalogError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Catalog(#[from] OpenCatalogError),
}

/// The catalog; `None` when the directory was never served from.
pub(super) fn open_catalog(env: &Env, directory: &Path) -> Result<Option<Catalog>, CatalogError> {
    let directory = directory.join("catalog");
    let is_there = env.disk.exists(&directory.join(FILE_NAME));
    if !is_there.map_err(StoreError::from)? {
        return Ok(None);
    }
    let store = RedbStore::open(&*env.disk, &directory)?;
    let settings = CatalogSettings::default();
    Ok(Some(Catalog::open(Box::new(store), env.clone(), settings)?))
}

/// True for the log of a table or table partition that the catalog does not know: its files were
/// about to be deleted. `log` is such as `logs/7/0` or `logs/7/p3/0`.
fn is_dropped(catalog: &CatalogView, log: &Path) -> bool {
    let mut parts = log.iter().skip(1).filter_map(|part| part.to_str());
    let (table, below) = (parts.next(), parts.next());
    let number = |text: &str| text.parse::<i64>().ok();
    let Some(table) = table.and_then(number) else {
        return false;
    };
    let partition = below
        .and_then(|name| name.strip_prefix('p'))
        .and_then(number);
    let has_partition = |id| catalog.partition(TablePartitionId::new(id)).is_some();
    catalog.table(TableId::new(table)).is_none() || !partition.is_none_or(has_partition)
}

fn is_torn(log: &Verified) -> bool {
    log.findings.iter().any(|f| f.severity == Severity::Torn)
}

fn show(name: &Path, log: &Verified, out: &mut dyn Write) -> io::Result<()> {
    let verdict = match log {
        log if log.is_damaged() => "DAMAGED",
        log if is_torn(log) => "torn tail",
        _ => "sound",
    };
    writeln!(
        out,
        "{}: {verdict}, offsets {}..{} synced to {}, {} frames in {} segments, {} bytes",
        name.display(),
        log.log_start,
        log.log_end,
        log.synced_end,
        log.frames,
        log.segments,
        log.bytes
    )?;
    for finding in &log.findings {
        show_finding(finding, out)?;
    }
    match log.findings_left_out {
        0 => Ok(()),
        more => writeln!(out, "  and {more} more"),
    }
}

fn show_finding(finding: &Finding, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "  {}", finding.path.display())?;
    if let Some(position) = finding.position {
        write!(out, " at {position}")?;
    }
    write!(out, ": {}", finding.what)?;
    if let Some(offset) = finding.offset {
        write!(out, ", offset {offset}")?;
    }
    match finding.severity {
        Severity::Damage => writeln!(out),
        Severity::Torn => writeln!(out, " (the next start cuts it)"),
        Severity::Derived => writeln!(out, " (it is built again when it is needed)"),
    }
}

/// The directories that hold segment files, sorted.
pub(super) fn log_directories(
    disk: &dyn Disk,
    directory: &Path,
) -> Result<Vec<PathBuf>, CheckError> {
    let mut found = Vec::new();
    let mut open = vec![(directory.to_owned(), 0)];
    while let Some((path, depth)) = open.pop() {
        let entries = disk.list(&path).map_err(|source| CheckError::List {
            path: path.clone(),
            source,
        })?;
        // A log whose segments are all gone still has its checkpoint.
        let is_log = |name: &str| base_of_file_name(name).is_some() || name == "checkpoint";
        if entries
            .iter()
            .any(|entry| !entry.is_directory && is_log(&entry.name))
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
