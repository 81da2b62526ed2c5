//! Runs suites one after the other and prints what came of them.

use crate::command_line::Plan;
use crate::expected::Expected;
use crate::results::{self, Outcome, Test};
use crate::servers::{Servers, vltava_program};
use crate::suites::{Runner, Suite};
use crate::toolchains::{self, PrepareError};
use harness::process::Process;
use harness::{Addresses, Target, cache};
use std::error::Error;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, fs};

/// How a suite came out.
enum Report {
    Ran(Vec<Test>),
    /// Its client is not to be had here.
    Skipped(String),
}

/// Where a suite's time goes: on a machine without builds most of it is compilers and downloads.
struct Clock {
    began: Instant,
    preparation: Duration,
}

impl Clock {
    fn start() -> Self {
        Self {
            began: Instant::now(),
            preparation: Duration::ZERO,
        }
    }

    fn prepared(&mut self) {
        self.preparation = self.began.elapsed();
    }

    fn testing(&self) -> Duration {
        self.began.elapsed().saturating_sub(self.preparation)
    }
}

#[derive(Default)]
struct Totals {
    passed: usize,
    failed: usize,
    skipped: usize,
}

/// True when nothing failed.
pub fn run(plan: &Plan) -> Result<bool, Box<dyn Error>> {
    let expected = Expected::load(plan.target)?;
    let mut servers = Servers::new(plan.target)?;
    let mut totals = Totals::default();
    // A suite that does not run on a developer's machine is a nuisance; in CI it would be a hole.
    let skips_fail = env::var("CI").is_ok_and(|value| value == "true");
    for suite in plan.suites.iter().copied() {
        let mut clock = Clock::start();
        let home = cache::directory("results")?
            .join(plan.target.name())
            .join(suite.name);
        let report = run_suite(suite, plan.target, &home, &mut servers, &mut clock)
            .unwrap_or_else(|error| Report::Ran(vec![failed(&format!("(suite) {error}"))]));
        match report {
            Report::Skipped(reason) => {
                println!(
                    "suite {}: passed 0, failed {}, skipped {}",
                    suite.name,
                    u8::from(skips_fail),
                    u8::from(!skips_fail)
                );
                if skips_fail {
                    println!(
                        "  FAILED {}: would be skipped without CI: {reason}",
                        suite.name
                    );
                    totals.failed += 1;
                } else {
                    println!("  SKIPPED {}: {reason}", suite.name);
                    totals.skipped += 1;
                }
            }
            Report::Ran(mut tests) => {
                let surprises = expected.apply(suite.name, &mut tests);
                print_suite(suite, &tests, &surprises, &home, &clock, &mut totals);
            }
        }
    }
    println!(
        "{} passed, {} failed, {} skipped",
        totals.passed, totals.failed, totals.skipped
    );
    Ok(totals.failed == 0)
}

fn print_suite(
    suite: &Suite,
    tests: &[Test],
    surprises: &[String],
    home: &Path,
    clock: &Clock,
    totals: &mut Totals,
) {
    let count = |outcome| tests.iter().filter(|test| test.outcome == outcome).count();
    let (passed, failed, skipped) = (
        count(Outcome::Passed),
        count(Outcome::Failed),
        count(Outcome::Skipped),
    );
    println!(
        "suite {}: passed {passed}, failed {failed}, skipped {skipped}",
        suite.name
    );
    for test in tests.iter().filter(|test| test.outcome == Outcome::Failed) {
        println!("  FAILED {} {}", suite.name, test.name);
    }
    for name in surprises {
        println!("  passes now, take it off the list: {} {name}", suite.name);
    }
    println!(
        "  {:.0} s after {:.0} s of preparation, log {}",
        clock.testing().as_secs_f64(),
        clock.preparation.as_secs_f64(),
        home.join("output.log").display()
    );
    totals.passed += passed;
    totals.failed += failed;
    totals.skipped += skipped;
}

fn failed(name: &str) -> Test {
    Test {
        name: name.to_owned(),
        outcome: Outcome::Failed,
    }
}

