//! Kafka records to Arrow columns of the raw schema.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, ListArray, RecordBatch, RecordBatchOptions, StringArray, StructArray,
    TimestampMillisecondArray,
};
use arrow_buffer::{Buffer, NullBuffer, NullBufferBuilder, OffsetBuffer};
use arrow_schema::{DataType as ArrowType, SchemaRef};
use thiserror::Error;

use super::{HEADERS, KEY, TIMESTAMP, VALUE, raw_schema};
use crate::batch::NO_TIME;
use crate::columnar::projected_arrow_schema;

/// Why a record cannot be appended.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum RawError {
    #[error("a column would take more than 2 GiB")]
    TooLarge,
    #[error("record of a compacted topic has no key")]
    NoKey,
}

/// Which columns of the raw schema to build. The others cost nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawColumns([bool; 4]);

impl RawColumns {
    /// All four.
    pub const ALL: RawColumns = RawColumns([true; 4]);

    /// Those at some positions; positions beyond the raw schema are ignored.
    pub fn at(positions: &[usize]) -> Self {
        let mut wanted = [false; 4];
        for position in positions {
            if let Some(wanted) = wanted.get_mut(*position) {
                *wanted = true;
            }
        }
        RawColumns(wanted)
    }

    /// True when the column at this position is built.
    pub fn contains(self, position: usize) -> bool {
        self.0.get(position).copied().unwrap_or(false)
    }

    /// The positions, ascending.
    pub fn positions(self) -> Vec<usize> {
        (0..4).filter(|i| self.0[*i]).collect()
    }
}

/// Appends Kafka records to columns, without an allocation per record.
#[derive(Debug)]
pub struct RawBatchBuilder {
    columns: RawColumns,
    compacted: bool,
    rows: usize,
    keys: Variable,
    values: Variable,
    times: Vec<i64>,
    times_valid: NullBufferBuilder,
    header_offsets: Vec<i32>,
    header_keys: Variable,
    header_values: Variable,
    lossy_header_keys: u64,
}

impl RawBatchBuilder {
    /// A builder of these columns; with `compacted` keys are required.
    pub fn new(columns: RawColumns, compacted: bool) -> Self {
        RawBatchBuilder {
            columns,
            compacted,
            rows: 0,
            keys: Variable::default(),
            values: Variable::default(),
            times: Vec::new(),
            times_valid: NullBufferBuilder::new(0),
            header_offsets: vec![0],
            header_keys: Variable::default(),
            header_values: Variable::default(),
            lossy_header_keys: 0,
        }
    }

