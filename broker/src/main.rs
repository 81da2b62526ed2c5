//! The `vltava` binary.

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use storage::env::Env;
use tokio::signal::unix::{Signal, SignalKind, signal};
use vltava::cli::{Cli, Command, ConfigDocsArgs, ServeArgs};
use vltava::config::{Config, ConfigError, render};
use vltava::data_dir::DataDir;
use vltava::logging;
use vltava::metrics::Metrics;
use vltava::server::{Server, StartError};
use vltava::tools::{self, DumpError};

/// RocksDB's memory too, whose blocks come and go: with the C library's allocator a tenth of a
/// lookup's time went into pages that it gave back to the system and took again.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Exit codes; `--help` explains them.
const FAILED: u8 = 1;
const WRONG_USAGE: u8 = 2;
const NO_DATA_DIR: u8 = 3;
const NO_PORT: u8 = 4;
const DAMAGED: u8 = 5;

/// As shells report a process that a signal ended.
const ENDED_BY_SECOND_SIGNAL: i32 = 130;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(args) => run_server(&args),
        Command::DumpLog { path, records } => dump(&path, records),
        Command::Check {
            directory,
            data_dir,
        } => check(&directory.or(data_dir).unwrap_or_default()),
        Command::ConfigDocs(args) => write_docs(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "vltava: {}", with_causes(&*error));
            ExitCode::from(exit_code(&*error))
        }
    }
}

fn run_server(args: &ServeArgs) -> Result<(), Box<dyn Error>> {
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let (config, warnings) = Config::load(&args.layers(environment)?)?;
    logging::start(&config.logging())?;
    for warning in warnings {
        tracing::warn!("{}", warning.0);
    }
    let metrics = Metrics::new()?;
    metrics.install();
    logging::log_panics(&metrics);

    let workers = config.workers();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if workers.workers > 0 {
        runtime.worker_threads(workers.workers);
    }
    let runtime = runtime
        .max_blocking_threads(workers.disk_threads)
        .thread_name("vltava-worker")
        .enable_all()
        .build()?;
    runtime.block_on(serve(config, metrics))
}

async fn serve(config: Config, metrics: Metrics) -> Result<(), Box<dyn Error>> {
    // Before anything is written: a signal that comes while starting must not be missed.
    let mut signals = Signals::listen()?;
    let server = tokio::select! {
        started = Server::start(config, Env::real(), metrics) => started?,
        () = signals.next() => return Ok(()),
    };
    // Nobody may be reading any more; that is no reason to stop.
    let _ = writeln!(io::stdout(), "{}", server.addresses());
    signals.next().await;
    tokio::select! {
        () = server.stop() => Ok(()),
        () = signals.next() => {
            tracing::warn!("second signal, ending at once");
            std::process::exit(ENDED_BY_SECOND_SIGNAL)
        }
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn dump(path: &Path, records: bool) -> Result<(), Box<dyn Error>> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let dumped = tools::dump_log(&Env::real(), path, records, &mut out);
    // A reader that has seen enough closes the pipe.
    let _ = out.flush();
    match dumped {
        Err(DumpError::Output(_)) => Ok(()),
        other => Ok(other?),
    }
}

fn check(data_dir: &Path) -> Result<(), Box<dyn Error>> {
    // The claim keeps a broker from writing meanwhile.
    let data_dir = DataDir::claim_existing(data_dir).map_err(StartError::from)?;
    let report = tools::check(&Env::real(), data_dir.path(), &mut io::stdout().lock())?;
    match report.damaged {
        0 => Ok(()),
        damaged => Err(Damaged(damaged).into()),
    }
}

/// What `check` ends with when not everything is sound.
#[derive(Debug, thiserror::Error)]
#[error("{0} damaged, see above")]
struct Damaged(usize);

#[expect(
    clippy::disallowed_methods,
    reason = "a tool's files are no part of the data"
)]
fn write_docs(args: &ConfigDocsArgs) -> Result<(), Box<dyn Error>> {
    if args.list {
        // A reader that has seen enough closes the pipe.
        let _ = io::stdout().write_all(render::example_file().as_bytes());
        return Ok(());
    }
    for (path, text) in render::files() {
        let path = args.root.join(path);
        let is_current = std::fs::read_to_string(&path).is_ok_and(|found| found == text);
        if args.check && !is_current {
            return Err(out_of_date(&path).into());
        }
        if !is_current {
            std::fs::write(&path, text)?;
        }
    }
    Ok(())
}

fn out_of_date(path: &Path) -> String {
    format!(
        "{} is out of date: run `vltava config-docs`",
        path.display()
    )
}

/// The message of an error and of what caused it.
fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn exit_code(error: &(dyn Error + 'static)) -> u8 {
    if error.is::<ConfigError>() {
        return WRONG_USAGE;
    }
    if error.is::<Damaged>() {
        return DAMAGED;
    }
    match error.downcast_ref::<StartError>() {
        Some(StartError::DataDir(_) | StartError::Assemble(_)) => NO_DATA_DIR,
        Some(StartError::Bind { .. }) => NO_PORT,
        None => FAILED,
    }
}
