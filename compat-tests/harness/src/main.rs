//! `compat`: runs the suites of real clients, and starts servers for other uses.

mod command_line;
mod expected;
mod results;
mod runner;
mod servers;
mod suites;
mod toolchains;
mod up;

use std::process::ExitCode;

fn main() -> ExitCode {
    let outcome = match command_line::parse(std::env::args().skip(1)) {
        Ok(command_line::Order::Help) => {
            println!("{}", command_line::HELP);
            Ok(true)
        }
        Ok(command_line::Order::List) => {
            for suite in suites::ALL {
                println!("{:18} {}", suite.name, suite.about);
            }
            Ok(true)
        }
        Ok(command_line::Order::Up(server)) => up::up(server).map(|()| true),
        Ok(command_line::Order::Run(plan)) => runner::run(&plan),
        Err(message) => Err(message.into()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("compat: {error}");
            ExitCode::from(2)
        }
    }
}
