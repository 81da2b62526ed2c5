//! The few requests of the Kafka protocol that a load needs, written by hand: records are encoded once and sent as they
//! are, so that the client costs next to nothing. Versions are the last ones without tagged fields.

use crate::error::Outcome;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const PRODUCE: (i16, i16) = (0, 8);
const FETCH: (i16, i16) = (1, 11);
const API_VERSIONS: (i16, i16) = (18, 0);
const CREATE_TOPICS: (i16, i16) = (19, 4);
const DELETE_TOPICS: (i16, i16) = (20, 3);
const DESCRIBE_LOG_DIRS: (i16, i16) = (35, 1);
const INCREMENTAL_ALTER_CONFIGS: (i16, i16) = (44, 0);
/// A topic, as requests about settings name it.
const TOPIC: u8 = 2;
/// Where the correlation id stands in a frame: behind the length, the API's key and version.
const CORRELATION_AT: usize = 8;
/// No broker takes longer over anything here.
const LIMIT: Duration = Duration::from_secs(60);
/// No answer is larger than what a fetch asks for, with room for its headers.
const ANSWER_BYTES_MAX: usize = 128 << 20;

/// A request, ready to be sent any number of times.
#[derive(Clone, Debug)]
pub struct Frame(Vec<u8>);

impl Frame {
    fn new((key, version): (i16, i16), body: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend(key.to_be_bytes());
        bytes.extend(version.to_be_bytes());
        bytes.extend([0; 4]);
        string(&mut bytes, "bench");
        body(&mut bytes);
        let length = u32::try_from(bytes.len() - 4).expect("requests are small");
        bytes[..4].copy_from_slice(&length.to_be_bytes());
        Self(bytes)
    }
}

/// One connection, with a buffer for answers.
pub struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
    sent: i32,
    answered: i32,
}

impl Connection {
    pub fn open(address: &str) -> Outcome<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        Ok(Self {
            stream,
            answer: Vec::new(),
            sent: 0,
            answered: 0,
        })
    }

    /// Sends a request. Its answer comes behind those of earlier requests.
    pub fn send(&mut self, frame: &mut Frame) -> io::Result<()> {
        self.sent += 1;
        frame.0[CORRELATION_AT..CORRELATION_AT + 4].copy_from_slice(&self.sent.to_be_bytes());
        self.stream.write_all(&frame.0)
    }

    /// Waits for the next answer; behind its correlation id.
    pub fn receive(&mut self) -> Outcome<Reader<'_>> {
        let mut head = [0; 8];
        self.stream.read_exact(&mut head)?;
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let correlation = i32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        self.answered += 1;
        if correlation != self.answered || !(4..=ANSWER_BYTES_MAX).contains(&length) {
            return Err(format!(
                "answer {correlation} of {length} bytes, expected answer {}",
                self.answered
            )
            .into());
        }
        let length = length - 4;
        if self.answer.len() < length {
            self.answer.resize(length, 0);
        }
        self.stream.read_exact(&mut self.answer[..length])?;
        Ok(Reader(&self.answer[..length]))
    }

    /// Sends and waits.
    pub fn ask(&mut self, frame: &mut Frame) -> Outcome<Reader<'_>> {
        self.send(frame)?;
        self.receive()
    }
}

/// Reads an answer from its start.
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Outcome<&'a [u8]> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or("an answer ends early")?;
        self.0 = rest;
        Ok(taken)
    }

    fn i16(&mut self) -> Outcome<i16> {
        Ok(i16::from_be_bytes(self.take(2)?.try_into()?))
    }

    fn i32(&mut self) -> Outcome<i32> {
        Ok(i32::from_be_bytes(self.take(4)?.try_into()?))
    }

    fn i64(&mut self) -> Outcome<i64> {
        Ok(i64::from_be_bytes(self.take(8)?.try_into()?))
    }

    fn count(&mut self) -> Outcome<usize> {
        Ok(usize::try_from(self.i32()?).unwrap_or(0))
    }

    fn string(&mut self) -> Outcome<String> {
        let length = usize::try_from(self.i16()?).unwrap_or(0);
        Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
    }

    fn bytes(&mut self) -> Outcome<&'a [u8]> {
        let length = self.count()?;
        self.take(length)
    }
}

