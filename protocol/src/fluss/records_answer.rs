//! Answers that carry records, encoded around them.
//!
//! Records leave as the chunks that the log handed out: a [`Bytes`] is put between encoded pieces,
//! never copied into them. The pieces of one answer share one buffer.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use super::frame::{ANSWER_HEADER_BYTES, FrameTooLong, put_success_header};
use super::messages::{LimitScanResponse, PbFetchLogRespForBucket, ScanKvResponse};

/// One table's part of a FETCH_LOG answer.
#[derive(Debug, Clone, PartialEq)]
pub struct FetchedTable {
    /// The table.
    pub table_id: i64,
    /// One entry per bucket that was asked for.
    pub buckets: Vec<FetchedBucket>,
}

/// One bucket's part of a FETCH_LOG answer.
#[derive(Debug, Clone, PartialEq)]
pub struct FetchedBucket {
    /// Everything but the records; its own `records` stays unset.
    pub answer: PbFetchLogRespForBucket,
    /// Whole batches in order. `Some` and empty when there are none: Java peers read the field
    /// without asking. `None` beside an error or remote segments.
    pub records: Option<Vec<Bytes>>,
}

// Field numbers of the messages that are written by hand here.
const FETCH_TABLES: u32 = 1;
const TABLE_ID: u32 = 1;
const TABLE_BUCKETS: u32 = 2;
const BUCKET_RECORDS: u32 = 8;
const BUCKET_FILTERED_END: u32 = 9;
const BUCKET_MIN_RETAIN: u32 = 10;
const LIMIT_SCAN_RECORDS: u32 = 4;
const SCAN_KV_RECORDS: u32 = 5;
const SCAN_KV_LOG_OFFSET: u32 = 6;

/// The frame of a FETCH_LOG answer, in pieces to be written one after another.
///
/// # Errors
/// The answer is larger than 2 GiB.
pub fn encode_fetch_log(
    request_id: i32,
    tables: Vec<FetchedTable>,
) -> Result<Vec<Bytes>, FrameTooLong> {
    let tables: Vec<Table> = tables.into_iter().map(Table::measure).collect();
    let body: usize = tables
        .iter()
        .map(|table| delimited_len(FETCH_TABLES, table.len))
        .sum();
    let own: usize = tables.iter().map(Table::own_len).sum();
    let mut out = Pieces::start(request_id, body, own)?;
    for table in tables {
        put_delimited(&mut out.tail, FETCH_TABLES, table.len);
        put_number(&mut out.tail, TABLE_ID, table.table_id);
        for bucket in table.buckets {
            put_delimited(&mut out.tail, TABLE_BUCKETS, bucket.len());
            bucket.put(&mut out);
        }
    }
    Ok(out.finish())
}

/// The frame of a LIMIT_SCAN answer whose records are given apart.
///
/// # Errors
/// The answer is larger than 2 GiB.
pub fn encode_limit_scan(
    request_id: i32,
    answer: LimitScanResponse,
    records: Option<Vec<Bytes>>,
) -> Result<Vec<Bytes>, FrameTooLong> {
    Around::new(answer, LIMIT_SCAN_RECORDS, records, [None; 2]).frame(request_id)
}

/// The frame of a SCAN_KV answer whose records are given apart.
///
/// # Errors
/// The answer is larger than 2 GiB.
pub fn encode_scan_kv(
    request_id: i32,
    mut answer: ScanKvResponse,
    records: Option<Vec<Bytes>>,
) -> Result<Vec<Bytes>, FrameTooLong> {
    let back = [
        answer
            .log_offset
            .take()
            .map(|offset| (SCAN_KV_LOG_OFFSET, offset)),
        None,
    ];
    Around::new(answer, SCAN_KV_RECORDS, records, back).frame(request_id)
}

/// A message in three parts: the fields before the records, the records, numbers after them.
struct Around<M> {
    front: M,
    front_len: usize,
    number: u32,
    records: Option<Vec<Bytes>>,
    records_len: usize,
    back: [Option<(u32, i64)>; 2],
}

impl<M: Message> Around<M> {
    fn new(
        front: M,
        number: u32,
        records: Option<Vec<Bytes>>,
        back: [Option<(u32, i64)>; 2],
    ) -> Self {
        let records_len = records.iter().flatten().map(Bytes::len).sum();
        Around {
            front_len: front.encoded_len(),
            front,
            number,
            records,
            records_len,
            back,
        }
    }

