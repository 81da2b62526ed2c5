//! The smallest requests that prove a server answers, written by hand so that readiness does not depend on a client.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(2);
/// No answer to these requests is larger.
const ANSWER_BYTES_MAX: usize = 1 << 20;
const CORRELATION: [u8; 4] = [0, 0, 0, 7];

/// True when `address` answers a Kafka ApiVersions request of version 0.
pub fn kafka_answers(address: SocketAddr) -> bool {
    // Key 18, version 0, correlation id, no client id.
    let mut request = vec![0, 18, 0, 0];
    request.extend(CORRELATION);
    request.extend([0xff, 0xff]);
    ask(address, &request).is_ok_and(|answer| answer.starts_with(&CORRELATION))
}

/// True when `address` answers a Fluss metadata request and names at least one tablet server.
pub fn fluss_has_tablet_server(address: SocketAddr) -> bool {
    // Key 1012, version 0, correlation id, empty message.
    let mut request = 1012_u16.to_be_bytes().to_vec();
    request.extend([0, 0]);
    request.extend(CORRELATION);
    // Answer: kind 0 (success), correlation id, message with the tablet servers in field 2.
    ask(address, &request).is_ok_and(|answer| match answer.strip_prefix(&[0]) {
        Some(rest) => rest
            .strip_prefix(&CORRELATION)
            .is_some_and(|message| has_field(message, 2)),
        None => false,
    })
}

fn ask(address: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let length = u32::try_from(request.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), request].concat())?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > ANSWER_BYTES_MAX {
        return Err(io::Error::other(format!("answer of {length} bytes")));
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

/// Whether a protobuf message has a top-level field of this number with a length (strings, bytes, messages).
fn has_field(mut message: &[u8], number: u64) -> bool {
    while let Some((tag, rest)) = varint(message) {
        message = match tag & 7 {
            0 => match varint(rest) {
                Some((_, rest)) => rest,
                None => return false,
            },
            2 if tag >> 3 == number => return true,
            2 => match varint(rest) {
                Some((length, rest)) => match usize::try_from(length)
                    .ok()
                    .and_then(|length| rest.get(length..))
                {
                    Some(rest) => rest,
                    None => return false,
                },
                None => return false,
            },
            _ => return false,
        };
    }
    false
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_behind_others() {
        let message = [0x0a, 2, b'a', b'b', 0x18, 0x96, 0x01, 0x12, 1, b'x'];
        assert!(has_field(&message, 2));
        assert!(!has_field(&message, 4));
        assert!(
            !has_field(&message[..3], 2),
            "a cut message has no second field"
        );
    }
}
