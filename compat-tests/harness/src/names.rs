//! Names that no other test, suite or earlier run has used, so that suites share one server.

use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// `prefix_<seconds in base 36>_<process>_<count>`. Underscores only: valid as topic, group, table and database name.
pub fn unique(prefix: &str) -> String {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let count = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}_{}_{}_{count}", base36(seconds), process::id())
}

fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    loop {
        digits.push(b"0123456789abcdefghijklmnopqrstuvwxyz"[(number % 36) as usize]);
        number /= 36;
        if number == 0 {
            break;
        }
    }
    digits.reverse();
    String::from_utf8_lossy(&digits).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_and_are_valid_on_both_wires() {
        let (one, two) = (unique("orders"), unique("orders"));
        assert_ne!(one, two);
        assert!(
            one.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'),
            "{one}"
        );
    }
}
