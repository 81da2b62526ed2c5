//! Nothing here: `tests/own.rs` brings the suite.
