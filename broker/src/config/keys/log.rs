//! The log: segments, retention, durability, what a batch may look like.

use crate::config::key::{Key, Kind, Section, Unit, Width, int, int_from, kafka, long_from, ours};

/// The forms of `flush.mode`, of broker and topic.
pub(super) const FLUSH_MODE: Kind = Kind::Choice(&["fsync", "page-cache"]);

pub(super) const COMPRESSION: Kind =
    Kind::Choice(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]);
pub(super) const GZIP_LEVEL: Kind = int(1, 9).or(-1);
pub(super) const LZ4_LEVEL: Kind = int(1, 17);
pub(super) const ZSTD_LEVEL: Kind = int(-131_072, 22);
pub(super) const TIMESTAMP_TYPE: Kind = Kind::Choice(&["CreateTime", "LogAppendTime"]);
pub(super) const CLEANUP_POLICY: Kind = Kind::List(&["compact", "delete"]);

/// Any whole number of bytes; Kafka sets no lower limit.
pub(super) const ANY_BYTES: Kind = Kind::Integer {
    width: Width::Long,
    min: i64::MIN,
    max: i64::MAX,
    or: None,
    unit: Unit::Bytes,
};

pub(super) static KEYS: &[Key] = &[
    ours(
        "flush.mode",
        FLUSH_MODE,
        Some("fsync"),
        "What an acknowledged write promises. `fsync`: it is on disk; one sync serves all batches \
         that arrived meanwhile. `page-cache`: it is with the operating system and survives a \
         crash of the broker, not of the machine, as in a Kafka cluster of one node.",
    )
    .dynamic()
    .within(Section::Log),
    kafka(
        "log.segment.bytes",
        int_from(64).of(Unit::Bytes),
        Some("1073741824"),
        "Size at which a log begins a new segment file. (Kafka's own limit is 1 MiB.)",
    )
    .on_fluss("log.segment.file-size")
    .dynamic()
    .within(Section::Log),
    kafka(
        "log.roll.ms",
        long_from(1).of(Unit::Millis),
        None,
        "Age at which a log begins a new segment file, though the old one is not full.",
    )
    .dynamic()
    .within(Section::Log),
    kafka(
        "log.roll.hours",
        int_from(1).of(Unit::Hours),
        Some("168"),
        "As `log.roll.ms`, which wins.",
    )
    .within(Section::Log),
    kafka(
        "log.roll.jitter.ms",
        long_from(0).of(Unit::Millis),
        None,
        "Largest random time by which a segment is closed earlier.",
    )
    .dynamic()
    .within(Section::Log),
    kafka(
        "log.roll.jitter.hours",
        int_from(0).of(Unit::Hours),
        Some("0"),
        "As `log.roll.jitter.ms`, which wins.",
    )
    .within(Section::Log),
    kafka(
        "log.retention.ms",
        long_from(-1).of(Unit::Millis),
        None,
        "Age at which closed segments are deleted. -1 keeps them.",
    )
    .dynamic()
    .within(Section::Log),
    kafka(
        "log.retention.minutes",
        int_from(-1).of(Unit::Minutes),
        None,
        "As `log.retention.ms`, which wins.",
    )
    .within(Section::Log),
    kafka(
        "log.retention.hours",
        int_from(-1).of(Unit::Hours),
        Some("168"),
        "As `log.retention.minutes`, which wins.",
    )
    .within(Section::Log),
    kafka(
        "log.retention.bytes",
        ANY_BYTES,
        Some("-1"),
        "Size of a partition's log above which closed segments are deleted. -1: no limit.",
    )
    .dynamic()
    .within(Section::Log),
    kafka(
        "log.retention.check.interval.ms",
        long_from(1).of(Unit::Millis),
        Some("300000"),
        "How often segments to delete are looked for.",
    )
    .on_fluss("log.retention.check-interval")
    .within(Section::Log),
    kafka(
        "log.cleanup.policy",
        CLEANUP_POLICY,
        Some("delete"),
        "What happens to old records of a topic that does not say: `delete`, `compact` or both. \
         Tables that Fluss clients made do not follow it.",
    )
    .dynamic()
    .within(Section::Log),
    kafka(
        "log.segment.delete.delay.ms",
        long_from(0).of(Unit::Millis),
        Some("60000"),
        "How long the file of a deleted segment stays.",
    )
    .dynamic()
    .within(Section::Log),
    kafka(
        "log.index.interval.bytes",
        int_from(0).of(Unit::Bytes),
        Some("4096"),
        "Bytes of a segment between two entries of its offset index.",
    )
    .on_fluss("log.index.interval-size")
    .dynamic()
    .within(Section::Log),
    kafka(
        "log.index.size.max.bytes",
        int_from(4).of(Unit::Bytes),
        Some("10485760"),
        "Largest index file; a log begins a new segment when it is full.",
    )
    .on_fluss("log.index.file-size")
    .dynamic()
    .within(Section::Log),
    kafka(
        "log.flush.interval.messages",
        long_from(1),
        Some("9223372036854775807"),
        "With `flush.mode = page-cache`, records after which a log is synced.",
    )
    .on_fluss("log.flush.interval-messages")
    .dynamic()
    .within(Section::Log),
    kafka(
        "log.flush.interval.ms",
        long_from(0).of(Unit::Millis),
        None,
        "With `flush.mode = page-cache`, time after which a log is synced.",
    )
    .dynamic()
    .within(Section::Log),
    kafka(
        "log.flush.offset.checkpoint.interval.ms",
        int_from(0).of(Unit::Millis),
        Some("60000"),
        "How often the point from which recovery starts is recorded.",
    )
    .on_fluss("log.flush.offset.checkpoint-interval")
    .within(Section::Log),
    kafka(
        "log.preallocate",
        Kind::Boolean,
        Some("false"),
        "Whether a new segment file gets its full size at once.",
    )
    .on_fluss("log.file-preallocate")
    .dynamic()
    .without_effect("files grow as they are written")
    .within(Section::Log),
    kafka(
        "message.max.bytes",
        int_from(0).of(Unit::Bytes),
        Some("1048588"),
        "Largest batch of a topic that does not say.",
    )
    .dynamic()
    .within(Section::Log),
    kafka(
        "compression.type",
        COMPRESSION,
        Some("producer"),
        "Compression of batches on disk. `producer` keeps them as they were sent; anything else \
         compresses them anew.",
    )
    .dynamic()
    .within(Section::Log),
    kafka(
        "compression.gzip.level",
        GZIP_LEVEL,
        Some("-1"),
        "Level of gzip; -1 is its default.",
    )
    .dynamic()
    .within(Section::Log),
    kafka(
        "compression.lz4.level",
        LZ4_LEVEL,
        Some("9"),
        "Level of lz4.",
    )
    .dynamic()
    .without_effect("lz4 is written at its fast level")
    .within(Section::Log),
    kafka(
        "compression.zstd.level",
        ZSTD_LEVEL,
        Some("3"),
        "Level of zstd.",
    )
    .dynamic()
    .within(Section::Log),
    kafka(
        "log.message.timestamp.type",
        TIMESTAMP_TYPE,
        Some("CreateTime"),
        "Whose time a record carries: its producer's, or the broker's when it was appended.",
    )
    .dynamic()
    .within(Section::Log),
    kafka(
        "log.message.timestamp.before.max.ms",
        long_from(0).of(Unit::Millis),
        Some("9223372036854775807"),
        "How far a producer's time may lie before the broker's.",
    )
    .dynamic()
    .within(Section::Log),
    kafka(
        "log.message.timestamp.after.max.ms",
        long_from(0).of(Unit::Millis),
        Some("3600000"),
        "How far a producer's time may lie after the broker's.",
    )
    .dynamic()
    .within(Section::Log),
    kafka(
        "min.insync.replicas",
        int_from(1),
        Some("1"),
        "Replicas that must have a batch written with acks=all. There is one replica: with more \
         than 1, such writes are refused.",
    )
    .on_fluss("log.replica.min-in-sync-replicas-number")
    .dynamic()
    .within(Section::Log),
    kafka(
        "unclean.leader.election.enable",
        Kind::Boolean,
        Some("false"),
        "Whether a replica that lags behind may become leader.",
    )
    .dynamic()
    .without_effect("there is one replica")
    .within(Section::Log),
    ours(
        "vltava.append.queue.bytes",
        long_from(1).of(Unit::Bytes),
        Some("67108864"),
        "Bytes of batches that may wait to be written to one log. Beyond it, writes are refused \
         with a retriable error.",
    )
    .within(Section::Log),
];
