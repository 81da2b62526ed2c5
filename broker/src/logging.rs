//! The broker's own log, on standard error.

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt;

use crate::config::{LogFormat, LoggingConfig};
use crate::metrics::Metrics;

/// Starts the log of the process. Once only; later calls change nothing.
pub fn start(config: &LoggingConfig) -> Result<(), ParseError> {
    let filter = EnvFilter::builder().parse(&config.level)?;
    let builder = fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_target(true);
    // Fails only when a log was started before.
    let _ = match config.format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder
            .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
            .try_init(),
    };
    Ok(())
}

/// Has panics logged and counted. Those of a request end there: the connection that ran it answers
/// with an error of its wire.
pub fn log_panics(metrics: &Metrics) {
    let panics = metrics.panics();
    std::panic::set_hook(Box::new(move |panic| {
        panics.increment(1);
        let location = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("of an unknown kind");
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(location, message, %backtrace, "panic");
    }));
}
