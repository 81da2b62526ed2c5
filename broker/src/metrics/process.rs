//! What the operating system says about the process.

use metrics::{Counter, Gauge};

use super::Metrics;
use super::table;

/// The process's own figures, read when somebody asks.
pub(super) struct ProcessMeters {
    cpu_seconds: Counter,
    resident_bytes: Gauge,
    open_files: Gauge,
    max_files: Gauge,
    threads: Gauge,
}

impl ProcessMeters {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            cpu_seconds: metrics.counter(&table::CPU_SECONDS, &[]),
            resident_bytes: metrics.gauge(&table::RESIDENT_BYTES, &[]),
            open_files: metrics.gauge(&table::OPEN_FILES, &[]),
            max_files: metrics.gauge(&table::MAX_FILES, &[]),
            threads: metrics.gauge(&table::THREADS, &[]),
        }
    }

    /// Reads the figures; where a system has no `/proc`, they stay at 0.
    #[expect(
        clippy::disallowed_methods,
        reason = "/proc is answered from memory and is no part of the data"
    )]
    pub(super) fn read(&self) {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        if let Some(kilobytes) = field(&status, "VmRSS:") {
            self.resident_bytes.set(kilobytes * 1024.0);
        }
        if let Some(threads) = field(&status, "Threads:") {
            self.threads.set(threads);
        }
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        if let Some(files) = field(&limits, "Max open files") {
            self.max_files.set(files);
        }
        if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
            self.open_files.set(files.count() as f64);
        }
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        if let Some(ticks) = cpu_ticks(&stat) {
            // Whole seconds: the exporter counts in integers. A rate over a minute is fine with it.
            self.cpu_seconds
                .absolute(ticks / rustix::param::clock_ticks_per_second());
        }
    }
}

/// The first number behind `name` at the start of a line.
fn field(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// User and system time of `/proc/self/stat`. The program's name, in brackets, may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_behind_any_program_name() {
        let stat = "1 (a) b) S 0 1 1 0 -1 4194560 1 2 3 4 700 300 0 0 20 0 1 0";
        assert_eq!(cpu_ticks(stat), Some(1000));
        assert_eq!(field("A: 1\nVmRSS:\t  52 kB\n", "VmRSS:"), Some(52.0));
    }
}
