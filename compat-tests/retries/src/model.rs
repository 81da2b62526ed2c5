//! What is written, and what the tables have to hold then.
//!
//! Number `n` is one record for each table, with the key `n % KEYS`:
//!
//! ```text
//! upserts     {"n":n}, every 11th a tombstone       the newest counts
//! totals      {"total":n,"records":1}               all are added up: a record that is applied twice, or never, shows
//! ```

use std::collections::BTreeMap;

/// Keys of the tables: many more than buckets.
pub const KEYS: u64 = 30;
/// One of this many upserts is a deletion. Prime to [`KEYS`], so that each key has its turn.
const DELETED: u64 = 11;

/// The changes of a table's keys, in the order of each: rows as JSON, or none for a deletion.
pub type History = BTreeMap<u64, Vec<Option<String>>>;

/// The records of a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upsert {
    /// The key, of both.
    pub key: String,
    /// For the table `upserts`.
    pub upsert: Option<String>,
    /// For the table `totals`.
    pub total: String,
}

impl Upsert {
    /// The records of number `n`.
    pub fn of(n: u64) -> Upsert {
        Upsert {
            key: format!("{{\"id\":{}}}", n % KEYS),
            upsert: (n % DELETED != DELETED - 1).then(|| format!("{{\"n\":{n}}}")),
            total: format!("{{\"total\":{n},\"records\":1}}"),
        }
    }
}

/// What the tables hold when all numbers below a count were applied once, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// The changes of `upserts`.
    pub upserts: History,
    /// The changes of `totals`.
    pub totals: History,
    /// Rows of `upserts` by key, as their column `n`.
    pub newest: BTreeMap<u64, u64>,
    /// Rows of `totals` by key, as their columns `total` and `records`.
    pub sums: BTreeMap<u64, (u64, u64)>,
}

impl Model {
    /// For the numbers below `count`.
    pub fn of(count: u64) -> Model {
        let mut model = Model::default();
        for n in 0..count {
            let id = n % KEYS;
            if Upsert::of(n).upsert.is_some() {
                model.newest.insert(id, n);
                let row = format!("{{\"id\":{id},\"n\":{n}}}");
                model.upserts.entry(id).or_default().push(Some(row));
            } else if model.newest.remove(&id).is_some() {
                model.upserts.entry(id).or_default().push(None);
            }
            let (total, records) = model.sums.entry(id).or_default();
            *total += n;
            *records += 1;
            let row = format!("{{\"id\":{id},\"total\":{total},\"records\":{records}}}");
            model.totals.entry(id).or_default().push(Some(row));
        }
        model
    }
}

/// The numbers that a history of `totals` has added up for each key, in their order.
///
/// # Panics
/// When a row does not follow from the one before and one record.
pub fn added_up(history: &History) -> BTreeMap<u64, Vec<u64>> {
    let numbers = |(id, rows): (&u64, &Vec<Option<String>>)| {
        let mut before = 0;
        let mut numbers = Vec::with_capacity(rows.len());
        for (place, row) in rows.iter().enumerate() {
            let row = row.as_deref().expect("nothing is deleted");
            let records = place + 1;
            let total = row.strip_prefix(&format!("{{\"id\":{id},\"total\":"));
            let total = total.and_then(|t| t.strip_suffix(&format!(",\"records\":{records}}}")));
            let total = total.and_then(|t| t.parse().ok());
            let total: u64 = total.unwrap_or_else(|| panic!("{row} as record {records}"));
            numbers.push(total - before);
            before = total;
        }
        (*id, numbers)
    };
    history.iter().map(numbers).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_replaced_deleted_and_added_up() {
        let model = Model::of(KEYS + 11);
        let text = |row: &str| Some(row.to_owned());
        assert_eq!(
            model.upserts[&2],
            [text("{\"id\":2,\"n\":2}"), None],
            "32 is the third 11th"
        );
        assert!(!model.upserts.contains_key(&10) || model.newest[&10] == 40);
        assert_eq!(model.sums[&3], (3 + 33, 2));
        assert_eq!(model.newest[&3], 33);
        assert_eq!(added_up(&model.totals)[&3], [3, 33]);
        assert_eq!(
            model.totals[&3][0],
            text("{\"id\":3,\"total\":3,\"records\":1}")
        );
    }
}
