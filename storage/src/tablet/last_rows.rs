//! The last rows of a bucket, for Fluss's LIMIT scans of log tables.

use super::error::FlussReadError;
use super::other_wire::committed_end;
use super::{FlussBatches, FlussRead, Tablet};

impl Tablet {
    /// The batches that hold the last `limit` rows that Fluss readers see, all columns. They may
    /// begin with rows that were not asked for: clients cut them. At most `bytes_max` bytes
    /// unless the first batch is larger; what is cut then are the newest batches.
    pub async fn read_last_rows(
        &self,
        limit: i64,
        bytes_max: usize,
    ) -> Result<FlussBatches, FlussReadError> {
        let w = self.watermarks();
        let end = committed_end(&w);
        let offset = w.log_start.max(end + -limit.clamp(0, end.value()));
        self.read_fluss(FlussRead {
            offset,
            bytes_max,
            at_least_one: true,
            projection: None,
            filter: None,
        })
        .await
    }
}
