//! The numbers that tables give to rows in their auto-increment columns: one counter for each
//! table, shared by its buckets and table partitions.

use protocol::ids::TableId;
use serde::{Deserialize, Serialize};

use super::Catalog;
use super::error::TakeRowNumbersError;
use super::record::{self, ROW_NUMBERS_PREFIX};
use super::store::RecordChange;

#[derive(Debug, Serialize, Deserialize)]
struct RowNumbersRecord {
    /// The first number that nobody has.
    next: i64,
}

impl Catalog {
    /// Takes `count` numbers, at least one, of a table and gives the first; that of a new table is
    /// 0. Durable when this returns, so that no number is handed out twice; those that the taker
    /// does not use are left out for good. Waits for the disk.
    pub fn take_row_numbers(&self, table: TableId, count: i64) -> Result<i64, TakeRowNumbersError> {
        let mut writer = self.writer.lock();
        let view = self.view();
        if view.table(table).is_none() {
            return Err(TakeRowNumbersError::Unknown(table));
        }
        // Not when a table is dropped: that may yet fail.
        writer.row_numbers.retain(|id, _| view.table(*id).is_some());
        let first = writer.row_numbers.get(&table).copied().unwrap_or(0);
        let next = first
            .checked_add(count.max(1))
            .ok_or(TakeRowNumbersError::Exhausted(table))?;
        let change = record::put(key(table), &RowNumbersRecord { next });
        self.commit(&mut writer, &[change])?;
        writer.row_numbers.insert(table, next);
        Ok(first)
    }
}

/// The change that forgets the counter of a table that goes.
pub(super) fn forget(table: TableId) -> RecordChange {
    RecordChange::Delete { key: key(table) }
}

/// Reads the counter of a table; the reason, when it is damaged.
pub(super) fn read(key: &str, value: &[u8]) -> Result<(TableId, i64), String> {
    let id = key.strip_prefix(ROW_NUMBERS_PREFIX).unwrap_or(key);
    let id = id.parse().map_err(|_| "no table has this id".to_owned())?;
    let stored: RowNumbersRecord = record::read(key, value)?;
    Ok((TableId::new(id), stored.next))
}

fn key(table: TableId) -> String {
    format!("{ROW_NUMBERS_PREFIX}{table}")
}