fn run_suite(
    suite: &Suite,
    target: Target,
    home: &Path,
    servers: &mut Servers,
    clock: &mut Clock,
) -> Result<Report, Box<dyn Error>> {
    if home.exists() {
        fs::remove_dir_all(home)?;
    }
    fs::create_dir_all(home.join("reports"))?;
    for toolchain in suite.toolchains() {
        match toolchain.prepare(&home.join("build.log")) {
            Ok(()) => {}
            Err(PrepareError::Missing(reason)) => return Ok(Report::Skipped(reason)),
            Err(error) => return Err(error.into()),
        }
    }
    let mut lent = servers.take(suite)?;
    clock.prepared();
    let tests = run_tests(suite, target, &lent.server.addresses(), home);
    let survived = lent.server.runs();
    servers.give_back(lent);
    let mut tests = tests?;
    if !survived {
        tests.push(failed("(server) ended during the suite"));
    }
    Ok(Report::Ran(tests))
}

fn run_tests(
    suite: &Suite,
    target: Target,
    addresses: &Addresses,
    home: &Path,
) -> Result<Vec<Test>, Box<dyn Error>> {
    let log = home.join("output.log");
    let mut command = command(suite, &home.join("reports"))?;
    command
        .envs(addresses.variables())
        .env("COMPAT_TARGET", target.name())
        // Some suites start programs written in other languages.
        .env("COMPAT_PYTHON", toolchains::python()?.join("bin/python"))
        .env("COMPAT_GO", cache::directory("go")?)
        .env("COMPAT_JAVA", toolchains::maven_build()?)
        .env("NODE_PATH", node_modules()?)
        .env("COMPAT_SOURCES", cache::sources()?);
    if suite.kills {
        command.env("COMPAT_VLTAVA", vltava_program()?);
    }
    // Test runners start processes of their own, which must not outlive a suite that takes too long.
    command.process_group(0);
    let mut process = Process::start(suite.name, command, &log)?;
    let status = process.wait(suite.limit);
    if status.is_none() {
        process.kill_group();
    }
    // Clients print what they receive: not always text.
    let output = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    let mut tests = results::read(suite.format(), &output, &home.join("reports"))?;
    let ran = tests.len();
    match status {
        None => tests.push(failed(&format!(
            "(suite) ran longer than {} s",
            suite.limit.as_secs()
        ))),
        Some(status)
            if !status.success() && tests.iter().all(|test| test.outcome != Outcome::Failed) =>
        {
            tests.push(failed(&format!("(suite) {status}")));
        }
        Some(_) => {}
    }
    if ran < suite.tests_min {
        tests.push(failed(&format!(
            "(suite) {ran} tests ran, there are at least {}",
            suite.tests_min
        )));
    }
    Ok(tests)
}

fn command(suite: &Suite, reports: &Path) -> Result<Command, Box<dyn Error>> {
    let sources = cache::sources()?;
    Ok(match suite.runner {
        Runner::Cargo(package) => {
            let mut command = Command::new("cargo");
            command.args(["test", "--locked", "--no-fail-fast", "--manifest-path"]);
            command.arg(sources.join("Cargo.toml")).args([
                "--package",
                package,
                "--",
                "--test-threads",
                "4",
            ]);
            command
        }
        Runner::Maven { module, classes } => {
            let mut command = Command::new("mvn");
            command
                .args(["-B", "-f"])
                .arg(sources.join("java/pom.xml"))
                .args(["-pl", module, "test"]);
            command.arg(format!(
                "-Dbuild.root={}",
                toolchains::maven_build()?.display()
            ));
            command.arg(format!("-Dreports={}", reports.display()));
            command.arg(format!("-Dtest={classes}"));
            command
        }
        Runner::Pytest(file) => {
            let mut command = Command::new(toolchains::python()?.join("bin/python"));
            command.current_dir(sources.join("python")).args([
                "-m",
                "pytest",
                "-v",
                "-p",
                "no:cacheprovider",
                file,
            ]);
            command.arg(format!(
                "--junitxml={}",
                reports.join("pytest.xml").display()
            ));
            command.env("PYTHONDONTWRITEBYTECODE", "1");
            command
        }
        Runner::Go(package) => {
            let mut command = Command::new("go");
            command
                .current_dir(sources.join("go"))
                .args(["test", "-v", "-count=1", package]);
            command
        }
        Runner::Node(file) => {
            let mut command = Command::new("node");
            command.args(["--test", "--test-reporter=junit"]);
            command.arg(format!(
                "--test-reporter-destination={}",
                reports.join("node.xml").display()
            ));
            command.args(["--test-reporter=spec", "--test-reporter-destination=stdout"]);
            command.arg(sources.join("node").join(file));
            command
        }
    })
}

fn node_modules() -> Result<PathBuf, Box<dyn Error>> {
    Ok(toolchains::node()?.join("node_modules"))
}
