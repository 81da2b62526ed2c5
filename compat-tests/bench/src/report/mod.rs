//! The report: what was measured, as a page for people and as JSON for programs.

mod markdown;

use crate::aims::{self, Aim};
use crate::error::Outcome;
use crate::machine::{self, Machine};
use crate::options::Options;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;

/// Figures by name; a name ends with its unit.
pub type Figures = BTreeMap<&'static str, f64>;

/// What one server did in one workload.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub group: &'static str,
    pub workload: String,
    pub server: &'static str,
    /// Every round that counts, in order.
    pub rounds: Vec<Figures>,
    /// Figure by figure the median of the rounds.
    pub median: Figures,
}

/// All of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub date: String,
    pub commit: String,
    pub command: String,
    pub seed: u64,
    pub rounds: usize,
    pub megabytes: usize,
    pub machine: Machine,
    pub load_after: f64,
    pub notes: Vec<String>,
    pub aims: Vec<Aim>,
    pub rows: Vec<Row>,
}

impl Report {
    pub fn new(options: &Options) -> Self {
        Self {
            date: machine::today(),
            commit: machine::commit(),
            command: options.command.clone(),
            seed: options.seed,
            rounds: options.rounds,
            megabytes: options.megabytes,
            machine: Machine::here(),
            load_after: 0.0,
            notes: Vec::new(),
            aims: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// A remark that stands above the tables.
    pub fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    /// Adds a row and says on standard error what it is, so that a long run shows that it lives.
    pub fn row(
        &mut self,
        group: &'static str,
        workload: &str,
        server: &'static str,
        rounds: Vec<Figures>,
    ) {
        let median = median(&rounds);
        let shown: Vec<_> = median
            .iter()
            .map(|(name, value)| format!("{name} {}", markdown::figure(*value)))
            .collect();
        eprintln!("{group} · {workload} · {server}: {}", shown.join(", "));
        self.rows.push(Row {
            group,
            workload: workload.to_owned(),
            server,
            rounds,
            median,
        });
    }

    /// The median of a figure, if it was measured.
    pub fn figure(&self, group: &str, workload: &str, server: &str, name: &str) -> Option<f64> {
        let row = self
            .rows
            .iter()
            .find(|row| row.group == group && row.workload == workload && row.server == server)?;
        row.median.get(name).copied()
    }

    /// Writes both files.
    pub fn write(&mut self, options: &Options) -> Outcome<()> {
        self.aims = aims::judge(self);
        self.load_after = machine::load();
        fs::create_dir_all(&options.reports)?;
        let path = |extension: &str| {
            options
                .reports
                .join(format!("{}.{extension}", options.name))
        };
        fs::write(path("md"), self.markdown())?;
        fs::write(path("json"), serde_json::to_string_pretty(self)? + "\n")?;
        Ok(())
    }

    /// The page.
    pub fn markdown(&self) -> String {
        markdown::page(self)
    }
}

fn median(rounds: &[Figures]) -> Figures {
    let mut values: BTreeMap<&'static str, Vec<f64>> = BTreeMap::new();
    for (name, value) in rounds.iter().flatten() {
        values.entry(name).or_default().push(*value);
    }
    values
        .into_iter()
        .map(|(name, values)| (name, middle(values)))
        .collect()
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len().is_multiple_of(2) {
        (values[half - 1] + values[half]) / 2.0
    } else {
        values[half]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_two_rounds_lies_between_them() {
        let rounds = [
            Figures::from([("MB/s", 1.0)]),
            Figures::from([("MB/s", 3.0)]),
        ];
        assert_eq!(median(&rounds), Figures::from([("MB/s", 2.0)]));
        assert_eq!(middle(vec![9.0, 1.0, 2.0]), 2.0);
    }
}
