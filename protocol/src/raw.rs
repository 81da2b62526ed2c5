//! The raw schema: how Fluss clients see a topic that Kafka clients made.
//!
//! ```text
//! key BYTES, value BYTES, timestamp TIMESTAMP_LTZ(3), headers ARRAY<ROW<key STRING, value BYTES>>
//! ```
//!
//! A compacted topic has `key BYTES NOT NULL` as its primary key. A Kafka record without a time
//! (-1) has a null timestamp, one without headers an empty array. Header keys that are not UTF-8
//! are converted with replacement characters and counted; Kafka allows no null header key.

mod builder;

pub use builder::{RawBatchBuilder, RawColumns, RawError};

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMillisecondType;
use arrow_array::{
    Array, BinaryArray, ListArray, RecordBatch, StringArray, StructArray, TimestampMillisecondArray,
};
use arrow_buffer::OffsetBuffer;

use crate::schema::{Column, DataType, RowField, Schema, TypeKind};

/// Position of the record key.
pub const KEY: usize = 0;
/// Position of the record value.
pub const VALUE: usize = 1;
/// Position of the record time.
pub const TIMESTAMP: usize = 2;
/// Position of the record headers.
pub const HEADERS: usize = 3;

/// The raw schema; with `compacted` the key is the primary key.
pub fn raw_schema(compacted: bool) -> Schema {
    let bytes = || DataType::nullable(TypeKind::Bytes);
    let field = |name: &str, data_type, field_id| RowField {
        name: name.to_owned(),
        data_type,
        description: None,
        field_id,
    };
    let header = TypeKind::Row(vec![
        field("key", DataType::nullable(TypeKind::String), 4),
        field("value", bytes(), 5),
    ]);
    let headers = TypeKind::Array(Box::new(DataType::nullable(header)));
    let columns = [
        (
            "key",
            DataType {
                kind: TypeKind::Bytes,
                nullable: !compacted,
            },
        ),
        ("value", bytes()),
        (
            "timestamp",
            DataType::nullable(TypeKind::TimestampLtz { precision: 3 }),
        ),
        ("headers", DataType::nullable(headers)),
    ];
    let columns = (0..).zip(columns).map(|(id, (name, data_type))| Column {
        name: name.to_owned(),
        data_type,
        comment: None,
        id,
        agg_function: None,
    });
    Schema {
        columns: columns.collect(),
        primary_key: if compacted {
            vec!["key".to_owned()]
        } else {
            Vec::new()
        },
        auto_increment_column: None,
        highest_field_id: 5,
    }
}

/// True for the raw schema, compacted or not: then Kafka records and rows are the same thing.
pub fn is_raw(schema: &Schema) -> bool {
    let raw = raw_schema(false);
    schema.columns.len() == raw.columns.len()
        && schema
            .columns
            .iter()
            .zip(&raw.columns)
            .all(|(a, b)| a.name == b.name && same_kind(&a.data_type.kind, &b.data_type.kind))
}

/// Types are compared without nullability, descriptions and ids.
fn same_kind(a: &TypeKind, b: &TypeKind) -> bool {
    match (a, b) {
        (TypeKind::Array(a), TypeKind::Array(b)) => same_kind(&a.kind, &b.kind),
        (TypeKind::Row(a), TypeKind::Row(b)) => {
            a.len() == b.len()
                && a.iter().zip(b).all(|(a, b)| {
                    a.name == b.name && same_kind(&a.data_type.kind, &b.data_type.kind)
                })
        }
        (a, b) => a == b,
    }
}

/// Rows of the raw schema, to be written as Kafka records.
#[derive(Debug, Clone)]
pub struct RawRows {
    keys: BinaryArray,
    values: BinaryArray,
    times: TimestampMillisecondArray,
    headers: ListArray,
    header_rows: StructArray,
    header_keys: StringArray,
    header_values: BinaryArray,
}

