//! The plan of a batch: everything about merging that does not depend on the rows.

use std::collections::BTreeSet;

use protocol::fluss::options::{ChangelogImage, DeleteBehavior, MergeEngine};
use protocol::ids::SchemaId;
use protocol::row::RowLayout;
use protocol::schema::{Schema, TypeKind};

use super::aggregate::Function;
use super::{MergeMode, MergeTable, PlanError};

/// How the records of a batch are merged. Made once for batches of the same schema, target columns
/// and merge mode, shared between threads.
#[derive(Debug, Clone)]
pub struct MergePlan {
    pub(super) latest: SchemaId,
    /// The schema of the batch's rows.
    pub(super) input: SchemaId,
    /// Rows of the batch.
    pub(super) input_layout: RowLayout,
    /// Rows of the newest schema.
    pub(super) layout: RowLayout,
    /// One for each column of the newest schema.
    pub(super) columns: Vec<ColumnPlan>,
    /// One for each schema that a stored row may have, by id.
    pub(super) stored: Vec<StoredSchema>,
    pub(super) kind: Kind,
    pub(super) deletes: DeleteBehavior,
    /// Position of the column that is counted up.
    pub(super) auto_increment: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The new row wins.
    Replace,
    /// Target columns win.
    Partial {
        /// The targets are the key, so that an existing row never changes.
        key_only: bool,
    },
    FirstRow,
    Versioned {
        /// Position of the version in the newest schema.
        column: usize,
    },
    Aggregate {
        /// Only target columns are aggregated.
        partial: bool,
    },
}

#[derive(Debug, Clone)]
pub(super) struct ColumnPlan {
    /// Where the batch's rows have the column.
    pub(super) input_at: Option<usize>,
    pub(super) is_target: bool,
    pub(super) is_key: bool,
    pub(super) function: Function,
}

#[derive(Debug, Clone)]
pub(super) struct StoredSchema {
    pub(super) id: SchemaId,
    pub(super) layout: RowLayout,
    /// Where such rows have the columns of the newest schema.
    pub(super) at: Vec<Option<usize>>,
    /// Positions in such rows of columns that are not targets.
    pub(super) not_targets: Vec<usize>,
}

impl MergePlan {
    /// Plans batches of schema `input`. `targets` are positions of the newest schema, as PUT_KV
    /// carries them; none, or all columns, is the full row.
    ///
    /// # Errors
    /// The batch asks for what the table cannot do, or the table was created wrong.
    pub fn compile(
        table: &MergeTable,
        input: SchemaId,
        targets: Option<&[i32]>,
        mode: MergeMode,
    ) -> Result<MergePlan, PlanError> {
        let find = |id| {
            table.schemas.get(&id).ok_or(PlanError::UnknownSchema {
                found: id,
                latest: table.latest,
            })
        };
        if input > table.latest {
            return Err(PlanError::UnknownSchema {
                found: input,
                latest: table.latest,
            });
        }
        let (schema, input_schema) = (find(table.latest)?, find(input)?);
        let engine = match mode {
            MergeMode::Engine => table.engine,
            MergeMode::Overwrite => None,
        };
        let targets = targets.map(|t| positions(t, schema)).transpose()?;
        let auto_increment = auto_increment(schema, targets.as_ref())?;
        let targets = targets.filter(|t| t.len() < schema.columns.len());
        let kind = kind(engine, table, schema, targets.as_ref())?;
        let aggregates = matches!(kind, Kind::Aggregate { .. });
        let columns = schema
            .columns
            .iter()
            .enumerate()
            .map(|(i, column)| {
                let is_key = schema.primary_key.contains(&column.name);
                Ok(ColumnPlan {
                    input_at: position_of_id(input_schema, column.id),
                    is_target: targets.as_ref().is_none_or(|t| t.contains(&i)),
                    is_key,
                    function: if aggregates {
                        Function::of(column, is_key)?
                    } else {
                        Function::Last
                    },
                })
            })
            .collect::<Result<Vec<_>, PlanError>>()?;
        let deletes = deletes(engine, table, mode)?;
        let stored = table.schemas.iter().map(|(id, stored)| StoredSchema {
            id: *id,
            layout: RowLayout::of(table.kv_format, stored),
            at: schema
                .columns
                .iter()
                .map(|c| position_of_id(stored, c.id))
                .collect(),
            not_targets: (0..stored.columns.len())
                .filter(|i| {
                    let id = stored.columns[*i].id;
                    let at = schema.columns.iter().position(|c| c.id == id);
                    at.is_none_or(|at| !columns[at].is_target)
                })
                .collect(),
        });
        let stored = stored.collect();
        Ok(MergePlan {
            latest: table.latest,
            input,
            input_layout: RowLayout::of(table.kv_format, input_schema),
            layout: RowLayout::of(table.kv_format, schema),
            columns,
            stored,
            kind,
            deletes,
            auto_increment,
        })
    }

