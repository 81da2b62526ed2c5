use std::collections::{BTreeSet, HashSet};

use super::*;

#[test]
fn every_metric_has_its_own_name_in_prometheus_form() {
    let mut seen = HashSet::new();
    for metric in all() {
        assert!(seen.insert(metric.name), "{} is there twice", metric.name);
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(metric.name.chars().all(legal), "{}", metric.name);
        assert!(metric.help.ends_with('.'), "{}", metric.name);
        let is_total = metric.name.ends_with("_total");
        assert_eq!(
            is_total,
            metric.kind == MetricKind::Counter,
            "{}",
            metric.name
        );
    }
}

/// Files of Rust below a directory.
fn sources(directory: &std::path::Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        // The table itself counts nothing.
        if path.ends_with("metrics/table") || path.ends_with("metrics/table.rs") {
            continue;
        }
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(std::fs::read_to_string(&path).expect("a text"));
        }
    }
}

#[test]
fn what_the_table_names_is_counted_somewhere_and_nothing_else_is() {
    let root = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut texts = Vec::new();
    for part in ["storage/src", "tiering/src", "broker/src"] {
        sources(&root.join(part), &mut texts);
    }
    let texts = texts.concat();
    for metric in BY_NAME {
        let quoted = format!("\"{}\"", metric.name);
        assert!(texts.contains(&quoted), "nobody counts {}", metric.name);
    }
    let known: HashSet<&str> = all().map(|metric| metric.name).collect();
    for macro_name in ["counter!(", "gauge!(", "histogram!("] {
        for used in texts.split(macro_name).skip(1) {
            let Some(name) = used.trim_start().strip_prefix('"') else {
                continue;
            };
            let name = name.split('"').next().expect("a first part");
            assert!(known.contains(name), "{name} is not in the table");
        }
    }
}

/// The names in a text of PromQL that look like metrics.
fn names(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| {
            ["kafka_", "fluss_", "vltava_", "process_"]
                .iter()
                .any(|p| word.starts_with(p))
        })
        .map(|word| {
            let of_histogram = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| word.strip_suffix(suffix));
            let itself = all().any(|metric| metric.name == word);
            of_histogram.filter(|_| !itself).unwrap_or(word).to_owned()
        })
        .collect()
}

/// The metrics that the dashboard shows.
fn shown() -> BTreeSet<String> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../configs/grafana-dashboard.json"
    );
    let text = std::fs::read_to_string(path).expect("the dashboard");
    let dashboard: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let mut named = BTreeSet::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().into_iter().flatten() {
            named.extend(names(target["expr"].as_str().expect("an expression")));
        }
    }
    named
}

#[test]
fn the_dashboard_names_only_metrics_of_the_table() {
    let named = shown();
    assert!(named.len() > 10, "the dashboard shows {named:?} only");
    for name in named {
        assert!(
            all().any(|metric| metric.name == name),
            "{name} is not in the table"
        );
    }
}

#[test]
fn the_dashboard_shows_all_metrics_of_tables_with_keys_and_of_their_snapshots() {
    let shown = shown();
    let families = ["vltava_upsert_", "vltava_kv_snapshot", "fluss_coordinator_"];
    let mut of_keys = all()
        .map(|metric| metric.name)
        .filter(|name| families.iter().any(|family| name.starts_with(family)));
    assert_eq!(of_keys.find(|name| !shown.contains(*name)), None);
}
