//! The settings of a topic: Kafka 4.3's, with its limits, and ours.

use super::log::{
    ANY_BYTES, CLEANUP_POLICY, COMPRESSION, FLUSH_MODE, GZIP_LEVEL, LZ4_LEVEL, TIMESTAMP_TYPE,
    ZSTD_LEVEL,
};
use super::serving::COLUMNAR;
use crate::config::key::{Key, Kind, Unit, int_from, long_from, topic};

const ONE_REPLICA: &str = "there is one replica";
const NO_REMOTE_LOG: &str = "there is no remote log yet";

/// Smallest `segment.bytes` that Kafka takes from a client.
const SEGMENT_BYTES_MIN: i64 = 1 << 20;

pub(super) static KEYS: &[Key] = &[
    topic(
        "cleanup.policy",
        CLEANUP_POLICY,
        Some("delete"),
        "What happens to old records. `delete` removes segments by age and size; an empty list \
         keeps them for ever. With `compact` the newest record of each key stays, and the topic is \
         a table with `key` as its primary key. To change between the two keeps topic and log, and \
         makes another table of it on the Fluss wire. Tables that Fluss clients made stay what they \
         are: with a primary key it is `compact`, for changes older than `retention.ms`; without \
         one it is `delete`, unless an empty list is set.",
    )
    .inherits(&["log.cleanup.policy"]),
    topic(
        "compression.gzip.level",
        GZIP_LEVEL,
        Some("-1"),
        "Level of gzip; -1 is its default.",
    )
    .inherits(&["compression.gzip.level"]),
    topic(
        "compression.lz4.level",
        LZ4_LEVEL,
        Some("9"),
        "Level of lz4.",
    )
    .inherits(&["compression.lz4.level"])
    .without_effect("lz4 is written at its fast level"),
    topic(
        "compression.type",
        COMPRESSION,
        Some("producer"),
        "Compression of batches on disk. `producer` keeps them as they were sent.",
    )
    .inherits(&["compression.type"]),
    topic(
        "compression.zstd.level",
        ZSTD_LEVEL,
        Some("3"),
        "Level of zstd.",
    )
    .inherits(&["compression.zstd.level"]),
    topic(
        "delete.retention.ms",
        long_from(0).of(Unit::Millis),
        Some("86400000"),
        "How long tombstones stay in a compacted topic, counted from the first round of the cleaner \
         that saw them: who reads the topic from the start within that time sees every deletion.",
    )
    .inherits(&["log.cleaner.delete.retention.ms"]),
    topic(
        "file.delete.delay.ms",
        long_from(0).of(Unit::Millis),
        Some("60000"),
        "How long the file of a deleted segment stays.",
    )
    .inherits(&["log.segment.delete.delay.ms"]),
    topic(
        "flush.messages",
        long_from(1),
        Some("9223372036854775807"),
        "With `flush.mode = page-cache`, records after which the log is synced.",
    )
    .inherits(&["log.flush.interval.messages"]),
    topic(
        "flush.mode",
        FLUSH_MODE,
        Some("fsync"),
        "What an acknowledged write promises: `fsync` that it is on disk, `page-cache` that it is \
         with the operating system.",
    )
    .inherits(&["flush.mode"]),
    topic(
        "flush.ms",
        long_from(0).of(Unit::Millis),
        Some("9223372036854775807"),
        "With `flush.mode = page-cache`, time after which the log is synced.",
    )
    .inherits(&["log.flush.interval.ms"]),
    topic(
        "follower.replication.throttled.replicas",
        Kind::Replicas,
        Some(""),
        "Replicas whose copying is slowed down, on the follower's side.",
    )
    .without_effect(ONE_REPLICA),
    topic(
        "index.interval.bytes",
        int_from(0).of(Unit::Bytes),
        Some("4096"),
        "Bytes of a segment between two entries of its offset index.",
    )
    .inherits(&["log.index.interval.bytes"]),
    topic(
        "leader.replication.throttled.replicas",
        Kind::Replicas,
        Some(""),
        "Replicas whose copying is slowed down, on the leader's side.",
    )
    .without_effect(ONE_REPLICA),
    topic(
        "local.retention.bytes",
        long_from(-2).of(Unit::Bytes),
        Some("-2"),
        "Size of the local part of a log that is also in the remote log. -2 is \
         `retention.bytes`.",
    )
    .without_effect(NO_REMOTE_LOG),
    topic(
        "local.retention.ms",
        long_from(-2).of(Unit::Millis),
        Some("-2"),
        "Age of the local part of a log that is also in the remote log. -2 is `retention.ms`.",
    )
    .without_effect(NO_REMOTE_LOG),
    topic(
        "max.compaction.lag.ms",
        long_from(1).of(Unit::Millis),
        Some("9223372036854775807"),
        "Longest time that a record of a compacted topic stays uncompacted; the active segment is \
         rolled for it.",
    )
    .inherits(&["log.cleaner.max.compaction.lag.ms"]),
    topic(
        "max.message.bytes",
        int_from(0).of(Unit::Bytes),
        Some("1048588"),
        "Largest batch, as it lies in the log.",
    )
    .inherits(&["message.max.bytes"]),
    topic(
        "message.timestamp.after.max.ms",
        long_from(0).of(Unit::Millis),
        Some("3600000"),
        "How far a producer's time may lie after the broker's.",
    )
    .inherits(&["log.message.timestamp.after.max.ms"]),
    topic(
        "message.timestamp.before.max.ms",
        long_from(0).of(Unit::Millis),
        Some("9223372036854775807"),
        "How far a producer's time may lie before the broker's.",
    )
    .inherits(&["log.message.timestamp.before.max.ms"]),
    topic(
        "message.timestamp.type",
        TIMESTAMP_TYPE,
        Some("CreateTime"),
        "Whose time a record carries: its producer's, or the broker's when it was appended.",
    )
    .inherits(&["log.message.timestamp.type"]),
    topic(
        "min.cleanable.dirty.ratio",
        Kind::Double { min: 0.0, max: 1.0 },
        Some("0.5"),
        "Uncompacted part of a log at which it is compacted.",
    )
    .inherits(&["log.cleaner.min.cleanable.ratio"]),
    topic(
        "min.compaction.lag.ms",
        long_from(0).of(Unit::Millis),
        Some("0"),
        "Shortest time that a record of a compacted topic stays uncompacted.",
    )
    .inherits(&["log.cleaner.min.compaction.lag.ms"]),
    topic(
        "min.insync.replicas",
        int_from(1),
        Some("1"),
        "Replicas that must have a batch written with acks=all. There is one replica: with more \
         than 1, such writes are refused.",
    )
    .inherits(&["min.insync.replicas"]),
    topic(
        "preallocate",
        Kind::Boolean,
        Some("false"),
        "Whether a new segment file gets its full size at once.",
    )
    .inherits(&["log.preallocate"])
    .without_effect("files grow as they are written"),
    topic(
        "remote.log.copy.disable",
        Kind::Boolean,
        Some("false"),
        "Stops copying to the remote log.",
    )
    .without_effect(NO_REMOTE_LOG),
    topic(
        "remote.log.delete.on.disable",
        Kind::Boolean,
        Some("false"),
        "Deletes what is in the remote log when that is switched off.",
    )
    .without_effect(NO_REMOTE_LOG),
    topic(
        "remote.storage.enable",
        Kind::Boolean,
        Some("false"),
        "Copies closed segments to the remote log. Refused until there is one.",
    ),
    topic(
        "retention.bytes",
        ANY_BYTES,
        Some("-1"),
        "Size of a partition's log above which closed segments are deleted. -1: no limit.",
    )
    .inherits(&["log.retention.bytes"]),
    topic(
        "retention.ms",
        long_from(-1).of(Unit::Millis),
        Some("604800000"),
        "Age at which closed segments are deleted. -1 keeps them.",
    )
    .on_fluss("table.log.ttl")
    .inherits(&[
        "log.retention.ms",
        "log.retention.minutes",
        "log.retention.hours",
    ]),
    topic(
        "segment.bytes",
        int_from(SEGMENT_BYTES_MIN).of(Unit::Bytes),
        Some("1073741824"),
        "Size at which the log begins a new segment file.",
    )
    .inherits(&["log.segment.bytes"]),
    topic(
        "segment.index.bytes",
        int_from(4).of(Unit::Bytes),
        Some("10485760"),
        "Largest index file; the log begins a new segment when it is full.",
    )
    .inherits(&["log.index.size.max.bytes"]),
    topic(
        "segment.jitter.ms",
        long_from(0).of(Unit::Millis),
        Some("0"),
        "Largest random time by which a segment is closed earlier.",
    )
    .inherits(&["log.roll.jitter.ms", "log.roll.jitter.hours"]),
    topic(
        "segment.ms",
        long_from(1).of(Unit::Millis),
        Some("604800000"),
        "Age at which the log begins a new segment file, though the old one is not full.",
    )
    .inherits(&["log.roll.ms", "log.roll.hours"]),
    topic(
        "unclean.leader.election.enable",
        Kind::Boolean,
        Some("false"),
        "Whether a replica that lags behind may become leader.",
    )
    .inherits(&["unclean.leader.election.enable"])
    .without_effect(ONE_REPLICA),
    topic(
        "vltava.columnar",
        COLUMNAR,
        Some("lazy"),
        "Columnar copies of what Kafka producers wrote, for Fluss readers: `off`, `lazy` on the \
         first read, `eager` when a segment is closed.",
    )
    .inherits(&["vltava.columnar"]),
    topic(
        "vltava.kafka.partial.update",
        Kind::Boolean,
        Some("false"),
        "For primary-key tables that Fluss clients made: whether a Kafka record writes only the \
         columns that its value has. Else it writes the whole row, and columns that it lacks \
         become null.",
    ),
    topic(
        "vltava.key.partitioner",
        Kind::Choice(&["probe", "murmur2", "crc32", "fnv1a"]),
        Some("probe"),
        "How the producers of a compacted topic choose partitions, which is where a Fluss lookup \
         finds the value of a key: `murmur2` as Java clients, `crc32` as librdkafka, `fnv1a` as \
         sarama. With `probe` any may have it, and the newest record of all partitions counts; \
         Fluss clients cannot write then.",
    ),
];
