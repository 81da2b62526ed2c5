//! The command line.

use std::path::PathBuf;

pub const HELP: &str = "usage: compat-tests/bench/run [OPTION...]

Measures the broker beside Apache Kafka and Apache Fluss and writes docs/reports/NAME.md and NAME.json.

--short            a few minutes: less data, fewer rounds (SHORT=1 does the same)
--part PART        kafka, fluss, pk (primary keys), cleaner or life (ready, memory, restart); may be
                   repeated; all by default
--only TEXT        only workloads whose name contains TEXT
--no-peer          the broker alone
--server TEXT      only servers whose name contains TEXT, such as Fluss or fsync
--rounds N         rounds of every workload, after one to warm up
--megabytes N      values in one run of a throughput workload
--rows N           rows of a table with a primary key, and records of a topic that is cleaned
--restart-gb X     size of the data directory that is restarted after kill -9
--seed N           seed of the records' contents
--name NAME        name of the report (default: bench, or bench-short)
--reports DIR      where the report goes (default: docs/reports of the checkout)

VLTAVA_BIN names the broker's binary; the script builds it in release mode when it is unset.";

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Kafka,
    Fluss,
    Life,
    Pk,
    Cleaner,
}

/// What to measure, and how much of it.
#[derive(Clone, Debug)]
pub struct Options {
    pub short: bool,
    pub parts: Vec<Part>,
    pub only: Option<String>,
    pub peer: bool,
    pub server: Option<String>,
    pub rounds: usize,
    pub megabytes: usize,
    pub rows: usize,
    pub restart_gb: f64,
    pub seed: u64,
    pub name: String,
    pub reports: PathBuf,
    pub command: String,
}

impl Options {
    /// Whether the workload `name` is wanted.
    pub fn wants(&self, name: &str) -> bool {
        self.only
            .as_ref()
            .is_none_or(|text| name.contains(text.as_str()))
    }

    /// Whether the server `name` is wanted.
    pub fn wants_server(&self, name: &str) -> bool {
        self.server
            .as_ref()
            .is_none_or(|text| name.contains(text.as_str()))
    }

    /// One of two values, by the length of the run.
    pub fn scaled<T>(&self, short: T, full: T) -> T {
        if self.short { short } else { full }
    }
}

/// Reads the arguments behind the program's name; `None` asks for help.
pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let arguments: Vec<String> = arguments.collect();
    let short = std::env::var("SHORT").is_ok_and(|value| !value.is_empty() && value != "0")
        || arguments.iter().any(|argument| argument == "--short");
    let mut options = Options {
        short,
        parts: Vec::new(),
        only: None,
        peer: true,
        server: None,
        rounds: if short { 2 } else { 3 },
        megabytes: if short { 128 } else { 512 },
        rows: if short { 200_000 } else { 10_000_000 },
        restart_gb: if short { 1.0 } else { 10.0 },
        seed: 1,
        name: if short { "bench-short" } else { "bench" }.to_owned(),
        reports: harness::cache::sources()
            .map_err(|error| error.to_string())?
            .join("../docs/reports"),
        command: format!(
            "make bench{} ARGS=\"{}\"",
            if short { " SHORT=1" } else { "" },
            arguments.join(" ")
        ),
    };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || {
            rest.next()
                .cloned()
                .ok_or(format!("{argument} wants a value"))
        };
        match argument.as_str() {
            "-h" | "--help" => return Ok(None),
            "--short" => {}
            "--no-peer" => options.peer = false,
            "--server" => options.server = Some(value()?),
            "--part" => options.parts.push(part(&value()?)?),
            "--only" => options.only = Some(value()?),
            "--rounds" => options.rounds = number(&value()?)?,
            "--megabytes" => options.megabytes = number(&value()?)?,
            "--rows" => options.rows = number(&value()?)?,
            "--restart-gb" => options.restart_gb = number(&value()?)?,
            "--seed" => options.seed = number(&value()?)?,
            "--name" => options.name = value()?,
            "--reports" => options.reports = value()?.into(),
            _ => return Err(format!("unknown option {argument}\n{HELP}")),
        }
    }
    if options.parts.is_empty() {
        options.parts = vec![
            Part::Life,
            Part::Kafka,
            Part::Fluss,
            Part::Pk,
            Part::Cleaner,
        ];
    }
    Ok(Some(options))
}

fn part(name: &str) -> Result<Part, String> {
    match name {
        "kafka" => Ok(Part::Kafka),
        "fluss" => Ok(Part::Fluss),
        "life" => Ok(Part::Life),
        "pk" => Ok(Part::Pk),
        "cleaner" => Ok(Part::Cleaner),
        _ => Err(format!("no part {name}: kafka, fluss, pk, cleaner or life")),
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("not a number: {text}"))
}
