//! One member's process.

use crate::account::{self, Range, Word};
use harness::process::Process;
use std::env;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// The client libraries that members are made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// librdkafka.
    Rdkafka,
    /// aiokafka, in Python.
    Aiokafka,
    /// franz-go.
    Franz,
}

/// What a member has said so far.
#[derive(Debug, Default)]
struct Said {
    committed: Vec<Range>,
    /// Sent and not answered.
    pending: Vec<Range>,
}

/// A running member. Dropping it stops it.
#[derive(Debug)]
pub struct Member {
    /// To kill, freeze and thaw it.
    pub process: Process,
    said: Arc<Mutex<Said>>,
    reader: Option<JoinHandle<()>>,
}

impl Member {
    /// Starts a member. `rdkafka` is the program of the member made with that library; the others come from the runner.
    ///
    /// # Errors
    /// When the process cannot be started.
    ///
    /// # Panics
    /// When the runner's variables are missing.
    pub fn start(library: Library, rdkafka: &Path, group: &str, topic: &str) -> io::Result<Self> {
        let mut command = command(library, rdkafka);
        command
            .args([group, topic])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut process = Process::adopt(&format!("{library:?}"), command)?;
        let output = process
            .child()
            .stdout
            .take()
            .ok_or_else(|| io::Error::other("no standard output"))?;
        let said = Arc::new(Mutex::new(Said::default()));
        let writer = Arc::clone(&said);
        let reader = Some(thread::spawn(move || listen(output, &writer)));
        Ok(Self {
            process,
            said,
            reader,
        })
    }

    /// How many commits were accepted so far.
    pub fn commits(&self) -> usize {
        self.said().committed.len()
    }

    /// Stops it and gives what it committed, and what it had sent without seeing an answer.
    pub fn end(mut self) -> (Vec<Range>, Vec<Range>) {
        self.process.thaw();
        self.process.kill();
        if let Some(reader) = self.reader.take() {
            // The pipe has ended with the process: everything it said is read.
            let _ = reader.join();
        }
        let mut said = self.said();
        (
            std::mem::take(&mut said.committed),
            std::mem::take(&mut said.pending),
        )
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn listen(output: ChildStdout, said: &Mutex<Said>) {
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        let Some((word, range)) = account::line(&line) else {
            continue;
        };
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        if word != Word::Committing {
            said.pending.retain(|pending| *pending != range);
        }
        match word {
            Word::Committing => said.pending.push(range),
            Word::Committed => said.committed.push(range),
            Word::Refused => {}
        }
    }
}

fn command(library: Library, rdkafka: &Path) -> Command {
    match library {
        Library::Rdkafka => Command::new(rdkafka),
        Library::Franz => Command::new(path("COMPAT_GO").join("member")),
        Library::Aiokafka => {
            let mut command = Command::new(path("COMPAT_PYTHON"));
            command
                .arg(path("COMPAT_SOURCES").join("python/member.py"))
                .env("PYTHONDONTWRITEBYTECODE", "1");
            command
        }
    }
}

fn path(variable: &str) -> PathBuf {
    env::var_os(variable)
        .map(PathBuf::from)
        .unwrap_or_else(|| panic!("set {variable}, or use compat-tests/run"))
}
