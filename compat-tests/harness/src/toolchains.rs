//! Brings clients from their registries and builds the suites, once per version of what they are made from.

use harness::cache;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A language's packages and builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toolchain {
    /// The tests of one package of this workspace.
    Cargo(&'static str),
    /// One Maven module below `java/`.
    Maven(&'static str),
    Python,
    Go,
    Node,
}

/// Why a toolchain cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// Its program or its registry is missing: the suite is skipped.
    #[error("skipped: {0}")]
    Missing(String),
    /// It is there and does not build: the suite has failed.
    #[error("does not build: {0}")]
    Broken(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What a package client says when no registry answers. Anything else is a fault of the suite.
const NO_REGISTRY: &[&str] = &[
    "Could not resolve",
    "Could not transfer",
    "Could not find artifact",
    "No matching distribution",
    "NewConnectionError",
    "ENOTFOUND",
    "ETIMEDOUT",
    "ECONNREFUSED",
    "EAI_AGAIN",
    "dial tcp",
    "no such host",
    "failed to download",
    "Couldn't resolve host",
    "spurious network error",
];

/// Where installed packages and builds lie.
pub fn python() -> io::Result<PathBuf> {
    let requirements = cache::sources()?.join("python/requirements.txt");
    Ok(cache::directory("python")?.join(cache::fingerprint(&[requirements])?))
}

/// The directory whose `node_modules` holds the packages.
pub fn node() -> io::Result<PathBuf> {
    let manifest = cache::sources()?.join("node/package.json");
    Ok(cache::directory("node")?.join(cache::fingerprint(&[manifest])?))
}

/// Maven's build directory: nothing is written into the checkout. Each checkout has its own, because Maven too judges by
/// the times of files.
pub fn maven_build() -> io::Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    cache::sources()?.hash(&mut hasher);
    cache::directory(&format!("java/{:016x}", hasher.finish()))
}

impl Toolchain {
    /// Installs and builds; quick when nothing has changed. What the tools print goes to `log`.
    pub fn prepare(self, log: &Path) -> Result<(), PrepareError> {
        let sources = cache::sources()?;
        match self {
            Toolchain::Cargo(package) => {
                let mut command = Command::new("cargo");
                command.args(["test", "--locked", "--no-run", "--manifest-path"]);
                command
                    .arg(sources.join("Cargo.toml"))
                    .args(["--package", package]);
                step(command, log)
            }
            Toolchain::Maven(module) => {
                let mut command = Command::new("mvn");
                command
                    .args(["-q", "-B", "-f"])
                    .arg(sources.join("java/pom.xml"));
                command.arg(format!("-Dbuild.root={}", maven_build()?.display()));
                // A pattern that no test has: this also brings Surefire's own parts from the registry.
                command.args([
                    "-pl",
                    module,
                    "test",
                    "-Dtest=Nothing",
                    "-Dsurefire.failIfNoSpecifiedTests=false",
                ]);
                step(command, log)
            }
            Toolchain::Python => prepare_python(&sources, log),
            Toolchain::Go => {
                let mut command = Command::new("go");
                command
                    .current_dir(sources.join("go"))
                    .args(["build", "-o"]);
                command.arg(cache::directory("go")?).arg("./...");
                step(command, log)?;
                let mut command = Command::new("go");
                command
                    .current_dir(sources.join("go"))
                    .args(["vet", "./..."]);
                step(command, log)
            }
            Toolchain::Node => prepare_node(&sources, log),
        }
    }
}

fn prepare_python(sources: &Path, log: &Path) -> Result<(), PrepareError> {
    let home = python()?;
    if home.join(".complete").exists() {
        return Ok(());
    }
    let mut command = Command::new("python3");
    command.args(["-m", "venv"]).arg(&home);
    step(command, log)?;
    let mut command = Command::new(home.join("bin/pip"));
    command
        .args(["install", "--quiet", "--requirement"])
        .arg(sources.join("python/requirements.txt"));
    step(command, log)?;
    Ok(fs::write(home.join(".complete"), "")?)
}

fn prepare_node(sources: &Path, log: &Path) -> Result<(), PrepareError> {
    let home = node()?;
    if home.join(".complete").exists() {
        return Ok(());
    }
    fs::create_dir_all(&home)?;
    fs::copy(sources.join("node/package.json"), home.join("package.json"))?;
    let mut command = Command::new("npm");
    command
        .current_dir(&home)
        .args(["install", "--no-package-lock", "--no-audit", "--no-fund"]);
    step(command, log)?;
    Ok(fs::write(home.join(".complete"), "")?)
}

fn step(mut command: Command, log: &Path) -> Result<(), PrepareError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let answer = command
        .stdin(Stdio::null())
        .output()
        .map_err(|cause| PrepareError::Missing(format!("cannot start {program}: {cause}")))?;
    let text = [answer.stdout, answer.stderr].concat();
    fs::write(log, &text)?;
    if answer.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&text);
    match text
        .lines()
        .find(|line| NO_REGISTRY.iter().any(|sign| line.contains(sign)))
    {
        Some(line) => Err(PrepareError::Missing(line.trim().to_owned())),
        None => Err(PrepareError::Broken(format!(
            "{program}, see {}",
            log.display()
        ))),
    }
}
