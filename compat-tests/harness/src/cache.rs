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

/// The `compat-tests` directory of the checkout at hand: `COMPAT_SOURCES`, which the scripts there set, or what cargo
/// says when it starts a program of this workspace itself. Never the checkout that the program was built from: builds are
/// shared.
///
/// # Errors
/// When neither variable names a directory.
pub fn sources() -> io::Result<PathBuf> {
    let named = |variable| env::var_os(variable).filter(|value| !value.is_empty());
    let path = match (named("COMPAT_SOURCES"), named("CARGO_MANIFEST_DIR")) {
        (Some(sources), _) => PathBuf::from(sources),
        (_, Some(package)) => Path::new(&package).join(".."),
        _ => {
            return Err(io::Error::other(
                "set COMPAT_SOURCES to the directory compat-tests",
            ));
        }
    };
    path.canonicalize()
        .map_err(|cause| io::Error::new(cause.kind(), format!("{}: {cause}", path.display())))
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
