//! A plan applied to one record.

use std::cmp::Ordering;

use protocol::fluss::options::DeleteBehavior;
use protocol::fluss::value::Value;
use protocol::row::{Datum, RowError, Span};

use super::plan::{Kind, MergePlan, StoredSchema};
use super::{MergeError, Outcome, aggregate, number};
use crate::kv::auto_increment::IdSource;

/// Buffers that are used again for each record: one per thread or bucket.
#[derive(Debug, Default)]
pub struct MergeScratch {
    row: Vec<u8>,
    old: Vec<Span>,
    new: Vec<Span>,
    values: aggregate::Scratch,
}

impl MergeScratch {
    /// Empty buffers.
    pub fn new() -> Self {
        MergeScratch::default()
    }
}

impl MergePlan {
    /// Merges a row of the batch with the value that its key has. `ids` numbers the rows of tables
    /// with an auto-increment column, and is asked for inserts only.
    pub fn upsert<'o, 'n>(
        &self,
        old: Option<Value<'o>>,
        row: &'n [u8],
        ids: &mut dyn IdSource,
        scratch: &'n mut MergeScratch,
    ) -> Result<Outcome<'o, 'n>, MergeError> {
        let input = Value {
            schema_id: self.input,
            row,
        };
        let Some(old) = old else {
            let new = self.first(input, ids, scratch)?;
            return Ok(Outcome::Insert { new });
        };
        let new = match self.kind {
            Kind::Replace => input,
            Kind::FirstRow | Kind::Partial { key_only: true } => return Ok(Outcome::Nothing),
            Kind::Versioned { column } => {
                if self.is_newer(column, old, row)? {
                    input
                } else {
                    return Ok(Outcome::Nothing);
                }
            }
            Kind::Partial { key_only: false } => self.update(old, row, scratch)?,
            Kind::Aggregate { partial } => self.aggregate(partial, old, row, scratch)?,
        };
        Ok(Outcome::Update { old, new })
    }

