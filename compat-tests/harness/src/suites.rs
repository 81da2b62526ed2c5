//! The table of suites. One entry is all that a new suite needs here.

use crate::results::Format;
use crate::toolchains::Toolchain;
use harness::Target;
use std::time::Duration;

/// Which wires a suite speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wires {
    Kafka,
    Fluss,
    /// One server must speak both: only the broker itself does.
    Both,
}

/// What starts the suite's own test runner.
#[derive(Clone, Copy, Debug)]
pub enum Runner {
    /// `cargo test` of this package.
    Cargo(&'static str),
    /// Surefire in this Maven module, for test classes of this pattern.
    Maven {
        module: &'static str,
        classes: &'static str,
    },
    /// pytest on this file of `python/`.
    Pytest(&'static str),
    /// `go test` on this package of `go/`.
    Go(&'static str),
    /// node's test runner on this file of `node/`.
    Node(&'static str),
}

/// One suite.
#[derive(Debug)]
pub struct Suite {
    pub name: &'static str,
    pub about: &'static str,
    pub wires: Wires,
    pub runner: Runner,
    /// Toolchains that it needs besides its runner's.
    pub also: &'static [Toolchain],
    /// It wants a server of its own with fresh data and tiny segments.
    pub own_server: bool,
    /// It starts and kills brokers itself: `COMPAT_VLTAVA` is the binary.
    pub kills: bool,
    /// Fewer tests than this mean that the suite did not really run.
    pub tests_min: usize,
    pub limit: Duration,
}

impl Suite {
    pub fn runs_against(&self, target: Target) -> bool {
        match target {
            Target::Vltava => true,
            Target::Given => !self.kills,
            Target::Peers => self.wires != Wires::Both,
        }
    }

    pub fn format(&self) -> Format {
        match self.runner {
            Runner::Cargo(_) => Format::Cargo,
            Runner::Go(_) => Format::Go,
            Runner::Maven { .. } | Runner::Pytest(_) | Runner::Node(_) => Format::JUnit,
        }
    }

    /// Everything that must be in place before it runs.
    pub fn toolchains(&self) -> impl Iterator<Item = Toolchain> {
        let first = match self.runner {
            Runner::Cargo(package) => Toolchain::Cargo(package),
            Runner::Maven { module, .. } => Toolchain::Maven(module),
            Runner::Pytest(_) => Toolchain::Python,
            Runner::Go(_) => Toolchain::Go,
            Runner::Node(_) => Toolchain::Node,
        };
        std::iter::once(first).chain(self.also.iter().copied())
    }
}

const fn suite(
    name: &'static str,
    about: &'static str,
    wires: Wires,
    runner: Runner,
    tests_min: usize,
) -> Suite {
    Suite {
        name,
        about,
        wires,
        runner,
        also: &[],
        own_server: false,
        kills: false,
        tests_min,
        limit: Duration::from_secs(300),
    }
}

const fn maven(module: &'static str, classes: &'static str) -> Runner {
    Runner::Maven { module, classes }
}

/// All suites, in the order in which they run: quick ones first.
pub const ALL: &[Suite] = &[
    suite(
        "kafka-rust",
        "rdkafka (librdkafka)",
        Wires::Kafka,
        Runner::Cargo("vltava-compat-kafka-rust"),
        15,
    ),
    suite(
        "kafka-go",
        "franz-go and sarama",
        Wires::Kafka,
        Runner::Go("./kafka"),
        15,
    ),
    suite(
        "kafka-node",
        "kafkajs",
        Wires::Kafka,
        Runner::Node("kafka.test.cjs"),
        10,
    ),
    suite(
        "kafka-python",
        "aiokafka and kafka-python",
        Wires::Kafka,
        Runner::Pytest("test_kafka.py"),
        15,
    ),
    suite(
        "kafka-java",
        "kafka-clients 4.3.1",
        Wires::Kafka,
        maven("kafka", "*Test"),
        49,
    ),
    suite(
        "kafka-tools",
        "the command-line tools of Kafka 4.3.1",
        Wires::Kafka,
        maven("kafka", "*Tools"),
        14,
    ),
    Suite {
        also: &[Toolchain::Python, Toolchain::Go],
        ..suite(
            "groups",
            "one group of members of different libraries, one killed, one frozen",
            Wires::Kafka,
            Runner::Cargo("vltava-compat-groups"),
            4,
        )
    },
    suite(
        "fluss-rust",
        "fluss-rs 1.0.0",
        Wires::Fluss,
        Runner::Cargo("vltava-compat-fluss-rust"),
        29,
    ),
    suite(
        "fluss-python",
        "pyfluss 1.0.0",
        Wires::Fluss,
        Runner::Pytest("test_fluss.py"),
        12,
    ),
    suite(
        "fluss-python-pk",
        "pyfluss 1.0.0 and primary-key tables",
        Wires::Fluss,
        Runner::Pytest("test_fluss_pk.py"),
        17,
    ),
    suite(
        "fluss-java-1.0",
        "fluss-client 1.0.0",
        Wires::Fluss,
        maven("fluss-1.0", "*Test"),
        77,
    ),
    suite(
        "fluss-java-0.9",
        "fluss-client 0.9.1",
        Wires::Fluss,
        maven("fluss-0.9", "*Test"),
        77,
    ),
    Suite {
        limit: Duration::from_secs(600),
        ..suite(
            "flink",
            "Flink 2.2 SQL with the Fluss connector 0.9.1",
            Wires::Fluss,
            maven("flink", "*Test"),
            15,
        )
    },
    Suite {
        own_server: true,
        limit: Duration::from_secs(900),
        ..suite(
            "fluss-rs-own",
            "the integration suite inside the published fluss-rs",
            Wires::Fluss,
            Runner::Cargo("vltava-compat-fluss-rs-own"),
            81,
        )
    },
    suite(
        "cross-wire",
        "kafka-python and pyfluss on the same log",
        Wires::Both,
        Runner::Pytest("test_cross.py"),
        8,
    ),
    Suite {
        also: &[Toolchain::Python, Toolchain::Go, Toolchain::Node],
        ..suite(
            "upserts",
            "producers of six Kafka libraries that write to a primary-key table",
            Wires::Both,
            Runner::Cargo("vltava-compat-upserts"),
            6,
        )
    },
    Suite {
        also: &[
            Toolchain::Python,
            Toolchain::Go,
            Toolchain::Node,
            Toolchain::Maven("producer"),
            Toolchain::Maven("programs-1.0"),
            Toolchain::Maven("programs-0.9"),
        ],
        ..suite(
            "partitioners",
            "producers of seven Kafka libraries fill a compacted topic, four Fluss clients look up",
            Wires::Both,
            Runner::Cargo("vltava-compat-partitioners"),
            3,
        )
    },
    suite(
        "upserts-java",
        "kafka-clients 4.3.1 writes to a primary-key table, fluss-client 1.0.0 looks up",
        Wires::Both,
        maven("upserts", "*Test"),
        2,
    ),
    Suite {
        kills: true,
        ..suite(
            "restarts",
            "rdkafka and fluss-rs, while the broker is killed and started again",
            Wires::Both,
            Runner::Cargo("vltava-compat-restarts"),
            2,
        )
    },
    Suite {
        also: &[
            Toolchain::Python,
            Toolchain::Go,
            Toolchain::Node,
            Toolchain::Maven("producer"),
            Toolchain::Maven("programs-1.0"),
        ],
        kills: true,
        // `make soak` has it run for long.
        limit: Duration::from_secs(1800),
        ..suite(
            "retries",
            "producers of seven Kafka libraries, through kills and lost answers",
            Wires::Both,
            Runner::Cargo("vltava-compat-retries"),
            9,
        )
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique() {
        let names: HashSet<_> = ALL.iter().map(|suite| suite.name).collect();
        assert_eq!(names.len(), ALL.len());
    }
}
