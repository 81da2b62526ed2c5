//! The report as a page: facts, aims, and one table for each group of workloads.

use super::{Report, Row};
use crate::servers;
use std::fmt::Write;

/// Figures in the order of their columns; others follow.
const COLUMNS: &[&str] = &[
    "MB/s",
    "records/s",
    "p50 ms",
    "p99 ms",
    "p99.9 ms",
    "CPU s/GB",
    "records/CPU s",
    "batches/fsync",
    "MB sent",
    "sent/stored",
];

pub fn page(report: &Report) -> String {
    let mut page = String::new();
    // Writing to a string does not fail.
    let _ = write_page(&mut page, report);
    page
}

fn write_page(page: &mut String, report: &Report) -> std::fmt::Result {
    let machine = &report.machine;
    writeln!(page, "# Beside Apache Kafka and Apache Fluss\n")?;
    writeln!(
        page,
        "Made by `{}` on {} at commit {}.\n",
        report.command.trim(),
        report.date,
        report.commit
    )?;
    writeln!(
        page,
        "{}, {} cores, {:.0} GiB, Linux {}; load average {:.1} before and {:.1} after. Seed {}; {} rounds in turn after one \
         to warm up, {} MB of values in a round; medians. Behind a figure stands its ratio to the peer's. CPU is the \
         server's processor time for a GB (10⁹ bytes) of values.\n",
        machine.processor,
        machine.cores,
        machine.memory_gib,
        machine.kernel,
        machine.load_before,
        report.load_after,
        report.seed,
        report.rounds,
        report.megabytes
    )?;
    for note in &report.notes {
        writeln!(page, "- {note}")?;
    }
    if !report.aims.is_empty() {
        writeln!(
            page,
            "\n## Aims\n\n| aim | reached | figure |\n|---|---|---|"
        )?;
        for aim in &report.aims {
            writeln!(
                page,
                "| {} | {} | {} |",
                aim.text,
                if aim.reached { "yes" } else { "**no**" },
                aim.figure
            )?;
        }
    }
    let mut groups: Vec<&str> = Vec::new();
    for row in &report.rows {
        if !groups.contains(&row.group) {
            groups.push(row.group);
        }
    }
    for group in groups {
        let rows: Vec<&Row> = report
            .rows
            .iter()
            .filter(|row| row.group == group)
            .collect();
        table(page, group, &rows)?;
    }
    Ok(())
}

fn table(page: &mut String, group: &str, rows: &[&Row]) -> std::fmt::Result {
    let mut columns: Vec<&str> = COLUMNS.to_vec();
    for name in rows.iter().flat_map(|row| row.median.keys()) {
        if !columns.contains(name) {
            columns.push(name);
        }
    }
    columns.retain(|column| rows.iter().any(|row| row.median.contains_key(column)));
    writeln!(
        page,
        "\n## {group}\n\n| workload | server | {} |",
        columns.join(" | ")
    )?;
    writeln!(page, "|---|---|{}", "--:|".repeat(columns.len()))?;
    for row in rows {
        write!(page, "| {} | {} |", row.workload, row.server)?;
        let is_peer = |other: &&&Row| {
            other.workload == row.workload
                && [servers::KAFKA, servers::FLUSS].contains(&other.server)
        };
        let peer = rows
            .iter()
            .find(is_peer)
            .filter(|peer| peer.server != row.server);
        for column in &columns {
            let Some(value) = row.median.get(column) else {
                write!(page, " |")?;
                continue;
            };
            write!(page, " {}", figure(*value))?;
            if let Some(other) = peer
                .and_then(|peer| peer.median.get(column))
                .filter(|other| **other > 0.0)
            {
                write!(page, " ({:.2}×)", value / other)?;
            }
            write!(page, " |")?;
        }
        writeln!(page)?;
    }
    Ok(())
}

/// Three digits that count, whatever the size.
pub fn figure(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
