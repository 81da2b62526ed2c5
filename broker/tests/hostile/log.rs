//! The broker's log lines, for what they must say.

use std::io::{self, Write};
use std::sync::Arc;

use parking_lot::Mutex;

/// Lines so far.
#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    /// Collects what is logged in this process from now on.
    pub fn collect() -> Lines {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing::Level::INFO)
            .with_writer(move || writer.clone());
        subscriber.init();
        lines
    }

    /// Checks that a line has all of these parts.
    pub fn must_have(&self, parts: &[&str]) {
        let lines = self.0.lock();
        let text = String::from_utf8_lossy(&lines);
        let found = text
            .lines()
            .any(|line| parts.iter().all(|part| line.contains(part)));
        let last: Vec<_> = text.lines().rev().take(3).collect();
        assert!(found, "no line has {parts:?}; the last ones are {last:#?}");
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
