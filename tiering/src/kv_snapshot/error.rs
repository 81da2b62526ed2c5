//! What can go wrong with snapshots, one enum per operation.

use protocol::ids::TabletId;
use storage::catalog::WriteError;
use storage::kv::tablet::SnapshotError;
use thiserror::Error;

use super::metadata::InvalidMetadata;
use crate::remote::{GetError, ObjectPath, ObjectPathError, RemoteError};

/// The store cannot be used.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum OpenSnapshotsError {
    /// Tell the operator: each cluster needs its own.
    #[error("the remote directory belongs to cluster {owner}, this one is {ours}")]
    Owned { owner: String, ours: String },
    #[error("the remote directory")]
    Remote(#[from] GetError),
}

/// A snapshot cannot be read.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ReadSnapshotError {
    #[error("bucket {tablet} has no snapshot {id}")]
    NotExist { tablet: TabletId, id: i64 },
    #[error(transparent)]
    Get(#[from] GetError),
    #[error("{object} of {length} bytes is too large")]
    TooLarge { object: ObjectPath, length: u64 },
    #[error("{object} says nothing of a snapshot")]
    Invalid {
        object: ObjectPath,
        source: InvalidMetadata,
    },
    #[error("the recorded folder")]
    Folder(#[from] ObjectPathError),
}

impl ReadSnapshotError {
    /// True when no later try will find it.
    pub(super) fn is_final(&self) -> bool {
        !matches!(self, ReadSnapshotError::Get(GetError::Remote(_)))
    }
}

/// No snapshot was made. A later attempt starts anew.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum TakeSnapshotError {
    #[error("the index")]
    Index(#[from] SnapshotError),
    #[error("the directory of files on their way")]
    Disk(#[from] std::io::Error),
    #[error("the folder of the bucket")]
    Folder(#[from] ObjectPathError),
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error("the snapshot before")]
    Previous(#[from] ReadSnapshotError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Some of what is not needed may still be there.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum SweepError {
    #[error("what is needed cannot be told")]
    Read(#[from] ReadSnapshotError),
    #[error("the folder of the bucket")]
    Folder(#[from] ObjectPathError),
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// A lease was not changed.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum LeaseError {
    #[error("a lease id has {0} bytes, at most {max}", max = super::leases::ID_BYTES_MAX)]
    Id(usize),
    #[error("there are {max} leases already", max = super::leases::LEASES_MAX)]
    TooMany,
    #[error(transparent)]
    Write(#[from] WriteError),
}
