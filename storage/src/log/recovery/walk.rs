//! The walk through the frames behind the checkpoint: accept, or tell a torn tail from damage.

use std::collections::VecDeque;

use protocol::ids::Offset;

use super::Recovery;
use crate::log::epochs::EpochHistory;
use crate::log::error::{LogError, OfflineCause};
use crate::log::frame::{ALIGNMENT, FrameHeader};
use crate::log::index::{SparseIndex, Summary};
use crate::log::producers::Producers;
use crate::log::scan::Step;
use crate::log::segment::HEADER_LENGTH;

/// Where the scan stands.
pub(super) struct Scan {
    /// Number of the segment in `found`.
    pub segment: usize,
    pub position: u64,
    pub expected: Offset,
    pub synced_end: Offset,
    pub index: SparseIndex,
    pub index_saved: usize,
    pub producers: Producers,
    pub epochs: EpochHistory,
    /// Segment and position of the synced end: what lies behind is written again.
    pub synced_at: (usize, u64),
    /// Frame ends above the synced end, as offset, segment and position.
    pub boundaries: VecDeque<(Offset, usize, u64)>,
    /// Number of the segment that the walk began in.
    pub first: usize,
    /// What is known of the segments from there on that the walk left behind.
    pub passed: Vec<Summary>,
    /// Bytes of the accepted frames.
    pub bytes_behind: u64,
}

/// Why the walk through a segment stopped.
pub(super) enum Stop {
    /// At its end, or where the next segment takes over.
    End,
    /// At something that does not hold.
    Damaged { position: u64, what: &'static str },
}

/// Where something does not hold.
pub(super) struct Damage {
    pub segment: usize,
    pub position: u64,
    pub what: &'static str,
}

impl Scan {
    /// Leaves the segment behind for the next one.
    pub(super) fn go_to_next(&mut self, base: Offset) {
        self.passed.push(*self.index.summary());
        self.segment += 1;
        self.position = HEADER_LENGTH;
        self.index = SparseIndex::new(base, HEADER_LENGTH);
        self.index_saved = 0;
    }

    /// The index of the segment that the walk ended in.
    pub(super) fn take_index(&mut self) -> SparseIndex {
        let empty = SparseIndex::new(self.expected, HEADER_LENGTH);
        std::mem::replace(&mut self.index, empty)
    }

    fn accept(&mut self, frame: &FrameHeader, position: u64, index_interval: u32) {
        self.index.add(frame, position, index_interval);
        self.producers.note(frame);
        self.epochs.note(frame.leader_epoch, frame.base_offset);
        self.expected = frame.last_offset.next();
        self.position = position + frame.frame_length() as u64;
        self.bytes_behind += frame.frame_length() as u64;
        self.synced_end = self.synced_end.max(frame.synced_end);
        self.boundaries
            .push_back((self.expected, self.segment, self.position));
        while let Some(&(end, segment, position)) = self.boundaries.front()
            && end <= self.synced_end
        {
            self.synced_at = (segment, position);
            self.boundaries.pop_front();
        }
    }
}

impl Recovery<'_> {
    /// Walks the frames of the current segment, taking each into the state.
    pub(super) fn scan_segment(&self, scan: &mut Scan) -> Result<Stop, LogError> {
        let found = &self.found[scan.segment];
        let Some(header) = &found.header else {
            return Ok(Stop::Damaged {
                position: 0,
                what: "the segment header is damaged",
            });
        };
        let next_base = self.found.get(scan.segment + 1).map(|f| f.base);
        let mut scanner = self.scanner(scan.segment, scan.position)?;
        loop {
            let step = scanner
                .next_frame()
                .map_err(LogError::io("cannot read", &found.path))?;
            // What stands behind the beginning of the next segment does not count.
            if next_base == Some(scan.expected) {
                return Ok(Stop::End);
            }
            let (frame, position) = match step {
                Step::Frame { header, position } => (header, position),
                Step::End => return Ok(Stop::End),
                Step::Damaged { position, what } => return Ok(Stop::Damaged { position, what }),
            };
            let follows = if header.cleaned_to.is_some() {
                frame.base_offset >= scan.expected
            } else {
                frame.base_offset == scan.expected
            };
            let what = if !follows {
                Some("a frame with an unexpected base offset")
            } else if frame.leader_epoch > self.epoch {
                Some("a frame of an epoch above the broker's")
            } else if !scanner.batch_crc_holds(&frame) {
                Some("a batch whose CRC does not hold")
            } else {
                None
            };
            if let Some(what) = what {
                return Ok(Stop::Damaged { position, what });
            }
            scan.accept(&frame, position, self.place.index_interval);
        }
    }

    /// Something does not hold: corruption of what had been synced, or a torn tail?
    pub(super) fn judge(
        &self,
        scan: &mut Scan,
        damage: Damage,
    ) -> Result<Option<OfflineCause>, LogError> {
        let proof = scan.synced_end.max(self.synced_end_behind(&damage)?);
        let damaged = &self.found[damage.segment];
        if proof > scan.expected {
            return Ok(Some(OfflineCause::Corrupt {
                path: damaged.path.clone(),
                position: damage.position,
                offset: scan.expected,
                what: damage.what,
            }));
        }
        tracing::warn!(
            log = %self.tablet,
            path = %damaged.path.display(),
            position = damage.position,
            end_offset = %scan.expected,
            synced_end = %scan.synced_end,
            what = damage.what,
            "cutting a torn tail"
        );
        Ok(None)
    }

    /// The largest synced end that valid frames behind the damage vouch for.
    fn synced_end_behind(&self, damage: &Damage) -> Result<Offset, LogError> {
        let mut proof = Offset::ZERO;
        for number in damage.segment..self.found.len() {
            let found = &self.found[number];
            if found.salt.is_none() {
                continue;
            }
            let from = if number == damage.segment {
                (damage.position + ALIGNMENT as u64).max(HEADER_LENGTH)
            } else {
                HEADER_LENGTH
            };
            let failed = |error| LogError::io("cannot read", &found.path)(error);
            let mut scanner = self.scanner(number, from)?;
            loop {
                match scanner.next_header().map_err(failed)? {
                    Step::Frame { header, .. } => proof = proof.max(header.synced_end),
                    Step::Damaged { position, .. } => {
                        scanner.skip_to(position + ALIGNMENT as u64);
                    }
                    Step::End => break,
                }
            }
        }
        Ok(proof)
    }
}
