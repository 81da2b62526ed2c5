//! The changelog: all outcomes of a KV batch as one log batch.
//!
//! | outcome | FULL image | WAL image |
//! |---|---|---|
//! | insert | `+I` | `+I` |
//! | overwrite (key not looked up) | `+U` | `+U` |
//! | update | `-U` old, `+U` new | `+U` new |
//! | delete | `-D` old | `-D` old |
//!
//! Rows get the newest schema, with nulls for columns that they do not have. A batch of which
//! nothing is left is still appended, as a header that takes one offset: it carries the writer's
//! sequence on. Facts: Fluss server semantics of PUT_KV; `KvTablet.java`, `kv/wal/*.java`.

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_schema::{ArrowError, SchemaRef};
use protocol::batch::{BatchFormat, NO_TIME, ProducerScheme, SourceBlock, UnassignedBatch};
use protocol::columnar::{RowsBuilder, RowsError, arrow_schema};
use protocol::fluss::batch::{
    BatchSpec, BuildError, ChangeType, Changes, build_arrow, build_empty, build_rows,
};
use protocol::fluss::buffer_codec::Compressor;
use protocol::fluss::options::{ChangelogImage, KvFormat, LogFormat};
use protocol::fluss::value::Value;
use protocol::ids::SchemaId;
use protocol::row::{Datum, RowError, RowLayout, Span};
use thiserror::Error;

use super::merge::{MergeTable, Outcome};

