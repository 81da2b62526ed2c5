//! Keys that a lookup did not find, as a batch that inserts them.

use std::collections::HashSet;

use protocol::row::Datum;
use thiserror::Error;

use super::{KvTablet, Put};
use crate::kv::merge::{MergeMode, PlanError};
use crate::kv::missing::{MissingError, rows_of_keys};

/// Why keys cannot be inserted. The client is wrong.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum InvalidInsert {
    #[error(transparent)]
    Key(#[from] MissingError),
    /// The table cannot do it.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

impl KvTablet {
    /// A batch that inserts rows of these encoded keys, null but for the key; each once.
    /// `partition` has the partition columns of the bucket's rows and their values. Rows that are
    /// there meanwhile stay as they are.
    ///
    /// # Errors
    /// A key is none of the table, or the table does not take such rows.
    pub fn check_insert<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k [u8]>,
        partition: &[(String, Datum<'_>)],
    ) -> Result<Put, InvalidInsert> {
        let table = self.table();
        let merge = table.plans.table();
        let latest = merge.latest;
        let Some(schema) = merge.schemas.get(&latest) else {
            let found = latest;
            return Err(PlanError::UnknownSchema { found, latest }.into());
        };
        let mut seen = HashSet::new();
        let (batch, targets) = rows_of_keys(
            keys.into_iter().filter(|key| seen.insert(*key)),
            table.key,
            (latest, schema),
            merge.kv_format,
            &table.key_columns,
            partition,
            self.inner.resources.limits.batch_bytes_max,
        )?;
        let mode = MergeMode::Engine;
        table.plans.merge(latest, Some(&targets), mode)?;
        Ok(Put {
            batch,
            target_columns: Some(targets.into()),
            mode,
            part: None,
        })
    }
}
