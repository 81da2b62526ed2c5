//! What a table does with a row that is put or deleted: each engine in the words of its
//! documentation, on plain rows, and nothing of the broker's own code.

use std::collections::BTreeMap;

use super::bitmap;
use super::cell::{Cell, Row};

/// What becomes of an upsert of a key that has a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Engine {
    /// The new row.
    Newest,
    /// The old row stays.
    First,
    /// The new row, unless its version, in this column, is smaller.
    Versioned(usize),
    /// A function for each column.
    Aggregation(Vec<Function>),
}

/// What becomes of two values of a column. One that is null yields to the other, but for `Last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Last,
    LastNotNull,
    FirstNotNull,
    Sum,
    Product,
    Max,
    Min,
    Join(&'static str),
    And,
    Or,
    Union,
}

/// Whether rows may be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deletes {
    Allow,
    Ignore,
    Disable,
}

/// The rules of a table.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) engine: Engine,
    pub(crate) deletes: Deletes,
    /// So many columns lead as the key.
    pub(crate) key_width: usize,
    /// The column that the server counts up, which is shown as null here.
    pub(crate) counted: Option<usize>,
}

/// What a client asks for with one record.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    /// All columns; of a delete only the key counts.
    pub(crate) row: Row,
    pub(crate) deletes: bool,
    /// The columns that are written, key included; none for all.
    pub(crate) targets: Option<Vec<usize>>,
    /// The engine is passed by, and deletes are allowed.
    pub(crate) overwrites: bool,
}

/// Rows by their keys.
pub(crate) type Rows = BTreeMap<Row, Row>;

impl Rules {
    pub(crate) fn key(&self, row: &Row) -> Row {
        row[..self.key_width].to_vec()
    }

    /// Takes a change in.
    pub(crate) fn apply(&self, change: &Change, rows: &mut Rows) {
        let key = self.key(&change.row);
        let old = rows.remove(&key);
        let new = match change.deletes {
            true => self.deleted(old, change),
            false => Some(self.upserted(old, change)),
        };
        if let Some(new) = new {
            rows.insert(key, new);
        }
    }

    fn deleted(&self, old: Option<Row>, change: &Change) -> Option<Row> {
        let old = old?;
        match self.deletes {
            _ if change.overwrites => {}
            Deletes::Allow => {}
            Deletes::Ignore => return Some(old),
            Deletes::Disable => panic!("such a batch is refused"),
        }
        let targets = change.targets.as_ref()?;
        // A partial delete takes what a partial update wrote, and the row when nothing is left.
        let mut left = false;
        let cells = old.into_iter().enumerate().map(|(at, cell)| {
            if at < self.key_width {
                return cell;
            }
            if targets.contains(&at) {
                return Cell::Null;
            }
            left |= cell != Cell::Null || self.counted == Some(at);
            cell
        });
        let row = cells.collect();
        left.then_some(row)
    }

    fn upserted(&self, old: Option<Row>, change: &Change) -> Row {
        let is_target = |at: usize| change.targets.as_ref().is_none_or(|t| t.contains(&at));
        let new = change.row.iter().enumerate();
        let engine = match change.overwrites {
            true => &Engine::Newest,
            false => &self.engine,
        };
        let Some(old) = old else {
            let written = new.map(|(at, cell)| match is_target(at) {
                true => cell.clone(),
                false => Cell::Null,
            });
            return written.collect();
        };
        match engine {
            Engine::First => old,
            Engine::Versioned(column) if change.row[*column] < old[*column] => old,
            Engine::Newest | Engine::Versioned(_) => {
                let written = new.zip(old).map(|((at, new), old)| match is_target(at) {
                    true => new.clone(),
                    false => old,
                });
                written.collect()
            }
            Engine::Aggregation(functions) => {
                let both = new.zip(old).zip(functions);
                let written = both.map(|(((at, new), old), function)| match is_target(at) {
                    true => function.of(old, new.clone()),
                    false => old,
                });
                written.collect()
            }
        }
    }
}

impl Function {
    fn of(self, old: Cell, new: Cell) -> Cell {
        use Cell::{Bool, Bytes, Int, Long, Null, Text};
        match (self, old, new) {
            (Function::Last, _, new) => new,
            (_, Null, other) | (_, other, Null) => other,
            (Function::LastNotNull, _, new) => new,
            (Function::FirstNotNull, old, _) => old,
            (Function::Sum, Int(a), Int(b)) => Int(a.wrapping_add(b)),
            (Function::Sum, Long(a), Long(b)) => Long(a.wrapping_add(b)),
            (Function::Product, Long(a), Long(b)) => Long(a.wrapping_mul(b)),
            (Function::Max, a, b) => a.max(b),
            (Function::Min, a, b) => a.min(b),
            (Function::Join(delimiter), Text(a), Text(b)) => Text(format!("{a}{delimiter}{b}")),
            (Function::And, Bool(a), Bool(b)) => Bool(a && b),
            (Function::Or, Bool(a), Bool(b)) => Bool(a || b),
            (Function::Union, Bytes(a), Bytes(b)) => {
                let mut numbers = bitmap::decode(&a);
                numbers.extend(bitmap::decode(&b));
                Bytes(bitmap::encode(&numbers))
            }
            (function, old, new) => panic!("{function:?} of {old:?} and {new:?}"),
        }
    }

    /// Its name and parameters, as a schema has them.
    pub(crate) fn named(self) -> (&'static str, Option<(&'static str, &'static str)>) {
        match self {
            Function::Last => ("last_value", None),
            Function::LastNotNull => ("last_value_ignore_nulls", None),
            Function::FirstNotNull => ("first_value_ignore_nulls", None),
            Function::Sum => ("sum", None),
            Function::Product => ("product", None),
            Function::Max => ("max", None),
            Function::Min => ("min", None),
            Function::Join(delimiter) => ("listagg", Some(("delimiter", delimiter))),
            Function::And => ("bool_and", None),
            Function::Or => ("bool_or", None),
            Function::Union => ("rbm32", None),
        }
    }
}
