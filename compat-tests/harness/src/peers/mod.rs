//! The real Apache Kafka and Apache Fluss, from their published jars: what the broker is compared with.

mod fluss;
mod jars;
mod kafka;

pub use fluss::{FlussOptions, FlussPeer};
pub use jars::{FetchError, fetch};
pub use kafka::{KafkaOptions, KafkaPeer};

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// JVMs start in 2 to 5 seconds here; a loaded machine takes longer.
const READY_LIMIT: Duration = Duration::from_secs(120);

/// Why a peer did not start.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// Its jars could not be had.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A file or a process failed.
    #[error("cannot start: {0}")]
    Io(#[from] io::Error),
    /// It ended, or did not answer in time.
    #[error("{name} does not answer, see {}", log.display())]
    NoAnswer {
        /// Which process.
        name: &'static str,
        /// The log to look into.
        log: PathBuf,
    },
}

/// log4j2 settings: everything at INFO on standard output, which goes to the peer's log file.
const LOG4J: &str = "status = error
rootLogger.level = INFO
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{HH:mm:ss.SSS} %-5p %c{1} %m%n
";
