//! What a snapshot consists of: the object `_METADATA`, JSON as Fluss writes it
//! (`CompletedSnapshotJsonSerde.java`).
//!
//! ```text
//! { "version": 1, "table_id", "partition_id"?, "bucket_id", "snapshot_id", "snapshot_location",
//!   "kv_snapshot_handle": {
//!     "shared_file_handles":  [ { "kv_file_handle": { "path", "size" }, "local_path" } … ],
//!     "private_file_handles": [ … ],
//!     "snapshot_incremental_size" },
//!   "log_offset", "row_count"?, "auto_inc_id_range"?: [ { "column_id", "start", "end" } ] }
//! ```
//!
//! Paths are URIs. Ours are read from the bucket's folder on, so that a store may move.

use protocol::ids::{BucketId, Offset, TableId, TablePartitionId, TabletId};
use serde::{Deserialize, Serialize};
use storage::kv::auto_increment::IdRange;
use thiserror::Error;

use super::layout::BucketFolder;
use crate::remote::ObjectPath;

const VERSION: u32 = 1;

/// A file of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFile {
    /// Its name in the directory of the database.
    pub name: String,
    /// Where it is.
    pub object: ObjectPath,
    /// Its length.
    pub bytes: u64,
}

/// A snapshot of the index of one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletedSnapshot {
    /// Whose.
    pub tablet: TabletId,
    /// Its number in the bucket.
    pub id: i64,
    /// Files that other snapshots may have as well.
    pub shared: Vec<SnapshotFile>,
    /// Files of its own.
    pub private: Vec<SnapshotFile>,
    /// Bytes of those files that no earlier snapshot had.
    pub incremental_bytes: u64,
    /// It has the changes of all lower offsets.
    pub log_offset: Offset,
    /// Its rows, where they are counted.
    pub row_count: Option<i64>,
    /// Numbers for the auto-increment column that the bucket had and did not hand out.
    pub ids: Option<IdRange>,
}

/// Why bytes are no `_METADATA`.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum InvalidMetadata {
    #[error("its JSON")]
    Json(#[from] serde_json::Error),
    #[error("its version is {0}")]
    Version(u32),
    #[error("its file {0:?} is not in the folder of its bucket")]
    Path(String),
    #[error("its file has the name {0:?}")]
    Name(String),
}

#[derive(Serialize, Deserialize)]
struct Json {
    version: u32,
    table_id: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partition_id: Option<i64>,
    bucket_id: i32,
    snapshot_id: i64,
    snapshot_location: String,
    kv_snapshot_handle: HandleJson,
    log_offset: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    row_count: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    auto_inc_id_range: Vec<RangeJson>,
}

#[derive(Serialize, Deserialize)]
struct HandleJson {
    shared_file_handles: Vec<FileJson>,
    private_file_handles: Vec<FileJson>,
    snapshot_incremental_size: u64,
}

#[derive(Serialize, Deserialize)]
struct FileJson {
    kv_file_handle: PathJson,
    local_path: String,
}

#[derive(Serialize, Deserialize)]
struct PathJson {
    path: String,
    size: u64,
}

#[derive(Serialize, Deserialize)]
struct RangeJson {
    column_id: i32,
    start: i64,
    end: i64,
}

impl CompletedSnapshot {
    /// All its files, its own first.
    pub fn files(&self) -> impl Iterator<Item = &SnapshotFile> {
        self.private.iter().chain(&self.shared)
    }

    /// The object's bytes, with paths below `base`.
    pub fn to_json(&self, base: &str, folder: &BucketFolder) -> Vec<u8> {
        let files = |files: &[SnapshotFile]| {
            let files = files.iter().map(|file| FileJson {
                kv_file_handle: PathJson {
                    path: format!("{base}/{}", file.object),
                    size: file.bytes,
                },
                local_path: file.name.clone(),
            });
            files.collect()
        };
        let json = Json {
            version: VERSION,
            table_id: self.tablet.table.value(),
            partition_id: self.tablet.table_partition.map(TablePartitionId::value),
            bucket_id: self.tablet.bucket.value(),
            snapshot_id: self.id,
            snapshot_location: format!("{base}/{}", folder.snapshot(self.id)),
            kv_snapshot_handle: HandleJson {
                shared_file_handles: files(&self.shared),
                private_file_handles: files(&self.private),
                snapshot_incremental_size: self.incremental_bytes,
            },
            log_offset: self.log_offset.value(),
            row_count: self.row_count,
            // Fluss has no notation for an empty range.
            auto_inc_id_range: self
                .ids
                .filter(|ids| ids.start <= ids.end)
                .map(|ids| RangeJson {
                    column_id: ids.column_id,
                    start: ids.start,
                    end: ids.end,
                })
                .into_iter()
                .collect(),
        };
        serde_json::to_vec(&json).expect("numbers and strings are JSON")
    }

