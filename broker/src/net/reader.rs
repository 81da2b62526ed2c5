//! Bytes from the socket, cut into frames.
//!
//! Both wires put a big-endian 32-bit length in front of each frame.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::future::BoxFuture;
use storage::buffers::PooledBuffer;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

use super::limits::BYTE_RATE_MIN;
use super::memory::{RequestMemory, Reservation};

/// Bytes of the length in front of a frame.
const LENGTH_BYTES: usize = 4;

/// One read of a connection; a frame that fits is cut out of it. Below 128 KiB, where allocators
/// begin to map pages for each allocation.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// With less room than this left, the buffer is renewed before the next read.
const READ_ROOM_MIN: usize = 8 * 1024;

/// Frames shorter than this are copied out of the read buffer, so that a long poll of 100 bytes
/// does not hold 64 KiB.
const SHARE_BYTES_MIN: usize = 16 * 1024;

/// Behind a large frame, a read takes so much: mostly another large frame follows, and what was
/// read of it has to be moved to memory of its own.
const READ_AFTER_LARGE_BYTES: usize = 4 * 1024;

/// Room that is set aside at once for a frame beyond the read buffer. Untouched pages of it cost
/// address space only; memory is reserved as bytes arrive.
const LARGE_FRAME_FIRST_BYTES: usize = 1 << 20;

/// A whole frame, without its length.
pub(crate) struct Frame {
    pub(crate) bytes: Bytes,
    pub(crate) reservation: Reservation,
}

/// Why a connection can be read no further.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The announced length is negative or above the limit.
    #[error("a frame of {length} bytes was announced, the limit is {limit}")]
    FrameLength { length: i32, limit: usize },
    /// The client went away inside a frame.
    #[error("the client went away inside a frame")]
    CutShort,
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads the frames of one connection.
pub(crate) struct FrameReader {
    /// Read and not yet handed out; without an allocation while the connection is idle.
    buffer: BytesMut,
    /// The frame that goes beyond the buffer, while it arrives.
    large: Option<LargeFrame>,
    /// The last frame was a large one.
    after_large: bool,
    /// Set while the budget is spent.
    waiting: Option<BoxFuture<'static, Reservation>>,
    memory: RequestMemory,
    frame_bytes_max: usize,
    /// Since when the rest of a frame is awaited.
    partial_since: Option<Instant>,
}

struct LargeFrame {
    length: usize,
    /// Room for as much as is reserved, and somewhat more at the beginning.
    bytes: PooledBuffer,
    arrived: usize,
    reservation: Reservation,
    /// Up to here, memory is reserved.
    reserved: usize,
}

