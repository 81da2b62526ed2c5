//! Tables with columns of their own: Fluss clients write them, Kafka clients read them as JSON.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::batch::BatchFormat;
use protocol::columnar::{Decoder, RowsBuilder, arrow_schema, row_at};
use protocol::fluss::arrow_message::BufferCodec;
use protocol::fluss::batch::{BatchSpec, Batches, Changes, build_arrow, build_empty, build_rows};
use protocol::fluss::buffer_codec::Compressor;
use protocol::fluss::descriptor::TableDescriptor;
use protocol::fluss::messages::{AlterTableRequest, PbAddColumn};
use protocol::ids::SchemaId;
use protocol::row::{Datum, compacted, indexed};
use protocol::schema::{Column, DataType, Schema, TypeKind};
use storage::env::Randomness;
use storage::env::simulated::SeededRandomness;

use crate::common::fluss::path;
use crate::common::records::Row;
use crate::{Clients, Producer, assert_rows};

/// The largest number that every JSON reader takes exactly.
const EXACT_MAX: i64 = (1 << 53) - 1;

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Values {
    id: i64,
    name: Option<String>,
    /// The column that the table gets on the way: none before.
    more: Option<Option<i32>>,
}

impl Values {
    fn random(random: &SeededRandomness, wide: bool) -> Values {
        let id = random.next_u64() as i64 >> (8 * random.below(8));
        let letters = ["a", "\"", "\\", "\n", "ž", "🜂", "\u{1}"];
        let name = (!random.once_in(4)).then(|| {
            let letter = |_| letters[random.below(7) as usize];
            (0..random.below(12)).map(letter).collect()
        });
        let more = wide.then(|| (!random.once_in(3)).then(|| random.next_u64() as i32));
        Values { id, name, more }
    }

