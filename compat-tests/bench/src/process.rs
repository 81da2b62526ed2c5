//! What a server's process has used, from `/proc`.

use crate::error::Outcome;
use std::fs;

/// Linux counts processor time for `/proc` in hundredths of a second, on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor seconds, user and system, of all threads of the processes, ended ones included.
pub fn cpu_seconds(processes: &[u32]) -> Outcome<f64> {
    processes.iter().map(|id| cpu_seconds_of(*id)).sum()
}

fn cpu_seconds_of(process: u32) -> Outcome<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    parse_stat(&stat).ok_or_else(|| format!("/proc/{process}/stat has another form").into())
}

/// The program's name may hold spaces and brackets: fields are counted behind the last one.
fn parse_stat(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

/// Resident memory now, in MiB.
pub fn resident_mib(processes: &[u32]) -> Outcome<f64> {
    status(processes, "VmRSS:")
}

/// The most that was resident at any time, in MiB.
pub fn peak_mib(processes: &[u32]) -> Outcome<f64> {
    status(processes, "VmHWM:")
}

fn status(processes: &[u32], name: &str) -> Outcome<f64> {
    let mut sum = 0.0;
    for process in processes {
        let text = fs::read_to_string(format!("/proc/{process}/status"))?;
        let kib: Option<f64> = text
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        sum += kib.ok_or_else(|| format!("no {name} of process {process}"))? / 1024.0;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0";
        assert_eq!(parse_stat(stat), Some(2.0));
    }
}
