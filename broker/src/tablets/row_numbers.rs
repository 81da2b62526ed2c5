//! The catalog as the counter of auto-increment columns: `storage::kv` does not know the catalog.

use std::sync::Arc;

use protocol::ids::TableId;
use storage::catalog::Catalog;
use storage::kv::auto_increment::IdCounter;

/// The numbers of one table's rows.
pub struct RowNumbers {
    catalog: Arc<Catalog>,
    table: TableId,
}

impl RowNumbers {
    /// The counter of a table.
    pub fn new(catalog: Arc<Catalog>, table: TableId) -> RowNumbers {
        RowNumbers { catalog, table }
    }
}

impl IdCounter for RowNumbers {
    fn get_and_add(&self, count: i64) -> Result<i64, String> {
        let taken = self.catalog.take_row_numbers(self.table, count);
        taken.map_err(|error| error.to_string())
    }
}
