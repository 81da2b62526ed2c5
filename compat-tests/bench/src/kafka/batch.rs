//! Record batches, encoded once before the clock starts.
//!
//! ```text
//! 0 base offset i64 | 8 length i32 | 12 leader epoch i32 | 16 magic i8 | 17 CRC-32C u32 | 21 attributes i16
//! 23 last offset delta i32 | 27 base timestamp i64 | 35 max timestamp i64 | 43 producer id i64 | 51 epoch i16
//! 53 sequence i32 | 57 record count i32 | 61 records, compressed as a whole
//! ```

use crate::error::Outcome;
use std::io::Write;

const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;
const COUNT_AT: usize = 57;
const HEADER: usize = 61;

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    None,
    Lz4,
}

impl Codec {
    pub fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Lz4 => "lz4",
        }
    }
}

/// An encoded batch and what it holds.
#[derive(Clone, Debug)]
pub struct Batch {
    pub bytes: Vec<u8>,
    pub records: usize,
    pub value_bytes: usize,
}

/// Values that look like events: lz4 makes them about half as large.
pub struct Values {
    state: u64,
    size: usize,
}

impl Values {
    pub fn new(seed: u64, size: usize) -> Self {
        Self {
            state: seed ^ 0x9e37_79b9_7f4a_7c15,
            size,
        }
    }

    fn random(&mut self) -> u64 {
        // SplitMix64: any generator does that gives the same bytes for the same seed.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The next value.
    pub fn next_value(&mut self) -> Vec<u8> {
        let mut value = Vec::with_capacity(self.size + 64);
        while value.len() < self.size {
            let number = self.random();
            let city = ["Prague", "Berlin", "Vienna", "Brno"][(number & 3) as usize];
            // Writing to a vector does not fail.
            let _ = write!(
                value,
                "{{\"order\":{:016x},\"city\":\"{city}\",\"amount\":{}}}",
                number,
                number % 10_000
            );
        }
        value.truncate(self.size);
        value
    }
}

/// Encodes `records` values as one batch.
pub fn encode(values: &mut Values, records: usize, codec: Codec, now_ms: i64) -> Outcome<Batch> {
    let mut body = Vec::new();
    let mut delta_ms = 0;
    for index in 0..records {
        // Records come some milliseconds apart: their times are not one value.
        if index > 0 {
            delta_ms += (values.random() % 4) as i64;
        }
        record(&mut body, index, delta_ms, None, &values.next_value());
    }
    let bytes = sealed(&body, records, codec, now_ms, delta_ms)?;
    Ok(Batch {
        bytes,
        records,
        value_bytes: records * values.size,
    })
}

/// Encodes records with keys as one batch, all of one time.
pub fn encode_keyed(records: &[(Vec<u8>, Vec<u8>)], now_ms: i64) -> Outcome<Batch> {
    let mut body = Vec::new();
    for (index, (key, value)) in records.iter().enumerate() {
        record(&mut body, index, 0, Some(key), value);
    }
    Ok(Batch {
        bytes: sealed(&body, records.len(), Codec::None, now_ms, 0)?,
        records: records.len(),
        value_bytes: records.iter().map(|(_, value)| value.len()).sum(),
    })
}

/// A batch around encoded records.
fn sealed(
    body: &[u8],
    records: usize,
    codec: Codec,
    now_ms: i64,
    delta_ms: i64,
) -> Outcome<Vec<u8>> {
    let body = match codec {
        Codec::None => body.to_vec(),
        Codec::Lz4 => lz4(body)?,
    };
    let mut bytes = vec![0; HEADER];
    let length = i32::try_from(HEADER - 12 + body.len())?;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[12..16].copy_from_slice(&(-1_i32).to_be_bytes());
    bytes[16] = 2;
    bytes[ATTRIBUTES_AT + 1] = if codec == Codec::Lz4 { 3 } else { 0 };
    bytes[23..27].copy_from_slice(&i32::try_from(records - 1)?.to_be_bytes());
    bytes[27..35].copy_from_slice(&now_ms.to_be_bytes());
    bytes[35..43].copy_from_slice(&(now_ms + delta_ms).to_be_bytes());
    bytes[43..57].fill(0xff);
    bytes[COUNT_AT..HEADER].copy_from_slice(&i32::try_from(records)?.to_be_bytes());
    bytes.extend(body);
    let crc = crc32c::crc32c(&bytes[ATTRIBUTES_AT..]);
    bytes[CRC_AT..ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
    Ok(bytes)
}

fn record(out: &mut Vec<u8>, index: usize, delta_ms: i64, key: Option<&[u8]>, value: &[u8]) {
    let mut body = vec![0];
    varint(&mut body, delta_ms);
    varint(&mut body, index as i64);
    varint(&mut body, key.map_or(-1, |key| key.len() as i64));
    body.extend_from_slice(key.unwrap_or_default());
    varint(&mut body, value.len() as i64);
    body.extend_from_slice(value);
    varint(&mut body, 0);
    varint(out, body.len() as i64);
    out.extend(body);
}

fn varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// One frame of independent blocks of 64 KiB, as Kafka's clients write it.
fn lz4(body: &[u8]) -> Outcome<Vec<u8>> {
    let info = lz4_flex::frame::FrameInfo::new()
        .block_size(lz4_flex::frame::BlockSize::Max64KB)
        .block_mode(lz4_flex::frame::BlockMode::Independent);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(body)?;
    Ok(encoder.finish()?)
}

/// What a run of whole batches holds. A cut batch at the end, as Kafka sends it, is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    pub records: usize,
    /// The offset behind the last record; `None` without a batch.
    pub next_offset: Option<i64>,
}

/// Walks batches by their lengths.
pub fn contents(batches: &[u8]) -> Contents {
    let mut found = Contents::default();
    each_batch(batches, |batch| {
        let base = (i64::from(number(batch, 0)) << 32) | i64::from(number(batch, 4) as u32);
        found.next_offset = Some(base + i64::from(number(batch, 23)) + 1);
        found.records += usize::try_from(number(batch, COUNT_AT)).unwrap_or(0);
    });
    found
}

/// Hands key and value of every record of batches without compression to `read`.
pub fn each_record(batches: &[u8], mut read: impl FnMut(&[u8], &[u8])) -> Outcome<()> {
    let mut outcome = Ok(());
    each_batch(batches, |batch| {
        let mut rest = &batch[HEADER..];
        while !rest.is_empty() && outcome.is_ok() {
            match key_and_value(&mut rest) {
                Some((key, value)) => read(key, value),
                None => outcome = Err("a record ends early".into()),
            }
        }
    });
    outcome
}

/// Takes a record off the front. A null counts as empty.
fn key_and_value<'a>(rest: &mut &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let length = usize::try_from(take_varint(rest)?).ok()?;
    let (mut record, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    record = record.get(1..)?;
    take_varint(&mut record)?;
    take_varint(&mut record)?;
    let key = take_bytes(&mut record)?;
    Some((key, take_bytes(&mut record)?))
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_varint(rest)?).unwrap_or(0);
    let (taken, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    Some(taken)
}

fn take_varint(rest: &mut &[u8]) -> Option<i64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((number >> 1) as i64 ^ -((number & 1) as i64));
        }
    }
    None
}

