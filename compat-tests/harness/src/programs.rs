//! Programs in the languages of the client libraries, which suites start. The runner has built them and says where they
//! lie.

use std::env;
use std::path::PathBuf;
use std::process::Command;

/// A program of `go/`.
///
/// # Panics
/// As all of these: when the runner's variables are missing, as a test should.
pub fn go(name: &str) -> Command {
    Command::new(path("COMPAT_GO").join(name))
}

/// A program of `node/`.
pub fn node(file: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(path("COMPAT_SOURCES").join("node").join(file));
    command
}

/// A program of `python/`.
pub fn python(file: &str) -> Command {
    let mut command = Command::new(path("COMPAT_PYTHON"));
    command
        .arg(path("COMPAT_SOURCES").join("python").join(file))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// A class of `java/MODULE`, with the jars that the module's build has put beside it.
pub fn java(module: &str, class: &str) -> Command {
    let home = path("COMPAT_JAVA").join(module);
    let mut command = Command::new("java");
    command
        .args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"])
        .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=error")
        // Arrow reads direct buffers by reflection.
        .arg("--add-opens=java.base/java.nio=ALL-UNNAMED")
        .arg("-cp")
        .arg(format!("{0}/classes:{0}/jars/*", home.display()))
        .arg(format!("vltava.compat.{class}"));
    command
}

fn path(variable: &str) -> PathBuf {
    env::var_os(variable)
        .map(PathBuf::from)
        .unwrap_or_else(|| panic!("set {variable}, or use compat-tests/run"))
}
