//! The table that the topic is, as its Fluss clients see it.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use fluss::client::FlussConnection;
use fluss::config::Config;
use fluss::metadata::TablePath;
use fluss::row::{DataGetters, GenericRow};
use harness::{addresses, programs};

/// The keys that were asked for, with the values of those that have one.
pub type Found = BTreeMap<String, Option<String>>;

/// The table of a topic through fluss-rs.
pub struct Table {
    connection: FlussConnection,
    path: TablePath,
}

impl Table {
    /// Connects.
    pub async fn open(topic: &str) -> Table {
        let config = Config {
            bootstrap_servers: addresses::fluss(),
            lookup_batch_timeout_ms: 1,
            writer_batch_timeout_ms: 1,
            ..Config::default()
        };
        Table {
            connection: FlussConnection::new(config).await.expect("a connection"),
            path: TablePath::new("kafka", topic),
        }
    }

    /// Looks keys up.
    pub async fn find(&self, keys: impl IntoIterator<Item = &String>) -> Found {
        let table = self.connection.get_table(&self.path).await;
        let table = table.expect("a table");
        let lookup = table.new_lookup().expect("lookups").create_lookuper();
        let mut lookup = lookup.expect("lookups");
        let mut found = Found::new();
        for key in keys {
            let mut wanted = GenericRow::new(1);
            wanted.set_field(0, key.as_bytes());
            let rows = lookup.lookup(&wanted).await.expect("an answer");
            let row = rows.get_single_row().expect("a row that can be read");
            let value = row.map(|row| row.get_bytes(1).expect("BYTES").to_vec());
            let value = value.map(|bytes| String::from_utf8(bytes).expect("UTF-8"));
            found.insert(key.clone(), value);
        }
        found
    }

    /// Upserts one row: its record has no headers, and the time is the server's.
    pub async fn upsert(&self, key: &str, value: &str) {
        let table = self.connection.get_table(&self.path).await;
        let table = table.expect("a table");
        let writer = table.new_upsert().expect("upserts").create_writer();
        let writer = writer.expect("a writer");
        let mut row = GenericRow::new(4);
        row.set_field(0, key.as_bytes());
        row.set_field(1, value.as_bytes());
        let sent = writer.upsert(&row).expect("queued");
        sent.await.expect("acknowledged");
    }
}

/// Looks keys up with a program: the others' clients.
pub fn find_with<'a>(
    mut program: Command,
    topic: &str,
    keys: impl IntoIterator<Item = &'a String>,
) -> Found {
    program
        .args([&addresses::fluss(), topic])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut process = program.spawn().expect("the program starts");
    let mut lines: Vec<_> = keys.into_iter().map(String::as_str).collect();
    lines.push("");
    let text = lines.join("\n");
    let mut input = process.stdin.take().expect("it was asked for");
    // It answers while it reads.
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = process.wait_with_output().expect("it ends");
    writer.join().expect("no panic").expect("it reads all keys");
    assert!(output.status.success(), "{program:?}: {}", output.status);
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    let line = |line: &str| match line.split_once('\t') {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
        None => (line.to_owned(), None),
    };
    said.lines().map(line).collect()
}

/// pyfluss.
pub fn pyfluss() -> Command {
    programs::python("lookups.py")
}

/// The Java client of a line, `1.0` or `0.9`.
pub fn java(line: &str) -> Command {
    programs::java(&format!("programs-{line}"), "Lookups")
}
