//! Making log batches, always of version 0: for the transcoder, the changelog and the tests.

use arrow_array::RecordBatch;
use thiserror::Error;

use super::{ChangeType, HEADER_LEN_MIN, LENGTH_OVERHEAD, NO_SEQUENCE, NO_WRITER};
use crate::fluss::arrow_encode::{self, EncodeError};
use crate::fluss::buffer_codec::Compressor;
use crate::ids::SchemaId;

/// What the log assigns. Clients send zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Assigned {
    /// Offset of the first record.
    pub base_offset: i64,
    /// When the batch was appended, epoch milliseconds.
    pub commit_time_ms: i64,
}

/// The header of a batch to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSpec {
    /// The schema of the rows.
    pub schema_id: SchemaId,
    /// Writer id and batch sequence of an idempotent writer.
    pub writer: Option<(i64, i32)>,
    /// Offsets that the batch takes, minus one; by default one offset per row, and one for an
    /// empty batch. Larger where offsets at the end have no visible row.
    pub last_offset_delta: Option<i32>,
    /// What the log assigned, where it is known.
    pub assigned: Assigned,
}

impl BatchSpec {
    /// A batch of this schema without writer and assigned fields.
    pub fn new(schema_id: SchemaId) -> Self {
        BatchSpec {
            schema_id,
            writer: None,
            last_offset_delta: None,
            assigned: Assigned::default(),
        }
    }
}

/// What happened to the rows of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changes<'a> {
    /// All rows are `+A`.
    AppendOnly,
    /// One type per row.
    PerRow(&'a [ChangeType]),
}

impl Changes<'_> {
    /// The type of row `i`.
    pub fn get(&self, i: usize) -> ChangeType {
        match self {
            Changes::AppendOnly => ChangeType::AppendOnly,
            Changes::PerRow(types) => types[i],
        }
    }
}

/// Why a batch cannot be made.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum BuildError {
    #[error("{rows} rows do not fit {changes} change types")]
    Changes { rows: usize, changes: usize },
    #[error("{rows} rows do not fit last offset delta {delta}")]
    OffsetDelta { rows: usize, delta: i32 },
    #[error("batch of {0} bytes or rows is too large")]
    TooLarge(usize),
    #[error("rows cannot be written as arrow message")]
    Encode(#[from] EncodeError),
}

/// A batch whose records are one Arrow message. The columns must have the types of
/// [`crate::columnar::arrow_schema`]; without rows the batch is only a header.
pub fn build_arrow(
    spec: &BatchSpec,
    changes: Changes<'_>,
    rows: &RecordBatch,
    compressor: &mut Compressor,
) -> Result<Vec<u8>, BuildError> {
    let mut out = start(changes, rows.num_rows())?;
    if rows.num_rows() > 0 {
        if let Changes::PerRow(types) = changes {
            out.extend(types.iter().map(|t| t.byte()));
        }
        arrow_encode::encode(rows.columns(), rows.num_rows(), compressor, &mut out)?;
    }
    finish(spec, changes, rows.num_rows(), out)
}

/// A batch without rows, which still takes at least one offset.
pub fn build_empty(spec: &BatchSpec, append_only: bool) -> Result<Vec<u8>, BuildError> {
    let changes = if append_only {
        Changes::AppendOnly
    } else {
        Changes::PerRow(&[])
    };
    finish(spec, changes, 0, start(changes, 0)?)
}

/// A batch of INDEXED or COMPACTED rows, each already in that form.
pub fn build_rows<'a>(
    spec: &BatchSpec,
    changes: Changes<'_>,
    rows: impl ExactSizeIterator<Item = &'a [u8]>,
) -> Result<Vec<u8>, BuildError> {
    let count = rows.len();
    let mut out = start(changes, count)?;
    for (i, row) in rows.enumerate() {
        let len = i32::try_from(row.len() + 1).map_err(|_| BuildError::TooLarge(row.len()))?;
        out.extend_from_slice(&len.to_le_bytes());
        out.push(changes.get(i).byte());
        out.extend_from_slice(row);
    }
    finish(spec, changes, count, out)
}

fn start(changes: Changes<'_>, rows: usize) -> Result<Vec<u8>, BuildError> {
    match changes {
        Changes::PerRow(types) if types.len() != rows => Err(BuildError::Changes {
            rows,
            changes: types.len(),
        }),
        _ => Ok(vec![0; HEADER_LEN_MIN]),
    }
}

