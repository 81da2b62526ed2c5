//! The table of twenty columns, about 290 bytes a row: eight BIGINT, four INT, three DOUBLE, five STRING.

use crate::error::Outcome;
use arrow::array::{ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use fluss::metadata::{DataTypes, Schema, TableDescriptor};
use std::sync::Arc;

/// Rows in one batch; the client sends each Arrow batch as one log batch.
pub const PER_BATCH: usize = 4_096;
/// Different batches, sent again and again.
const BATCHES: usize = 16;
/// A BIGINT and an INT.
pub const PRUNED_COLUMNS: &[usize] = &[1, 9];

const BIGINTS: usize = 8;
const INTS: usize = 4;
const DOUBLES: usize = 3;
const STRINGS: usize = 5;

/// The table's description. Replication is 1, because the peer has one tablet server.
pub fn table(codec: &str, buckets: i32) -> Outcome<TableDescriptor> {
    let mut columns = Schema::builder();
    for index in 0..BIGINTS {
        columns = columns.column(format!("b{index}"), DataTypes::bigint());
    }
    for index in 0..INTS {
        columns = columns.column(format!("i{index}"), DataTypes::int());
    }
    for index in 0..DOUBLES {
        columns = columns.column(format!("d{index}"), DataTypes::double());
    }
    for index in 0..STRINGS {
        columns = columns.column(format!("s{index}"), DataTypes::string());
    }
    let descriptor = TableDescriptor::builder()
        .schema(columns.build()?)
        .distributed_by(Some(buckets), Vec::new())
        .property("table.log.arrow.compression.type", codec)
        .property("table.replication.factor", "1");
    Ok(descriptor.build()?)
}

/// Batches whose contents the seed decides: values that compress, but not to nothing.
pub fn batches(seed: u64) -> Outcome<Vec<RecordBatch>> {
    let mut random = Random(seed);
    (0..BATCHES)
        .map(|index| batch(&mut random, index * PER_BATCH, PER_BATCH))
        .collect()
}

/// `rows` rows that begin with the key `first`.
pub fn batch(random: &mut Random, first: usize, rows: usize) -> Outcome<RecordBatch> {
    let mut columns: Vec<(String, ArrayRef)> = Vec::new();
    for index in 0..BIGINTS {
        let values = (0..rows).map(|row| match index {
            0 => (first + row) as i64,
            1 => 1_700_000_000_000 + (first + row) as i64 * 3 + (random.next() % 1_000) as i64,
            _ => (random.next() % 1_000_000_000) as i64,
        });
        columns.push((
            format!("b{index}"),
            Arc::new(Int64Array::from_iter_values(values)),
        ));
    }
    for index in 0..INTS {
        let values = (0..rows).map(|_| (random.next() % 100_000) as i32);
        columns.push((
            format!("i{index}"),
            Arc::new(Int32Array::from_iter_values(values)),
        ));
    }
    for index in 0..DOUBLES {
        let values = (0..rows).map(|_| (random.next() % 1_000_000) as f64 / 100.0);
        columns.push((
            format!("d{index}"),
            Arc::new(Float64Array::from_iter_values(values)),
        ));
    }
    for index in 0..STRINGS {
        let values = (0..rows).map(|_| {
            let city = ["Prague", "Berlin", "Vienna", "Brno"][(random.next() % 4) as usize];
            format!(
                "{city}-{:012}-order-{:08}",
                random.next() % 1_000_000_000_000,
                random.next() % 100_000_000
            )
        });
        columns.push((
            format!("s{index}"),
            Arc::new(StringArray::from_iter_values(values)),
        ));
    }
    Ok(RecordBatch::try_from_iter(columns)?)
}

/// Bytes of a row without compression, on average.
pub fn row_bytes(batches: &[RecordBatch]) -> usize {
    let bytes: usize = batches
        .iter()
        .map(|batch| body_bytes(batch, None).unwrap_or(0))
        .sum();
    bytes / (batches.len() * PER_BATCH)
}

/// What the buffers of `columns` take in the log, as the client writes them.
pub fn stored_bytes(batches: &[RecordBatch], columns: &[usize], codec: &str) -> Outcome<usize> {
    let codec = (codec == "ZSTD").then_some(CompressionType::ZSTD);
    batches
        .iter()
        .map(|batch| body_bytes(&batch.project(columns)?, codec))
        .sum()
}

/// The length of an Arrow message's body: what follows the prefix and the metadata.
fn body_bytes(batch: &RecordBatch, codec: Option<CompressionType>) -> Outcome<usize> {
    let options = IpcWriteOptions::default().try_with_compression(codec)?;
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options)?;
    let schema = writer.get_ref().len();
    writer.write(batch)?;
    let message = &writer.get_ref()[schema..];
    let metadata = message.get(4..8).ok_or("no Arrow message")?;
    let metadata = i32::from_le_bytes(metadata.try_into()?);
    Ok(message.len() - 8 - usize::try_from(metadata)?)
}

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_about_290_bytes_in_twenty_columns() {
        let batches = batches(1).expect("batches");
        assert_eq!(batches[0].num_columns(), 20);
        assert!(
            (280..310).contains(&row_bytes(&batches)),
            "{}",
            row_bytes(&batches)
        );
    }

    #[test]
    fn two_columns_without_compression_are_twelve_bytes_a_row() {
        let batches = batches(1).expect("batches");
        let bytes = stored_bytes(&batches[..1], PRUNED_COLUMNS, "NONE").expect("encoded");
        assert!(
            (12 * PER_BATCH..12 * PER_BATCH + 1_200).contains(&bytes),
            "{bytes}"
        );
    }
}
