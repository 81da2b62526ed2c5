//! Answers on their way out: a length prefix, the response header and the body.
//!
//! ```text
//!  length i32 | correlation id i32 | tagged fields, from header version 1 | body
//! ```
//!
//! The header's version follows from API and version; ApiVersions always has version 0, because a
//! client cannot know yet what we speak.

use bytes::Bytes;
use kafka_protocol::protocol::{Encodable, HeaderVersion};

use crate::kafka::varint;

/// Why an answer cannot be written: a fault of ours, not of the client.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// A field is set that the version does not have, or a value is too large for its field.
    #[error("cannot encode answer: {0}")]
    Message(String),
    /// The answer is longer than its length prefix can say.
    #[error("answer of {0} bytes is too long")]
    TooLong(usize),
}

/// Encodes an answer with its length prefix and header.
pub fn encode<M: Encodable + HeaderVersion>(
    correlation_id: i32,
    version: i16,
    message: &M,
) -> Result<Bytes, EncodeError> {
    let body = message
        .compute_size(version)
        .map_err(|e| EncodeError::Message(e.to_string()))?;
    let mut out = Vec::with_capacity(HEADER_BYTES_MAX + body);
    start(&mut out, correlation_id, M::header_version(version) >= 1);
    message
        .encode(&mut out, version)
        .map_err(|e| EncodeError::Message(e.to_string()))?;
    let length = out.len();
    finish(&mut out, length)?;
    Ok(Bytes::from(out))
}

/// Length prefix, correlation id and an empty list of tagged fields.
const HEADER_BYTES_MAX: usize = 9;
const LENGTH_BYTES: usize = 4;

fn start(out: &mut Vec<u8>, correlation_id: i32, flexible: bool) {
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    out.extend_from_slice(&correlation_id.to_be_bytes());
    if flexible {
        out.push(0);
    }
}

/// Writes the length prefix of an answer of `length` bytes, prefix included.
fn finish(out: &mut [u8], length: usize) -> Result<(), EncodeError> {
    let prefix = i32::try_from(length - LENGTH_BYTES).map_err(|_| EncodeError::TooLong(length))?;
    out[..LENGTH_BYTES].copy_from_slice(&prefix.to_be_bytes());
    Ok(())
}

/// Writes an answer field by field, around chunks that are placed by reference.
pub(crate) struct AnswerWriter {
    /// Everything but the placed chunks.
    own: Vec<u8>,
    /// Placed chunks, each with the length of `own` before it.
    placed: Vec<(usize, Bytes)>,
    placed_bytes: usize,
    flexible: bool,
}

impl AnswerWriter {
    /// Begins an answer; `flexible` says how header, strings and arrays are written.
    pub(crate) fn new(correlation_id: i32, flexible: bool, capacity: usize) -> Self {
        let mut own = Vec::with_capacity(HEADER_BYTES_MAX + capacity);
        start(&mut own, correlation_id, flexible);
        AnswerWriter {
            own,
            placed: Vec::new(),
            placed_bytes: 0,
            flexible,
        }
    }

    pub(crate) fn i16(&mut self, value: i16) {
        self.own.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn i32(&mut self, value: i32) {
        self.own.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.own.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.own.extend_from_slice(bytes);
    }

    pub(crate) fn unsigned(&mut self, value: u32) {
        varint::write_unsigned(&mut self.own, value);
    }

    /// The count of an array or the length of bytes; `None` is null.
    pub(crate) fn length(&mut self, length: Option<usize>) -> Result<(), EncodeError> {
        match (length, self.flexible) {
            (None, true) => self.unsigned(0),
            (None, false) => self.i32(-1),
            (Some(length), flexible) => {
                let value = i32::try_from(length).map_err(|_| EncodeError::TooLong(length))?;
                match flexible {
                    true => self.unsigned(value as u32 + 1),
                    false => self.i32(value),
                }
            }
        }
        Ok(())
    }

    pub(crate) fn string(&mut self, text: &str) -> Result<(), EncodeError> {
        if self.flexible {
            self.length(Some(text.len()))?;
        } else {
            let length = i16::try_from(text.len()).map_err(|_| EncodeError::TooLong(text.len()))?;
            self.i16(length);
        }
        self.raw(text.as_bytes());
        Ok(())
    }

    /// Records or other bytes, with their length before them, without a copy.
    pub(crate) fn placed(&mut self, chunks: Vec<Bytes>) -> Result<(), EncodeError> {
        let length = chunks.iter().map(Bytes::len).sum();
        self.length(Some(length))?;
        self.placed_bytes += length;
        let at = self.own.len();
        self.placed.extend(
            chunks
                .into_iter()
                .filter(|c| !c.is_empty())
                .map(|chunk| (at, chunk)),
        );
        Ok(())
    }

    /// The answer, as chunks that follow each other.
    pub(crate) fn finish(mut self) -> Result<Vec<Bytes>, EncodeError> {
        let length = self.own.len() + self.placed_bytes;
        finish(&mut self.own, length)?;
        let mut own = Bytes::from(self.own);
        let mut done = 0;
        let mut chunks = Vec::with_capacity(2 * self.placed.len() + 1);
        for (at, chunk) in self.placed {
            if at > done {
                chunks.push(own.split_to(at - done));
                done = at;
            }
            chunks.push(chunk);
        }
        if !own.is_empty() {
            chunks.push(own);
        }
        Ok(chunks)
    }
}
