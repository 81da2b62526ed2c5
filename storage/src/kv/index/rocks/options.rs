//! How the databases are tuned.
//!
//! Files are read by clients as well (KV snapshots), whose RocksDB is 6.20: table format, checksums
//! and filters are those that it knows.

use protocol::schema::DataType;
use rocksdb::{
    BlockBasedOptions, Cache, ChecksumType, DBCompressionType, DataBlockIndexType, Options,
};

use super::prefix;
use super::shared::RocksConfig;

/// Overlapping files from which on writes are slowed down, and stopped.
pub(super) const SLOWDOWN_FILES: i32 = 20;
const STOP_FILES: i32 = 36;
/// The newest format that RocksDB 6.20 reads.
const TABLE_FORMAT: i32 = 5;
/// Lookups read a block for each file they ask: small ones cost less, and index memory more.
const BLOCK_BYTES: usize = 8 << 10;
/// Ten bits a key: one lookup of a hundred asks a file in vain.
const FILTER_BITS: f64 = 10.0;
/// Of a write buffer, for a filter of its keys: about 12 bits for a key with a row of 150 bytes. What
/// is not in memory is then mostly known without a walk down the sorted list, whose steps all miss
/// the processor's cache: that was nearly half of a lookup's time.
const MEMORY_FILTER_PART: f64 = 0.008;
/// The same where lookups by prefix use the filter too.
const MEMORY_PREFIX_FILTER_PART: f64 = 0.012;
/// Every open bucket has a filter, full or not, and pays for it with what it may write: of all write
/// buffers together, the n-th bucket that is open may have this, divided by n.
const ALL_FILTERS_PART: f64 = 1.0 / 16.0;
/// Memory is taken in such pieces: small, because most buckets of many are small.
const ARENA_BLOCK_BYTES: usize = 64 << 10;
/// Compaction makes files of about this size; snapshots share them as wholes.
const FILE_BYTES: u64 = 32 << 20;
/// Of the first level whose files do not overlap, as Fluss has it: most buckets are not larger by much,
/// so that their rows are compacted once.
const LEVEL_BYTES: u64 = 8 * FILE_BYTES;

/// What the binding has no calls for. A batch comes in the order of its keys: each begins to look for
/// its place in the sorted list where the one before found its own. What is flushed or compacted stays
/// in the cache of blocks, so that it has not to be read again for the next lookup, and the blocks of
/// files that it takes the place of leave.
const ROWS_BY_NAME: &str = "memtable_insert_with_hint_prefix_extractor=fixed:0;\
     uncache_aggressiveness=10000;\
     block_based_table_factory={prepopulate_block_cache=kFlushAndCompaction}";

/// The options of a database that its families share.
pub(super) fn database(config: &RocksConfig) -> Options {
    let mut options = Options::default();
    // Rows and state become durable together.
    options.set_atomic_flush(true);
    // One thread writes.
    options.set_allow_concurrent_memtable_write(false);
    options.set_max_background_jobs(i32::from(config.background_threads.max(2)));
    options.set_max_open_files(i32::from(config.files_open_max));
    options.set_bytes_per_sync(1 << 20);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_skip_stats_update_on_db_open(true);
    if let Some(rate) = config.compaction_bytes_per_second_max {
        let rate = i64::try_from(rate).unwrap_or(i64::MAX);
        options.set_ratelimiter(rate, 100_000, 10);
    }
    options
}

/// The family of rows of a database, besides which so many others are open.
///
/// # Errors
/// RocksDB does not know an option, which the tests rule out for the one that is built in.
pub(super) fn rows(
    config: &RocksConfig,
    cache: &Cache,
    prefix: &[DataType],
    others: usize,
) -> Result<Options, rocksdb::Error> {
    let mut options = family(config);
    let mut table = table(cache);
    table.set_bloom_filter(FILTER_BITS, false);
    table.set_whole_key_filtering(true);
    options.set_block_based_table_factory(&table);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_level_zero_file_num_compaction_trigger(4);
    options.set_level_zero_slowdown_writes_trigger(SLOWDOWN_FILES);
    options.set_level_zero_stop_writes_trigger(STOP_FILES);
    options.set_target_file_size_base(FILE_BYTES);
    options.set_max_bytes_for_level_base(LEVEL_BYTES);
    // What is about to be compacted again is not worth it. The last level has nearly everything, and
    // zstd took two fifths of the time of compactions.
    options.set_compression_per_level(&[
        DBCompressionType::None,
        DBCompressionType::None,
        DBCompressionType::Lz4,
        DBCompressionType::Lz4,
        DBCompressionType::Lz4,
        DBCompressionType::Lz4,
        DBCompressionType::Lz4,
    ]);
    // With dynamic levels, the second of these is that of the lowest level that has files, which in
    // most buckets is the only one.
    options.set_bottommost_compression_type(DBCompressionType::Lz4);
    options.set_memtable_whole_key_filtering(true);
    let mut part = MEMORY_FILTER_PART;
    if let Some(extractor) = prefix::extractor(prefix) {
        options.set_prefix_extractor(extractor);
        part = MEMORY_PREFIX_FILTER_PART;
    }
    options.set_memtable_prefix_bloom_ratio(memory_filter(config, part, others));
    options.get_options_from_string(ROWS_BY_NAME)
}

