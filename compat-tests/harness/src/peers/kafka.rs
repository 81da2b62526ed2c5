//! One combined KRaft node of Apache Kafka on loopback.

use super::{LOG4J, PeerError, READY_LIMIT, fetch};
use crate::process::Process;
use crate::{Addresses, ports, probe, wait};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Any valid id does: 16 bytes in URL-safe base 64. A node refuses data of another cluster only.
const CLUSTER_ID: &str = "VltavaCompatTestsPeerA";

/// What differs from a plain node.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// Lines of `server.properties` that come last and win.
    pub properties: Vec<String>,
    /// Heap options of the JVM. The default is that of Kafka's own start script.
    pub heap: Vec<String>,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self {
            properties: Vec::new(),
            heap: vec!["-Xms1G".to_owned(), "-Xmx1G".to_owned()],
        }
    }
}

/// A node that answers. Dropping it stops it.
#[derive(Debug)]
pub struct KafkaPeer {
    /// The broker's process, for its CPU time and memory.
    pub process: Process,
    /// `host:port` of the plaintext listener.
    pub address: String,
    /// From the start of the process to the first answer.
    pub start_time: Duration,
}

impl KafkaPeer {
    /// Formats `data` when it is new and starts a node on it; waits until it answers.
    ///
    /// # Errors
    /// [`PeerError`].
    pub fn start(data: &Path, options: &KafkaOptions) -> Result<Self, PeerError> {
        let jars = fetch("kafka")?;
        fs::create_dir_all(data)?;
        let ports = ports::free(2)?;
        let properties = data.join("server.properties");
        fs::write(
            &properties,
            server_properties(data, ports[0], ports[1], options),
        )?;
        fs::write(data.join("log4j2.properties"), LOG4J)?;
        let log = data.join("broker.log");
        if !data.join("logs/meta.properties").exists() {
            format(&jars, data, &properties, &log)?;
        }
        // Options of Kafka's own start script, so that figures are comparable with a stock broker.
        let mut command = java(&jars, data);
        command
            .args(&options.heap)
            .args([
                "-server",
                "-XX:+UseG1GC",
                "-XX:MaxGCPauseMillis=20",
                "-XX:InitiatingHeapOccupancyPercent=35",
            ])
            .args([
                "-XX:+ExplicitGCInvokesConcurrent",
                "-XX:MaxInlineLevel=15",
                "-Djava.awt.headless=true",
            ])
            .arg("kafka.Kafka")
            .arg(&properties);
        let began = Instant::now();
        let mut process = Process::start("kafka", command, &log)?;
        let address = SocketAddr::from(([127, 0, 0, 1], ports[0]));
        let answers = wait::until(READY_LIMIT, || {
            if probe::kafka_answers(address) {
                Some(true)
            } else {
                process.ended().map(|_| false)
            }
        });
        if answers != Some(true) {
            return Err(PeerError::NoAnswer { name: "kafka", log });
        }
        Ok(Self {
            process,
            address: address.to_string(),
            start_time: began.elapsed(),
        })
    }

    /// What suites are pointed at.
    pub fn addresses(&self) -> Addresses {
        Addresses {
            kafka: Some(self.address.clone()),
            ..Addresses::default()
        }
    }
}

fn server_properties(data: &Path, port: u16, controller: u16, options: &KafkaOptions) -> String {
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
{}
",
        data.join("logs").display(),
        options.properties.join("\n")
    )
}

fn java(jars: &Path, data: &Path) -> Command {
    let mut command = Command::new("java");
    command
        .arg("-cp")
        .arg(format!("{}/*", jars.display()))
        .arg(format!(
            "-Dlog4j2.configurationFile={}",
            data.join("log4j2.properties").display()
        ));
    command
}

fn format(jars: &Path, data: &Path, properties: &PathBuf, log: &Path) -> Result<(), PeerError> {
    let answer = java(jars, data)
        .args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"])
        .arg(properties)
        .stdin(Stdio::null())
        .output()?;
    fs::write(log, [answer.stdout, answer.stderr].concat())?;
    if answer.status.success() {
        Ok(())
    } else {
        Err(PeerError::NoAnswer {
            name: "kafka format",
            log: log.to_owned(),
        })
    }
}
