//! Numbers for auto-increment columns: unique in the table, neither dense nor ordered between
//! buckets.
//!
//! A bucket takes a range from the table's counter and hands its numbers out; what is left of a
//! range when the bucket closes is lost, unless a KV snapshot carries it. Numbers of failed batches
//! are lost as well. Facts: Fluss `BoundedSegmentSequenceGenerator.java`.

use std::sync::Arc;

use protocol::schema::{Schema, TypeKind};
use thiserror::Error;

/// Why there is no next number.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum AutoIncrementError {
    #[error("auto-increment column {column_id} has reached its largest value {max}")]
    Exhausted { column_id: i32, max: i64 },
    /// Retrying may help.
    #[error("the counter of auto-increment column {column_id} failed: {reason}")]
    Counter { column_id: i32, reason: String },
    #[error("the table has no auto-increment column")]
    None,
}

/// The table-wide counter, durable. Blocking.
pub trait IdCounter: Send + Sync {
    /// Adds `count` and gives the value before; the first value is 0.
    ///
    /// # Errors
    /// What failed, for a message.
    fn get_and_add(&self, count: i64) -> Result<i64, String>;
}

/// Hands numbers out.
pub trait IdSource {
    /// The next number.
    fn next_id(&mut self) -> Result<i64, AutoIncrementError>;
}

/// The source of tables without such a column.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoIds;

impl IdSource for NoIds {
    fn next_id(&mut self) -> Result<i64, AutoIncrementError> {
        Err(AutoIncrementError::None)
    }
}

/// Numbers that a bucket has and did not hand out: both ends are included, an end below the start
/// is an empty range. KV snapshots carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// Id of the column.
    pub column_id: i32,
    /// The next number.
    pub start: i64,
    /// The last number.
    pub end: i64,
}

/// The numbers of one bucket.
pub struct AutoIncrement {
    counter: Arc<dyn IdCounter>,
    cache_size: i64,
    max: i64,
    range: IdRange,
}

impl AutoIncrement {
    /// Numbers for the auto-increment column of a schema, none when it has none. `cache_size` is
    /// `table.auto-increment.cache-size`, at least 1.
    pub fn of(schema: &Schema, counter: Arc<dyn IdCounter>, cache_size: i64) -> Option<Self> {
        let name = schema.auto_increment_column.as_ref()?;
        let column = schema.columns.iter().find(|c| c.name == *name)?;
        let max = match column.data_type.kind {
            TypeKind::Int => i64::from(i32::MAX),
            _ => i64::MAX,
        };
        Some(AutoIncrement {
            counter,
            cache_size: cache_size.max(1),
            max,
            range: IdRange {
                column_id: column.id,
                start: 0,
                end: -1,
            },
        })
    }

    /// What is left of the range.
    pub fn range(&self) -> IdRange {
        self.range
    }

    /// Goes on with a range that a snapshot of this bucket carried.
    pub fn restore(&mut self, range: IdRange) {
        if range.column_id == self.range.column_id {
            self.range = range;
        }
    }

    fn fetch(&mut self) -> Result<(), AutoIncrementError> {
        let column_id = self.range.column_id;
        let before = self
            .counter
            .get_and_add(self.cache_size)
            .map_err(|reason| AutoIncrementError::Counter { column_id, reason })?;
        // The counter starts at 0, numbers start at 1.
        let exhausted = AutoIncrementError::Exhausted {
            column_id,
            max: self.max,
        };
        self.range.start = before.checked_add(1).ok_or(exhausted)?;
        self.range.end = before.saturating_add(self.cache_size);
        Ok(())
    }
}

impl IdSource for AutoIncrement {
    fn next_id(&mut self) -> Result<i64, AutoIncrementError> {
        if self.range.start > self.range.end {
            self.fetch()?;
        }
        let id = self.range.start;
        if id > self.max {
            return Err(AutoIncrementError::Exhausted {
                column_id: self.range.column_id,
                max: self.max,
            });
        }
        match id.checked_add(1) {
            Some(next) => self.range.start = next,
            // The largest number of all: what is left is empty.
            None => (self.range.start, self.range.end) = (i64::MAX, i64::MIN),
        }
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use protocol::schema::{Column, DataType};

    use super::*;

    #[derive(Default)]
    struct Memory {
        value: AtomicI64,
    }

    impl IdCounter for Memory {
        fn get_and_add(&self, count: i64) -> Result<i64, String> {
            let before = self.value.load(Ordering::Relaxed);
            let after = before.checked_add(count).ok_or("overflow")?;
            self.value.store(after, Ordering::Relaxed);
            Ok(before)
        }
    }

    fn numbers(counter: &Arc<Memory>, kind: TypeKind, cache_size: i64) -> AutoIncrement {
        let column = Column {
            name: "n".into(),
            data_type: DataType::nullable(kind),
            comment: None,
            id: 4,
            agg_function: None,
        };
        let schema = Schema {
            columns: vec![column],
            primary_key: vec![],
            auto_increment_column: Some("n".into()),
            highest_field_id: 4,
        };
        AutoIncrement::of(&schema, counter.clone(), cache_size).unwrap()
    }

    #[test]
    fn buckets_take_ranges_in_turn() {
        let counter = Arc::new(Memory::default());
        let mut one = numbers(&counter, TypeKind::BigInt, 2);
        let mut two = numbers(&counter, TypeKind::BigInt, 2);
        assert_eq!(one.next_id(), Ok(1));
        assert_eq!(two.next_id(), Ok(3));
        assert_eq!((one.next_id(), one.next_id()), (Ok(2), Ok(5)));
        assert_eq!((two.next_id(), two.next_id()), (Ok(4), Ok(7)));
        let left = IdRange {
            column_id: 4,
            start: 6,
            end: 6,
        };
        assert_eq!(one.range(), left);
        let mut restored = numbers(&counter, TypeKind::BigInt, 2);
        restored.restore(left);
        assert_eq!((restored.next_id(), restored.next_id()), (Ok(6), Ok(9)));
    }

    #[test]
    fn the_largest_value_of_the_type_is_the_last() {
        let counter = Arc::new(Memory::default());
        counter
            .value
            .store(i64::from(i32::MAX) - 1, Ordering::Relaxed);
        let mut narrow = numbers(&counter, TypeKind::Int, 10);
        assert_eq!(narrow.next_id(), Ok(i64::from(i32::MAX)));
        let exhausted = narrow.next_id();
        assert!(matches!(
            exhausted,
            Err(AutoIncrementError::Exhausted { .. })
        ));
        counter.value.store(i64::MAX - 3, Ordering::Relaxed);
        let mut wide = numbers(&counter, TypeKind::BigInt, 3);
        for id in [i64::MAX - 2, i64::MAX - 1, i64::MAX] {
            assert_eq!(wide.next_id(), Ok(id));
        }
        for _ in 0..2 {
            let failed = wide.next_id();
            assert!(matches!(failed, Err(AutoIncrementError::Counter { .. })));
        }
        assert_eq!(NoIds.next_id(), Err(AutoIncrementError::None));
    }
}
