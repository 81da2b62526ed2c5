//! Process, listeners, connections.

use crate::config::key::{Key, Kind, Section, Unit, fluss, int, int_from, kafka, long_from, ours};

pub(super) static KEYS: &[Key] = &[
    ours(
        "data.dir",
        Kind::Text,
        Some("vltava-data"),
        "Directory of logs, indexes and catalog. One process at a time owns it.",
    )
    .on_kafka("log.dirs")
    .on_fluss("data.dir")
    .also(&["log.dir"])
    .within(Section::Process),
    kafka(
        "node.id",
        int_from(0),
        Some("0"),
        "Id of this server, as broker of Kafka and as tablet server of Fluss.",
    )
    .on_fluss("tablet-server.id")
    .also(&["broker.id"])
    .within(Section::Process),
    kafka(
        "broker.rack",
        Kind::Text,
        None,
        "Rack of this server. Clients may use it to choose a near replica.",
    )
    .on_fluss("tablet-server.rack")
    .within(Section::Process),
    ours(
        "vltava.worker.threads",
        int(0, 1024),
        Some("0"),
        "Threads that serve connections. 0 takes one for each processor.",
    )
    .within(Section::Process),
    ours(
        "vltava.disk.threads",
        int(1, 4096),
        Some("32"),
        "Largest number of threads that wait for the disk or work on compressed data.",
    )
    .within(Section::Process),
    ours(
        "vltava.open.files.max",
        int_from(16),
        Some("4096"),
        "Segment files that are held open at one time. Others are opened again when they are read.",
    )
    .within(Section::Process),
    ours(
        "vltava.shutdown.timeout.ms",
        long_from(0).of(Unit::Millis),
        Some("30000"),
        "How long a stopping broker waits for open requests before it drops their connections.",
    )
    .within(Section::Process),
    ours(
        "vltava.log.level",
        Kind::Text,
        Some("info"),
        "What is written to the broker's own log: error, warn, info, debug or trace, or a filter \
         such as `info,vltava::net=debug`.",
    )
    .within(Section::Process),
    ours(
        "vltava.log.format",
        Kind::Choice(&["text", "json"]),
        Some("text"),
        "Form of the broker's own log on standard error: lines for people, or one JSON object a \
         line.",
    )
    .within(Section::Process),
    kafka(
        "listeners",
        Kind::List(&[]),
        Some("PLAINTEXT://127.0.0.1:9092"),
        "Where Kafka clients connect, as `NAME://host:port`. Several listeners need several names. \
         Port 0 picks a free one; host 0.0.0.0 is every address of the machine.",
    )
    .within(Section::Listeners),
    fluss(
        "bind.listeners",
        Kind::List(&[]),
        Some("FLUSS://127.0.0.1:9123"),
        "Where Fluss clients connect, as `NAME://host:port`. Several listeners need several names.",
    )
    .within(Section::Listeners),
    kafka(
        "advertised.listeners",
        Kind::List(&[]),
        None,
        "What clients are told to connect to, as `NAME://host:port` with the names of `listeners` \
         and `bind.listeners`. A listener that is not named here is advertised as it listens; when \
         it listens on every address, as the address that the client has reached.",
    )
    .on_fluss("advertised.listeners")
    .within(Section::Listeners),
    ours(
        "vltava.http.listen",
        Kind::Text,
        Some("127.0.0.1:9180"),
        "Where `/metrics`, `/healthz` and `/readyz` are served, as `host:port`.",
    )
    .within(Section::Listeners),
    fluss(
        "security.protocol.map",
        Kind::List(&[]),
        Some(""),
        "Who must log in: `NAME:PLAINTEXT` or `NAME:SASL` for the names of `bind.listeners`. A \
         listener that is not named is PLAINTEXT.",
    )
    .within(Section::Listeners),
    fluss(
        "security.sasl.enabled.mechanisms",
        Kind::List(&["PLAIN"]),
        Some("PLAIN"),
        "Ways to log in at a SASL listener.",
    )
    .within(Section::Listeners),
    fluss(
        "security.sasl.plain.credentials",
        Kind::Text,
        Some(""),
        "Users of SASL/PLAIN, as `user:password` between commas. A password holds no comma.",
    )
    .secret()
    .within(Section::Listeners),
    kafka(
        "socket.request.max.bytes",
        int_from(1).of(Unit::Bytes),
        Some("104857600"),
        "Largest request. A connection that announces a larger one is closed.",
    )
    .on_fluss("netty.server.max-request-size")
    .within(Section::Connections),
    kafka(
        "queued.max.request.bytes",
        long_from(1).of(Unit::Bytes),
        Some("268435456"),
        "Bytes of requests that may be in the process at one time. Beyond it, connections are not \
         read. (Kafka's own default is no limit.)",
    )
    .on_fluss("server.buffer.memory-size")
    .within(Section::Connections),
    ours(
        "vltava.unpacking.memory.bytes",
        long_from(16 << 20).of(Unit::Bytes),
        Some("268435456"),
        "Bytes that produced batches, of both wires, may be decompressed to at one time while they \
         are checked. Further ones wait.",
    )
    .within(Section::Connections),
    ours(
        "vltava.connection.requests.max",
        int(1, 10_000),
        Some("64"),
        "Started and unanswered requests of one connection. Further ones stay in the socket.",
    )
    .within(Section::Connections),
    kafka(
        "connections.max.idle.ms",
        long_from(1).of(Unit::Millis).or(-1),
        Some("600000"),
        "A connection without a request for so long is closed. -1 keeps it.",
    )
    .on_fluss("netty.connection.max-idle-time")
    .within(Section::Connections),
    ours(
        "vltava.connection.frame.timeout.ms",
        long_from(1).of(Unit::Millis),
        Some("30000"),
        "A request that has begun to arrive must be complete after this time, plus one second for \
         every 16 KiB of it.",
    )
    .within(Section::Connections),
    ours(
        "vltava.connection.write.timeout.ms",
        long_from(1).of(Unit::Millis),
        Some("60000"),
        "A client that takes none of its answer for so long, or is behind 16 KiB a second by so \
         long, is disconnected; after 5 s when other fetches wait for the memory of its answers.",
    )
    .within(Section::Connections),
    kafka(
        "max.connections",
        int_from(0),
        Some("10000"),
        "Open connections of both wires together. Further ones are closed at once. (Kafka's own \
         default is no limit.)",
    )
    .dynamic()
    .within(Section::Connections),
    kafka(
        "max.connections.per.ip",
        int_from(0),
        Some("2147483647"),
        "Open connections from one address. Further ones are closed at once.",
    )
    .dynamic()
    .within(Section::Connections),
    kafka(
        "max.connections.per.ip.overrides",
        Kind::List(&[]),
        Some(""),
        "Exceptions from `max.connections.per.ip`, as `address:count` between commas.",
    )
    .dynamic()
    .within(Section::Connections),
    kafka(
        "socket.listen.backlog.size",
        int_from(1),
        Some("1024"),
        "Connections that wait in the kernel until they are accepted.",
    )
    .within(Section::Connections),
    kafka(
        "socket.send.buffer.bytes",
        int_from(1024).of(Unit::Bytes).or(-1),
        Some("-1"),
        "Size of a socket's send buffer. -1 leaves it to the kernel's own tuning.",
    )
    .within(Section::Connections),
    kafka(
        "socket.receive.buffer.bytes",
        int_from(1024).of(Unit::Bytes).or(-1),
        Some("-1"),
        "Size of a socket's receive buffer. -1 leaves it to the kernel's own tuning.",
    )
    .within(Section::Connections),
];
