//! The tools that look at a data directory without a broker: `dump-log` and `check`.

mod check;
mod dump_log;

pub use check::{CheckError, Report, check};
pub use dump_log::{DumpError, dump_log};

#[cfg(test)]
mod tests;
