//! Crashes of a bucket with keys: its log on a simulated disk, its index in RocksDB's own files.
//! After each crash the index must be what the log that is left makes of it, acknowledged batches
//! must be in both, once, and retries complete the rest. One seed in three runs in page-cache mode,
//! where a power loss takes acknowledged batches from the log: the index must not show them.
//!
//! What a power loss leaves of RocksDB's files is a copy of an earlier moment, of this one, or one
//! with a file cut or a bit turned over.
//!
//! `VLTAVA_KV_CRASH_SEEDS` sets the number of seeds (default 12), `VLTAVA_KV_CRASH_SEED` runs one.
//! `VLTAVA_KV_CRASH_IGNORE_SYNC=1` turns syncing of the log off, with which the test must fail.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use common::{context, tablet};
use protocol::fluss::key::KeyEncoder;
use protocol::fluss::kv_batch::{KvBatchBuilder, KvRecord};
use protocol::fluss::options::{ChangelogImage, KvFormat, LogFormat, MergeEngine};
use protocol::fluss::value::{ValueLayout, read_value_batch};
use protocol::ids::{LeaderEpoch, SchemaId};
use protocol::row::{Datum, RowLayout};
use protocol::schema::{AggFunction, Column, DataType, Schema, TypeKind};
use storage::env::Randomness;
use storage::env::simulated::{SeededRandomness, Simulation};
use storage::kv::index::rocks::{RocksConfig, RocksShared};
use storage::kv::index::{IndexSpec, IndexStore};
use storage::kv::merge::{MergeMode, MergeTable};
use storage::kv::tablet::{KvLimits, KvResources, KvTable, KvTableSpec, KvTablet, PutTicket};
use storage::log::{FlushMode, LogConfig, LogHandle, LogThreads, Until};
use storage::tablet::ArrowCodec;
use tempfile::TempDir;

const DIRECTORY: &str = "/data/logs/1/0";
const SCHEMA: SchemaId = SchemaId::new(1);
const KEYS: u64 = 40;
const WRITER: i64 = 7;
const STEPS: usize = 60;

/// Key to value.
type Rows = BTreeMap<i32, i64>;

/// A batch: keys with their value, or none to delete.
type Records = Vec<(i32, Option<i64>)>;

/// How often what the test is about took place.
#[derive(Debug, Default)]
struct Done {
    kills: usize,
    power_losses: usize,
    damaged: usize,
    stale: usize,
    lost: usize,
    retries: usize,
}

struct World {
    seed: u64,
    random: SeededRandomness,
    simulation: Simulation,
    flush_mode: FlushMode,
    engine: Option<MergeEngine>,
    image: ChangelogImage,
    schema: Arc<Schema>,
    home: TempDir,
    /// Directories of the index, the present one last; the others are copies.
    copies: usize,
    rocks: Arc<RocksShared>,
    epoch: i32,
    log: Option<LogHandle>,
    /// The table after each batch; the first is empty.
    states: Vec<Rows>,
    batches: Vec<Records>,
    /// Batches that are in the table for good.
    kept: usize,
    done: Done,
}

impl World {
    fn new(seed: u64, rocks: Arc<RocksShared>) -> World {
        let random = SeededRandomness::new(seed ^ 0xdb);
        let simulation = Simulation::new(seed);
        if std::env::var("VLTAVA_KV_CRASH_IGNORE_SYNC").is_ok() {
            simulation.disk.ignore_syncs(true);
        }
        let engine = match seed % 4 {
            0 => None,
            1 => Some(MergeEngine::Aggregation),
            2 => Some(MergeEngine::Versioned),
            _ => Some(MergeEngine::FirstRow),
        };
        let wal = engine.is_none() && random.below(2) == 0;
        World {
            seed,
            random,
            simulation,
            flush_mode: match seed % 3 {
                2 => FlushMode::PageCache,
                _ => FlushMode::Fsync,
            },
            engine,
            image: match wal {
                true => ChangelogImage::Wal,
                false => ChangelogImage::Full,
            },
            schema: schema(engine),
            home: TempDir::new().unwrap(),
            copies: 0,
            rocks,
            epoch: 0,
            log: None,
            states: vec![Rows::new()],
            batches: Vec::new(),
            kept: 0,
            done: Done::default(),
        }
    }

