//! A producer of either wire, with several batches in flight and an account of all of them.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use prost::Message;
use protocol::fluss::api::Request;
use protocol::fluss::arrow_message::BufferCodec;
use protocol::fluss::messages::{InitWriterRequest, ProduceLogRequest};
use protocol::kafka::builder::BatchProducer;
use protocol::kafka::compression::Codec;
use storage::env::simulated::SeededRandomness;

use crate::common::fluss::{Client, batch, produce};
use crate::common::kafka_peer::Kafka;
use crate::common::records::{Row, fluss_batch, kafka_batch};
use crate::{Table, Wire};

/// Brokers remember the last five batches of a producer; clients have no more in flight.
const IN_FLIGHT_MAX: u64 = 5;
/// Records of one writer; each has the writer's number times this added, so that all differ.
const RECORDS_PER_WRITER: i64 = 100_000_000;

/// A batch that was sent.
#[derive(Debug, Clone, Copy)]
struct Sent {
    first: i64,
    count: i64,
    sequence: i32,
}

/// A batch that was acknowledged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Acknowledged {
    /// The offset that the broker named.
    pub(crate) base: i64,
    /// The first record.
    pub(crate) first: i64,
    /// How many there are.
    pub(crate) count: i64,
}

/// A producer, across the broker's lives.
pub(crate) struct Writer {
    wire: Wire,
    idempotent: bool,
    table: Table,
    producer: Option<(i64, i16)>,
    next_record: i64,
    next_sequence: i32,
    /// Sent and not acknowledged, in order.
    in_flight: VecDeque<Sent>,
    /// What was acknowledged since the last verification that took it.
    pub(crate) acknowledged: Vec<Acknowledged>,
    /// Batches that were sent a second time.
    pub(crate) resent: u64,
}

/// The writer that wrote a record.
pub(crate) fn writer_of(record: i64) -> i64 {
    record / RECORDS_PER_WRITER
}

impl Writer {
    pub(crate) fn new(number: i64, wire: Wire, idempotent: bool, table: Table) -> Writer {
        Writer {
            wire,
            idempotent,
            table,
            producer: None,
            next_record: number * RECORDS_PER_WRITER,
            next_sequence: 0,
            in_flight: VecDeque::new(),
            acknowledged: Vec::new(),
            resent: 0,
        }
    }

    /// Writes until the broker is gone.
    pub(crate) async fn write(mut self, kafka: SocketAddr, fluss: SocketAddr, seed: u64) -> Writer {
        let random = SeededRandomness::new(seed);
        let gone = match self.wire {
            Wire::Kafka => self.write_kafka(kafka, &random).await,
            Wire::Fluss => self.write_fluss(fluss, &random).await,
        };
        assert!(gone.is_err());
        if !self.idempotent {
            // Sent again they could be there twice. They are there once or not at all.
            self.in_flight.clear();
        }
        self
    }

    async fn write_kafka(&mut self, address: SocketAddr, random: &SeededRandomness) -> Gone {
        let mut kafka = Kafka::connect(address).await?;
        if self.idempotent && self.producer.is_none() {
            self.producer = Some(kafka.producer_id().await?);
        }
        let topic = self.table.topic.clone();
        loop {
            for sent in self.next_burst(random) {
                kafka.send_batch(&topic, 0, self.batch(sent)).await?;
            }
            while let Some(first) = self.in_flight.front().map(|sent| sent.first) {
                let acknowledged = kafka.acknowledged().await?;
                let base = acknowledged.unwrap_or_else(|code| panic!("{topic}: error {code}"));
                self.acknowledge(first, base);
            }
        }
    }

    async fn write_fluss(&mut self, address: SocketAddr, random: &SeededRandomness) -> Gone {
        let mut fluss = Client::try_connect(address).await?;
        if self.idempotent && self.producer.is_none() {
            let answer = fluss.try_ask(InitWriterRequest::default()).await?;
            self.producer = Some((answer.writer_id, 0));
        }
        loop {
            let mut firsts = HashMap::new();
            for sent in self.next_burst(random) {
                let request = produce(-1, self.table.id, 0, self.batch(sent)).encode_to_vec();
                let key = ProduceLogRequest::KEY.code();
                firsts.insert(fluss.try_send(key, 0, &request).await?, sent.first);
            }
            while !firsts.is_empty() {
                let (request, answer) = fluss.try_receive::<ProduceLogRequest>().await?;
                let bucket = &answer.buckets_resp[0];
                assert_eq!(bucket.error_code, None, "{bucket:?}");
                let first = firsts.remove(&request).expect("one of the requests");
                self.acknowledge(first, bucket.base_offset.expect("an offset"));
            }
        }
    }

    /// What to send together: first what was not acknowledged, else new batches.
    fn next_burst(&mut self, random: &SeededRandomness) -> Vec<Sent> {
        if !self.in_flight.is_empty() {
            self.resent += self.in_flight.len() as u64;
            return self.in_flight.iter().copied().collect();
        }
        for _ in 0..1 + random.below(IN_FLIGHT_MAX) {
            let count = 1 + random.below(12) as i64;
            self.in_flight.push_back(Sent {
                first: self.next_record,
                count,
                sequence: self.next_sequence,
            });
            self.next_record += count;
            // Kafka counts records, Fluss counts batches.
            self.next_sequence += match self.wire {
                Wire::Kafka => count as i32,
                Wire::Fluss => 1,
            };
        }
        self.in_flight.iter().copied().collect()
    }

    /// The bytes of a batch: the same whenever they are sent.
    fn batch(&self, sent: Sent) -> Bytes {
        let records = sent.first..sent.first + sent.count;
        let writer = self.producer.map(|(id, _)| (id, sent.sequence));
        if !self.table.raw {
            return batch(sent.first as i32..records.end as i32, writer);
        }
        let row = |record: i64| Row::of_value(record.to_string(), 1_700_000_000_000 + record);
        let rows: Vec<_> = records.map(row).collect();
        match self.wire {
            Wire::Kafka => {
                let codec = Codec::ALL[(sent.first % 5) as usize];
                let producer = self.producer.map(|(id, epoch)| BatchProducer {
                    id,
                    epoch,
                    base_sequence: sent.sequence,
                });
                kafka_batch(&rows, codec, producer)
            }
            Wire::Fluss => {
                let codec = [None, Some(BufferCodec::Lz4Frame), Some(BufferCodec::Zstd)];
                fluss_batch(&rows, codec[(sent.first % 3) as usize], writer)
            }
        }
    }

    fn acknowledge(&mut self, first: i64, base: i64) {
        let at = self.in_flight.iter().position(|sent| sent.first == first);
        let sent = at.and_then(|at| self.in_flight.remove(at));
        let count = sent.expect("it is in flight").count;
        self.acknowledged.push(Acknowledged { base, first, count });
    }
}

/// The only way in which writing ends.
type Gone = io::Result<std::convert::Infallible>;
