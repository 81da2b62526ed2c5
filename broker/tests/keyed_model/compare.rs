//! A table beside its model: looked up, scanned, and counted.

use bytes::Bytes;
use protocol::fluss::messages::*;
use protocol::fluss::value::{Value, read_value_batch};
use protocol::row::RowLayout;

use crate::cell::{Cell, Row};
use crate::common::keyed::lookup;
use crate::life::Clients;
use crate::spec::Kind;
use crate::table::{Table, Totals};

/// Less than a row or two: scans take several calls.
const SCAN_BYTES: i32 = 200;
const FEW: usize = 3;

impl Table {
    /// Everything that any reader sees.
    pub(crate) async fn compare(
        &mut self,
        clients: &mut Clients,
        totals: &mut Totals,
        about: &str,
    ) {
        let keys: Vec<Row> = self.places.keys().cloned().collect();
        self.compare_lookups(clients, &keys, about).await;
        self.compare_scans(clients, about).await;
        if self.spec.bucket_width < self.spec.rules.key_width {
            self.compare_prefixes(clients, about).await;
        }
        self.compare_counts(clients, about).await;
        totals.cleaned += self.compare_changelog(clients, about).await;
        totals.compared += 1;
    }

    /// Looks keys up, bucket by bucket.
    pub(crate) async fn compare_lookups(
        &mut self,
        clients: &mut Clients,
        keys: &[Row],
        about: &str,
    ) {
        for bucket in 0..self.spec.buckets {
            let keys: Vec<Row> = match self.spec.kind {
                Kind::Table => {
                    let keys = keys.iter().filter(|key| self.places[*key].bucket == bucket);
                    keys.cloned().collect()
                }
                // Any bucket of a topic may be asked.
                Kind::Topic(_) => keys.to_vec(),
            };
            if keys.is_empty() {
                continue;
            }
            let found = self.look_up(clients, bucket, &keys, about).await;
            for (key, value) in keys.iter().zip(&found) {
                self.compare_value(key, value.as_ref(), about);
            }
        }
    }

    pub(crate) async fn look_up(
        &self,
        clients: &mut Clients,
        bucket: i32,
        keys: &[Row],
        about: &str,
    ) -> Vec<Option<Bytes>> {
        let encoded = keys.iter().map(|key| self.places[key].encoded.clone());
        let request = lookup(self.id, bucket, encoded.collect());
        let found = clients.reader.look_up(request).await;
        found.unwrap_or_else(|code| panic!("{about}: {code:?}"))
    }

    /// The high watermark of each bucket.
    pub(crate) async fn ends(&self, clients: &mut Clients) -> Vec<i64> {
        let mut ends = Vec::new();
        for bucket in 0..self.spec.buckets {
            let fetched = clients.reader.fetch(self.id, bucket, 0, 0).await;
            ends.push(fetched.high_watermark.expect("a watermark"));
        }
        ends
    }

    /// Compares what was found for a key, and learns its number.
    pub(crate) fn compare_value(&mut self, key: &Row, value: Option<&Bytes>, about: &str) {
        let found = value.map(|value| self.row_of(&Value::parse(value).expect("a value")));
        if let (Some(counted), Some(found)) = (self.spec.rules.counted, &found) {
            let number = &found[counted];
            let others = self.numbers.iter().filter(|(other, _)| *other != key);
            let given = others
                .map(|(_, number)| number)
                .find(|other| *other == number);
            assert_eq!(given, None, "{about}: key {key:?} has a number of another");
            assert_ne!(*number, Cell::Null, "{about}: key {key:?} has no number");
            let first = self.numbers.entry(key.clone()).or_insert(number.clone());
            assert_eq!(first, number, "{about}: key {key:?} got another number");
        }
        assert_eq!(found, self.expected(key), "{about}: the row of {key:?}");
    }

    /// The row that a key should have, with its number when that is known.
    pub(crate) fn expected(&self, key: &Row) -> Option<Row> {
        let mut row = self.rows.get(key)?.clone();
        if let Some(counted) = self.spec.rules.counted {
            row[counted] = self.numbers.get(key).cloned().unwrap_or(Cell::Null);
        }
        Some(row)
    }

    /// A row of an answer, of whichever schema, as one of the newest.
    pub(crate) fn row_of(&self, value: &Value<'_>) -> Row {
        let keyed = self.spec.keyed(value.schema_id.value() == 2);
        assert_eq!(value.schema_id.value(), keyed.schema_id);
        let layout = RowLayout::of(keyed.kv_format, &keyed.schema);
        let mut values = Vec::new();
        layout.read(value.row, &mut values).expect("a row");
        let mut row: Row = values.iter().map(Cell::of).collect();
        row.resize(self.width(), Cell::Null);
        row
    }

