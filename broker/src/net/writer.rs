//! Answers on their way into the socket.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

use super::wire::Hold;

/// Slices of one vectored write. The kernel takes up to 1,024; past some dozens a larger array
/// only costs stack.
const SLICES_PER_WRITE: usize = 64;

/// Chunks that wait to be written, in order.
#[derive(Default)]
pub(crate) struct AnswerQueue {
    chunks: VecDeque<Bytes>,
    bytes: usize,
    /// Bytes that the socket has ever taken.
    written: u64,
    /// What is kept until the socket has taken so many.
    holds: VecDeque<(u64, Hold)>,
}

impl AnswerQueue {
    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends an answer and returns its length.
    pub(crate) fn push(&mut self, chunks: Vec<Bytes>) -> usize {
        let before = self.bytes;
        for chunk in chunks {
            if !chunk.is_empty() {
                self.bytes += chunk.len();
                self.chunks.push_back(chunk);
            }
        }
        self.bytes - before
    }

    /// Keeps something until the socket has taken all that waits now.
    pub(crate) fn hold(&mut self, hold: Hold) {
        if self.bytes > 0 {
            self.holds
                .push_back((self.written + self.bytes as u64, hold));
        }
    }

    /// True while others wait for what the answers hold.
    pub(crate) fn is_wanted(&self) -> bool {
        self.holds.iter().any(|(_, hold)| hold.is_wanted())
    }

    /// Writes what the socket takes now, many chunks with one call, and returns how much that was.
    pub(crate) fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); SLICES_PER_WRITE];
        let mut count = 0;
        for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
            *slice = IoSlice::new(chunk);
            count += 1;
        }
        let written = ready!(Pin::new(stream).poll_write_vectored(cx, &slices[..count]))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.advance(written);
        Poll::Ready(Ok(written))
    }

    fn advance(&mut self, written: usize) {
        self.bytes -= written;
        self.written += written as u64;
        while self
            .holds
            .pop_front_if(|(end, _)| *end <= self.written)
            .is_some()
        {}
        let mut left = written;
        while left > 0 {
            let front = self
                .chunks
                .front_mut()
                .expect("only waiting bytes were written");
            if front.len() > left {
                front.advance(left);
                return;
            }
            left -= front.len();
            self.chunks.pop_front();
        }
        if self.chunks.is_empty() {
            // An idle connection keeps no room for a burst that is over.
            self.chunks.shrink_to(SLICES_PER_WRITE);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::net::Held;

    struct Unwanted(#[expect(dead_code, reason = "it is counted")] Arc<()>);

    impl Held for Unwanted {
        fn is_wanted(&self) -> bool {
            false
        }
    }

    #[test]
    fn what_an_answer_holds_is_given_back_with_its_last_byte() {
        let mut queue = AnswerQueue::default();
        let held = Arc::new(());
        for _ in 0..2 {
            queue.push(vec![Bytes::from_static(b"12"), Bytes::from_static(b"345")]);
            queue.hold(Hold::new(Unwanted(Arc::clone(&held))));
        }
        for (written, kept) in [(4, 3), (1, 2), (4, 2), (1, 1)] {
            queue.advance(written);
            assert_eq!(Arc::strong_count(&held), kept);
        }
        queue.hold(Hold::new(Unwanted(Arc::clone(&held))));
        assert_eq!(Arc::strong_count(&held), 1, "nothing waits to be written");
    }
}