    /// Bytes that are encoded here, the records apart.
    fn own_len(&self) -> usize {
        let records = match self.records {
            Some(_) => delimited_len(self.number, self.records_len) - self.records_len,
            None => 0,
        };
        let back: usize = self
            .back
            .iter()
            .flatten()
            .map(|(number, value)| number_len(*number, *value))
            .sum();
        self.front_len + records + back
    }

    fn len(&self) -> usize {
        self.own_len() + self.records_len
    }

    fn put(self, out: &mut Pieces) {
        self.front
            .encode(&mut out.tail)
            .expect("a BytesMut grows as needed");
        if let Some(records) = self.records {
            put_delimited(&mut out.tail, self.number, self.records_len);
            for chunk in records {
                out.chunk(chunk);
            }
        }
        for (number, value) in self.back.into_iter().flatten() {
            put_number(&mut out.tail, number, value);
        }
    }

    fn frame(self, request_id: i32) -> Result<Vec<Bytes>, FrameTooLong> {
        let mut out = Pieces::start(request_id, self.len(), self.own_len())?;
        self.put(&mut out);
        Ok(out.finish())
    }
}

struct Table {
    table_id: i64,
    buckets: Vec<Around<PbFetchLogRespForBucket>>,
    len: usize,
}

impl Table {
    fn measure(table: FetchedTable) -> Self {
        let buckets: Vec<_> = table.buckets.into_iter().map(around_records).collect();
        let nested: usize = buckets
            .iter()
            .map(|bucket| delimited_len(TABLE_BUCKETS, bucket.len()))
            .sum();
        Table {
            table_id: table.table_id,
            buckets,
            len: number_len(TABLE_ID, table.table_id) + nested,
        }
    }

    /// Bytes that are encoded here, the records apart.
    fn own_len(&self) -> usize {
        let records: usize = self.buckets.iter().map(|bucket| bucket.records_len).sum();
        delimited_len(FETCH_TABLES, self.len) - records
    }
}

fn around_records(mut bucket: FetchedBucket) -> Around<PbFetchLogRespForBucket> {
    debug_assert!(bucket.answer.records.is_none(), "records are given apart");
    let back = [
        bucket
            .answer
            .filtered_end_offset
            .take()
            .map(|offset| (BUCKET_FILTERED_END, offset)),
        bucket
            .answer
            .min_retain_offset
            .take()
            .map(|offset| (BUCKET_MIN_RETAIN, offset)),
    ];
    Around::new(bucket.answer, BUCKET_RECORDS, bucket.records, back)
}

/// Encoded bytes and chunks in the order in which they leave.
struct Pieces {
    done: Vec<Bytes>,
    tail: BytesMut,
}

impl Pieces {
    fn start(request_id: i32, body: usize, own: usize) -> Result<Self, FrameTooLong> {
        let mut tail = BytesMut::with_capacity(4 + ANSWER_HEADER_BYTES + own);
        put_success_header(&mut tail, request_id, body)?;
        Ok(Pieces {
            done: Vec::new(),
            tail,
        })
    }

    fn chunk(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            if !self.tail.is_empty() {
                self.done.push(self.tail.split().freeze());
            }
            self.done.push(chunk);
        }
    }

    fn finish(mut self) -> Vec<Bytes> {
        if !self.tail.is_empty() {
            self.done.push(self.tail.freeze());
        }
        self.done
    }
}

fn delimited_len(number: u32, len: usize) -> usize {
    key_len(number) + varint_len(len as u64) + len
}

fn number_len(number: u32, value: i64) -> usize {
    key_len(number) + varint_len(value as u64)
}

fn key_len(number: u32) -> usize {
    varint_len(u64::from(number) << 3)
}

