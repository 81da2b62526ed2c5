//! Tables with a primary key: upserts, the changelog, lookups, beside Apache Fluss, with fluss-rs on each.

mod load;
mod rows;

use crate::aims::{self, Aim};
use crate::error::Outcome;
use crate::fluss::client::Client;
use crate::fluss::rows::Random;
use crate::kafka::load::Done;
use crate::options::Options;
use crate::process;
use crate::report::{Figures, Report};
use crate::servers::{self, FLUSS, FSYNC, PAGE_CACHE, Server};
use fluss::metadata::TablePath;
use load::Lookup;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

pub const UPSERT: &str = "Primary keys: upsert";
pub const CHANGELOG: &str = "Primary keys: changelog";
pub const LOOKUP: &str = "Primary keys: lookup";
pub const MEMORY: &str = "Primary keys: memory";

const NEW: &str = "new keys";
const OLD: &str = "keys that are there";
const ORDERS: &str = "new keys of two columns";
const FROM_START: &str = "from the start";
const CONCURRENCY: &[usize] = &[1, 64, 512];
/// Of the rows that are there, this part is written again in every round.
const UPDATED_PART: usize = 10;
/// In so many rounds at least: about what is flushed of them is compacted once.
const UPDATE_ROUNDS: usize = 4;
/// The table of prefix lookups has this part of the rows.
const ORDERS_PART: usize = 10;

/// A server that takes less than this part of a processor rests, if it goes on so for a second.
const AT_REST: f64 = 0.1;
/// Nobody waits longer than this for a server to rest.
const REST_MAX: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(500);

/// One server with its tables.
struct Loaded<'a> {
    server: &'a Server,
    client: Client,
    customers: TablePath,
    orders: TablePath,
    /// Changes that the customers' log holds at least.
    changes: usize,
}

/// Measures all workloads of tables with a primary key.
pub fn run(options: &Options, report: &mut Report) -> Outcome<()> {
    let data = servers::scratch()?;
    let servers = servers::of_fluss_wire(options, data.path())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    report.note(format!(
        "Tables with a primary key have {} rows of {} bytes in {} buckets. Lookups are sent in batches of a quarter \
         of what is under way (at most 128), so that fluss-rs's wait for a full batch is no part of a latency. \
         Processor time of upserts is counted until the server rests, with the flushes and compactions that they \
         leave behind; their time is not. Of keys that are there, the sum of {} rounds counts, because a server \
         compacts what several have left.",
        options.rows,
        rows::ROW_BYTES,
        rows::BUCKETS,
        options.rounds.max(UPDATE_ROUNDS)
    ));
    warm_up(options, &servers, &runtime)?;
    let mut loaded = Vec::new();
    for server in &servers {
        loaded.push(runtime.block_on(fill(options, report, server))?);
    }
    update(options, report, &mut loaded, &runtime)?;
    changelog(options, report, &loaded, &runtime)?;
    lookups(options, report, &loaded, &runtime)?;
    for Loaded { server, .. } in &loaded {
        let figures = Figures::from([
            (
                "MiB after load",
                process::resident_mib(&server.processes())?,
            ),
            ("MiB peak", process::peak_mib(&server.processes())?),
        ]);
        report.row(
            MEMORY,
            "all workloads of this part",
            server.name,
            vec![figures],
        );
    }
    Ok(())
}

/// A JVM compiles what runs often.
fn warm_up(options: &Options, servers: &[Server], runtime: &Runtime) -> Outcome<()> {
    let rows = (options.rows / 20).clamp(10_000, 200_000);
    for server in servers {
        runtime.block_on(async {
            let client = load::writer(&server.fluss()?).await?;
            let path = client.create(rows::customers()?).await?;
            let mut random = Random(options.seed);
            for turn in 0..2 {
                load::upsert(&client, &path, rows, |index| {
                    rows::customer(&mut random, index, turn)
                })
                .await?;
            }
            let reader = load::reader(&server.fluss()?, 64).await?;
            let time = Duration::from_secs(2);
            load::lookups(&reader, &path, Lookup::Key, rows, 64, time, options.seed).await?;
            client.drop_table(&path).await;
            Ok::<_, crate::error::Failure>(())
        })?;
    }
    Ok(())
}