/// A produce request with `acks=all`.
pub fn produce(topic: &str, batches: &[(i32, &[u8])]) -> Frame {
    Frame::new(PRODUCE, |out| {
        out.extend((-1_i16).to_be_bytes());
        out.extend((-1_i16).to_be_bytes());
        out.extend(30_000_i32.to_be_bytes());
        count(out, 1);
        string(out, topic);
        count(out, batches.len());
        for (partition, batch) in batches {
            out.extend(partition.to_be_bytes());
            count(out, batch.len());
            out.extend_from_slice(batch);
        }
    })
}

/// Fails when a partition was refused.
pub fn check_produced(mut answer: Reader<'_>) -> Outcome<()> {
    for _ in 0..answer.count()? {
        let topic = answer.string()?;
        for _ in 0..answer.count()? {
            let partition = answer.i32()?;
            let error = answer.i16()?;
            answer.take(3 * 8)?;
            for _ in 0..answer.count()? {
                answer.i32()?;
                answer.string()?;
            }
            let message = answer.string()?;
            if error != 0 {
                return Err(
                    format!("produce to {topic}-{partition}: error {error} {message}").into(),
                );
            }
        }
    }
    Ok(())
}

/// How much a fetch takes, as Kafka's consumers ask by default.
pub const FETCH_BYTES_MAX: i32 = 50 << 20;
/// The same for one partition.
pub const PARTITION_BYTES_MAX: i32 = 1 << 20;

/// A fetch of partitions from offsets, without a session.
pub fn fetch(topic: &str, positions: &[(i32, i64)]) -> Frame {
    Frame::new(FETCH, |out| {
        out.extend((-1_i32).to_be_bytes());
        out.extend(500_i32.to_be_bytes());
        out.extend(1_i32.to_be_bytes());
        out.extend(FETCH_BYTES_MAX.to_be_bytes());
        out.push(0);
        out.extend(0_i32.to_be_bytes());
        out.extend((-1_i32).to_be_bytes());
        count(out, 1);
        string(out, topic);
        count(out, positions.len());
        for (partition, offset) in positions {
            out.extend(partition.to_be_bytes());
            out.extend((-1_i32).to_be_bytes());
            out.extend(offset.to_be_bytes());
            out.extend((-1_i64).to_be_bytes());
            out.extend(PARTITION_BYTES_MAX.to_be_bytes());
        }
        count(out, 0);
        string(out, "");
    })
}

/// Hands every partition's records to `records`: partition and batches.
pub fn fetched(mut answer: Reader<'_>, mut records: impl FnMut(i32, &[u8])) -> Outcome<()> {
    answer.i32()?;
    let error = answer.i16()?;
    if error != 0 {
        return Err(format!("fetch: error {error}").into());
    }
    answer.i32()?;
    for _ in 0..answer.count()? {
        answer.string()?;
        for _ in 0..answer.count()? {
            let partition = answer.i32()?;
            let error = answer.i16()?;
            for _ in 0..3 {
                answer.i64()?;
            }
            let aborted = answer.count()?;
            answer.take(aborted * 16)?;
            answer.i32()?;
            let batches = answer.bytes()?;
            if error != 0 {
                return Err(format!("fetch of partition {partition}: error {error}").into());
            }
            records(partition, batches);
        }
    }
    Ok(())
}

/// A connection that has asked for the API versions, as every client's first request does.
pub fn greeted(address: &str) -> Outcome<Connection> {
    let mut connection = Connection::open(address)?;
    connection.ask(&mut Frame::new(API_VERSIONS, |_| ()))?;
    Ok(connection)
}

