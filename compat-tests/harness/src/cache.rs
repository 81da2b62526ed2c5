//! Downloads and builds outlive a checkout: they lie in `${VLTAVA_CACHE:-$HOME/.cache/vltava}`.

use std::env;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// The directory `part` of the cache, made when missing.
///
/// # Errors
/// When neither `VLTAVA_CACHE` nor `HOME` is set, or the directory cannot be made.
pub fn directory(part: &str) -> io::Result<PathBuf> {
    let root = match (env::var_os("VLTAVA_CACHE"), env::var_os("HOME")) {
        (Some(cache), _) if !cache.is_empty() => PathBuf::from(cache),
        (_, Some(home)) => Path::new(&home).join(".cache/vltava"),
        _ => return Err(io::Error::other("set VLTAVA_CACHE or HOME")),
    };
    let path = root.join(part);
    fs::create_dir_all(&path)?;
    path.canonicalize()
}

/// The `compat-tests` directory of the checkout that this program was built from.
pub fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A short name for the contents of `files`: what was downloaded or built from them is kept under it.
///
/// # Errors
/// When a file cannot be read.
pub fn fingerprint(files: &[PathBuf]) -> io::Result<String> {
    let mut hasher = DefaultHasher::new();
    for file in files {
        let bytes = fs::read(file).map_err(|cause| {
            io::Error::new(cause.kind(), format!("{}: {cause}", file.display()))
        })?;
        bytes.hash(&mut hasher);
    }
    Ok(format!("{:016x}", hasher.finish()))
}
