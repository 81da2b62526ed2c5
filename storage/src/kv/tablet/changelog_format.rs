//! The changelog of a primary-key table under the cleaner: what is older than `table.log.ttl` is
//! compacted rather than cut.
//!
//! ```text
//!  changelog   +I a  +I b  -U a  +U a  -D b  -U a  +U a
//!  compacted                                       +I a
//! ```
//!
//! Of a key's changes the last one stays. An update goes as a pair; a surviving `+U` whose `-U` is
//! gone becomes `+I`, because nothing of its key is before it any more. A deletion that is the
//! last change of its key goes with what it deleted: so the rows of the changelog still add up to
//! the table's row count. (docs/decisions/0010-compacting-changelogs.md)

use std::ops::Range;
use std::sync::Arc;

use protocol::batch::BatchFormat;
use protocol::columnar::{ChangeTypes, DecodedBatch};
use protocol::fluss::batch::{ChangeType, LogBatch};
use protocol::ids::SchemaId;
use protocol::schema::Schema;

use super::table::KvTable;
use crate::kv::replay::{Replay, ReplayError};
use crate::log::cleaner::{
    Fate, Judged, KeyedRecord, RecordFormat, Rewrite, RewriteError, RowBatches, UnreadableBatch,
};
use crate::log::frame::FrameHeader;

/// Reads and rewrites the changelog batches of one table.
pub struct ChangelogFormat {
    table: Arc<KvTable>,
    replay: Replay,
    batches: RowBatches,
}

/// Why a frame of a changelog cannot be cleaned.
#[derive(Debug, thiserror::Error)]
enum NotAChangelog {
    #[error("a batch of format {0:?} in a changelog")]
    Format(BatchFormat),
    #[error("schema {0} is none of the table's")]
    Schema(SchemaId),
}

impl ChangelogFormat {
    pub(super) fn new(table: Arc<KvTable>) -> Result<ChangelogFormat, ReplayError> {
        Ok(ChangelogFormat {
            replay: Replay::new(table.plans.table(), table.key, &table.key_columns)?,
            batches: RowBatches::new(table.codec.compressor()),
            table,
        })
    }

    fn schema(&self, id: SchemaId) -> Result<Arc<Schema>, UnreadableBatch> {
        let schemas = &self.table.plans.table().schemas;
        let schema = schemas.get(&id).map(Arc::clone);
        schema.ok_or_else(|| UnreadableBatch::from(NotAChangelog::Schema(id)))
    }
}

fn parse(header: &FrameHeader, batch: &[u8]) -> Result<(LogBatch, SchemaId), UnreadableBatch> {
    if !header.format.is_fluss() {
        return Err(UnreadableBatch::from(NotAChangelog::Format(header.format)));
    }
    RowBatches::parse(batch)
}

impl RecordFormat for ChangelogFormat {
    /// An insert goes from one segment because an update in another becomes the insert.
    fn goes_as_a_whole(&self) -> bool {
        true
    }

    fn read(
        &mut self,
        header: &FrameHeader,
        batch: &[u8],
        arena: &mut Vec<u8>,
        records: &mut Vec<KeyedRecord>,
    ) -> Result<(), UnreadableBatch> {
        let (batch, _) = parse(header, batch)?;
        let first = records.len();
        self.replay
            .read::<ReplayError>(&batch, header.format, |change| {
                let start = arena.len();
                arena.extend_from_slice(change.key);
                let key: Range<usize> = start..arena.len();
                // What replay passes over is the old row of the update that follows.
                let old = (records.len() - first) as i32..change.offset_delta;
                let tombstone = matches!(change.change, crate::kv::merge::KeyChange::Remove);
                records.extend(old.chain([change.offset_delta]).map(|delta| KeyedRecord {
                    key: Some(key.clone()),
                    offset: header.base_offset + i64::from(delta),
                    tombstone: tombstone && delta == change.offset_delta,
                }));
                Ok(())
            })
            .map_err(UnreadableBatch::from)
    }

    /// Deletions go at once: all of this is older than readers may rely on.
    fn delete_horizon(&self, _header: &FrameHeader, _batch: &[u8]) -> Option<i64> {
        Some(i64::MIN)
    }

    fn must_rewrite(&self, _: &FrameHeader, _: &[KeyedRecord], _: &Judged<'_>) -> bool {
        false
    }

    fn rewrite(
        &mut self,
        frame: Rewrite<'_>,
        write: &mut dyn FnMut(&FrameHeader, &[u8]) -> std::io::Result<()>,
    ) -> Result<(), RewriteError> {
        let (batch, schema_id) = parse(frame.header, frame.batch)?;
        let schema = self.schema(schema_id)?;
        let decoded = self.batches.decode(frame.header, &batch, &schema)?;
        let ChangeTypes::PerRow(before) = &decoded.changes else {
            return Err(UnreadableBatch::from(ReplayError::AppendOnly).into());
        };
        let fates = frame.judged.fates;
        let is_pair = |row: usize| {
            row > 0
                && before[row] == ChangeType::UpdateAfter
                && before[row - 1] == ChangeType::UpdateBefore
        };
        let stays = |row: usize| match before[row] {
            // The old row stays as long as it is not known whether the new one is the last.
            ChangeType::UpdateBefore => fates.get(row + 1) == Some(&Fate::Undecided),
            _ => fates[row].stays(),
        };
        let after = (0..before.len()).map(|row| match before[row] {
            ChangeType::UpdateAfter if is_pair(row) && !stays(row - 1) => ChangeType::Insert,
            change => change,
        });
        let decoded = DecodedBatch {
            changes: ChangeTypes::PerRow(after.collect()),
            rows: decoded.rows.clone(),
        };
        self.batches
            .write(frame.header, &batch, &schema, &decoded, stays, write)
    }
}
