//! Identifiers of both wires, as types, so that an offset is never taken for a bucket.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

/// The position of a record in a log. Both wires show the same number.
///
/// Offsets start at 0 and are never negative inside Vltava; the special values of the wires
/// (-1, -2, …) are resolved where a message is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(i64);

impl Offset {
    /// The first offset of every log.
    pub const ZERO: Offset = Offset(0);
    /// Larger than every offset that a log hands out.
    pub const MAX: Offset = Offset(i64::MAX);

    /// Wraps a number that is known to be an offset.
    pub const fn new(value: i64) -> Self {
        Offset(value)
    }

    /// The number as both wires write it.
    pub const fn value(self) -> i64 {
        self.0
    }

    /// The offset after this one.
    pub const fn next(self) -> Self {
        Offset(self.0 + 1)
    }
}

impl Add<i64> for Offset {
    type Output = Offset;
    fn add(self, delta: i64) -> Offset {
        Offset(self.0 + delta)
    }
}

impl AddAssign<i64> for Offset {
    fn add_assign(&mut self, delta: i64) {
        self.0 += delta;
    }
}

impl Sub for Offset {
    type Output = i64;
    fn sub(self, other: Offset) -> i64 {
        self.0 - other.0
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name($inner);

        impl $name {
            /// Wraps a number that is known to be such an id.
            pub const fn new(value: $inner) -> Self {
                $name(value)
            }

            /// The number as the wires write it.
            pub const fn value(self) -> $inner {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// A table (Kafka: topic), unique for the life of a cluster; a table that is dropped and made
    /// again has a new one.
    TableId(i64)
);
id!(
    /// A partition of a partitioned table. Its numbers are unique over all tables.
    TablePartitionId(i64)
);
id!(
    /// A bucket (Kafka: partition) of a table or of a table partition, from 0.
    BucketId(i32)
);
id!(
    /// The version of a table's schema, from 1; one more for each change of columns.
    SchemaId(i16)
);
id!(
    /// The epoch under which a batch was appended: the broker epoch of its leader.
    LeaderEpoch(i32)
);

/// Names one tablet: a bucket's log and, with a key, its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TabletId {
    /// The table.
    pub table: TableId,
    /// The table partition, for partitioned tables.
    pub table_partition: Option<TablePartitionId>,
    /// The bucket.
    pub bucket: BucketId,
}

impl fmt::Display for TabletId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.table_partition {
            Some(p) => write!(f, "{}-p{}-{}", self.table, p, self.bucket),
            None => write!(f, "{}-{}", self.table, self.bucket),
        }
    }
}