/// Why a changelog cannot be written.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ChangelogError {
    /// Fluss refuses the pair as well.
    #[error("rows of format {kv} cannot be logged in format {log}")]
    Format { kv: KvFormat, log: LogFormat },
    #[error("schema {0} is none of the table's")]
    Schema(SchemaId),
    #[error("a row is malformed")]
    Row(#[from] RowError),
    #[error("a row cannot become columns")]
    Rows(#[from] RowsError),
    #[error("columns do not make rows")]
    Assemble(#[from] ArrowError),
    #[error("batch cannot be made")]
    Build(#[from] BuildError),
}

/// How the changelogs of a table are written. Made once per table shape.
#[derive(Debug, Clone)]
pub struct ChangelogPlan {
    image: ChangelogImage,
    log_format: LogFormat,
    latest: SchemaId,
    columns: SchemaRef,
    /// Rows of the newest schema in the form of the log; not used for columns.
    target: RowLayout,
    sources: Vec<Source>,
    bytes_max: usize,
}

/// Rows of one schema.
#[derive(Debug, Clone)]
struct Source {
    id: SchemaId,
    layout: RowLayout,
    /// Where they have the columns of the newest schema.
    at: Vec<Option<usize>>,
    /// They already are what the log gets.
    verbatim: bool,
}

impl ChangelogPlan {
    /// The most bytes of values of one batch.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Plans the changelogs of a table. A batch takes about `bytes_max` bytes of values.
    ///
    /// # Errors
    /// The pair of formats is not supported, or the table lacks its latest schema.
    pub fn compile(
        table: &MergeTable,
        image: ChangelogImage,
        log_format: LogFormat,
        bytes_max: usize,
    ) -> Result<Self, ChangelogError> {
        let kv = table.kv_format;
        let row_form = match (log_format, kv) {
            (LogFormat::Indexed, KvFormat::Compacted) => {
                return Err(ChangelogError::Format {
                    kv,
                    log: log_format,
                });
            }
            (LogFormat::Indexed, _) => KvFormat::Indexed,
            (LogFormat::Arrow | LogFormat::Compacted, _) => KvFormat::Compacted,
        };
        let latest = table
            .schemas
            .get(&table.latest)
            .ok_or(ChangelogError::Schema(table.latest))?;
        let target = RowLayout::of(row_form, latest);
        let sources = table.schemas.iter().map(|(id, schema)| {
            let layout = RowLayout::of(kv, schema);
            let at = |column: &protocol::schema::Column| {
                schema.columns.iter().position(|c| c.id == column.id)
            };
            Source {
                id: *id,
                at: latest.columns.iter().map(at).collect(),
                verbatim: layout == target && *id == table.latest,
                layout,
            }
        });
        Ok(ChangelogPlan {
            image,
            log_format,
            latest: table.latest,
            columns: arrow_schema(latest),
            sources: sources.collect(),
            target,
            bytes_max,
        })
    }

    /// The image that changelogs have.
    pub fn image(&self) -> ChangelogImage {
        self.image
    }

    /// Begins the log batch of one KV batch.
    pub fn start(&self) -> Changelog<'_> {
        let rows = match self.log_format {
            LogFormat::Arrow => {
                let types = self.target.types().iter().cloned();
                Rows::Columns(RowsBuilder::new(types, self.bytes_max))
            }
            LogFormat::Indexed | LogFormat::Compacted => Rows::Encoded {
                bytes: Vec::new(),
                ends: Vec::new(),
            },
        };
        Changelog {
            plan: self,
            changes: Vec::new(),
            rows,
            values: Vec::new(),
            spans: Vec::new(),
        }
    }
}

/// The log batch that is being made. After an error it must be given up.
#[derive(Debug)]
pub struct Changelog<'p> {
    plan: &'p ChangelogPlan,
    changes: Vec<ChangeType>,
    rows: Rows,
    /// Empty between rows; kept for its memory.
    values: Vec<Datum<'static>>,
    spans: Vec<Span>,
}

#[derive(Debug)]
enum Rows {
    Columns(RowsBuilder),
    Encoded { bytes: Vec<u8>, ends: Vec<usize> },
}

impl Changelog<'_> {
    /// Records so far.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// True before the first record.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Adds what happened to a key. Gives the offset of its last record, counted from the batch's
    /// base offset: the index may show the change when the log has that record. None when nothing
    /// happened.
    pub fn push(&mut self, outcome: &Outcome<'_, '_>) -> Result<Option<i32>, ChangelogError> {
        let full = self.plan.image == ChangelogImage::Full;
        match outcome {
            Outcome::Nothing => return Ok(None),
            Outcome::Insert { new } => self.append(ChangeType::Insert, *new)?,
            Outcome::Overwrite { new } => self.append(ChangeType::UpdateAfter, *new)?,
            Outcome::Update { old, new } => {
                if full {
                    self.append(ChangeType::UpdateBefore, *old)?;
                }
                self.append(ChangeType::UpdateAfter, *new)?;
            }
            Outcome::Delete { old } => self.append(ChangeType::Delete, *old)?,
        }
        let last = i32::try_from(self.changes.len() - 1);
        Ok(Some(
            last.map_err(|_| BuildError::TooLarge(self.changes.len()))?,
        ))
    }

    fn append(&mut self, change: ChangeType, value: Value<'_>) -> Result<(), ChangelogError> {
        let source = self.plan.sources.iter().rev();
        let source = source
            .clone()
            .find(|s| s.id == value.schema_id)
            .ok_or(ChangelogError::Schema(value.schema_id))?;
        self.changes.push(change);
        match &mut self.rows {
            Rows::Columns(builder) => {
                let mut values = recycle(std::mem::take(&mut self.values));
                source.layout.read(value.row, &mut values)?;
                let padded = source
                    .at
                    .iter()
                    .map(|at| at.map_or(&Datum::Null, |i| &values[i]));
                builder.append(padded)?;
                self.values = recycle(values);
            }
            Rows::Encoded { bytes, ends } => {
                // The builder below checks the whole; this keeps one row from taking the memory.
                if bytes.len() + value.row.len() > self.plan.bytes_max {
                    return Err(RowsError::TooLarge(self.plan.bytes_max).into());
                }
                if source.verbatim {
                    bytes.extend_from_slice(value.row);
                } else if source.layout.format() == self.plan.target.format() {
                    source.layout.split(value.row, &mut self.spans)?;
                    let mut pieces = self.plan.target.pieces(bytes);
                    for at in &source.at {
                        pieces.encoded(at.and_then(|i| self.spans[i].of(value.row)))?;
                    }
                    pieces.finish()?;
                } else {
                    let mut values = recycle(std::mem::take(&mut self.values));
                    source.layout.read(value.row, &mut values)?;
                    let mut pieces = self.plan.target.pieces(bytes);
                    for at in &source.at {
                        pieces.value(at.map_or(&Datum::Null, |i| &values[i]))?;
                    }
                    pieces.finish()?;
                    self.values = recycle(values);
                }
                ends.push(bytes.len());
            }
        }
        Ok(())
    }

    /// The log batch of rows from `source`; `compressor` has the codec of the table. A Fluss
    /// writer's id and sequence are in the batch as well. A Kafka producer stands beside it only:
    /// Fluss clients know no such ids.
    pub fn finish(
        self,
        source: Option<SourceBlock>,
        compressor: &mut Compressor,
    ) -> Result<UnassignedBatch, ChangelogError> {
        let plan = self.plan;
        let writer = source
            .filter(|source| source.scheme == ProducerScheme::Fluss)
            .map(|source| (source.producer_id, source.last_sequence));
        let spec = BatchSpec {
            writer,
            ..BatchSpec::new(plan.latest)
        };
        let count = self.changes.len();
        let changes = Changes::PerRow(&self.changes);
        let bytes = match self.rows {
            _ if count == 0 => build_empty(&spec, false)?,
            Rows::Columns(builder) => {
                let options = RecordBatchOptions::new().with_row_count(Some(count));
                let columns = builder.finish()?;
                let schema = plan.columns.clone();
                let rows = RecordBatch::try_new_with_options(schema, columns, &options)?;
                build_arrow(&spec, changes, &rows, compressor)?
            }
            Rows::Encoded { bytes, ends } => {
                let rows = ends.iter().enumerate().map(|(i, end)| {
                    let start = if i == 0 { 0 } else { ends[i - 1] };
                    &bytes[start..*end]
                });
                build_rows(&spec, changes, rows)?
            }
        };
        let record_count = i32::try_from(count).map_err(|_| BuildError::TooLarge(count))?;
        Ok(UnassignedBatch {
            bytes: bytes.into(),
            format: match plan.log_format {
                LogFormat::Arrow => BatchFormat::FlussArrow,
                LogFormat::Indexed => BatchFormat::FlussIndexed,
                LogFormat::Compacted => BatchFormat::FlussCompacted,
            },
            schema_id: plan.latest,
            record_count,
            last_offset_delta: (record_count - 1).max(0),
            record_time_max: NO_TIME,
            transactional: false,
            control: false,
            source,
        })
    }
}

/// The same memory for values of another lifetime.
fn recycle<'b>(mut values: Vec<Datum<'_>>) -> Vec<Datum<'b>> {
    values.clear();
    values.into_iter().map(|_| Datum::Null).collect()
}

#[cfg(test)]
mod tests;
