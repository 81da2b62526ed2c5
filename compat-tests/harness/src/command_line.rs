//! What the command line asks for.

use crate::suites::{self, Suite};
use harness::{Addresses, Target};

pub const HELP: &str = "usage: compat-tests/run [--target vltava|peers|given] [SUITE...]
       compat-tests/run list
       compat-tests/run up vltava|kafka|fluss

Runs suites of real clients (all of them when none is named) and prints one line for each, and the totals.

--target vltava  starts the broker of this checkout, or the binary named by VLTAVA_BIN (default)
--target peers   starts Apache Kafka for the Kafka suites and Apache Fluss for the Fluss suites
--target given   uses KAFKA_BOOTSTRAP, FLUSS_BOOTSTRAP, FLUSS_SASL_BOOTSTRAP and FLUSS_TABLET_BOOTSTRAP;
                 it is the default when one of the first two is set

A suite whose client cannot be downloaded is skipped and says so; with CI=true that is a failure. Downloads, builds and
logs are kept in ${VLTAVA_CACHE:-$HOME/.cache/vltava}.

up starts one server, prints the variables that point suites at it, and stops it when standard input ends.";

/// What to do.
#[derive(Debug)]
pub enum Order {
    Help,
    List,
    Up(Server),
    Run(Plan),
}

/// A server that `up` starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    Vltava,
    Kafka,
    Fluss,
}

/// Which suites run against what.
#[derive(Debug)]
pub struct Plan {
    pub target: Target,
    pub suites: Vec<&'static Suite>,
}

/// Reads the arguments behind the program's name.
pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Order, String> {
    let mut arguments = arguments.peekable();
    match arguments.peek().map(String::as_str) {
        Some("-h" | "--help" | "help") => return Ok(Order::Help),
        Some("list") => return Ok(Order::List),
        Some("up") => return server(arguments.nth(1).as_deref()).map(Order::Up),
        _ => {}
    }
    let mut target = default_target();
    let mut names = Vec::new();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--target" => target = target_named(arguments.next().as_deref())?,
            option if option.starts_with('-') => {
                return Err(format!("unknown option {option}\n{HELP}"));
            }
            _ => names.push(argument),
        }
    }
    Ok(Order::Run(Plan {
        target,
        suites: chosen(target, &names)?,
    }))
}

fn default_target() -> Target {
    let given = Addresses::from_env();
    if given.kafka.is_some() || given.fluss.is_some() {
        Target::Given
    } else {
        Target::Vltava
    }
}

fn target_named(name: Option<&str>) -> Result<Target, String> {
    match name {
        Some("vltava") => Ok(Target::Vltava),
        Some("peers") => Ok(Target::Peers),
        Some("given") => Ok(Target::Given),
        _ => Err("--target wants vltava, peers or given".to_owned()),
    }
}

fn server(name: Option<&str>) -> Result<Server, String> {
    match name {
        Some("vltava") => Ok(Server::Vltava),
        Some("kafka") => Ok(Server::Kafka),
        Some("fluss") => Ok(Server::Fluss),
        _ => Err("up wants vltava, kafka or fluss".to_owned()),
    }
}

/// The named suites in the order of the table; without names all that the target can serve.
fn chosen(target: Target, names: &[String]) -> Result<Vec<&'static Suite>, String> {
    if let Some(unknown) = names
        .iter()
        .find(|name| !suites::ALL.iter().any(|suite| suite.name == **name))
    {
        return Err(format!("no suite {unknown}; `run list` names them"));
    }
    let wanted = |suite: &&Suite| {
        if names.is_empty() {
            suite.runs_against(target)
        } else {
            names.iter().any(|name| name == suite.name)
        }
    };
    Ok(suites::ALL.iter().filter(wanted).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(arguments: &[&str]) -> Plan {
        match parse(arguments.iter().map(|argument| (*argument).to_owned())) {
            Ok(Order::Run(plan)) => plan,
            other => panic!("not a run: {other:?}"),
        }
    }

    #[test]
    fn without_names_the_peers_run_what_one_wire_can_serve() {
        let plan = run(&["--target", "peers"]);
        assert_eq!(plan.target, Target::Peers);
        assert!(plan.suites.iter().any(|suite| suite.name == "kafka-rust"));
        assert!(
            !plan
                .suites
                .iter()
                .any(|suite| suite.name.starts_with("cross"))
        );
    }

    #[test]
    fn an_unknown_suite_is_an_error() {
        assert!(parse(["nonsense".to_owned()].into_iter()).is_err());
    }
}
