//! Free ports on loopback for servers that cannot pick one themselves.

use std::io;
use std::net::TcpListener;

/// `count` different free ports. They are released before they are returned, so another process may take one: a server
/// that then fails to bind is started again with others.
///
/// # Errors
/// When the machine has no free port.
pub fn free(count: usize) -> io::Result<Vec<u16>> {
    let listeners = (0..count)
        .map(|_| TcpListener::bind(("127.0.0.1", 0)))
        .collect::<io::Result<Vec<_>>>()?;
    listeners
        .iter()
        .map(|listener| Ok(listener.local_addr()?.port()))
        .collect()
}