impl FrameReader {
    pub(crate) fn new(memory: RequestMemory, frame_bytes_max: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            large: None,
            after_large: false,
            waiting: None,
            memory,
            frame_bytes_max,
            partial_since: None,
        }
    }

    /// The next frame, or `None` at the end of the stream. `bytes_in` is called with the length of
    /// each read.
    pub(crate) fn poll_frame<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
        bytes_in: &mut impl FnMut(usize),
    ) -> Poll<Result<Option<Frame>, ReadError>> {
        loop {
            let reserved = match &mut self.waiting {
                Some(waiting) => Some(ready!(waiting.as_mut().poll(cx))),
                None => None,
            };
            self.waiting = None;

            let read = if self.large.is_some() {
                if let Some(frame) = self.grow_large(reserved) {
                    return Poll::Ready(Ok(Some(frame)));
                }
                if self.waiting.is_some() {
                    continue;
                }
                let large = self.large.as_mut().expect("checked above");
                large.poll_read(cx, stream)
            } else {
                match self.cut(reserved.unwrap_or_default())? {
                    Cut::Frame(frame) => return Poll::Ready(Ok(Some(frame))),
                    Cut::Large => continue,
                    Cut::Wait => continue,
                    Cut::Incomplete => {}
                }
                self.make_room();
                let room = self.buffer.capacity() - self.buffer.len();
                let limit = if self.after_large && self.buffer.is_empty() {
                    room.min(READ_AFTER_LARGE_BYTES)
                } else {
                    room
                };
                poll_read(cx, stream, &mut self.buffer, limit)
            };

            match read {
                Poll::Ready(Ok(0)) if self.is_between_frames() => return Poll::Ready(Ok(None)),
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(ReadError::CutShort)),
                Poll::Ready(Ok(count)) => bytes_in(count),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Pending => {
                    if self.is_between_frames() {
                        self.buffer = BytesMut::new();
                    } else {
                        self.partial_since.get_or_insert_with(Instant::now);
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// When the frame that has begun is overdue; `None` between frames.
    pub(crate) fn deadline(&self, timeout: Duration) -> Option<Instant> {
        let received = self
            .large
            .as_ref()
            .map_or(self.buffer.len(), |large| large.arrived);
        let earned = Duration::from_millis(received as u64 * 1000 / BYTE_RATE_MIN);
        self.partial_since.map(|since| since + timeout + earned)
    }

    /// The connection does not read for now: that is not the client's fault.
    pub(crate) fn pause(&mut self) {
        self.partial_since = None;
    }

    fn is_between_frames(&self) -> bool {
        self.large.is_none() && self.buffer.is_empty()
    }

    /// Takes a frame out of the buffer, if it is all there.
    fn cut(&mut self, mut reservation: Reservation) -> Result<Cut, ReadError> {
        let Some(prefix) = self.buffer.first_chunk::<LENGTH_BYTES>() else {
            return Ok(Cut::Incomplete);
        };
        let announced = i32::from_be_bytes(*prefix);
        let length = usize::try_from(announced)
            .ok()
            .filter(|length| *length <= self.frame_bytes_max)
            .ok_or(ReadError::FrameLength {
                length: announced,
                limit: self.frame_bytes_max,
            })?;

        let whole = LENGTH_BYTES + length;
        if self.buffer.len() >= whole {
            if !self.memory.try_grow(&mut reservation, length) {
                self.wait(reservation, length);
                return Ok(Cut::Wait);
            }
            self.partial_since = None;
            self.after_large = false;
            let bytes = if length < SHARE_BYTES_MIN {
                let copy = Bytes::copy_from_slice(&self.buffer[LENGTH_BYTES..whole]);
                self.buffer.advance(whole);
                copy
            } else {
                self.buffer.split_to(whole).freeze().slice(LENGTH_BYTES..)
            };
            return Ok(Cut::Frame(Frame { bytes, reservation }));
        }
        if whole <= READ_BUFFER_BYTES {
            return Ok(Cut::Incomplete);
        }
        let begun = &self.buffer[LENGTH_BYTES..];
        let arrived = begun.len();
        let mut bytes = self.memory.room(length.min(LARGE_FRAME_FIRST_BYTES));
        bytes.as_mut()[..arrived].copy_from_slice(begun);
        self.buffer.clear();
        // The first read buffer's worth is what any connection may hold without asking.
        let reserved = length.min(READ_BUFFER_BYTES);
        self.large = Some(LargeFrame {
            length,
            bytes,
            arrived,
            reservation,
            reserved,
        });
        self.after_large = true;
        Ok(Cut::Large)
    }

    /// Reserves memory for more of the large frame, as much again as has arrived; returns it when
    /// it is complete. Waits, by setting `waiting`, when the budget is spent.
    fn grow_large(&mut self, reserved: Option<Reservation>) -> Option<Frame> {
        let large = self.large.as_mut()?;
        if let Some(reservation) = reserved {
            large.reservation = reservation;
            self.partial_since = None;
        }
        let arrived = large.arrived;
        if arrived < large.reserved {
            return None;
        }
        let goal = (arrived * 2).min(large.length);
        if !self.memory.try_grow(&mut large.reservation, goal) {
            let reservation = std::mem::take(&mut large.reservation);
            self.wait(reservation, goal);
            return None;
        }
        if arrived == large.length {
            let large = self.large.take()?;
            self.partial_since = None;
            return Some(Frame {
                bytes: large.bytes.freeze(),
                reservation: large.reservation,
            });
        }
        large.reserved = goal;
        if large.bytes.as_ref().len() < goal {
            let mut larger = self.memory.room(goal);
            larger.as_mut()[..arrived].copy_from_slice(&large.bytes.as_ref()[..arrived]);
            large.bytes = larger;
        }
        None
    }

    fn wait(&mut self, reservation: Reservation, bytes: usize) {
        self.partial_since = None;
        self.waiting = Some(self.memory.grow(reservation, bytes));
    }

    fn make_room(&mut self) {
        if self.buffer.capacity() - self.buffer.len() < READ_ROOM_MIN {
            self.buffer.reserve(READ_BUFFER_BYTES - self.buffer.len());
        }
    }
}

impl LargeFrame {
    /// Reads as much as memory is reserved for.
    fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<io::Result<usize>> {
        let mut room = ReadBuf::new(&mut self.bytes.as_mut()[self.arrived..self.reserved]);
        ready!(Pin::new(stream).poll_read(cx, &mut room))?;
        let count = room.filled().len();
        self.arrived += count;
        Poll::Ready(Ok(count))
    }
}

enum Cut {
    Frame(Frame),
    /// Goes beyond the buffer; moved to `large`.
    Large,
    /// The budget is spent.
    Wait,
    Incomplete,
}

/// Reads up to `limit` bytes behind those in `buffer`, which has the room.
fn poll_read<S: AsyncRead + Unpin>(
    cx: &mut Context<'_>,
    stream: &mut S,
    buffer: &mut BytesMut,
    limit: usize,
) -> Poll<io::Result<usize>> {
    let mut room = buffer.limit(limit);
    tokio_util::io::poll_read_buf(Pin::new(stream), cx, &mut room)
}
