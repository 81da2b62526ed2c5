//! Accepts connections within the limits.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{Connection, Ended};
use super::limits::{NetworkLimits, NetworkMeters};
use super::memory::RequestMemory;
use super::wire::{Peer, Wire};

/// After a failed accept (no file handles left, most likely) the listener pauses for so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why a listener cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address does not name a host.
    #[error("cannot resolve the listen address {address}")]
    Resolve {
        /// The address as it was configured.
        address: String,
        /// The cause.
        source: io::Error,
    },
    /// Somebody else has the port.
    #[error("{address} is in use by another process")]
    InUse {
        /// The address.
        address: SocketAddr,
    },
    /// The system refuses the address.
    #[error("cannot listen on {address}")]
    Refused {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
}

/// What all connections of the process share.
pub struct Network {
    limits: RwLock<Arc<NetworkLimits>>,
    memory: RequestMemory,
    open: Mutex<OpenConnections>,
    tasks: TaskTracker,
    stop: CancellationToken,
    abort: CancellationToken,
}

#[derive(Default)]
struct OpenConnections {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

impl Network {
    /// A network without listeners.
    pub fn new(limits: NetworkLimits) -> Arc<Self> {
        Arc::new(Self {
            memory: RequestMemory::new(limits.request_memory_bytes),
            limits: RwLock::new(Arc::new(limits)),
            open: Mutex::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            abort: CancellationToken::new(),
        })
    }

    /// Changes the limits of connections that come from now on. The request memory stays as it is.
    pub fn set_limits(&self, limits: NetworkLimits) {
        *self.limits.write() = Arc::new(limits);
    }

    /// The budget of request bytes.
    pub fn memory(&self) -> &RequestMemory {
        &self.memory
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        self.open.lock().total
    }

    /// Cancelled when the broker begins to stop. Long polls should answer then.
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Stops accepting and reading, waits until every started request is answered and written, and
    /// after `patience` drops the connections that are still there. Returns how many those were.
    pub async fn stop(&self, patience: Duration) -> usize {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(patience, self.tasks.wait())
            .await
            .is_ok()
        {
            return 0;
        }
        let dropped = self.connections();
        self.abort.cancel();
        self.tasks.wait().await;
        dropped
    }

    fn admit(self: &Arc<Self>, address: IpAddr, limits: &NetworkLimits) -> Option<Admission> {
        let mut open = self.open.lock();
        if open.total >= limits.connections_max {
            return None;
        }
        let from_here = open.by_address.entry(address).or_default();
        if *from_here >= limits.connections_from(address) {
            if *from_here == 0 {
                open.by_address.remove(&address);
            }
            return None;
        }
        *from_here += 1;
        open.total += 1;
        Some(Admission {
            network: Arc::clone(self),
            address,
        })
    }
}

/// A place among the open connections, given back when dropped.
struct Admission {
    network: Arc<Network>,
    address: IpAddr,
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut open = self.network.open.lock();
        open.total -= 1;
        if let Some(count) = open.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.by_address.remove(&self.address);
            }
        }
    }
}

/// A bound socket that does not accept yet.
pub struct Listener {
    name: Arc<str>,
    socket: TcpListener,
    local: SocketAddr,
}

impl Listener {
    /// Binds `address` (`host:port`; port 0 picks a free one).
    pub async fn bind(
        name: &str,
        address: &str,
        limits: &NetworkLimits,
    ) -> Result<Self, BindError> {
        let unresolved = |source| BindError::Resolve {
            address: address.to_owned(),
            source,
        };
        let resolved = lookup_host(address)
            .await
            .map_err(unresolved)?
            .next()
            .ok_or_else(|| unresolved(io::ErrorKind::NotFound.into()))?;
        let refused = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse { address: resolved },
            _ => BindError::Refused {
                address: resolved,
                source,
            },
        };
        let socket = open(resolved, limits).map_err(refused)?;
        let local = socket.local_addr().map_err(refused)?;
        Ok(Self {
            name: Arc::from(name),
            socket,
            local,
        })
    }

    /// The listener's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens, with the port that was picked.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// Accepts connections, in a task of its own, until the network stops.
    pub fn serve<W: Wire>(self, network: &Arc<Network>, wire: Arc<W>, meters: NetworkMeters) {
        let network = Arc::clone(network);
        let tasks = network.tasks.clone();
        tasks.spawn(async move {
            let stop = network.stop.clone();
            loop {
                let accepted = tokio::select! {
                    biased;
                    () = stop.cancelled() => break,
                    accepted = self.socket.accept() => accepted,
                };
                match accepted {
                    Ok((stream, address)) => {
                        meters.accepted.increment(1);
                        self.take(&network, &wire, &meters, stream, address);
                    }
                    Err(error) => {
                        tracing::warn!(listener = &*self.name, %error, "cannot accept");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        });
    }

    /// Starts the task of a connection, or drops the connection when there are too many.
    fn take<W: Wire>(
        &self,
        network: &Arc<Network>,
        wire: &Arc<W>,
        meters: &NetworkMeters,
        stream: TcpStream,
        address: SocketAddr,
    ) {
        let limits = Arc::clone(&network.limits.read());
        let Some(admission) = network.admit(address.ip(), &limits) else {
            meters.refused.increment(1);
            tracing::debug!(listener = &*self.name, %address, "too many connections, refused");
            return;
        };
        // Without it, a small answer may wait 40 ms for the client's delayed acknowledgement.
        let _ = stream.set_nodelay(true);
        let local = stream.local_addr().unwrap_or(self.local);
        let peer = Peer {
            address,
            local,
            listener: Arc::clone(&self.name),
        };
        let mut connection = Connection::new(
            stream,
            Arc::clone(wire),
            &peer,
            limits,
            network.memory.clone(),
            meters.clone(),
            network.stop.clone(),
        );
        let abort = network.abort.clone();
        let gauge = meters.connections.clone();
        let dropped = meters.dropped.clone();
        let wire = wire.name();
        network.tasks.spawn(async move {
            gauge.increment(1);
            let ended = abort.run_until_cancelled_owned(&mut connection).await;
            if let Some(counter) = ended.as_ref().and_then(|ended| ended.meter(&dropped)) {
                counter.increment(1);
            }
            match ended {
                Some(
                    ended @ (Ended::Read(_)
                    | Ended::FrameTimeout
                    | Ended::WriteTimeout
                    | Ended::ByWire(_)),
                ) => tracing::info!(wire, client = %address, reason = %ended, "connection dropped"),
                Some(ended) => {
                    tracing::debug!(wire, client = %address, reason = %ended, "connection ended")
                }
                None => {
                    tracing::warn!(wire, client = %address, "connection dropped with open requests")
                }
            }
            // Counted and logged before the client can know.
            drop(connection);
            gauge.decrement(1);
            drop(admission);
        });
    }
}

fn open(address: SocketAddr, limits: &NetworkLimits) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // A restarted broker gets its port although connections of the last run are still closing.
    socket.set_reuseaddr(true)?;
    if let Some(bytes) = limits.send_buffer_bytes {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(bytes) = limits.receive_buffer_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.bind(address)?;
    socket.listen(limits.backlog)
}
