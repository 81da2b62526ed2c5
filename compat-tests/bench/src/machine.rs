//! What the figures depend on: the machine, and the commit.

use serde::Serialize;
use std::fs;
use std::process::Command;

/// The facts at the head of a report.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    pub processor: String,
    pub cores: usize,
    pub memory_gib: f64,
    pub kernel: String,
    /// How busy the machine was with other things when the run began (load average of a minute).
    pub load_before: f64,
}

impl Machine {
    pub fn here() -> Self {
        let memory_kib = field("/proc/meminfo", "MemTotal")
            .and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
        Self {
            processor: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gib: memory_kib.unwrap_or_default() / 1024.0 / 1024.0,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_before: load(),
        }
    }
}

/// The load average of the last minute.
pub fn load() -> f64 {
    let text = read("/proc/loadavg");
    text.split_whitespace()
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or_default()
}

/// The commit of the checkout, with `+` when files differ from it.
pub fn commit() -> String {
    let git = |arguments: &[&str]| {
        let answer = Command::new("git")
            .arg("-C")
            .arg(harness::cache::sources().ok()?)
            .args(arguments)
            .output()
            .ok()?;
        Some(String::from_utf8_lossy(&answer.stdout).trim().to_owned())
    };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])
        .is_some_and(|text| !text.is_empty());
    format!(
        "{}{}",
        git(&["rev-parse", "--short", "HEAD"]).unwrap_or_default(),
        if changed { "+" } else { "" }
    )
}

/// Today, as `date` writes it.
pub fn today() -> String {
    let answer = Command::new("date")
        .args(["-u", "+%Y-%m-%d %H:%M UTC"])
        .output();
    answer
        .map(|answer| String::from_utf8_lossy(&answer.stdout).trim().to_owned())
        .unwrap_or_default()
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = read(path);
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
