//! The log of a tablet: segments of frames, their indexes, the state that is rebuilt from them,
//! and the watermarks between which it can be read.
//!
//! How an append travels: [`LogHandle::append`] puts it into the log's queue → a lane
//! takes all that waits → [`Log::append_group`] judges, assigns and writes with one call → in
//! fsync mode a sync thread calls [`Log::sync`] → the high watermark moves, appends are answered,
//! waiting fetches wake.
//!
//! *Invariant*: a record is visible only below the high watermark, and the high watermark never
//! passes what the flush mode promises.

mod append;
mod checkpoint;
pub mod cleaner;
mod config;
mod debt;
mod durable;
mod epochs;
mod error;
pub mod frame;
mod gather;
mod handle;
mod heads;
mod index;
#[allow(clippy::module_inception, reason = "the log of the module log")]
mod log;
mod parts;
mod producers;
mod read;
mod recovery;
mod retention;
mod round;
mod scan;
mod segment;
#[cfg(test)]
mod tests;
mod times;
mod verify;
mod visible;
mod watermark;

pub use config::{FlushMode, LogConfig, SEGMENT_BYTES_LIMIT};
pub use debt::RecoveryDebt;
pub use epochs::EpochHistory;
pub use error::{AppendError, LogError, OfflineCause, ReadError};
pub use handle::{AppendResult, AppendTicket, LogHandle, LogThreads, Until};
pub use heads::{HeadRange, HeadRun};
pub use index::Summary;
pub use log::{Append, Appended, Log, LogContext, Watermarks};
pub use parts::{SourcePart, steps};
pub use producers::{ProducerEntry, ProducerKey, Producers, RememberedBatch, Verdict};
pub use read::{FrameRun, ReadRange};
pub use retention::Removed;
pub use scan::{FrameScanner, Step};
pub use segment::{OpenFiles, Segment, SegmentHeader, base_of_file_name};
pub use verify::{Expected, Finding, Severity, Verified, verify};
pub use visible::OnPromise;
pub use watermark::{AppendAnswer, DataSignal};
