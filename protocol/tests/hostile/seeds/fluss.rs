//! What Fluss clients send.

use arrow_array::{ArrayRef, RecordBatch};
use bytes::Bytes;
use protocol::columnar::{RowsBuilder, arrow_schema};
use protocol::fluss::api::{APIS, Request};
use protocol::fluss::arrow_message::BufferCodec;
use protocol::fluss::batch::{BatchSpec, Changes, build_arrow, build_empty, build_rows};
use protocol::fluss::buffer_codec::Compressor;
use protocol::fluss::kv_batch::{KvBatchBuilder, KvRecord};
use protocol::fluss::messages::*;
use protocol::fluss::options::KvFormat;
use protocol::ids::SchemaId;
use protocol::json::JsonRows;
use protocol::row::{Datum, RowLayout, Timestamp, aligned, compacted, indexed};
use protocol::schema::{DataType, Schema, TypeKind};

use crate::targets::schemas;

/// Frames of every API.
pub fn requests() -> Vec<Vec<u8>> {
    let path = PbTablePath {
        database_name: "fluss".into(),
        table_name: "orders".into(),
    };
    let frame = |key: i16, body: Vec<u8>| {
        let mut frame = key.to_be_bytes().to_vec();
        frame.extend([0, 0, 0, 0, 0, 7]);
        frame.extend(body);
        frame
    };
    fn of<R: Request>(request: R) -> (i16, Vec<u8>) {
        (R::KEY.code(), request.encode_to_vec())
    }
    let batch = Bytes::from(batches().remove(0)).slice(2..);
    let predicate = PbPredicate {
        r#type: 1,
        leaf: None,
        compound: Some(PbCompoundPredicate {
            function: 0,
            children: vec![PbPredicate {
                r#type: 0,
                leaf: Some(PbLeafPredicate {
                    function: 2,
                    field_id: 0,
                    literals: vec![PbLiteralValue {
                        literal_type: 3,
                        int_value: Some(7),
                        ..PbLiteralValue::default()
                    }],
                }),
                compound: None,
            }],
        }),
    };
    let requests = [
        of(ApiVersionsRequest {
            client_software_name: "seed".into(),
            client_software_version: "1".into(),
        }),
        of(ProduceLogRequest {
            acks: -1,
            table_id: 1,
            timeout_ms: 1000,
            buckets_req: vec![PbProduceLogReqForBucket {
                bucket_id: 0,
                records: batch,
                ..PbProduceLogReqForBucket::default()
            }],
        }),
        of(FetchLogRequest {
            follower_server_id: -1,
            max_bytes: 1 << 20,
            tables_req: vec![PbFetchLogReqForTable {
                table_id: 1,
                projection_pushdown_enabled: true,
                projected_fields: vec![0, 1, 2],
                buckets_req: vec![PbFetchLogReqForBucket::default()],
                filter_predicate: Some(predicate),
                ..PbFetchLogReqForTable::default()
            }],
            max_wait_ms: Some(1),
            min_bytes: Some(1),
            read_preference: None,
        }),
        of(CreateTableRequest {
            table_path: path.clone(),
            table_json: super::descriptors().remove(0).into(),
            ignore_if_exists: false,
        }),
        of(GetTableInfoRequest { table_path: path }),
        of(AuthenticateRequest {
            protocol: "PLAIN".into(),
            token: Bytes::from_static(b"\0user\0secret"),
        }),
    ];
    let mut frames: Vec<_> = requests
        .into_iter()
        .map(|(key, body)| frame(key, body))
        .collect();
    // Every other API with a field of each wire type.
    let any = [0x08, 1, 0x12, 2, 0x08, 1, 0x1a, 0, 0x20, 3];
    frames.extend(APIS.iter().map(|api| frame(api.key.code(), any.to_vec())));
    frames
}

/// A value of a type.
fn value(data_type: &DataType) -> Datum<'static> {
    match &data_type.kind {
        TypeKind::Boolean => Datum::Boolean(true),
        TypeKind::TinyInt => Datum::TinyInt(-1),
        TypeKind::SmallInt => Datum::SmallInt(300),
        TypeKind::Int => Datum::Int(70_000),
        TypeKind::BigInt => Datum::BigInt(1 << 40),
        TypeKind::Float => Datum::Float(1.5),
        TypeKind::Double => Datum::Double(-2.5),
        TypeKind::Char { .. } | TypeKind::String => Datum::String("abc"),
        TypeKind::Binary { .. } => Datum::Bytes(b"abcd"),
        TypeKind::Bytes => Datum::Bytes(b"some bytes"),
        TypeKind::Decimal { .. } => Datum::Decimal(123),
        TypeKind::Date => Datum::Date(20_000),
        TypeKind::Time { .. } => Datum::Time(3_600_000),
        TypeKind::Timestamp { .. } | TypeKind::TimestampLtz { .. } => Datum::Timestamp(Timestamp {
            millis: 1_700_000_000_000,
            nanos: 0,
        }),
        TypeKind::Array(element) => Datum::Array(vec![value(element), value(element)]),
        TypeKind::Map { key, value: of } => Datum::Map(vec![(value(key), value(of))]),
        TypeKind::Row(fields) => Datum::Row(fields.iter().map(|f| value(&f.data_type)).collect()),
    }
}

