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
    /// `BYTE_RATE_MIN` bytes of it that have arrived.
    pub frame_timeout: Duration,
    /// A client that takes none of its answer for so long is disconnected, as is one that has
    /// fallen behind `BYTE_RATE_MIN` by so long.
    pub write_timeout: Duration,
    /// The same while others wait for the memory that its answers hold.
    pub write_timeout_wanted: Duration,
    /// Size of the kernel's send buffer; `None` leaves it to the kernel's own tuning.
    pub send_buffer_bytes: Option<u32>,
    /// Size of the kernel's receive buffer; `None` leaves it to the kernel's own tuning.
    pub receive_buffer_bytes: Option<u32>,
    /// Connections that the kernel keeps while they are not yet accepted.
    pub backlog: u32,
}

/// Bytes per second below which a client that sends a frame, or takes its answers, is taken for one
/// that only wants to hold the broker's memory.
pub(crate) const BYTE_RATE_MIN: u64 = 16 * 1024;

/// Long enough for a client that collects garbage or whose network loses packets, short enough for
/// those who wait.
const WRITE_TIMEOUT_WANTED: Duration = Duration::from_secs(5);

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
            write_timeout_wanted: WRITE_TIMEOUT_WANTED,
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
    /// Connections dropped for what the client did.
    pub dropped: DroppedMeters,
    /// Bytes received.
    pub bytes_in: Counter,
    /// Bytes sent.
    pub bytes_out: Counter,
}

/// Connections that were dropped, by what the client did.
#[derive(Clone)]
pub struct DroppedMeters {
    /// Announced a frame of a negative or too large length.
    pub frame_length: Counter,
    /// Did not complete a frame in time.
    pub frame_timeout: Counter,
    /// Did not take its answers in time.
    pub write_timeout: Counter,
    /// Sent nothing for long.
    pub idle: Counter,
    /// Sent a request that has no answer.
    pub bad_request: Counter,
}

impl Default for DroppedMeters {
    /// Meters that count nothing.
    fn default() -> Self {
        Self {
            frame_length: Counter::noop(),
            frame_timeout: Counter::noop(),
            write_timeout: Counter::noop(),
            idle: Counter::noop(),
            bad_request: Counter::noop(),
        }
    }
}

impl NetworkMeters {
    /// Meters that count nothing.
    pub fn none() -> Self {
        Self {
            connections: Gauge::noop(),
            accepted: Counter::noop(),
            refused: Counter::noop(),
            dropped: DroppedMeters::default(),
            bytes_in: Counter::noop(),
            bytes_out: Counter::noop(),
        }
    }
}
