//! What a write waits for, and for how long, as requests of either kind of table say it.

use std::time::Duration;

use protocol::fluss::error::ErrorCode;
use storage::log::Until;
use tokio::time::Instant;

use super::error::Failure;
use crate::tablets::OpenBucket;

/// What a write with these acks waits for.
pub(super) fn until(acks: i32) -> Result<Until, Failure> {
    match acks {
        -1 => Ok(Until::Durable),
        0 | 1 => Ok(Until::Appended),
        _ => {
            let text = format!("acks is {acks}, and must be -1, 0 or 1");
            Err(Failure::new(ErrorCode::InvalidRequiredAcks, text))
        }
    }
}

/// When a write that may take so long is given up.
pub(super) fn deadline(timeout_ms: i32) -> Instant {
    Instant::now() + Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0))
}

/// Refuses a write that waits for more replicas than there are.
pub(super) fn check_replicas(bucket: &OpenBucket, until: Until) -> Result<(), Failure> {
    if until == Until::Durable && bucket.settings.insync_replicas_min > 1 {
        let text = format!(
            "table {} wants more replicas in sync than there are",
            bucket.table.path
        );
        return Err(Failure::new(ErrorCode::NotEnoughReplicas, text));
    }
    Ok(())
}
