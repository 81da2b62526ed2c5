//! Ports on loopback for servers that must know theirs before they start, or keep it over restarts.

use std::fs::{self, File, TryLockError};
use std::io;
use std::net::TcpListener;
use std::ops::RangeInclusive;
use std::process;
use std::sync::{Mutex, PoisonError};

use crate::cache;

/// Below it the system's own services are.
const FIRST: u16 = 10_000;

/// Where Linux hands out ports, unless the machine says otherwise.
const EPHEMERAL: RangeInclusive<u16> = 32_768..=60_999;

/// So many ports are enough for all suites.
const ENOUGH: usize = 2_000;

/// What this process was given: locks that end with it.
static TAKEN: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// `count` different ports that nobody listens on, and that nobody else is given until this process ends.
///
/// Where the machine leaves any, they are none that the system hands out by itself: a server that was killed and starts
/// again on its port could find there the end of somebody's connection, or another server that asked for any port.
///
/// # Errors
/// When there are not so many, or the cache directory cannot be written.
pub fn free(count: usize) -> io::Result<Vec<u16>> {
    let locks = cache::directory("ports")?;
    let range = own_range();
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut ports = Vec::with_capacity(count);
    // Who locks elsewhere begins elsewhere.
    let begin = process::id() as usize * 31 % range.len();
    for port in range.clone().cycle().skip(begin).take(range.len()) {
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
fn own_range() -> RangeInclusive<u16> {
    let ephemeral = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    range_beside(
        ephemeral
            .ok()
            .and_then(|text| parsed(&text))
            .unwrap_or(EPHEMERAL),
    )
}

fn parsed(text: &str) -> Option<RangeInclusive<u16>> {
    let mut ends = text.split_whitespace().map(str::parse);
    Some(ends.next()?.ok()?..=ends.next()?.ok()?)
}

/// Below it, or above; where the system hands out nearly all, there is nothing better than the usual.
fn range_beside(ephemeral: RangeInclusive<u16>) -> RangeInclusive<u16> {
    let below = FIRST..=ephemeral.start().saturating_sub(1);
    let above = ephemeral.end().saturating_add(1).max(FIRST)..=u16::MAX;
    [below, above]
        .into_iter()
        .find(|range| range.len() >= ENOUGH)
        .unwrap_or(FIRST..=EPHEMERAL.start() - 1)
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
        assert!(given.iter().all(|port| own_range().contains(port)));
    }

    #[test]
    fn ports_are_none_that_the_system_hands_out() {
        let beside = |text| range_beside(parsed(text).expect("two numbers"));
        assert_eq!(beside("32768\t60999\n"), FIRST..=32_767);
        assert_eq!(beside("1024 61000"), 61_001..=u16::MAX);
        assert_eq!(beside("9000 10500"), 10_501..=u16::MAX);
        // None are left.
        assert_eq!(beside("1024 65535"), FIRST..=32_767);
    }
}