fn varint_len(value: u64) -> usize {
    // Seven bits to a byte, and one byte for zero.
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

fn put_delimited(out: &mut BytesMut, number: u32, len: usize) {
    put_varint(out, u64::from(number) << 3 | 2);
    put_varint(out, len as u64);
}

fn put_number(out: &mut BytesMut, number: u32, value: i64) {
    put_varint(out, u64::from(number) << 3);
    put_varint(out, value as u64);
}

fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::frame::encode_success;
    use super::super::messages::{FetchLogResponse, PbFetchLogRespForTable, PbRemoteLogFetchInfo};
    use super::*;

    /// The answer that prost would encode.
    fn plain(tables: &[FetchedTable]) -> FetchLogResponse {
        let bucket = |bucket: &FetchedBucket| PbFetchLogRespForBucket {
            records: bucket.records.as_ref().map(|chunks| chunks.concat().into()),
            ..bucket.answer.clone()
        };
        let table = |table: &FetchedTable| PbFetchLogRespForTable {
            table_id: table.table_id,
            buckets_resp: table.buckets.iter().map(bucket).collect(),
        };
        FetchLogResponse {
            tables_resp: tables.iter().map(table).collect(),
        }
    }

    fn bucket() -> impl Strategy<Value = FetchedBucket> {
        let chunks = proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from),
            0..4,
        );
        let numbers = (
            any::<i32>(),
            any::<Option<i64>>(),
            any::<Option<i64>>(),
            any::<Option<i64>>(),
        );
        let rest = (
            any::<Option<i64>>(),
            proptest::option::of(".{0,20}"),
            any::<bool>(),
        );
        (numbers, rest, proptest::option::of(chunks)).prop_map(
            |(
                (bucket_id, partition_id, high_watermark, filtered),
                (retain, text, remote),
                records,
            )| FetchedBucket {
                answer: PbFetchLogRespForBucket {
                    partition_id,
                    bucket_id,
                    error_code: text.as_ref().map(|_| 12),
                    error_message: text,
                    high_watermark,
                    log_start_offset: Some(0),
                    remote_log_fetch_info: remote.then(|| PbRemoteLogFetchInfo {
                        remote_log_tablet_dir: "file:///remote".into(),
                        ..Default::default()
                    }),
                    records: None,
                    filtered_end_offset: filtered,
                    min_retain_offset: retain,
                },
                records,
            },
        )
    }

    fn tables() -> impl Strategy<Value = Vec<FetchedTable>> {
        let table = (any::<i64>(), proptest::collection::vec(bucket(), 0..4))
            .prop_map(|(table_id, buckets)| FetchedTable { table_id, buckets });
        proptest::collection::vec(table, 0..3)
    }

    proptest! {
        #[test]
        fn a_fetch_answer_is_what_prost_writes(request_id in any::<i32>(), tables in tables()) {
            let whole = encode_success(request_id, &plain(&tables)).unwrap();
            let pieces = encode_fetch_log(request_id, tables).unwrap();
            prop_assert!(pieces.iter().all(|piece| !piece.is_empty()));
            prop_assert_eq!(pieces.concat(), whole);
        }

        #[test]
        fn a_scan_answer_is_what_prost_writes(
            records in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300)),
            log_offset in any::<Option<i64>>(),
        ) {
            let chunks = records.clone().map(|records| vec![Bytes::from(records)]);
            let scan = ScanKvResponse { has_more_results: Some(true), log_offset, ..Default::default() };
            let whole = ScanKvResponse { records: records.clone().map(Bytes::from), ..scan.clone() };
            prop_assert_eq!(
                encode_scan_kv(3, scan, chunks.clone()).unwrap().concat(),
                encode_success(3, &whole).unwrap()
            );
            let limit = LimitScanResponse { is_log_table: Some(true), ..Default::default() };
            let whole = LimitScanResponse { records: records.map(Bytes::from), ..limit.clone() };
            prop_assert_eq!(
                encode_limit_scan(3, limit, chunks).unwrap().concat(),
                encode_success(3, &whole).unwrap()
            );
        }
    }

    #[test]
    fn chunks_leave_as_they_came() {
        let chunk = Bytes::from(vec![7; 1000]);
        let bucket = FetchedBucket {
            answer: PbFetchLogRespForBucket {
                high_watermark: Some(5),
                ..Default::default()
            },
            records: Some(vec![chunk.clone(), chunk.slice(..10)]),
        };
        let pieces = encode_fetch_log(
            1,
            vec![FetchedTable {
                table_id: 1,
                buckets: vec![bucket],
            }],
        )
        .unwrap();
        assert_eq!(pieces.len(), 3);
        assert_eq!(pieces[1].as_ptr(), chunk.as_ptr());
        assert_eq!(pieces[2].as_ptr(), chunk.as_ptr());
    }

    #[test]
    fn empty_records_are_present() {
        let bucket = FetchedBucket {
            answer: PbFetchLogRespForBucket::default(),
            records: Some(vec![]),
        };
        let frame = encode_fetch_log(
            1,
            vec![FetchedTable {
                table_id: 1,
                buckets: vec![bucket],
            }],
        )
        .unwrap();
        let answer = FetchLogResponse::decode(&frame.concat()[9..]).unwrap();
        assert_eq!(
            answer.tables_resp[0].buckets_resp[0].records,
            Some(Bytes::new())
        );
    }
}
