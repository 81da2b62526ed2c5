//! The tests that may fail against a target, each with its reason: `expected/TARGET.txt`.

use crate::results::{Outcome, Test};
use harness::{Target, cache};
use std::{fs, io};

/// Lines `SUITE TEST: reason`; blank lines and lines that begin with `#` are skipped.
#[derive(Debug, Default)]
pub struct Expected {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    suite: String,
    test: String,
}

impl Expected {
    /// The file of this target; addresses given by hand expect everything to pass.
    pub fn load(target: Target) -> io::Result<Self> {
        let path = cache::sources()?
            .join("expected")
            .join(format!("{}.txt", target.name()));
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text).map_err(|line| {
                io::Error::other(format!(
                    "{}: want `SUITE TEST: reason`: {line}",
                    path.display()
                ))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let lines = text
            .lines()
            .filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
        let entries = lines
            .map(|line| entry(line).ok_or_else(|| line.to_owned()))
            .collect::<Result<_, _>>()?;
        Ok(Self { entries })
    }

    /// Counts a failure that may happen as skipped. Returns the names of tests that may fail and passed, so that
    /// the list is kept short.
    pub fn apply(&self, suite: &str, tests: &mut [Test]) -> Vec<String> {
        let mut passed = Vec::new();
        for test in tests {
            if !self
                .entries
                .iter()
                .any(|entry| entry.suite == suite && entry.test == test.name)
            {
                continue;
            }
            match test.outcome {
                Outcome::Failed => test.outcome = Outcome::Skipped,
                Outcome::Passed => passed.push(test.name.clone()),
                Outcome::Skipped => {}
            }
        }
        passed
    }
}

fn entry(line: &str) -> Option<Entry> {
    let (suite, rest) = line.split_once(' ')?;
    let (test, reason) = rest.split_once(": ")?;
    (!reason.trim().is_empty()).then(|| Entry {
        suite: suite.to_owned(),
        test: test.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_failures_are_forgiven() {
        let expected =
            Expected::parse("# why\n\ngo TestA: not yet\ngo TestB: not yet\n").expect("parses");
        let test = |name: &str, outcome| Test {
            name: name.to_owned(),
            outcome,
        };
        let mut tests = [
            test("TestA", Outcome::Failed),
            test("TestB", Outcome::Passed),
            test("TestC", Outcome::Failed),
        ];
        assert_eq!(expected.apply("go", &mut tests), ["TestB"]);
        assert_eq!(
            tests.map(|test| test.outcome),
            [Outcome::Skipped, Outcome::Passed, Outcome::Failed]
        );
    }

    #[test]
    fn a_line_without_a_reason_is_refused() {
        assert!(Expected::parse("go TestA\n").is_err());
        assert!(Expected::parse("go TestA: \n").is_err());
    }
}