    /// The layout of the batch's rows, to check them with.
    pub fn input_layout(&self) -> &RowLayout {
        &self.input_layout
    }

    /// True when an upsert needs the value that its key has. Where it does not, and then only,
    /// [`MergePlan::overwrite`] takes the place of [`MergePlan::upsert`].
    pub fn upsert_looks_up(&self, image: ChangelogImage) -> bool {
        image == ChangelogImage::Full || self.kind != Kind::Replace || self.auto_increment.is_some()
    }

    /// True when a delete needs the value that its key has.
    pub fn delete_looks_up(&self) -> bool {
        self.deletes == DeleteBehavior::Allow
    }
}

fn position_of_id(schema: &Schema, id: i32) -> Option<usize> {
    schema.columns.iter().position(|c| c.id == id)
}

fn positions(targets: &[i32], schema: &Schema) -> Result<BTreeSet<usize>, PlanError> {
    let width = schema.columns.len();
    let position = |target: &i32| {
        usize::try_from(*target)
            .ok()
            .filter(|t| *t < width)
            .ok_or_else(|| PlanError::Targets(format!("{target} is none of {width} columns")))
    };
    targets.iter().map(position).collect()
}

/// The position of the column that is counted up; clients must not write it.
fn auto_increment(
    schema: &Schema,
    targets: Option<&BTreeSet<usize>>,
) -> Result<Option<usize>, PlanError> {
    let Some(name) = &schema.auto_increment_column else {
        return Ok(None);
    };
    let position = schema.position(name).ok_or_else(|| {
        PlanError::Targets(format!("auto-increment column '{name}' does not exist"))
    })?;
    match targets {
        Some(targets) if !targets.contains(&position) => Ok(Some(position)),
        Some(_) => Err(PlanError::Targets(format!(
            "auto-increment column '{name}' is among them"
        ))),
        None => Err(PlanError::Targets(format!(
            "they are not named, which includes auto-increment column '{name}'"
        ))),
    }
}

fn kind(
    engine: Option<MergeEngine>,
    table: &MergeTable,
    schema: &Schema,
    targets: Option<&BTreeSet<usize>>,
) -> Result<Kind, PlanError> {
    match (engine, targets) {
        (None, None) => Ok(Kind::Replace),
        (None, Some(targets)) => {
            check_targets(schema, targets)?;
            let key_only = targets
                .iter()
                .all(|t| schema.primary_key.contains(&schema.columns[*t].name));
            Ok(Kind::Partial { key_only })
        }
        (Some(MergeEngine::Aggregation), None) => Ok(Kind::Aggregate { partial: false }),
        (Some(MergeEngine::Aggregation), Some(targets)) => {
            check_targets(schema, targets)?;
            Ok(Kind::Aggregate { partial: true })
        }
        (Some(engine), Some(_)) => Err(PlanError::Partial(engine)),
        (Some(MergeEngine::FirstRow), None) => Ok(Kind::FirstRow),
        (Some(MergeEngine::Versioned), None) => {
            let name = table.version_column.clone();
            let column = name.as_deref().and_then(|n| schema.position(n));
            let column = column.filter(|i| {
                matches!(
                    schema.columns[*i].data_type.kind,
                    TypeKind::Int
                        | TypeKind::BigInt
                        | TypeKind::Timestamp { .. }
                        | TypeKind::TimestampLtz { .. }
                )
            });
            let column = column.ok_or(PlanError::VersionColumn(name))?;
            Ok(Kind::Versioned { column })
        }
    }
}

/// A partial update names the whole key, and any other column may be null.
fn check_targets(schema: &Schema, targets: &BTreeSet<usize>) -> Result<(), PlanError> {
    for (i, column) in schema.columns.iter().enumerate() {
        let name = &column.name;
        if schema.primary_key.contains(name) {
            if !targets.contains(&i) {
                let message = format!("key column '{name}' is not among them");
                return Err(PlanError::Targets(message));
            }
        } else if !column.data_type.nullable {
            let message = format!("column '{name}' is NOT NULL, so that all must be written");
            return Err(PlanError::Targets(message));
        }
    }
    Ok(())
}

fn deletes(
    engine: Option<MergeEngine>,
    table: &MergeTable,
    mode: MergeMode,
) -> Result<DeleteBehavior, PlanError> {
    match (engine, table.delete_behavior) {
        _ if mode == MergeMode::Overwrite => Ok(DeleteBehavior::Allow),
        (None, behavior) => Ok(behavior.unwrap_or(DeleteBehavior::Allow)),
        (Some(engine @ (MergeEngine::FirstRow | MergeEngine::Versioned)), behavior) => {
            match behavior.unwrap_or(DeleteBehavior::Ignore) {
                DeleteBehavior::Allow => Err(PlanError::Deletes(engine)),
                behavior => Ok(behavior),
            }
        }
        (Some(MergeEngine::Aggregation), behavior) => {
            Ok(behavior.unwrap_or(DeleteBehavior::Ignore))
        }
    }
}
