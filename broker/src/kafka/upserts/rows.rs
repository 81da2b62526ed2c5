//! Records of a Kafka batch as rows of a primary-key table, each in the bucket of its key.
//!
//! A record's key and value are objects as `docs/formats/json.md` describes them. What a key
//! column is may stand in either; a null value deletes. A batch of which one record does not fit
//! is refused as a whole, with a message for each such record (KIP-467).

use std::sync::Arc;

use bytes::Bytes;
use protocol::fluss::bucketing::BucketFunction;
use protocol::fluss::key::{KeyEncoder, KeyError, LakeFormat};
use protocol::fluss::kv_batch::{KvBatchBuilder, KvRecord};
use protocol::fluss::options::{DeleteBehavior, TableConfig};
use protocol::fluss::partition::value::value_of;
use protocol::ids::SchemaId;
use protocol::json::{JsonReader, JsonValue, ReadError};
use protocol::kafka::batch::BatchView;
use protocol::kafka::record::Record;
use protocol::kafka::validate::{InvalidBatch, RECORD_ERRORS_MAX, Scratch};
use protocol::row::{Datum, RowError, RowLayout};
use protocol::schema::{DataType, Schema};
use storage::catalog::Topic;

use crate::tablets::{key_columns, key_encoder};

/// Bytes of a KV record beside its key and its row.
const RECORD_OVERHEAD: usize = 9;

/// What the records of a topic become rows by. Made once per state of the table.
pub struct Spread {
    schema_id: SchemaId,
    schema: Arc<Schema>,
    layout: RowLayout,
    values: JsonReader,
    keys: JsonReader,
    /// Positions of the primary key's columns, as `keys` reads them.
    key: Vec<usize>,
    /// What the bucket stores rows under.
    stored_key: EncodedKey,
    /// What the bucket is chosen by.
    bucket_key: EncodedKey,
    function: BucketFunction,
    buckets: i32,
    /// Positions of the partition columns, and the values that the topic's partition has.
    partition: Vec<(usize, JsonValue<'static>)>,
    /// The column that the server counts up.
    counted: Option<usize>,
    deletes_refused: bool,
    /// A record writes the columns that it has; else those that it lacks become null.
    partial: bool,
}

/// Columns that become bytes.
struct EncodedKey {
    encoder: KeyEncoder,
    columns: Vec<usize>,
    types: Vec<DataType>,
}

/// Rows of one bucket, in the order of their records, which all write the same columns.
#[derive(Debug)]
pub struct BucketRows {
    /// Which bucket.
    pub bucket: i32,
    /// A KV batch.
    pub records: Bytes,
    /// Positions of the columns that are written; empty for all.
    pub targets: Vec<i32>,
    /// Place in the Kafka batch of the first record.
    pub first: i32,
    /// Place in the Kafka batch of the last record.
    pub last: i32,
}

/// Why a table takes no records from Kafka producers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// Its options do not hold.
    #[error("its options do not hold: {0}")]
    Options(String),
    /// A key or partition column is not in its schema.
    #[error("it lacks its column '{0}'")]
    Column(String),
    /// Its partition's name is none of the column's values.
    #[error("partition value '{value}' is none of column '{column}'")]
    Partition {
        /// The column.
        column: String,
        /// The text.
        value: String,
    },
    /// Only clients know how.
    #[error("the buckets of tables with lake format hudi are chosen by clients")]
    Hudi,
}

