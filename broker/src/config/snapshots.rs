//! Settings of snapshots of indexes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::settings::Config;
use super::value::{Unfit, Value};

/// Where snapshots go when nothing is said, below the data directory.
const DIRECTORY_DEFAULT: &str = "remote";

/// Who is told of snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announce {
    /// All clients.
    All,
    /// Clients that connect over the loopback interface.
    Local,
    /// Nobody.
    None,
}

/// How snapshots are made and kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotConfig {
    /// The remote directory.
    pub directory: PathBuf,
    /// How often snapshots are made; zero makes none.
    pub interval: Duration,
    /// The newest ones of a bucket that are kept; 0 where none are made any more.
    pub retained: usize,
    /// Files of a snapshot that travel at a time.
    pub transfers: usize,
    /// How often leases are looked at.
    pub lease_check_interval: Duration,
}

impl Config {
    /// Snapshots of indexes.
    pub fn snapshots(&self) -> SnapshotConfig {
        let directory = match self.text("remote.data.dir") {
            "" => self.storage().data_dir.join(DIRECTORY_DEFAULT),
            given => path_of(given).map_or_else(|| PathBuf::from(given), Path::to_path_buf),
        };
        let interval = self.duration("kv.snapshot.interval");
        // One that is not followed by others would keep the cleaner from the changelog for ever.
        let retained = match interval {
            Duration::ZERO => 0,
            _ => self.count("kv.snapshot.num-retained"),
        };
        SnapshotConfig {
            directory,
            interval,
            retained,
            transfers: self.count("kv.snapshot.transfer-thread-num"),
            lease_check_interval: self.duration("kv.snapshot.lease.expiration-check-interval"),
        }
    }

    /// Who is told of them.
    pub fn announce_snapshots(&self) -> Announce {
        match self.text("vltava.kv.snapshot.announce") {
            "local" => Announce::Local,
            "never" => Announce::None,
            _ if self.text("remote.data.dir").is_empty() => Announce::None,
            _ => Announce::All,
        }
    }
}

/// The directory that is meant; none for what is no local one.
fn path_of(given: &str) -> Option<&Path> {
    if let Some(path) = given.strip_prefix("file:") {
        // file:/path, file:///path; a host would be another machine.
        let path = path.strip_prefix("//").unwrap_or(path);
        return path.starts_with('/').then(|| Path::new(path));
    }
    (!given.contains("://")).then(|| Path::new(given))
}

/// Checks that the remote directory is one that this version can use.
pub(super) fn check(value: &Value) -> Result<(), Unfit> {
    match value {
        Value::Text(given) if path_of(given).is_none() => Err(Unfit(format!(
            "{given:?} is neither a path nor a file: URI"
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_a_path_or_a_file_uri() {
        let directory = |given| {
            let config = Config::with([("remote.data.dir", given)]).expect("sound");
            config.snapshots().directory
        };
        for given in ["/a/b", "file:/a/b", "file:///a/b"] {
            assert_eq!(directory(given), PathBuf::from("/a/b"));
        }
        assert_eq!(directory("b"), PathBuf::from("b"));
        for given in ["s3://bucket/a", "file://host/a", "file:a"] {
            assert!(
                Config::with([("remote.data.dir", given)]).is_err(),
                "{given}"
            );
        }
        let default = Config::default().snapshots();
        assert_eq!(default.directory, PathBuf::from("vltava-data/remote"));
        assert_eq!(default.interval, Duration::from_secs(600));
        assert_eq!((default.retained, default.transfers), (2, 4));
        assert_eq!(default.lease_check_interval, Duration::from_secs(600));
        let none = Config::with([("kv.snapshot.interval", "0")]).expect("sound");
        assert_eq!(none.snapshots().retained, 0);
    }

    #[test]
    fn only_a_directory_that_was_set_is_told_of() {
        let announce = |settings: &[(&str, &str)]| {
            let config = Config::with(settings.iter().copied()).expect("sound");
            config.announce_snapshots()
        };
        let key = "vltava.kv.snapshot.announce";
        assert_eq!(announce(&[]), Announce::None);
        assert_eq!(announce(&[("remote.data.dir", "/a")]), Announce::All);
        assert_eq!(announce(&[(key, "local")]), Announce::Local);
        let never = [(key, "never"), ("remote.data.dir", "/a")];
        assert_eq!(announce(&never), Announce::None);
    }
}
