//! Ports on loopback for servers that must know theirs before they start, or keep it over restarts.

use std::fs::{self, File, TryLockError};
use std::io;
use std::net::TcpListener;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crate::cache;

/// Below it the system's own services are.
const FIRST: u16 = 10_000;

/// Where Linux begins with the ports that it hands out, unless the machine says otherwise.
const EPHEMERAL: u16 = 32_768;

/// What this process was given: locks that end with it.
static TAKEN: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// `count` different ports that nobody listens on, and that nobody else is given until this process ends.
///
/// None of them is a port that the system hands out by itself: a server that was killed and starts again on its port
/// could find there the end of somebody's connection, or another server that asked for any port.
///
/// # Errors
/// When there are not so many, or the cache directory cannot be written.
pub fn free(count: usize) -> io::Result<Vec<u16>> {
    let locks = cache::directory("ports")?;
    let range = own_range();
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut ports = Vec::with_capacity(count);
    for port in range.clone() {
        if ports.len() == count {
            break;
        }
        let lock = File::create(locks.join(port.to_string()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => continue,
            Err(TryLockError::Error(cause)) => return Err(cause),
        }
        // Held also when somebody listens there, so that the next call need not ask again.
        taken.push(lock);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            ports.push(port);
        }
    }
    if ports.len() < count {
        return Err(io::Error::other(format!(
            "{count} ports are asked for, {} of {range:?} are free",
            ports.len()
        )));
    }
    Ok(ports)
}

/// Ports that the system does not hand out.
fn own_range() -> Range<u16> {
    let ephemeral = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .unwrap_or(EPHEMERAL);
    FIRST..ephemeral
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::thread;

    #[test]
    fn no_port_is_given_twice() {
        let callers: Vec<_> = (0..8)
            .map(|_| thread::spawn(|| free(3).expect("ports")))
            .collect();
        let given: Vec<u16> = callers
            .into_iter()
            .flat_map(|caller| caller.join().expect("no panic"))
            .collect();
        assert_eq!(given.iter().collect::<HashSet<_>>().len(), 24);
        let any = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let handed_out = any.local_addr().expect("an address").port();
        assert!(!own_range().contains(&handed_out));
        assert!(given.iter().all(|port| own_range().contains(port)));
    }
}