    fn datums(&self) -> Vec<Datum<'_>> {
        let name = self.name.as_deref();
        let mut datums = vec![
            Datum::BigInt(self.id),
            name.map_or(Datum::Null, Datum::String),
        ];
        let more = self.more.map(|more| more.map_or(Datum::Null, Datum::Int));
        datums.extend(more);
        datums
    }

    /// The record's key and value, by the words of `docs/formats/json.md`.
    fn json(&self) -> (String, String) {
        let id = match self.id {
            exact if (-EXACT_MAX..=EXACT_MAX).contains(&exact) => exact.to_string(),
            beyond => format!("\"{beyond}\""),
        };
        let name = serde_json::to_string(&self.name).expect("a string");
        let value = match self.more {
            None => format!(r#"{{"id":{id},"name":{name}}}"#),
            Some(more) => {
                let more = serde_json::to_string(&more).expect("a number");
                format!(r#"{{"id":{id},"name":{name},"more":{more}}}"#)
            }
        };
        (format!(r#"{{"id":{id}}}"#), value)
    }
}

/// The columns: `id BIGINT, name STRING`, and later `more INT`.
fn schema(wide: bool) -> Schema {
    let column = |id, name: &str, kind| Column {
        name: name.into(),
        data_type: DataType::nullable(kind),
        comment: None,
        id,
        agg_function: None,
    };
    let mut columns = vec![
        column(0, "id", TypeKind::BigInt),
        column(1, "name", TypeKind::String),
    ];
    if wide {
        columns.push(column(2, "more", TypeKind::Int));
    }
    Schema {
        highest_field_id: columns.len() as i32 - 1,
        columns,
        primary_key: Vec::new(),
        auto_increment_column: None,
    }
}

/// A table with what should be in it.
pub(crate) struct Typed {
    name: &'static str,
    table: i64,
    format: BatchFormat,
    rows: BTreeMap<i64, Values>,
    next: i64,
    /// The table has its third column.
    wide: bool,
    writer: Producer,
}

impl Typed {
    /// A table whose rows are written in this format.
    pub(crate) async fn create(clients: &mut Clients, format: BatchFormat) -> Typed {
        let (name, option) = match format {
            BatchFormat::FlussIndexed => ("indexed", "INDEXED"),
            BatchFormat::FlussCompacted => ("compacted", "COMPACTED"),
            _ => ("arrow", "ARROW"),
        };
        let properties = [("table.log.format".to_owned(), option.to_owned())];
        let descriptor = TableDescriptor {
            schema: schema(false),
            comment: None,
            partition_keys: Vec::new(),
            bucket_keys: vec!["id".into()],
            bucket_count: Some(1),
            properties: properties.into_iter().collect(),
            custom_properties: Default::default(),
        };
        let table = clients.fluss.create_table(&path(name), &descriptor).await;
        Typed {
            name,
            table,
            format,
            rows: BTreeMap::new(),
            next: 0,
            wide: false,
            writer: Producer::default(),
        }
    }

    /// Does something at random.
    pub(crate) async fn step(
        &mut self,
        clients: &mut Clients,
        random: &SeededRandomness,
        seed: u64,
    ) {
        match random.below(12) {
            0..=6 => self.write(clients, random).await,
            7 => self.write_again(clients, random).await,
            8 if !self.wide => self.widen(clients).await,
            _ => {
                let from = random.below(self.next as u64 + 1) as i64;
                self.compare(clients, from, seed).await;
            }
        }
    }

    /// Adds the third column.
    async fn widen(&mut self, clients: &mut Clients) {
        let request = AlterTableRequest {
            table_path: path(self.name),
            add_columns: vec![PbAddColumn {
                column_name: "more".into(),
                data_type_json: br#"{"type":"INTEGER"}"#.as_slice().into(),
                column_position_type: 0,
                ..PbAddColumn::default()
            }],
            ..AlterTableRequest::default()
        };
        clients.fluss.ask(request).await.expect("added");
        self.wide = true;
    }

    async fn write(&mut self, clients: &mut Clients, random: &SeededRandomness) {
        // A writer that has not heard of the new column yet goes on with the old schema.
        let wide = self.wide && !random.once_in(4);
        let count = if random.once_in(8) {
            0
        } else {
            1 + random.below(8)
        };
        let rows: Vec<_> = (0..count).map(|_| Values::random(random, wide)).collect();
        let idempotent = random.once_in(2);
        let mut spec = BatchSpec::new(SchemaId::new(if wide { 2 } else { 1 }));
        if idempotent {
            spec.writer = Some(clients.next_sequence(&mut self.writer).await);
        }
        let bytes = batch(&spec, self.format, &rows, wide, random);
        let base = clients.produce_fluss(self.table, bytes.clone()).await;
        assert_eq!(base, self.next, "{}", self.name);
        self.next += (rows.len() as i64).max(1);
        self.rows.extend((base..).zip(rows));
        if idempotent {
            self.writer.remember(bytes, base);
        }
    }

    async fn write_again(&mut self, clients: &mut Clients, random: &SeededRandomness) {
        if let Some(batch) = self.writer.any(random) {
            let base = clients.produce_fluss(self.table, batch.bytes.clone()).await;
            assert_eq!(base, batch.base, "{}: a repeated batch", self.name);
        }
    }

    /// Reads from an offset to the end over both wires and compares with the model.
    pub(crate) async fn compare(&self, clients: &mut Clients, from: i64, seed: u64) {
        let end = self.next;
        let wanted = self.rows.range(from..);
        let texts = wanted.clone().map(|(o, row)| (*o, row.json()));
        let about = format!("seed {seed}, {} from {from} on Kafka", self.name);
        let topic = format!("fluss.{}", self.name);
        let found = clients.read_kafka(&topic, from, end, &about).await;
        let found = found.into_iter().map(|(offset, row)| {
            let Row {
                key,
                value,
                headers,
                ..
            } = row;
            assert!(headers.is_empty(), "{about}: offset {offset}");
            let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.expect("not null"));
            (
                offset,
                (text(key).expect("UTF-8"), text(value).expect("UTF-8")),
            )
        });
        assert_rows(
            &found.collect::<Vec<_>>(),
            &texts.collect::<Vec<_>>(),
            &about,
        );

        let values: Vec<_> = wanted.map(|(o, row)| (*o, row.clone())).collect();
        let about = format!("seed {seed}, {} from {from} on Fluss", self.name);
        let decode = |records, from| values_of(records, self.format, from);
        let found = clients.read_fluss(self.table, from, end, &about, decode);
        assert_rows(&found.await, &values, &about);
    }
}

fn batch(
    spec: &BatchSpec,
    format: BatchFormat,
    rows: &[Values],
    wide: bool,
    random: &SeededRandomness,
) -> Bytes {
    let schema = schema(wide);
    let types = || schema.columns.iter().map(|column| &column.data_type);
    let changes = Changes::AppendOnly;
    let encoded = |write: &dyn Fn(&[Datum<'_>], &mut Vec<u8>)| {
        let encode = |row: &Values| {
            let mut out = Vec::new();
            write(&row.datums(), &mut out);
            out
        };
        rows.iter().map(encode).collect::<Vec<_>>()
    };
    let built = match format {
        _ if rows.is_empty() => build_empty(spec, true),
        BatchFormat::FlussIndexed => {
            let rows = encoded(&|row, out| indexed::write(row, types(), out).expect("a row"));
            build_rows(spec, changes, rows.iter().map(Vec::as_slice))
        }
        BatchFormat::FlussCompacted => {
            let rows = encoded(&|row, out| compacted::write(row, types(), out).expect("a row"));
            build_rows(spec, changes, rows.iter().map(Vec::as_slice))
        }
        _ => {
            let mut builder = RowsBuilder::new(types().cloned(), 1 << 24);
            for row in rows {
                builder.append(row.datums().iter()).expect("a row");
            }
            let columns = builder.finish().expect("columns");
            let rows = arrow_array::RecordBatch::try_new(arrow_schema(&schema), columns);
            let codecs = [None, Some(BufferCodec::Lz4Frame), Some(BufferCodec::Zstd)];
            let mut compressor = Compressor::new(codecs[random.below(3) as usize]);
            build_arrow(spec, changes, &rows.expect("a batch"), &mut compressor)
        }
    };
    Bytes::from(built.expect("a batch"))
}

/// The rows of fetched batches, and the offset after the last batch.
fn values_of(records: Bytes, format: BatchFormat, from: i64) -> (Vec<(i64, Values)>, i64) {
    let (mut found, mut next) = (Vec::new(), from);
    for batch in Batches::new(records) {
        // The end of an answer may be a part of a batch.
        let Ok(batch) = batch else { break };
        let header = batch.header();
        assert!(batch.crc_holds(), "batch at {}", header.base_offset());
        next = batch.last_offset() + 1;
        if header.is_header_only() {
            continue;
        }
        let schema = schema(header.schema_id() == SchemaId::new(2));
        let decoded = Decoder::default().decode(&batch, format, &schema, None);
        let rows = decoded.expect("a sound batch").rows;
        let mut datums = Vec::new();
        for row in 0..rows.num_rows() {
            row_at(&rows, &schema, row, &mut datums);
            let values = match datums.as_slice() {
                [Datum::BigInt(id), name, more @ ..] => Values {
                    id: *id,
                    name: match name {
                        Datum::String(name) => Some((*name).to_owned()),
                        _ => None,
                    },
                    more: more.first().map(|more| match more {
                        Datum::Int(more) => Some(*more),
                        _ => None,
                    }),
                },
                other => panic!("{other:?}"),
            };
            found.push((header.base_offset() + row as i64, values));
        }
    }
    found.retain(|(offset, _)| *offset >= from);
    (found, next)
}
