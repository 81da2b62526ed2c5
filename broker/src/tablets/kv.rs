//! What a primary-key table is to the keys of its buckets.

use std::path::Path;
use std::sync::Arc;

use protocol::fluss::key::{KeyEncoder, LakeFormat};
use protocol::fluss::options::TableConfig;
use protocol::fluss::value::ValueLayout;
use protocol::ids::{TablePartitionId, TabletId};
use protocol::schema::DataType;
use storage::catalog::{Catalog, Table};
use storage::kv::index::IndexSpec;
use storage::kv::merge::MergeTable;
use storage::kv::tablet::{KvTable, KvTableSpec, TableIds};
use storage::tablet::TableShape;

use super::RowNumbers;

/// The directory of the index, below that of its log.
pub(super) const DIRECTORY: &str = "kv";
/// Tables of older servers do not say how keys are encoded.
const KEY_FORMAT_DEFAULT: u32 = 1;

/// Why a table has no keys that can be written or read.
#[derive(Debug, thiserror::Error)]
pub enum KvTableError {
    /// Its options do not hold.
    #[error("its options do not hold: {0}")]
    Options(String),
    /// Its parts do not fit together.
    #[error("its changelog cannot be written: {0}")]
    Changelog(#[from] storage::kv::changelog::ChangelogError),
}

/// The keys of a table in this state.
pub(super) fn kv_table_of(
    table: &Table,
    shape: &TableShape,
    catalog: &Arc<Catalog>,
) -> Result<Arc<KvTable>, KvTableError> {
    let options = TableConfig::parse(&table.properties);
    let options = options.map_err(|error| KvTableError::Options(error.to_string()))?;
    let layout = ValueLayout::of_version(options.kv_value_layout_version);
    let layout = layout.map_err(|error| KvTableError::Options(error.to_string()))?;
    let latest = &table.schema().schema;
    Ok(Arc::new(KvTable::new(KvTableSpec {
        merge: MergeTable::of(&options, shape.schemas.clone(), shape.latest),
        image: options.changelog_image,
        log_format: options.log_format,
        codec: shape.arrow_codec,
        key: key_encoder(table, &options),
        key_columns: key_columns(table),
        layout,
        ids: latest.auto_increment_column.is_some().then(|| TableIds {
            counter: Arc::new(RowNumbers::new(Arc::clone(catalog), table.id)),
            cache_size: options.auto_increment_cache_size,
        }),
    })?))
}

/// The primary key without partition columns, in its order: what a bucket tells its rows by.
pub fn key_columns(table: &Table) -> Vec<String> {
    let schema = &table.schema().schema;
    let of_partition = |name: &&String| table.partition_keys.contains(name);
    let columns = schema.primary_key.iter().filter(|name| !of_partition(name));
    columns.cloned().collect()
}

/// True when rows are spread over buckets by their whole key.
pub fn has_default_bucket_key(table: &Table) -> bool {
    table.bucket_keys == key_columns(table)
}

/// How clients encode the keys of a table.
pub fn key_encoder(table: &Table, options: &TableConfig) -> KeyEncoder {
    let lake = options
        .datalake_format
        .and_then(|format| LakeFormat::from_name(&format.to_string()));
    let version = options
        .kv_format_version
        .and_then(|version| u32::try_from(version).ok())
        .unwrap_or(KEY_FORMAT_DEFAULT);
    KeyEncoder::of_primary_key(lake, version, has_default_bucket_key(table))
}

/// Types of the leading key columns that rows can be looked up by; none where the bucket key is the
/// whole key, or is not at its beginning.
fn prefix(table: &Table) -> Vec<DataType> {
    let columns = key_columns(table);
    let bucket = &table.bucket_keys;
    if bucket.len() >= columns.len() || !columns.starts_with(bucket) {
        return Vec::new();
    }
    let schema = &table.schema().schema;
    let types = bucket.iter().filter_map(|name| {
        let position = schema.position(name)?;
        Some(schema.columns[position].data_type.clone())
    });
    types.collect()
}

/// The index that a tablet has to have, whose log lies in `directory`.
pub(super) fn index_spec(table: &Table, kv: &KvTable, id: TabletId, directory: &Path) -> IndexSpec {
    let mut identity = [0; 16];
    identity[..8].copy_from_slice(&id.table.value().to_le_bytes());
    identity[8..12].copy_from_slice(&id.bucket.value().to_le_bytes());
    // Partition ids are counted from 0: their lower half tells them apart.
    let partition = id.table_partition.map_or(-1, TablePartitionId::value);
    identity[12..].copy_from_slice(&partition.to_le_bytes()[..4]);
    IndexSpec {
        directory: directory.join(DIRECTORY),
        identity,
        counts_rows: kv.counts_rows(),
        prefix: prefix(table),
    }
}