/// Fills both tables of a server: each key is new once, so this is measured once.
async fn fill<'a>(
    options: &Options,
    report: &mut Report,
    server: &'a Server,
) -> Outcome<Loaded<'a>> {
    let client = load::writer(&server.fluss()?).await?;
    let customers = client.create(rows::customers()?).await?;
    let orders = client.create(rows::orders()?).await?;
    let mut random = Random(options.seed);
    let load = load::upsert(&client, &customers, options.rows, |index| {
        rows::customer(&mut random, rows::shuffled(index, options.rows), 0)
    });
    once(report, server, NEW, load).await?;
    let count = options.rows / ORDERS_PART;
    let load = load::upsert(&client, &orders, count, |index| {
        rows::order(&mut random, rows::shuffled(index, count))
    });
    once(report, server, ORDERS, load).await?;
    Ok(Loaded {
        server,
        client,
        customers,
        orders,
        changes: options.rows,
    })
}

/// Measures upserts that cannot be repeated, until the server rests.
async fn once(
    report: &mut Report,
    server: &Server,
    workload: &str,
    load: impl Future<Output = Outcome<Done>>,
) -> Outcome<()> {
    let cpu = server.cpu_seconds()?;
    let done = load.await?;
    if !rest(server).await? {
        note_unrest(report, workload, server.name);
    }
    let cpu = server.cpu_seconds()? - cpu;
    report.row(UPSERT, workload, server.name, vec![figures(cpu, done)]);
    Ok(())
}

/// Writes random rows again, every server in turn, round after round. What counts is all rounds
/// together: a server compacts what several of them have left.
fn update(
    options: &Options,
    report: &mut Report,
    loaded: &mut [Loaded],
    runtime: &Runtime,
) -> Outcome<()> {
    if !options.wants(OLD) {
        return Ok(());
    }
    let count = options.rows / UPDATED_PART;
    let mut restless = Vec::new();
    let rounds = options.rounds.max(UPDATE_ROUNDS);
    let found = measure(rounds, loaded, OLD, |loaded, round| {
        let mut random = Random(options.seed + round as u64);
        let load = load::upsert(&loaded.client, &loaded.customers, count, |index| {
            let id = random.next() as usize % options.rows;
            rows::customer(&mut random, id, 1 + round * count + index)
        });
        let done = runtime.block_on(load)?;
        if !runtime.block_on(rest(loaded.server))? {
            restless.push(loaded.server.name);
        }
        // A row that was there leaves what it was and what it is.
        loaded.changes += 2 * count;
        Ok(done)
    })?;
    for (loaded, found) in loaded.iter().zip(found) {
        let mut cpu = 0.0;
        let mut all = Done::default();
        for took in found {
            cpu += took.cpu;
            all.records += took.done.records;
            all.value_bytes += took.done.value_bytes;
            all.time += took.done.time;
        }
        report.row(UPSERT, OLD, loaded.server.name, vec![figures(cpu, all)]);
    }
    restless.sort_unstable();
    restless.dedup();
    for server in restless {
        note_unrest(report, OLD, server);
    }
    Ok(())
}

fn note_unrest(report: &mut Report, workload: &str, server: &str) {
    report.note(format!(
        "{UPSERT}, {workload}: {server} still worked {} s after a round; what it did then counts for nobody, or for \
         what came next.",
        REST_MAX.as_secs(),
    ));
}

/// Waits until a server has flushed and compacted what was written. False when it still does.
async fn rest(server: &Server) -> Outcome<bool> {
    let start = Instant::now();
    let mut quiet = Duration::ZERO;
    while quiet < 2 * LOOK && start.elapsed() < REST_MAX {
        let before = server.cpu_seconds()?;
        tokio::time::sleep(LOOK).await;
        let took = server.cpu_seconds()? - before;
        quiet = match took < AT_REST * LOOK.as_secs_f64() {
            true => quiet + LOOK,
            false => Duration::ZERO,
        };
    }
    Ok(quiet >= 2 * LOOK)
}

fn changelog(
    options: &Options,
    report: &mut Report,
    loaded: &[Loaded],
    runtime: &Runtime,
) -> Outcome<()> {
    let mut loaded: Vec<_> = loaded.iter().collect();
    rounds(
        options,
        report,
        &mut loaded,
        CHANGELOG,
        FROM_START,
        |loaded, _| {
            runtime.block_on(load::changelog(
                &loaded.client,
                &loaded.customers,
                loaded.changes,
            ))
        },
    )
}

fn lookups(
    options: &Options,
    report: &mut Report,
    loaded: &[Loaded],
    runtime: &Runtime,
) -> Outcome<()> {
    let mut loaded: Vec<_> = loaded.iter().collect();
    let time = Duration::from_secs(options.scaled(2, 5));
    let of_keys = CONCURRENCY
        .iter()
        .map(|under_way| (Lookup::Key, *under_way));
    for (lookup, concurrency) in of_keys.chain([(Lookup::Prefix, 64)]) {
        let name = workload(lookup, concurrency);
        rounds(
            options,
            report,
            &mut loaded,
            LOOKUP,
            &name,
            |loaded, round| {
                let (path, keys) = match lookup {
                    Lookup::Key => (&loaded.customers, options.rows),
                    Lookup::Prefix => (&loaded.orders, options.rows / ORDERS_PART),
                };
                runtime.block_on(async {
                    let client = load::reader(&loaded.server.fluss()?, concurrency).await?;
                    let seed = options.seed + round as u64;
                    load::lookups(&client, path, lookup, keys, concurrency, time, seed).await
                })
            },
        )?;
    }
    Ok(())
}

