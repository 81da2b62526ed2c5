//! What the handlers of both wires share: the catalog, the open tablets, the coordinators, the
//! configuration.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use storage::catalog::{Catalog, SettingScope};
use storage::env::Env;
use storage::log::DataSignal;
use tiering::kv_snapshot::KvSnapshots;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::{AdvertisedAddress, Config};
use crate::coordinator::group::GroupCoordinator;
use crate::kafka::upserts::Upserts;
use crate::memory::{FetchMemory, Unpacking};
use crate::metrics::Metrics;
use crate::net::Peer;
use crate::tablets::Tablets;

/// The broker, as its handlers see it.
pub struct Broker {
    /// Clock, randomness, disk.
    pub env: Env,
    /// Names, schemas and settings of everything.
    pub catalog: Arc<Catalog>,
    /// The open logs.
    pub tablets: Arc<Tablets>,
    /// Consumer groups.
    pub groups: GroupCoordinator,
    /// Snapshots of indexes.
    pub snapshots: Arc<KvSnapshots>,
    /// Counters and histograms.
    pub metrics: Metrics,
    /// Bounds what answers to fetches hold.
    pub fetch_memory: FetchMemory,
    /// Bounds what produced batches are decompressed to.
    pub unpacking: Unpacking,
    /// Kafka producers that write to primary-key tables.
    pub upserts: Upserts,
    /// The id of this server on both wires.
    pub node_id: i32,
    config: RwLock<Arc<Config>>,
    /// What clients are told to connect to, by the name of the listener they came through.
    advertised: BTreeMap<String, AdvertisedAddress>,
    stopping: CancellationToken,
}

/// Where a client reaches this broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// What a broker is assembled from.
pub struct BrokerParts {
    /// Clock, randomness, disk.
    pub env: Env,
    /// The catalog.
    pub catalog: Arc<Catalog>,
    /// The open logs.
    pub tablets: Arc<Tablets>,
    /// Consumer groups.
    pub groups: GroupCoordinator,
    /// Snapshots of indexes.
    pub snapshots: Arc<KvSnapshots>,
    /// Counters and histograms.
    pub metrics: Metrics,
    /// The configuration.
    pub config: Arc<Config>,
    /// Advertised addresses by listener name.
    pub advertised: BTreeMap<String, AdvertisedAddress>,
    /// Cancelled when the broker begins to stop.
    pub stopping: CancellationToken,
}

impl Broker {
    /// Puts a broker together, with the settings that clients made before its start.
    pub fn new(parts: BrokerParts) -> Arc<Broker> {
        let broker = Arc::new(Broker {
            node_id: parts.config.node_id(),
            fetch_memory: FetchMemory::new(
                parts.config.fetch().memory_bytes,
                parts.metrics.fetch_memory_free(),
            ),
            unpacking: Unpacking::new(
                parts.config.unpacking_bytes(),
                parts.metrics.unpacking_memory_free(),
            ),
            env: parts.env,
            catalog: parts.catalog,
            tablets: parts.tablets,
            groups: parts.groups,
            upserts: Upserts::default(),
            snapshots: parts.snapshots,
            metrics: parts.metrics,
            config: RwLock::new(parts.config),
            advertised: parts.advertised,
            stopping: parts.stopping,
        });
        broker.reload_settings();
        broker
    }

    /// The configuration as it is now.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read())
    }

    /// Waits until a log that `signal` is registered with has something new. False when the
    /// deadline comes first, or the broker stops: long polls answer then with what there is.
    pub async fn wait_for_data(&self, signal: &DataSignal, deadline: Instant) -> bool {
        tokio::select! {
            fired = tokio::time::timeout_at(deadline, signal.fired()) => fired.is_ok(),
            () = self.stopping.cancelled() => false,
        }
    }

    /// Forgets Kafka producers of primary-key tables that fell silent.
    pub fn forget_upserts(&self) {
        let expiry = self.config().producers().kafka_expiration.as_millis();
        let expiry = i64::try_from(expiry).unwrap_or(i64::MAX);
        let before = self.env.clock.wall_ms().saturating_sub(expiry);
        self.upserts.forget(before);
    }

    /// Takes a new configuration; the open tablets follow.
    pub fn set_config(&self, config: Arc<Config>) {
        *self.config.write() = Arc::clone(&config);
        self.tablets.set_config(config);
    }

    /// Takes what clients have set, which the catalog keeps. Waits for nothing but the open
    /// tablets.
    pub fn reload_settings(&self) {
        // Locked while the catalog is looked at: the newest settings are the last ones taken.
        let mut config = self.config.write();
        let view = self.catalog.view();
        let for_this = view.settings(SettingScope::Node(self.node_id));
        match config.with_dynamic(view.settings(SettingScope::All), for_this) {
            Ok(new) => {
                *config = Arc::new(new);
                self.tablets.set_config(Arc::clone(&config));
            }
            // They were checked when they were set; an older version may have known other ones.
            Err(error) => {
                tracing::warn!(%error, "settings that clients have made do not hold and are left out");
            }
        }
    }

    /// Where a client that came in as `peer` reaches this broker: what is advertised for its
    /// listener, else the address that it used.
    pub fn endpoint_for(&self, peer: &Peer) -> Endpoint {
        match self.advertised.get(&*peer.listener) {
            Some(address) => Endpoint {
                host: address.host.clone(),
                port: address.port,
            },
            None => Endpoint {
                host: peer.local.ip().to_string(),
                port: peer.local.port(),
            },
        }
    }
}
