//! Reads what test runners of five languages print into one list of outcomes.

use std::path::Path;
use std::{fs, io};

/// How one test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Failed,
    Skipped,
}

/// One test of a suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    pub name: String,
    pub outcome: Outcome,
}

/// How a suite reports its tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `test NAME ... ok` in the output.
    Cargo,
    /// `--- PASS: NAME` in the output (`go test -v`).
    Go,
    /// `*.xml` files in the suite's report directory (Surefire, pytest, node).
    JUnit,
}

/// The tests of a suite that has ended, sorted by name.
pub fn read(format: Format, output: &str, reports: &Path) -> io::Result<Vec<Test>> {
    let mut tests = match format {
        Format::Cargo => output.lines().filter_map(cargo_line).collect(),
        Format::Go => output.lines().filter_map(go_line).collect(),
        Format::JUnit => junit_files(reports)?,
    };
    tests.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(tests)
}

fn cargo_line(line: &str) -> Option<Test> {
    // The name of a test that should panic is followed by ` - should panic`.
    let (name, outcome) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    let outcome = match outcome {
        "ok" => Outcome::Passed,
        "FAILED" => Outcome::Failed,
        text if text.starts_with("ignored") => Outcome::Skipped,
        _ => return None,
    };
    Some(Test {
        name: name.to_owned(),
        outcome,
    })
}

fn go_line(line: &str) -> Option<Test> {
    // Parts of a test are indented: they count with their parent.
    let (outcome, rest) = line.strip_prefix("--- ")?.split_once(": ")?;
    let outcome = match outcome {
        "PASS" => Outcome::Passed,
        "FAIL" => Outcome::Failed,
        "SKIP" => Outcome::Skipped,
        _ => return None,
    };
    Some(Test {
        name: rest.split(' ').next()?.to_owned(),
        outcome,
    })
}

fn junit_files(reports: &Path) -> io::Result<Vec<Test>> {
    let mut tests = Vec::new();
    for entry in fs::read_dir(reports)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "xml") {
            tests.extend(junit(&fs::read_to_string(path)?));
        }
    }
    Ok(tests)
}

fn junit(text: &str) -> Vec<Test> {
    text.split("<testcase ").skip(1).map(junit_case).collect()
}

/// `case` begins behind `<testcase ` and ends before the next one.
fn junit_case(case: &str) -> Test {
    let head = case.split('>').next().unwrap_or(case);
    let class = attribute(head, "classname").unwrap_or_default();
    // Packages and paths say nothing that the suite's name does not.
    let class = class.rsplit(['.', '/']).next().unwrap_or_default();
    let name = attribute(head, "name").unwrap_or_default();
    let name = name.trim_end_matches("()").to_owned();
    let outcome = if case.contains("<failure") || case.contains("<error") {
        Outcome::Failed
    } else if case.contains("<skipped") {
        Outcome::Skipped
    } else {
        Outcome::Passed
    };
    // Node names no class, only `test`.
    let name = if class.is_empty() || class == "test" {
        name
    } else {
        format!("{class}::{name}")
    };
    Test { name, outcome }
}

fn attribute(head: &str, name: &str) -> Option<String> {
    // The blank keeps `classname` from answering for `name`.
    let head = format!(" {head}");
    let start = head.find(&format!(" {name}=\""))? + name.len() + 3;
    let value = head[start..].split('"').next()?;
    Some(
        value
            .replace("&quot;", "\"")
            .replace("&apos;", "'")
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&amp;", "&"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(name: &str, outcome: Outcome) -> Test {
        Test {
            name: name.to_owned(),
            outcome,
        }
    }

    #[test]
    fn cargo_output_is_read() {
        let output = "running 3 tests\ntest admin::makes ... ok\ntest log::reads ... FAILED\ntest x ... ignored, why\n";
        let found = read(Format::Cargo, output, Path::new("")).expect("read");
        let wanted = [
            test("admin::makes", Outcome::Passed),
            test("log::reads", Outcome::Failed),
            test("x", Outcome::Skipped),
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn go_output_counts_parts_with_their_parent() {
        let output = "=== RUN   TestGroups\n    --- PASS: TestGroups/joins (0.1s)\n--- FAIL: TestGroups (1.20s)\n";
        let found = read(Format::Go, output, Path::new("")).expect("read");
        assert_eq!(found, [test("TestGroups", Outcome::Failed)]);
    }

    #[test]
    fn junit_files_of_three_runners_are_read() {
        let text = r#"<testsuite><testcase name="reads()" classname="a.b.FetchTest" time="0.1"/>
<testcase classname="test_admin" name="test_makes"><failure message="x">y</failure></testcase>
<testcase name="it&apos;s quiet" time="1" classname="test"><skipped/></testcase></testsuite>"#;
        let wanted = [
            test("FetchTest::reads", Outcome::Passed),
            test("test_admin::test_makes", Outcome::Failed),
            test("it's quiet", Outcome::Skipped),
        ];
        assert_eq!(junit(text), wanted);
    }
}