    fn index_directory(&self) -> PathBuf {
        self.home.path().join(self.copies.to_string())
    }

    fn open(&mut self) -> KvTablet {
        self.epoch += 1;
        let config = LogConfig {
            segment_bytes_max: 4_000 + self.random.below(20_000),
            flush_mode: self.flush_mode,
            checkpoint_bytes: 1_000 + self.random.below(20_000),
            retention_ms: None,
            ..LogConfig::default()
        };
        let log = LogHandle::open(
            context(self.simulation.env()),
            LogThreads::start(1, 1, 1 << 20).unwrap(),
            tablet(),
            PathBuf::from(DIRECTORY),
            config,
            LeaderEpoch::new(self.epoch),
        );
        let table = KvTable::new(KvTableSpec {
            merge: MergeTable {
                kv_format: KvFormat::Compacted,
                schemas: BTreeMap::from([(SCHEMA, Arc::clone(&self.schema))]),
                latest: SCHEMA,
                engine: self.engine,
                version_column: Some("v".to_owned()),
                delete_behavior: None,
            },
            image: self.image,
            log_format: LogFormat::Arrow,
            codec: ArrowCodec::None,
            key: KeyEncoder::Compacted,
            key_columns: vec!["k".to_owned()],
            layout: ValueLayout::Plain,
            ids: None,
        });
        let spec = IndexSpec {
            directory: self.index_directory(),
            identity: *b"one of the logs!",
            counts_rows: self.image == ChangelogImage::Full,
            prefix: Vec::new(),
        };
        let log = log.unwrap();
        self.log = Some(log.clone());
        let store = Arc::clone(&self.rocks) as Arc<dyn IndexStore>;
        let resources = KvResources::start(store, 1, KvLimits::default()).unwrap();
        KvTablet::new(log, resources, spec, Arc::new(table.unwrap()))
    }

    fn new_batch(&mut self) {
        let count = 1 + self.random.below(6);
        let records: Records = (0..count)
            .map(|_| {
                let key = self.random.below(KEYS) as i32;
                let value = self.random.below(100) as i64;
                // Engines other than the default ignore deletes.
                let deletes = self.random.below(5) == 0;
                (key, (!deletes).then_some(value))
            })
            .collect();
        let mut rows = self.states[self.states.len() - 1].clone();
        for (key, value) in &records {
            self.merge(&mut rows, *key, *value);
        }
        self.states.push(rows);
        self.batches.push(records);
    }

    fn merge(&self, rows: &mut Rows, key: i32, value: Option<i64>) {
        let old = rows.get(&key).copied();
        match (self.engine, value, old) {
            (None, None, _) => drop(rows.remove(&key)),
            (Some(_), None, _) | (Some(MergeEngine::FirstRow), Some(_), Some(_)) => {}
            (Some(MergeEngine::Aggregation), Some(value), Some(old)) => {
                rows.insert(key, old + value);
            }
            (Some(MergeEngine::Versioned), Some(value), Some(old)) if value < old => {}
            (_, Some(value), _) => drop(rows.insert(key, value)),
        }
    }

    /// Sends batch `number`, whose sequence that is.
    fn put(&self, kv: &KvTablet, number: usize) -> PutTicket {
        let layout = RowLayout::of(KvFormat::Compacted, &self.schema);
        let mut builder = KvBatchBuilder::new(SCHEMA, Some((WRITER, number as i32)));
        for (key, value) in &self.batches[number] {
            let mut row = Vec::new();
            if let Some(value) = value {
                let values = [Datum::Int(*key), Datum::BigInt(*value)];
                layout.write(&values, &mut row).unwrap();
            }
            builder.append(KvRecord {
                key: &encoded(*key),
                row: value.is_some().then_some(&row),
            });
        }
        let put = kv.check(builder.finish(), &[], MergeMode::Engine).unwrap();
        kv.put(put, Until::Durable)
    }