/// Fills the header, when all that follows it is there.
fn finish(
    spec: &BatchSpec,
    changes: Changes<'_>,
    rows: usize,
    mut out: Vec<u8>,
) -> Result<Vec<u8>, BuildError> {
    let length = out.len() - LENGTH_OVERHEAD;
    let length = i32::try_from(length).map_err(|_| BuildError::TooLarge(length))?;
    let count = i32::try_from(rows).map_err(|_| BuildError::TooLarge(rows))?;
    let default_delta = (count - 1).max(0);
    let delta = spec.last_offset_delta.unwrap_or(default_delta);
    if delta < default_delta {
        return Err(BuildError::OffsetDelta { rows, delta });
    }
    let (writer_id, sequence) = spec.writer.unwrap_or((NO_WRITER, NO_SEQUENCE));
    let header = &mut out[..HEADER_LEN_MIN];
    header[..8].copy_from_slice(&spec.assigned.base_offset.to_le_bytes());
    header[8..12].copy_from_slice(&length.to_le_bytes());
    header[13..21].copy_from_slice(&spec.assigned.commit_time_ms.to_le_bytes());
    header[25..27].copy_from_slice(&spec.schema_id.value().to_le_bytes());
    header[27] = u8::from(changes == Changes::AppendOnly);
    header[28..32].copy_from_slice(&delta.to_le_bytes());
    header[32..40].copy_from_slice(&writer_id.to_le_bytes());
    header[40..44].copy_from_slice(&sequence.to_le_bytes());
    header[44..48].copy_from_slice(&count.to_le_bytes());
    let crc = crc32c::crc32c(&out[25..]);
    out[21..25].copy_from_slice(&crc.to_le_bytes());
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Int32Array, StringArray};

    use super::*;
    use crate::columnar::arrow_schema;
    use crate::fluss::arrow_message::BufferCodec;
    use crate::fluss::vectors;

    fn rows() -> RecordBatch {
        let schema = arrow_schema(&vectors::int_and_string());
        let a = Int32Array::from(vec![1, 2]);
        let b = StringArray::from(vec![Some("x"), None]);
        RecordBatch::try_new(schema, vec![Arc::new(a), Arc::new(b)]).unwrap()
    }

    fn spec() -> BatchSpec {
        BatchSpec {
            writer: Some((7, 3)),
            ..BatchSpec::new(SchemaId::new(1))
        }
    }

    #[test]
    fn batches_equal_those_of_the_java_client() {
        let changes = [ChangeType::Insert, ChangeType::Delete];
        for (changes, codec, expected) in [
            (Changes::AppendOnly, None, &vectors::APPEND_ONLY),
            (Changes::PerRow(&changes), None, &vectors::CHANGELOG),
            (Changes::AppendOnly, Some(BufferCodec::Zstd), &vectors::ZSTD),
        ] {
            let built =
                build_arrow(&spec(), changes, &rows(), &mut Compressor::new(codec)).unwrap();
            assert_eq!(built, expected.bytes());
        }
    }

    #[test]
    fn an_empty_batch_is_a_header_and_takes_offsets() {
        let spec = BatchSpec {
            last_offset_delta: Some(4),
            ..spec()
        };
        let bytes = build_empty(&spec, true).unwrap();
        assert_eq!(bytes.len(), HEADER_LEN_MIN);
        let batch = super::super::LogBatch::parse(&bytes.into()).unwrap();
        assert!(batch.header().is_header_only() && batch.crc_holds());
        assert_eq!((batch.header().record_count(), batch.last_offset()), (0, 4));
    }

    #[test]
    fn fewer_offsets_than_rows_are_refused() {
        let spec = BatchSpec {
            last_offset_delta: Some(0),
            ..spec()
        };
        let built = build_arrow(
            &spec,
            Changes::AppendOnly,
            &rows(),
            &mut Compressor::new(None),
        );
        assert!(matches!(
            built,
            Err(BuildError::OffsetDelta { rows: 2, delta: 0 })
        ));
        let one = [ChangeType::Insert];
        let built = build_arrow(
            &spec,
            Changes::PerRow(&one),
            &rows(),
            &mut Compressor::new(None),
        );
        assert!(matches!(
            built,
            Err(BuildError::Changes {
                rows: 2,
                changes: 1
            })
        ));
    }
}
