//! A table with all that should be in it, and what happens to it.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use protocol::fluss::bucketing::BucketFunction;
use protocol::fluss::error::ErrorCode;
use protocol::fluss::messages::*;
use storage::env::simulated::SeededRandomness;

use crate::cell::{Cell, Row};
use crate::common::fluss::path;
use crate::common::keyed::{Keyed, lookup};
use crate::life::{Answer, Clients, Message};
use crate::rules::{Change, Deletes, Engine, Rows};
use crate::spec::{Kind, Spec};

/// Brokers know the last five batches of a writer again.
pub(crate) const REMEMBERED: u64 = 4;
const WRITERS: usize = 2;

/// What a request does to one bucket: all of it or nothing.
#[derive(Debug, Clone)]
pub(crate) struct Effect {
    pub(crate) bucket: i32,
    pub(crate) changes: Vec<Change>,
}

/// A request to write.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) message: Message,
    pub(crate) effects: Vec<Effect>,
    /// The place of its writer, when it is an idempotent one.
    pub(crate) writer: Option<usize>,
    pub(crate) answer: Option<Answer>,
    /// In which life of the broker it was answered.
    pub(crate) life: u64,
}

/// An idempotent writer of one wire.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) id: i64,
    pub(crate) epoch: i16,
    /// The next one of each bucket or partition.
    pub(crate) sequences: BTreeMap<i32, i32>,
    /// Requests that were acknowledged, the newest last.
    remembered: VecDeque<Sent>,
}

/// What a run came to, for the report.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) written: u64,
    pub(crate) repeated: u64,
    pub(crate) kills: u64,
    /// Effects that a kill left unacknowledged, and found in the table or not.
    pub(crate) found: u64,
    pub(crate) lost: u64,
    pub(crate) compared: u64,
    pub(crate) lost_indexes: u64,
    /// Records that the cleaner had removed when a topic was read.
    pub(crate) cleaned: u64,
}

/// A key on the wire.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) encoded: Bytes,
    /// Where it belongs; in a topic whose producers put keys anywhere, where it was put last.
    pub(crate) bucket: i32,
}

/// A table.
pub(crate) struct Table {
    pub(crate) spec: Spec,
    pub(crate) id: i64,
    pub(crate) topic: String,
    pub(crate) rows: Rows,
    /// All keys that may be used.
    pub(crate) places: BTreeMap<Row, Place>,
    /// The table has its added column.
    pub(crate) widened: bool,
    /// Numbers that the server gave, as far as anyone saw them.
    pub(crate) numbers: BTreeMap<Row, Cell>,
    /// Of a topic: what Kafka producers wrote, by partition and offset.
    pub(crate) records: BTreeMap<(i32, i64), Row>,
    /// The time of the newest record.
    pub(crate) clock: i64,
    /// Of the Fluss wire, and of Kafka's.
    pub(crate) writers: [Vec<Writer>; 2],
    /// What was under way when the broker was killed.
    pub(crate) in_flight: Vec<Sent>,
    /// The present life of the broker.
    pub(crate) life: u64,
}

