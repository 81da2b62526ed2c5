//! Requests to write, at random, and what they should do.

use std::collections::BTreeMap;

use protocol::fluss::messages::{PbPutKvReqForBucket, PutKvRequest};
use protocol::kafka::builder::BatchProducer;
use protocol::kafka::compression::Codec;
use protocol::row::Datum;
use serde_json::{Map, Value as Json};
use storage::env::simulated::SeededRandomness;

use crate::cell::{Cell, Row};
use crate::common::keyed::{Keyed, put};
use crate::common::records::{self, kafka_batch};
use crate::life::Message;
use crate::rules::{Change, Deletes, Engine};
use crate::spec::{Kind, kind_of};
use crate::table::{Effect, Sent, Table};

/// Records of a request at most.
const RECORDS_MAX: u64 = 6;

impl Table {
    /// A put of a Fluss client: a batch for each bucket of its keys.
    pub(crate) fn plan_fluss(&mut self, random: &SeededRandomness, writer: Option<usize>) -> Sent {
        // A writer that has not heard of the new column yet goes on with the old schema.
        let keyed = self.spec.keyed(self.widened && !random.once_in(4));
        let is_table = self.spec.kind == Kind::Table;
        let overwrites = is_table && random.once_in(8);
        let targets = self.targets(&keyed, overwrites, random);
        let count = 1 + random.below(RECORDS_MAX);
        let mut changes = Vec::new();
        for _ in 0..count {
            let mut row = self.some_keys(random, 0).remove(0);
            let deletes = random.once_in(5) && (overwrites || self.takes_deletes());
            self.fill(&mut row, &keyed, targets.as_deref(), random);
            changes.push(Change {
                row,
                deletes,
                targets: targets.clone(),
                overwrites,
            });
        }
        let mut requests = BTreeMap::<i32, Vec<Change>>::new();
        let mut effects = BTreeMap::<i32, Vec<Change>>::new();
        let asked = random.below(self.spec.buckets as u64) as i32;
        for mut change in changes {
            let bucket = self.places[&self.spec.rules.key(&change.row)].bucket;
            // The hash of Fluss clients says nothing about the buckets of a topic.
            let asked = if is_table { bucket } else { asked };
            requests.entry(asked).or_default().push(change.clone());
            change.row.resize(self.width(), Cell::Null);
            effects.entry(bucket).or_default().push(change);
        }
        let mut buckets_req = Vec::new();
        for (bucket, changes) in &requests {
            let writer = writer.map(|at| {
                let writer = &mut self.writers[0][at];
                (writer.id, writer.next(*bucket, 1))
            });
            let rows: Vec<(Vec<Datum<'_>>, bool)> = changes
                .iter()
                .map(|change| (change.row.iter().map(Cell::datum).collect(), change.deletes))
                .collect();
            buckets_req.push(PbPutKvReqForBucket {
                bucket_id: *bucket,
                records: keyed.changes(writer, &rows),
                ..PbPutKvReqForBucket::default()
            });
        }
        let positions = targets.unwrap_or_default();
        let request = PutKvRequest {
            buckets_req,
            target_columns: positions.into_iter().map(|at| at as i32).collect(),
            agg_mode: overwrites.then_some(1),
            ..put(self.id, 0, bytes::Bytes::new())
        };
        Sent {
            message: Message::Fluss(request),
            effects: effects
                .into_iter()
                .map(|(bucket, changes)| Effect { bucket, changes })
                .collect(),
            writer,
            answer: None,
            life: self.life,
        }
    }

    /// Deletes are allowed, or ignored.
    fn takes_deletes(&self) -> bool {
        self.spec.rules.deletes != Deletes::Disable
    }

    /// The columns that a put writes: none for all.
    fn targets(
        &self,
        keyed: &Keyed,
        overwrites: bool,
        random: &SeededRandomness,
    ) -> Option<Vec<usize>> {
        let rules = &self.spec.rules;
        let may = match rules.engine {
            Engine::Newest | Engine::Aggregation(_) => self.spec.kind == Kind::Table,
            Engine::First | Engine::Versioned(_) => overwrites,
        };
        let must = rules.counted.is_some();
        let partial = must || may && random.once_in(2);
        if !partial {
            return None;
        }
        let columns = 0..keyed.schema.columns.len();
        let targets = columns
            .filter(|at| *at < rules.key_width || rules.counted != Some(*at) && random.once_in(2));
        Some(targets.collect())
    }

    /// Adds the other columns to a key.
    fn fill(
        &mut self,
        row: &mut Row,
        keyed: &Keyed,
        targets: Option<&[usize]>,
        random: &SeededRandomness,
    ) {
        if self.spec.kind != Kind::Table {
            return self.fill_record(row, random);
        }
        // What is no target does not count; aggregating clients leave it null.
        let junk = self.spec.rules.engine == Engine::Newest && random.once_in(2);
        for at in row.len()..keyed.schema.columns.len() {
            let value = Cell::random(kind_of(&keyed.schema, at), random);
            let written = junk || targets.is_none_or(|targets| targets.contains(&at));
            row.push(match written && self.spec.rules.counted != Some(at) {
                true => value,
                false => Cell::Null,
            });
        }
    }

    /// Adds value, time and headers to the key of a topic's record.
    fn fill_record(&mut self, row: &mut Row, random: &SeededRandomness) {
        self.clock += 1;
        let value = format!("{}-{}", self.clock, "x".repeat(random.below(100) as usize));
        row.push(Cell::Bytes(value.into_bytes()));
        row.push(Cell::Time(self.clock));
        row.push(Cell::Headers);
    }

    /// A batch of a Kafka producer.
    pub(crate) fn plan_kafka(
        &mut self,
        random: &SeededRandomness,
        writer: Option<usize>,
        partition: i32,
    ) -> Sent {
        let count = 1 + random.below(RECORDS_MAX) as usize;
        let (effects, records) = match self.spec.kind {
            Kind::Table => self.json_records(count, random),
            Kind::Topic(_) => self.raw_records(partition, count, random),
        };
        let producer = writer.map(|at| {
            let writer = &mut self.writers[1][at];
            BatchProducer {
                id: writer.id,
                epoch: writer.epoch,
                base_sequence: writer.next(partition, records.len()),
            }
        });
        let codecs = [Codec::None, Codec::Lz4, Codec::Zstd, Codec::Snappy];
        let codec = codecs[random.below(codecs.len() as u64) as usize];
        Sent {
            message: Message::Kafka {
                topic: self.topic.clone(),
                partition,
                batch: kafka_batch(&records, codec, producer),
            },
            effects,
            writer,
            answer: None,
            life: self.life,
        }
    }

    /// Records of a compacted topic: they stay where their producer puts them.
    fn raw_records(
        &mut self,
        partition: i32,
        count: usize,
        random: &SeededRandomness,
    ) -> (Vec<Effect>, Vec<records::Row>) {
        let probed = self.spec.kind == Kind::Topic(None);
        let (mut changes, mut records) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let key = loop {
                let key = self.some_keys(random, 0).remove(0);
                if probed || self.places[&key].bucket == partition {
                    break key;
                }
            };
            let mut row = key;
            self.fill_record(&mut row, random);
            let deletes = random.once_in(5);
            if deletes {
                row[1] = Cell::Null;
            }
            records.push(record_of(&row));
            changes.push(Change {
                row,
                deletes,
                targets: None,
                overwrites: false,
            });
        }
        let bucket = partition;
        (vec![Effect { bucket, changes }], records)
    }

