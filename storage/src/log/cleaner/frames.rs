//! Reading the frames of closed segments, checked.

use std::sync::Arc;

use protocol::ids::Offset;

use super::output::Output;
use super::round::CleanError;
use crate::log::error::LogError;
use crate::log::frame::FrameHeader;
use crate::log::log::Log;
use crate::log::scan::{FrameScanner, Step};
use crate::log::segment::{HEADER_LENGTH, Segment};

/// The frames of a closed segment from the first on.
pub(super) fn scanner(segment: &Arc<Segment>) -> Result<FrameScanner, CleanError> {
    let file = segment
        .file()
        .map_err(LogError::io("cannot open", segment.path()))?;
    let salt = segment.header().salt;
    Ok(FrameScanner::new(
        file,
        salt,
        HEADER_LENGTH,
        segment.length(),
    ))
}

/// The next frame of a closed segment, checked.
pub(super) fn next_frame(
    segment: &Segment,
    scanner: &mut FrameScanner,
) -> Result<Option<(FrameHeader, u64)>, CleanError> {
    let step = scanner
        .next_frame()
        .map_err(LogError::io("cannot read", segment.path()))?;
    let damaged = |position, offset, what: &'static str| CleanError::Unreadable {
        path: segment.path().to_path_buf(),
        position,
        offset,
        what: what.into(),
    };
    match step {
        Step::End => Ok(None),
        Step::Frame { header, position } if scanner.batch_crc_holds(&header) => {
            Ok(Some((header, position)))
        }
        Step::Frame { header, position } => {
            let what = "a batch whose CRC does not hold";
            Err(damaged(position, header.base_offset, what))
        }
        Step::Damaged { position, what } => Err(damaged(position, segment.base(), what)),
    }
}

/// Takes over the frames before `position` as they are.
pub(super) fn copy_before(
    segment: &Arc<Segment>,
    position: u64,
    output: &mut Output,
) -> Result<(), CleanError> {
    let mut scanner = scanner(segment)?;
    while scanner.position() < position {
        let Some((header, _)) = next_frame(segment, &mut scanner)? else {
            break;
        };
        let added = output.add(&header, scanner.batch());
        added.map_err(LogError::io("cannot write", &output.path))?;
    }
    Ok(())
}

/// A frame that was read.
pub(super) struct FrameAt<'a> {
    pub segment: &'a Segment,
    pub header: FrameHeader,
    pub position: u64,
    pub batch: &'a [u8],
}

/// Calls `look` with each frame of the closed segments that has offsets of `from..end`, until it
/// says false or `pace` does: then the answer is false.
pub(super) fn scan_frames(
    log: &Log,
    from: Offset,
    end: Offset,
    pace: &mut dyn FnMut(u64) -> bool,
    look: &mut dyn FnMut(FrameAt<'_>) -> Result<bool, CleanError>,
) -> Result<bool, CleanError> {
    let segments = log.segments();
    for pair in segments.windows(2) {
        let (segment, next) = (&pair[0], &pair[1]);
        if next.base() <= from || segment.base() >= end {
            continue;
        }
        let mut scanner = scanner(segment)?;
        scanner.skip_to(segment.position_of_offset(from)?);
        while let Some((header, position)) = next_frame(segment, &mut scanner)? {
            if header.last_offset < from {
                continue;
            }
            let goes_on = look(FrameAt {
                segment,
                header,
                position,
                batch: scanner.batch(),
            })?;
            if !goes_on || !pace(header.frame_length() as u64) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}
