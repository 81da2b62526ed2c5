//! Loads of tables with a primary key, with fluss-rs.

use super::rows::{self, BUCKETS, PER_PREFIX, ROW_BYTES};
use crate::error::Outcome;
use crate::fluss::client::Client;
use crate::fluss::rows::Random;
use crate::kafka::load::Done;
use crate::latency::Latencies;
use fluss::client::EARLIEST_OFFSET;
use fluss::config::Config;
use fluss::metadata::TablePath;
use fluss::row::DataGetters;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Longer than a table takes to be read on the slowest server.
const LIMIT: Duration = Duration::from_secs(900);
/// Rows between two chances for other tasks.
const YIELD_EVERY: usize = 1_024;

/// A client that writes and reads changelogs: with fluss-rs's own batches, whose wait would only be added to figures.
pub async fn writer(address: &str) -> Outcome<Client> {
    let config = Config {
        scanner_log_fetch_wait_max_time_ms: 5,
        scanner_log_max_poll_records: 100_000,
        ..Config::default()
    };
    Client::connect(address, config).await
}

/// A client of `concurrency` lookups under way. fluss-rs waits until a batch is full or a millisecond is over: batches
/// of a quarter of what is under way fill at once, so that the wait is no part of the latency.
pub async fn reader(address: &str, concurrency: usize) -> Outcome<Client> {
    let config = Config {
        lookup_batch_timeout_ms: 1,
        lookup_max_batch_size: batch_size(concurrency),
        ..Config::default()
    };
    Client::connect(address, config).await
}

pub fn batch_size(concurrency: usize) -> usize {
    (concurrency / 4).clamp(1, 128)
}

/// Upserts `rows` made by `row`, and waits for every acknowledgement.
pub async fn upsert(
    client: &Client,
    path: &TablePath,
    rows: usize,
    mut row: impl FnMut(usize) -> fluss::row::GenericRow<'static>,
) -> Outcome<Done> {
    let table = client.connection.get_table(path).await?;
    let writer = table.new_upsert()?.create_writer()?;
    let began = Instant::now();
    for index in 0..rows {
        // Queued, not awaited: the client's buffer bounds how much is under way.
        drop(writer.upsert(&row(index))?);
        if index % YIELD_EVERY == 0 {
            tokio::task::yield_now().await;
        }
    }
    writer.flush().await?;
    Ok(Done {
        time: began.elapsed(),
        records: rows,
        value_bytes: rows * ROW_BYTES,
        ..Done::default()
    })
}

/// Reads the changelog of all buckets from the start until `changes` have come.
pub async fn changelog(client: &Client, path: &TablePath, changes: usize) -> Outcome<Done> {
    let table = client.connection.get_table(path).await?;
    let scanner = table.new_scan().create_log_scanner()?;
    let began = Instant::now();
    for bucket in 0..BUCKETS {
        scanner.subscribe(bucket, EARLIEST_OFFSET).await?;
    }
    let mut done = Done::default();
    while done.records < changes {
        done.records += scanner.poll(Duration::from_millis(500)).await?.count();
        if began.elapsed() > LIMIT {
            return Err(format!("{} of {changes} changes came", done.records).into());
        }
    }
    done.time = began.elapsed();
    done.value_bytes = done.records * ROW_BYTES;
    Ok(done)
}

/// What is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// A customer by its whole key.
    Key,
    /// All orders of a customer.
    Prefix,
}

/// Keeps `concurrency` lookups of random keys below `keys` under way for `time`. Each must find its row.
pub async fn lookups(
    client: &Client,
    path: &TablePath,
    lookup: Lookup,
    keys: usize,
    concurrency: usize,
    time: Duration,
    seed: u64,
) -> Outcome<Done> {
    let table = client.connection.get_table(path).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..concurrency {
        let stop = Arc::clone(&stop);
        let mut random = Random(seed ^ (task as u64) << 32);
        match lookup {
            Lookup::Key => {
                let mut lookuper = table.new_lookup()?.create_lookuper()?;
                tasks.spawn(async move {
                    let mut latencies = Latencies::default();
                    while !stop.load(Ordering::Relaxed) {
                        let id = random.next() as usize % keys;
                        let asked = Instant::now();
                        let found = lookuper.lookup(&rows::key(id)).await?;
                        latencies.note(asked.elapsed());
                        let row = found.get_single_row()?.ok_or("a key was not found")?;
                        if row.get_long(0)? != id as i64 {
                            return Err("another key's row was found".into());
                        }
                    }
                    Ok::<_, crate::error::Failure>(latencies)
                });
            }
            Lookup::Prefix => {
                let of = table.new_lookup()?.lookup_by(vec!["customer".to_owned()]);
                let mut lookuper = of.create_lookuper()?;
                tasks.spawn(async move {
                    let mut latencies = Latencies::default();
                    while !stop.load(Ordering::Relaxed) {
                        let id = random.next() as usize % (keys / PER_PREFIX);
                        let asked = Instant::now();
                        let found = lookuper.lookup(&rows::key(id)).await?;
                        latencies.note(asked.elapsed());
                        if found.get_rows()?.len() != PER_PREFIX {
                            return Err("not all rows of a prefix were found".into());
                        }
                    }
                    Ok(latencies)
                });
            }
        }
    }
    tokio::time::sleep(time).await;
    stop.store(true, Ordering::Relaxed);
    let mut done = Done::default();
    while let Some(latencies) = tasks.join_next().await {
        done.latencies.merge(latencies??);
    }
    done.time = began.elapsed();
    done.records = done.latencies.count();
    Ok(done)
}
