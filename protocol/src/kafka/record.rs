//! The records inside a batch, read in place and written.
//!
//! ```text
//!  size | attributes | timestamp delta | offset delta | key size | key | value size | value |
//!  header count | { key size | key | value size | value } ...
//! ```
//!
//! Sizes, deltas and counts are zigzag varints; `size` counts what follows it; `attributes` is one
//! byte that means nothing yet; a size of -1 is null (any negative one, as Kafka reads it), which
//! a header's key may not be. Header keys are bytes here: UTF-8 is for who shows them.

use crate::kafka::varint;

/// Why bytes are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A field ends after the record or the batch.
    #[error("record is cut off")]
    CutOff,
    /// The record's size is negative.
    #[error("record has negative size")]
    Size,
    /// The fields take fewer bytes than the size says.
    #[error("record ends {extra} bytes before its size")]
    Trailing {
        /// Bytes left over.
        extra: usize,
    },
    /// A negative header count, or one that the bytes cannot hold.
    #[error("record names {count} headers")]
    HeaderCount {
        /// What the record says.
        count: i32,
    },
    /// A header without a key.
    #[error("record header has no key")]
    HeaderKey,
    /// Bytes follow the last record of the batch.
    #[error("{extra} bytes follow the last record")]
    AfterLast {
        /// Bytes left over.
        extra: usize,
    },
}

/// A record whose fields lie in the batch's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Added to the batch's base timestamp, milliseconds.
    pub timestamp_delta: i64,
    /// Added to the batch's base offset.
    pub offset_delta: i32,
    /// The key, if there is one.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone where keys count.
    pub value: Option<&'a [u8]>,
    /// The headers, in order; keys may repeat.
    pub headers: Headers<'a>,
}

/// The checked headers of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Headers<'a> {
    count: usize,
    bytes: &'a [u8],
}

/// One header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// Its key, UTF-8 by convention.
    pub key: &'a [u8],
    /// Its value.
    pub value: Option<&'a [u8]>,
}

impl<'a> Headers<'a> {
    /// The number of headers.
    pub fn len(&self) -> usize {
        self.count
    }

    /// True without headers.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The headers in order.
    pub fn iter(&self) -> impl Iterator<Item = Header<'a>> + Clone + use<'a> {
        let mut rest = self.bytes;
        (0..self.count).map_while(move |_| read_header(&mut rest).ok())
    }
}

/// Reads the records of a batch one after the other. The count of the header rules: bytes after
/// the last record are an error, as in Kafka. Stops after the first error.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    rest: &'a [u8],
    left: i32,
}

impl<'a> Records<'a> {
    /// Reads `count` records from uncompressed bytes.
    pub fn new(bytes: &'a [u8], count: i32) -> Self {
        Records {
            rest: bytes,
            left: count.max(0),
        }
    }

    /// Bytes behind the records read so far.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            let extra = std::mem::take(&mut self.rest).len();
            return (extra > 0).then_some(Err(RecordError::AfterLast { extra }));
        }
        self.left -= 1;
        let record = read_record(&mut self.rest);
        if record.is_err() {
            (self.rest, self.left) = (&[], 0);
        }
        Some(record)
    }
}

fn read_record<'a>(input: &mut &'a [u8]) -> Result<Record<'a>, RecordError> {
    let size = varint::read_signed(input).ok_or(RecordError::CutOff)?;
    let size = usize::try_from(size).map_err(|_| RecordError::Size)?;
    let (mut body, rest) = input.split_at_checked(size).ok_or(RecordError::CutOff)?;
    *input = rest;

    let (_attributes, after) = body.split_first().ok_or(RecordError::CutOff)?;
    body = after;
    let timestamp_delta = varint::read_signed_long(&mut body).ok_or(RecordError::CutOff)?;
    let offset_delta = varint::read_signed(&mut body).ok_or(RecordError::CutOff)?;
    let key = read_bytes(&mut body)?;
    let value = read_bytes(&mut body)?;
    let count = varint::read_signed(&mut body).ok_or(RecordError::CutOff)?;
    let headers = match usize::try_from(count) {
        Ok(0) => Headers::default(),
        // A header takes two bytes at least.
        Ok(n) if n <= body.len() / 2 => {
            let bytes = body;
            for _ in 0..n {
                read_header(&mut body)?;
            }
            Headers {
                count: n,
                bytes: &bytes[..bytes.len() - body.len()],
            }
        }
        _ => return Err(RecordError::HeaderCount { count }),
    };
    if !body.is_empty() {
        return Err(RecordError::Trailing { extra: body.len() });
    }
    Ok(Record {
        timestamp_delta,
        offset_delta,
        key,
        value,
        headers,
    })
}

fn read_header<'a>(input: &mut &'a [u8]) -> Result<Header<'a>, RecordError> {
    let key = read_bytes(input)?.ok_or(RecordError::HeaderKey)?;
    Ok(Header {
        key,
        value: read_bytes(input)?,
    })
}

