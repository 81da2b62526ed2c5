//! A network that fails: connections go through a port of this process, which may keep back answers and cut them.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::wait;

/// Forwards connections to a server. The port is open until the process ends.
#[derive(Clone, Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    server: Mutex<Option<SocketAddr>>,
    /// Both ends of each connection.
    connections: Mutex<Vec<[TcpStream; 2]>>,
    /// Answers are read and dropped.
    keeps_back: AtomicBool,
    /// Pieces of answers that were dropped.
    kept_back: AtomicU64,
}

impl Proxy {
    /// Opens a port. Until [`Proxy::forward_to`] connections are closed at once.
    ///
    /// # Errors
    /// When the machine has no free port.
    pub fn open() -> io::Result<Proxy> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let proxy = Proxy {
            address: listener.local_addr()?,
            state: Arc::default(),
        };
        let state = Arc::clone(&proxy.state);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A server that is away looks like this to a client: the connection ends.
                let _ = state.connect(client);
            }
        });
        Ok(proxy)
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections go there from now on.
    pub fn forward_to(&self, server: SocketAddr) {
        *locked(&self.state.server) = Some(server);
    }

    /// Keeps answers back from now on, until [`Proxy::cut`].
    pub fn keep_answers_back(&self) {
        self.state.kept_back.store(0, Ordering::SeqCst);
        self.state.keeps_back.store(true, Ordering::SeqCst);
    }

    /// Waits until an answer was kept back: what the server did then, its client does not know. False when there was none
    /// within `limit`.
    pub fn has_kept_back(&self, limit: Duration) -> bool {
        let any = || (self.state.kept_back.load(Ordering::SeqCst) > 0).then_some(());
        wait::until(limit, any).is_some()
    }

    /// Cuts all connections. New ones are good again.
    pub fn cut(&self) {
        let mut connections = locked(&self.state.connections);
        for stream in connections.drain(..).flatten() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.state.keeps_back.store(false, Ordering::SeqCst);
    }
}

impl State {
    fn connect(self: &Arc<Self>, client: TcpStream) -> io::Result<()> {
        let server = locked(&self.server).ok_or(io::ErrorKind::NotConnected)?;
        let server = TcpStream::connect(server)?;
        // Requests are small, and clients wait for their answers.
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let ends = [client.try_clone()?, server.try_clone()?];
        locked(&self.connections).push(ends);
        let (from, to) = (client.try_clone()?, server.try_clone()?);
        thread::spawn(move || copy(from, to, |_| true));
        let state = Arc::clone(self);
        thread::spawn(move || copy(server, client, |_| state.lets_through()));
        Ok(())
    }

    fn lets_through(&self) -> bool {
        if !self.keeps_back.load(Ordering::SeqCst) {
            return true;
        }
        self.kept_back.fetch_add(1, Ordering::SeqCst);
        false
    }
}

/// Copies until one end closes, and closes the other.
fn copy(mut from: TcpStream, mut to: TcpStream, lets_through: impl Fn(&[u8]) -> bool) {
    let mut piece = [0; 1 << 16];
    while let Ok(read) = from.read(&mut piece) {
        let piece = &piece[..read];
        if read == 0 || (lets_through(piece) && to.write_all(piece).is_err()) {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    /// A server that answers each byte with the next one.
    fn server() -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                thread::spawn(move || {
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).is_ok() {
                        if stream.write_all(&[byte[0] + 1]).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        address
    }

    #[test]
    fn answers_are_lost_and_connections_cut_and_new_ones_are_good() {
        let proxy = Proxy::open().expect("a port");
        proxy.forward_to(server());
        let mut byte = [0];
        let mut first = TcpStream::connect(proxy.address()).expect("connected");
        first.write_all(&[1]).expect("sent");
        first.read_exact(&mut byte).expect("answered");
        assert_eq!(byte, [2]);

        proxy.keep_answers_back();
        assert!(!proxy.has_kept_back(Duration::ZERO), "nothing was asked");
        first.write_all(&[3]).expect("sent");
        assert!(proxy.has_kept_back(LIMIT), "it was answered");
        proxy.cut();
        assert!(first.read_exact(&mut byte).is_err(), "the answer is lost");

        let mut second = TcpStream::connect(proxy.address()).expect("connected");
        second.write_all(&[5]).expect("sent");
        second.read_exact(&mut byte).expect("answered");
        assert_eq!(byte, [6]);
    }

    #[test]
    fn a_server_that_is_away_closes_the_connection() {
        let proxy = Proxy::open().expect("a port");
        let mut client = TcpStream::connect(proxy.address()).expect("connected");
        assert_eq!(client.read(&mut [0]).ok(), Some(0));
    }
}
