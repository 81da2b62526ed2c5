//! The limits of the connections, as values.

use std::time::Duration;

use metrics::{Counter, Gauge};

/// Limits of all connections of the process, of both wires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkLimits {
    /// A frame that announces more bytes than this closes its connection.
    pub frame_bytes_max: usize,
    /// Bytes of requests, of all connections, that may wait for their answers at one time.
    pub request_memory_bytes: usize,
    /// Started and unanswered requests of one connection; more are left in the socket.
    pub requests_per_connection_max: usize,
    /// Open connections.
    pub connections_max: usize,
    /// Open connections from one address.
    pub connections_per_ip_max: usize,
    /// Exceptions from `connections_per_ip_max`.
    pub connections_per_ip_overrides: Vec<(std::net::IpAddr, usize)>,
    /// A connection without a request for so long is closed. `None`: never.
    pub idle_max: Option<Duration>,
    /// A frame that has begun must be complete after this time, plus one second for each
    /// `FRAME_RATE_MIN` bytes of it that have arrived.
    pub frame_timeout: Duration,
    /// A client that takes none of its answer for so long is disconnected.
    pub write_timeout: Duration,
    /// Size of the kernel's send buffer; `None` leaves it to the kernel's own tuning.
    pub send_buffer_bytes: Option<u32>,
    /// Size of the kernel's receive buffer; `None` leaves it to the kernel's own tuning.
    pub receive_buffer_bytes: Option<u32>,
    /// Connections that the kernel keeps while they are not yet accepted.
    pub backlog: u32,
}

/// Bytes per second below which a client that sends a frame is taken for one that only wants to
/// hold a connection open.
pub(crate) const FRAME_RATE_MIN: u64 = 16 * 1024;

impl Default for NetworkLimits {
    fn default() -> Self {
        Self {
            frame_bytes_max: 100 << 20,
            request_memory_bytes: 256 << 20,
            requests_per_connection_max: 64,
            connections_max: 10_000,
            connections_per_ip_max: usize::MAX,
            connections_per_ip_overrides: Vec::new(),
            idle_max: Some(Duration::from_secs(600)),
            frame_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(60),
            send_buffer_bytes: None,
            receive_buffer_bytes: None,
            backlog: 1024,
        }
    }
}

impl NetworkLimits {
    /// How many connections `address` may have open.
    pub(crate) fn connections_from(&self, address: std::net::IpAddr) -> usize {
        self.connections_per_ip_overrides
            .iter()
            .find_map(|(ip, max)| (*ip == address).then_some(*max))
            .unwrap_or(self.connections_per_ip_max)
    }
}

/// What a listener counts.
#[derive(Clone)]
pub struct NetworkMeters {
    /// Open connections.
    pub connections: Gauge,
    /// Connections that were accepted.
    pub accepted: Counter,
    /// Connections that were closed at once because of a limit.
    pub refused: Counter,
    /// Bytes received.
    pub bytes_in: Counter,
    /// Bytes sent.
    pub bytes_out: Counter,
}

impl NetworkMeters {
    /// Meters that count nothing.
    pub fn none() -> Self {
        Self {
            connections: Gauge::noop(),
            accepted: Counter::noop(),
            refused: Counter::noop(),
            bytes_in: Counter::noop(),
            bytes_out: Counter::noop(),
        }
    }
}
