//! Where the objects of snapshots are, as Fluss lays them out:
//!
//! ```text
//! kv/<database>/<table>-<table id>[/<partition>-p<partition id>]/<bucket>/   the folder of a bucket
//!     shared/<uuid>              files that several snapshots may have (*.sst)
//!     snap-<id>/<uuid>           files of one snapshot
//!     snap-<id>/_METADATA        what it consists of; written last
//! ```

use protocol::ids::TabletId;
use storage::catalog::CatalogView;
use storage::env::Randomness;

use crate::remote::{ObjectPath, ObjectPathError};

/// The longest of `snap-<id>/<uuid>`, in bytes.
const NAMES_BYTES_MAX: usize = 5 + 19 + 1 + 36;

/// The folder of one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketFolder(ObjectPath);

impl BucketFolder {
    /// The folder of a bucket; none when the table or its partition is gone.
    ///
    /// # Errors
    /// A name cannot be that of an object.
    pub fn of(view: &CatalogView, tablet: TabletId) -> Option<Result<Self, ObjectPathError>> {
        let table = view.table(tablet.table)?;
        let TabletId { table: id, .. } = tablet;
        let mut path = format!("kv/{}/{}-{id}", table.path.database, table.path.table);
        if let Some(id) = tablet.table_partition {
            let partition = view.partition(id)?;
            path.push_str(&format!("/{}-p{id}", partition.name()));
        }
        path.push_str(&format!("/{}", tablet.bucket));
        Some(BucketFolder::parse(&path))
    }

    /// A folder by its path, as it was recorded.
    ///
    /// # Errors
    /// It is no path.
    pub fn parse(path: &str) -> Result<Self, ObjectPathError> {
        let folder = ObjectPath::parse(path)?;
        // Room for the longest name below it.
        folder.join(&"x".repeat(NAMES_BYTES_MAX))?;
        Ok(BucketFolder(folder))
    }

    /// Its path.
    pub fn path(&self) -> &ObjectPath {
        &self.0
    }

    /// The folder of a snapshot's own files.
    pub fn snapshot(&self, id: i64) -> ObjectPath {
        self.below(&format!("snap-{id}"))
    }

    /// What a snapshot consists of.
    pub fn metadata(&self, id: i64) -> ObjectPath {
        self.below(&format!("snap-{id}/_METADATA"))
    }

    /// A name for a new file of one snapshot.
    pub fn new_private(&self, id: i64, randomness: &dyn Randomness) -> ObjectPath {
        self.below(&format!("snap-{id}/{}", uuid(randomness)))
    }

    /// A name for a new file that later snapshots may have as well.
    pub fn new_shared(&self, randomness: &dyn Randomness) -> ObjectPath {
        self.below(&format!("shared/{}", uuid(randomness)))
    }

    /// The object of a URI that was made from one of this folder, wherever the store was then.
    pub fn object_of_uri(&self, uri: &str) -> Option<ObjectPath> {
        let folder = format!("/{}/", self.0);
        let at = uri.rfind(&folder)?;
        ObjectPath::parse(&uri[at + 1..]).ok()
    }

    fn below(&self, path: &str) -> ObjectPath {
        self.0
            .join(path)
            .expect("`parse` saw to it that there is room")
    }
}

/// A version 4 UUID.
fn uuid(randomness: &dyn Randomness) -> uuid::Uuid {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&randomness.next_u64().to_be_bytes());
    bytes[8..].copy_from_slice(&randomness.next_u64().to_be_bytes());
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use storage::env::simulated::SeededRandomness;

    use super::*;

    #[test]
    fn objects_are_where_fluss_has_them() {
        let folder = BucketFolder::parse("kv/d/t-1/2024$cz-p7/0").unwrap();
        let random = SeededRandomness::new(1);
        assert_eq!(folder.snapshot(3).as_str(), "kv/d/t-1/2024$cz-p7/0/snap-3");
        assert_eq!(
            folder.metadata(3).as_str(),
            "kv/d/t-1/2024$cz-p7/0/snap-3/_METADATA"
        );
        let shared = folder.new_shared(&random);
        let name = shared
            .as_str()
            .strip_prefix("kv/d/t-1/2024$cz-p7/0/shared/");
        assert!(uuid::Uuid::parse_str(name.unwrap()).is_ok());
        assert_ne!(shared, folder.new_shared(&random));
        let private = folder.new_private(i64::MAX, &random);
        assert!(private.as_str().contains("/snap-9223372036854775807/"));
        let uri = format!("file:///moved/elsewhere/{shared}");
        assert_eq!(folder.object_of_uri(&uri), Some(shared));
        assert_eq!(folder.object_of_uri("file:///x/kv/d/t-2/0/shared/a"), None);
    }

    #[test]
    fn a_folder_leaves_room_for_names() {
        let parts = |count| vec!["a".repeat(240); count].join("/");
        assert!(BucketFolder::parse(&parts(3)).is_ok());
        assert!(ObjectPath::parse(&parts(4)).is_ok());
        assert!(BucketFolder::parse(&parts(4)).is_err());
    }
}
