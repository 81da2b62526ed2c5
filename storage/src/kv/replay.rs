//! A changelog read back: the changes of the index that its batches stand for.
//!
//! ```text
//! +I +U  put the row      -D  remove the key      -U  nothing
//! ```
//!
//! To apply a change twice is harmless, so a replay may begin anywhere at or below the offset that
//! the index has. Keys are encoded from the key columns of rows; clients encode them the same way.
//! Facts: `KvRecoverHelper.java`.

use protocol::batch::BatchFormat;
use protocol::columnar::{ChangeTypes, DecodeError, Decoder, row_at};
use protocol::fluss::batch::{BatchError, ChangeType, LogBatch};
use protocol::fluss::key::{KeyEncoder, KeyError};
use protocol::fluss::options::KvFormat;
use protocol::fluss::value::Value;
use protocol::ids::SchemaId;
use protocol::row::{RowError, RowLayout};
use protocol::schema::{DataType, Schema};
use std::collections::BTreeMap;
use std::sync::Arc;
use thiserror::Error;

use super::merge::{KeyChange, MergeTable};

/// Why a batch is none of a changelog.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ReplayError {
    #[error("schema {0} is none of the table's")]
    Schema(SchemaId),
    #[error("key column '{0}' is none of the table's")]
    KeyColumn(String),
    #[error(transparent)]
    Header(#[from] BatchError),
    #[error("a changelog batch without change types")]
    AppendOnly,
    #[error("a changelog batch does not decode")]
    Decode(#[from] DecodeError),
    #[error("record {index} has no key")]
    Key { index: usize, source: KeyError },
    #[error("record {index} makes no row")]
    Row { index: usize, source: RowError },
}

/// One change of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplayedChange<'a> {
    /// Offset of the record, counted from the batch's base offset.
    pub offset_delta: i32,
    /// The encoded key.
    pub key: &'a [u8],
    /// What becomes of it.
    pub change: KeyChange<'a>,
    /// By how many rows the table grows, where the changelog tells (image FULL).
    pub row_delta: i8,
}

/// Reads the batches of one table. Has memory that is used again: one per thread.
#[derive(Debug)]
pub struct Replay {
    encoder: KeyEncoder,
    schemas: BTreeMap<SchemaId, RowsOf>,
    decoder: Decoder,
    key: Vec<u8>,
    row: Vec<u8>,
}

/// Rows of one schema.
#[derive(Debug, Clone)]
struct RowsOf {
    schema: Arc<Schema>,
    layout: RowLayout,
    /// Positions of the key columns, in key order, and their types.
    key_at: Vec<usize>,
    key_types: Vec<DataType>,
}

impl RowsOf {
    fn new(
        schema: &Arc<Schema>,
        format: KvFormat,
        key_columns: &[String],
    ) -> Result<Self, ReplayError> {
        let position = |name: &String| {
            let position = schema.position(name);
            position.ok_or_else(|| ReplayError::KeyColumn(name.clone()))
        };
        let key_at = key_columns
            .iter()
            .map(position)
            .collect::<Result<Vec<_>, _>>()?;
        let types = key_at.iter().map(|i| schema.columns[*i].data_type.clone());
        Ok(RowsOf {
            schema: schema.clone(),
            layout: RowLayout::of(format, schema),
            key_types: types.collect(),
            key_at,
        })
    }
}

impl Replay {
    /// A reader of this table's changelog. `key_columns` are the primary key without partition
    /// columns, in its order.
    ///
    /// # Errors
    /// The table has no such columns.
    pub fn new(
        table: &MergeTable,
        encoder: KeyEncoder,
        key_columns: &[String],
    ) -> Result<Self, ReplayError> {
        let rows_of = |(id, schema): (&SchemaId, &Arc<Schema>)| {
            RowsOf::new(schema, table.kv_format, key_columns).map(|rows| (*id, rows))
        };
        Ok(Replay {
            encoder,
            schemas: table
                .schemas
                .iter()
                .map(rows_of)
                .collect::<Result<_, _>>()?,
            decoder: Decoder::default(),
            key: Vec::new(),
            row: Vec::new(),
        })
    }

    /// Calls `apply` with the changes of a batch in order.
    pub fn read<E: From<ReplayError>>(
        &mut self,
        batch: &LogBatch,
        format: BatchFormat,
        mut apply: impl FnMut(ReplayedChange<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if batch.header().is_header_only() {
            return Ok(());
        }
        let id = batch.header().schema_id();
        let rows = self.schemas.get(&id).ok_or(ReplayError::Schema(id))?;
        let decoded = self.decoder.decode(batch, format, &rows.schema, None);
        let decoded = decoded.map_err(ReplayError::Decode)?;
        let ChangeTypes::PerRow(changes) = &decoded.changes else {
            return Err(ReplayError::AppendOnly.into());
        };
        let (mut values, mut key_values) = (Vec::new(), Vec::new());
        for ((index, change), offset_delta) in changes.iter().enumerate().zip(0..) {
            let (stays, row_delta) = match change {
                ChangeType::Insert => (true, 1),
                ChangeType::UpdateAfter => (true, 0),
                ChangeType::Delete => (false, -1),
                ChangeType::UpdateBefore => continue,
                ChangeType::AppendOnly => return Err(ReplayError::AppendOnly.into()),
            };
            row_at(&decoded.rows, &rows.schema, index, &mut values);
            key_values.clear();
            key_values.extend(rows.key_at.iter().map(|i| values[*i].clone()));
            self.key.clear();
            self.encoder
                .encode(&key_values, rows.key_types.iter(), &mut self.key)
                .map_err(|source| ReplayError::Key { index, source })?;
            let change = if stays {
                self.row.clear();
                rows.layout
                    .write(&values, &mut self.row)
                    .map_err(|source| ReplayError::Row { index, source })?;
                KeyChange::Put(Value {
                    schema_id: id,
                    row: &self.row,
                })
            } else {
                KeyChange::Remove
            };
            apply(ReplayedChange {
                offset_delta,
                key: &self.key,
                change,
                row_delta,
            })?;
        }
        Ok(())
    }
}
