//! The Kafka wire as the connections see it: a frame in, an answer out.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;
use protocol::kafka::api;
use protocol::kafka::request::RequestFrame;

use super::dispatch;
use super::fetch_pace::FetchPace;
use super::fetch_session::FetchSessions;
use crate::broker::Broker;
use crate::metrics::ApiMeter;
use crate::metrics::table::KAFKA;
use crate::net::{Answer, Order, Peer, Started, Wire};

/// The Kafka wire.
pub struct KafkaWire {
    shared: Arc<Shared>,
}

/// What the handlers of all connections share.
pub struct Shared {
    /// The core.
    pub broker: Arc<Broker>,
    /// Fetch sessions (KIP-227).
    pub fetch_sessions: FetchSessions,
    /// Where the requests of each API are counted.
    meters: HashMap<i16, Arc<ApiMeter>>,
}

/// What a handler knows of the request besides its message.
#[derive(Clone)]
pub struct Context {
    /// What all handlers share.
    pub shared: Arc<Shared>,
    /// The connection.
    pub peer: Arc<Peer>,
    /// How fast its fetches follow one another.
    pub fetch_pace: Arc<FetchPace>,
    /// What the client calls itself; empty when it says nothing.
    pub client_id: StrBytes,
    /// The version of the request and of its answer.
    pub version: i16,
    /// Goes back with the answer.
    pub correlation_id: i32,
    /// Where the request is counted.
    pub meter: Arc<ApiMeter>,
}

impl Context {
    /// The core.
    pub fn broker(&self) -> &Arc<Broker> {
        &self.shared.broker
    }
}

impl KafkaWire {
    /// The wire over a broker.
    pub fn new(broker: Arc<Broker>) -> KafkaWire {
        let fetch_sessions = FetchSessions::new(broker.config().fetch().sessions_max);
        let meters = api::APIS
            .iter()
            .map(|api| (api.key as i16, broker.metrics.api(&KAFKA, api.name)))
            .collect();
        KafkaWire {
            shared: Arc::new(Shared {
                broker,
                fetch_sessions,
                meters,
            }),
        }
    }
}

/// What is remembered of a connection.
pub struct Client {
    peer: Arc<Peer>,
    fetch_pace: Arc<FetchPace>,
}

impl Wire for KafkaWire {
    type ConnectionState = Client;

    fn name(&self) -> &'static str {
        "kafka"
    }

    fn connected(&self, peer: &Peer) -> Client {
        Client {
            peer: Arc::new(peer.clone()),
            fetch_pace: Arc::default(),
        }
    }

    async fn start(&self, client: &mut Client, frame: Bytes) -> Started {
        let request = match RequestFrame::read(frame) {
            Ok(request) => request,
            Err(error) => {
                tracing::info!(client = %client.peer.address, %error, "closing a connection with an unreadable request");
                return Started::now(Order::InOrder, Answer::Close("unreadable request"));
            }
        };
        if !request.is_served() {
            let answer = api::unsupported_api_versions(request.correlation_id);
            return Started::now(Order::InOrder, Answer::Chunks(vec![answer]));
        }
        let meters = &self.shared.meters;
        let meter = match meters.get(&(request.api.key as i16)) {
            Some(meter) => Arc::clone(meter),
            None => Arc::new(ApiMeter::none()),
        };
        let context = Context {
            shared: Arc::clone(&self.shared),
            peer: Arc::clone(&client.peer),
            fetch_pace: Arc::clone(&client.fetch_pace),
            client_id: request.client_id.clone().unwrap_or_default(),
            version: request.version,
            correlation_id: request.correlation_id,
            meter: Arc::clone(&meter),
        };
        dispatch::start(context, request).await.measured(meter)
    }

    fn answer_to_panic(&self, _head: &[u8]) -> Answer {
        // Each API has its own place for an error and none for "the whole request": a closed
        // connection is what every client understands and recovers from.
        Answer::Close("a handler panicked")
    }
}