impl RawRows {
    /// The rows of a batch with all columns of the raw schema; `None` when it has other columns.
    pub fn new(rows: &RecordBatch) -> Option<Self> {
        if rows.num_columns() != 4 {
            return None;
        }
        let headers = rows.column(HEADERS).as_list_opt::<i32>()?;
        let header_rows = headers.values().as_struct_opt()?;
        if header_rows.num_columns() != 2 {
            return None;
        }
        Some(RawRows {
            keys: rows.column(KEY).as_binary_opt::<i32>()?.clone(),
            values: rows.column(VALUE).as_binary_opt::<i32>()?.clone(),
            times: rows
                .column(TIMESTAMP)
                .as_primitive_opt::<TimestampMillisecondType>()?
                .clone(),
            header_keys: header_rows.column(0).as_string_opt::<i32>()?.clone(),
            header_values: header_rows.column(1).as_binary_opt::<i32>()?.clone(),
            header_rows: header_rows.clone(),
            headers: headers.clone(),
        })
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// True without rows.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Row `i`.
    ///
    /// # Panics
    /// When there are fewer rows.
    pub fn get(&self, i: usize) -> RawRow<'_> {
        RawRow {
            key: optional(&self.keys, i),
            value: optional(&self.values, i),
            timestamp_ms: self.times.is_valid(i).then(|| self.times.value(i)),
            rows: self,
            headers: if self.headers.is_valid(i) {
                range(self.headers.offsets(), i)
            } else {
                0..0
            },
        }
    }

    /// All rows in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = RawRow<'_>> {
        (0..self.len()).map(|i| self.get(i))
    }
}

/// One row of the raw schema.
#[derive(Debug, Clone)]
pub struct RawRow<'a> {
    /// The record key.
    pub key: Option<&'a [u8]>,
    /// The record value.
    pub value: Option<&'a [u8]>,
    /// The record time, epoch milliseconds.
    pub timestamp_ms: Option<i64>,
    rows: &'a RawRows,
    headers: std::ops::Range<usize>,
}

impl<'a> RawRow<'a> {
    /// Header keys and values in order. Kafka has no null keys: a null header, or a header with a
    /// null key, has the empty key.
    pub fn headers(
        &self,
    ) -> impl ExactSizeIterator<Item = (&'a str, Option<&'a [u8]>)> + Clone + use<'a> {
        let rows = self.rows;
        self.headers.clone().map(move |i| {
            if rows.header_rows.is_null(i) {
                return ("", None);
            }
            let key = if rows.header_keys.is_valid(i) {
                rows.header_keys.value(i)
            } else {
                ""
            };
            (key, optional(&rows.header_values, i))
        })
    }
}

fn optional(array: &BinaryArray, i: usize) -> Option<&[u8]> {
    array.is_valid(i).then(|| array.value(i))
}

