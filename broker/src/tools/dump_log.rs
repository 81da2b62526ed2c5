//! `vltava dump-log`: the frames and batches of segment files, one line each, and their records.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::batch::{BatchFormat, ProducerScheme};
use protocol::fluss::batch::HeaderView;
use protocol::kafka::batch::BatchView;
use storage::env::{Disk, DiskFile, Env, OpenMode};
use storage::log::frame::FrameHeader;
use storage::log::{FrameScanner, SegmentHeader, Step, base_of_file_name};

use self::records::RecordLines;
use super::check::log_directories;

/// Where the first frame of a segment begins.
const SEGMENT_HEADER_BYTES: usize = 64;

mod records;

/// Why a segment cannot be shown to its end.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It does not begin as a segment begins.
    #[error("{} is no segment file, or its header is damaged", path.display())]
    NoSegment {
        /// The file.
        path: PathBuf,
    },
    /// A frame does not hold; those before it were shown.
    #[error("{} at {position}: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it.
        position: u64,
        /// What does not hold.
        what: &'static str,
    },
    /// Nobody takes the lines.
    #[error("cannot write")]
    Output(#[source] io::Error),
}

/// Writes the header of a segment file and its frames to `out`, of a directory those of all
/// segments below it; with `with_records` the records, too, each as a line of JSON. The salt of
/// the frame headers is left out: who knows it can forge frames.
///
/// # Errors
/// The first damage. What lies in other segments is shown all the same.
pub fn dump_log(
    env: &Env,
    path: &Path,
    with_records: bool,
    out: &mut dyn Write,
) -> Result<(), DumpError> {
    let mut records = with_records.then(|| RecordLines::new(env));
    let Ok(directories) = log_directories(&*env.disk, path) else {
        return segment(&*env.disk, path, records.as_mut(), out);
    };
    let mut first_error = None;
    for directory in directories {
        let entries = env
            .disk
            .list(&directory)
            .map_err(DumpError::unreadable(&directory))?;
        // Base offsets have a fixed length: the order of names is theirs.
        for entry in entries {
            if base_of_file_name(&entry.name).is_none() {
                continue;
            }
            let path = directory.join(&entry.name);
            writeln!(out, "{}", path.display()).map_err(DumpError::Output)?;
            match segment(&*env.disk, &path, records.as_mut(), out) {
                Ok(()) => {}
                Err(error @ DumpError::Output(_)) => return Err(error),
                Err(error) => {
                    writeln!(out, "{error}").map_err(DumpError::Output)?;
                    first_error.get_or_insert(error);
                }
            }
        }
    }
    first_error.map_or(Ok(()), Err)
}

fn segment(
    disk: &dyn Disk,
    path: &Path,
    mut records: Option<&mut RecordLines<'_>>,
    out: &mut dyn Write,
) -> Result<(), DumpError> {
    let unreadable = DumpError::unreadable(path);
    let file = disk.open(path, OpenMode::Read).map_err(&unreadable)?;
    let length = file.length().map_err(&unreadable)?;
    let header = read_header(&*file)
        .map_err(&unreadable)?
        .ok_or_else(|| DumpError::NoSegment {
            path: path.to_owned(),
        })?;
    writeln!(
        out,
        "segment base={} log={} cleaned={} generation={:016x} bytes={length}",
        header.base,
        header.tablet,
        header.cleaned_to.is_some(),
        header.generation
    )
    .map_err(DumpError::Output)?;

    let table = header.tablet.table;
    let from = SEGMENT_HEADER_BYTES as u64;
    let mut scanner = FrameScanner::new(Arc::clone(&file), header.salt, from, length);
    loop {
        let (header, position) = match scanner.next_frame().map_err(&unreadable)? {
            Step::Frame { header, position } => (header, position),
            Step::End => return Ok(()),
            Step::Damaged { position, what } => {
                return Err(DumpError::Damaged {
                    path: path.to_owned(),
                    position,
                    what,
                });
            }
        };
        let crc_holds = scanner.batch_crc_holds(&header);
        let frame = Frame {
            header: &header,
            position,
        };
        let batch = Summary {
            format: header.format,
            bytes: scanner.batch(),
        };
        let crc = if crc_holds { "ok" } else { "WRONG" };
        writeln!(out, "{frame} {batch} crc={crc}").map_err(DumpError::Output)?;
        if let Some(records) = records.as_mut().filter(|_| crc_holds) {
            records
                .write(path, table, &header, scanner.batch(), out)
                .map_err(DumpError::Output)?;
        }
    }
}

impl DumpError {
    fn unreadable(path: &Path) -> impl Fn(io::Error) -> DumpError {
        let path = path.to_path_buf();
        move |source| DumpError::Unreadable {
            path: path.clone(),
            source,
        }
    }
}

fn read_header(file: &dyn DiskFile) -> io::Result<Option<SegmentHeader>> {
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    let read = file.read_at(&mut bytes, 0)?;
    Ok(SegmentHeader::decode(&bytes[..read]))
}

/// What a frame's header says, in words.
struct Frame<'a> {
    header: &'a FrameHeader,
    position: u64,
}

impl fmt::Display for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = self.header;
        write!(
            f,
            "frame position={} offsets={}..={} epoch={} schema={} commit_time={} \
             record_time_max={} synced_end={}",
            self.position,
            header.base_offset,
            header.last_offset,
            header.leader_epoch,
            header.schema_id,
            header.commit_time,
            header.record_time_max,
            header.synced_end
        )?;
        if header.transactional {
            write!(f, " transactional")?;
        }
        if header.control {
            write!(f, " control")?;
        }
        if let Some(source) = &header.source {
            let scheme = match source.scheme {
                ProducerScheme::Kafka => "kafka",
                ProducerScheme::Fluss => "fluss",
            };
            write!(
                f,
                " producer={scheme}:{}:{} source_partition={} sequences={}..={}",
                source.producer_id,
                source.producer_epoch,
                source.source_partition,
                source.first_sequence,
                source.last_sequence
            )?;
        }
        Ok(())
    }
}

/// What a batch's own header says.
struct Summary<'a> {
    format: BatchFormat,
    bytes: &'a [u8],
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let format = match self.format {
            BatchFormat::Kafka => "kafka",
            BatchFormat::FlussArrow => "fluss-arrow",
            BatchFormat::FlussIndexed => "fluss-indexed",
            BatchFormat::FlussCompacted => "fluss-compacted",
        };
        write!(f, "batch={format} bytes={}", self.bytes.len())?;
        if self.format.is_fluss() {
            if let Ok(batch) = HeaderView::parse(self.bytes) {
                write!(
                    f,
                    " records={} append_only={}",
                    batch.record_count(),
                    batch.append_only()
                )?;
            }
        } else if let Ok(batch) = BatchView::parse(self.bytes) {
            let codec = batch.codec().map_or("unknown", |codec| codec.name());
            write!(f, " records={} codec={codec}", batch.record_count())?;
        }
        Ok(())
    }
}