fn types(schema: &Schema) -> impl ExactSizeIterator<Item = &DataType> + Clone {
    schema.columns.iter().map(|column| &column.data_type)
}

/// A full row, and one with nulls where they are legal.
fn datums(schema: &Schema) -> [Vec<Datum<'static>>; 2] {
    let full: Vec<_> = types(schema).map(value).collect();
    let sparse = types(schema).map(|data_type| match data_type.nullable {
        true => Datum::Null,
        false => value(data_type),
    });
    [full, sparse.collect()]
}

/// A schema and a form, then a row.
pub fn rows() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (at, schema) in (0..).zip(schemas()) {
        for row in datums(schema) {
            for form in 0..3 {
                let mut out = vec![at, form];
                let written = match form {
                    0 => compacted::write(&row, types(schema), &mut out),
                    1 => indexed::write(&row, types(schema), &mut out),
                    _ => aligned::write(&row, types(schema), &mut out),
                };
                written.unwrap();
                seeds.push(out);
            }
        }
    }
    seeds
}

/// A schema, choices, then a KV batch; every schema in both row formats, with a delete.
pub fn keyed() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (at, schema) in (0..).zip(schemas()) {
        let rows = datums(schema);
        for (format, choice) in [(KvFormat::Compacted, 0), (KvFormat::Indexed, 1)] {
            let layout = RowLayout::of(format, schema);
            let mut batch = KvBatchBuilder::new(SchemaId::new(1), Some((1, 0)));
            for row in &rows {
                let (mut key, mut bytes) = (Vec::new(), Vec::new());
                // Also where columns are null, which no key has.
                compacted::write(row, types(schema), &mut key).unwrap();
                layout.write(row, &mut bytes).unwrap();
                for row in [Some(&bytes[..]), None] {
                    batch.append(KvRecord { key: &key, row });
                }
            }
            seeds.push([&[at, choice], &batch.finish()[..]].concat());
        }
    }
    seeds
}

/// A schema, a format, then a batch; every schema in every format and codec.
pub fn batches() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let spec = BatchSpec {
        writer: Some((1, 0)),
        ..BatchSpec::new(SchemaId::new(1))
    };
    for (at, schema) in (0..).zip(schemas()) {
        let [full, sparse] = datums(schema);
        let mut builder = RowsBuilder::new(types(schema).cloned(), 1 << 20);
        for row in [&full, &sparse, &full] {
            builder.append(row.iter()).unwrap();
        }
        let columns: Vec<ArrayRef> = builder.finish().unwrap();
        let batch = RecordBatch::try_new(arrow_schema(schema), columns).unwrap();
        for codec in [None, Some(BufferCodec::Lz4Frame), Some(BufferCodec::Zstd)] {
            let mut compressor = Compressor::new(codec);
            let built = build_arrow(&spec, Changes::AppendOnly, &batch, &mut compressor).unwrap();
            seeds.push([&[at, 0], &built[..]].concat());
        }
        seeds.push([&[at, 0], &build_empty(&spec, true).unwrap()[..]].concat());
        let mut indexed_row = Vec::new();
        let mut compacted_row = Vec::new();
        indexed::write(&full, types(schema), &mut indexed_row).unwrap();
        compacted::write(&full, types(schema), &mut compacted_row).unwrap();
        for (format, row) in [(1, indexed_row), (2, compacted_row)] {
            let built = build_rows(&spec, Changes::AppendOnly, [&row[..], &row].into_iter());
            seeds.push([&[at, format], &built.unwrap()[..]].concat());
        }
    }
    seeds
}

/// A schema, a comparison, then statistics: minimum and maximum as rows of the schema.
pub fn statistics() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (at, schema) in (0..).zip(schemas()) {
        let mut row = Vec::new();
        aligned::write(&datums(schema)[0], types(schema), &mut row).unwrap();
        let count = schema.columns.len() as u16;
        let mut block = vec![1];
        block.extend(count.to_le_bytes());
        block.extend((0..count).flat_map(u16::to_le_bytes));
        block.extend((0..count).flat_map(|_| 0u32.to_le_bytes()));
        for _ in 0..2 {
            block.extend((row.len() as u32).to_le_bytes());
            block.extend(&row);
        }
        for function in 0..13 {
            let front = [at, 0, function, 1, 2, 7, 0, 0, 0, 0, 0, 0, 0, 3];
            seeds.push([&front[..], &block].concat());
        }
    }
    seeds
}

/// A schema, then a row of it as JSON, and what only readers take.
pub fn json() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (at, schema) in (0u8..).zip(schemas()) {
        let [full, sparse] = datums(schema);
        let mut builder = RowsBuilder::new(types(schema).cloned(), 1 << 20);
        for row in [&full, &sparse] {
            builder.append(row.iter()).unwrap();
        }
        let columns: Vec<ArrayRef> = builder.finish().unwrap();
        let batch = RecordBatch::try_new(arrow_schema(schema), columns).unwrap();
        let rows = JsonRows::new(&batch, schema).unwrap();
        for row in 0..2 {
            let mut seed = vec![at];
            rows.write(row, &mut seed).unwrap();
            seeds.push(seed);
        }
        seeds.push(
            [
                &[at],
                &b" { \"a\\u00e9\\ud83d\\ude00\" : [-1.5e+3, true, null] }"[..],
            ]
            .concat(),
        );
    }
    seeds
}