/// A cut batch at the end, as Kafka sends it, is left out.
fn each_batch(mut batches: &[u8], mut read: impl FnMut(&[u8])) {
    while batches.len() >= HEADER {
        let length = 12 + usize::try_from(number(batches, 8)).unwrap_or(usize::MAX - 12);
        if length < HEADER || length > batches.len() {
            break;
        }
        read(&batches[..length]);
        batches = &batches[length..];
    }
}

fn number(bytes: &[u8], at: usize) -> i32 {
    bytes.get(at..at + 4).map_or(0, |bytes| {
        i32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_batch_at_the_end_is_left_out() {
        let batch = encode(&mut Values::new(1, 100), 5, Codec::None, 0).expect("small");
        let mut bytes = [batch.bytes.clone(), batch.bytes].concat();
        assert_eq!(
            contents(&bytes),
            Contents {
                records: 10,
                next_offset: Some(5)
            }
        );
        bytes.pop();
        assert_eq!(contents(&bytes).records, 5);
    }

    #[test]
    fn records_with_keys_come_back() {
        let records = [(b"a".to_vec(), vec![7; 300]), (b"bc".to_vec(), Vec::new())];
        let batch = encode_keyed(&records, 0).expect("small");
        let mut found = Vec::new();
        each_record(&batch.bytes, |key, value| {
            found.push((key.to_vec(), value.to_vec()))
        })
        .expect("whole");
        assert_eq!(found, records);
    }

    #[test]
    fn one_seed_gives_one_sequence_of_values() {
        let values = |seed| Values::new(seed, 100).next_value();
        assert_eq!(values(1), values(1));
        assert_ne!(values(1), values(2));
        assert_eq!(values(1).len(), 100);
    }
}