    /// All rows, as a scan finds them. Damage that is found on the way is repaired by a rebuild.
    async fn scan(&self, kv: &KvTablet) -> Rows {
        let layout = RowLayout::of(KvFormat::Compacted, &self.schema);
        for _ in 0..50 {
            let batch = match kv.first_rows(usize::MAX, usize::MAX, Err).await {
                Ok(batch) => batch.expect("there is room for all"),
                Err(_) => {
                    self.simulation
                        .clock
                        .advance(std::time::Duration::from_secs(2));
                    tokio::task::yield_now().await;
                    continue;
                }
            };
            let mut rows = Rows::new();
            for value in read_value_batch(&batch).unwrap() {
                let mut datums = Vec::new();
                layout.read(value.row, &mut datums).unwrap();
                let [Datum::Int(key), Datum::BigInt(value)] = datums[..] else {
                    panic!("{datums:?}");
                };
                assert_eq!(rows.insert(key, value), None);
            }
            if self.image == ChangelogImage::Full {
                let counted = kv.row_count().await.unwrap();
                assert_eq!(counted, Some(rows.len() as i64), "seed {}", self.seed);
            }
            return rows;
        }
        panic!("seed {}: the index is never whole", self.seed);
    }

    /// The process ends without notice. Whatever it wrote is there, or the power is lost too.
    fn crash(&mut self, kv: KvTablet) {
        let power = self.random.below(2) == 0;
        let before = self.index_directory();
        self.copies += 1;
        let after = self.index_directory();
        // Before the tablet is dropped, which writes to disk what a crash would lose.
        copy(&before, &after);
        let stale = self.copies >= 2 && power && self.random.below(3) == 0;
        self.log = None;
        drop(kv);
        if !power {
            self.done.kills += 1;
            self.simulation.disk.kill();
            return;
        }
        self.done.power_losses += 1;
        self.simulation.disk.crash(self.random.next_u64());
        if stale {
            self.done.stale += 1;
            let earlier = 1 + self.random.below(self.copies as u64 - 1) as usize;
            fs::remove_dir_all(&after).unwrap();
            copy(&self.home.path().join(earlier.to_string()), &after);
        } else if self.random.below(3) == 0 {
            self.done.damaged += 1;
            self.damage(&after);
        }
    }