/// Why a batch does not become rows.
#[derive(Debug, thiserror::Error)]
pub enum SplitError {
    /// Some records are no rows: their places in the batch, and why.
    #[error("{total} records refused, the first: {}", .errors.first().map_or("", |(_, why)| why))]
    Records {
        /// How many.
        total: usize,
        /// Some of them.
        errors: Vec<(i32, String)>,
    },
    /// The batch itself is damaged.
    #[error(transparent)]
    Batch(#[from] InvalidBatch),
    /// Its rows take more memory than they may.
    #[error("rows of the batch take more than {0} bytes")]
    TooLarge(usize),
}

/// Why a record is no row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum RecordError {
    #[error("the record's key {0}")]
    Key(ReadError),
    #[error("the record's value {0}")]
    Value(ReadError),
    #[error("a record that deletes a row needs its key")]
    NoKey,
    #[error("deletes are disabled for the table")]
    DeletesDisabled,
    #[error("column '{0}' is not the same in the record's key and value")]
    Disagreement(String),
    #[error("column '{0}' is not that of the topic's partition")]
    OtherPartition(String),
    #[error("column '{0}' is missing and must not be null")]
    Missing(String),
    #[error("column '{0}' is counted up by the server and cannot be written")]
    Counted(String),
    #[error("rows with an auto-increment column are deleted by Fluss clients only")]
    CountedDelete,
    #[error("the row cannot be stored: {0}")]
    Row(#[from] RowError),
    #[error("the row's key cannot be stored: {0}")]
    Encode(#[from] KeyError),
}

impl Spread {
    /// How the records of a topic are spread, which is a primary-key table or a partition of one.
    ///
    /// # Errors
    /// The table is one whose rows the broker cannot place.
    pub fn new(topic: &Topic, partial: bool) -> Result<Spread, Unsupported> {
        let table = &topic.table;
        let options = TableConfig::parse(&table.properties);
        let options = options.map_err(|error| Unsupported::Options(error.to_string()))?;
        let lake = options
            .datalake_format
            .and_then(|format| LakeFormat::from_name(&format.to_string()));
        if lake == Some(LakeFormat::Hudi) {
            return Err(Unsupported::Hudi);
        }
        let numbered = table.schema();
        let schema = &numbered.schema;
        let position = |name: &String| {
            let position = schema.position(name);
            position.ok_or_else(|| Unsupported::Column(name.clone()))
        };
        let positions = |names: &[String]| -> Result<Vec<usize>, Unsupported> {
            names.iter().map(position).collect()
        };
        let encoded = |encoder, names: &[String]| -> Result<EncodedKey, Unsupported> {
            let columns = positions(names)?;
            let types = columns
                .iter()
                .map(|at| schema.columns[*at].data_type.clone());
            Ok(EncodedKey {
                encoder,
                types: types.collect(),
                columns,
            })
        };
        let key = positions(&schema.primary_key)?;
        let counted = schema.auto_increment_column.as_ref();
        Ok(Spread {
            schema_id: numbered.id,
            layout: RowLayout::of(options.kv_format, schema),
            values: JsonReader::new(schema),
            keys: JsonReader::of_columns(schema, key.iter().copied()),
            key,
            stored_key: encoded(key_encoder(table, &options), &key_columns(table))?,
            bucket_key: encoded(KeyEncoder::of_bucket_key(lake), &table.bucket_keys)?,
            function: BucketFunction::of(lake),
            buckets: i32::try_from(topic.bucket_count()).unwrap_or(i32::MAX),
            partition: partition_values(topic)?,
            counted: counted.map(position).transpose()?,
            deletes_refused: options.delete_behavior == Some(DeleteBehavior::Disable),
            partial,
            schema: Arc::new(schema.clone()),
        })
    }

    /// Makes rows of a batch that was validated, with at most `limit` bytes of memory for what is
    /// decompressed and what it becomes.
    ///
    /// # Errors
    /// A record is no row of the table, or the limit is too low.
    pub fn split(
        &self,
        batch: &[u8],
        limit: usize,
        scratch: &mut Scratch,
    ) -> Result<Vec<BucketRows>, SplitError> {
        let view = BatchView::parse(batch).map_err(InvalidBatch::from)?;
        let records = scratch.records(&view, limit)?;
        let mut rows = Rows {
            spread: self,
            runs: Vec::new(),
            bytes: records.rest().len(),
            key: Vec::new(),
            row: Vec::new(),
        };
        let mut errors = Vec::new();
        let mut total = 0;
        for (index, record) in (0..).zip(records) {
            let record = record.map_err(|source| InvalidBatch::Record { index, source })?;
            if let Err(error) = rows.add(index, &record) {
                total += 1;
                if errors.len() < RECORD_ERRORS_MAX {
                    errors.push((index, error.to_string()));
                }
            }
            if rows.bytes > limit {
                return Err(SplitError::TooLarge(limit));
            }
        }
        match total {
            0 => Ok(rows.runs.into_iter().map(Run::finish).collect()),
            total => Err(SplitError::Records { total, errors }),
        }
    }

    fn name(&self, position: usize) -> String {
        self.schema.columns[position].name.clone()
    }

    /// The columns of a record, those of its key among them.
    fn columns<'r>(&self, record: &Record<'r>) -> Result<Vec<Option<JsonValue<'r>>>, RecordError> {
        let mut columns = Vec::new();
        match record.value {
            Some(value) => self
                .values
                .read(value, &mut columns)
                .map_err(RecordError::Value)?,
            None => columns.resize(self.schema.columns.len(), None),
        }
        if let Some(key) = record.key {
            let mut of_key = Vec::new();
            self.keys.read(key, &mut of_key).map_err(RecordError::Key)?;
            for (position, found) in self.key.iter().zip(of_key) {
                let Some(found) = found else { continue };
                match &columns[*position] {
                    Some(of_value) if *of_value != found => {
                        return Err(RecordError::Disagreement(self.name(*position)));
                    }
                    _ => columns[*position] = Some(found),
                }
            }
        }
        for (position, expected) in &self.partition {
            match &columns[*position] {
                Some(found) if found != expected => {
                    return Err(RecordError::OtherPartition(self.name(*position)));
                }
                _ => columns[*position] = Some(expected.clone()),
            }
        }
        let missing =
            |position: &&usize| columns[**position].as_ref().is_none_or(JsonValue::is_null);
        if let Some(position) = self.key.iter().find(missing) {
            return Err(RecordError::Missing(self.name(*position)));
        }
        Ok(columns)
    }

