//! A client of the Kafka wire for tests that break connections: every step may fail.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]

use std::io;
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, FetchRequest, InitProducerIdRequest, ProduceRequest,
    ProduceResponse, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Versions that name topics by their names.
const PRODUCE: i16 = 9;
const FETCH: i16 = 12;

/// A connection.
pub struct Kafka {
    stream: TcpStream,
    next_id: i32,
}

/// What a fetch of one partition gave.
#[derive(Debug)]
pub struct Fetched {
    /// The error code, 0 for none.
    pub error: i16,
    /// Offset after the last record that readers may see.
    pub high_watermark: i64,
    /// Whole batches.
    pub records: Bytes,
}

fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

impl Kafka {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> io::Result<Kafka> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Kafka { stream, next_id: 1 })
    }

    /// Sends a request without waiting for its answer.
    pub async fn send<R: Request>(&mut self, version: i16, request: &R) -> io::Result<()> {
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.next_id);
        self.next_id += 1;
        let mut frame = BytesMut::new();
        frame.extend_from_slice(&[0; 4]);
        header
            .encode(&mut frame, R::header_version(version))
            .expect("a header");
        request.encode(&mut frame, version).expect("a request");
        let length = (frame.len() - 4) as u32;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        self.stream.write_all(&frame).await
    }

    /// The next answer.
    pub async fn receive<R: Request>(&mut self, version: i16) -> io::Result<R::Response> {
        let length = self.stream.read_i32().await?;
        let mut frame = vec![0; usize::try_from(length).expect("a length")];
        self.stream.read_exact(&mut frame).await?;
        let mut frame = Bytes::from(frame);
        ResponseHeader::decode(&mut frame, R::Response::header_version(version))
            .expect("a response header");
        Ok(R::Response::decode(&mut frame, version).expect("the answer of the API"))
    }

    /// Asks and waits for the answer.
    pub async fn ask<R: Request>(&mut self, version: i16, request: R) -> io::Result<R::Response> {
        self.send(version, &request).await?;
        self.receive::<R>(version).await
    }

    /// Makes a topic.
    pub async fn create_topic(&mut self, name: &str, partitions: i32) -> io::Result<()> {
        let answer = self.create_topic_with(name, partitions, &[]).await?;
        assert_eq!(answer.error_code, 0, "{answer:?}");
        Ok(())
    }

    /// The same with configuration, and what is said of it.
    pub async fn create_topic_with(
        &mut self,
        name: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> io::Result<CreatableTopicResult> {
        let text = |text: &str| StrBytes::from_string(text.to_owned());
        let config = |(name, value): &(&str, &str)| {
            CreatableTopicConfig::default()
                .with_name(text(name))
                .with_value(Some(text(value)))
        };
        let topic = CreatableTopic::default()
            .with_name(topic_name(name))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(configs.iter().map(config).collect());
        let request = CreateTopicsRequest::default()
            .with_topics(vec![topic])
            .with_timeout_ms(30_000);
        let mut answer = self.ask(5, request).await?;
        Ok(answer.topics.remove(0))
    }

    /// A producer id with its epoch.
    pub async fn producer_id(&mut self) -> io::Result<(i64, i16)> {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        let answer = self.ask(4, request).await?;
        assert_eq!(answer.error_code, 0);
        Ok((answer.producer_id.0, answer.producer_epoch))
    }

    /// Sends a batch to a partition, to be acknowledged by all replicas.
    pub async fn send_batch(
        &mut self,
        topic: &str,
        partition: i32,
        records: Bytes,
    ) -> io::Result<()> {
        let partition = PartitionProduceData::default()
            .with_index(partition)
            .with_records(Some(records));
        let topic = TopicProduceData::default()
            .with_name(topic_name(topic))
            .with_partition_data(vec![partition]);
        let request = ProduceRequest::default()
            .with_transactional_id(None)
            .with_acks(-1)
            .with_timeout_ms(30_000)
            .with_topic_data(vec![topic]);
        self.send(PRODUCE, &request).await
    }

    /// The answer to the oldest batch that was sent: its base offset, or the error code.
    pub async fn acknowledged(&mut self) -> io::Result<Result<i64, i16>> {
        let answer: ProduceResponse = self.receive::<ProduceRequest>(PRODUCE).await?;
        let partition = &answer.responses[0].partition_responses[0];
        Ok(match partition.error_code {
            0 => Ok(partition.base_offset),
            code => Err(code),
        })
    }

    /// Fetches from a partition, waiting at most so long.
    pub async fn fetch(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
        wait_ms: i32,
    ) -> io::Result<Fetched> {
        self.send_fetch(topic, partition, offset, wait_ms).await?;
        self.fetched().await
    }

    /// Sends such a fetch without waiting for its answer.
    pub async fn send_fetch(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
        wait_ms: i32,
    ) -> io::Result<()> {
        let partition = FetchPartition::default()
            .with_partition(partition)
            .with_fetch_offset(offset)
            .with_current_leader_epoch(-1)
            .with_partition_max_bytes(1 << 20);
        let topic = FetchTopic::default()
            .with_topic(topic_name(topic))
            .with_partitions(vec![partition]);
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(wait_ms)
            .with_min_bytes(1)
            .with_max_bytes(8 << 20)
            .with_session_id(0)
            .with_session_epoch(-1)
            .with_topics(vec![topic]);
        self.send(FETCH, &request).await
    }

    /// The answer to the oldest fetch that was sent.
    pub async fn fetched(&mut self) -> io::Result<Fetched> {
        let mut answer = self.receive::<FetchRequest>(FETCH).await?;
        let partition = answer.responses[0].partitions.remove(0);
        Ok(Fetched {
            error: partition.error_code,
            high_watermark: partition.high_watermark,
            records: partition.records.unwrap_or_default(),
        })
    }
}
