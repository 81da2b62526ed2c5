//! The changelog of a table, replayed as clients of either wire read it.

use std::collections::BTreeMap;

use protocol::columnar::{Decoder, row_at};
use protocol::fluss::batch::{Batches, ChangeType, Changes};
use serde_json::Value as Json;

use crate::cell::{Cell, Row};
use crate::common::fluss::fetch;
use crate::common::records::{self, of_kafka};
use crate::life::Clients;
use crate::plan::record_of;
use crate::rules::Rows;
use crate::spec::Kind;
use crate::table::Table;

/// Answers without progress below the high watermark after which a reader is stuck.
const EMPTY_ANSWERS_MAX: usize = 20;

/// A record of a changelog.
struct Logged {
    offset: i64,
    change: ChangeType,
    row: Row,
}

/// A reader on its way to the end.
#[derive(Default)]
struct Progress {
    at: i64,
    empty: usize,
}

impl Progress {
    /// Goes on to an offset; true at the end.
    fn reaches(&mut self, next: i64, end: i64, about: &str) -> bool {
        self.empty = if next > self.at { 0 } else { self.empty + 1 };
        assert!(self.empty < EMPTY_ANSWERS_MAX, "{about}: stuck at {next}");
        assert!(next <= end, "{about}: {next} lies behind the end {end}");
        self.at = next;
        next == end
    }
}

impl Table {
    /// Reads all buckets from their start over both wires. Gives how many records of a topic are
    /// cleaned away.
    pub(crate) async fn compare_changelog(&self, clients: &mut Clients, about: &str) -> u64 {
        let (mut on_fluss, mut on_kafka) = (Vec::new(), Vec::new());
        for bucket in 0..self.spec.buckets {
            let about = format!("{about}, bucket {bucket}");
            on_fluss.push(self.read_fluss(clients, bucket, &about).await);
            on_kafka.push(self.read_kafka(clients, bucket, &about).await);
        }
        match self.spec.kind {
            Kind::Table => self.compare_table_log(&on_fluss, &on_kafka, about),
            Kind::Topic(_) => self.compare_topic_log(&on_fluss, &on_kafka, about),
        }
        let is_there = |(partition, offset): &&(i32, i64)| {
            let records = &on_kafka[*partition as usize];
            let there = records.binary_search_by_key(offset, |(offset, _)| *offset);
            there.is_ok()
        };
        let there = self.records.keys().filter(is_there).count();
        (self.records.len() - there) as u64
    }

    async fn read_fluss(&self, clients: &mut Clients, bucket: i32, about: &str) -> Vec<Logged> {
        let mut progress = Progress::default();
        let mut found = Vec::new();
        loop {
            let request = fetch(self.id, bucket, progress.at, 0);
            let answer = clients.reader.ask(request).await.expect("an answer");
            let answer = answer.tables_resp[0].buckets_resp[0].clone();
            assert_eq!(answer.error_code, None, "{about}: {answer:?}");
            let mut next = progress.at;
            for batch in Batches::new(answer.records.unwrap_or_default()) {
                // The end of an answer may be a part of a batch.
                let Ok(batch) = batch else { break };
                assert!(batch.crc_holds(), "{about}");
                next = batch.last_offset() + 1;
                let header = batch.header();
                if header.is_header_only() {
                    continue;
                }
                let keyed = self.spec.keyed(header.schema_id().value() == 2);
                assert_eq!(header.schema_id().value(), keyed.schema_id);
                let format = self.spec.log_format();
                let decoded = Decoder::default().decode(&batch, format, &keyed.schema, None);
                let decoded = decoded.expect("a sound batch");
                let changes = decoded.changes.as_changes();
                assert!(matches!(changes, Changes::PerRow(_)), "{about}");
                let mut values = Vec::new();
                for at in 0..decoded.rows.num_rows() {
                    row_at(&decoded.rows, &keyed.schema, at, &mut values);
                    let mut row: Row = values.iter().map(Cell::of).collect();
                    row.resize(self.width(), Cell::Null);
                    found.push(Logged {
                        offset: header.base_offset() + at as i64,
                        change: changes.get(at),
                        row,
                    });
                }
            }
            let end = answer.high_watermark.expect("a watermark");
            if progress.reaches(next, end, about) {
                return found;
            }
        }
    }

    async fn read_kafka(
        &self,
        clients: &mut Clients,
        partition: i32,
        about: &str,
    ) -> Vec<(i64, records::Row)> {
        let mut progress = Progress::default();
        let mut found = Vec::new();
        loop {
            let answer = clients.kafka.fetch(&self.topic, partition, progress.at, 0);
            let answer = answer.await.expect("an answer");
            assert_eq!(answer.error, 0, "{about} at {}", progress.at);
            let (records, next) = of_kafka(&answer.records, progress.at);
            found.extend(records);
            if progress.reaches(next, answer.high_watermark, about) {
                return found;
            }
        }
    }

