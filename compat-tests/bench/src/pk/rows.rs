//! The tables with a primary key, and their rows: about 130 bytes, of which the seed decides the contents.

use crate::error::Outcome;
use crate::fluss::rows::Random;
use fluss::metadata::{DataTypes, Schema, TableDescriptor};
use fluss::row::GenericRow;

/// Buckets of a table: more than cores, so that a server may use them all.
pub const BUCKETS: i32 = 3;
/// Rows that share the beginning of their key, in the table of prefix lookups.
pub const PER_PREFIX: usize = 10;
/// What the values of a row take, on average, as the client encodes them.
pub const ROW_BYTES: usize = 128;

const FILLER: &str =
    "Prague Berlin Vienna Brno Linz Graz Plzen Dresden Hamburg Usti Melnik Litomerice Decin";

/// Customers by number: BIGINT key, two BIGINT, INT, DOUBLE and two STRING columns.
pub fn customers() -> Outcome<TableDescriptor> {
    let schema = Schema::builder()
        .column("id", DataTypes::bigint())
        .column("name", DataTypes::string())
        .column("visits", DataTypes::bigint())
        .column("balance", DataTypes::double())
        .column("class", DataTypes::int())
        .column("changed", DataTypes::bigint())
        .column("remarks", DataTypes::string())
        .primary_key(vec!["id"])?
        .build()?;
    table(schema, Vec::new())
}

/// Orders of a customer: all of one customer lie in one bucket, side by side.
pub fn orders() -> Outcome<TableDescriptor> {
    let schema = Schema::builder()
        .column("customer", DataTypes::bigint())
        .column("number", DataTypes::int())
        .column("item", DataTypes::string())
        .primary_key(vec!["customer", "number"])?
        .build()?;
    table(schema, vec!["customer".to_owned()])
}

fn table(schema: Schema, bucket_keys: Vec<String>) -> Outcome<TableDescriptor> {
    Ok(TableDescriptor::builder()
        .schema(schema)
        .distributed_by(Some(BUCKETS), bucket_keys)
        .property("table.replication.factor", "1")
        .build()?)
}

/// The row of a customer; `turn` says how often it was written.
pub fn customer(random: &mut Random, id: usize, turn: usize) -> GenericRow<'static> {
    let number = random.next();
    let start = (number % 24) as usize;
    let mut row = GenericRow::new(7);
    row.set_field(0, id as i64);
    row.set_field(1, format!("customer-{id:012}"));
    row.set_field(2, (number % 100_000) as i64);
    row.set_field(3, (number % 1_000_000) as f64 / 100.0);
    row.set_field(4, (number % 7) as i32);
    row.set_field(5, 1_700_000_000_000 + turn as i64);
    row.set_field(6, &FILLER[start..start + 60]);
    row
}

/// The row of an order.
pub fn order(random: &mut Random, index: usize) -> GenericRow<'static> {
    let start = (random.next() % 24) as usize;
    let mut row = GenericRow::new(3);
    row.set_field(0, (index / PER_PREFIX) as i64);
    row.set_field(1, (index % PER_PREFIX) as i32);
    row.set_field(2, &FILLER[start..start + 40]);
    row
}

/// The key of a customer, or the beginning of an order's.
pub fn key(id: usize) -> GenericRow<'static> {
    let mut row = GenericRow::new(1);
    row.set_field(0, id as i64);
    row
}

/// The `index`th of all numbers below `count`, each once and in no order: new keys do not come sorted.
pub fn shuffled(index: usize, count: usize) -> usize {
    /// A prime above every count that is asked for, so that it shares no divisor with one.
    const STEP: u128 = 1_000_000_000_039;
    ((index as u128 * STEP) % count as u128) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_comes_once() {
        let mut found: Vec<_> = (0..10_000).map(|index| shuffled(index, 10_000)).collect();
        assert_ne!(found[..3], [0, 1, 2]);
        found.sort_unstable();
        assert!(found.into_iter().eq(0..10_000));
    }
}
