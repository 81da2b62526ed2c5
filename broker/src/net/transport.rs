//! The byte stream below a connection.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Bytes both ways, and a word with the system about them.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin {
    /// Acknowledges what was read without waiting for an answer to carry it. A client that left
    /// Nagle's algorithm on holds its next small request back until then, else for 40 ms.
    fn acknowledge_now(&self);
}

impl Transport for TcpStream {
    fn acknowledge_now(&self) {
        // A courtesy: without it the client is slower, not wrong.
        let _ = rustix::net::sockopt::set_tcp_quickack(self, true);
    }
}