fn range(offsets: &OffsetBuffer<i32>, i: usize) -> std::ops::Range<usize> {
    let at = |i: usize| usize::try_from(offsets[i]).expect("offset buffers hold no negative ones");
    at(i)..at(i + 1)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;
    use crate::columnar::{arrow_schema, projected_arrow_schema};

    type Record = (
        Option<Vec<u8>>,
        Option<Vec<u8>>,
        i64,
        Vec<(String, Option<Vec<u8>>)>,
    );

    fn records() -> impl Strategy<Value = Vec<Record>> {
        let bytes = || vec(any::<u8>(), 0..10);
        let headers = vec(("[a-zé]{0,4}", option::of(bytes())), 0..4);
        vec(
            (
                option::of(bytes()),
                option::of(bytes()),
                0i64..1 << 50,
                headers,
            ),
            0..9,
        )
    }

    fn build(records: &[Record], columns: RawColumns) -> (RecordBatch, u64) {
        let mut builder = RawBatchBuilder::new(columns, false);
        for (key, value, time, headers) in records {
            let headers = headers.iter().map(|(k, v)| (k.as_bytes(), v.as_deref()));
            builder
                .append(key.as_deref(), value.as_deref(), *time, headers)
                .unwrap();
        }
        let lossy = builder.lossy_header_keys();
        (builder.finish(), lossy)
    }

    proptest! {
        #[test]
        fn records_become_rows_and_records_again(records in records()) {
            let (rows, lossy) = build(&records, RawColumns::ALL);
            prop_assert_eq!(lossy, 0);
            prop_assert_eq!(rows.schema(), arrow_schema(&raw_schema(false)));
            let back = RawRows::new(&rows).unwrap();
            prop_assert_eq!(back.len(), records.len());
            for (row, (key, value, time, headers)) in back.iter().zip(&records) {
                prop_assert_eq!(row.key, key.as_deref());
                prop_assert_eq!(row.value, value.as_deref());
                prop_assert_eq!(row.timestamp_ms, Some(*time));
                let found: Vec<_> = row.headers().collect();
                let expected: Vec<_> =
                    headers.iter().map(|(k, v)| (k.as_str(), v.as_deref())).collect();
                prop_assert_eq!(found, expected);
            }
        }

        #[test]
        fn some_columns_equal_those_of_all(records in records(), bits in 1u8..16) {
            let columns: Vec<_> = (0..4).filter(|i| bits & (1 << i) != 0).collect();
            let (all, _) = build(&records, RawColumns::ALL);
            let (some, _) = build(&records, RawColumns::at(&columns));
            prop_assert_eq!(some.schema(), projected_arrow_schema(&raw_schema(false), &columns));
            prop_assert_eq!(some, all.project(&columns).unwrap());
        }
    }

    #[test]
    fn a_header_key_that_is_not_utf8_is_replaced_and_counted() {
        let mut builder = RawBatchBuilder::new(RawColumns::ALL, false);
        let headers = [(&b"a\xff"[..], Some(&b"1"[..])), (b"b", None)];
        builder.append(None, None, 1, headers.into_iter()).unwrap();
        assert_eq!(builder.lossy_header_keys(), 1);
        let rows = RawRows::new(&builder.finish()).unwrap();
        let headers: Vec<_> = rows
            .get(0)
            .headers()
            .map(|(k, v)| (k.to_owned(), v))
            .collect();
        assert_eq!(
            headers,
            [
                ("a\u{fffd}".to_owned(), Some(&b"1"[..])),
                ("b".to_owned(), None)
            ]
        );
    }

    #[test]
    fn a_record_without_time_has_a_null_timestamp() {
        let mut builder = RawBatchBuilder::new(RawColumns::at(&[TIMESTAMP]), false);
        builder
            .append(Some(b"k"), None, -1, std::iter::empty())
            .unwrap();
        builder
            .append(Some(b"k"), None, 0, std::iter::empty())
            .unwrap();
        assert_eq!((builder.len(), builder.bytes()), (2, 16));
        let rows = builder.finish();
        assert_eq!(rows.column(0).null_count(), 1);
        assert!(rows.column(0).is_null(0));
    }

    #[test]
    fn a_compacted_topic_needs_keys() {
        let mut builder = RawBatchBuilder::new(RawColumns::ALL, true);
        let refused = builder.append(None, Some(b"v"), 1, std::iter::empty());
        assert_eq!(refused, Err(RawError::NoKey));
        builder
            .append(Some(b"k"), None, 1, std::iter::empty())
            .unwrap();
        assert_eq!(builder.finish().schema(), arrow_schema(&raw_schema(true)));
    }

    #[test]
    fn the_raw_schema_is_recognised() {
        assert!(is_raw(&raw_schema(false)));
        assert!(is_raw(&raw_schema(true)));
        let mut wider = raw_schema(false);
        wider.columns.push(wider.columns[0].clone());
        assert!(!is_raw(&wider));
    }
}
