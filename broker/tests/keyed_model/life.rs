//! Lives of a broker on one directory: inside the test's process, where it is stopped in order, and
//! as a process of its own, which is killed. And connections to it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::IncrementalAlterConfigsRequest;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use protocol::fluss::messages::PutKvRequest;
use storage::env::simulated::SeededRandomness;
use vltava::server::Server;

use crate::common::fluss::Client;
use crate::common::kafka::text;
use crate::common::kafka_peer::Kafka;
use crate::common::process::{Broker, Settings, start_and_kill};
use crate::common::{self};

/// A start that is killed lasts so long at most.
const KILLED_START_MS: u64 = 60;
const TOPIC: i8 = 2;

/// A running broker.
pub(crate) enum Life {
    Inside(Server),
    Child(Broker),
}

impl Life {
    pub(crate) async fn start(child: bool, data: &Path, settings: &Settings) -> Life {
        if child {
            return Life::Child(Broker::start(data, settings));
        }
        let data = data.to_str().expect("a path in UTF-8");
        let all = [
            ("listeners", "PLAINTEXT://127.0.0.1:0"),
            ("bind.listeners", "FLUSS://127.0.0.1:0"),
            ("vltava.http.listen", "127.0.0.1:0"),
            ("data.dir", data),
            ("vltava.shutdown.timeout.ms", "5000"),
        ];
        let all = all
            .into_iter()
            .chain(settings.iter().map(|(k, v)| (*k, v.as_str())));
        let all = all.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let server = common::start(&all.collect()).await;
        Life::Inside(server.expect("the broker starts"))
    }

    fn addresses(&self) -> (SocketAddr, SocketAddr) {
        match self {
            Life::Inside(server) => {
                let addresses = server.addresses();
                (addresses.kafka[0].1, addresses.fluss[0].1)
            }
            Life::Child(broker) => (broker.kafka, broker.fluss),
        }
    }

    /// In order.
    pub(crate) async fn stop(self) {
        match self {
            Life::Inside(server) => server.stop().await,
            Life::Child(mut broker) => broker.stop(),
        }
    }

    /// With SIGKILL, and sometimes again while it starts.
    pub(crate) fn kill(self, data: &Path, settings: &Settings, random: &SeededRandomness) {
        let Life::Child(mut broker) = self else {
            panic!("the test's own process is not killed");
        };
        broker.kill();
        while random.once_in(4) {
            let after = Duration::from_millis(random.below(KILLED_START_MS));
            start_and_kill(data, settings, after);
        }
    }
}

/// What a client sends to write.
#[derive(Debug, Clone)]
pub(crate) enum Message {
    Fluss(PutKvRequest),
    Kafka {
        topic: String,
        partition: i32,
        batch: Bytes,
    },
}

/// What is answered: for each bucket its log end behind the batch, or the batch's base offset.
pub(crate) type Answer = Vec<(i32, i64)>;

/// Connections to a life of the broker.
pub(crate) struct Clients {
    pub(crate) kafka: Kafka,
    pub(crate) fluss: Client,
    /// Does not write, and sees what others wrote.
    pub(crate) reader: Client,
}

impl Clients {
    pub(crate) async fn connect(life: &Life) -> Clients {
        let (kafka, fluss) = life.addresses();
        Clients {
            kafka: Kafka::connect(kafka).await.expect("connected"),
            fluss: Client::connect(fluss).await,
            reader: Client::connect(fluss).await,
        }
    }

    /// Sends and waits: what was answered, or the first error's code.
    pub(crate) async fn deliver(&mut self, message: &Message) -> Result<Answer, i32> {
        match message {
            Message::Fluss(request) => {
                let answer = self.fluss.ask(request.clone()).await.expect("an answer");
                let buckets = answer.buckets_resp.into_iter();
                let ends = buckets.map(|bucket| match bucket.error_code {
                    Some(code) => Err(code),
                    None => Ok((bucket.bucket_id, bucket.log_end_offset.expect("an end"))),
                });
                ends.collect()
            }
            Message::Kafka {
                topic,
                partition,
                batch,
            } => {
                let sent = self.kafka.send_batch(topic, *partition, batch.clone());
                sent.await.expect("sent");
                let answer = self.kafka.acknowledged().await.expect("an answer");
                let answer = answer.map(|base| vec![(*partition, base)]);
                answer.map_err(i32::from)
            }
        }
    }

