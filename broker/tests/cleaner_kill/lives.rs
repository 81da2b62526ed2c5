//! The lives of a broker that cleans: when it is killed, and what is seen of it meanwhile.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use storage::env::simulated::SeededRandomness;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::process::Broker;
use crate::model::Model;
use crate::verify;
use crate::{PARTITIONS, Totals};

/// How often the broker is killed, if the log is not clean before.
pub(crate) const KILLS: usize = 6;
/// What blocks and write buffers of all indexes may take: with few keys they do not fill it.
pub(crate) const CACHE_BYTES: u64 = 16 << 20;
/// The least size of segments.
const SEGMENT_BYTES_MIN: usize = 100_000;
/// A partition has about so many segments.
const SEGMENTS: usize = 25;
const RECORD_BYTES: usize = 150;
/// In a short run the cleaner reads and writes so much in a second, so that it can be hit.
const SHORT_RUN_BYTES_PER_SECOND: usize = 1_000_000;
const SHORT_RUN_RECORDS: usize = 200_000;
/// How often the directory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// All may be clean when the cleaner has done nothing for so long.
const IDLE: Duration = Duration::from_secs(3);
/// The longest time in which a log is cleaned, on a machine that does other things.
const CLEAN_WITHIN: Duration = Duration::from_secs(1800);

/// What a broker does in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// Everything but cleaning.
    Resting,
    /// It cleans, not too fast to be hit.
    Hunted,
    Cleaning,
}

/// Why a life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Killed,
    Clean,
}

pub(crate) fn settings(mode: &str, records: usize, life: Life) -> Vec<(&'static str, String)> {
    let segment = (records * RECORD_BYTES / PARTITIONS / SEGMENTS).max(SEGMENT_BYTES_MIN);
    let mut settings = vec![
        ("flush.mode", mode.to_owned()),
        ("log.segment.bytes", segment.to_string()),
        ("log.flush.offset.checkpoint.interval.ms", "50".to_owned()),
        ("log.cleaner.backoff.ms", "10".to_owned()),
        ("log.cleaner.enable", (life != Life::Resting).to_string()),
        (
            "kv.rocksdb.shared-block-cache.size",
            CACHE_BYTES.to_string(),
        ),
        ("kv.rocksdb.shared-write-buffer.size", (8 << 20).to_string()),
        ("kv.rocksdb.writebuffer.size", (4 << 20).to_string()),
    ];
    if life != Life::Resting {
        // The last segment is closed and cleaned as well.
        settings.push(("log.cleaner.max.compaction.lag.ms", "1".to_owned()));
    }
    if life == Life::Hunted && records < SHORT_RUN_RECORDS {
        let rate = SHORT_RUN_BYTES_PER_SECOND.to_string();
        settings.push(("log.cleaner.io.max.bytes.per.second", rate));
    }
    settings
}

/// The files below a directory and their bytes. What goes meanwhile is left out.
fn files(directory: &Path) -> Vec<(PathBuf, u64)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => files.extend(self::files(&entry.path())),
            Ok(metadata) => files.push((entry.path(), metadata.len())),
            Err(_) => {}
        }
    }
    files
}

/// Bytes of all segments of all logs.
pub(crate) fn log_bytes(data: &Path) -> u64 {
    let is_segment = |path: &Path| path.extension().is_some_and(|ext| ext == "log");
    let files = files(&data.join("logs")).into_iter();
    files
        .filter(|(path, _)| is_segment(path))
        .map(|f| f.1)
        .sum()
}

/// The segment that the cleaner is writing, and its bytes.
fn half_written(data: &Path) -> Option<(PathBuf, u64)> {
    let is_cleaned = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.ends_with(".cleaned.tmp"))
    };
    let files = files(&data.join("logs")).into_iter();
    files.filter(|(path, _)| is_cleaned(path)).max()
}