/// Makes a topic and waits until it can be written to.
pub fn create_topic(address: &str, topic: &str, partitions: usize) -> Outcome<()> {
    create_topic_with(address, topic, partitions, &[])
}

/// The same with settings of the topic.
pub fn create_topic_with(
    address: &str,
    topic: &str,
    partitions: usize,
    settings: &[(&str, &str)],
) -> Outcome<()> {
    let mut connection = Connection::open(address)?;
    let mut request = Frame::new(CREATE_TOPICS, |out| {
        count(out, 1);
        string(out, topic);
        count(out, partitions);
        out.extend(1_i16.to_be_bytes());
        count(out, 0);
        count(out, settings.len());
        for (name, value) in settings {
            string(out, name);
            string(out, value);
        }
        out.extend(30_000_i32.to_be_bytes());
        out.push(0);
    });
    let mut answer = connection.ask(&mut request)?;
    answer.i32()?;
    answer.count()?;
    let name = answer.string()?;
    match answer.i16()? {
        0 => {}
        error => {
            return Err(format!("create topic {name}: error {error} {}", answer.string()?).into());
        }
    }
    let positions: Vec<_> = (0..partitions)
        .map(|partition| (partition as i32, 0))
        .collect();
    let mut probe = fetch(topic, &positions);
    let led = harness::wait::until(LIMIT, || {
        fetched(connection.ask(&mut probe).ok()?, |_, _| ()).ok()
    });
    led.ok_or_else(|| format!("topic {topic} got no leader").into())
}

/// Removes a topic, to make room.
pub fn delete_topic(address: &str, topic: &str) -> Outcome<()> {
    let mut connection = Connection::open(address)?;
    let mut request = Frame::new(DELETE_TOPICS, |out| {
        count(out, 1);
        string(out, topic);
        out.extend(30_000_i32.to_be_bytes());
    });
    let mut answer = connection.ask(&mut request)?;
    answer.i32()?;
    answer.count()?;
    answer.string()?;
    match answer.i16()? {
        0 => Ok(()),
        error => Err(format!("delete topic {topic}: error {error}").into()),
    }
}

/// Changes one setting of a topic.
pub fn set(address: &str, topic: &str, name: &str, value: &str) -> Outcome<()> {
    let mut connection = Connection::open(address)?;
    let mut request = Frame::new(INCREMENTAL_ALTER_CONFIGS, |out| {
        count(out, 1);
        out.push(TOPIC);
        string(out, topic);
        count(out, 1);
        string(out, name);
        out.push(0);
        string(out, value);
        out.push(0);
    });
    let mut answer = connection.ask(&mut request)?;
    answer.i32()?;
    answer.count()?;
    match answer.i16()? {
        0 => Ok(()),
        error => Err(format!("set {name}: error {error} {}", answer.string()?).into()),
    }
}

/// A question for the size of a topic's log.
pub fn log_size(topic: &str) -> Frame {
    Frame::new(DESCRIBE_LOG_DIRS, |out| {
        count(out, 1);
        string(out, topic);
        count(out, 1);
        out.extend(0_i32.to_be_bytes());
    })
}

/// The bytes of the log, from the answer to [`log_size`].
pub fn log_bytes(mut answer: Reader<'_>) -> Outcome<u64> {
    let mut bytes = 0;
    answer.i32()?;
    for _ in 0..answer.count()? {
        answer.i16()?;
        answer.string()?;
        for _ in 0..answer.count()? {
            answer.string()?;
            for _ in 0..answer.count()? {
                answer.i32()?;
                bytes += u64::try_from(answer.i64()?).unwrap_or(0);
                answer.i64()?;
                answer.take(1)?;
            }
        }
    }
    Ok(bytes)
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend(
        u16::try_from(text.len())
            .expect("names are short")
            .to_be_bytes(),
    );
    out.extend_from_slice(text.as_bytes());
}

fn count(out: &mut Vec<u8>, count: usize) {
    out.extend(
        u32::try_from(count)
            .expect("requests are small")
            .to_be_bytes(),
    );
}
