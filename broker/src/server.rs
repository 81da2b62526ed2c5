//! Puts the broker together, and takes it apart in the right order.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use storage::env::Env;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::assembly::{AssembleError, Assembly};
use crate::config::{AdvertisedAddress, Config, ListenerConfig};
use crate::data_dir::{ClaimError, DataDir};
use crate::fluss::wire::Shared;
use crate::fluss::{FlussWire, auto_partition, scanners};
use crate::http::{HttpServer, HttpState, Phase};
use crate::kafka::wire::KafkaWire;
use crate::metrics::{Metrics, UPKEEP_INTERVAL};
use crate::net::{BindError, Listener, Network, Wire};

/// Why the broker does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] ClaimError),
    /// What lies in the data directory cannot be opened.
    #[error("the data directory")]
    Assemble(#[from] AssembleError),
    /// A port cannot be had.
    #[error("the {wire} listener")]
    Bind {
        /// Which listener.
        wire: &'static str,
        /// The cause.
        #[source]
        source: BindError,
    },
}

/// Where clients may come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// The listeners of the Kafka wire, by name; at least one.
    pub kafka: Vec<(String, SocketAddr)>,
    /// The listeners of the Fluss wire, by name; at least one.
    pub fluss: Vec<(String, SocketAddr)>,
    /// Metrics and health.
    pub http: SocketAddr,
}

/// The line that says so, without its end.
impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = |listeners: &[(String, SocketAddr)]| {
            listeners
                .first()
                .map_or(String::new(), |(_, address)| address.to_string())
        };
        let (kafka, fluss) = (first(&self.kafka), first(&self.fluss));
        write!(f, "ready kafka={kafka} fluss={fluss} http={}", self.http)
    }
}

/// A running broker.
pub struct Server {
    addresses: Addresses,
    network: Arc<Network>,
    http: HttpServer,
    phase: watch::Sender<Phase>,
    assembly: Assembly,
    upkeep: JoinHandle<()>,
    auto_partition: JoinHandle<()>,
    scanners: JoinHandle<()>,
    fluss: Arc<Shared>,
    shutdown_timeout: Duration,
    /// Given back last.
    data_dir: DataDir,
}

impl Server {
    /// Starts a broker. When it returns, clients may come.
    ///
    /// The order: the data directory is claimed, all ports are bound, HTTP answers (`/readyz`: not
    /// yet), the wires are assembled, the ports accept.
    pub async fn start(config: Config, env: Env, metrics: Metrics) -> Result<Self, StartError> {
        let begun = env.clock.monotonic();
        let data_dir = DataDir::claim(&config.storage().data_dir)?;
        let network = Network::new(config.network());
        let kafka = bind("kafka", &config.kafka_listeners(), &config).await?;
        let fluss = bind("fluss", &config.fluss_listeners(), &config).await?;
        let (phase, phases) = watch::channel(Phase::Starting);
        let assembled = Arc::new(OnceLock::new());
        let state = HttpState {
            metrics: metrics.clone(),
            network: Arc::clone(&network),
            phase: phases,
            broker: Arc::clone(&assembled),
        };
        let http = bind_http(&config, state).await?;

        let addresses = Addresses {
            kafka: named(&kafka),
            fluss: named(&fluss),
            http: http.address,
        };
        let advertised = advertised(&config, &addresses);
        let config = Arc::new(config);
        let assembly = Assembly::open(
            Arc::clone(&config),
            env.clone(),
            metrics.clone(),
            advertised,
            network.stopping(),
        )
        .await?;
        // Nobody else sets it.
        let _ = assembled.set(Arc::clone(&assembly.broker));
        let kafka_wire = Arc::new(KafkaWire::new(Arc::clone(&assembly.broker)));
        serve(kafka, &network, &kafka_wire, &metrics);
        let fluss_wire = Arc::new(FlussWire::new(Arc::clone(&assembly.broker)));
        serve(fluss, &network, &fluss_wire, &metrics);
        let auto_partition = tokio::spawn(auto_partition::keep(Arc::clone(fluss_wire.shared())));
        let scanners = tokio::spawn(scanners::keep(Arc::clone(fluss_wire.shared())));
        let upkeep = tokio::spawn(keep_up(metrics));
        phase.send_replace(Phase::Serving);
        let millis = (env.clock.monotonic() - begun).as_millis();
        tracing::info!(%addresses, data_dir = %data_dir.path().display(), millis, "serving");
        Ok(Self {
            addresses,
            network,
            http,
            phase,
            assembly,
            upkeep,
            auto_partition,
            scanners,
            fluss: Arc::clone(fluss_wire.shared()),
            shutdown_timeout: config.workers().shutdown_timeout,
            data_dir,
        })
    }