fn workload(lookup: Lookup, concurrency: usize) -> String {
    match lookup {
        Lookup::Key => format!("{concurrency} under way"),
        Lookup::Prefix => format!(
            "of {} rows by the beginning of their key, {concurrency} under way",
            rows::PER_PREFIX
        ),
    }
}

/// Something that stands for one server.
trait OfServer {
    fn server(&self) -> &Server;
}

impl OfServer for Loaded<'_> {
    fn server(&self) -> &Server {
        self.server
    }
}

impl OfServer for &Loaded<'_> {
    fn server(&self) -> &Server {
        self.server
    }
}

/// Runs a load on every server in turn, and reports what its rounds took.
fn rounds<T: OfServer>(
    options: &Options,
    report: &mut Report,
    subjects: &mut [T],
    group: &'static str,
    name: &str,
    load: impl FnMut(&mut T, usize) -> Outcome<Done>,
) -> Outcome<()> {
    if !options.wants(name) {
        return Ok(());
    }
    let found = measure(options.rounds, subjects, name, load)?;
    for (subject, found) in subjects.iter().zip(found) {
        let figures = found.into_iter().map(|took| figures(took.cpu, took.done));
        report.row(group, name, subject.server().name, figures.collect());
    }
    Ok(())
}

/// What a load did, and what it took of its server.
struct Took {
    /// Seconds of the processor.
    cpu: f64,
    done: Done,
}

/// Runs a load on every server in turn, one round to warm up and then those that count, which it
/// gives for each.
fn measure<T: OfServer>(
    rounds: usize,
    subjects: &mut [T],
    name: &str,
    mut load: impl FnMut(&mut T, usize) -> Outcome<Done>,
) -> Outcome<Vec<Vec<Took>>> {
    let mut found: Vec<_> = subjects.iter().map(|_| Vec::new()).collect();
    for round in 0..=rounds {
        for (subject, found) in subjects.iter_mut().zip(&mut found) {
            let cpu = subject.server().cpu_seconds()?;
            let server = subject.server().name;
            let done =
                load(subject, round).map_err(|error| format!("{server}, {name}: {error}"))?;
            if round > 0 {
                let cpu = subject.server().cpu_seconds()? - cpu;
                found.push(Took { cpu, done });
            }
        }
    }
    Ok(found)
}

/// The figures of what a load did in so many seconds of the processor.
fn figures(cpu: f64, mut done: Done) -> Figures {
    let seconds = done.time.as_secs_f64();
    let mut figures = Figures::from([
        ("records/s", done.records as f64 / seconds),
        // A server that took less than can be counted took one tick.
        ("records/CPU s", done.records as f64 / cpu.max(0.01)),
    ]);
    if done.value_bytes > 0 {
        figures.insert("MB/s", done.value_bytes as f64 / 1e6 / seconds);
    }
    figures.extend(done.latencies.percentiles());
    figures
}

/// The aims of this part.
pub fn aims(report: &Report, aims: &mut Vec<Aim>) {
    let mut of_peers = |group: &str, workload: &str| {
        for server in [PAGE_CACHE, FSYNC] {
            let figure = |server| report.figure(group, workload, server, "records/CPU s");
            if let (Some(ours), Some(peers)) = (figure(server), figure(FLUSS)) {
                aims::at_least(
                    aims,
                    format!("{group}, {workload}, {server}: per CPU second of Fluss's, at least 3"),
                    ours / peers,
                    3.0,
                );
            }
        }
    };
    of_peers(UPSERT, NEW);
    of_peers(UPSERT, OLD);
    for concurrency in CONCURRENCY {
        of_peers(LOOKUP, &workload(Lookup::Key, *concurrency));
    }
    of_peers(LOOKUP, &workload(Lookup::Prefix, 64));
    let of_64 = workload(Lookup::Key, 64);
    for server in [PAGE_CACHE, FSYNC] {
        if let Some(ms) = report.figure(LOOKUP, &of_64, server, "p99 ms") {
            aims::at_most(
                aims,
                format!("{LOOKUP}, {of_64}, {server}: p99 in ms, at most 1"),
                ms,
                1.0,
            );
        }
    }
}