impl Table {
    pub(crate) async fn create(spec: Spec, clients: &mut Clients) -> Table {
        let keyed = spec.keyed(false);
        let (id, topic) = match spec.kind {
            Kind::Table => {
                let mut described = keyed.table(spec.buckets, &spec.properties);
                let key = &keyed.schema.primary_key[..spec.bucket_width];
                described.bucket_keys = key.to_vec();
                let path = path(spec.name);
                let id = clients.fluss.create_table(&path, &described).await;
                (id, format!("fluss.{}", spec.name))
            }
            Kind::Topic(partitioner) => {
                let partitioner = partitioner.map_or("probe", |_| "murmur2");
                clients
                    .compacted(spec.name, spec.buckets, partitioner)
                    .await;
                let path = PbTablePath {
                    database_name: "kafka".into(),
                    table_name: spec.name.into(),
                };
                let info = clients.fluss.table_info(&path).await;
                (info.table_id, spec.name.to_owned())
            }
        };
        if spec.kafka_partial {
            clients
                .set(&topic, "vltava.kafka.partial.update", "true")
                .await;
        }
        let mut writers = [Vec::new(), Vec::new()];
        for _ in 0..WRITERS {
            let answer = clients.fluss.ask(InitWriterRequest::default()).await;
            writers[0].push(Writer::new(answer.expect("an id").writer_id, 0));
            let (id, epoch) = clients.kafka.producer_id().await.expect("an id");
            writers[1].push(Writer::new(id, epoch));
        }
        let places = spec.keys().into_iter().map(|key| {
            let place = place(&spec, &keyed, &key);
            (key, place)
        });
        Table {
            places: places.collect(),
            spec,
            id,
            topic,
            rows: Rows::new(),
            widened: false,
            numbers: BTreeMap::new(),
            records: BTreeMap::new(),
            clock: 1_700_000_000_000,
            writers,
            in_flight: Vec::new(),
            life: 0,
        }
    }

    /// The newest schema.
    pub(crate) fn keyed(&self) -> Keyed {
        self.spec.keyed(self.widened)
    }

    pub(crate) fn width(&self) -> usize {
        self.keyed().schema.columns.len()
    }

    /// Does something at random.
    pub(crate) async fn step(
        &mut self,
        clients: &mut Clients,
        random: &SeededRandomness,
        totals: &mut Totals,
        about: &str,
    ) {
        match random.below(20) {
            0..14 => {
                let sent = self.plan_any(random);
                self.write(clients, sent, totals, about).await;
            }
            14 | 15 => self.write_again(clients, random, totals, about).await,
            16 => self.write_what_is_refused(clients, random, about).await,
            17 => self.insert_missing(clients, random, about).await,
            18 => self.widen(clients).await,
            _ => self.compare(clients, totals, about).await,
        }
    }

    /// A request of either wire, of an idempotent writer or of nobody.
    fn plan_any(&mut self, random: &SeededRandomness) -> Sent {
        self.plan_flight(random, 1).remove(0)
    }

    /// Requests that can be under way together: of one wire, and one idempotent writer or none.
    pub(crate) fn plan_flight(&mut self, random: &SeededRandomness, max: u64) -> Vec<Sent> {
        let writer = random.below(WRITERS as u64 + 1) as usize;
        let writer = (writer < WRITERS).then_some(writer);
        let fluss = self.takes_fluss() && random.once_in(2);
        // A producer's batches keep their order where it sends them to one partition.
        let keys = self.some_keys(random, 0);
        let partition = match self.spec.kind {
            Kind::Topic(Some(_)) => self.places[&keys[0]].bucket,
            _ => random.below(self.spec.buckets as u64) as i32,
        };
        let planned = (0..1 + random.below(max)).map(|_| match fluss {
            true => self.plan_fluss(random, writer),
            false => self.plan_kafka(random, writer, partition),
        });
        planned.collect()
    }

    fn takes_fluss(&self) -> bool {
        self.spec.kind != Kind::Topic(None)
    }

    /// Writes, and looks what was acknowledged up over another connection.
    async fn write(
        &mut self,
        clients: &mut Clients,
        mut sent: Sent,
        totals: &mut Totals,
        about: &str,
    ) {
        let answer = clients.deliver(&sent.message).await;
        sent.answer = Some(answer.unwrap_or_else(|code| panic!("{about}: error {code}, {sent:?}")));
        for effect in &sent.effects {
            self.apply(effect);
        }
        let touched = touched(&self.spec, &sent.effects);
        self.acknowledge(sent);
        self.compare_lookups(clients, &touched, about).await;
        totals.written += 1;
    }

    /// Takes what happened in a bucket into the model.
    pub(crate) fn apply(&mut self, effect: &Effect) {
        for change in &effect.changes {
            self.spec.rules.apply(change, &mut self.rows);
            let key = self.spec.rules.key(&change.row);
            let place = self.places.get_mut(&key).expect("a known key");
            place.bucket = effect.bucket;
        }
    }

