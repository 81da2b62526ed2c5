//! Topics, reading, producers, groups, transcoder.

use crate::config::key::{Key, Kind, Section, Unit, fluss, int, int_from, kafka, long_from, ours};

/// The forms of `vltava.columnar`, of broker and topic.
pub(super) const COLUMNAR: Kind = Kind::Choice(&["off", "lazy", "eager"]);

pub(super) static KEYS: &[Key] = &[
    kafka(
        "num.partitions",
        int_from(1),
        Some("1"),
        "Partitions of a topic that is created without saying how many.",
    )
    .within(Section::Topics),
    fluss(
        "default.bucket.number",
        int_from(1),
        Some("1"),
        "Buckets of a table that is created without saying how many.",
    )
    .within(Section::Topics),
    kafka(
        "default.replication.factor",
        int(1, 1),
        Some("1"),
        "Replicas of a new topic or table. There is one.",
    )
    .on_fluss("default.replication.factor")
    .within(Section::Topics),
    kafka(
        "auto.create.topics.enable",
        Kind::Boolean,
        Some("true"),
        "Whether a topic is created when a Kafka client asks for the metadata of a name that does \
         not exist, and allows it.",
    )
    .within(Section::Topics),
    kafka(
        "delete.topic.enable",
        Kind::Boolean,
        Some("true"),
        "Whether Kafka clients may delete topics.",
    )
    .within(Section::Topics),
    ours(
        "vltava.kafka.database",
        Kind::Text,
        Some("kafka"),
        "The Fluss database of topics that are made on the Kafka wire.",
    )
    .within(Section::Topics),
    ours(
        "vltava.partitions.per.topic.max",
        int_from(1),
        Some("10000"),
        "Most partitions of one topic. A request for more is refused before anything is made.",
    )
    .within(Section::Topics),
    fluss(
        "allow.create.log.tables",
        Kind::Boolean,
        Some("true"),
        "Whether Fluss clients may create log tables.",
    )
    .within(Section::Topics),
    fluss(
        "allow.create.kv.tables",
        Kind::Boolean,
        Some("true"),
        "Whether Fluss clients may create primary-key tables.",
    )
    .within(Section::Topics),
    fluss(
        "max.bucket.num",
        int_from(1),
        Some("4096"),
        "Most buckets of one table, or of one partition of it.",
    )
    .within(Section::Topics),
    fluss(
        "max.partition.num",
        int_from(1),
        Some("1000"),
        "Most partitions of one partitioned table.",
    )
    .within(Section::Topics),
    fluss(
        "auto-partition.check.interval",
        long_from(1).of(Unit::Millis),
        Some("600000"),
        "How often partitions are created ahead and expired ones dropped.",
    )
    .within(Section::Topics),
    kafka(
        "fetch.max.bytes",
        int_from(1024).of(Unit::Bytes),
        Some("57671680"),
        "Most bytes of one answer to a fetch, of either wire. The first batch is sent whole even \
         when it is larger.",
    )
    .within(Section::Fetch),
    ours(
        "vltava.fetch.memory.bytes",
        long_from(16 << 20).of(Unit::Bytes),
        Some("268435456"),
        "Bytes of records that answers, of both wires, may hold at one time. Those of one connection \
         get at most an eighth; beyond it, fetches wait as they do for data. The first batch of a \
         fetch is sent whole even when it is larger. Answers to lookups and limit scans cannot be \
         cut: those that do not find what they need in that eighth at once are made one after the \
         other, and have up to half of all; larger ones are refused with RecordTooLarge.",
    )
    .within(Section::Fetch),
    kafka(
        "max.incremental.fetch.session.cache.slots",
        int_from(0),
        Some("1000"),
        "Fetch sessions that are remembered. A client without one sends its partitions each time.",
    )
    .within(Section::Fetch),
    kafka(
        "max.request.partition.size.limit",
        int_from(1),
        Some("2000"),
        "Most partitions in one answer to DescribeTopicPartitions; clients page through more.",
    )
    .within(Section::Fetch),
    ours(
        "vltava.fetch.wait.max.ms",
        long_from(0).of(Unit::Millis),
        Some("300000"),
        "Longest wait of a fetch for data, whatever the client asks for.",
    )
    .within(Section::Fetch),
    kafka(
        "producer.id.expiration.ms",
        int_from(1).of(Unit::Millis),
        Some("86400000"),
        "How long a partition remembers an idempotent Kafka producer that writes nothing.",
    )
    .dynamic()
    .within(Section::Producers),
    fluss(
        "server.writer-id.expiration-time",
        long_from(1).of(Unit::Millis),
        Some("604800000"),
        "How long a bucket remembers a Fluss writer that writes nothing.",
    )
    .within(Section::Producers),
    fluss(
        "server.writer-id.expiration-check-interval",
        long_from(1).of(Unit::Millis),
        Some("600000"),
        "How often forgotten producers and writers are looked for.",
    )
    .also(&["producer.id.expiration.check.interval.ms"])
    .within(Section::Producers),
    ours(
        "vltava.producers.per.partition.max",
        int_from(1),
        Some("100000"),
        "Producers and writers that one partition remembers; beyond it the one that was silent \
         longest is forgotten.",
    )
    .within(Section::Producers),
    kafka(
        "group.min.session.timeout.ms",
        int_from(1).of(Unit::Millis),
        Some("6000"),
        "Shortest session timeout that a member may ask for.",
    )
    .within(Section::Groups),
    kafka(
        "group.max.session.timeout.ms",
        int_from(1).of(Unit::Millis),
        Some("1800000"),
        "Longest session timeout that a member may ask for.",
    )
    .within(Section::Groups),
    kafka(
        "group.initial.rebalance.delay.ms",
        int_from(0).of(Unit::Millis),
        Some("3000"),
        "How long a new group waits for further members before its first assignment.",
    )
    .within(Section::Groups),
    kafka(
        "group.max.size",
        int_from(1),
        Some("10000"),
        "Most members of one group. (Kafka's own default is no limit.)",
    )
    .within(Section::Groups),
    kafka(
        "offsets.retention.minutes",
        int_from(1).of(Unit::Minutes),
        Some("10080"),
        "How long committed offsets are kept after their group became empty.",
    )
    .within(Section::Groups),
    kafka(
        "offsets.retention.check.interval.ms",
        long_from(1).of(Unit::Millis),
        Some("600000"),
        "How often expired offsets are looked for.",
    )
    .within(Section::Groups),
    kafka(
        "offsets.topic.num.partitions",
        int(1, 1000),
        Some("50"),
        "Partitions of the log of groups. Fixed at the first start of a data directory.",
    )
    .within(Section::Groups),
    kafka(
        "offsets.topic.segment.bytes",
        int_from(1).of(Unit::Bytes),
        Some("104857600"),
        "Segment size of the log of groups.",
    )
    .within(Section::Groups),
    kafka(
        "offset.metadata.max.bytes",
        int_from(0).of(Unit::Bytes),
        Some("4096"),
        "Longest note that a consumer may store with an offset.",
    )
    .within(Section::Groups),
    kafka(
        "offsets.commit.timeout.ms",
        int_from(1).of(Unit::Millis),
        Some("5000"),
        "How long a commit waits to become durable before the client is told to try again.",
    )
    .within(Section::Groups),
    fluss(
        "remote.log.task-interval-duration",
        long_from(0).of(Unit::Millis),
        Some("60000"),
        "How often closed segments are copied to the remote log.",
    )
    .without_effect("there is no remote log yet")
    .within(Section::Log),
    ours(
        "vltava.columnar",
        COLUMNAR,
        Some("lazy"),
        "Columnar copies of what Kafka producers wrote, for Fluss readers: `off` makes none, \
         `lazy` on the first read, `eager` when a segment is closed. Writes never wait for it.",
    )
    .within(Section::Transcoder),
    ours(
        "vltava.transcoder.cache.bytes",
        long_from(0).of(Unit::Bytes),
        Some("67108864"),
        "Memory for batches that were transcoded for readers at the end of a log.",
    )
    .within(Section::Transcoder),
    ours(
        "vltava.transcoder.columnar.bytes",
        long_from(0).of(Unit::Bytes),
        Some("10737418240"),
        "Disk for columnar copies of all topics. When it is full, copies that nobody read for ten \
         minutes go for others.",
    )
    .within(Section::Transcoder),
    ours(
        "vltava.transcoder.threads",
        int(1, 256),
        Some("2"),
        "Batches that are transcoded at the same time.",
    )
    .within(Section::Transcoder),
];
