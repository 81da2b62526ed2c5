//! The statistics of a batch: bounds and null counts of some columns, as its writer sent them.
//!
//! ```text
//! version 1 i8 | N i16 | column positions N × i16 | null counts N × i32
//! min row size i32 | min values: aligned row of N fields
//! max row size i32 | max values: aligned row of N fields
//! ```
//!
//! A null bound means that the writer knows none, or that all values are null. Statistics are a
//! hint that lets a reader skip batches; what cannot be read here counts as absent. Facts: Fluss
//! log format, statistics block; `LogRecordBatchStatisticsWriter.java`.

use crate::row::{Datum, aligned};
use crate::schema::{DataType, Schema, TypeKind};

const VERSION: u8 = 1;

/// What is known about one column of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnStatistics<'a> {
    /// Its position in the batch's schema.
    pub position: usize,
    /// Nulls in the column; `None` when unknown.
    pub null_count: Option<usize>,
    /// No value is below it; null when unknown.
    pub min: Datum<'a>,
    /// No value is above it; null when unknown.
    pub max: Datum<'a>,
}

/// What is known about the columns of a batch.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BatchStatistics<'a> {
    columns: Vec<ColumnStatistics<'a>>,
}

impl<'a> BatchStatistics<'a> {
    /// Reads a statistics block; `None` when it is empty or cannot be read.
    pub fn parse(bytes: &'a [u8], schema: &Schema) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        let (count, rest) = rest.split_first_chunk::<2>()?;
        let count = usize::try_from(i16::from_le_bytes(*count)).ok()?;
        if *version != VERSION {
            return None;
        }
        let (positions, rest) = rest.split_at_checked(count * 2)?;
        let (null_counts, rest) = rest.split_at_checked(count * 4)?;
        let (min, rest) = sized(rest)?;
        let (max, _) = sized(rest)?;

        let mut types: Vec<&DataType> = Vec::with_capacity(count);
        let mut columns = Vec::with_capacity(count);
        for (position, nulls) in positions.chunks_exact(2).zip(null_counts.chunks_exact(4)) {
            let position = usize::from(u16::from_le_bytes([position[0], position[1]]));
            let data_type = &schema.columns.get(position)?.data_type;
            if !has_statistics(&data_type.kind) {
                return None;
            }
            types.push(data_type);
            let nulls = i32::from_le_bytes([nulls[0], nulls[1], nulls[2], nulls[3]]);
            columns.push(ColumnStatistics {
                position,
                null_count: usize::try_from(nulls).ok(),
                min: Datum::Null,
                max: Datum::Null,
            });
        }
        let mut bounds = Vec::with_capacity(count);
        aligned::read(min, types.iter().copied(), &mut bounds).ok()?;
        for (column, min) in columns.iter_mut().zip(bounds.drain(..)) {
            column.min = min;
        }
        aligned::read(max, types.iter().copied(), &mut bounds).ok()?;
        for (column, max) in columns.iter_mut().zip(bounds) {
            column.max = max;
        }
        Some(BatchStatistics { columns })
    }

    /// What is known about the column at a position of the batch's schema.
    pub fn column(&self, position: usize) -> Option<&ColumnStatistics<'a>> {
        self.columns.iter().find(|c| c.position == position)
    }
}

/// Bytes behind their length, and what follows.
fn sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(i32::from_le_bytes(*len)).ok()?)
}

/// True for the types that have bounds.
fn has_statistics(kind: &TypeKind) -> bool {
    !matches!(
        kind,
        TypeKind::Binary { .. }
            | TypeKind::Bytes
            | TypeKind::Array(_)
            | TypeKind::Map { .. }
            | TypeKind::Row(_)
    )
}

