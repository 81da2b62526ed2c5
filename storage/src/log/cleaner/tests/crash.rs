//! Random records, rounds and crashes against a plain list.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// All that was ever appended, by offset.
type History = Vec<(Key, Value)>;

/// What is left agrees with the history: same records at same offsets, and each live key's newest.
fn check(log: &Log, history: &History) {
    assert!(log.offline_cause().is_none(), "{:?}", log.offline_cause());
    assert_eq!(log.watermarks().log_end.value(), history.len() as i64);
    let found = records_from(log, 0);
    let mut expected: BTreeMap<&Key, &Value> = BTreeMap::new();
    for (key, value) in history {
        expected.insert(key, value);
    }
    let mut last: BTreeMap<&Key, &Value> = BTreeMap::new();
    for (offset, (key, value)) in &found {
        assert_eq!(&history[*offset as usize], &(key.clone(), value.clone()));
        last.insert(key, value);
    }
    for (key, value) in &expected {
        match last.get(key) {
            Some(found) => assert_eq!(found, value, "the last value of {key:?}"),
            // Only a deleted key may be gone altogether.
            None => assert!(value.is_none(), "{key:?} is gone"),
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8, Vec<(u8, bool)>),
    Roll,
    Clean,
    Checkpoint,
    /// A round during which the power goes after so many changes, or the process is killed.
    Crash(u64, Option<u64>, bool),
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u8..6, proptest::collection::vec((0u8..8, prop::bool::weighted(0.8)), 1..6))
            .prop_map(|(style, records)| Step::Put(style, records)),
        2 => Just(Step::Roll),
        1 => Just(Step::Clean),
        1 => Just(Step::Checkpoint),
        2 => (0u64..24, proptest::option::of(any::<u64>()), any::<bool>())
            .prop_map(|(after, seed, lose)| Step::Crash(after, seed, lose)),
        1 => Just(Step::Wait),
    ]
}

fn run(steps: Vec<Step>, seed: u64) {
    let simulation = Simulation::new(seed);
    let mut epoch = 1;
    let mut log = open(&simulation, epoch);
    let mut history = History::new();
    let mut sequences = HashMap::<i64, i32>::new();
    let mut index = Index::default();
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Put(style, records) => {
                let producer = (style % 3 != 0).then(|| {
                    let id = i64::from(style % 3);
                    let base_sequence = *sequences.get(&id).unwrap_or(&0);
                    sequences.insert(id, base_sequence + records.len() as i32);
                    BatchProducer {
                        id,
                        epoch: 0,
                        base_sequence,
                    }
                });
                let style = Style {
                    codec: Codec::ALL[usize::from(style) % Codec::ALL.len()],
                    producer,
                };
                let keys: Vec<(String, Option<String>)> = records
                    .iter()
                    .map(|(key, live)| (format!("k{key}"), live.then(|| format!("v{number}"))))
                    .collect();
                let borrowed: Vec<(&str, Option<&str>)> = keys
                    .iter()
                    .map(|(key, value)| (key.as_str(), value.as_deref()))
                    .collect();
                put_styled(&log, style, &borrowed);
                history.extend(
                    keys.into_iter()
                        .map(|(key, value)| (key.into_bytes(), value.map(String::into_bytes))),
                );
            }
            Step::Roll => log.roll_active().unwrap(),
            Step::Clean => {
                index.follow(&log);
                clean_with(&log, &index).unwrap();
            }
            Step::Checkpoint => log.checkpoint().unwrap(),
            Step::Wait => simulation.clock.advance(Duration::from_secs(2000)),
            Step::Crash(after, seed, lose_checkpoint) => {
                index.follow(&log);
                log.sync().unwrap();
                simulation.disk.cut_power_after(after);
                // It fails where the power went.
                drop(clean_with(&log, &index));
                drop(log);
                match seed {
                    Some(seed) => simulation.disk.crash(seed),
                    None => simulation.disk.kill(),
                }
                let checkpoint = Path::new(DIRECTORY).join("checkpoint");
                let disk = simulation.env().disk;
                if lose_checkpoint && disk.exists(&checkpoint).unwrap() {
                    disk.remove_file(&checkpoint).unwrap();
                }
                let counted = assert_sound(&simulation);
                epoch += 1;
                log = open(&simulation, epoch);
                // What was checked is what the start reads.
                assert_eq!(assert_sound(&simulation), counted);
                check(&log, &history);
                // The index of a broker that starts again is built from the log, or is older.
                index = Index::of(&log);
            }
        }
        check(&log, &history);
    }
    let expected: HashMap<i64, i32> = sequences;
    for (key, entry) in log.producers() {
        assert_eq!(entry.last().last_sequence + 1, expected[&key.producer_id]);
    }
    assert_eq!(log.producers().len(), expected.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn whatever_happens_the_last_value_of_each_live_key_is_read_from_the_start(
        steps in proptest::collection::vec(step(), 1..40),
        seed: u64,
    ) {
        run(steps, seed);
    }
}

#[test]
fn a_crash_at_every_step_of_a_round_loses_nothing() {
    for after in 0..60 {
        for seed in [None, Some(1), Some(2), Some(3)] {
            let mut steps = Vec::new();
            for n in 0..12u8 {
                let records = vec![(n % 3, true), (n % 5, n % 4 != 0)];
                steps.extend([Step::Put(n % 6, records), Step::Roll]);
            }
            steps.extend([Step::Crash(after, seed, after % 2 == 0), Step::Clean]);
            run(steps, after);
        }
    }
}
