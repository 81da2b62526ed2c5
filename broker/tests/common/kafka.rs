//! A Kafka client that says exactly what a test tells it to.

use std::net::SocketAddr;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection that sends one request after the other.
pub struct KafkaClient {
    stream: TcpStream,
    correlation_id: i32,
}

impl KafkaClient {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address)
            .await
            .expect("Kafka's port is open");
        Self {
            stream,
            correlation_id: 0,
        }
    }

    /// Sends a request and reads its answer.
    pub async fn ask<R: Request>(&mut self, version: i16, request: R) -> R::Response {
        self.send(version, request).await;
        self.read::<R>(version).await
    }

    /// Sends a request.
    pub async fn send<R: Request>(&mut self, version: i16, request: R) {
        self.correlation_id += 1;
        let mut body = BytesMut::new();
        RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation_id)
            .with_client_id(Some(StrBytes::from_static_str("test")))
            .encode(&mut body, R::header_version(version))
            .expect("a header");
        request.encode(&mut body, version).expect("a request");
        let length = i32::try_from(body.len()).expect("a short request");
        self.stream
            .write_all(&length.to_be_bytes())
            .await
            .expect("sent");
        self.stream.write_all(&body).await.expect("sent");
    }

    /// Waits for the broker to end the connection. False when it sends something instead.
    pub async fn is_closed(&mut self) -> bool {
        self.stream.read_u8().await.is_err()
    }

    /// Reads the answer to the last request.
    pub async fn read<R: Request>(&mut self, version: i16) -> R::Response {
        let length = self.stream.read_i32().await.expect("an answer");
        let mut body = vec![0; usize::try_from(length).expect("a length")];
        self.stream
            .read_exact(&mut body)
            .await
            .expect("a whole answer");
        let mut body = Bytes::from(body);
        let header_version = R::Response::header_version(version);
        let header = ResponseHeader::decode(&mut body, header_version).expect("a header");
        assert_eq!(header.correlation_id, self.correlation_id);
        let answer = R::Response::decode(&mut body, version).expect("an answer of the version");
        assert_eq!(body.remaining(), 0, "nothing follows the answer");
        answer
    }
}

/// A text for a message.
pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