    /// Makes a compacted topic, of which little stays uncleaned.
    pub(crate) async fn compacted(&mut self, name: &str, partitions: i32, partitioner: &str) {
        let configs = [
            ("cleanup.policy", "compact"),
            ("vltava.key.partitioner", partitioner),
            ("min.cleanable.dirty.ratio", "0.01"),
        ];
        let created = self.kafka.create_topic_with(name, partitions, &configs);
        let answer = created.await.expect("an answer");
        assert_eq!(answer.error_code, 0, "{answer:?}");
    }

    /// Sets a setting of a topic.
    pub(crate) async fn set(&mut self, topic: &str, name: &str, value: &str) {
        let config = AlterableConfig::default()
            .with_name(text(name))
            .with_value(Some(text(value)));
        let resource = AlterConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(topic))
            .with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let answer = self.kafka.ask(1, request).await.expect("an answer");
        assert_eq!(answer.responses[0].error_code, 0, "{answer:?}");
    }
}

/// A connection on which a table's requests are under way, to be broken by a kill.
pub(crate) enum Flight {
    /// With the numbers of the requests.
    Fluss(Client, Vec<i32>),
    /// With how many were answered.
    Kafka(Kafka, usize),
}

impl Flight {
    /// Sends requests of one wire without waiting for their answers.
    pub(crate) async fn start<'m>(
        life: &Life,
        messages: impl Iterator<Item = &'m Message>,
    ) -> Flight {
        use prost::Message as _;
        use protocol::fluss::api::Request;
        let (kafka, fluss) = life.addresses();
        let mut flight = None;
        for message in messages {
            match (message, &mut flight) {
                (Message::Fluss(request), slot) => {
                    if slot.is_none() {
                        *slot = Some(Flight::Fluss(Client::connect(fluss).await, Vec::new()));
                    }
                    let Some(Flight::Fluss(client, ids)) = slot else {
                        panic!("one wire at a time");
                    };
                    let key = PutKvRequest::KEY.code();
                    ids.push(client.send(key, 0, &request.encode_to_vec()).await);
                }
                (
                    Message::Kafka {
                        topic,
                        partition,
                        batch,
                    },
                    slot,
                ) => {
                    if slot.is_none() {
                        let kafka = Kafka::connect(kafka).await.expect("connected");
                        *slot = Some(Flight::Kafka(kafka, 0));
                    }
                    let Some(Flight::Kafka(client, _)) = slot else {
                        panic!("one wire at a time");
                    };
                    let sent = client.send_batch(topic, *partition, batch.clone());
                    sent.await.expect("sent");
                }
            }
        }
        flight.expect("at least one request")
    }

    /// The next answer: the place of its request, and what was answered.
    pub(crate) async fn answer(&mut self, messages: &[Message]) -> (usize, Answer) {
        match self {
            Flight::Fluss(client, ids) => {
                let answer = client.try_receive::<PutKvRequest>().await;
                let (id, answer) = answer.expect("an answer");
                let place = ids.iter().position(|sent| *sent == id);
                let ends = answer.buckets_resp.iter().map(|bucket| {
                    assert_eq!(bucket.error_code, None, "{bucket:?}");
                    (bucket.bucket_id, bucket.log_end_offset.expect("an end"))
                });
                (place.expect("it was sent"), ends.collect())
            }
            Flight::Kafka(client, answered) => {
                let answer = client.acknowledged().await.expect("an answer");
                let base = answer.unwrap_or_else(|code| panic!("error {code}"));
                let place = *answered;
                *answered += 1;
                let Message::Kafka { partition, .. } = &messages[place] else {
                    panic!("one wire at a time");
                };
                (place, vec![(*partition, base)])
            }
        }
    }
}