/// How much of its write buffer a bucket has for a filter, when it wants `part` of it.
fn memory_filter(config: &RocksConfig, part: f64, others: usize) -> f64 {
    let all = config.write_buffers_bytes_max as f64 * ALL_FILTERS_PART;
    let one = config.write_buffer_bytes_max.max(1) as f64;
    part.min(all / (others + 1) as f64 / one)
}

/// The family of the state: one key, written over and over.
pub(super) fn ours(config: &RocksConfig, cache: &Cache) -> Options {
    let mut options = family(config);
    options.set_block_based_table_factory(&table(cache));
    options.set_level_zero_file_num_compaction_trigger(4);
    options
}

fn family(config: &RocksConfig) -> Options {
    let mut options = Options::default();
    options.set_write_buffer_size(config.write_buffer_bytes_max);
    options.set_arena_block_size(ARENA_BLOCK_BYTES.min(config.write_buffer_bytes_max));
    options.set_max_write_buffer_number(4);
    options
}

fn table(cache: &Cache) -> BlockBasedOptions {
    let mut table = BlockBasedOptions::default();
    table.set_format_version(TABLE_FORMAT);
    table.set_checksum_type(ChecksumType::XXHash64);
    table.set_block_size(BLOCK_BYTES);
    table.set_block_cache(cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::schema::TypeKind;
    use rocksdb::{ColumnFamilyDescriptor, DB};

    /// RocksDB says nothing of options that were lost on their way.
    #[test]
    #[allow(clippy::disallowed_methods, reason = "RocksDB writes to the real disk")]
    fn a_database_has_all_options_of_its_rows() {
        let directory = tempfile::TempDir::new().unwrap();
        let config = RocksConfig::default();
        let cache = Cache::new_lru_cache(1 << 20);
        let prefix = [DataType::not_null(TypeKind::Int)];
        let rows = rows(&config, &cache, &prefix, 0).unwrap();
        let family = ColumnFamilyDescriptor::new("default", rows);
        let mut database = Options::default();
        database.create_if_missing(true);
        let db = DB::open_cf_descriptors(&database, directory.path(), [family]).unwrap();
        for key in 0..10_000u32 {
            db.put(key.to_be_bytes(), b"").unwrap();
        }
        db.flush().unwrap();
        // The filter and the keys.
        assert!(cache.get_usage() > 50_000, "{}", cache.get_usage());
        let files = db.property_value("rocksdb.aggregated-table-properties");
        drop(db);
        let files = files.unwrap().unwrap();
        let filter = files.split("filter block size=").nth(1).unwrap();
        let filter: usize = filter.split(';').next().unwrap().parse().unwrap();
        assert!((12_000..15_000).contains(&filter), "{filter}");
        let entries = std::fs::read_dir(directory.path()).unwrap();
        let written = entries
            .map(|entry| entry.unwrap().path())
            .find(|path| path.to_string_lossy().contains("OPTIONS-"))
            .unwrap();
        let written = std::fs::read_to_string(written).unwrap();
        for option in [
            "memtable_insert_with_hint_prefix_extractor=rocksdb.FixedPrefix.0",
            "uncache_aggressiveness=10000",
            "prepopulate_block_cache=kFlushAndCompaction",
            "block_size=8192",
            "format_version=5",
            "data_block_index_type=kDataBlockBinaryAndHash",
            "cache_index_and_filter_blocks=true",
            "bottommost_compression=kLZ4Compression",
            "max_bytes_for_level_base=268435456",
            "memtable_whole_key_filtering=true",
        ] {
            assert!(written.contains(option), "{option} in {written}");
        }
        assert!(
            !written.contains("\n  prefix_extractor=nullptr"),
            "{written}"
        );
    }

    #[test]
    fn filters_of_many_buckets_leave_room_to_write() {
        let config = RocksConfig::default();
        let buffer = config.write_buffer_bytes_max as f64;
        let filter = |others| memory_filter(&config, MEMORY_FILTER_PART, others) * buffer;
        assert_eq!(filter(0), MEMORY_FILTER_PART * buffer);
        assert!(filter(9_999) > 0.0);
        let all: f64 = (0..10_000).map(filter).sum();
        assert!(all < config.write_buffers_bytes_max as f64 / 2.0, "{all}");
    }
}
