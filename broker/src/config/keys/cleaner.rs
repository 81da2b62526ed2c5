//! The cleaner of compacted logs.

use crate::config::key::{Key, Kind, Section, Unit, int_from, kafka, long_from};

const ONE_BUFFER: &str = "batches are read into memory of a fixed size";

pub(super) static KEYS: &[Key] = &[
    kafka(
        "log.cleaner.enable",
        Kind::Boolean,
        Some("true"),
        "Whether compacted logs are cleaned. If not, they grow for ever.",
    )
    .within(Section::Cleaner),
    kafka(
        "log.cleaner.threads",
        int_from(1),
        Some("1"),
        "Logs that are cleaned at the same time.",
    )
    .within(Section::Cleaner),
    kafka(
        "log.cleaner.backoff.ms",
        long_from(0).of(Unit::Millis),
        Some("15000"),
        "How long the cleaner sleeps when no log needs it.",
    )
    .within(Section::Cleaner),
    kafka(
        "log.cleaner.io.max.bytes.per.second",
        Kind::Double {
            min: 0.0,
            max: f64::MAX,
        },
        Some("1.7976931348623157E308"),
        "Bytes that all cleaner threads together read and write in a second, on average. 0: no limit.",
    )
    .dynamic()
    .within(Section::Cleaner),
    kafka(
        "log.cleaner.dedupe.buffer.size",
        long_from(1 << 10).of(Unit::Bytes),
        Some("33554432"),
        "Memory of one cleaner thread for the newest offsets of keys: \
         24 bytes a key, of which three quarters are used. A log with more dirty keys takes \
         several rounds. (Kafka: of all threads together, 128 MiB by default.)",
    )
    .dynamic()
    .within(Section::Cleaner),
    kafka(
        "log.cleaner.io.buffer.size",
        int_from(0).of(Unit::Bytes),
        Some("524288"),
        "Memory for reading and writing.",
    )
    .within(Section::Cleaner)
    .without_effect(ONE_BUFFER),
    kafka(
        "log.cleaner.io.buffer.load.factor",
        Kind::Double {
            min: 0.0,
            max: f64::MAX,
        },
        Some("0.9"),
        "Part of the buffer for keys that is used.",
    )
    .within(Section::Cleaner)
    .without_effect("the part is fixed, so that searches stay short"),
    kafka(
        "log.cleaner.min.cleanable.ratio",
        Kind::Double { min: 0.0, max: 1.0 },
        Some("0.5"),
        "Dirty part of a log at which it is cleaned, for topics that do not say.",
    )
    .dynamic()
    .within(Section::Cleaner),
    kafka(
        "log.cleaner.min.compaction.lag.ms",
        long_from(0).of(Unit::Millis),
        Some("0"),
        "Shortest time that a record stays uncompacted, for topics that do not say.",
    )
    .dynamic()
    .within(Section::Cleaner),
    kafka(
        "log.cleaner.max.compaction.lag.ms",
        long_from(1).of(Unit::Millis),
        Some("9223372036854775807"),
        "Longest time that a record stays uncompacted, for topics that do not say.",
    )
    .dynamic()
    .within(Section::Cleaner),
    kafka(
        "log.cleaner.delete.retention.ms",
        long_from(0).of(Unit::Millis),
        Some("86400000"),
        "How long tombstones stay, for topics that do not say.",
    )
    .dynamic()
    .within(Section::Cleaner),
];
