//! ZooKeeper, one coordinator and one tablet server of Apache Fluss on loopback, each with a SASL/PLAIN listener and one
//! without authentication.

use super::{LOG4J, PeerError, READY_LIMIT, fetch};
use crate::process::Process;
use crate::{Addresses, ports, probe, wait};
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What differs from plain servers.
#[derive(Clone, Debug)]
pub struct FlussOptions {
    /// Lines `key: value` for both servers.
    pub configuration: Vec<String>,
    /// Heap options of the tablet server's JVM.
    pub heap: Vec<String>,
}

impl Default for FlussOptions {
    fn default() -> Self {
        Self {
            configuration: Vec::new(),
            heap: vec!["-Xmx2g".to_owned()],
        }
    }
}

/// Servers that answer. Fields are dropped, and so stopped, in this order.
#[derive(Debug)]
pub struct FlussPeer {
    /// The tablet server, for its CPU time and memory.
    pub tablet: Process,
    /// The coordinator.
    pub coordinator: Process,
    zookeeper: Process,
    addresses: Addresses,
}

struct Ports {
    zookeeper: u16,
    coordinator: Listeners,
    tablet: Listeners,
}

struct Listeners {
    plain: u16,
    sasl: u16,
}

impl FlussPeer {
    /// Starts the three processes on `data` and waits until the coordinator knows the tablet server.
    ///
    /// # Errors
    /// [`PeerError`].
    pub fn start(data: &Path, options: &FlussOptions) -> Result<Self, PeerError> {
        let (server_jars, zookeeper_jars) = (fetch("fluss")?, fetch("zookeeper")?);
        fs::create_dir_all(data)?;
        fs::write(data.join("log4j2.properties"), LOG4J)?;
        let free = ports::free(5)?;
        let ports = Ports {
            zookeeper: free[0],
            coordinator: Listeners {
                plain: free[1],
                sasl: free[2],
            },
            tablet: Listeners {
                plain: free[3],
                sasl: free[4],
            },
        };
        let zookeeper = zookeeper(&zookeeper_jars, data, ports.zookeeper)?;

        let coordinator_home = home(
            data,
            "coordinator",
            &configuration(data, &ports, &ports.coordinator, options),
        )?;
        let mut command = java(&server_jars, data, &["-Xmx512m".to_owned()]);
        command
            .arg("org.apache.fluss.server.coordinator.CoordinatorServer")
            .arg("--configDir")
            .arg(coordinator_home);
        let log = data.join("coordinator.log");
        let mut coordinator = Process::start("coordinator", command, &log)?;
        listens(
            &mut coordinator,
            ports.coordinator.plain,
            "fluss coordinator",
            &log,
        )?;

        let mut lines = configuration(data, &ports, &ports.tablet, options);
        lines += &format!(
            "tablet-server.id: 0\ndata.dir: {}\n",
            data.join("data").display()
        );
        let tablet_home = home(data, "tablet", &lines)?;
        let mut command = java(&server_jars, data, &options.heap);
        command
            .arg("org.apache.fluss.server.tablet.TabletServer")
            .arg("--configDir")
            .arg(tablet_home);
        let log = data.join("tablet.log");
        let mut tablet = Process::start("tablet", command, &log)?;
        let address = loopback(ports.coordinator.plain);
        let ready = wait::until(READY_LIMIT, || {
            if probe::fluss_has_tablet_server(address) {
                Some(true)
            } else {
                tablet.ended().map(|_| false)
            }
        });
        if ready != Some(true) {
            return Err(PeerError::NoAnswer {
                name: "fluss tablet server",
                log,
            });
        }
        let addresses = Addresses {
            fluss: Some(address.to_string()),
            fluss_sasl: Some(loopback(ports.coordinator.sasl).to_string()),
            fluss_tablet: Some(loopback(ports.tablet.plain).to_string()),
            ..Addresses::default()
        };
        Ok(Self {
            tablet,
            coordinator,
            zookeeper,
            addresses,
        })
    }

    /// What suites are pointed at.
    pub fn addresses(&self) -> Addresses {
        self.addresses.clone()
    }

    /// Whether all three processes still run.
    pub fn runs(&mut self) -> bool {
        [&mut self.tablet, &mut self.coordinator, &mut self.zookeeper]
            .into_iter()
            .all(|process| process.ended().is_none())
    }
}

/// Both servers' settings: the users are those that the clients' own suites expect.
fn configuration(
    data: &Path,
    ports: &Ports,
    listeners: &Listeners,
    options: &FlussOptions,
) -> String {
    let Listeners { plain, sasl } = listeners;
    format!(
        "zookeeper.address: 127.0.0.1:{}
remote.data.dir: file://{}
bind.listeners: INTERNAL://127.0.0.1:0, CLIENT://127.0.0.1:{sasl}, PLAIN://127.0.0.1:{plain}
internal.listener.name: INTERNAL
security.protocol.map: CLIENT:sasl
security.sasl.enabled.mechanisms: plain
security.sasl.plain.jaas.config: org.apache.fluss.security.auth.sasl.plain.PlainLoginModule required \
user_admin=\"admin-secret\" user_alice=\"alice-secret\";
{}
",
        ports.zookeeper,
        data.join("remote").display(),
        options.configuration.join("\n")
    )
}

fn home(data: &Path, name: &str, configuration: &str) -> Result<PathBuf, PeerError> {
    let home = data.join(name);
    fs::create_dir_all(&home)?;
    fs::write(home.join("server.yaml"), configuration)?;
    Ok(home)
}

fn zookeeper(jars: &Path, data: &Path, port: u16) -> Result<Process, PeerError> {
    let configuration = data.join("zookeeper.cfg");
    let lines = format!(
        "tickTime=2000\ndataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n",
        data.join("zookeeper").display()
    );
    fs::write(&configuration, lines)?;
    let mut command = java(jars, data, &["-Xmx256m".to_owned()]);
    command
        .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
        .arg(&configuration);
    let log = data.join("zookeeper.log");
    let mut process = Process::start("zookeeper", command, &log)?;
    listens(&mut process, port, "zookeeper", &log)?;
    Ok(process)
}

fn java(jars: &Path, data: &Path, heap: &[String]) -> Command {
    let mut command = Command::new("java");
    command
        .args(heap)
        .arg("--add-opens=java.base/java.nio=org.apache.arrow.memory.core,ALL-UNNAMED")
        .arg(format!(
            "-Dlog4j2.configurationFile={}",
            data.join("log4j2.properties").display()
        ))
        .arg("-cp")
        .arg(format!("{}/*", jars.display()));
    command
}

fn listens(
    process: &mut Process,
    port: u16,
    name: &'static str,
    log: &Path,
) -> Result<(), PeerError> {
    let connected = wait::until(READY_LIMIT, || match TcpStream::connect(loopback(port)) {
        Ok(_) => Some(true),
        Err(_) => process.ended().map(|_| false),
    });
    if connected == Some(true) {
        Ok(())
    } else {
        Err(PeerError::NoAnswer {
            name,
            log: log.to_owned(),
        })
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
