//! Rows with keys through kills: counters that are summed up by the broker, where a batch that is
//! applied twice, or not, shows for ever; and the newest values of a table without an engine.
//!
//! Each writer has keys of its own, so that it knows what they must hold: between what was
//! acknowledged and what was sent, and exactly that when nothing is under way. It looks its keys up
//! after each answer, through another connection: an acknowledged row is there for the very next
//! lookup. What a Kafka consumer reads from the start must come to the same rows.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use prost::Message;
use protocol::fluss::api::Request;
use protocol::fluss::messages::{InitWriterRequest, LookupRequest, PutKvRequest};
use protocol::row::Datum;
use protocol::schema::{AggFunction, TypeKind};
use storage::env::simulated::SeededRandomness;

use crate::common::fluss::{Client, path};
use crate::common::kafka_peer::Kafka;
use crate::common::keyed::{Keyed, lookup, put};
use crate::common::process::Broker;
use crate::common::records::of_kafka;

const WRITERS: i32 = 2;
const KEYS_PER_WRITER: i32 = 6;
/// Brokers know the last five batches of a writer again.
const IN_FLIGHT_MAX: u64 = 4;
/// Answers without progress below the high watermark after which a reader is stuck.
const EMPTY_ANSWERS_MAX: usize = 50;

/// Key to value.
type Rows = BTreeMap<i32, i64>;

/// A table with keys.
#[derive(Clone)]
struct Table {
    keyed: Keyed,
    /// Values are summed up; else the newest stays and rows are deleted as well.
    sums: bool,
    topic: String,
    id: i64,
}

/// What one batch does: key, value, or none to delete.
type Changes = Vec<(i32, Option<i64>)>;

/// A writer, across the broker's lives.
struct Writer {
    table: Table,
    number: i32,
    id: Option<i64>,
    next_sequence: i32,
    next_value: i64,
    /// Sent and not acknowledged, in order.
    in_flight: VecDeque<(i32, Changes)>,
    /// The rows after what was acknowledged.
    rows: Rows,
    acknowledged: u64,
}

/// The tables with their writers.
pub(crate) struct Counters {
    tables: Vec<Table>,
    writers: Vec<Writer>,
}

/// What a run came to, for the report.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    batches: u64,
    rows: usize,
}

impl Counters {
    pub(crate) async fn new(broker: &Broker, number: u64) -> Counters {
        let mut fluss = Client::connect(broker.fluss).await;
        let mut tables = Vec::new();
        for sums in [true, false] {
            let mut keyed = Keyed::of(&[("id", TypeKind::Int), ("n", TypeKind::BigInt)], &["id"]);
            let mut properties = vec![];
            if sums {
                keyed.schema.columns[1].agg_function = Some(AggFunction {
                    name: "sum".to_owned(),
                    parameters: BTreeMap::new(),
                });
                properties.push(("table.merge-engine", "aggregation"));
            }
            let name = format!("keyed_{number}_{sums}");
            let descriptor = keyed.table(1, &properties);
            let id = fluss.create_table(&path(&name), &descriptor).await;
            tables.push(Table {
                keyed,
                sums,
                topic: format!("fluss.{name}"),
                id,
            });
        }
        let writers = tables.iter().flat_map(|table| {
            (0..WRITERS).map(|number| Writer {
                table: table.clone(),
                number,
                id: None,
                next_sequence: 0,
                next_value: 1,
                in_flight: VecDeque::new(),
                rows: Rows::new(),
                acknowledged: 0,
            })
        });
        Counters {
            writers: writers.collect(),
            tables,
        }
    }

    /// Writes until the broker is gone.
    pub(crate) async fn write(mut self, fluss: SocketAddr, seed: u64) -> Counters {
        let running: Vec<_> = (self.writers.drain(..).zip(seed..))
            .map(|(writer, seed)| tokio::spawn(writer.write(fluss, seed)))
            .collect();
        for writer in running {
            let writer = writer.await.expect("a writer that met no error");
            self.writers.push(writer);
        }
        self
    }

    /// What must hold after a kill.
    pub(crate) async fn verify(&mut self, broker: &Broker, counted: &mut Counted) {
        let mut fluss = Client::connect(broker.fluss).await;
        for table in &self.tables {
            let found = look_all_up(&mut fluss, table).await;
            counted.rows = counted.rows.max(found.len());
            for writer in self.writers.iter().filter(|w| w.table.id == table.id) {
                writer.check(&found);
            }
            let read = read_over_kafka(broker, table).await;
            assert_eq!(read, found, "{}: the wires differ", table.topic);
        }
        for writer in &mut self.writers {
            counted.batches += std::mem::take(&mut writer.acknowledged);
        }
    }
}

impl Writer {
    async fn write(mut self, address: SocketAddr, seed: u64) -> Writer {
        let random = SeededRandomness::new(seed);
        let gone = self.write_on(address, &random).await;
        assert!(gone.is_err());
        self
    }