/// Anonymous memory of a process.
fn memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"));
    let status = status.expect("the process is there");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB"));
    kib.expect("in kB").trim().parse::<u64>().expect("a number") << 10
}

/// A broker that cleans and is killed: while it writes a segment, after a few others, or at any
/// time.
pub(crate) async fn killed(
    data: &Path,
    mode: &str,
    models: [&Model; 2],
    random: &SeededRandomness,
    totals: &mut Totals,
) -> Ended {
    let mut broker = Broker::start(data, &settings(mode, totals.records, Life::Hunted));
    let (segments, bytes) = (random.below(4), random.below(5_000));
    let at_any_time = random.once_in(4);
    let any_time = Duration::from_millis(random.below(1000));
    let address = broker.kafka;
    let mut seen = 0;
    let reading = read_all(models, address, &mut seen);
    let process = broker.id();
    let hunting = async {
        if at_any_time {
            tokio::time::sleep(any_time).await;
            return (0, Ended::Killed);
        }
        let (mut swaps, mut before) = (0, None);
        let mut idle_since = tokio::time::Instant::now();
        loop {
            let writing = half_written(data);
            let path = writing.as_ref().map(|(path, _)| path.clone());
            if before.is_some() && path != before {
                swaps += 1;
            }
            before = path;
            totals.memory_at_most = totals.memory_at_most.max(memory(process));
            if writing.is_some() {
                idle_since = tokio::time::Instant::now();
            }
            if swaps >= segments && writing.is_some_and(|(_, length)| length >= bytes) {
                return (swaps, Ended::Killed);
            }
            if idle_since.elapsed() > IDLE && is_clean(&broker).await {
                return (swaps, Ended::Clean);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let (swaps, ended) = tokio::select! {
        ended = hunting => ended,
        // Readers go on until the broker is gone.
        gone = reading => panic!("{gone:?}"),
    };
    broker.kill();
    totals.kills += usize::from(ended == Ended::Killed);
    totals.while_writing += usize::from(half_written(data).is_some());
    totals.swaps += swaps;
    totals.read_meanwhile += seen;
    ended
}

/// Reads all partitions over and over.
async fn read_all(
    models: [&Model; 2],
    address: SocketAddr,
    seen: &mut u64,
) -> std::io::Result<std::convert::Infallible> {
    loop {
        for model in models {
            for partition in 0..PARTITIONS {
                verify::read(model, partition, address, |_| *seen += 1).await?;
            }
        }
    }
}

/// A broker that cleans until it has nothing to do.
pub(crate) async fn live(broker: &Broker, models: [&Model; 2], totals: &mut Totals) {
    totals.memory_at_start = memory(broker.id());
    // Logs are opened when they are used.
    for model in models {
        for partition in 0..PARTITIONS {
            let read = verify::read(model, partition, broker.kafka, |_| {});
            read.await.expect("the broker is there");
        }
    }
    let watching = async {
        loop {
            totals.memory_at_most = totals.memory_at_most.max(memory(broker.id()));
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::select! {
        () = until_clean(broker) => {}
        () = watching => {}
    }
}

/// Waits until the cleaner finds nothing dirty in logs that are open.
pub(crate) async fn until_clean(broker: &Broker) {
    let clean = async {
        // What was written in the last millisecond is not due yet.
        let mut times = 0;
        while times < 5 {
            times = if is_clean(broker).await { times + 1 } else { 0 };
            tokio::time::sleep(LOOK_EVERY * 10).await;
        }
    };
    let clean = tokio::time::timeout(CLEAN_WITHIN, clean).await;
    clean.expect("the cleaner gets through");
}

async fn is_clean(broker: &Broker) -> bool {
    let mut stream = TcpStream::connect(broker.http).await.expect("HTTP");
    let request = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut page = String::new();
    stream.read_to_string(&mut page).await.expect("an answer");
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix("kafka_log_logcleanermanager_max_dirty_percent "));
    line.is_some_and(|value| value.trim() == "0")
}
