//! Reads fields with checked lengths, in the plain or the flexible form.

use bytes::Bytes;

use super::DecodeError;

pub(super) struct Reader<'a> {
    rest: &'a [u8],
    flexible: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Reader {
            rest: bytes,
            flexible: false,
        }
    }

    /// The version of a value; 4 and above are flexible.
    pub(super) fn version(&mut self, newest: i16) -> Result<i16, DecodeError> {
        let version = self.int16()?;
        if !(0..=newest).contains(&version) {
            return Err(DecodeError::Version(version));
        }
        self.flexible = version >= 4;
        Ok(version)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn int16(&mut self) -> Result<i16, DecodeError> {
        self.array().map(i16::from_be_bytes)
    }

    pub(super) fn int32(&mut self) -> Result<i32, DecodeError> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn int64(&mut self) -> Result<i64, DecodeError> {
        self.array().map(i64::from_be_bytes)
    }

    fn varint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0u32;
        for shift in (0..35).step_by(7) {
            let [byte] = self.array()?;
            let bits = u32::from(byte & 0x7f);
            if shift == 28 && bits > 0x0f {
                return Err(DecodeError::Length);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Length)
    }

    /// A length that may be absent: 0 as varint, negative as integer.
    fn length(&mut self, wide: bool) -> Result<Option<usize>, DecodeError> {
        let length = if self.flexible {
            i64::from(self.varint()?) - 1
        } else if wide {
            i64::from(self.int32()?)
        } else {
            i64::from(self.int16()?)
        };
        if length < -1 {
            return Err(DecodeError::Length);
        }
        Ok(usize::try_from(length).ok())
    }

    pub(super) fn nullable_string(&mut self) -> Result<Option<String>, DecodeError> {
        let Some(length) = self.length(false)? else {
            return Ok(None);
        };
        let bytes = self.take(length)?;
        let text = std::str::from_utf8(bytes).map_err(|_| DecodeError::Text)?;
        Ok(Some(text.to_owned()))
    }

    pub(super) fn string(&mut self) -> Result<String, DecodeError> {
        self.nullable_string()?.ok_or(DecodeError::Length)
    }

    pub(super) fn blob(&mut self) -> Result<Bytes, DecodeError> {
        let length = self.length(true)?.ok_or(DecodeError::Length)?;
        self.take(length).map(Bytes::copy_from_slice)
    }

    pub(super) fn count(&mut self) -> Result<usize, DecodeError> {
        self.length(true)?.ok_or(DecodeError::Length)
    }

    /// Passes over the tagged fields that end a flexible structure.
    pub(super) fn tagged_fields(&mut self) -> Result<(), DecodeError> {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.varint()? {
            self.varint()?;
            let length = self.varint()?;
            self.take(usize::try_from(length).map_err(|_| DecodeError::Length)?)?;
        }
        Ok(())
    }
}
