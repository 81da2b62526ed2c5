//! Values of primary-key tables: as they are stored, and as batches of LIMIT_SCAN and SCAN_KV.
//!
//! ```text
//! stored, plain (1)    schema id i16 | row
//! stored, tagged (2)   tag, 8 bytes big-endian | schema id i16 | row
//! on the wire          always the plain form
//!
//! value batch:  length i32 (bytes after it) | magic i8 = 0 | count i32 | records
//! record:       length i32 (bytes after it) | schema id i16 | row
//! ```
//!
//! `table.kv.value-layout-version` names the stored form, 1 when absent; KV snapshots show it to
//! clients. Other numbers are little-endian. Facts: Fluss log format, value in the KV store;
//! `ValueEncoder.java`, `DefaultValueRecordBatch.java`, `KvValueLayout` of the 1.0.0 client.

use bytes::Bytes;
use thiserror::Error;

use crate::ids::SchemaId;

const SCHEMA_ID_LEN: usize = 2;
const TAG_LEN: usize = 8;
/// Bytes before the first record of a value batch.
const BATCH_HEADER_LEN: usize = 9;

/// Why bytes are no value or no batch of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ValueError {
    #[error("value of {0} bytes is cut")]
    Cut(usize),
    #[error("value layout version {0} is unknown")]
    Layout(i32),
    #[error("value batch magic {0} is unknown")]
    Magic(u8),
    #[error("value batch is malformed")]
    Batch,
}

/// A row with the number of its schema. Rows keep the schema that they were written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value<'a> {
    /// The schema of the row.
    pub schema_id: SchemaId,
    /// The row in the table's KV format.
    pub row: &'a [u8],
}

impl<'a> Value<'a> {
    /// The value in the plain form, which is the one of the wire.
    pub fn parse(plain: &'a [u8]) -> Result<Self, ValueError> {
        let (id, row) = plain
            .split_first_chunk::<SCHEMA_ID_LEN>()
            .ok_or(ValueError::Cut(plain.len()))?;
        Ok(Value {
            schema_id: SchemaId::new(i16::from_le_bytes(*id)),
            row,
        })
    }

    /// Appends the plain form.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.schema_id.value().to_le_bytes());
        out.extend_from_slice(self.row);
    }

    /// Bytes of the plain form.
    pub fn plain_len(&self) -> usize {
        SCHEMA_ID_LEN + self.row.len()
    }
}

/// How a table stores its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ValueLayout {
    /// Schema id and row.
    #[default]
    Plain,
    /// The same behind a tag of 8 bytes, which expiry of rows reads.
    Tagged,
}

impl ValueLayout {
    /// The layout of `table.kv.value-layout-version`, plain when that is absent.
    pub fn of_version(version: Option<i32>) -> Result<Self, ValueError> {
        match version {
            None | Some(1) => Ok(ValueLayout::Plain),
            Some(2) => Ok(ValueLayout::Tagged),
            Some(other) => Err(ValueError::Layout(other)),
        }
    }

    /// Bytes before the plain form.
    pub const fn prefix_len(self) -> usize {
        match self {
            ValueLayout::Plain => 0,
            ValueLayout::Tagged => TAG_LEN,
        }
    }

    /// Appends the stored form. The plain layout has no place for the tag.
    pub fn write(self, tag: i64, value: Value<'_>, out: &mut Vec<u8>) {
        if self == ValueLayout::Tagged {
            out.extend_from_slice(&tag.to_be_bytes());
        }
        value.write(out);
    }

    /// The plain form within the stored one, as answers carry it.
    pub fn plain(self, stored: &[u8]) -> Result<&[u8], ValueError> {
        match stored.get(self.prefix_len()..) {
            Some(plain) if plain.len() >= SCHEMA_ID_LEN => Ok(plain),
            _ => Err(ValueError::Cut(stored.len())),
        }
    }

    /// The value within the stored form.
    pub fn read(self, stored: &[u8]) -> Result<Value<'_>, ValueError> {
        Value::parse(self.plain(stored)?)
    }

    /// The tag of a stored value, none in the plain layout.
    pub fn tag(self, stored: &[u8]) -> Option<i64> {
        match self {
            ValueLayout::Plain => None,
            ValueLayout::Tagged => stored
                .first_chunk::<TAG_LEN>()
                .map(|b| i64::from_be_bytes(*b)),
        }
    }
}

/// Makes batches of values.
#[derive(Debug, Clone)]
pub struct ValueBatchBuilder {
    out: Vec<u8>,
    count: i32,
}

impl Default for ValueBatchBuilder {
    fn default() -> Self {
        ValueBatchBuilder {
            out: vec![0; BATCH_HEADER_LEN],
            count: 0,
        }
    }
}

impl ValueBatchBuilder {
    /// An empty batch.
    pub fn new() -> Self {
        ValueBatchBuilder::default()
    }

    /// Bytes of the batch so far; callers stop at their limit, which is below 2 GiB.
    pub fn bytes_len(&self) -> usize {
        self.out.len()
    }

