//! Primary-key tables: their indexes, and the work of merging rows into them.

use crate::config::key::{Key, Section, Unit, fluss, int_from, long_from, ours};

pub(super) static KEYS: &[Key] = &[
    fluss(
        "kv.rocksdb.shared-block-cache.size",
        long_from(-1).of(Unit::Bytes),
        Some("-1"),
        "Memory of all indexes together: blocks of their files with filters, and what was written \
         and is not on disk yet. At least 8 MiB, at most the memory that there is; -1 for an eighth \
         of what the machine or the container has, at least 256 MiB. It is taken as it is needed.",
    )
    .within(Section::PrimaryKeys),
    fluss(
        "kv.rocksdb.shared-write-buffer.size",
        long_from(-1).of(Unit::Bytes),
        Some("-1"),
        "Of that memory, what was written and is not on disk yet; at least 1 MiB, -1 for an eighth \
         of it, or 96 MiB where that is more, but at most half of it. The bucket that is written to \
         next goes to disk when it is full.",
    )
    .within(Section::PrimaryKeys),
    fluss(
        "kv.rocksdb.writebuffer.size",
        long_from(64 << 10).of(Unit::Bytes),
        Some("67108864"),
        "What one bucket may hold in memory before it goes to disk.",
    )
    .within(Section::PrimaryKeys),
    fluss(
        "kv.rocksdb.thread.num",
        int_from(1),
        Some("2"),
        "Threads that write and compact the files of all indexes.",
    )
    .within(Section::PrimaryKeys),
    fluss(
        "kv.rocksdb.files.open",
        int_from(16),
        Some("256"),
        "Files that the index of one bucket keeps open.",
    )
    .within(Section::PrimaryKeys),
    fluss(
        "kv.rocksdb.shared-rate-limiter.bytes-per-sec",
        long_from(0).of(Unit::Bytes),
        Some("67108864"),
        "Bytes a second that flushes and compactions of all indexes write at most; 0 does not slow \
         them down.",
    )
    .within(Section::PrimaryKeys),
    ours(
        "vltava.kv.row.cache.bytes",
        long_from(-1).of(Unit::Bytes),
        Some("-1"),
        "Memory of rows of all buckets that were asked for lately, which lookups and merges find \
         without the files of an index. Besides the block cache. At most the memory that there is; 0 \
         for none; -1 for a thirty-second of what the machine or the container has, at least 64 MiB. \
         It is taken as it is needed.",
    )
    .within(Section::PrimaryKeys),
    ours(
        "vltava.kv.threads",
        int_from(1),
        Some("2"),
        "Threads that merge rows and bring them into the indexes: buckets that do so at a time. Twice \
         as many more open indexes at their first use; who reads or writes waits for them and holds \
         no thread.",
    )
    .within(Section::PrimaryKeys),
    ours(
        "vltava.kv.queue.bytes",
        long_from(1).of(Unit::Bytes),
        Some("67108864"),
        "Bytes of rows that may wait to be merged into one bucket. Beyond it, writes are refused \
         with a retriable error.",
    )
    .within(Section::PrimaryKeys),
    ours(
        "vltava.kv.buffer.bytes",
        long_from(1 << 20).of(Unit::Bytes),
        Some("67108864"),
        "Bytes of rows of one bucket that are in its log and wait, for a sync, to get into its \
         index. Beyond it, merging waits.",
    )
    .within(Section::PrimaryKeys),
    ours(
        "vltava.kv.replay.bytes",
        long_from(1 << 20).of(Unit::Bytes),
        Some("67108864"),
        "Bytes of changelog behind what the index of a bucket has on disk, after which it is \
         written there: what the first use after a crash has to replay.",
    )
    .within(Section::PrimaryKeys),
    fluss(
        "kv.scanner.ttl",
        long_from(1).of(Unit::Millis),
        Some("600000"),
        "How long a scan of a bucket's rows, which keeps the rows of one moment, waits for its \
         client to go on.",
    )
    .within(Section::PrimaryKeys),
    fluss(
        "kv.scanner.expiration-interval",
        long_from(1).of(Unit::Millis),
        Some("30000"),
        "How often scans whose clients do not go on are looked for.",
    )
    .within(Section::PrimaryKeys),
    fluss(
        "kv.scanner.max-per-bucket",
        int_from(0),
        Some("8"),
        "Most scans of one bucket at a time.",
    )
    .within(Section::PrimaryKeys),
    fluss(
        "kv.scanner.max-per-server",
        int_from(0),
        Some("200"),
        "Most scans of all buckets at a time. Each has a thread that sleeps between two requests.",
    )
    .within(Section::PrimaryKeys),
    fluss(
        "kv.scanner.max-batch-size",
        int_from(1).of(Unit::Bytes),
        Some("10485760"),
        "Most bytes of rows in one answer to a scan, whatever the client asks for. One row is sent \
         whole even when it is larger.",
    )
    .within(Section::PrimaryKeys),
    ours(
        "vltava.topic.index.threads",
        int_from(1),
        Some("1"),
        "Threads that bring the indexes of compacted topics up to their logs. Each may hold one \
         decompressed batch.",
    )
    .within(Section::PrimaryKeys),
];
