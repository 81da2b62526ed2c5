//! Finds the sources of the fluss-rs that this workspace is locked to, and hands their tests' directory to `tests/own.rs`.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=../Cargo.lock");
    let cargo = env::var("CARGO").expect("cargo sets CARGO for build scripts");
    // A clean machine has the crates of its own platform, and no others.
    let target = env::var("TARGET").expect("cargo sets TARGET for build scripts");
    let answer = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", &target])
        .output()
        .expect("cargo metadata runs");
    assert!(
        answer.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&answer.stderr)
    );
    let text = String::from_utf8(answer.stdout).expect("cargo prints text");
    let manifest = text
        .split("\"manifest_path\":\"")
        .filter_map(|rest| rest.split('"').next())
        .find(|path| path.contains("/fluss-rs-1.0.0/"))
        .expect("fluss-rs is a dependency");
    let tests = Path::new(manifest)
        .parent()
        .expect("a manifest lies in a directory")
        .join("tests");
    println!("cargo::rustc-env=FLUSS_RS_TESTS={}", tests.display());
}
