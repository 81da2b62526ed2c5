//! Collects projected batches in pooled buffers.

use std::sync::Arc;

use bytes::Bytes;

use crate::buffers::{BufferPool, PooledBuffer};

/// The first buffer of a read.
const BUFFER_BYTES_MIN: usize = 16 << 10;
/// Later buffers grow up to this, so that a long answer has few of them.
const BUFFER_BYTES_MAX: usize = 1 << 20;

/// Bytes that are written one behind the other.
pub(super) struct Out {
    pool: Arc<BufferPool>,
    done: Vec<Bytes>,
    current: Option<(PooledBuffer, usize)>,
    next_size: usize,
}

impl Out {
    pub(super) fn new(pool: Arc<BufferPool>) -> Out {
        Out {
            pool,
            done: Vec::new(),
            current: None,
            next_size: BUFFER_BYTES_MIN,
        }
    }

    /// Room for `length` bytes. It is part of what [`Out::finish`] gives only once
    /// [`Out::keep`] was called.
    pub(super) fn room(&mut self, length: usize) -> &mut [u8] {
        let fits = self
            .current
            .as_ref()
            .is_some_and(|(buffer, filled)| filled + length <= buffer.as_ref().len());
        if !fits {
            self.close();
            let buffer = self.pool.take(length.max(self.next_size));
            self.next_size = (self.next_size * 8).min(BUFFER_BYTES_MAX);
            self.current = Some((buffer, 0));
        }
        let (buffer, filled) = self.current.as_mut().expect("made above where it was not");
        &mut buffer.as_mut()[*filled..*filled + length]
    }

    /// Keeps the `length` bytes of the last room.
    pub(super) fn keep(&mut self, length: usize) {
        if let Some((_, filled)) = &mut self.current {
            *filled += length;
        }
    }

    /// All that was kept, in order.
    pub(super) fn finish(mut self) -> Vec<Bytes> {
        self.close();
        self.done
    }

    fn close(&mut self) {
        if let Some((mut buffer, filled)) = self.current.take()
            && filled > 0
        {
            buffer.truncate(filled);
            self.done.push(buffer.freeze());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_out_in_order_and_what_is_not_is_overwritten() {
        let mut out = Out::new(BufferPool::new(1 << 20));
        let mut expected = Vec::new();
        for (number, length) in [100, 20_000, 5, 900_000, 300_000].into_iter().enumerate() {
            out.room(length).fill(0xff);
            out.room(length).fill(number as u8);
            out.keep(length);
            expected.extend(std::iter::repeat_n(number as u8, length));
            out.room(7).fill(0xff);
        }
        assert_eq!(out.finish().concat(), expected);
    }
}
