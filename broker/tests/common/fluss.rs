//! A client of the Fluss wire that sends what it is told and shows what comes back.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use arrow_array::{Int32Array, RecordBatch, StringArray};
use bytes::Bytes;
use prost::Message;
use protocol::batch::BatchFormat;
use protocol::columnar::{Decoder, arrow_schema};
use protocol::fluss::api::{ApiKey, Request};
use protocol::fluss::batch::{BatchSpec, Batches, Changes, build_arrow};
use protocol::fluss::buffer_codec::Compressor;
use protocol::fluss::descriptor::TableDescriptor;
use protocol::fluss::error::ErrorCode;
use protocol::fluss::messages::*;
use protocol::ids::SchemaId;
use protocol::schema::{Column, DataType, Schema, TypeKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection.
pub struct Client {
    stream: TcpStream,
    next_id: i32,
}

/// What an answer frame holds.
#[derive(Debug, Clone, PartialEq)]
pub struct AnswerFrame {
    /// 0 success, 1 error.
    pub kind: u8,
    /// Of the request.
    pub request_id: i32,
    /// The message.
    pub body: Bytes,
}

impl Client {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Client {
        let connected = Client::try_connect(address).await;
        connected.expect("the port is open")
    }

    /// Connects to a broker that may be gone.
    pub async fn try_connect(address: SocketAddr) -> io::Result<Client> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Client { stream, next_id: 1 })
    }

    /// Sends a request without waiting for its answer.
    pub async fn send(&mut self, key: i16, version: i16, body: &[u8]) -> i32 {
        self.try_send(key, version, body).await.expect("sent")
    }

    /// Sends a request to a broker that may be gone.
    pub async fn try_send(&mut self, key: i16, version: i16, body: &[u8]) -> io::Result<i32> {
        let id = self.next_id;
        self.next_id += 1;
        let mut frame = Vec::new();
        frame.extend((8 + body.len() as u32).to_be_bytes());
        frame.extend(key.to_be_bytes());
        frame.extend(version.to_be_bytes());
        frame.extend(id.to_be_bytes());
        frame.extend(body);
        self.stream.write_all(&frame).await?;
        Ok(id)
    }

    /// Sends these bytes.
    pub async fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("sent");
    }

    /// The next answer, whatever request it belongs to; `None` when the connection is closed.
    pub async fn receive(&mut self) -> Option<AnswerFrame> {
        let length = self.stream.read_i32().await.ok()?;
        let mut frame = vec![0; usize::try_from(length).expect("a length")];
        self.stream.read_exact(&mut frame).await.ok()?;
        Some(AnswerFrame {
            kind: frame[0],
            request_id: i32::from_be_bytes(frame[1..5].try_into().expect("4 bytes")),
            body: Bytes::from(frame).slice(5..),
        })
    }

    /// Asks and waits for the answer or the error.
    pub async fn ask<R: Request>(&mut self, request: R) -> Result<R::Response, ErrorResponse> {
        let id = self.send(R::KEY.code(), 0, &request.encode_to_vec()).await;
        let answer = self.receive().await.expect("an answer");
        assert_eq!(answer.request_id, id);
        match answer.kind {
            0 => Ok(R::Response::decode(answer.body).expect("the message of the API")),
            1 => Err(ErrorResponse::decode(answer.body).expect("an error")),
            other => panic!("answer kind {other}"),
        }
    }

    /// Asks a broker that may be gone; a refusal is the test's failure.
    pub async fn try_ask<R: Request>(&mut self, request: R) -> io::Result<R::Response> {
        self.try_send(R::KEY.code(), 0, &request.encode_to_vec())
            .await?;
        let (_, answer) = self.try_receive::<R>().await?;
        Ok(answer)
    }

    /// The next answer and the request that it belongs to, from a broker that may be gone.
    pub async fn try_receive<R: Request>(&mut self) -> io::Result<(i32, R::Response)> {
        let answer = self.receive().await;
        let answer = answer.ok_or(io::ErrorKind::UnexpectedEof)?;
        assert_eq!(answer.kind, 0, "{:?}", ErrorResponse::decode(answer.body));
        let message = R::Response::decode(answer.body).expect("the message of the API");
        Ok((answer.request_id, message))
    }

    /// Asks for what must be refused.
    pub async fn refusal<R: Request>(&mut self, request: R) -> ErrorCode
    where
        R::Response: std::fmt::Debug,
    {
        let error = self.ask(request).await.expect_err("a refusal");
        ErrorCode::from_code(error.error_code).expect("a known code")
    }

    /// Makes a table, and returns its id.
    pub async fn create_table(&mut self, path: &PbTablePath, table: &TableDescriptor) -> i64 {
        let request = CreateTableRequest {
            table_path: path.clone(),
            table_json: table.to_json().into(),
            ignore_if_exists: false,
        };
        self.ask(request).await.expect("the table is made");
        self.table_info(path).await.table_id
    }

    /// Looks a table up.
    pub async fn table_info(&mut self, path: &PbTablePath) -> GetTableInfoResponse {
        let request = GetTableInfoRequest {
            table_path: path.clone(),
        };
        self.ask(request).await.expect("the table exists")
    }

    /// Appends batches to a bucket of a table without partitions.
    pub async fn produce(
        &mut self,
        table: i64,
        bucket: i32,
        records: Bytes,
    ) -> PbProduceLogRespForBucket {
        let answer = self
            .ask(produce(-1, table, bucket, records))
            .await
            .expect("an answer");
        answer
            .buckets_resp
            .into_iter()
            .next()
            .expect("the bucket's answer")
    }

    /// Fetches from a bucket, waiting at most so long.
    pub async fn fetch(
        &mut self,
        table: i64,
        bucket: i32,
        offset: i64,
        wait_ms: i32,
    ) -> PbFetchLogRespForBucket {
        let answer = self
            .ask(fetch(table, bucket, offset, wait_ms))
            .await
            .expect("an answer");
        let table = answer
            .tables_resp
            .into_iter()
            .next()
            .expect("the table's answer");
        table
            .buckets_resp
            .into_iter()
            .next()
            .expect("the bucket's answer")
    }
}

