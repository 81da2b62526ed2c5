//! Rows as JSON that Kafka producers send.

use arrow_array::RecordBatch;
use protocol::columnar::{RowsBuilder, RowsError, arrow_schema};
use protocol::fluss::options::KvFormat;
use protocol::json::{JsonReader, JsonRows, JsonValue};
use protocol::row::{Datum, RowLayout};
use protocol::schema::Schema;

use super::{Reader, schemas};

const ROW_BYTES_MAX: usize = 1 << 20;

/// A schema, then an object of its columns. What is read can be stored and logged, and what is
/// written of it reads back.
pub fn rows(data: &[u8]) {
    let mut input = Reader(data);
    let schema = input.choose(schemas());
    let reader = JsonReader::new(schema);
    let mut read = Vec::new();
    if reader.read(input.rest(), &mut read).is_err() {
        return;
    }
    let columns = schema.columns.iter().zip(&read);
    let lacks = |value: &Option<JsonValue<'_>>| value.is_none();
    if columns
        .clone()
        .any(|(c, value)| lacks(value) && !c.data_type.nullable)
    {
        return;
    }
    let row: Vec<Datum<'_>> = columns
        .map(|(_, value)| value.as_ref().map_or(Datum::Null, JsonValue::datum))
        .collect();
    let Some(text) = written(schema, &row) else {
        return;
    };
    let mut again = Vec::new();
    reader.read(&text, &mut again).expect("it was written");
    let all = again
        .iter()
        .map(|value| value.as_ref().expect("all columns are written").datum());
    assert_eq!(
        stored(schema, &row),
        stored(schema, &all.collect::<Vec<_>>())
    );
}

/// The row as JSON; none when it is larger than is tried here.
fn written(schema: &Schema, row: &[Datum<'_>]) -> Option<Vec<u8>> {
    let types = schema.columns.iter().map(|c| c.data_type.clone());
    let mut builder = RowsBuilder::new(types, ROW_BYTES_MAX);
    match builder.append(row.iter()) {
        Ok(()) => {}
        Err(RowsError::TooLarge(_)) => return None,
        Err(error) => panic!("what is read cannot be logged: {error}"),
    }
    let columns = builder.finish().expect("columns of one row");
    let batch = RecordBatch::try_new(arrow_schema(schema), columns).expect("of the schema");
    let mut text = Vec::new();
    let rows = JsonRows::new(&batch, schema).expect("of the schema");
    rows.write(0, &mut text).ok().map(|()| text)
}

fn stored(schema: &Schema, row: &[Datum<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let layout = RowLayout::of(KvFormat::Compacted, schema);
    layout
        .write(row, &mut bytes)
        .expect("what is read can be stored");
    bytes
}