    fn damage(&self, directory: &Path) {
        let mut files: Vec<PathBuf> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| fs::metadata(path).unwrap().len() > 0)
            .collect();
        files.sort();
        if files.is_empty() {
            return;
        }
        let path = &files[self.random.below(files.len() as u64) as usize];
        let mut bytes = fs::read(path).unwrap();
        let at = self.random.below(bytes.len() as u64) as usize;
        match self.random.below(3) {
            0 => bytes.truncate(at),
            1 => bytes[at] ^= 1 << self.random.below(8),
            _ => {
                fs::remove_file(path).unwrap();
                return;
            }
        }
        fs::write(path, bytes).unwrap();
    }

    /// What the log has after a crash, in batches: the index must show just that.
    async fn survived(&mut self, kv: &KvTablet, sent: usize) {
        let rows = self.scan(kv).await;
        // The log says how far the writer came.
        let producers = self.log.as_ref().unwrap().log().producers();
        let last = producers.first().map(|(_, entry)| entry.last());
        let found = last.map_or(0, |batch| batch.last_sequence as usize + 1);
        assert_eq!(rows, self.states[found], "seed {}", self.seed);
        if self.flush_mode == FlushMode::Fsync {
            assert!(found >= self.kept, "seed {}: batches are lost", self.seed);
        }
        if found < self.kept {
            self.done.lost += 1;
        }
        // What was lost is sent again, and the last one that was not.
        let again = found.saturating_sub(1);
        for number in again..sent {
            self.done.retries += 1;
            let answer = self.put(kv, number).answer().await;
            answer.unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        }
        assert_eq!(self.scan(kv).await, self.states[sent], "seed {}", self.seed);
        self.kept = sent;
    }

    async fn run(mut self) -> Done {
        let mut kv = self.open();
        for _ in 0..STEPS {
            match self.random.below(8) {
                0 => {
                    let index = kv.index().await.unwrap();
                    index.flush().unwrap();
                }
                1 => {
                    // Some batches are under way.
                    let first = self.batches.len();
                    for _ in 0..self.random.below(4) {
                        self.new_batch();
                    }
                    let sent = self.batches.len();
                    let tickets: Vec<_> = (first..sent).map(|n| self.put(&kv, n)).collect();
                    if let Some(ticket) = tickets.into_iter().next() {
                        ticket.answer().await.unwrap();
                        self.kept = first + 1;
                    }
                    self.crash(kv);
                    kv = self.open();
                    self.survived(&kv, sent).await;
                }
                2 if self.random.below(4) == 0 => {
                    kv.close();
                    let rows = self.states.last().unwrap().clone();
                    self.log = None;
                    drop(kv);
                    self.simulation.disk.kill();
                    kv = self.open();
                    assert_eq!(self.scan(&kv).await, rows, "seed {}", self.seed);
                }
                _ => {
                    self.new_batch();
                    let number = self.batches.len() - 1;
                    self.put(&kv, number).answer().await.unwrap();
                    self.kept = self.batches.len();
                    let (key, _) = self.batches[number][0];
                    let found = kv
                        .lookup(vec![Bytes::from(encoded(key))], usize::MAX)
                        .await
                        .unwrap();
                    let expected = self.states[self.kept].contains_key(&key);
                    assert_eq!(found[0].is_some(), expected, "seed {}", self.seed);
                }
            }
        }
        assert_eq!(self.scan(&kv).await, self.states[self.kept]);
        self.done
    }
}

fn schema(engine: Option<MergeEngine>) -> Arc<Schema> {
    let column = |id: i32, name: &str, kind: TypeKind| Column {
        name: name.to_owned(),
        data_type: DataType {
            kind,
            nullable: id > 0,
        },
        comment: None,
        id,
        agg_function: (id > 0 && engine == Some(MergeEngine::Aggregation)).then(|| AggFunction {
            name: "sum".to_owned(),
            parameters: BTreeMap::new(),
        }),
    };
    Arc::new(Schema {
        columns: vec![
            column(0, "k", TypeKind::Int),
            column(1, "v", TypeKind::BigInt),
        ],
        highest_field_id: 1,
        primary_key: vec!["k".to_owned()],
        auto_increment_column: None,
    })
}

fn encoded(key: i32) -> Vec<u8> {
    let mut out = Vec::new();
    let types = [DataType::not_null(TypeKind::Int)];
    let written = KeyEncoder::Compacted.encode(&[Datum::Int(key)], types.iter(), &mut out);
    written.unwrap();
    out
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let Ok(entries) = fs::read_dir(from) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        // A file may go meanwhile.
        if path.file_name().is_some_and(|name| name != "LOCK") {
            let _ = fs::copy(&path, to.join(path.file_name().unwrap()));
        }
    }
}

#[test]
fn the_index_never_shows_what_the_log_has_lost() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().unwrap());
    let seeds = match number("VLTAVA_KV_CRASH_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("VLTAVA_KV_CRASH_SEEDS").unwrap_or(12),
    };
    let rocks = Arc::new(RocksShared::new(RocksConfig::default()).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    let mut all = Done::default();
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let done = runtime.block_on(World::new(seed, Arc::clone(&rocks)).run());
        all.kills += done.kills;
        all.power_losses += done.power_losses;
        all.damaged += done.damaged;
        all.stale += done.stale;
        all.lost += done.lost;
        all.retries += done.retries;
    }
    println!("{count} seeds: {all:?}");
    if count >= 12 {
        let reached = [
            all.kills,
            all.power_losses,
            all.damaged,
            all.stale,
            all.lost,
        ];
        assert!(reached.iter().all(|n| *n > 0), "{all:?}");
    }
}
