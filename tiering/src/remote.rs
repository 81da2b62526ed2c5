//! The remote store: objects under paths, written whole and read in ranges.
//!
//! [`RemoteStore`] is what the rest of the code knows. [`ObjectRemoteStore`] implements it over the
//! `object_store` crate: a local directory by default, cloud stores by the same calls.

mod error;
mod object;
mod path;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

pub use error::{GetError, PutIfAbsentError, RemoteError, RemoteErrorKind};
pub use object::{ObjectRemoteStore, OpenLocalDirectoryError};
pub use path::{ObjectPath, ObjectPathError};

/// What a store knows of an object without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Where it is.
    pub path: ObjectPath,
    /// Its length in bytes.
    pub length: u64,
    /// When it was written, by the store's clock, epoch milliseconds.
    pub modified_ms: i64,
}

/// Keeps objects. An object is there whole or not at all, and durable when a write returned.
///
/// A dropped future leaves an object that is written or is not; never a part of one. No path may
/// be a folder of another one: `a` and `a/b` cannot both be objects.
///
/// All implementations run the suite in `remote/tests.rs`.
#[async_trait]
pub trait RemoteStore: std::fmt::Debug + Send + Sync + 'static {
    /// Writes an object from `parts`, one after the other; one that is there is replaced.
    async fn put(&self, path: &ObjectPath, parts: Vec<Bytes>) -> Result<(), RemoteError>;

    /// Writes an object from a file that is durable and never changes again, on this machine's
    /// disk; an object that is there is replaced. The file may go afterwards. A store on the same
    /// disk takes another name of the file instead of a copy.
    async fn put_file(&self, path: &ObjectPath, file: &Path) -> Result<(), RemoteError>;

    /// Writes an object if none is there. Of several writers at once exactly one succeeds, and the
    /// others are told. This is what fences a former owner.
    ///
    /// After an error other than "already exists" the object may have been written all the same:
    /// who tries again and finds one must look whether it is its own.
    async fn put_if_absent(
        &self,
        path: &ObjectPath,
        parts: Vec<Bytes>,
    ) -> Result<(), PutIfAbsentError>;

    /// Reads a range of bytes, all of it.
    async fn get_range(&self, path: &ObjectPath, range: Range<u64>) -> Result<Bytes, GetError>;

    /// Looks at an object.
    async fn head(&self, path: &ObjectPath) -> Result<ObjectInfo, GetError>;

    /// All objects in the folder `prefix` and below, or all there are, in no order. `a/b` holds
    /// `a/b/c` and does not hold `a/bc` or `a/b` itself.
    fn list(
        &self,
        prefix: Option<&ObjectPath>,
    ) -> BoxStream<'static, Result<ObjectInfo, RemoteError>>;

    /// Removes an object; one that is not there is no error.
    async fn delete(&self, path: &ObjectPath) -> Result<(), RemoteError>;
}
