//! What a table looks like at one moment: swapped as a whole when the table is altered.

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::fluss::arrow_message::BufferCodec;
use protocol::fluss::buffer_codec::Compressor;
use protocol::fluss::options::{LogFormat, StatisticsColumns};
use protocol::fluss::projection::Projection;
use protocol::ids::SchemaId;
use protocol::raw::{is_raw, raw_schema};
use protocol::schema::Schema;

use super::error::InvalidProjection;
use crate::log::frame::FrameHeader;

/// How the buffers of Arrow batches that the broker itself makes are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArrowCodec {
    /// Plain buffers.
    None,
    /// LZ4 frames.
    Lz4,
    /// Zstandard of this level, 1 to 22.
    Zstd(i32),
}

impl ArrowCodec {
    /// The codec as an Arrow message names it.
    pub fn buffer_codec(self) -> Option<BufferCodec> {
        match self {
            ArrowCodec::None => None,
            ArrowCodec::Lz4 => Some(BufferCodec::Lz4Frame),
            ArrowCodec::Zstd(_) => Some(BufferCodec::Zstd),
        }
    }

    /// A compressor for it.
    pub fn compressor(self) -> Compressor {
        match self {
            ArrowCodec::Zstd(level) => Compressor::with_level(self.buffer_codec(), level),
            _ => Compressor::new(self.buffer_codec()),
        }
    }
}

/// When columnar copies of what Kafka producers wrote are made for Fluss readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Columnar {
    /// Never.
    Off,
    /// After the first read.
    #[default]
    Lazy,
    /// When a segment is closed.
    Eager,
}

/// The schemas and formats of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct TableShape {
    /// All schemas that frames may name.
    pub schemas: BTreeMap<SchemaId, Arc<Schema>>,
    /// The newest of them.
    pub latest: SchemaId,
    /// The columns are those of the raw schema: both wires may write, and the `timestamp` column
    /// is the record time.
    pub raw: bool,
    /// Layout of the table's own Fluss batches; projections need [`LogFormat::Arrow`].
    pub log_format: LogFormat,
    /// Compression of Arrow batches that the broker makes.
    pub arrow_codec: ArrowCodec,
    /// When columnar copies are made.
    pub columnar: Columnar,
    /// Names of the columns that are a Kafka record's key, in order: the bucket key.
    pub key_columns: Vec<String>,
    /// Columns with statistics in the table's batches.
    pub statistics: StatisticsColumns,
}

impl TableShape {
    /// A table with one schema, Arrow batches without compression, and no statistics.
    pub fn of(id: SchemaId, schema: Schema) -> TableShape {
        TableShape {
            latest: id,
            raw: is_raw(&schema),
            log_format: LogFormat::Arrow,
            arrow_codec: ArrowCodec::None,
            columnar: Columnar::Lazy,
            key_columns: schema.primary_key.clone(),
            statistics: StatisticsColumns::Disabled,
            schemas: BTreeMap::from([(id, Arc::new(schema))]),
        }
    }

    /// The shape of a topic that a Kafka client made.
    pub fn raw(id: SchemaId, compacted: bool) -> TableShape {
        TableShape {
            arrow_codec: ArrowCodec::Zstd(3),
            key_columns: vec!["key".to_owned()],
            ..TableShape::of(id, raw_schema(compacted))
        }
    }

    /// The schema of this id.
    pub fn schema(&self, id: SchemaId) -> Option<&Arc<Schema>> {
        self.schemas.get(&id)
    }

    /// The schema that Fluss readers see the rows of a frame with: that of the frame, or the newest
    /// one when the topic got a key since, or lost it. What was made of a frame with another one is
    /// of no use any more.
    pub fn shown_schema(&self, of_frame: SchemaId) -> SchemaId {
        let Some(schema) = self.schemas.get(&of_frame) else {
            return of_frame;
        };
        let latest = self.latest_schema();
        if self.raw && schema.primary_key != latest.primary_key {
            self.latest
        } else {
            of_frame
        }
    }

    /// True when Fluss readers get a frame as it is stored.
    pub(crate) fn shows_as_stored(&self, header: &FrameHeader) -> bool {
        header.format.is_fluss() && self.shown_schema(header.schema_id) == header.schema_id
    }

    /// A projection to the columns at these positions of the newest schema. Columns are only
    /// appended, so a position means the same column in every schema.
    pub fn projection(&self, fields: &[usize]) -> Result<Projection, InvalidProjection> {
        if self.log_format != LogFormat::Arrow {
            return Err(InvalidProjection::NotArrow);
        }
        let schema = self.latest_schema();
        Projection::new(schema, fields).map_err(|_| InvalidProjection::Fields {
            fields: fields.into(),
            columns: schema.columns.len(),
        })
    }

    /// The newest schema.
    ///
    /// # Panics
    /// When `latest` is not among the schemas, which the catalog never lets happen.
    pub fn latest_schema(&self) -> &Arc<Schema> {
        self.schemas
            .get(&self.latest)
            .expect("a table has its latest schema")
    }
}
