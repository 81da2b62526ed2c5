//! What the machine has for the broker.

use std::path::Path;

/// Where version 2 of Linux' control groups says what a container may take. Inside of a container
/// its own group is the root.
const LIMIT: &str = "/sys/fs/cgroup/memory.max";

/// Bytes of memory that the process may count on: the machine's, or less where a container is
/// limited to it.
pub fn memory_bytes() -> u64 {
    let system = rustix::system::sysinfo();
    // What a unit of it is differs between kernels, and its type between machines.
    let units = usize::try_from(system.totalram).unwrap_or(usize::MAX) as u64;
    let machine = units.saturating_mul(u64::from(system.mem_unit.max(1)));
    limit_in(Path::new(LIMIT)).map_or(machine, |limit| limit.min(machine))
}

/// None where there is no such file, or it sets no limit.
#[expect(
    clippy::disallowed_methods,
    reason = "the kernel's answer is no file of a disk"
)]
fn limit_in(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_a_container_is_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("memory.max");
        for (text, limit) in [("1073741824\n", Some(1 << 30)), ("max\n", None), ("", None)] {
            #[expect(clippy::disallowed_methods, reason = "a file as the kernel shows it")]
            std::fs::write(&path, text).expect("written");
            assert_eq!(limit_in(&path), limit, "{text:?}");
        }
        assert_eq!(limit_in(&directory.path().join("none")), None);
        assert!(memory_bytes() > 1 << 20);
    }
}
