//! The shape of the workspace: which crate may use which, and under which licences the
//! dependencies are.

#![allow(clippy::disallowed_methods, reason = "tests use the real world")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// The layers: each crate with those it may use.
const DIRECTIONS: &[(&str, &[&str])] = &[
    ("vltava-protocol", &[]),
    ("vltava-storage", &["vltava-protocol"]),
    ("vltava-tiering", &["vltava-protocol", "vltava-storage"]),
    (
        "vltava",
        &["vltava-protocol", "vltava-storage", "vltava-tiering"],
    ),
];

/// Heavy or wire-bound libraries with the crates that may use them directly. Tests may use any.
const HOMES: &[(&str, &[&str])] = &[
    ("prost", &["vltava-protocol", "vltava"]),
    ("kafka-protocol", &["vltava-protocol", "vltava"]),
    ("redb", &["vltava-storage"]),
    ("object_store", &["vltava-tiering"]),
    ("axum", &["vltava"]),
    ("clap", &["vltava"]),
];

/// Licences that ask for no more than being named.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

fn metadata() -> Value {
    let version = Command::new("rustc")
        .arg("-vV")
        .output()
        .expect("rustc runs");
    let version = String::from_utf8(version.stdout).expect("text");
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .expect("a host");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--offline"])
        .args(["--filter-platform", host])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn packages(metadata: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let packages = metadata["packages"].as_array().expect("packages").iter();
    packages.map(|package| (package["name"].as_str().expect("a name"), package))
}

/// What a package uses outside its tests.
fn dependencies(package: &Value) -> BTreeSet<&str> {
    let all = package["dependencies"]
        .as_array()
        .expect("dependencies")
        .iter();
    all.filter(|dependency| dependency["kind"] != "dev")
        .map(|dependency| dependency["name"].as_str().expect("a name"))
        .collect()
}

#[test]
fn the_crates_use_each_other_downwards_only() {
    let metadata = metadata();
    let ours: BTreeMap<_, _> = packages(&metadata)
        .filter(|(name, _)| name.starts_with("vltava"))
        .collect();
    let known: BTreeSet<_> = DIRECTIONS.iter().map(|(name, _)| *name).collect();
    assert_eq!(ours.keys().copied().collect::<BTreeSet<_>>(), known);
    for (name, allowed) in DIRECTIONS {
        for used in dependencies(ours[name])
            .iter()
            .filter(|used| known.contains(*used))
        {
            assert!(allowed.contains(used), "{name} must not use {used}");
        }
    }
}

#[test]
fn heavy_libraries_have_their_homes() {
    let metadata = metadata();
    for (name, package) in packages(&metadata).filter(|(name, _)| name.starts_with("vltava")) {
        let used = dependencies(package);
        for (library, homes) in HOMES {
            let stray = used.contains(library) && !homes.contains(&name);
            assert!(!stray, "{name} must not use {library}");
        }
    }
}

#[test]
fn there_is_one_arrow() {
    let metadata = metadata();
    let versions: BTreeSet<_> = packages(&metadata)
        .filter(|(name, _)| *name == "arrow-array")
        .map(|(_, package)| package["version"].as_str().expect("a version"))
        .collect();
    assert_eq!(versions.len(), 1, "{versions:?}");
}

#[test]
fn every_dependency_has_a_licence_that_we_accept() {
    let metadata = metadata();
    for (name, package) in packages(&metadata) {
        let licence = package["license"].as_str().unwrap_or("none");
        assert!(is_acceptable(licence), "{name} is under {licence}");
    }
}

/// True when one alternative of the expression consists of accepted licences. Some packages write
/// `/` for `OR`.
fn is_acceptable(expression: &str) -> bool {
    let plain = expression.replace('/', " OR ").replace(['(', ')'], " ");
    // Brackets stand only around alternatives that are joined with AND, as in
    // `(MIT OR Apache-2.0) AND Unicode-3.0`: then every part must be accepted.
    if expression.contains('(') {
        return plain
            .split(" AND ")
            .flat_map(|part| part.split(" OR "))
            .all(is_accepted);
    }
    plain
        .split(" OR ")
        .any(|alternative| alternative.split(" AND ").all(is_accepted))
}

fn is_accepted(licence: &str) -> bool {
    LICENCES.contains(
        &licence
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .as_str(),
    )
}

#[test]
fn licences_are_judged_as_expressions() {
    assert!(is_acceptable("GPL-3.0 OR MIT"));
    assert!(is_acceptable("Unlicense/MIT"));
    assert!(is_acceptable("(MIT OR Apache-2.0) AND Unicode-3.0"));
    assert!(!is_acceptable("MIT AND GPL-3.0"));
    assert!(!is_acceptable("none"));
}
