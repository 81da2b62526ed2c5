//! A bucket as a plain map, and the test that runs it beside writer, index and changelog.
//!
//! The model keeps decoded rows and says in the words of the documentation what a record does; the
//! bucket keeps bytes, reads through the write buffer, loses batches on the way, and is killed:
//! then its index has what it had flushed and replays the log. At the end both must hold the same
//! rows, and so must a reader of the changelog.

mod bucket;

pub(crate) use bucket::MortalIndex;

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use protocol::fluss::options::{ChangelogImage, DeleteBehavior, KvFormat, LogFormat, MergeEngine};
use protocol::fluss::value::ValueLayout;

use bucket::Bucket;

use super::index::memory::MemoryIndex;

/// A row of `k INT, a INT, b STRING, c BIGINT`; rows of schema 1 have no `c`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    a: Option<i32>,
    b: Option<String>,
    c: Option<i64>,
}

#[derive(Debug, Clone)]
struct Record {
    key: i32,
    /// None deletes.
    row: Option<Row>,
}

#[derive(Debug, Clone)]
struct Batch {
    new_schema: bool,
    /// Which of `a`, `b`, `c` are targets; none is the full row.
    targets: Option<[bool; 3]>,
    overwrite: bool,
    records: Vec<Record>,
    /// The log refuses the batch.
    fails: bool,
    /// How much of the log is applied to the index afterwards, of 255.
    applied: u8,
    /// What happens then.
    after: After,
}

#[derive(Debug, Clone, Copy)]
enum After {
    Nothing,
    /// The index writes to disk what it has.
    Flush,
    /// The process dies, and the disk has this many of the index's batches, of 255.
    Kill(u8),
}

#[derive(Debug, Clone)]
struct Settings {
    engine: Option<MergeEngine>,
    deletes: Option<DeleteBehavior>,
    image: ChangelogImage,
    kv_format: KvFormat,
    log_format: LogFormat,
    layout: ValueLayout,
    /// `a` is counted up.
    numbered: bool,
}

fn settings() -> impl Strategy<Value = Settings> {
    let engine = prop_oneof![
        3 => Just(None),
        1 => Just(Some(MergeEngine::FirstRow)),
        1 => Just(Some(MergeEngine::Versioned)),
        3 => Just(Some(MergeEngine::Aggregation)),
    ];
    let any_deletes = prop_oneof![
        Just(None),
        Just(Some(DeleteBehavior::Allow)),
        Just(Some(DeleteBehavior::Ignore)),
    ];
    (engine, any_deletes, any::<[bool; 5]>()).prop_map(|(engine, deletes, flags)| {
        let [wal, indexed, rows, tagged, numbered] = flags;
        let keeps = matches!(engine, Some(MergeEngine::FirstRow | MergeEngine::Versioned));
        Settings {
            engine,
            deletes: if keeps { None } else { deletes },
            image: if wal {
                ChangelogImage::Wal
            } else {
                ChangelogImage::Full
            },
            kv_format: if indexed {
                KvFormat::Indexed
            } else {
                KvFormat::Compacted
            },
            log_format: if rows {
                LogFormat::Compacted
            } else {
                LogFormat::Arrow
            },
            layout: if tagged {
                ValueLayout::Tagged
            } else {
                ValueLayout::Plain
            },
            numbered: numbered && !keeps,
        }
    })
}

fn batch() -> impl Strategy<Value = Batch> {
    let values = (
        any::<Option<i8>>(),
        proptest::option::of("[a-c]{0,2}"),
        any::<Option<i8>>(),
    );
    let content = values.prop_map(|(a, b, c)| Row {
        a: a.map(i32::from),
        b,
        c: c.map(i64::from),
    });
    let record = (0..6, proptest::option::weighted(0.75, content))
        .prop_map(|(key, row)| Record { key, row });
    let records = vec(record, 0..8);
    let targets = proptest::option::of(any::<[bool; 3]>());
    let after = prop_oneof![
        6 => Just(After::Nothing),
        1 => Just(After::Flush),
        1 => any::<u8>().prop_map(After::Kill),
    ];
    let flags = (any::<bool>(), 0..4u8, 0..5u8);
    (flags, targets, records, any::<u8>(), after).prop_map(
        |((new_schema, overwrite, fails), targets, records, applied, after)| Batch {
            new_schema,
            targets,
            overwrite: overwrite == 0,
            records,
            fails: fails == 0,
            applied,
            after,
        },
    )
}

impl Batch {
    /// Its target columns, where the engine takes them: tables with numbers always have some.
    fn targets_of(&self, settings: &Settings) -> Option<[bool; 3]> {
        let engine = settings.engine.filter(|_| !self.overwrite);
        let whole = matches!(engine, Some(MergeEngine::FirstRow | MergeEngine::Versioned));
        let targets = self.targets.filter(|_| !whole);
        if !settings.numbered {
            return targets;
        }
        let [_, b, c] = targets.unwrap_or([true; 3]);
        Some([false, b, c])
    }
}

