//! Finding frames by time, on either clock. Which record of a frame it is, only its batch tells.

use std::sync::Arc;

use protocol::ids::Offset;

use super::error::{LogError, ReadError};
use super::frame::FrameHeader;
use super::log::Log;
use super::read::read_error;
use super::scan::{FrameScanner, Step};
use super::segment::Segment;

impl Log {
    /// The first frame at or after `from_time` on the commit clock, below the high watermark.
    /// Waits for the disk.
    pub fn first_committed_at(&self, from_time: i64) -> Result<Option<FrameHeader>, ReadError> {
        let w = self.watermarks();
        self.find_frame(
            w.log_start,
            w.high_watermark,
            |segment| Ok(segment.summary()?.commit_time_last >= from_time),
            |segment| segment.position_of_commit_time(from_time),
            |header| header.commit_time >= from_time,
        )
    }

    /// The first frame with offsets in `from..end` whose largest record time is `from_time` or
    /// later. Waits for the disk.
    pub fn first_recorded_at(
        &self,
        from_time: i64,
        from: Offset,
        end: Offset,
    ) -> Result<Option<FrameHeader>, ReadError> {
        self.find_frame(
            from,
            end,
            |segment| Ok(segment.summary()?.record_time_max >= from_time),
            |segment| {
                let by_time = segment.position_of_record_time(from_time)?;
                Ok(by_time.max(segment.position_of_offset(from)?))
            },
            |header| header.record_time_max >= from_time,
        )
    }

    /// The largest record time of the frames with offsets in `from..end`; `None` without frames.
    /// Waits for the disk.
    pub fn largest_record_time(&self, from: Offset, end: Offset) -> Result<Option<i64>, ReadError> {
        let mut largest: Option<i64> = None;
        for segment in self.segments().iter() {
            let summary = segment.summary().map_err(read_error)?;
            if summary.end_offset <= from || summary.end_offset <= segment.base() {
                continue;
            }
            if segment.base() >= end {
                break;
            }
            let holder = summary.record_time_max_at;
            if largest.is_some_and(|known| known >= summary.record_time_max) {
                continue;
            }
            if holder >= from && holder < end {
                largest = Some(summary.record_time_max);
                continue;
            }
            // The frame with the largest time of the segment is not to be seen: look at the rest.
            self.walk(segment, from, end, |header| {
                largest = largest.max(Some(header.record_time_max));
                false
            })?;
        }
        Ok(largest)
    }

    fn find_frame(
        &self,
        from: Offset,
        end: Offset,
        in_segment: impl Fn(&Arc<Segment>) -> Result<bool, LogError>,
        start: impl Fn(&Arc<Segment>) -> Result<u64, LogError>,
        wanted: impl Fn(&FrameHeader) -> bool,
    ) -> Result<Option<FrameHeader>, ReadError> {
        let segments = self.segments();
        for (number, segment) in segments.iter().enumerate() {
            let ends_before = segments
                .get(number + 1)
                .is_some_and(|next| next.base() <= from);
            if segment.base() >= end {
                break;
            }
            if ends_before || !in_segment(segment).map_err(read_error)? {
                continue;
            }
            let position = start(segment).map_err(read_error)?;
            let found = self.walk_from(segment, position, from, end, &wanted)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn walk(
        &self,
        segment: &Arc<Segment>,
        from: Offset,
        end: Offset,
        look: impl FnMut(&FrameHeader) -> bool,
    ) -> Result<Option<FrameHeader>, ReadError> {
        let position = segment.position_of_offset(from).map_err(read_error)?;
        self.walk_from(segment, position, from, end, look)
    }

    /// Looks at the frames of a segment that hold offsets of `from..end`, until `look` says true.
    fn walk_from(
        &self,
        segment: &Arc<Segment>,
        position: u64,
        from: Offset,
        end: Offset,
        mut look: impl FnMut(&FrameHeader) -> bool,
    ) -> Result<Option<FrameHeader>, ReadError> {
        let salt = segment.header().salt;
        let mut scanner = FrameScanner::new(segment.file()?, salt, position, segment.length());
        loop {
            match scanner.next_header()? {
                Step::Frame { header, .. } if header.base_offset >= end => return Ok(None),
                Step::Frame { header, .. } => {
                    if header.last_offset >= from && look(&header) {
                        return Ok(Some(header));
                    }
                }
                Step::End => return Ok(None),
                Step::Damaged { position, .. } => {
                    return Err(self.corrupt(segment, position, from));
                }
            }
        }
    }
}
