//! The Fluss wire as the connections see it: a frame in, an answer out.

use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use protocol::fluss::api::{ApiKey, SMALL_BODY_BYTES_MAX};
use protocol::fluss::error::ErrorCode;
use protocol::fluss::frame::{FrameTooLong, RequestFrame, encode_error};
use tokio::time::Instant;

use super::dispatch::{self, SERVED};
use super::error::Failure;
use super::login::Login;
use super::room;
use super::scanners::Scanners;
use crate::broker::Broker;
use crate::config::Security;
use crate::memory::{Grant, Share};
use crate::metrics::{ApiMeter, table};
use crate::net::{Answer, Order, Peer, Started, Wire};

/// How long an answer waits for memory.
const MEMORY_WAIT: Duration = Duration::from_secs(5);

/// The Fluss wire.
pub struct FlussWire {
    shared: Arc<Shared>,
    meters: HashMap<ApiKey, Arc<ApiMeter>>,
    /// Names of the listeners whose clients must log in.
    secured: BTreeSet<String>,
}

/// What the handlers of all connections share.
pub struct Shared {
    /// The core.
    pub broker: Arc<Broker>,
    /// Held while a partition is made, so that the limit of a table is counted and kept.
    pub partition_turn: Mutex<()>,
    /// The scans of SCAN_KV that are under way.
    pub scanners: Scanners,
}

/// What the wire remembers about a connection.
pub struct Connection {
    peer: Arc<Peer>,
    fetch_share: Arc<Share>,
    /// Who the client is, or that it has yet to say so.
    pub login: Login,
}

/// What a handler knows of the request besides its message.
#[derive(Clone)]
pub struct Context {
    /// What all handlers share.
    pub shared: Arc<Shared>,
    /// The connection.
    pub peer: Arc<Peer>,
    /// What its fetches may hold together: they are answered in any order, many at a time.
    pub fetch_share: Arc<Share>,
    /// What is asked.
    pub api: ApiKey,
    /// In which version.
    pub version: i16,
    /// Goes back with the answer.
    pub request_id: i32,
    /// Counts the request and the errors of its answer.
    pub meter: Arc<ApiMeter>,
}

/// An answer with records.
pub struct Records {
    /// Message and records.
    pub chunks: Result<Vec<Bytes>, FrameTooLong>,
    /// Its part of the fetch memory, held until the answer has left.
    pub grant: Option<Grant>,
}

impl Context {
    /// The core.
    pub fn broker(&self) -> &Arc<Broker> {
        &self.shared.broker
    }

    /// So much of the fetch memory, for an answer that is not waited for with a long poll.
    pub async fn memory(&self, bytes: usize) -> Result<Grant, Failure> {
        self.memory_within(bytes..=bytes).await
    }

    /// The most of `bytes` if that is there at once, or what comes, and that is the least.
    pub async fn memory_within(&self, bytes: RangeInclusive<usize>) -> Result<Grant, Failure> {
        let deadline = Instant::now() + MEMORY_WAIT;
        let memory = &self.broker().fetch_memory;
        let grant = memory.grant_within(&self.fetch_share, bytes, deadline);
        grant.await.ok_or_else(room::late)
    }
}

impl FlussWire {
    /// The wire over a broker.
    pub fn new(broker: Arc<Broker>) -> FlussWire {
        let listeners = broker.config().fluss_listeners();
        let secured = listeners
            .into_iter()
            .filter(|l| l.security == Security::Sasl);
        let meter = |key: &ApiKey| (*key, broker.metrics.api(&table::FLUSS, key.name()));
        FlussWire {
            secured: secured.map(|listener| listener.name).collect(),
            meters: dispatch::KEYS.iter().map(meter).collect(),
            shared: Arc::new(Shared {
                scanners: Scanners::new(
                    broker.env.clone(),
                    broker.config().scanners(),
                    broker.metrics.kv_scans(),
                ),
                broker,
                partition_turn: Mutex::new(()),
            }),
        }
    }

    /// What the handlers share, for the tasks around them.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Refuses what no handler shall see.
    fn check(&self, connection: &Connection, request: &RequestFrame) -> Result<ApiKey, Refusal> {
        let api = SERVED
            .resolve(request.api_key, request.api_version)
            .ok_or_else(|| {
                let (key, version) = (request.api_key, request.api_version);
                let text = format!("API key {key} is not served in version {version}");
                (ErrorCode::UnsupportedVersion, text)
            })?;
        if !api.before_authentication && !connection.login.is_done() {
            let text = format!(
                "{} needs a login on listener {}",
                api.key, connection.peer.listener
            );
            return Err((ErrorCode::Authenticate, text));
        }
        if !api.carries_records && request.body.len() > SMALL_BODY_BYTES_MAX {
            let text = format!(
                "{} of {} bytes is larger than {SMALL_BODY_BYTES_MAX}",
                api.key,
                request.body.len()
            );
            return Err((ErrorCode::RecordTooLarge, text));
        }
        Ok(api.key)
    }
}

type Refusal = (ErrorCode, String);

impl Wire for FlussWire {
    type ConnectionState = Connection;

    fn name(&self) -> &'static str {
        "fluss"
    }

    fn connected(&self, peer: &Peer) -> Connection {
        let login = Login::new(self.secured.contains(&*peer.listener));
        Connection {
            peer: Arc::new(peer.clone()),
            fetch_share: Arc::new(self.shared.broker.fetch_memory.share()),
            login,
        }
    }

    /// fluss-rs leaves Nagle's algorithm on: a write behind a long poll waited 40 ms.
    fn acknowledges_at_once(&self) -> bool {
        true
    }

    async fn start(&self, connection: &mut Connection, frame: Bytes) -> Started {
        let request = match RequestFrame::parse(frame) {
            Ok(request) => request,
            Err(error) => {
                tracing::info!(client = %connection.peer.address, %error, "closing a connection with an unreadable request");
                return Started::now(Order::AnyOrder, Answer::Close("unreadable request"));
            }
        };
        let api = match self.check(connection, &request) {
            Ok(api) => api,
            Err((code, text)) => {
                tracing::info!(client = %connection.peer.address, cause = text, "refused a request");
                let answer = encode_error(request.request_id, code, Some(&text));
                return Started::now(Order::AnyOrder, Answer::Chunks(vec![answer]));
            }
        };
        let meter = self.meters.get(&api).expect("every served API has a meter");
        let context = Context {
            shared: Arc::clone(&self.shared),
            peer: Arc::clone(&connection.peer),
            fetch_share: Arc::clone(&connection.fetch_share),
            api,
            version: request.api_version,
            request_id: request.request_id,
            meter: Arc::clone(meter),
        };
        dispatch::start(context, &mut connection.login, request.body)
            .await
            .measured(Arc::clone(meter))
    }

    fn answer_to_panic(&self, head: &[u8]) -> Answer {
        /// Behind the API key and its version.
        const REQUEST_ID_AT: usize = 4;
        match head.get(REQUEST_ID_AT..).and_then(<[u8]>::first_chunk) {
            Some(id) => {
                let code = ErrorCode::UnknownServerError;
                Answer::Chunks(vec![encode_error(i32::from_be_bytes(*id), code, None)])
            }
            None => Answer::Close("a handler panicked"),
        }
    }
}
