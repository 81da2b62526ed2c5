//! A cursor over the bytes of a row, and the budget of nested values.

use super::datum::{Timestamp, decimal_from_be};
use super::{ELEMENTS_MAX, RowError};

/// Counts nested values down; shared by all levels of one row.
pub(crate) struct Budget(usize);

impl Budget {
    /// The budget of one row.
    pub(crate) fn row() -> Self {
        Budget(ELEMENTS_MAX)
    }

    /// Takes `count` values, or fails.
    pub(crate) fn take(&mut self, count: usize) -> Result<(), RowError> {
        self.0 = self.0.checked_sub(count).ok_or(RowError::Elements)?;
        Ok(())
    }
}

/// Reads little-endian values one after the other.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], RowError> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(RowError::Cut)?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], RowError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(RowError::Cut)?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, RowError> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn i32(&mut self) -> Result<i32, RowError> {
        Ok(i32::from_le_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, RowError> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// The bits of an int32, 7 per byte, low ones first.
    pub(crate) fn varint32(&mut self) -> Result<i32, RowError> {
        let value = self.varint(5)?;
        // The fifth byte has room for more bits than the type; Java drops them, we refuse.
        u32::try_from(value)
            .map(u32::cast_signed)
            .map_err(|_| RowError::Varint)
    }

    /// The bits of an int64.
    pub(crate) fn varint64(&mut self) -> Result<i64, RowError> {
        self.varint(10).map(u64::cast_signed)
    }

    fn varint(&mut self, bytes_max: u32) -> Result<u64, RowError> {
        let mut value = 0u64;
        for i in 0..bytes_max {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            let shifted = bits << (7 * i);
            if shifted >> (7 * i) != bits {
                return Err(RowError::Varint);
            }
            value |= shifted;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(RowError::Varint)
    }

    /// Bytes behind their varint length.
    pub(crate) fn varint_bytes(&mut self) -> Result<&'a [u8], RowError> {
        let len = usize::try_from(self.varint32()?).map_err(|_| RowError::Bounds)?;
        self.bytes(len)
    }

    /// Fails when bytes are left.
    pub(crate) fn finish(self) -> Result<(), RowError> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(RowError::Trailing(left)),
        }
    }
}

/// The text of UTF-8 bytes.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, RowError> {
    std::str::from_utf8(bytes).map_err(|_| RowError::Utf8)
}

/// The unscaled decimal of big-endian bytes.
pub(crate) fn decimal(bytes: &[u8]) -> Result<i128, RowError> {
    decimal_from_be(bytes).ok_or(RowError::Decimal(bytes.len()))
}

/// A timestamp whose nanoseconds are checked.
pub(crate) fn timestamp(millis: i64, nanos: i32) -> Result<Timestamp, RowError> {
    if (0..1_000_000).contains(&nanos) {
        Ok(Timestamp { millis, nanos })
    } else {
        Err(RowError::Nanos(nanos))
    }
}

/// True when bit `i` of a null bit set is 1.
pub(crate) fn bit(bits: &[u8], i: usize) -> bool {
    bits[i / 8] & (1 << (i % 8)) != 0
}
