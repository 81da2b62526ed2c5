//! Jars by way of Maven: a pom in `compat-tests/peers/NAME` says which, the cache keeps them.

use crate::cache;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, io};

/// Why jars could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// A file could not be read or written.
    #[error("cache: {0}")]
    Io(#[from] io::Error),
    /// Maven is missing or ended with an error, most often because no registry answers.
    #[error("maven could not fetch {name}: {message}")]
    Maven {
        /// The peer.
        name: String,
        /// What Maven said.
        message: String,
    },
}

/// The directory with the jars of `peers/NAME/pom.xml`, fetched when the cache has none of this pom yet.
///
/// # Errors
/// [`FetchError`].
pub fn fetch(name: &str) -> Result<PathBuf, FetchError> {
    let pom = cache::sources()?.join("peers").join(name).join("pom.xml");
    let directory = cache::directory("peers")?.join(format!(
        "{name}-{}",
        cache::fingerprint(std::slice::from_ref(&pom))?
    ));
    let complete = directory.join(".complete");
    if !complete.exists() {
        maven(name, &pom, &directory)?;
        fs::write(complete, "")?;
    }
    Ok(directory)
}

fn maven(name: &str, pom: &Path, directory: &Path) -> Result<(), FetchError> {
    let failed = |message: String| FetchError::Maven {
        name: name.to_owned(),
        message,
    };
    let answer = Command::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(pom)
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", directory.display()))
        .stdin(Stdio::null())
        .output()
        .map_err(|cause| failed(cause.to_string()))?;
    if answer.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&answer.stdout);
    Err(failed(
        text.lines()
            .find(|line| line.contains("ERROR"))
            .unwrap_or("no message")
            .to_owned(),
    ))
}
