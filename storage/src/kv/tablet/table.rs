//! What of a table its buckets need, as it is at one moment: swapped when the table is altered.

use std::sync::Arc;

use protocol::fluss::key::KeyEncoder;
use protocol::fluss::options::{ChangelogImage, LogFormat};
use protocol::fluss::value::ValueLayout;
use protocol::schema::Schema;

use crate::kv::auto_increment::{AutoIncrement, IdCounter};
use crate::kv::changelog::ChangelogError;
use crate::kv::merge::MergeTable;
use crate::kv::plans::TablePlans;
use crate::tablet::ArrowCodec;

/// Values of one changelog batch take about this many bytes at most. A KV batch that would need
/// more is refused; clients send a few MiB.
const CHANGELOG_BYTES_MAX: usize = 256 << 20;

/// The numbers of a table's auto-increment column.
#[derive(Clone)]
pub struct TableIds {
    /// The table's counter.
    pub counter: Arc<dyn IdCounter>,
    /// `table.auto-increment.cache-size`.
    pub cache_size: i64,
}

/// What a [`KvTable`] is made from.
pub struct KvTableSpec {
    /// How rows are merged.
    pub merge: MergeTable,
    /// `table.changelog.image`.
    pub image: ChangelogImage,
    /// `table.log.format`.
    pub log_format: LogFormat,
    /// Compression of changelog batches.
    pub codec: ArrowCodec,
    /// How clients encode keys.
    pub key: KeyEncoder,
    /// The primary key without partition columns, in its order.
    pub key_columns: Vec<String>,
    /// `table.kv.value-layout-version`.
    pub layout: ValueLayout,
    /// For tables with an auto-increment column.
    pub ids: Option<TableIds>,
}

/// A primary-key table at one moment, shared by its buckets.
pub struct KvTable {
    pub(super) plans: TablePlans,
    pub(super) image: ChangelogImage,
    pub(super) codec: ArrowCodec,
    pub(super) key: KeyEncoder,
    pub(super) key_columns: Vec<String>,
    pub(super) layout: ValueLayout,
    ids: Option<TableIds>,
}

impl KvTable {
    /// The table of these settings.
    ///
    /// # Errors
    /// It was created wrong.
    pub fn new(spec: KvTableSpec) -> Result<KvTable, ChangelogError> {
        let KvTableSpec {
            merge,
            image,
            log_format,
            codec,
            key,
            key_columns,
            layout,
            ids,
        } = spec;
        Ok(KvTable {
            plans: TablePlans::new(merge, image, log_format, CHANGELOG_BYTES_MAX)?,
            image,
            codec,
            key,
            key_columns,
            layout,
            ids,
        })
    }

    /// Whether its indexes count rows: without old rows nobody knows whether a key is new.
    pub fn counts_rows(&self) -> bool {
        self.image == ChangelogImage::Full
    }

    /// How its values are stored.
    pub fn layout(&self) -> ValueLayout {
        self.layout
    }

    /// The newest schema.
    pub fn schema(&self) -> Option<&Arc<Schema>> {
        let table = self.plans.table();
        table.schemas.get(&table.latest)
    }

    pub(super) fn numbers(&self) -> Option<AutoIncrement> {
        let ids = self.ids.as_ref()?;
        AutoIncrement::of(self.schema()?, Arc::clone(&ids.counter), ids.cache_size)
    }
}
