//! A producer of any client library as a program: it sends what it is told, with the library's own partitioner,
//! idempotently, retrying without end, and says what came of each record.
//!
//! A program is started as `PROGRAM [LIBRARY] SERVER`. It reads lines `TOPIC⇥KEY⇥VALUE`, in which `-` is a null, sends a
//! record for each, and prints `ok N` or `failed N REASON` for the N-th line, from 0, in any order. At the end of its
//! input it waits for what is under way and ends.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use crate::process::Process;
use crate::programs;

/// The client libraries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Library {
    /// kafka-clients, Java.
    Java,
    /// librdkafka, by way of confluent-kafka.
    Librdkafka,
    /// sarama, Go.
    Sarama,
    /// franz-go.
    FranzGo,
    /// kafkajs.
    KafkaJs,
    /// kafka-python.
    KafkaPython,
    /// aiokafka, Python.
    Aiokafka,
}

impl Library {
    /// All of them.
    pub const ALL: [Library; 7] = [
        Library::Java,
        Library::Librdkafka,
        Library::Sarama,
        Library::FranzGo,
        Library::KafkaJs,
        Library::KafkaPython,
        Library::Aiokafka,
    ];

    fn command(self) -> Command {
        let (mut command, name) = match self {
            Library::Java => return programs::java("producer", "Producer"),
            Library::KafkaJs => return programs::node("producer.cjs"),
            Library::Sarama => (programs::go("producer"), "sarama"),
            Library::FranzGo => (programs::go("producer"), "franz"),
            Library::Librdkafka => (programs::python("producer.py"), "librdkafka"),
            Library::KafkaPython => (programs::python("producer.py"), "kafka-python"),
            Library::Aiokafka => (programs::python("producer.py"), "aiokafka"),
        };
        command.arg(name);
        command
    }
}

/// What came of a record: its number, and why it failed finally if it did.
type Outcome = (usize, Result<(), String>);

/// A running producer. Dropping it stops it.
#[derive(Debug)]
pub struct Producer {
    process: Process,
    input: BufWriter<ChildStdin>,
    outcomes: Receiver<Outcome>,
    sent: usize,
    told: Told,
}

/// What is known of the records, by their numbers.
#[derive(Debug, Default)]
struct Told {
    acknowledged: BTreeSet<usize>,
    failed: BTreeMap<usize, String>,
}

impl Told {
    fn take(&mut self, (number, outcome): Outcome) {
        match outcome {
            Ok(()) => drop(self.acknowledged.insert(number)),
            Err(reason) => drop(self.failed.insert(number, reason)),
        }
    }

    fn count(&self) -> usize {
        self.acknowledged.len() + self.failed.len()
    }
}

impl Producer {
    /// Starts the program of a library.
    ///
    /// # Panics
    /// When it cannot be started, or the runner's variables are missing.
    pub fn start(library: Library, server: &str) -> Producer {
        let mut command = library.command();
        command
            .arg(server)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let process = Process::adopt(&format!("{library:?}"), command);
        let mut process = process.expect("the program starts");
        let input = process.child().stdin.take().expect("it was asked for");
        let output = process.child().stdout.take().expect("it was asked for");
        let (sender, outcomes) = mpsc::channel();
        thread::spawn(move || listen(output, &sender));
        Producer {
            process,
            input: BufWriter::new(input),
            outcomes,
            sent: 0,
            told: Told::default(),
        }
    }

    /// Has a record sent, at the next [`Producer::flush`] or [`Producer::wait`] at the latest.
    ///
    /// # Errors
    /// When the program has ended.
    pub fn send(&mut self, topic: &str, key: Option<&str>, value: Option<&str>) -> io::Result<()> {
        let (key, value) = (key.unwrap_or("-"), value.unwrap_or("-"));
        writeln!(self.input, "{topic}\t{key}\t{value}")?;
        self.sent += 1;
        Ok(())
    }

    /// How many records are under way.
    pub fn open(&self) -> usize {
        self.sent - self.told.count()
    }

    /// How many records were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.told.acknowledged.len()
    }

    /// Has the program know of all records.
    ///
    /// # Errors
    /// When it has ended.
    pub fn flush(&mut self) -> io::Result<()> {
        self.input.flush()
    }

    /// Waits until something came of a record, and takes all that is known. False when `limit` passed first.
    ///
    /// # Errors
    /// When the program has ended.
    pub fn wait(&mut self, limit: Duration) -> io::Result<bool> {
        self.input.flush()?;
        match self.outcomes.recv_timeout(limit) {
            Ok(outcome) => self.told.take(outcome),
            Err(mpsc::RecvTimeoutError::Timeout) => return Ok(false),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let text = format!("{} ended", self.process.name());
                return Err(io::Error::other(text));
            }
        }
        while let Ok(outcome) = self.outcomes.try_recv() {
            self.told.take(outcome);
        }
        Ok(true)
    }

    /// Kills it; gives the numbers of the records that were acknowledged. The others may be written or not.
    pub fn kill(mut self) -> BTreeSet<usize> {
        self.process.kill();
        // What it said ends with it.
        while let Ok(outcome) = self.outcomes.recv() {
            self.told.take(outcome);
        }
        self.told.acknowledged
    }

    /// Waits for all records and the end of the program; gives those that failed finally, with the reasons.
    ///
    /// # Errors
    /// When the program fails, or does not end within `limit`, or says nothing of a record.
    pub fn finish(self, limit: Duration) -> io::Result<BTreeMap<usize, String>> {
        let Producer {
            mut process,
            mut input,
            outcomes,
            sent,
            mut told,
        } = self;
        input.flush()?;
        // The end of its input.
        drop(input);
        let began = Instant::now();
        let left = || limit.saturating_sub(began.elapsed());
        while let Ok(outcome) = outcomes.recv_timeout(left()) {
            told.take(outcome);
        }
        match process.wait(left()) {
            Some(status) if status.success() && told.count() == sent => Ok(told.failed),
            status => Err(io::Error::other(format!(
                "{} ended with {status:?}, {} of {sent} records are open",
                process.name(),
                sent - told.count(),
            ))),
        }
    }
}

fn listen(output: ChildStdout, outcomes: &Sender<Outcome>) {
    let mut output = BufReader::new(output);
    let mut line = String::new();
    while output.read_line(&mut line).is_ok_and(|read| read > 0) {
        // What a program that is killed has half said is nothing.
        let Some(whole) = line.strip_suffix('\n') else {
            return;
        };
        let outcome = read(whole).unwrap_or_else(|| panic!("not a line of a producer: {whole}"));
        if outcomes.send(outcome).is_err() {
            return;
        }
        line.clear();
    }
}

fn read(line: &str) -> Option<Outcome> {
    let (word, rest) = line.split_once(' ')?;
    match word {
        "ok" => Some((rest.parse().ok()?, Ok(()))),
        "failed" => {
            let (number, reason) = rest.split_once(' ')?;
            Some((number.parse().ok()?, Err(reason.to_owned())))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_say_what_came_of_a_record() {
        assert_eq!(read("ok 17"), Some((17, Ok(()))));
        let failed = read("failed 3 broker: no such topic");
        assert_eq!(failed, Some((3, Err("broker: no such topic".to_owned()))));
        assert_eq!(read("okay 3"), None);
        assert_eq!(read("failed x y"), None);
    }
}
