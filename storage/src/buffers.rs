//! A bounded pool of read buffers: what is read from a file leaves for the socket in the same
//! memory, and comes back here when the last slice of it is dropped.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

/// Sizes of pooled buffers. Larger requests get memory of their own.
const CLASSES: [usize; 4] = [16 << 10, 128 << 10, 1 << 20, 4 << 20];

/// Keeps buffers for reuse, at most so many bytes.
pub struct BufferPool {
    kept: Mutex<Kept>,
    bytes_max: usize,
}

#[derive(Default)]
struct Kept {
    classes: [Vec<Vec<u8>>; CLASSES.len()],
    bytes: usize,
}

impl BufferPool {
    /// A pool that keeps at most `bytes_max` bytes of unused buffers.
    pub fn new(bytes_max: usize) -> Arc<BufferPool> {
        Arc::new(BufferPool {
            kept: Mutex::default(),
            bytes_max,
        })
    }

    /// A buffer of `length` bytes with arbitrary content.
    pub fn take(self: &Arc<Self>, length: usize) -> PooledBuffer {
        let data = match class_of(length) {
            Some(class) => {
                let mut kept = self.kept.lock();
                match kept.classes[class].pop() {
                    Some(data) => {
                        kept.bytes -= data.len();
                        data
                    }
                    None => vec![0; CLASSES[class]],
                }
            }
            None => vec![0; length],
        };
        PooledBuffer {
            data,
            length,
            pool: Arc::clone(self),
        }
    }
}

/// The smallest class that holds `length` bytes.
fn class_of(length: usize) -> Option<usize> {
    CLASSES.iter().position(|&size| size >= length)
}

/// A buffer from the pool; goes back when dropped.
pub struct PooledBuffer {
    data: Vec<u8>,
    length: usize,
    pool: Arc<BufferPool>,
}

impl PooledBuffer {
    /// Shortens the buffer.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    /// Makes it shareable without copying; it returns to the pool with the last clone.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for PooledBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.data[..self.length]
    }
}

impl AsMut<[u8]> for PooledBuffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.data[..self.length]
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        let Some(class) = CLASSES.iter().position(|&size| size == self.data.len()) else {
            return;
        };
        let mut kept = self.pool.kept.lock();
        if kept.bytes + self.data.len() <= self.pool.bytes_max {
            kept.bytes += self.data.len();
            kept.classes[class].push(std::mem::take(&mut self.data));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_when_its_last_slice_is_dropped() {
        let pool = BufferPool::new(1 << 20);
        let mut buffer = pool.take(100);
        buffer.as_mut().fill(7);
        let whole = buffer.freeze();
        let part = whole.slice(10..20);
        drop(whole);
        assert_eq!(pool.kept.lock().bytes, 0);
        assert_eq!(&part[..], [7; 10]);
        drop(part);
        assert_eq!(pool.kept.lock().bytes, 16 << 10);
    }

    #[test]
    fn the_pool_keeps_no_more_than_its_limit_and_no_odd_sizes() {
        let pool = BufferPool::new(20 << 10);
        let buffers: Vec<_> = (0..4).map(|_| pool.take(10)).collect();
        drop(buffers);
        assert_eq!(pool.kept.lock().bytes, 16 << 10);
        assert_eq!(pool.take(5 << 20).as_ref().len(), 5 << 20);
        assert_eq!(pool.kept.lock().bytes, 16 << 10);
    }
}
