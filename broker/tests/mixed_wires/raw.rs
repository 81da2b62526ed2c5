//! Logs of the raw schema, which both wires write.

use std::collections::BTreeMap;

use protocol::fluss::arrow_message::BufferCodec;
use protocol::fluss::descriptor::TableDescriptor;
use protocol::fluss::messages::PbTablePath;
use protocol::kafka::builder::BatchProducer;
use protocol::kafka::compression::Codec;
use protocol::raw::raw_schema;
use storage::env::Randomness;
use storage::env::simulated::SeededRandomness;

use crate::common::fluss::path;
use crate::common::records::{Row, fluss_batch, kafka_batch, of_fluss};
use crate::{Clients, Producer, assert_rows};

/// One log with what should be in it.
pub(crate) struct Raw {
    topic: String,
    table: i64,
    rows: BTreeMap<i64, Row>,
    /// The offset that comes next: empty batches take offsets without a record.
    next: i64,
    kafka: Producer,
    fluss: Producer,
}

impl Raw {
    /// A topic that a Kafka client made.
    pub(crate) async fn topic(clients: &mut Clients) -> Raw {
        let topic = "events".to_owned();
        let created = clients.kafka.create_topic(&topic, 1).await;
        created.expect("created");
        let path = PbTablePath {
            database_name: "kafka".into(),
            table_name: topic.clone(),
        };
        let table = clients.fluss.table_info(&path).await.table_id;
        Raw::new(topic, table)
    }

    /// A table of the raw schema that a Fluss client made.
    pub(crate) async fn table(clients: &mut Clients) -> Raw {
        let descriptor = TableDescriptor {
            schema: raw_schema(false),
            comment: None,
            partition_keys: Vec::new(),
            bucket_keys: Vec::new(),
            bucket_count: Some(1),
            properties: Default::default(),
            custom_properties: Default::default(),
        };
        let path = path("rows");
        let table = clients.fluss.create_table(&path, &descriptor).await;
        Raw::new("fluss.rows".to_owned(), table)
    }

    fn new(topic: String, table: i64) -> Raw {
        Raw {
            topic,
            table,
            rows: BTreeMap::new(),
            next: 0,
            kafka: Producer::default(),
            fluss: Producer::default(),
        }
    }

    fn take(&mut self, rows: Vec<Row>) {
        // An empty batch takes an offset, too.
        let end = self.next + (rows.len() as i64).max(1);
        self.rows.extend((self.next..).zip(rows));
        self.next = end;
    }

    /// Does something at random.
    pub(crate) async fn step(
        &mut self,
        clients: &mut Clients,
        random: &SeededRandomness,
        seed: u64,
    ) {
        match random.below(12) {
            0..=3 => self.write_kafka(clients, random).await,
            4..=7 => self.write_fluss(clients, random).await,
            8 | 9 => self.write_again(clients, random).await,
            _ => {
                let from = random.below(self.next as u64 + 1) as i64;
                self.compare(clients, from, seed).await;
            }
        }
    }

    async fn write_kafka(&mut self, clients: &mut Clients, random: &SeededRandomness) {
        let rows = rows(1 + random.below(8), random);
        let codec = Codec::ALL[random.below(5) as usize];
        let idempotent = random.once_in(2);
        let mut producer = None;
        if idempotent {
            if self.kafka.id.is_none() {
                self.kafka.id = Some(clients.kafka.producer_id().await.expect("an id"));
            }
            producer = self.kafka.id.map(|(id, epoch)| BatchProducer {
                id,
                epoch,
                base_sequence: self.kafka.sequence,
            });
            self.kafka.sequence += rows.len() as i32;
        }
        let bytes = kafka_batch(&rows, codec, producer);
        let base = clients.produce_kafka(&self.topic, bytes.clone()).await;
        assert_eq!(base, self.next, "{}", self.topic);
        self.take(rows);
        if idempotent {
            self.kafka.remember(bytes, base);
        }
    }

    async fn write_fluss(&mut self, clients: &mut Clients, random: &SeededRandomness) {
        let count = if random.once_in(6) {
            0
        } else {
            1 + random.below(8)
        };
        let rows = rows(count, random);
        let codecs = [None, Some(BufferCodec::Lz4Frame), Some(BufferCodec::Zstd)];
        let codec = codecs[random.below(3) as usize];
        let idempotent = random.once_in(2);
        let mut writer = None;
        if idempotent {
            writer = Some(clients.next_sequence(&mut self.fluss).await);
        }
        let bytes = fluss_batch(&rows, codec, writer);
        let base = clients.produce_fluss(self.table, bytes.clone()).await;
        assert_eq!(base, self.next, "{}", self.topic);
        self.take(rows);
        if idempotent {
            self.fluss.remember(bytes, base);
        }
    }

    /// A producer that missed an answer sends its batch again and learns the old offset.
    async fn write_again(&mut self, clients: &mut Clients, random: &SeededRandomness) {
        if let Some(batch) = self.kafka.any(random) {
            let base = clients
                .produce_kafka(&self.topic, batch.bytes.clone())
                .await;
            assert_eq!(base, batch.base, "{}: a repeated Kafka batch", self.topic);
        }
        if let Some(batch) = self.fluss.any(random) {
            let base = clients.produce_fluss(self.table, batch.bytes.clone()).await;
            assert_eq!(base, batch.base, "{}: a repeated Fluss batch", self.topic);
        }
    }

    /// Reads from an offset to the end over both wires and compares with the model.
    pub(crate) async fn compare(&self, clients: &mut Clients, from: i64, seed: u64) {
        let wanted = self.rows.range(from..).map(|(o, row)| (*o, row.clone()));
        let wanted = wanted.collect::<Vec<_>>();
        let about = format!("seed {seed}, {} from {from} on Kafka", self.topic);
        let (topic, end) = (&self.topic, self.next);
        let found = clients.read_kafka(topic, from, end, &about).await;
        assert_rows(&found, &wanted, &about);
        let about = format!("seed {seed}, {} from {from} on Fluss", self.topic);
        let found = clients.read_fluss(self.table, from, end, &about, of_fluss);
        assert_rows(&found.await, &wanted, &about);
    }
}

fn bytes(random: &SeededRandomness) -> Option<Vec<u8>> {
    match random.below(6) {
        0 => None,
        1 => Some(Vec::new()),
        // Worth compressing.
        2 => Some(vec![random.next_u64() as u8; random.below(3_000) as usize]),
        _ => Some(random.next_u64().to_le_bytes().to_vec()),
    }
}

fn rows(count: u64, random: &SeededRandomness) -> Vec<Row> {
    let header = |n: u64| (format!("h{}", n % 3), bytes(random));
    let row = |_| Row {
        key: bytes(random),
        value: bytes(random),
        time_ms: 1_700_000_000_000 + random.below(1_000_000) as i64,
        headers: (0..random.below(4)).map(header).collect(),
    };
    (0..count).map(row).collect()
}