    /// Where clients may come.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Stops: no new connections and requests, open requests are answered, everything is flushed,
    /// the data directory is given back.
    pub async fn stop(self) {
        self.phase.send_replace(Phase::Stopping);
        tracing::info!(connections = self.network.connections(), "stopping");
        // Members that wait for others are answered by their coordinator, fetches by themselves.
        let (dropped, ()) = tokio::join!(
            self.network.stop(self.shutdown_timeout),
            self.assembly.broker.groups.stop()
        );
        if dropped > 0 {
            tracing::warn!(dropped, "connections with open requests were dropped");
        }
        self.auto_partition.abort();
        self.scanners.abort();
        // Before the indexes that they read are closed.
        self.fluss.scanners.close().await;
        drop(self.fluss);
        self.assembly.close().await;
        self.upkeep.abort();
        self.http.stop();
        drop(self.data_dir);
        tracing::info!("stopped");
    }
}

async fn bind(
    wire: &'static str,
    listeners: &[ListenerConfig],
    config: &Config,
) -> Result<Vec<Listener>, StartError> {
    let limits = config.network();
    let mut bound = Vec::new();
    for listener in listeners {
        let listener = Listener::bind(&listener.name, &listener.address, &limits)
            .await
            .map_err(|source| StartError::Bind { wire, source })?;
        bound.push(listener);
    }
    Ok(bound)
}

async fn bind_http(config: &Config, state: HttpState) -> Result<HttpServer, StartError> {
    let configured = config.http_listen();
    let failed = |source: std::io::Error| {
        let address = configured.to_owned();
        let source = match (source.kind(), configured.parse()) {
            (std::io::ErrorKind::AddrInUse, Ok(address)) => BindError::InUse { address },
            (_, Ok(address)) => BindError::Refused { address, source },
            (_, Err(_)) => BindError::Resolve { address, source },
        };
        StartError::Bind {
            wire: "http",
            source,
        }
    };
    let listener = TcpListener::bind(configured).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(HttpServer::start(listener, address, state))
}

/// What clients are told to connect to, by listener: where that is not their own address.
fn advertised(config: &Config, addresses: &Addresses) -> BTreeMap<String, AdvertisedAddress> {
    let bound: BTreeMap<_, _> = addresses
        .kafka
        .iter()
        .chain(&addresses.fluss)
        .cloned()
        .collect();
    let listeners = config
        .kafka_listeners()
        .into_iter()
        .chain(config.fluss_listeners());
    listeners
        .filter_map(|listener| {
            let mut address = listener.advertised?;
            if address.port == 0 {
                address.port = bound.get(&listener.name)?.port();
            }
            Some((listener.name, address))
        })
        .collect()
}

fn named(listeners: &[Listener]) -> Vec<(String, SocketAddr)> {
    listeners
        .iter()
        .map(|l| (l.name().to_owned(), l.local_address()))
        .collect()
}

/// Lets clients in at all listeners of a wire.
fn serve<W: Wire>(listeners: Vec<Listener>, network: &Arc<Network>, wire: &Arc<W>, all: &Metrics) {
    let meters = all.network(wire.name());
    for listener in listeners {
        listener.serve(network, Arc::clone(wire), meters.clone());
    }
}

async fn keep_up(metrics: Metrics) {
    let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
    loop {
        ticks.tick().await;
        metrics.upkeep();
    }
}