    async fn write_on(
        &mut self,
        address: SocketAddr,
        random: &SeededRandomness,
    ) -> io::Result<std::convert::Infallible> {
        let mut client = Client::try_connect(address).await?;
        let mut looker = Client::try_connect(address).await?;
        if self.id.is_none() {
            let answer = client.try_ask(InitWriterRequest::default()).await?;
            self.id = Some(answer.writer_id);
        }
        loop {
            // What was not acknowledged comes first, under the same sequences.
            if self.in_flight.is_empty() {
                for _ in 0..1 + random.below(IN_FLIGHT_MAX) {
                    self.plan(random);
                }
            }
            for (sequence, changes) in &self.in_flight {
                let request = put(self.table.id, 0, self.batch(*sequence, changes));
                let key = PutKvRequest::KEY.code();
                client.try_send(key, 0, &request.encode_to_vec()).await?;
            }
            for _ in 0..self.in_flight.len() {
                let (_, answer) = client.try_receive::<PutKvRequest>().await?;
                let bucket = &answer.buckets_resp[0];
                assert_eq!(bucket.error_code, None, "{bucket:?}");
                // Puts to one bucket are applied and answered in their order.
                let (_, changes) = self.in_flight.pop_front().expect("it is in flight");
                self.apply(&changes);
                self.acknowledged += 1;
            }
            let request = lookup(self.table.id, 0, self.keys());
            let answer = looker.try_ask::<LookupRequest>(request).await?;
            let values = &answer.buckets_resp[0].values;
            let found = (self.first_key()..).zip(values).filter_map(|(key, value)| {
                let value = value.values.as_ref()?;
                Some((key, value_of(&self.table, value)))
            });
            assert_eq!(
                found.collect::<Rows>(),
                self.rows,
                "{}: what was acknowledged is not there",
                self.table.topic
            );
        }
    }

    fn first_key(&self) -> i32 {
        self.number * KEYS_PER_WRITER
    }

    fn keys(&self) -> Vec<Bytes> {
        let keys = self.first_key()..self.first_key() + KEYS_PER_WRITER;
        keys.map(|key| self.table.keyed.key(&row(key, 0))).collect()
    }

    fn plan(&mut self, random: &SeededRandomness) {
        let changes = (0..1 + random.below(8)).map(|_| {
            let key = self.first_key() + random.below(KEYS_PER_WRITER as u64) as i32;
            self.next_value += 1;
            let deletes = !self.table.sums && random.once_in(5);
            let value = if self.table.sums { 1 } else { self.next_value };
            (key, (!deletes).then_some(value))
        });
        let changes = changes.collect();
        self.in_flight.push_back((self.next_sequence, changes));
        self.next_sequence += 1;
    }

    fn batch(&self, sequence: i32, changes: &Changes) -> Bytes {
        let rows: Vec<_> = changes
            .iter()
            .map(|(key, value)| (row(*key, value.unwrap_or(0)), value.is_none()))
            .collect();
        let writer = self.id.map(|id| (id, sequence));
        self.table.keyed.changes(writer, &rows)
    }

    fn apply(&mut self, changes: &Changes) {
        apply(&mut self.rows, self.table.sums, changes);
    }

    /// The keys hold what they did after one of the batches that are under way, or before them.
    fn check(&self, found: &Rows) {
        let own = self.first_key()..self.first_key() + KEYS_PER_WRITER;
        let own: Rows = found.range(own).map(|(k, v)| (*k, *v)).collect();
        let mut rows = self.rows.clone();
        let mut possible = vec![rows.clone()];
        for (_, changes) in &self.in_flight {
            apply(&mut rows, self.table.sums, changes);
            possible.push(rows.clone());
        }
        assert!(
            possible.contains(&own),
            "{}: writer {} finds {own:?}, which is none of {possible:?}",
            self.table.topic,
            self.number
        );
    }
}

fn apply(rows: &mut Rows, sums: bool, changes: &Changes) {
    for (key, value) in changes {
        match value {
            Some(value) if sums => *rows.entry(*key).or_default() += value,
            Some(value) => drop(rows.insert(*key, *value)),
            None => drop(rows.remove(key)),
        }
    }
}

fn row(key: i32, value: i64) -> Vec<Datum<'static>> {
    vec![Datum::Int(key), Datum::BigInt(value)]
}

/// The `n` of a value.
fn value_of(table: &Table, value: &[u8]) -> i64 {
    let shown = table.keyed.shown(value);
    let (_, n) = shown.split_once('|').expect("two columns");
    n.parse().expect("a number")
}

async fn look_all_up(fluss: &mut Client, table: &Table) -> Rows {
    let keys = 0..WRITERS * KEYS_PER_WRITER;
    let encoded = keys.clone().map(|key| table.keyed.key(&row(key, 0)));
    let request = lookup(table.id, 0, encoded.collect());
    let values = fluss.look_up(request).await.expect("values");
    let found = keys.zip(values).filter_map(|(key, value)| {
        let value = value?;
        Some((key, value_of(table, &value)))
    });
    found.collect()
}

/// The last value of each key, as a Kafka consumer reads from the start.
async fn read_over_kafka(broker: &Broker, table: &Table) -> Rows {
    let mut kafka = Kafka::connect(broker.kafka).await.expect("connected");
    let (mut rows, mut from, mut empty) = (Rows::new(), 0, 0);
    loop {
        let answer = kafka.fetch(&table.topic, 0, from, 0).await.expect("there");
        assert_eq!(answer.error, 0, "{} at {from}", table.topic);
        let (records, next) = of_kafka(&answer.records, from);
        for (_, record) in records {
            let json = |bytes: &[u8]| -> serde_json::Value {
                serde_json::from_slice(bytes).expect("JSON")
            };
            let key = json(record.key.as_deref().expect("a key"));
            let key = key["id"].as_i64().expect("an id") as i32;
            match record.value.as_deref() {
                Some(value) => {
                    let n = json(value)["n"].as_i64().expect("a number");
                    rows.insert(key, n);
                }
                None => drop(rows.remove(&key)),
            }
        }
        if next >= answer.high_watermark {
            return rows;
        }
        empty = if next > from { 0 } else { empty + 1 };
        assert!(empty < EMPTY_ANSWERS_MAX, "stuck at {from}");
        from = next;
    }
}
