//! How an upsert or a delete meets the row that its key has.
//!
//! ```text
//! MergePlan::compile   once per table shape, schema of the batch, target columns and merge mode
//! MergePlan::upsert    once per record: old value and new row in, Outcome out
//! ```
//!
//! | engine | upsert of an existing key | partial update | deletes by default |
//! |---|---|---|---|
//! | none | the new row wins | yes | allowed |
//! | `first_row` | the old row stays | refused | ignored |
//! | `versioned` | the new row wins unless its version is smaller | refused | ignored |
//! | `aggregation` | a function per column | yes | ignored |
//!
//! *Invariant*: an outcome does not know the changelog's image; what `+I`, `-U`, `+U`, `-D` become
//! of it is the changelog's business. *Invariant*: columns are matched by id, so an old row may
//! have an older schema. Rows are copied column by column in their encoded form; only columns with
//! a function that computes are decoded. Facts: Fluss server semantics, merge engines;
//! `rowmerger/*.java`, `PartialUpdater.java`.

mod aggregate;
mod apply;
mod bitmap;
mod number;
mod plan;

pub use apply::MergeScratch;
pub use bitmap::BitmapError;
pub use plan::MergePlan;

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::fluss::options::{DeleteBehavior, KvFormat, MergeEngine, TableConfig};
use protocol::fluss::value::Value;
use protocol::ids::SchemaId;
use protocol::row::RowError;
use protocol::schema::Schema;
use thiserror::Error;

use super::auto_increment::AutoIncrementError;

/// What of a table decides how its rows are merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergeTable {
    /// The form of rows.
    pub kv_format: KvFormat,
    /// All schemas that stored rows may have.
    pub schemas: BTreeMap<SchemaId, Arc<Schema>>,
    /// The newest of them, which merged rows get.
    pub latest: SchemaId,
    /// None: the new row wins.
    pub engine: Option<MergeEngine>,
    /// Column of [`MergeEngine::Versioned`].
    pub version_column: Option<String>,
    /// None: what suits the engine.
    pub delete_behavior: Option<DeleteBehavior>,
}

impl MergeTable {
    /// The table with these options and schemas.
    pub fn of(
        config: &TableConfig,
        schemas: BTreeMap<SchemaId, Arc<Schema>>,
        latest: SchemaId,
    ) -> MergeTable {
        MergeTable {
            kv_format: config.kv_format,
            schemas,
            latest,
            engine: config.merge_engine,
            version_column: config.version_column.clone(),
            delete_behavior: config.delete_behavior,
        }
    }
}

/// How a batch asks to be merged. The numbers are those of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(i32)]
pub enum MergeMode {
    /// With the table's engine.
    #[default]
    Engine = 0,
    /// As if the table had no engine and allowed deletes: how Flink takes writes back.
    Overwrite = 1,
}

impl MergeMode {
    /// The mode of a number, the engine's when there is none.
    pub const fn of_code(code: Option<i32>) -> Option<Self> {
        match code {
            None | Some(0) => Some(MergeMode::Engine),
            Some(1) => Some(MergeMode::Overwrite),
            Some(_) => None,
        }
    }
}

/// What one record does to its key. `'o` is the old value's, `'n` the new one's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome<'o, 'n> {
    /// Nothing: the key keeps its row, or has none.
    Nothing,
    /// The key had no row.
    Insert {
        /// Its row.
        new: Value<'n>,
    },
    /// The key gets a row; whether it had one was not looked up.
    Overwrite {
        /// Its row.
        new: Value<'n>,
    },
    /// The key had a row and gets another, which may be equal.
    Update {
        /// The row before.
        old: Value<'o>,
        /// The row after.
        new: Value<'n>,
    },
    /// The key loses its row.
    Delete {
        /// The row before.
        old: Value<'o>,
    },
}

impl<'n> Outcome<'_, 'n> {
    /// What the key holds now; none when nothing changes.
    pub fn change(&self) -> Option<KeyChange<'n>> {
        match self {
            Outcome::Nothing => None,
            Outcome::Insert { new } | Outcome::Overwrite { new } | Outcome::Update { new, .. } => {
                Some(KeyChange::Put(*new))
            }
            Outcome::Delete { .. } => Some(KeyChange::Remove),
        }
    }

    /// By how many rows the table grows. Zero for [`Outcome::Overwrite`], where it is not known.
    pub fn row_delta(&self) -> i8 {
        match self {
            Outcome::Insert { .. } => 1,
            Outcome::Delete { .. } => -1,
            Outcome::Nothing | Outcome::Overwrite { .. } | Outcome::Update { .. } => 0,
        }
    }
}

/// A change of the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyChange<'n> {
    /// The key gets this row.
    Put(Value<'n>),
    /// The key goes.
    Remove,
}

/// Why a batch cannot be merged as it asks for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum PlanError {
    /// The client refreshes and tries again.
    #[error("schema {found} is unknown, the latest is {latest}")]
    UnknownSchema { found: SchemaId, latest: SchemaId },
    /// Fluss error 35.
    #[error("target columns are invalid: {0}")]
    Targets(String),
    /// Fluss has no code of its own for it.
    #[error("merge engine {0} does not support partial updates")]
    Partial(MergeEngine),
    /// The table was created wrong.
    #[error("merge engine {0} does not support deletes")]
    Deletes(MergeEngine),
    /// The table was created wrong.
    #[error("version column {0:?} is no column that can be a version")]
    VersionColumn(Option<String>),
    /// The table was created wrong.
    #[error("aggregation function of column '{column}' {reason}")]
    Function { column: String, reason: String },
}

/// Why a record fails, and its batch with it.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum MergeError {
    /// Fluss error 57.
    #[error("deletes are disabled for the table")]
    DeletesDisabled,
    /// The index is damaged.
    #[error("the stored row has schema {0}, which the table does not have")]
    StoredSchema(SchemaId),
    /// The index is damaged, or the batch was not checked.
    #[error("a row that is merged is malformed")]
    Stored(#[source] RowError),
    #[error("the merged row cannot be written")]
    Result(#[source] RowError),
    #[error("column {column} holds no bitmap")]
    Bitmap { column: usize, source: BitmapError },
    #[error(transparent)]
    AutoIncrement(#[from] AutoIncrementError),
}

#[cfg(test)]
mod tests;
