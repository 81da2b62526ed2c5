//! What a wire is to the connections: frames in, answers out.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::metrics::ApiMeter;

/// One of the two protocols, as the connections see it.
///
/// For each frame of a connection, in the order of arrival, [`Wire::start`] is called and awaited;
/// the next frame waits until it has returned. What must happen in the order of the requests
/// (parsing, enqueueing an append, changing the connection's state) belongs there. What may take
/// long (a sync, a long poll, a read from disk) belongs into the answer that it returns.
///
/// ```text
/// frame 1 ─ start ─┐
/// frame 2          └ start ─┐
/// answer 1  ················└··········■            leaves first, when InOrder
/// answer 2                    ·····■                may leave first, when AnyOrder
/// ```
///
/// A panic in a stage is logged and answered with [`Wire::answer_to_panic`]. After a panic while
/// starting, the state of the connection is unknown, so the connection is closed behind the answer.
///
/// An answer is dropped, at any await point, when the client has gone: it must not be the only one
/// who finishes what was begun.
pub trait Wire: Send + Sync + 'static {
    /// What the wire remembers about a connection: who is logged in, the client's name. There is
    /// one for each connection, so it is kept small.
    type ConnectionState: Send + 'static;

    /// The wire's name in logs and metrics.
    fn name(&self) -> &'static str;

    /// A client has connected.
    fn connected(&self, peer: &Peer) -> Self::ConnectionState;

    /// Starts the request in `frame`, which comes without its length prefix and may be empty.
    fn start(
        &self,
        state: &mut Self::ConnectionState,
        frame: Bytes,
    ) -> impl Future<Output = Started> + Send;

    /// Whether clients are known to send with Nagle's algorithm on. What they sent is acknowledged
    /// at once then, which costs a packet for each request that is not answered on the spot.
    fn acknowledges_at_once(&self) -> bool {
        false
    }

    /// The answer to a request whose handler panicked. `head` holds the first bytes of its frame,
    /// at most [`HEAD_BYTES`].
    fn answer_to_panic(&self, head: &[u8]) -> Answer;
}

/// How much of a frame is kept for [`Wire::answer_to_panic`]: the fixed part of the request header
/// of both wires (API key, version, correlation id) fits.
pub const HEAD_BYTES: usize = 16;

/// The two ends of a connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The client's end.
    pub address: SocketAddr,
    /// Our end: the address that this client could reach, even when we listen on all of them.
    pub local: SocketAddr,
    /// The name of the listener, such as `PLAINTEXT` or `FLUSS`.
    pub listener: Arc<str>,
}

/// A request whose first stage is over.
#[must_use]
pub struct Started {
    /// The answer, or the way to it.
    pub answer: Pending,
    /// When the answer may leave.
    pub order: Order,
    /// Where the request is counted; none for frames that are no request.
    pub meter: Option<Arc<ApiMeter>>,
}

impl Started {
    /// A request that is answered already.
    pub fn now(order: Order, answer: Answer) -> Self {
        Self {
            answer: Pending::Now(answer),
            order,
            meter: None,
        }
    }

    /// A request that is answered by and by.
    pub fn later(order: Order, answer: impl Future<Output = Answer> + Send + 'static) -> Self {
        Self {
            answer: Pending::Later(Box::pin(answer)),
            order,
            meter: None,
        }
    }

    /// Counts the request, its bytes and its time with `meter`.
    pub fn measured(mut self, meter: Arc<ApiMeter>) -> Self {
        self.meter = Some(meter);
        self
    }
}

/// An answer, or the way to it.
pub enum Pending {
    /// The answer is there.
    Now(Answer),
    /// The answer comes when the future completes. All pending answers of a connection are polled
    /// at the same time, but those that wait for their turn.
    Later(BoxFuture<'static, Answer>),
}

/// When an answer may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// After the answers of all earlier requests that are in order.
    InOrder,
    /// The same, and it is not begun before these have left: of what it holds, a connection has
    /// one at a time. A wait for it holds up no request that is [`Order::InOrder`] in starting.
    InTurn,
    /// As soon as it is there.
    AnyOrder,
}

/// Something that an answer holds on to while it is in memory; dropping it gives it back.
pub trait Held: Send + 'static {
    /// True while others wait for it: a client that takes nothing is given less time.
    fn is_wanted(&self) -> bool;
}

/// What an answer holds.
pub struct Hold(Box<dyn Held>);

impl Hold {
    /// Holds something.
    pub fn new(held: impl Held) -> Self {
        Hold(Box::new(held))
    }

    /// True while others wait for it.
    pub(crate) fn is_wanted(&self) -> bool {
        self.0.is_wanted()
    }
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hold").finish_non_exhaustive()
    }
}

/// What goes back to the client.
#[derive(Debug)]
pub enum Answer {
    /// These bytes, one after the other. The wire has put its own length prefix in front.
    Chunks(Vec<Bytes>),
    /// The same, and something that is kept until the socket has taken the last of them.
    Held(Vec<Bytes>, Hold),
    /// Nothing: the protocol has no answer to this request (Kafka: acks=0).
    Nothing,
    /// The connection is closed behind the answers that are already waiting. The reason is logged.
    Close(&'static str),
}
