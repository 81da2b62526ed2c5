//! `bench`: runs the broker and its peers in turn on this machine and writes a report with ratios.
//!
//! Every workload runs on each server in turn, several rounds (A B A B), and the medians of the rounds are compared:
//! throughput of one machine moves by more than a factor of two between runs of the same thing, CPU time per GB by
//! 5 to 20 %. Nothing here fails because of a figure; the report says of each aim whether it was reached.

mod aims;
mod cleaner;
mod error;
mod fluss;
mod kafka;
mod latency;
mod life;
mod machine;
mod options;
mod pk;
mod process;
mod report;
mod scrape;
mod servers;

use error::Outcome;
use options::{Options, Part};
use report::Report;
use std::process::ExitCode;

fn main() -> ExitCode {
    match options::parse(std::env::args().skip(1)) {
        Ok(None) => {
            println!("{}", options::HELP);
            ExitCode::SUCCESS
        }
        Ok(Some(options)) => match run(&options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("bench: {error}");
                ExitCode::FAILURE
            }
        },
        Err(message) => {
            eprintln!("bench: {message}");
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> Outcome<()> {
    let mut report = Report::new(options);
    for part in &options.parts {
        let outcome = match part {
            Part::Kafka => kafka::run(options, &mut report),
            Part::Fluss => fluss::run(options, &mut report),
            Part::Life => life::run(options, &mut report),
            Part::Cleaner => cleaner::run(options, &mut report),
            Part::Pk => pk::run(options, &mut report),
        };
        // What was measured is worth a report even when a later part fails.
        if let Err(error) = outcome {
            eprintln!("bench: {part:?}: {error}");
            report.note(format!("{part:?} did not finish: {error}"));
        }
        report.write(options)?;
    }
    println!("{}", report.markdown());
    Ok(())
}
