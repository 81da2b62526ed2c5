//! KV batches and keys of Fluss clients, and values as indexes store them.

use bytes::Bytes;
use protocol::fluss::key::KeyEncoder;
use protocol::fluss::kv_batch::KvBatch;
use protocol::fluss::options::KvFormat;
use protocol::fluss::value::{ValueLayout, read_value_batch};
use protocol::row::{RowLayout, aligned};

use super::{Reader, schemas};

const BATCH_BYTES_MAX: usize = 1 << 20;
const LENGTH_OVERHEAD: usize = 4;
const CRC_AT: usize = 5;
const CRC_FROM: usize = 9;

/// A schema and choices, then a batch, whose length and CRC are put right unless a choice says
/// otherwise. Keys of its records are read as the primary keys of the schema's columns.
pub fn batch(data: &[u8]) {
    let mut input = Reader(data);
    let schema = input.choose(schemas());
    let choices = input.byte();
    let format = match choices & 1 {
        0 => KvFormat::Compacted,
        _ => KvFormat::Indexed,
    };
    let mut bytes = input.rest().to_vec();
    if choices & 2 == 0 {
        mend(&mut bytes);
    }
    let _ = read_value_batch(&bytes);
    let _ = ValueLayout::Tagged.read(&bytes);
    let Ok(batch) = KvBatch::parse(Bytes::from(bytes), BATCH_BYTES_MAX) else {
        return;
    };
    let types: Vec<_> = schema.columns.iter().map(|c| c.data_type.clone()).collect();
    let mut values = Vec::new();
    for record in batch.records() {
        for encoder in [KeyEncoder::Compacted, KeyEncoder::Paimon] {
            let _ = encoder.decode(record.key, types.iter(), &mut values);
            let _ = encoder.prefix_len(record.key, types.iter().take(1));
        }
        let _ = KeyEncoder::Iceberg.decode(record.key, types.iter().take(1), &mut values);
        let _ = aligned::read(record.key, types.iter(), &mut values);
    }
    let layout = RowLayout::of(format, schema);
    if batch.check_rows(&layout).is_err() {
        return;
    }
    assert_eq!(batch.records().count(), batch.len());
    for row in batch.records().filter_map(|record| record.row) {
        layout.read(row, &mut values).expect("it was checked");
    }
}

fn mend(bytes: &mut [u8]) {
    let length = bytes.len().saturating_sub(LENGTH_OVERHEAD);
    if bytes.len() < CRC_FROM {
        return;
    }
    bytes[..LENGTH_OVERHEAD].copy_from_slice(&(length as u32).to_le_bytes());
    bytes[LENGTH_OVERHEAD] = 0;
    let crc = crc32c::crc32c(&bytes[CRC_FROM..]);
    bytes[CRC_AT..CRC_FROM].copy_from_slice(&crc.to_le_bytes());
}
