//! What the demo prints, and the broker's own count of bytes.

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// The broker's metric of answered bytes on the Fluss wire, over all requests.
const BYTES_SENT: &str = "fluss_tabletserver_request_response_bytes_total";

/// One step of the demo.
pub struct Measured {
    /// Orders.
    pub rows: u64,
    /// Keys and values in bytes, or bytes sent.
    pub bytes: u64,
    /// How long it took.
    pub time: Duration,
}

/// Prints a step.
pub fn line(what: &str, how: &str, measured: &Measured) {
    let seconds = measured.time.as_secs_f64();
    println!(
        "{what:<10} {} orders, {:.1} MB in {seconds:.2} s, {:.0} orders/s ({how})",
        measured.rows,
        measured.bytes as f64 / 1e6,
        measured.rows as f64 / seconds,
    );
}

/// Bytes that the broker has sent on the Fluss wire.
pub fn bytes_sent(http: &str) -> Result<u64, Box<dyn Error>> {
    let mut stream = TcpStream::connect(http)?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: vltava\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let values = text
        .lines()
        .filter(|l| l.starts_with(BYTES_SENT))
        .filter_map(|l| l.rsplit(' ').next());
    values.map(|value| Ok(value.parse::<f64>()? as u64)).sum()
}