    fn rows_of(&self, records: &[u8]) -> Vec<Row> {
        if records.is_empty() {
            return Vec::new();
        }
        let values = read_value_batch(records).expect("a batch of values");
        values.iter().map(|value| self.row_of(value)).collect()
    }

    /// The rows of a bucket in the order of their keys, of those whose key begins like this.
    fn expected_in(&self, bucket: i32, prefix: &[Cell]) -> Vec<Row> {
        let here = self
            .places
            .iter()
            .filter(|(key, place)| place.bucket == bucket && key.starts_with(prefix));
        let mut here: Vec<_> = here.collect();
        // Indexes of topics have the keys as producers wrote them.
        if self.spec.kind == Kind::Table {
            here.sort_by(|(_, a), (_, b)| a.encoded.cmp(&b.encoded));
        }
        let rows = here.into_iter().filter_map(|(key, _)| self.expected(key));
        rows.collect()
    }

    async fn compare_scans(&self, clients: &mut Clients, about: &str) {
        for bucket in 0..self.spec.buckets {
            let expected = self.expected_in(bucket, &[]);
            let about = format!("{about}, bucket {bucket}");
            for limit in [FEW, 1000] {
                let request = LimitScanRequest {
                    table_id: self.id,
                    bucket_id: bucket,
                    limit: limit as i32,
                    ..LimitScanRequest::default()
                };
                let answer = clients.reader.ask(request).await.expect("an answer");
                assert_eq!(answer.error_code, None, "{about}: {answer:?}");
                let found = self.rows_of(answer.records.as_deref().unwrap_or_default());
                let expected = &expected[..limit.min(expected.len())];
                assert_eq!(found, expected, "{about}: the first {limit} rows");
            }
            let found = self.scan(clients, bucket).await;
            assert_eq!(found, expected, "{about}: a scan");
        }
    }

    async fn scan(&self, clients: &mut Clients, bucket: i32) -> Vec<Row> {
        let batches = clients.reader.scan_all(self.id, bucket, SCAN_BYTES).await;
        batches
            .iter()
            .flat_map(|records| self.rows_of(records))
            .collect()
    }

    async fn compare_prefixes(&self, clients: &mut Clients, about: &str) {
        let width = self.spec.bucket_width;
        let mut prefixes: Vec<_> = self
            .places
            .iter()
            .map(|(key, place)| (key[..width].to_vec(), place.bucket))
            .collect();
        prefixes.dedup();
        let keyed = self.keyed();
        for (prefix, bucket) in prefixes {
            let datums: Vec<_> = prefix.iter().map(Cell::datum).collect();
            let request = PrefixLookupRequest {
                table_id: self.id,
                buckets_req: vec![PbPrefixLookupReqForBucket {
                    bucket_id: bucket,
                    keys: vec![keyed.prefix(&datums)],
                    ..PbPrefixLookupReqForBucket::default()
                }],
            };
            let answer = clients.reader.ask(request).await.expect("an answer");
            let answer = &answer.buckets_resp[0];
            assert_eq!(answer.error_code, None, "{about}: {answer:?}");
            let values = answer.value_lists[0].values.iter();
            let found: Vec<Row> = values
                .map(|value| self.row_of(&Value::parse(value).expect("a value")))
                .collect();
            let expected = self.expected_in(bucket, &prefix);
            assert_eq!(found, expected, "{about}: rows of {prefix:?}");
        }
    }

    async fn compare_counts(&self, clients: &mut Clients, about: &str) {
        if self.spec.kind != Kind::Table || !self.spec.has_full_image() {
            return;
        }
        let bucket = |bucket_id| PbTableStatsReqForBucket {
            bucket_id,
            ..PbTableStatsReqForBucket::default()
        };
        let request = GetTableStatsRequest {
            table_id: self.id,
            buckets_req: (0..self.spec.buckets).map(bucket).collect(),
            ..GetTableStatsRequest::default()
        };
        let answer = clients.reader.ask(request).await.expect("an answer");
        let counts = answer.buckets_resp.iter().map(|bucket| bucket.row_count);
        let total: i64 = counts.map(|count| count.expect("a count")).sum();
        assert_eq!(total, self.rows.len() as i64, "{about}: the number of rows");
    }
}
