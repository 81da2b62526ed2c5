//! A connection that follows no protocol.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Connects.
pub async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("the port is open")
}

/// Bytes behind their length.
pub fn framed(frame: &[u8]) -> Vec<u8> {
    let length = u32::try_from(frame.len()).expect("a short frame");
    [&length.to_be_bytes(), frame].concat()
}

/// Sends bytes and says that there are no more. The broker may have closed the connection before.
pub async fn send(stream: &mut TcpStream, bytes: &[u8]) {
    if stream.write_all(bytes).await.is_ok() {
        let _ = stream.shutdown().await;
    }
}

/// All that comes until the broker closes the connection.
pub async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut answers = Vec::new();
    // A reset is an end as well: what the broker did not read was thrown away.
    let _ = stream.read_to_end(&mut answers).await;
    answers
}

/// Sends bytes on a connection of their own and returns what comes back until its end.
pub async fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(address).await;
    send(&mut stream, bytes).await;
    rest(&mut stream).await
}

/// Sends bytes on a connection of their own and returns the first answer behind its length, or
/// nothing when the broker closes the connection.
pub async fn ask(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(address).await;
    // A reset while sending is an answer, too.
    let _ = stream.write_all(bytes).await;
    let Ok(length) = stream.read_u32().await else {
        return Vec::new();
    };
    let mut answer = vec![0; length as usize];
    let whole = stream.read_exact(&mut answer).await;
    whole.expect("a whole answer");
    answer
}

/// A header of the Kafka wire without tagged fields, then a body.
pub fn kafka_request(key: i16, version: i16, flexible: bool, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend(key.to_be_bytes());
    frame.extend(version.to_be_bytes());
    frame.extend(7i32.to_be_bytes());
    frame.extend((-1i16).to_be_bytes());
    frame.extend(flexible.then_some(0));
    frame.extend(body);
    framed(&frame)
}

/// A header of the Fluss wire, then a body.
pub fn fluss_request(key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend(key.to_be_bytes());
    frame.extend(version.to_be_bytes());
    frame.extend(7i32.to_be_bytes());
    frame.extend(body);
    framed(&frame)
}