    /// Remembers a request that was answered.
    pub(crate) fn acknowledge(&mut self, mut sent: Sent) {
        sent.life = self.life;
        let is_topic = self.spec.kind != Kind::Table;
        if let (true, Message::Kafka { .. }) = (is_topic, &sent.message) {
            let (partition, base) = sent.answer.as_ref().expect("an answer")[0];
            let changes = sent.effects.iter().flat_map(|effect| &effect.changes);
            for (offset, change) in (base..).zip(changes) {
                let before = self.records.insert((partition, offset), change.row.clone());
                assert!(before.is_none_or(|before| before == change.row));
            }
        }
        let Some(writer) = sent.writer else {
            return;
        };
        let wire = matches!(sent.message, Message::Kafka { .. });
        let remembered = &mut self.writers[usize::from(wire)][writer].remembered;
        if wire && !is_topic {
            // A producer that goes on after a restart is done with what was before it.
            remembered.retain(|before| before.life == sent.life);
        }
        remembered.push_back(sent);
        if remembered.len() > REMEMBERED as usize {
            remembered.pop_front();
        }
    }

    /// Sends something again that was acknowledged: nothing changes, and the answer is the same.
    pub(crate) async fn write_again(
        &mut self,
        clients: &mut Clients,
        random: &SeededRandomness,
        totals: &mut Totals,
        about: &str,
    ) {
        let writers = &self.writers[random.below(2) as usize];
        let remembered = &writers[random.below(WRITERS as u64) as usize].remembered;
        let place = random.below(REMEMBERED) as usize;
        let Some(sent) = remembered.get(place).cloned() else {
            return;
        };
        let before = self.ends(clients).await;
        let answer = clients.deliver(&sent.message).await;
        let answer = answer.unwrap_or_else(|code| panic!("{about}: error {code}, {sent:?}"));
        assert_eq!(Some(answer), sent.answer, "{about}: a repeated {sent:?}");
        let after = self.ends(clients).await;
        assert_eq!(before, after, "{about}: {sent:?} was appended twice");
        let touched = touched(&self.spec, &sent.effects);
        self.compare_lookups(clients, &touched, about).await;
        totals.repeated += 1;
    }

    /// A batch with a delete, where deletes are disabled: nothing of it is taken.
    async fn write_what_is_refused(
        &mut self,
        clients: &mut Clients,
        random: &SeededRandomness,
        about: &str,
    ) {
        if self.spec.rules.deletes != Deletes::Disable {
            return;
        }
        self.spec.rules.deletes = Deletes::Allow;
        let sent = loop {
            let sent = self.plan_fluss(random, None);
            let mut changes = sent.effects.iter().flat_map(|effect| &effect.changes);
            if changes.any(|change| change.deletes && !change.overwrites) {
                break sent;
            }
        };
        self.spec.rules.deletes = Deletes::Disable;
        let refused = clients.deliver(&sent.message).await;
        let disabled = ErrorCode::DeletionDisabled.code();
        assert_eq!(refused, Err(disabled), "{about}: {sent:?}");
        let touched = touched(&self.spec, &sent.effects);
        self.compare_lookups(clients, &touched, about).await;
    }