    /// The positions of the columns that a row with these writes; empty for all.
    fn targets(&self, columns: &[Option<JsonValue<'_>>]) -> Result<Vec<i32>, RecordError> {
        let is_counted = |position: usize| self.counted == Some(position);
        if let Some(counted) = self.counted
            && columns[counted]
                .as_ref()
                .is_some_and(|value| !value.is_null())
        {
            return Err(RecordError::Counted(self.name(counted)));
        }
        let mut targets = Vec::new();
        for (position, (column, value)) in self.schema.columns.iter().zip(columns).enumerate() {
            let written = match value {
                _ if is_counted(position) => false,
                Some(_) => true,
                None if self.partial => false,
                None if column.data_type.nullable => true,
                None => return Err(RecordError::Missing(column.name.clone())),
            };
            if written {
                // Tables have a few thousand columns at most.
                targets.push(position as i32);
            }
        }
        if targets.len() == self.schema.columns.len() {
            targets.clear();
        }
        Ok(targets)
    }
}

/// The values of the partition columns.
fn partition_values(topic: &Topic) -> Result<Vec<(usize, JsonValue<'static>)>, Unsupported> {
    let Some(partition) = &topic.partition else {
        return Ok(Vec::new());
    };
    let schema = &topic.table.schema().schema;
    let columns = topic.table.partition_keys.iter().zip(&partition.values);
    let value = |(name, text): (&String, &String)| {
        let position = schema.position(name);
        let position = position.ok_or_else(|| Unsupported::Column(name.clone()))?;
        let mut bytes = Vec::new();
        let value = value_of(text, &schema.columns[position].data_type.kind, &mut bytes);
        match value.and_then(owned) {
            Some(value) => Ok((position, value)),
            None => Err(Unsupported::Partition {
                column: name.clone(),
                value: text.clone(),
            }),
        }
    };
    columns.map(value).collect()
}

/// A value without parts, which partition columns have.
fn owned(value: Datum<'_>) -> Option<JsonValue<'static>> {
    Some(match value {
        Datum::String(text) => JsonValue::Text(text.to_owned().into()),
        Datum::Bytes(bytes) => JsonValue::Bytes(bytes.to_vec()),
        Datum::Boolean(v) => JsonValue::Plain(Datum::Boolean(v)),
        Datum::TinyInt(v) => JsonValue::Plain(Datum::TinyInt(v)),
        Datum::SmallInt(v) => JsonValue::Plain(Datum::SmallInt(v)),
        Datum::Int(v) => JsonValue::Plain(Datum::Int(v)),
        Datum::BigInt(v) => JsonValue::Plain(Datum::BigInt(v)),
        Datum::Float(v) => JsonValue::Plain(Datum::Float(v)),
        Datum::Double(v) => JsonValue::Plain(Datum::Double(v)),
        Datum::Date(v) => JsonValue::Plain(Datum::Date(v)),
        Datum::Time(v) => JsonValue::Plain(Datum::Time(v)),
        Datum::Timestamp(v) => JsonValue::Plain(Datum::Timestamp(v)),
        Datum::Null | Datum::Decimal(_) | Datum::Array(_) | Datum::Map(_) | Datum::Row(_) => {
            return None;
        }
    })
}

impl EncodedKey {
    /// Replaces `out` with the key of a row.
    fn encode(&self, row: &[Datum<'_>], out: &mut Vec<u8>) -> Result<(), KeyError> {
        out.clear();
        let values: Vec<_> = self.columns.iter().map(|at| row[*at].clone()).collect();
        self.encoder.encode(&values, self.types.iter(), out)
    }
}

/// The rows of a batch so far.
struct Rows<'s> {
    spread: &'s Spread,
    runs: Vec<Run>,
    /// Memory of the records and their rows.
    bytes: usize,
    key: Vec<u8>,
    row: Vec<u8>,
}

/// Rows of one bucket that write the same columns, while no others come between.
struct Run {
    bucket: i32,
    builder: KvBatchBuilder,
    targets: Vec<i32>,
    first: i32,
    last: i32,
}

impl Run {
    fn finish(self) -> BucketRows {
        BucketRows {
            bucket: self.bucket,
            records: self.builder.finish(),
            targets: self.targets,
            first: self.first,
            last: self.last,
        }
    }
}

impl Rows<'_> {
    fn add(&mut self, index: i32, record: &Record<'_>) -> Result<(), RecordError> {
        let spread = self.spread;
        let deletes = record.value.is_none();
        if deletes && record.key.is_none() {
            return Err(RecordError::NoKey);
        }
        if deletes && spread.deletes_refused {
            return Err(RecordError::DeletesDisabled);
        }
        let columns = spread.columns(record)?;
        let targets = match (deletes, spread.counted) {
            (false, _) => spread.targets(&columns)?,
            // A row goes as a whole.
            (true, None) => Vec::new(),
            // Such tables take partial deletes only, which would leave the row with its number.
            (true, Some(_)) => return Err(RecordError::CountedDelete),
        };
        let values: Vec<_> = columns
            .iter()
            .map(|value| value.as_ref().map_or(Datum::Null, JsonValue::datum))
            .collect();
        spread.bucket_key.encode(&values, &mut self.key)?;
        let bucket = spread.function.bucket(&self.key, spread.buckets);
        spread.stored_key.encode(&values, &mut self.key)?;
        self.row.clear();
        if !deletes {
            spread.layout.write(&values, &mut self.row)?;
        }
        self.bytes += self.key.len() + self.row.len() + RECORD_OVERHEAD;
        let at = self.run(bucket, targets, index);
        let row = (!deletes).then_some(self.row.as_slice());
        let run = &mut self.runs[at];
        run.last = index;
        run.builder.append(KvRecord {
            key: &self.key,
            row,
        });
        Ok(())
    }

    /// Where a row of this bucket goes on: the place of the bucket's last run, or of a new one.
    fn run(&mut self, bucket: i32, targets: Vec<i32>, index: i32) -> usize {
        let newest = self.runs.iter().rposition(|run| run.bucket == bucket);
        if let Some(at) = newest
            && self.runs[at].targets == targets
        {
            return at;
        }
        self.runs.push(Run {
            bucket,
            builder: KvBatchBuilder::new(self.spread.schema_id, None),
            targets,
            first: index,
            last: index,
        });
        self.runs.len() - 1
    }
}

#[cfg(test)]
mod tests;