    /// An upsert whose key is not looked up; see [`MergePlan::upsert_looks_up`].
    pub fn overwrite<'n>(&self, row: &'n [u8]) -> Outcome<'static, 'n> {
        let schema_id = self.input;
        Outcome::Overwrite {
            new: Value { schema_id, row },
        }
    }

    /// Deletes a key that has this value, or none.
    pub fn delete<'o, 'n>(
        &self,
        old: Option<Value<'o>>,
        scratch: &'n mut MergeScratch,
    ) -> Result<Outcome<'o, 'n>, MergeError> {
        match self.deletes {
            DeleteBehavior::Allow => {}
            DeleteBehavior::Ignore => return Ok(Outcome::Nothing),
            DeleteBehavior::Disable => return Err(MergeError::DeletesDisabled),
        }
        let Some(old) = old else {
            return Ok(Outcome::Nothing);
        };
        let partial = matches!(
            self.kind,
            Kind::Partial { .. } | Kind::Aggregate { partial: true }
        );
        if !partial {
            return Ok(Outcome::Delete { old });
        }
        let stored = self.stored(old)?;
        split(stored, old, &mut scratch.old)?;
        if stored.not_targets.iter().all(|i| scratch.old[*i].is_null()) {
            return Ok(Outcome::Delete { old });
        }
        scratch.row.clear();
        let mut pieces = self.layout.pieces(&mut scratch.row);
        for (column, at) in self.columns.iter().zip(&stored.at) {
            let keep = column.is_key || !column.is_target;
            let span = at.filter(|_| keep).map_or(Span::NULL, |i| scratch.old[i]);
            pieces
                .encoded(span.of(old.row))
                .map_err(MergeError::Result)?;
        }
        pieces.finish().map_err(MergeError::Result)?;
        let new = self.merged(&scratch.row);
        Ok(Outcome::Update { old, new })
    }

    /// The row of a key that had none.
    fn first<'n>(
        &self,
        input: Value<'n>,
        ids: &mut dyn IdSource,
        scratch: &'n mut MergeScratch,
    ) -> Result<Value<'n>, MergeError> {
        let masked = matches!(self.kind, Kind::Partial { .. });
        if self.auto_increment.is_none() && (!masked || self.is_masked(input.row)) {
            return Ok(input);
        }
        self.input_layout
            .split(input.row, &mut scratch.new)
            .map_err(MergeError::Stored)?;
        scratch.row.clear();
        let mut pieces = self.layout.pieces(&mut scratch.row);
        for (i, column) in self.columns.iter().enumerate() {
            let written = if self.auto_increment == Some(i) {
                let id = ids.next_id()?;
                let narrow = || i32::try_from(id).map(Datum::Int);
                match self.layout.types()[i].kind {
                    protocol::schema::TypeKind::Int => match narrow() {
                        Ok(id) => pieces.value(&id),
                        Err(_) => Err(RowError::Bounds),
                    },
                    _ => pieces.value(&Datum::BigInt(id)),
                }
            } else {
                let at = column.input_at.filter(|_| column.is_target || !masked);
                let span = at.map_or(Span::NULL, |i| scratch.new[i]);
                pieces.encoded(span.of(input.row))
            };
            written.map_err(MergeError::Result)?;
        }
        pieces.finish().map_err(MergeError::Result)?;
        Ok(self.merged(&scratch.row))
    }

    /// True when the row already is what a partial insert stores: of the newest schema, and null
    /// where a column is no target. Clients send such rows.
    fn is_masked(&self, row: &[u8]) -> bool {
        self.input == self.latest
            && self.columns.iter().enumerate().all(|(i, column)| {
                let null = row.get(i / 8).is_some_and(|byte| byte >> (i % 8) & 1 == 1);
                column.is_target || null
            })
    }

    /// True when the row's version is not smaller than the old one. Null is the smallest.
    fn is_newer(&self, column: usize, old: Value<'_>, row: &[u8]) -> Result<bool, MergeError> {
        let stored = self.stored(old)?;
        let smallest = || number::smallest(&self.layout.types()[column].kind);
        let version = |layout: &protocol::row::RowLayout, at: Option<usize>, row| {
            let Some(at) = at else {
                return Ok(smallest());
            };
            match layout.column(row, at)? {
                Some(encoded) => layout.value(at, encoded),
                None => Ok(smallest()),
            }
        };
        let before = version(&stored.layout, stored.at[column], old.row);
        let after = version(&self.input_layout, self.columns[column].input_at, row);
        let (before, after) = (
            before.map_err(MergeError::Stored)?,
            after.map_err(MergeError::Stored)?,
        );
        Ok(number::compare(&before, &after) != Ordering::Greater)
    }

    /// The target columns of the row, and the others of the old one.
    fn update<'n>(
        &self,
        old: Value<'_>,
        row: &[u8],
        scratch: &'n mut MergeScratch,
    ) -> Result<Value<'n>, MergeError> {
        let stored = self.split_both(old, row, scratch)?;
        scratch.row.clear();
        let mut pieces = self.layout.pieces(&mut scratch.row);
        for (column, at) in self.columns.iter().zip(&stored.at) {
            let value = if column.is_target {
                column.input_at.and_then(|i| scratch.new[i].of(row))
            } else {
                at.and_then(|i| scratch.old[i].of(old.row))
            };
            pieces.encoded(value).map_err(MergeError::Result)?;
        }
        pieces.finish().map_err(MergeError::Result)?;
        Ok(self.merged(&scratch.row))
    }

    /// The aggregates of all columns, or of the targets with the others of the old row.
    fn aggregate<'n>(
        &self,
        partial: bool,
        old: Value<'_>,
        row: &[u8],
        scratch: &'n mut MergeScratch,
    ) -> Result<Value<'n>, MergeError> {
        let stored = self.split_both(old, row, scratch)?;
        scratch.row.clear();
        let mut pieces = self.layout.pieces(&mut scratch.row);
        for (i, (column, at)) in self.columns.iter().zip(&stored.at).enumerate() {
            let before = at.and_then(|i| scratch.old[i].of(old.row));
            if partial && !column.is_target {
                pieces.encoded(before).map_err(MergeError::Result)?;
                continue;
            }
            let after = column.input_at.and_then(|i| scratch.new[i].of(row));
            let (values, layout) = (&mut scratch.values, &self.layout);
            let function = &column.function;
            function.apply(layout, i, before, after, values, &mut pieces)?;
        }
        pieces.finish().map_err(MergeError::Result)?;
        Ok(self.merged(&scratch.row))
    }

    fn split_both(
        &self,
        old: Value<'_>,
        row: &[u8],
        scratch: &mut MergeScratch,
    ) -> Result<&StoredSchema, MergeError> {
        let stored = self.stored(old)?;
        split(stored, old, &mut scratch.old)?;
        self.input_layout
            .split(row, &mut scratch.new)
            .map_err(MergeError::Stored)?;
        Ok(stored)
    }

    fn merged<'n>(&self, row: &'n [u8]) -> Value<'n> {
        let schema_id = self.latest;
        Value { schema_id, row }
    }

    fn stored(&self, old: Value<'_>) -> Result<&StoredSchema, MergeError> {
        // Most rows have the newest schema, which is the last one.
        match self.stored.last() {
            Some(last) if last.id == old.schema_id => Ok(last),
            _ => self
                .stored
                .iter()
                .find(|s| s.id == old.schema_id)
                .ok_or(MergeError::StoredSchema(old.schema_id)),
        }
    }
}

fn split(stored: &StoredSchema, old: Value<'_>, spans: &mut Vec<Span>) -> Result<(), MergeError> {
    stored
        .layout
        .split(old.row, spans)
        .map_err(MergeError::Stored)
}