/// The number of an API that this broker does not have.
pub const UNKNOWN_KEY: i16 = 1999;

/// A produce request for one bucket.
pub fn produce(acks: i32, table: i64, bucket: i32, records: Bytes) -> ProduceLogRequest {
    ProduceLogRequest {
        acks,
        table_id: table,
        timeout_ms: 30_000,
        buckets_req: vec![PbProduceLogReqForBucket {
            bucket_id: bucket,
            records,
            ..PbProduceLogReqForBucket::default()
        }],
    }
}

/// A fetch request for one bucket.
pub fn fetch(table: i64, bucket: i32, offset: i64, wait_ms: i32) -> FetchLogRequest {
    FetchLogRequest {
        follower_server_id: -1,
        max_bytes: 16 << 20,
        tables_req: vec![PbFetchLogReqForTable {
            table_id: table,
            buckets_req: vec![PbFetchLogReqForBucket {
                bucket_id: bucket,
                fetch_offset: offset,
                max_fetch_bytes: 1 << 20,
                ..PbFetchLogReqForBucket::default()
            }],
            ..PbFetchLogReqForTable::default()
        }],
        max_wait_ms: Some(wait_ms),
        min_bytes: Some(1),
        read_preference: None,
    }
}

/// A path of the database `fluss`.
pub fn path(table: &str) -> PbTablePath {
    PbTablePath {
        database_name: "fluss".into(),
        table_name: table.into(),
    }
}

/// The columns `id INT, name STRING`.
pub fn schema() -> Schema {
    let column = |id, name: &str, kind| Column {
        name: name.into(),
        data_type: DataType::nullable(kind),
        comment: None,
        id,
        agg_function: None,
    };
    Schema {
        columns: vec![
            column(0, "id", TypeKind::Int),
            column(1, "name", TypeKind::String),
        ],
        primary_key: Vec::new(),
        auto_increment_column: None,
        highest_field_id: 1,
    }
}

/// A log table of these columns.
pub fn log_table(buckets: i32) -> TableDescriptor {
    TableDescriptor {
        schema: schema(),
        comment: None,
        partition_keys: Vec::new(),
        bucket_keys: Vec::new(),
        bucket_count: Some(buckets),
        properties: Default::default(),
        custom_properties: Default::default(),
    }
}

/// A batch of rows `(id, "name <id>")`, of an idempotent writer or of nobody.
pub fn batch(ids: std::ops::Range<i32>, writer: Option<(i64, i32)>) -> Bytes {
    let names = StringArray::from_iter_values(ids.clone().map(|id| format!("name {id}")));
    let ids = Int32Array::from_iter_values(ids);
    let rows = RecordBatch::try_new(
        arrow_schema(&schema()),
        vec![Arc::new(ids), Arc::new(names)],
    );
    let spec = BatchSpec {
        writer,
        ..BatchSpec::new(SchemaId::new(1))
    };
    let rows = rows.expect("columns of the schema");
    let built = build_arrow(
        &spec,
        Changes::AppendOnly,
        &rows,
        &mut Compressor::new(None),
    );
    Bytes::from(built.expect("a batch"))
}

/// The offsets and ids of fetched batches of [`schema`].
pub fn rows_of(records: Bytes) -> Vec<(i64, i32)> {
    let mut rows = Vec::new();
    for batch in Batches::new(records) {
        let batch = batch.expect("a whole batch");
        let base = batch.header().base_offset();
        let decoded = Decoder::default().decode(&batch, BatchFormat::FlussArrow, &schema(), None);
        let decoded = decoded.expect("a sound batch").rows;
        let ids = decoded
            .column(0)
            .as_any()
            .downcast_ref::<Int32Array>()
            .expect("INT");
        rows.extend((base..).zip(ids.values().iter().copied()));
    }
    rows
}

/// What a code is, for comparisons.
pub fn code(error: Option<i32>) -> Option<ErrorCode> {
    error.and_then(ErrorCode::from_code)
}

/// The keys that an answer to API_VERSIONS names.
pub fn keys(answer: &ApiVersionsResponse) -> Vec<Option<ApiKey>> {
    let key = |version: &PbApiVersion| ApiKey::from_code(i16::try_from(version.api_key).ok()?);
    answer.api_versions.iter().map(key).collect()
}