fn read_bytes<'a>(input: &mut &'a [u8]) -> Result<Option<&'a [u8]>, RecordError> {
    let size = varint::read_signed(input).ok_or(RecordError::CutOff)?;
    let Ok(size) = usize::try_from(size) else {
        return Ok(None);
    };
    let (bytes, rest) = input.split_at_checked(size).ok_or(RecordError::CutOff)?;
    *input = rest;
    Ok(Some(bytes))
}

/// Appends a record to uncompressed record bytes. `headers` may be walked twice.
///
/// # Panics
/// When a field or the record is 2 GiB or longer, which no batch can hold.
pub fn write_record<'h, I>(
    out: &mut Vec<u8>,
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: I,
) where
    I: Iterator<Item = Header<'h>> + Clone,
{
    let mut count = 0;
    let mut size = 1
        + varint::size_signed_long(timestamp_delta)
        + varint::size_signed(offset_delta)
        + size_of_bytes(key)
        + size_of_bytes(value);
    for header in headers.clone() {
        count += 1;
        size += size_of_bytes(Some(header.key)) + size_of_bytes(header.value);
    }
    size += varint::size_signed(count);

    varint::write_signed(out, checked_size(size));
    out.push(0);
    varint::write_signed_long(out, timestamp_delta);
    varint::write_signed(out, offset_delta);
    write_bytes(out, key);
    write_bytes(out, value);
    varint::write_signed(out, count);
    for header in headers {
        write_bytes(out, Some(header.key));
        write_bytes(out, header.value);
    }
}

fn checked_size(size: usize) -> i32 {
    i32::try_from(size).expect("a record is shorter than 2 GiB")
}

fn size_of_bytes(bytes: Option<&[u8]>) -> usize {
    match bytes {
        Some(bytes) => varint::size_signed(checked_size(bytes.len())) + bytes.len(),
        None => 1,
    }
}

fn write_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            varint::write_signed(out, checked_size(bytes.len()));
            out.extend_from_slice(bytes);
        }
        None => varint::write_signed(out, -1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_all(bytes: &[u8], count: i32) -> Result<Vec<Record<'_>>, RecordError> {
        Records::new(bytes, count).collect()
    }

    #[test]
    fn null_and_empty_differ() {
        let mut out = Vec::new();
        write_record(&mut out, 5, 0, None, Some(b""), std::iter::empty());
        let records = read_all(&out, 1).unwrap();
        assert_eq!(records[0].key, None);
        assert_eq!(records[0].value, Some(&b""[..]));
    }

    #[test]
    fn a_record_longer_than_its_batch_is_cut_off() {
        assert_eq!(read_all(&[20, 0, 0, 0], 1), Err(RecordError::CutOff));
        assert_eq!(read_all(&[], 1), Err(RecordError::CutOff));
    }

    #[test]
    fn a_header_count_without_bytes_is_refused() {
        // attributes, deltas, null key, null value, 1000 headers
        let body = [0u8, 0, 0, 1, 1, 0xd0, 0x0f];
        let mut bytes = vec![(body.len() as u8) << 1];
        bytes.extend_from_slice(&body);
        assert_eq!(
            read_all(&bytes, 1),
            Err(RecordError::HeaderCount { count: 1000 })
        );
    }

    #[test]
    fn a_header_without_key_is_refused() {
        let body = [0u8, 0, 0, 1, 1, 2, 1, 1];
        let mut bytes = vec![(body.len() as u8) << 1];
        bytes.extend_from_slice(&body);
        assert_eq!(read_all(&bytes, 1), Err(RecordError::HeaderKey));
    }

    #[test]
    fn bytes_behind_the_counted_records_are_an_error() {
        let mut out = Vec::new();
        write_record(&mut out, 0, 0, None, None, std::iter::empty());
        out.extend_from_slice(b"xy");
        assert_eq!(read_all(&out, 1), Err(RecordError::AfterLast { extra: 2 }));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, count: i32) {
            let records = Records::new(&bytes, count);
            for record in records.take(10_000).flatten() {
                prop_assert_eq!(record.headers.iter().count(), record.headers.len());
            }
        }

        #[test]
        fn records_come_back(
            time: i64,
            delta: i32,
            key: Option<Vec<u8>>,
            value: Option<Vec<u8>>,
            headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
        ) {
            let mut out = Vec::new();
            let given: Vec<_> = headers.iter().map(|(k, v)| Header { key: k, value: v.as_deref() }).collect();
            write_record(&mut out, time, delta, key.as_deref(), value.as_deref(), given.iter().copied());
            let records = read_all(&out, 1).unwrap();
            prop_assert_eq!(records[0].timestamp_delta, time);
            prop_assert_eq!(records[0].offset_delta, delta);
            prop_assert_eq!(records[0].key, key.as_deref());
            prop_assert_eq!(records[0].value, value.as_deref());
            prop_assert_eq!(records[0].headers.iter().collect::<Vec<_>>(), given);
        }
    }
}