/// Writes a block, for tests of readers.
#[cfg(test)]
pub(crate) fn write(
    columns: &[ColumnStatistics<'_>],
    schema: &Schema,
) -> Result<Vec<u8>, crate::row::RowError> {
    let mut out = vec![VERSION];
    out.extend_from_slice(&i16::try_from(columns.len()).unwrap().to_le_bytes());
    for c in columns {
        out.extend_from_slice(&i16::try_from(c.position).unwrap().to_le_bytes());
    }
    for c in columns {
        let nulls = c.null_count.map_or(-1, |n| i32::try_from(n).unwrap());
        out.extend_from_slice(&nulls.to_le_bytes());
    }
    for bounds in [
        columns.iter().map(|c| c.min.clone()).collect::<Vec<_>>(),
        columns.iter().map(|c| c.max.clone()).collect(),
    ] {
        let types = columns
            .iter()
            .map(|c| &schema.columns[c.position].data_type);
        let mut row = Vec::new();
        aligned::write(&bounds, types, &mut row)?;
        out.extend_from_slice(&i32::try_from(row.len()).unwrap().to_le_bytes());
        out.extend_from_slice(&row);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fluss::vectors::{self, hex};
    use crate::row::Timestamp;

    /// Made by the Java client of one batch of three rows with 19 columns.
    const JAVA_BLOCK: &str = "\
        01130000000100020003000400050006000700080009000a000b000c000d000e000f00100011001200000000\
        0000000000000000000100000000000000000000000000000000000000000000000000000000000000000000\
        0000000000000000000000000000000000030000000000000000000000c00000000000000100000000000000\
        0000000000fd00000000000000ceff0000000000000a0000000000000030f8ffffffffffff000020c0000000\
        00000000000000f43f6170706c65000085851a00000000000002000000a0000000504600000000000040771b\
        000000000000806e8774010000e8030000b000000000806e8774010000e8030000b800000000000000000000\
        000000008000000000000000000000008004d2000000000000000000000000000000806e877401000000806e\
        8774010000c0000000000000010000000001000000000000000700000000000000c8000000000000001e0000\
        0000000000b80b0000000000000000c03f000000000000000000802340636865727279008650c30000000000\
        0008000000a0000000204e00000000000000dd6d0000000000e7535c18a3010000583e0f00b0000000e7535c\
        18a3010000583e0f00b800000000000000000000000000c0ff00000000000000000000f8ff016345785d89ff\
        ff0000000000000000e7535c18a3010000e7535c18a3010000";

    fn java_schema() -> Schema {
        let kinds = [
            TypeKind::Boolean,
            TypeKind::TinyInt,
            TypeKind::SmallInt,
            TypeKind::Int,
            TypeKind::BigInt,
            TypeKind::Float,
            TypeKind::Double,
            TypeKind::String,
            TypeKind::Decimal {
                precision: 5,
                scale: 2,
            },
            TypeKind::Decimal {
                precision: 20,
                scale: 3,
            },
            TypeKind::Date,
            TypeKind::Time { precision: 0 },
            TypeKind::Timestamp { precision: 3 },
            TypeKind::Timestamp { precision: 6 },
            TypeKind::TimestampLtz { precision: 3 },
            TypeKind::TimestampLtz { precision: 6 },
            TypeKind::String,
            TypeKind::Float,
            TypeKind::Double,
        ];
        let columns: Vec<_> = kinds.map(|kind| ("c", DataType::nullable(kind))).to_vec();
        vectors::schema(&columns)
    }

    #[test]
    fn the_block_of_the_java_client_is_read() {
        let bytes = hex(JAVA_BLOCK);
        let schema = java_schema();
        let statistics = BatchStatistics::parse(&bytes, &schema).unwrap();
        let bounds = |i: usize| {
            let column = statistics.column(i).unwrap();
            (
                column.null_count.unwrap(),
                column.min.clone(),
                column.max.clone(),
            )
        };
        let time = |millis, nanos| Datum::Timestamp(Timestamp { millis, nanos });
        assert_eq!(bounds(0), (0, Datum::Boolean(false), Datum::Boolean(true)));
        assert_eq!(bounds(3), (1, Datum::Int(10), Datum::Int(30)));
        assert_eq!(
            bounds(7),
            (0, Datum::String("apple"), Datum::String("cherry"))
        );
        assert_eq!(bounds(8), (0, Datum::Decimal(6789), Datum::Decimal(50_000)));
        assert_eq!(
            bounds(9),
            (
                0,
                Datum::Decimal(1234),
                Datum::Decimal(99_999_999_999_999_999)
            )
        );
        assert_eq!(bounds(10), (0, Datum::Date(18_000), Datum::Date(20_000)));
        assert_eq!(
            bounds(13),
            (
                0,
                time(1_600_000_000_000, 1000),
                time(1_800_000_000_999, 999_000)
            )
        );
        assert_eq!(bounds(16), (3, Datum::Null, Datum::Null));
        let (_, min, max) = bounds(17);
        assert!(matches!(min, Datum::Float(v) if v == 0.0 && v.is_sign_negative()));
        assert!(matches!(max, Datum::Float(v) if v.is_nan()));
    }

    #[test]
    fn what_does_not_fit_the_schema_counts_as_absent() {
        let bytes = hex(JAVA_BLOCK);
        assert_eq!(
            BatchStatistics::parse(&bytes, &vectors::int_and_string()),
            None
        );
        assert_eq!(BatchStatistics::parse(&[], &java_schema()), None);
        assert_eq!(
            BatchStatistics::parse(&bytes[..bytes.len() - 30], &java_schema()),
            None
        );
    }

    proptest! {
        #[test]
        fn damaged_blocks_never_panic(
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = hex(JAVA_BLOCK);
            for (at, value) in damage {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            let _ = BatchStatistics::parse(&bytes, &java_schema());
            let _ = BatchStatistics::parse(&bytes[..cut.index(bytes.len())], &java_schema());
        }
    }
}