    /// Values so far.
    pub fn len(&self) -> usize {
        usize::try_from(self.count).unwrap_or(0)
    }

    /// True before the first value.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Appends a value in its plain form.
    ///
    /// # Panics
    /// When the batch grows past 2 GiB.
    pub fn append(&mut self, plain: &[u8]) {
        self.out.extend_from_slice(&length(plain.len()));
        self.out.extend_from_slice(plain);
        self.count += 1;
    }

    /// The batch.
    pub fn finish(mut self) -> Bytes {
        let len = length(self.out.len() - 4);
        self.out[..4].copy_from_slice(&len);
        self.out[5..BATCH_HEADER_LEN].copy_from_slice(&self.count.to_le_bytes());
        self.out.into()
    }
}

fn length(len: usize) -> [u8; 4] {
    i32::try_from(len)
        .expect("a value batch is smaller than 2 GiB")
        .to_le_bytes()
}

/// The values of a batch, which must fill `bytes`.
pub fn read_value_batch(bytes: &[u8]) -> Result<Vec<Value<'_>>, ValueError> {
    let (header, mut rest) = bytes
        .split_first_chunk::<BATCH_HEADER_LEN>()
        .ok_or(ValueError::Cut(bytes.len()))?;
    let [l0, l1, l2, l3, magic, c0, c1, c2, c3] = *header;
    let len = i32::from_le_bytes([l0, l1, l2, l3]);
    let count = i32::from_le_bytes([c0, c1, c2, c3]);
    if magic != 0 {
        return Err(ValueError::Magic(magic));
    }
    if usize::try_from(len).ok() != Some(bytes.len() - 4) {
        return Err(ValueError::Batch);
    }
    let mut values = Vec::new();
    while let Some((len, after)) = rest.split_first_chunk::<4>() {
        let len = usize::try_from(i32::from_le_bytes(*len)).map_err(|_| ValueError::Batch)?;
        let (plain, after) = after.split_at_checked(len).ok_or(ValueError::Batch)?;
        values.push(Value::parse(plain)?);
        rest = after;
    }
    if !rest.is_empty() || usize::try_from(count).ok() != Some(values.len()) {
        return Err(ValueError::Batch);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fluss::vectors::hex;

    /// Made by the Java client 1.0.0: schema ids 1, 2, 3 with the COMPACTED and INDEXED rows
    /// (1, `row0`), (2, `row1`), (3, null).
    const BATCHES: [&str; 2] = [
        "270000000003000000090000000100000104726f7730090000000200000204726f77310400000003000203",
        "3a00000000030000000f0000000100000400000001000000726f77300f0000000200000400000002000000726f77\
         310b0000000300020000000003000000",
    ];

    #[test]
    fn a_batch_of_the_java_client_is_read_and_made_again() {
        for digits in BATCHES {
            let bytes = hex(digits);
            let values = read_value_batch(&bytes).unwrap();
            let ids: Vec<_> = values.iter().map(|v| v.schema_id.value()).collect();
            assert_eq!(ids, [1, 2, 3]);
            let mut builder = ValueBatchBuilder::new();
            for value in values {
                let mut plain = Vec::new();
                value.write(&mut plain);
                assert_eq!(plain.len(), value.plain_len());
                builder.append(&plain);
            }
            assert_eq!((builder.len(), builder.bytes_len()), (3, bytes.len()));
            assert_eq!(builder.finish(), bytes);
        }
    }

    #[test]
    fn a_tag_stands_before_the_plain_form() {
        let value = Value {
            schema_id: SchemaId::new(0x0102),
            row: b"row",
        };
        let mut stored = Vec::new();
        ValueLayout::Tagged.write(1, value, &mut stored);
        assert_eq!(stored, b"\0\0\0\0\0\0\0\x01\x02\x01row");
        assert_eq!(ValueLayout::Tagged.read(&stored), Ok(value));
        assert_eq!(ValueLayout::Tagged.tag(&stored), Some(1));
        assert_eq!(ValueLayout::Plain.tag(&stored), None);
        assert_eq!(ValueLayout::Tagged.plain(&stored).unwrap(), &stored[8..]);
        assert_eq!(
            ValueLayout::Tagged.read(&stored[..9]),
            Err(ValueError::Cut(9))
        );
        assert_eq!(ValueLayout::of_version(Some(3)), Err(ValueError::Layout(3)));
        assert_eq!(ValueLayout::of_version(None), Ok(ValueLayout::Plain));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = read_value_batch(&bytes);
            let _ = ValueLayout::Tagged.read(&bytes);
            let mut forged = [&[0; BATCH_HEADER_LEN][..], &bytes].concat();
            let len = length(forged.len() - 4);
            forged[..4].copy_from_slice(&len);
            forged[5] = 2;
            if let Ok(values) = read_value_batch(&forged) {
                prop_assert_eq!(values.len(), 2);
            }
        }
    }
}
