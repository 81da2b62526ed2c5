//! Unions of serialized Roaring bitmaps, for the aggregation functions `rbm32` and `rbm64`.
//!
//! Bytes go in and bytes come out, equal to those of the Java library that Fluss uses: 32-bit
//! bitmaps in the portable Roaring format, 64-bit ones as `Roaring64Bitmap.serialize` writes them
//! (which is not the portable 64-bit format). No set is built in between: containers of 65,536
//! values that only one side has are passed on, others are joined in one buffer of 8 KiB. That,
//! and the 64-bit layout, is why no Roaring crate stands here.
//!
//! Facts: RoaringBitmap 1.3.0, `RoaringArray.java`, `longlong/HighLowContainer.java`,
//! `art/{Art,Node,Containers}.java`; the portable format's specification.

mod art;
mod bitmap32;
mod bitmap64;
mod container;

pub(super) use bitmap32::union as union32;
pub(super) use bitmap64::union as union64;
pub(super) use container::Bits;

use thiserror::Error;

/// Why bytes are no serialized bitmap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum BitmapError {
    #[error("bitmap is cut")]
    Cut,
    #[error("bitmap starts with unknown cookie {0:#x}")]
    Cookie(u32),
    #[error("containers of the bitmap are out of order or point nowhere")]
    Containers,
    #[error("container type {0} is unknown")]
    ContainerType(u8),
    #[error("a run of the bitmap passes the end of its container")]
    Run,
    #[error("the key tree of the bitmap is malformed")]
    Tree,
    #[error("bitmap has more containers than can be joined")]
    TooLarge,
}

/// Reads little-endian numbers one after the other.
#[derive(Debug, Clone)]
pub(super) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Input { rest: bytes }
    }

    fn bytes(&mut self, len: usize) -> Result<&'a [u8], BitmapError> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(BitmapError::Cut)?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BitmapError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(BitmapError::Cut)?;
        self.rest = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, BitmapError> {
        Ok(self.array::<1>()?[0])
    }

    fn u16(&mut self) -> Result<u16, BitmapError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, BitmapError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, BitmapError> {
        Ok(u64::from_le_bytes(self.array()?))
    }
}

#[cfg(test)]
mod tests;
