//! Rows of primary-key tables as a Fluss client writes and reads them.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]

use bytes::Bytes;
use protocol::fluss::descriptor::TableDescriptor;
use protocol::fluss::error::ErrorCode;
use protocol::fluss::key::KeyEncoder;
use protocol::fluss::kv_batch::{KvBatchBuilder, KvRecord};
use protocol::fluss::messages::*;
use protocol::fluss::options::KvFormat;
use protocol::fluss::value::{Value, read_value_batch};
use protocol::ids::SchemaId;
use protocol::row::{Datum, RowLayout};
use protocol::schema::{Column, DataType, Schema, TypeKind};

use super::fluss::{Client, code, log_table};

/// A table with a key, at its newest schema.
#[derive(Clone)]
pub struct Keyed {
    /// The columns.
    pub schema: Schema,
    /// Their number.
    pub schema_id: i16,
    /// The form of rows.
    pub kv_format: KvFormat,
    partition_keys: Vec<String>,
}

impl Keyed {
    /// `id INT` is the key, `name STRING` and `n BIGINT` are not.
    pub fn new() -> Keyed {
        Keyed::of(
            &[
                ("id", TypeKind::Int),
                ("name", TypeKind::String),
                ("n", TypeKind::BigInt),
            ],
            &["id"],
        )
    }

    /// These columns, of which some are the key.
    pub fn of(columns: &[(&str, TypeKind)], key: &[&str]) -> Keyed {
        let column = |(id, (name, kind)): (i32, &(&str, TypeKind))| Column {
            name: (*name).to_owned(),
            data_type: DataType {
                kind: kind.clone(),
                nullable: !key.contains(name),
            },
            comment: None,
            id,
            agg_function: None,
        };
        Keyed {
            schema: Schema {
                columns: (0..).zip(columns).map(column).collect(),
                primary_key: key.iter().map(|name| (*name).to_owned()).collect(),
                auto_increment_column: None,
                highest_field_id: columns.len() as i32 - 1,
            },
            schema_id: 1,
            kv_format: KvFormat::Compacted,
            partition_keys: Vec::new(),
        }
    }

    /// The same, with a column whose numbers the server gives.
    pub fn counting(mut self, column: &str) -> Keyed {
        self.schema.auto_increment_column = Some(column.to_owned());
        self
    }

    /// The same, partitioned by a column of the key.
    pub fn partitioned_by(mut self, column: &str) -> Keyed {
        self.partition_keys = vec![column.to_owned()];
        self
    }

    /// The table with these properties.
    pub fn table(&self, buckets: i32, properties: &[(&str, &str)]) -> TableDescriptor {
        let property = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        TableDescriptor {
            schema: self.schema.clone(),
            partition_keys: self.partition_keys.clone(),
            properties: properties.iter().map(property).collect(),
            ..log_table(buckets)
        }
    }

    fn is_key(&self, name: &String) -> bool {
        self.schema.primary_key.contains(name) && !self.partition_keys.contains(name)
    }