    /// Looks keys up that get a row of nulls where they have none.
    async fn insert_missing(
        &mut self,
        clients: &mut Clients,
        random: &SeededRandomness,
        about: &str,
    ) {
        if self.spec.kind != Kind::Table {
            return;
        }
        let keys = self.some_keys(random, 3);
        let bucket = self.places[&keys[0]].bucket;
        let keys: Vec<Row> = keys
            .into_iter()
            .filter(|key| self.places[key].bucket == bucket)
            .collect();
        let encoded = keys.iter().map(|key| self.places[key].encoded.clone());
        let request = LookupRequest {
            insert_if_not_exists: Some(true),
            acks: Some(-1),
            timeout_ms: Some(30_000),
            ..lookup(self.id, bucket, encoded.collect())
        };
        let found = clients.fluss.look_up(request).await;
        let partial = !matches!(self.spec.rules.engine, Engine::First | Engine::Versioned(_));
        if !partial && keys.iter().any(|key| !self.rows.contains_key(key)) {
            // It would be a partial update.
            assert_eq!(found, Err(ErrorCode::UnknownServerError), "{about}");
            return self.compare_lookups(clients, &keys, about).await;
        }
        let width = self.width();
        for key in &keys {
            let mut row = key.clone();
            row.resize(width, Cell::Null);
            self.rows.entry(key.clone()).or_insert(row);
        }
        let found = found.unwrap_or_else(|code| panic!("{about}: {code:?}"));
        for (key, value) in keys.iter().zip(&found) {
            self.compare_value(key, value.as_ref(), about);
        }
    }

    /// Adds the column that is to come.
    async fn widen(&mut self, clients: &mut Clients) {
        let Some(added) = self.spec.added.clone().filter(|_| !self.widened) else {
            return;
        };
        self.widened = true;
        let keyed = self.keyed();
        let column = keyed.schema.columns.last().expect("columns");
        let kind = match added.name {
            _ if added.function.is_some() => r#"{"type":"BIGINT"}"#,
            _ => r#"{"type":"STRING"}"#,
        };
        let function = column.agg_function.as_ref();
        let request = AlterTableRequest {
            table_path: path(self.spec.name),
            add_columns: vec![PbAddColumn {
                column_name: added.name.into(),
                data_type_json: kind.as_bytes().into(),
                column_position_type: 0,
                agg_function_type: function.map(|function| function.name.clone()),
                ..PbAddColumn::default()
            }],
            ..AlterTableRequest::default()
        };
        clients.fluss.ask(request).await.expect("added");
        if let (Engine::Aggregation(functions), Some(function)) =
            (&mut self.spec.rules.engine, added.function)
        {
            functions.push(function);
        }
        for row in self.rows.values_mut() {
            row.push(Cell::Null);
        }
    }

    /// Different keys, at least one.
    pub(crate) fn some_keys(&self, random: &SeededRandomness, max: u64) -> Vec<Row> {
        let mut keys = Vec::new();
        for _ in 0..1 + random.below(max) {
            let at = random.below(self.places.len() as u64) as usize;
            let key = self.places.keys().nth(at).expect("a key").clone();
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }
}

impl Writer {
    fn new(id: i64, epoch: i16) -> Writer {
        Writer {
            id,
            epoch,
            sequences: BTreeMap::new(),
            remembered: VecDeque::new(),
        }
    }

    /// The sequence of the next batch, of so many records as count.
    pub(crate) fn next(&mut self, bucket: i32, count: usize) -> i32 {
        let next = self.sequences.entry(bucket).or_default();
        *next += count as i32;
        *next - count as i32
    }
}

/// The keys of effects.
pub(crate) fn touched(spec: &Spec, effects: &[Effect]) -> Vec<Row> {
    let changes = effects.iter().flat_map(|effect| &effect.changes);
    let mut keys: Vec<Row> = changes.map(|change| spec.rules.key(&change.row)).collect();
    keys.sort();
    keys.dedup();
    keys
}

fn place(spec: &Spec, keyed: &Keyed, key: &Row) -> Place {
    let datums: Vec<_> = key.iter().map(Cell::datum).collect();
    let encoded = keyed.prefix(&datums);
    let bucket = match spec.kind {
        Kind::Table => {
            let bucket_key = keyed.prefix(&datums[..spec.bucket_width]);
            BucketFunction::Fluss.bucket(&bucket_key, spec.buckets)
        }
        Kind::Topic(partitioner) => {
            let Cell::Bytes(key) = &key[0] else {
                panic!("keys of topics are bytes");
            };
            let partition = partitioner.and_then(|p| p.partition(key, spec.buckets));
            partition.unwrap_or(0)
        }
    };
    Place { encoded, bucket }
}
