//! What can go wrong with a remote store, and what the caller can do.

use super::ObjectPath;

/// A store failed.
#[derive(Debug, thiserror::Error)]
#[error("remote store, {action}: {kind}")]
pub struct RemoteError {
    /// What was tried, with the path.
    pub action: String,
    /// What the caller can do.
    pub kind: RemoteErrorKind,
    /// What the store said.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// What the caller of a failed store can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RemoteErrorKind {
    /// Tell the operator: credentials or rights are missing.
    #[error("denied")]
    Denied,
    /// Tell the operator: the store lacks what was asked, such as conditional writes.
    #[error("not supported")]
    Unsupported,
    /// Try again later.
    #[error("unavailable")]
    Unavailable,
}

/// An object was not written by [`super::RemoteStore::put_if_absent`].
#[derive(Debug, thiserror::Error)]
pub enum PutIfAbsentError {
    /// There is one.
    #[error("object {0} exists")]
    AlreadyExists(ObjectPath),
    /// The store failed; the object may be there or not.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

/// An object was not read.
#[derive(Debug, thiserror::Error)]
pub enum GetError {
    /// There is none.
    #[error("object {0} does not exist")]
    NotFound(ObjectPath),
    /// It is shorter than the asked range.
    #[error("object {path} has {length} bytes, asked for {start}..{end}")]
    Range {
        /// The object.
        path: ObjectPath,
        /// Its length in bytes.
        length: u64,
        /// First byte that was asked for.
        start: u64,
        /// The byte after the last one.
        end: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Remote(#[from] RemoteError),
}

pub(super) fn remote_error(action: &str, path: &str, error: object_store::Error) -> RemoteError {
    use object_store::Error;
    let kind = match &error {
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => RemoteErrorKind::Denied,
        Error::NotSupported { .. }
        | Error::NotImplemented { .. }
        | Error::InvalidPath { .. }
        | Error::UnknownConfigurationKey { .. } => RemoteErrorKind::Unsupported,
        _ => RemoteErrorKind::Unavailable,
    };
    RemoteError {
        action: format!("{action} {path}"),
        kind,
        source: Box::new(error),
    }
}
