//! Writes fields in the plain form.

use bytes::{BufMut, BytesMut};

use super::TooLong;

pub(super) trait Fields {
    fn string(&mut self, text: &str) -> Result<(), TooLong>;
    fn nullable_string(&mut self, text: Option<&str>) -> Result<(), TooLong>;
    fn blob(&mut self, bytes: &[u8]) -> Result<(), TooLong>;
    fn count(&mut self, count: usize) -> Result<(), TooLong>;
}

impl Fields for BytesMut {
    fn string(&mut self, text: &str) -> Result<(), TooLong> {
        self.put_i16(i16::try_from(text.len()).map_err(|_| TooLong)?);
        self.put_slice(text.as_bytes());
        Ok(())
    }

    fn nullable_string(&mut self, text: Option<&str>) -> Result<(), TooLong> {
        match text {
            Some(text) => self.string(text),
            None => {
                self.put_i16(-1);
                Ok(())
            }
        }
    }

    fn blob(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        self.count(bytes.len())?;
        self.put_slice(bytes);
        Ok(())
    }

    fn count(&mut self, count: usize) -> Result<(), TooLong> {
        self.put_i32(i32::try_from(count).map_err(|_| TooLong)?);
        Ok(())
    }
}
