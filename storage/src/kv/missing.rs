//! Rows for keys that a lookup did not find and is to insert: the key columns, and null elsewhere.
//!
//! The batch is merged like any other, with the key as its target columns, so that an
//! auto-increment column gets its number. Facts: `KeyRecordBatch.java`.

use protocol::fluss::key::{KeyEncoder, KeyError};
use protocol::fluss::kv_batch::{KvBatch, KvBatchBuilder, KvBatchError, KvRecord};
use protocol::fluss::options::KvFormat;
use protocol::ids::SchemaId;
use protocol::row::{Datum, RowError, RowLayout};
use protocol::schema::{DataType, Schema};
use thiserror::Error;

/// Why a key cannot be inserted.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum MissingError {
    #[error("key {index} is malformed")]
    Key { index: usize, source: KeyError },
    #[error("key {index} makes no row")]
    Row { index: usize, source: RowError },
    #[error("key column '{0}' is none of the table's")]
    KeyColumn(String),
    #[error(transparent)]
    Batch(#[from] KvBatchError),
}

/// A batch that inserts these keys, and the target columns to merge it with. `id` and `schema`
/// are the newest; `key_columns` are the primary key without partition columns, in its order, and
/// `partition` has the partition columns and their values.
pub fn rows_of_keys<'k>(
    keys: impl IntoIterator<Item = &'k [u8]>,
    encoder: KeyEncoder,
    (id, schema): (SchemaId, &Schema),
    format: KvFormat,
    key_columns: &[String],
    partition: &[(String, Datum<'_>)],
    bytes_max: usize,
) -> Result<(KvBatch, Vec<i32>), MissingError> {
    let position = |name: &String| {
        let position = schema.position(name);
        position.ok_or_else(|| MissingError::KeyColumn(name.clone()))
    };
    let at = key_columns
        .iter()
        .map(position)
        .collect::<Result<Vec<_>, _>>()?;
    let types: Vec<DataType> = at
        .iter()
        .map(|i| schema.columns[*i].data_type.clone())
        .collect();
    let layout = RowLayout::of(format, schema);
    let mut fixed = vec![Datum::Null; schema.columns.len()];
    let mut targets = at.clone();
    for (name, value) in partition {
        let at = position(name)?;
        fixed[at] = value.clone();
        targets.push(at);
    }
    targets.sort_unstable();
    let mut builder = KvBatchBuilder::new(id, None);
    let (mut values, mut row) = (Vec::new(), Vec::new());
    for (index, key) in keys.into_iter().enumerate() {
        encoder
            .decode(key, types.iter(), &mut values)
            .map_err(|source| MissingError::Key { index, source })?;
        let mut all = fixed.clone();
        for (at, value) in at.iter().zip(values.drain(..)) {
            all[*at] = value;
        }
        row.clear();
        layout
            .write(&all, &mut row)
            .map_err(|source| MissingError::Row { index, source })?;
        builder.append(KvRecord {
            key,
            row: Some(&row),
        });
    }
    let batch = KvBatch::parse(builder.finish(), bytes_max)?;
    let targets = targets.into_iter().map(|i| i as i32).collect();
    Ok((batch, targets))
}

#[cfg(test)]
mod tests {
    use protocol::schema::TypeKind;

    use super::*;
    use crate::kv::fixtures::{TWO, schema};

    #[test]
    fn a_missing_key_becomes_a_row_of_its_key_columns() {
        let mut schema = schema(&[("a", TypeKind::Int, ""), ("p", TypeKind::String, "")]);
        schema.columns[2].data_type.nullable = false;
        schema.primary_key = vec!["p".into(), "k".into()];
        let schema = &schema;
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let rows = |keys: &[&[u8]], key_columns: &[String], partition: &[_]| {
            rows_of_keys(
                keys.iter().copied(),
                KeyEncoder::Compacted,
                (TWO, schema),
                KvFormat::Compacted,
                key_columns,
                partition,
                1 << 20,
            )
        };
        let layout = RowLayout::of(KvFormat::Compacted, schema);
        let read = |batch: &KvBatch| {
            let mut all = Vec::new();
            for record in batch.records() {
                let mut values = Vec::new();
                layout.read(record.row.unwrap(), &mut values).unwrap();
                all.push((record.key.to_vec(), format!("{values:?}")));
            }
            all
        };
        let (batch, targets) = rows(&[b"\x02eu\x07"], &names(&["p", "k"]), &[]).unwrap();
        assert_eq!(targets, [0, 2]);
        let row = r#"[Int(7), Null, String("eu")]"#;
        assert_eq!(read(&batch), [(b"\x02eu\x07".to_vec(), row.to_owned())]);
        let partition = [("p".to_owned(), Datum::String("eu"))];
        let (batch, targets) = rows(&[b"\x07"], &names(&["k"]), &partition).unwrap();
        assert_eq!(targets, [0, 2]);
        assert_eq!(read(&batch), [(b"\x07".to_vec(), row.to_owned())]);
        let refused = rows(&[b"\x07", b"\x07\x07"], &names(&["k"]), &partition);
        assert!(matches!(refused, Err(MissingError::Key { index: 1, .. })));
        let refused = rows(&[b"\x07"], &names(&["k"]), &[]);
        assert!(matches!(refused, Err(MissingError::Row { index: 0, .. })));
        let refused = rows(&[], &names(&["x"]), &[]);
        assert!(matches!(refused, Err(MissingError::KeyColumn(_))));
    }
}