    /// The encoded key of a row.
    pub fn key(&self, row: &[Datum<'_>]) -> Bytes {
        let (mut values, mut types) = (Vec::new(), Vec::new());
        for (column, value) in self.schema.columns.iter().zip(row) {
            if self.is_key(&column.name) {
                values.push(value.clone());
                types.push(&column.data_type);
            }
        }
        encoded(&values, &types)
    }

    /// The encoding of values of leading key columns.
    pub fn prefix(&self, values: &[Datum<'_>]) -> Bytes {
        let keys = self.schema.columns.iter().filter(|c| self.is_key(&c.name));
        let types: Vec<_> = keys.map(|c| &c.data_type).take(values.len()).collect();
        encoded(values, &types)
    }

    /// A batch of upserts.
    pub fn upserts(&self, writer: Option<(i64, i32)>, rows: &[Vec<Datum<'_>>]) -> Bytes {
        let changes: Vec<_> = rows.iter().map(|row| (row.clone(), false)).collect();
        self.changes(writer, &changes)
    }

    /// A batch of upserts and, where the flag is set, deletes.
    pub fn changes(&self, writer: Option<(i64, i32)>, rows: &[(Vec<Datum<'_>>, bool)]) -> Bytes {
        let layout = RowLayout::of(self.kv_format, &self.schema);
        let mut builder = KvBatchBuilder::new(SchemaId::new(self.schema_id), writer);
        for (row, deleted) in rows {
            let mut bytes = Vec::new();
            if !deleted {
                layout.write(row, &mut bytes).expect("a row of the schema");
            }
            let row_bytes = (!deleted).then_some(bytes.as_slice());
            builder.append(KvRecord {
                key: &self.key(row),
                row: row_bytes,
            });
        }
        builder.finish()
    }

    /// A value of an answer, readable.
    pub fn shown(&self, value: &[u8]) -> String {
        let value = Value::parse(value).expect("a value");
        assert_eq!(value.schema_id.value(), self.schema_id);
        let layout = RowLayout::of(self.kv_format, &self.schema);
        let mut values = Vec::new();
        layout.read(value.row, &mut values).expect("a row");
        show(&values)
    }

    /// The rows of a batch of values.
    pub fn shown_batch(&self, records: &[u8]) -> Vec<String> {
        let values = read_value_batch(records).expect("a batch of values");
        let plain = |value: &Value<'_>| {
            let mut plain = Vec::new();
            value.write(&mut plain);
            self.shown(&plain)
        };
        values.iter().map(plain).collect()
    }
}

fn encoded(values: &[Datum<'_>], types: &[&DataType]) -> Bytes {
    let mut key = Vec::new();
    KeyEncoder::Compacted
        .encode(values, types.iter().copied(), &mut key)
        .expect("a key");
    key.into()
}

/// A row as a text: values between bars.
pub fn show(row: &[Datum<'_>]) -> String {
    let shown = row.iter().map(|value| match value {
        Datum::Null => "-".to_owned(),
        Datum::Int(value) => value.to_string(),
        Datum::BigInt(value) => value.to_string(),
        Datum::String(value) => (*value).to_owned(),
        other => format!("{other:?}"),
    });
    shown.collect::<Vec<_>>().join("|")
}

/// A row of [`Keyed::new`].
pub fn row(id: i32, name: &str, n: i64) -> Vec<Datum<'_>> {
    vec![Datum::Int(id), Datum::String(name), Datum::BigInt(n)]
}

/// A put to one bucket, to be acknowledged when it is durable.
pub fn put(table: i64, bucket: i32, records: Bytes) -> PutKvRequest {
    PutKvRequest {
        acks: -1,
        table_id: table,
        timeout_ms: 30_000,
        buckets_req: vec![PbPutKvReqForBucket {
            bucket_id: bucket,
            records,
            ..PbPutKvReqForBucket::default()
        }],
        ..PutKvRequest::default()
    }
}

/// A lookup in one bucket.
pub fn lookup(table: i64, bucket: i32, keys: Vec<Bytes>) -> LookupRequest {
    LookupRequest {
        table_id: table,
        buckets_req: vec![PbLookupReqForBucket {
            bucket_id: bucket,
            keys,
            ..PbLookupReqForBucket::default()
        }],
        ..LookupRequest::default()
    }
}

impl Client {
    /// Puts to one bucket: the log end offset, or the code.
    pub async fn put(&mut self, request: PutKvRequest) -> Result<i64, ErrorCode> {
        let answer = self.ask(request).await.expect("an answer");
        let answer = answer.buckets_resp.into_iter().next().expect("one bucket");
        match code(answer.error_code) {
            Some(code) => Err(code),
            None => Ok(answer.log_end_offset.expect("an offset")),
        }
    }

    /// The batches of values of a whole scan of a bucket, each of about so many bytes.
    pub async fn scan_all(&mut self, table: i64, bucket: i32, bytes: i32) -> Vec<Bytes> {
        let mut request = ScanKvRequest {
            bucket_scan_req: Some(PbScanReqForBucket {
                table_id: table,
                bucket_id: bucket,
                ..PbScanReqForBucket::default()
            }),
            ..ScanKvRequest::default()
        };
        let mut batches = Vec::new();
        for call in 0.. {
            request.call_seq_id = Some(call);
            request.batch_size_bytes = Some(bytes);
            let answer = self.ask(request).await.expect("an answer");
            assert_eq!(answer.error_code, None, "bucket {bucket}: {answer:?}");
            batches.extend(answer.records.filter(|records| !records.is_empty()));
            if answer.has_more_results != Some(true) {
                break;
            }
            request = ScanKvRequest {
                scanner_id: answer.scanner_id,
                ..ScanKvRequest::default()
            };
        }
        batches
    }

    /// Looks up in one bucket: the values, or the code.
    pub async fn look_up(
        &mut self,
        request: LookupRequest,
    ) -> Result<Vec<Option<Bytes>>, ErrorCode> {
        let answer = self.ask(request).await.expect("an answer");
        let answer = answer.buckets_resp.into_iter().next().expect("one bucket");
        match code(answer.error_code) {
            Some(code) => Err(code),
            None => Ok(answer.values.into_iter().map(|v| v.values).collect()),
        }
    }

    /// The rows of keys, readable; `none` where there is no row.
    pub async fn rows(
        &mut self,
        keyed: &Keyed,
        table: i64,
        rows: &[Vec<Datum<'_>>],
    ) -> Vec<String> {
        let keys = rows.iter().map(|row| keyed.key(row)).collect();
        let values = self.look_up(lookup(table, 0, keys)).await.expect("values");
        let shown = values.into_iter().map(|value| match value {
            Some(value) => keyed.shown(&value),
            None => "none".to_owned(),
        });
        shown.collect()
    }
}