    /// Appends one record. `timestamp_ms` is the record time, or -1 when it has none. After an
    /// error the builder still holds the records before.
    pub fn append<'a>(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp_ms: i64,
        headers: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) -> Result<(), RawError> {
        if self.compacted && key.is_none() {
            return Err(RawError::NoKey);
        }
        let before = self.mark();
        let appended = self.try_append(key, value, timestamp_ms, headers);
        match appended {
            Ok(()) => self.rows += 1,
            Err(_) => self.rewind(before),
        }
        appended
    }

    fn try_append<'a>(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp_ms: i64,
        headers: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) -> Result<(), RawError> {
        if self.columns.contains(KEY) {
            self.keys.append(key)?;
        }
        if self.columns.contains(VALUE) {
            self.values.append(value)?;
        }
        if self.columns.contains(HEADERS) {
            for (key, value) in headers {
                match std::str::from_utf8(key) {
                    Ok(_) => self.header_keys.append(Some(key))?,
                    Err(_) => {
                        self.lossy_header_keys += 1;
                        let key = String::from_utf8_lossy(key);
                        self.header_keys.append(Some(key.as_bytes()))?;
                    }
                }
                self.header_values.append(value)?;
            }
            let end = i32::try_from(self.header_keys.len()).map_err(|_| RawError::TooLarge)?;
            self.header_offsets.push(end);
        }
        // Last, because it cannot fail.
        if self.columns.contains(TIMESTAMP) {
            self.times.push(timestamp_ms);
            self.times_valid.append(timestamp_ms != NO_TIME);
        }
        Ok(())
    }

    fn mark(&self) -> [usize; 2] {
        [self.header_keys.len(), self.header_values.len()]
    }

    fn rewind(&mut self, [header_keys, header_values]: [usize; 2]) {
        let rows = self.rows;
        self.keys.truncate(rows);
        self.values.truncate(rows);
        self.header_keys.truncate(header_keys);
        self.header_values.truncate(header_values);
        self.header_offsets.truncate(rows + 1);
    }

    /// Records so far.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// True before the first record.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Bytes of values so far, without offsets and null bits.
    pub fn bytes(&self) -> usize {
        self.keys.data.len()
            + self.values.data.len()
            + self.times.len() * 8
            + self.header_keys.data.len()
            + self.header_values.data.len()
    }

    /// Header keys that were not UTF-8.
    pub fn lossy_header_keys(&self) -> u64 {
        self.lossy_header_keys
    }

    /// The Arrow schema of the rows: the wanted columns in order.
    pub fn arrow_schema(&self) -> SchemaRef {
        projected_arrow_schema(&raw_schema(self.compacted), &self.columns.positions())
    }

    /// The rows.
    pub fn finish(mut self) -> RecordBatch {
        let schema = self.arrow_schema();
        let rows = self.rows;
        let mut arrays: Vec<ArrayRef> = Vec::new();
        if self.columns.contains(KEY) {
            arrays.push(Arc::new(self.keys.binary()));
        }
        if self.columns.contains(VALUE) {
            arrays.push(Arc::new(self.values.binary()));
        }
        if self.columns.contains(TIMESTAMP) {
            let times =
                TimestampMillisecondArray::new(self.times.into(), self.times_valid.finish());
            arrays.push(Arc::new(times.with_timezone("UTC")));
        }
        if self.columns.contains(HEADERS) {
            let field = schema.fields().last().map(|f| f.data_type().clone());
            let Some(ArrowType::List(element)) = field else {
                unreachable!("headers are the last column and a list");
            };
            let ArrowType::Struct(fields) = element.data_type().clone() else {
                unreachable!("a header is a struct");
            };
            let keys = self.header_keys.string();
            let values = self.header_values.binary();
            let headers = StructArray::new(fields, vec![Arc::new(keys), Arc::new(values)], None);
            let offsets = OffsetBuffer::new(self.header_offsets.into());
            arrays.push(Arc::new(ListArray::new(
                element,
                offsets,
                Arc::new(headers),
                None,
            )));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(schema, arrays, &options)
            .expect("every append keeps the columns at one length")
    }
}

/// Values of any length.
#[derive(Debug)]
struct Variable {
    offsets: Vec<i32>,
    data: Vec<u8>,
    valid: NullBufferBuilder,
}

impl Default for Variable {
    fn default() -> Self {
        Variable {
            offsets: vec![0],
            data: Vec::new(),
            valid: NullBufferBuilder::new(0),
        }
    }
}

impl Variable {
    fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    fn append(&mut self, value: Option<&[u8]>) -> Result<(), RawError> {
        let value_len = value.map_or(0, <[u8]>::len);
        let end = i32::try_from(self.data.len() + value_len).map_err(|_| RawError::TooLarge)?;
        self.data.extend_from_slice(value.unwrap_or_default());
        self.offsets.push(end);
        self.valid.append(value.is_some());
        Ok(())
    }

    fn truncate(&mut self, len: usize) {
        if self.len() > len {
            self.offsets.truncate(len + 1);
            self.data
                .truncate(usize::try_from(self.offsets[len]).unwrap_or(0));
            self.valid.truncate(len);
        }
    }

    fn parts(mut self) -> (OffsetBuffer<i32>, Buffer, Option<NullBuffer>) {
        let offsets = OffsetBuffer::new(self.offsets.into());
        (offsets, Buffer::from_vec(self.data), self.valid.finish())
    }

    fn binary(self) -> BinaryArray {
        let (offsets, data, nulls) = self.parts();
        BinaryArray::new(offsets, data, nulls)
    }

    fn string(self) -> StringArray {
        let (offsets, data, nulls) = self.parts();
        StringArray::new(offsets, data, nulls)
    }
}