    /// Every change fits the rows before it, and the last ones are those of the model.
    fn compare_table_log(
        &self,
        on_fluss: &[Vec<Logged>],
        on_kafka: &[Vec<(i64, records::Row)>],
        about: &str,
    ) {
        let full = self.spec.has_full_image();
        let expected: Rows = (self.rows.keys())
            .filter_map(|key| Some((key.clone(), self.expected(key)?)))
            .collect();
        let mut rows = Rows::new();
        for (bucket, changes) in (0..).zip(on_fluss) {
            let mut offsets = 0..;
            for Logged {
                offset,
                change,
                row,
            } in changes
            {
                let about = format!("{about}, bucket {bucket}, {change:?} at {offset}");
                assert!(offsets.any(|next| next == *offset), "{about}: out of order");
                let key = self.spec.rules.key(row);
                assert_eq!(self.places[&key].bucket, bucket, "{about}: {key:?}");
                let before = match change {
                    ChangeType::Insert => {
                        let before = rows.insert(key, row.clone());
                        assert_eq!(before, None, "{about}");
                        continue;
                    }
                    ChangeType::UpdateAfter => {
                        let before = rows.insert(key, row.clone());
                        assert!(before.is_some() || !full, "{about}: no row");
                        continue;
                    }
                    ChangeType::UpdateBefore => rows.get(&key).cloned(),
                    ChangeType::Delete => rows.remove(&key),
                    ChangeType::AppendOnly => panic!("{about}"),
                };
                assert_eq!(before.as_ref(), Some(row), "{about}");
            }
        }
        assert_eq!(rows, expected, "{about}: the changelog");

        let mut rows = BTreeMap::new();
        for (bucket, records) in on_kafka.iter().enumerate() {
            let shown = records
                .iter()
                .map(|(offset, record)| (*offset, record.value.is_some()));
            let logged = on_fluss[bucket]
                .iter()
                .filter_map(|logged| match logged.change {
                    ChangeType::UpdateBefore => None,
                    change => Some((logged.offset, change != ChangeType::Delete)),
                });
            assert!(
                shown.eq(logged),
                "{about}, bucket {bucket}: the wires differ"
            );
            for (_, record) in records {
                let key = String::from_utf8(record.key.clone().expect("a key")).expect("text");
                match &record.value {
                    Some(value) => drop(rows.insert(key, self.columns_of(value))),
                    None => drop(rows.remove(&key)),
                }
            }
        }
        let expected = expected.values().map(|row| {
            let names = self
                .keyed()
                .schema
                .columns
                .into_iter()
                .map(|column| column.name);
            let key: Vec<_> = names.zip(row).take(self.spec.rules.key_width).collect();
            let fields = key
                .iter()
                .map(|(name, cell)| format!("\"{name}\":{}", cell.json()));
            let key = format!("{{{}}}", fields.collect::<Vec<_>>().join(","));
            (key, row.iter().map(Cell::json).collect())
        });
        assert_eq!(rows, expected.collect(), "{about}: over Kafka");
    }

    /// The columns of a row as JSON, those that its writer did not know null.
    fn columns_of(&self, value: &[u8]) -> Vec<Json> {
        let value: Json = serde_json::from_slice(value).expect("JSON");
        let columns = self.keyed().schema.columns;
        let column = |name: &String| value.get(name).cloned().unwrap_or(Json::Null);
        columns
            .iter()
            .map(|column_| column(&column_.name))
            .collect()
    }

    /// Records are as they were written, and the newest ones are the rows.
    fn compare_topic_log(
        &self,
        on_fluss: &[Vec<Logged>],
        on_kafka: &[Vec<(i64, records::Row)>],
        about: &str,
    ) {
        let logged = on_fluss.iter().map(|logged| {
            let record = |logged: &Logged| {
                let record = record_of(&logged.row);
                let deletes = logged.change == ChangeType::Delete;
                assert_eq!(deletes, record.value.is_none(), "{about}: {record:?}");
                (logged.offset, record)
            };
            logged.iter().map(record).collect()
        });
        let on_fluss: Vec<Vec<_>> = logged.collect();
        for (partition, records) in (0..).zip(on_kafka) {
            let mut before = on_fluss[partition as usize].iter();
            for (offset, record) in records {
                let about = format!("{about}, {partition}:{offset}");
                // The cleaner may have come in between.
                let same = before.find(|(other, _)| other == offset);
                let same = same.map(|(_, record)| record);
                assert_eq!(same, Some(record), "{about}: the wires differ");
                let written = self.records.get(&(partition, *offset)).map(record_of);
                assert!(written.is_none_or(|written| written == *record), "{about}");
            }
        }
        let expected: Vec<_> = self.rows.values().map(record_of).collect();
        let expected: Vec<_> = expected.iter().collect();
        for (wire, records) in [("Fluss", &on_fluss[..]), ("Kafka", on_kafka)] {
            let found = newest_of(records);
            assert_eq!(found, expected, "{about}: the newest records on {wire}");
        }
    }
}

/// The newest record of each key that has a value.
fn newest_of(partitions: &[Vec<(i64, records::Row)>]) -> Vec<&records::Row> {
    let mut newest = BTreeMap::<&[u8], (usize, &records::Row)>::new();
    for (partition, records) in partitions.iter().enumerate() {
        for (_, record) in records {
            let key = record.key.as_deref().expect("a key");
            let slot = newest.entry(key).or_insert((partition, record));
            // Producers that put a key into several partitions count the time on.
            if slot.0 == partition || slot.1.time_ms < record.time_ms {
                *slot = (partition, record);
            }
        }
    }
    let live = newest.into_values().map(|(_, record)| record);
    live.filter(|record| record.value.is_some()).collect()
}
