//! Starting, killing and restarting `vltava serve`.

use crate::addresses::Addresses;
use crate::process::Process;
use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// A start includes recovery; a test's data directory is small.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// How to start the broker. The data directory is the caller's, so that it can start again on the same one.
#[derive(Clone, Debug)]
pub struct Vltava {
    /// The binary.
    pub program: PathBuf,
    /// Its data directory.
    pub data: PathBuf,
    /// `key=value` pairs for `--set`.
    pub settings: Vec<String>,
    /// Where standard output and error go.
    pub log: PathBuf,
}

/// A broker that answers. Dropping it stops it with SIGTERM.
#[derive(Debug)]
pub struct Running {
    /// Its process, to kill or freeze.
    pub process: Process,
    /// Where it listens.
    pub addresses: Addresses,
    /// From the start of the process to the ready line.
    pub start_time: Duration,
}

/// Why a start failed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The process could not be started, or its log not be written.
    #[error("cannot start: {0}")]
    Io(#[from] io::Error),
    /// It ended, or closed its standard output, before it was ready.
    #[error("ended before it was ready, see {}", log.display())]
    Ended {
        /// The log to look into.
        log: PathBuf,
    },
    /// It did not get ready in time.
    #[error("not ready within {} s, see {}", limit.as_secs(), log.display())]
    NotReady {
        /// How long was waited.
        limit: Duration,
        /// The log to look into.
        log: PathBuf,
    },
}

impl Vltava {
    /// Starts the broker, on free ports where the settings name none, and waits for its ready line.
    ///
    /// # Errors
    /// [`StartError`], with the log's path.
    pub fn start(&self) -> Result<Running, StartError> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)?;
        let mut command = Command::new(&self.program);
        command.arg("serve").arg("--data-dir").arg(&self.data);
        command.args(["--http-listen", "127.0.0.1:0"]);
        // The flags would win over listeners that the caller named.
        for (flag, key) in [
            ("--kafka-listen", "listeners="),
            ("--fluss-listen", "bind.listeners="),
        ] {
            if !self.settings.iter().any(|setting| setting.starts_with(key)) {
                command.args([flag, "127.0.0.1:0"]);
            }
        }
        for setting in &self.settings {
            command.arg("--set").arg(setting);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        let began = Instant::now();
        let mut process = Process::adopt("vltava", command)?;
        let output = process
            .child()
            .stdout
            .take()
            .ok_or_else(|| io::Error::other("no standard output"))?;
        let addresses = self.ready(output)?;
        Ok(Running {
            process,
            addresses,
            start_time: began.elapsed(),
        })
    }

    fn ready(&self, output: ChildStdout) -> Result<Addresses, StartError> {
        let (sender, receiver) = mpsc::channel();
        let log = self.log.clone();
        thread::spawn(move || forward(output, &log, &sender));
        receiver
            .recv_timeout(READY_LIMIT)
            .map_err(|cause| match cause {
                mpsc::RecvTimeoutError::Disconnected => StartError::Ended {
                    log: self.log.clone(),
                },
                mpsc::RecvTimeoutError::Timeout => StartError::NotReady {
                    limit: READY_LIMIT,
                    log: self.log.clone(),
                },
            })
    }
}

/// Reads the broker's output to its end, so that it never blocks on a full pipe.
fn forward(output: ChildStdout, log: &Path, ready: &mpsc::Sender<Addresses>) {
    let mut log = OpenOptions::new().append(true).open(log).ok();
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        if let Some(addresses) = Addresses::from_ready_line(&line) {
            let _ = ready.send(addresses);
        }
        if let Some(log) = &mut log {
            let _ = writeln!(log, "{line}");
        }
    }
}
