//! The servers under measurement. Each lives through all rounds of a part, so that a JVM is warm.

use crate::error::Outcome;
use crate::options::Options;
use crate::{process, scrape};
use harness::peers::{FlussOptions, FlussPeer, KafkaOptions, KafkaPeer};
use harness::vltava::{Running, Vltava};
use std::path::{Path, PathBuf};

/// The names in the report. The first of a comparison is the peer.
pub const KAFKA: &str = "Kafka 4.3.1";
pub const FLUSS: &str = "Fluss 0.9.1";
pub const PAGE_CACHE: &str = "Vltava page-cache";
pub const FSYNC: &str = "Vltava fsync";

/// A running server.
pub struct Server {
    pub name: &'static str,
    kind: Kind,
}

enum Kind {
    Vltava(Running),
    Kafka(KafkaPeer),
    Fluss(FlussPeer),
}

impl Server {
    /// Processes that do the server's work.
    pub fn processes(&self) -> Vec<u32> {
        match &self.kind {
            Kind::Vltava(running) => vec![running.process.id()],
            Kind::Kafka(peer) => vec![peer.process.id()],
            Kind::Fluss(peer) => vec![peer.tablet.id()],
        }
    }

    /// Where Kafka clients connect.
    pub fn kafka(&self) -> Outcome<String> {
        let address = match &self.kind {
            Kind::Vltava(running) => running.addresses.kafka.clone(),
            Kind::Kafka(peer) => Some(peer.address.clone()),
            Kind::Fluss(_) => None,
        };
        address.ok_or_else(|| format!("{} has no Kafka port", self.name).into())
    }

    /// Where Fluss clients connect.
    pub fn fluss(&self) -> Outcome<String> {
        let address = match &self.kind {
            Kind::Vltava(running) => running.addresses.fluss.clone(),
            Kind::Fluss(peer) => peer.addresses().fluss,
            Kind::Kafka(_) => None,
        };
        address.ok_or_else(|| format!("{} has no Fluss port", self.name).into())
    }

    /// The broker's metrics page; peers have none.
    pub fn metrics(&self) -> Option<String> {
        match &self.kind {
            Kind::Vltava(running) => scrape::page(running.addresses.http.as_deref()?).ok(),
            _ => None,
        }
    }

    /// From the start of the process to the first answer, in milliseconds.
    pub fn ready_ms(&self) -> Option<f64> {
        match &self.kind {
            Kind::Vltava(running) => Some(running.start_time.as_secs_f64() * 1e3),
            Kind::Kafka(peer) => Some(peer.start_time.as_secs_f64() * 1e3),
            Kind::Fluss(_) => None,
        }
    }

    /// Kills it as a crash would.
    pub fn kill(&mut self) {
        match &mut self.kind {
            Kind::Vltava(running) => running.process.kill(),
            Kind::Kafka(peer) => peer.process.kill(),
            Kind::Fluss(peer) => peer.tablet.kill(),
        }
    }

    /// Processor seconds so far.
    pub fn cpu_seconds(&self) -> Outcome<f64> {
        process::cpu_seconds(&self.processes())
    }
}

/// Starts the broker on `data`.
pub fn vltava(name: &'static str, data: &Path) -> Outcome<Server> {
    vltava_with(name, data, &[])
}

/// The same with a cleaner that looks for work often.
fn vltava_that_cleans(name: &'static str, data: &Path) -> Outcome<Server> {
    vltava_with(name, data, &[LOOK_OFTEN])
}

fn vltava_with(name: &'static str, data: &Path, settings: &[&str]) -> Outcome<Server> {
    let mode = if name == FSYNC { "fsync" } else { "page-cache" };
    let mut all = vec![format!("flush.mode={mode}")];
    all.extend(settings.iter().map(|&text| text.to_owned()));
    let running = Vltava {
        program: program()?,
        data: data.join("data"),
        settings: all,
        log: data.join("vltava.log"),
    };
    std::fs::create_dir_all(data)?;
    Ok(Server {
        name,
        kind: Kind::Vltava(running.start()?),
    })
}

/// Deleted topics go at once, so that a long run does not fill the disk.
const DELETE_AT_ONCE: &str = "log.segment.delete.delay.ms=100";

/// Cleaners that look for work often, so that a wait is no part of their figures.
const LOOK_OFTEN: &str = "log.cleaner.backoff.ms=100";

/// Starts Apache Kafka on `data`.
pub fn kafka(data: &Path) -> Outcome<Server> {
    kafka_with(data, &[DELETE_AT_ONCE])
}

/// The same with a cleaner that looks for work often.
fn kafka_that_cleans(data: &Path) -> Outcome<Server> {
    kafka_with(data, &[DELETE_AT_ONCE, LOOK_OFTEN])
}

fn kafka_with(data: &Path, settings: &[&str]) -> Outcome<Server> {
    let options = KafkaOptions {
        properties: settings.iter().map(|&text| text.to_owned()).collect(),
        ..KafkaOptions::default()
    };
    Ok(Server {
        name: KAFKA,
        kind: Kind::Kafka(KafkaPeer::start(data, &options)?),
    })
}

/// Starts Apache Fluss on `data`.
pub fn fluss(data: &Path) -> Outcome<Server> {
    let options = FlussOptions {
        heap: vec!["-Xmx3g".to_owned()],
        ..FlussOptions::default()
    };
    Ok(Server {
        name: FLUSS,
        kind: Kind::Fluss(FlussPeer::start(data, &options)?),
    })
}

/// The servers of the Kafka wire, the peer first.
pub fn of_kafka_wire(options: &Options, data: &Path) -> Outcome<Vec<Server>> {
    beside(options, (KAFKA, kafka), vltava, data)
}

/// The same, for what their cleaners do.
pub fn of_cleaners(options: &Options, data: &Path) -> Outcome<Vec<Server>> {
    let peer = (KAFKA, kafka_that_cleans as StartPeer);
    beside(options, peer, vltava_that_cleans, data)
}

/// The servers of the Fluss wire, the peer first.
pub fn of_fluss_wire(options: &Options, data: &Path) -> Outcome<Vec<Server>> {
    beside(options, (FLUSS, fluss), vltava, data)
}

type StartPeer = fn(&Path) -> Outcome<Server>;

/// A peer, and the broker in both flush modes: those of them that are wanted.
fn beside(
    options: &Options,
    (peer, start_peer): (&str, StartPeer),
    start: fn(&'static str, &Path) -> Outcome<Server>,
    data: &Path,
) -> Outcome<Vec<Server>> {
    let mut servers = Vec::new();
    if options.peer && options.wants_server(peer) {
        servers.push(start_peer(&data.join("peer"))?);
    }
    for name in [PAGE_CACHE, FSYNC] {
        if options.wants_server(name) {
            servers.push(start(name, &data.join(name.replace(' ', "-")))?);
        }
    }
    Ok(servers)
}

/// A directory on the disk of the checkout, not in memory: `/tmp` may be either.
pub fn scratch() -> Outcome<tempfile::TempDir> {
    let parent = harness::cache::directory("bench")?;
    Ok(tempfile::Builder::new().prefix("run-").tempdir_in(parent)?)
}

fn program() -> Outcome<PathBuf> {
    let program = std::env::var_os("VLTAVA_BIN").filter(|program| !program.is_empty());
    program
        .map(PathBuf::from)
        .ok_or_else(|| "VLTAVA_BIN is unset: use compat-tests/bench/run".into())
}
