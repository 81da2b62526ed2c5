//! The servers of a run: each kind is started when the first suite wants it and shared by those that follow.

use crate::suites::{Suite, Wires};
use harness::peers::{FlussOptions, FlussPeer, KafkaOptions, KafkaPeer};
use harness::vltava::{Running, Vltava};
use harness::{Addresses, Target, cache, ports};
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The broker's settings in all suites: the users that the Fluss clients' own suites expect, no delay
/// before a first rebalance, because the suites have many groups, and snapshots that are made soon.
const VLTAVA_SETTINGS: &[&str] = &[
    "security.protocol.map=CLIENT:sasl",
    "security.sasl.plain.credentials=admin:admin-secret,alice:alice-secret",
    "group.initial.rebalance.delay.ms=0",
    "kv.snapshot.interval=500",
];
/// What the suite inside fluss-rs wants of its server.
const TINY_SEGMENTS: &[(&str, &str)] = &[
    ("log.segment.file-size", "120b"),
    ("remote.log.task-interval-duration", "1s"),
];

/// A running server of any kind.
pub enum Server {
    Vltava(Running),
    Kafka(KafkaPeer),
    Fluss(FlussPeer),
    Given(Addresses),
}

impl Server {
    pub fn addresses(&self) -> Addresses {
        match self {
            Server::Vltava(running) => running.addresses.clone(),
            Server::Kafka(peer) => peer.addresses(),
            Server::Fluss(peer) => peer.addresses(),
            Server::Given(addresses) => addresses.clone(),
        }
    }

    /// False when a process of it has ended. Of a server that was given nothing is known.
    pub fn runs(&mut self) -> bool {
        match self {
            Server::Vltava(running) => running.process.ended().is_none(),
            Server::Kafka(peer) => peer.process.ended().is_none(),
            Server::Fluss(peer) => peer.runs(),
            Server::Given(_) => true,
        }
    }
}

/// Servers by kind, with their data in a directory that goes when the run ends.
pub struct Servers {
    target: Target,
    data: tempfile::TempDir,
    shared: Vec<(Wires, Server)>,
    started: usize,
}

impl Servers {
    pub fn new(target: Target) -> Result<Self, Box<dyn Error>> {
        let data = tempfile::Builder::new()
            .prefix("vltava-compat-")
            .tempdir()?;
        Ok(Self {
            target,
            data,
            shared: Vec::new(),
            started: 0,
        })
    }

    /// A server for one suite alone, or the shared one.
    pub fn take(&mut self, suite: &Suite) -> Result<Lent, Box<dyn Error>> {
        if suite.own_server {
            return Ok(Lent {
                server: self.start(suite.wires, true)?,
                shared_as: None,
            });
        }
        let kind = self.kind(suite.wires);
        let server = match self.shared.iter().position(|(other, _)| *other == kind) {
            Some(index) => self.shared.swap_remove(index).1,
            None => self.start(kind, false)?,
        };
        Ok(Lent {
            server,
            shared_as: Some(kind),
        })
    }

    /// Takes the shared server back. One that has ended is forgotten: the next suite gets a new one.
    pub fn give_back(&mut self, lent: Lent) {
        let Lent {
            mut server,
            shared_as,
        } = lent;
        if let (Some(kind), true) = (shared_as, server.runs()) {
            self.shared.push((kind, server));
        }
    }

    /// The broker speaks both wires: one server does for all suites.
    fn kind(&self, wires: Wires) -> Wires {
        if self.target == Target::Peers {
            wires
        } else {
            Wires::Both
        }
    }

    fn start(&mut self, kind: Wires, tiny_segments: bool) -> Result<Server, Box<dyn Error>> {
        self.started += 1;
        let data = self.data.path().join(format!("server-{}", self.started));
        fs::create_dir_all(&data)?;
        match (self.target, kind) {
            (Target::Given, _) => Ok(Server::Given(Addresses::from_env())),
            (Target::Vltava, _) => start_vltava(data, tiny_segments).map(Server::Vltava),
            (Target::Peers, Wires::Kafka) => Ok(Server::Kafka(KafkaPeer::start(
                &data,
                &KafkaOptions::default(),
            )?)),
            (Target::Peers, Wires::Fluss) => Ok(Server::Fluss(start_fluss(&data, tiny_segments)?)),
            (Target::Peers, Wires::Both) => Err("no peer speaks both wires".into()),
        }
    }
}

/// A server in a suite's hands.
pub struct Lent {
    pub server: Server,
    shared_as: Option<Wires>,
}

fn start_fluss(data: &std::path::Path, tiny_segments: bool) -> Result<FlussPeer, Box<dyn Error>> {
    let mut options = FlussOptions::default();
    let soon = "kv.snapshot.interval: 500ms".to_owned();
    options.configuration.push(soon);
    if tiny_segments {
        options.configuration.extend(
            TINY_SEGMENTS
                .iter()
                .map(|(key, value)| format!("{key}: {value}")),
        );
    }
    Ok(FlussPeer::start(data, &options)?)
}

/// Builds the broker when `VLTAVA_BIN` does not name one, and starts it.
pub fn start_vltava(data: PathBuf, tiny_segments: bool) -> Result<Running, Box<dyn Error>> {
    let mut settings: Vec<_> = VLTAVA_SETTINGS
        .iter()
        .map(|&text| text.to_owned())
        .collect();
    // The ready line names the first listener of a wire only, so the port of the second is chosen here.
    let sasl = format!("127.0.0.1:{}", ports::free(1)?[0]);
    settings.push(format!(
        "bind.listeners=PLAIN://127.0.0.1:0,CLIENT://{sasl}"
    ));
    // Clients are told of snapshots in a directory that was named.
    let remote = data.join("remote");
    settings.push(format!("remote.data.dir=file://{}", remote.display()));
    if tiny_segments {
        settings.extend(
            TINY_SEGMENTS
                .iter()
                .map(|(key, value)| format!("{key}={value}")),
        );
    }
    // The log outlives the data directory, because it is read after the run.
    let log = cache::directory("results")?.join(format!("vltava-{}.log", std::process::id()));
    let vltava = Vltava {
        program: vltava_program()?,
        data,
        settings,
        log,
    };
    let mut running = vltava.start()?;
    running.addresses.fluss_sasl = Some(sasl);
    Ok(running)
}

/// The broker's binary: what `VLTAVA_BIN` names, else built now.
pub fn vltava_program() -> Result<PathBuf, Box<dyn Error>> {
    if let Some(program) = std::env::var_os("VLTAVA_BIN").filter(|program| !program.is_empty()) {
        return Ok(PathBuf::from(program));
    }
    let answer = Command::new("cargo")
        .args([
            "build",
            "--bin",
            "vltava",
            "--message-format",
            "json-render-diagnostics",
            "--manifest-path",
        ])
        .arg(cache::sources()?.join("../Cargo.toml"))
        // This workspace's builds have a directory of their own: the broker's stay where `make` puts them.
        .env_remove("CARGO_TARGET_DIR")
        .envs(
            std::env::var_os("VLTAVA_TARGET_DIR").map(|directory| ("CARGO_TARGET_DIR", directory)),
        )
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    let output = String::from_utf8_lossy(&answer.stdout);
    let program = output
        .lines()
        .rev()
        .find_map(|line| line.split("\"executable\":\"").nth(1)?.split('"').next());
    match program {
        Some(program) if answer.status.success() => Ok(PathBuf::from(program)),
        _ => Err("cargo build of vltava failed".into()),
    }
}