/// What the documentation says that a batch does.
fn modelled(
    rows: &mut BTreeMap<i32, Row>,
    settings: &Settings,
    batch: &Batch,
    targets: Option<[bool; 3]>,
    next_id: &mut i32,
) {
    let engine = settings.engine.filter(|_| !batch.overwrite);
    let deletes = match (batch.overwrite, settings.deletes, engine) {
        (true, ..) => DeleteBehavior::Allow,
        (_, Some(deletes), _) => deletes,
        (_, None, None) => DeleteBehavior::Allow,
        _ => DeleteBehavior::Ignore,
    };
    let [ta, tb, tc] = targets.unwrap_or([true; 3]);
    for record in &batch.records {
        let old = rows.get(&record.key).cloned();
        let Some(mut new) = record.row.clone() else {
            if let (Some(old), DeleteBehavior::Allow) = (old, deletes) {
                let left = Row {
                    a: old.a.filter(|_| !ta),
                    b: old.b.filter(|_| !tb),
                    c: old.c.filter(|_| !tc),
                };
                let empty = left.a.is_none() && left.b.is_none() && left.c.is_none();
                match empty {
                    true => rows.remove(&record.key),
                    false => rows.insert(record.key, left),
                };
            }
            continue;
        };
        if !batch.new_schema {
            new.c = None;
        }
        let merged = match (old, engine) {
            (None, engine) => {
                if engine.is_none() {
                    new.a = new.a.filter(|_| ta);
                    new.b = new.b.filter(|_| tb);
                    new.c = new.c.filter(|_| tc);
                }
                if settings.numbered {
                    new.a = Some(*next_id);
                    *next_id += 1;
                }
                new
            }
            (Some(old), Some(MergeEngine::FirstRow)) => old,
            (Some(old), Some(MergeEngine::Versioned)) => {
                let version = |row: &Row| row.a.unwrap_or(i32::MIN);
                if version(&old) <= version(&new) {
                    new
                } else {
                    old
                }
            }
            (Some(old), None) => Row {
                a: if ta { new.a } else { old.a },
                b: if tb { new.b } else { old.b },
                c: if tc { new.c } else { old.c },
            },
            (Some(old), Some(MergeEngine::Aggregation)) => {
                let a = match (old.a, new.a) {
                    (Some(a), Some(b)) => Some(a.wrapping_add(b)),
                    (a, b) => a.or(b),
                };
                let b = match (&old.b, &new.b) {
                    (Some(a), Some(b)) => Some(format!("{a},{b}")),
                    (a, b) => a.clone().or_else(|| b.clone()),
                };
                Row {
                    a: if ta { a } else { old.a },
                    b: if tb { b } else { old.b },
                    c: if tc { old.c.max(new.c) } else { old.c },
                }
            }
        };
        rows.insert(record.key, merged);
    }
}

/// Settings and batches of a bucket.
pub(crate) fn scenario() -> impl Strategy<Value = Scenario> {
    let batches = vec(batch(), 1..20);
    (settings(), batches).prop_map(|(settings, batches)| Scenario { settings, batches })
}

/// What happens to a bucket.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    settings: Settings,
    batches: Vec<Batch>,
}

impl Scenario {
    /// Runs bucket and model side by side.
    pub(crate) fn run(&self, index: &mut dyn MortalIndex) {
        let settings = &self.settings;
        let mut bucket = Bucket::new(settings, index);
        let mut model = BTreeMap::new();
        let mut next_id = 1;
        for batch in &self.batches {
            let targets = batch.targets_of(settings);
            let positions = targets.map(|t| {
                let named = (1..).zip(t).filter(|(_, t)| *t).map(|(i, _)| i);
                std::iter::once(0).chain(named).collect::<Vec<i32>>()
            });
            bucket.put(batch, positions.as_deref());
            if batch.fails {
                // Numbers of a failed batch are lost.
                let mut scratch = model.clone();
                modelled(&mut scratch, settings, batch, targets, &mut next_id);
            } else {
                modelled(&mut model, settings, batch, targets, &mut next_id);
            }
            bucket.apply(batch.applied);
            match batch.after {
                After::Nothing => {}
                After::Flush => bucket.index().flush().unwrap(),
                After::Kill(kept) => next_id = bucket.kill(kept),
            }
            assert_eq!(bucket.replayed, model);
        }
        bucket.apply(255);
        assert!(bucket.is_applied());
        assert_eq!(bucket.stored(), model);
        let state = bucket.index().state();
        if let Some(rows) = state.row_count {
            assert_eq!(usize::try_from(rows), Ok(model.len()));
        }
        bucket.rebuild();
        assert_eq!(bucket.stored(), model);
        assert_eq!(bucket.index().state(), state);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn bucket_and_changelog_equal_the_model(scenario in scenario()) {
        scenario.run(&mut MemoryIndex::new(true));
    }
}