    /// Reads the object of a snapshot in this folder.
    ///
    /// # Errors
    /// It is damaged, or another program's.
    pub fn from_json(bytes: &[u8], folder: &BucketFolder) -> Result<Self, InvalidMetadata> {
        let json: Json = serde_json::from_slice(bytes)?;
        if json.version != VERSION {
            return Err(InvalidMetadata::Version(json.version));
        }
        let files = |files: Vec<FileJson>| {
            let files = files.into_iter().map(|file| {
                // It becomes the name of a file when the index is restored.
                if ObjectPath::parse(&file.local_path).is_err() || file.local_path.contains('/') {
                    return Err(InvalidMetadata::Name(file.local_path));
                }
                let PathJson { path, size } = file.kv_file_handle;
                let object = folder.object_of_uri(&path);
                Ok(SnapshotFile {
                    name: file.local_path,
                    object: object.ok_or(InvalidMetadata::Path(path))?,
                    bytes: size,
                })
            });
            files.collect::<Result<Vec<_>, _>>()
        };
        let handle = json.kv_snapshot_handle;
        Ok(CompletedSnapshot {
            tablet: TabletId {
                table: TableId::new(json.table_id),
                table_partition: json.partition_id.map(TablePartitionId::new),
                bucket: BucketId::new(json.bucket_id),
            },
            id: json.snapshot_id,
            shared: files(handle.shared_file_handles)?,
            private: files(handle.private_file_handles)?,
            incremental_bytes: handle.snapshot_incremental_size,
            log_offset: Offset::new(json.log_offset),
            row_count: json.row_count,
            ids: json.auto_inc_id_range.first().map(|range| IdRange {
                column_id: range.column_id,
                start: range.start,
                end: range.end,
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> BucketFolder {
        BucketFolder::parse("kv/d/t-1/5").unwrap()
    }

    fn file(name: &str, object: &str) -> SnapshotFile {
        SnapshotFile {
            name: name.to_owned(),
            object: ObjectPath::parse(&format!("kv/d/t-1/5/{object}")).unwrap(),
            bytes: 7,
        }
    }

    fn snapshot() -> CompletedSnapshot {
        CompletedSnapshot {
            tablet: TabletId {
                table: TableId::new(1),
                table_partition: None,
                bucket: BucketId::new(5),
            },
            id: 2,
            shared: vec![file("000012.sst", "shared/a")],
            private: vec![
                file("CURRENT", "snap-2/b"),
                file("MANIFEST-000005", "snap-2/c"),
            ],
            incremental_bytes: 14,
            log_offset: Offset::new(10),
            row_count: None,
            ids: None,
        }
    }

    /// The text that `CompletedSnapshotJsonSerdeTest.java` expects of such a snapshot.
    #[test]
    fn it_is_written_as_fluss_writes_it() {
        let text = |s: &CompletedSnapshot| {
            String::from_utf8(s.to_json("oss://bucket", &folder())).unwrap()
        };
        let head = "{\"version\":1,\"table_id\":1,\"bucket_id\":5,\"snapshot_id\":2,\
            \"snapshot_location\":\"oss://bucket/kv/d/t-1/5/snap-2\",\
            \"kv_snapshot_handle\":{\"shared_file_handles\":[{\"kv_file_handle\":{\"path\":\
            \"oss://bucket/kv/d/t-1/5/shared/a\",\"size\":7},\"local_path\":\"000012.sst\"}],\
            \"private_file_handles\":[{\"kv_file_handle\":{\"path\":\
            \"oss://bucket/kv/d/t-1/5/snap-2/b\",\"size\":7},\"local_path\":\"CURRENT\"},\
            {\"kv_file_handle\":{\"path\":\"oss://bucket/kv/d/t-1/5/snap-2/c\",\"size\":7},\
            \"local_path\":\"MANIFEST-000005\"}],\"snapshot_incremental_size\":14},\
            \"log_offset\":10";
        assert_eq!(text(&snapshot()), format!("{head}}}"));
        let mut full = snapshot();
        full.row_count = Some(1234);
        full.ids = Some(IdRange {
            column_id: 2,
            start: 10_000,
            end: 20_000,
        });
        let tail = ",\"row_count\":1234,\
            \"auto_inc_id_range\":[{\"column_id\":2,\"start\":10000,\"end\":20000}]}";
        assert_eq!(text(&full), format!("{head}{tail}"));
        let partitioned = CompletedSnapshot {
            tablet: TabletId {
                table_partition: Some(TablePartitionId::new(10)),
                ..full.tablet
            },
            ..full
        };
        assert!(
            text(&partitioned)
                .starts_with("{\"version\":1,\"table_id\":1,\"partition_id\":10,\"bucket_id\":5,")
        );
        for written in [snapshot(), partitioned] {
            let bytes = written.to_json("file:///some/where", &folder());
            let read = CompletedSnapshot::from_json(&bytes, &folder()).unwrap();
            assert_eq!(read, written);
        }
    }

    #[test]
    fn an_empty_range_of_numbers_is_left_out() {
        let mut empty = snapshot();
        empty.ids = Some(IdRange {
            column_id: 1,
            start: 0,
            end: -1,
        });
        assert_eq!(
            empty.to_json("x", &folder()),
            snapshot().to_json("x", &folder())
        );
    }

    #[test]
    fn what_is_not_one_is_refused() {
        let text = String::from_utf8(snapshot().to_json("file:///r", &folder())).unwrap();
        let read = |text: &str| CompletedSnapshot::from_json(text.as_bytes(), &folder());
        let cut = read(&text[..text.len() - 1]);
        assert!(matches!(cut, Err(InvalidMetadata::Json(_))));
        let newer = read(&text.replace("\"version\":1", "\"version\":2"));
        assert!(matches!(newer, Err(InvalidMetadata::Version(2))));
        let foreign = read(&text.replace("t-1/5/shared", "t-2/5/shared"));
        assert!(matches!(foreign, Err(InvalidMetadata::Path(_))));
        for name in ["../x", "a/b", "..", ""] {
            let outside = read(&text.replace("\"CURRENT\"", &format!("{name:?}")));
            assert!(matches!(outside, Err(InvalidMetadata::Name(_))), "{name}");
        }
    }
}