    /// Rows as JSON, which the broker brings to the buckets of their keys.
    fn json_records(
        &mut self,
        count: usize,
        random: &SeededRandomness,
    ) -> (Vec<Effect>, Vec<records::Row>) {
        let keyed = self.keyed();
        let names: Vec<&String> = keyed.schema.columns.iter().map(|c| &c.name).collect();
        let (key_width, counted) = (self.spec.rules.key_width, self.spec.rules.counted);
        let mut effects: Vec<Effect> = Vec::new();
        let mut records = Vec::new();
        for _ in 0..count {
            let mut row = self.some_keys(random, 0).remove(0);
            let bucket = self.places[&row].bucket;
            let deletes = random.once_in(5) && counted.is_none() && self.takes_deletes();
            let object = |row: &Row, columns: &mut dyn Iterator<Item = usize>| {
                let field = |at: usize| (names[at].clone(), row[at].json());
                Json::Object(columns.map(field).collect::<Map<_, _>>()).to_string()
            };
            self.fill(&mut row, &keyed, None, random);
            let written: Vec<usize> = (key_width..row.len())
                .filter(|at| !random.once_in(3) && counted != Some(*at))
                .collect();
            for (at, cell) in row.iter_mut().enumerate().skip(key_width) {
                if deletes || !written.contains(&at) {
                    *cell = Cell::Null;
                }
            }
            let key_in_value = random.once_in(2);
            let key = deletes || !key_in_value || random.once_in(2);
            let key = key.then(|| object(&row, &mut (0..key_width)).into_bytes());
            let from = if key_in_value { 0 } else { key_width };
            let mut columns = (from..key_width).chain(written.iter().copied());
            let value = (!deletes).then(|| object(&row, &mut columns).into_bytes());
            records.push(records::Row {
                key,
                value,
                time_ms: 1_700_000_000_000,
                headers: Vec::new(),
            });
            let all_written = written.len() + key_width == row.len();
            let targets = match (deletes, counted) {
                (true, _) => None,
                (false, Some(counted)) => {
                    Some((0..row.len()).filter(|at| *at != counted).collect())
                }
                (false, None) if !self.spec.kafka_partial || all_written => None,
                (false, None) => Some((0..key_width).chain(written).collect()),
            };
            let change = Change {
                row,
                deletes,
                targets,
                overwrites: false,
            };
            // Records that write the same columns of a bucket are one batch there.
            let newest = effects.iter_mut().rfind(|effect| effect.bucket == bucket);
            match newest {
                Some(newest) if newest.changes[0].targets == change.targets => {
                    newest.changes.push(change);
                }
                _ => effects.push(Effect {
                    bucket,
                    changes: vec![change],
                }),
            }
        }
        (effects, records)
    }
}

/// A row of a topic as the record that it is.
pub(crate) fn record_of(row: &Row) -> records::Row {
    let bytes = |cell: &Cell| match cell {
        Cell::Bytes(bytes) => Some(bytes.clone()),
        _ => None,
    };
    let Cell::Time(time_ms) = row[2] else {
        panic!("{row:?}");
    };
    records::Row {
        key: bytes(&row[0]),
        value: bytes(&row[1]),
        time_ms,
        headers: match row[3] {
            Cell::Headers => vec![("h".to_owned(), Some(b"x".to_vec()))],
            _ => Vec::new(),
        },
    }
}
