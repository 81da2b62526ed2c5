//! Whatever partitions Kafka producers choose, Fluss clients find what was written last.

use std::collections::{BTreeMap, BTreeSet};

use harness::producer::Library;
use vltava_compat_partitioners::lookups::{self, Found, Table};
use vltava_compat_partitioners::topic::{self, PARTITIONS};

/// Keys of the topic.
const KEYS: usize = 80;
/// How often each library has its turn.
const TURNS: usize = 2;

/// Libraries that choose partitions as kafka-clients does.
const MURMUR2: [Library; 5] = [
    Library::Java,
    Library::FranzGo,
    Library::KafkaJs,
    Library::KafkaPython,
    Library::Aiokafka,
];

/// Every library has its turns, with more and more gaps between its keys; some keys it deletes.
/// Gives what each key has at the end.
fn fill(topic: &str, libraries: &[Library]) -> Found {
    let mut newest = Found::new();
    for turn in 0..TURNS * libraries.len() {
        let library = libraries[turn % libraries.len()];
        let value = format!("{library:?} {turn}");
        let keys = (0..KEYS).filter(|number| number % (turn / 2 + 1) == 0);
        let written = keys.map(|number| {
            let value = (number % 7 != turn % 7).then(|| value.clone());
            (format!("key-{number}"), value)
        });
        let written: Vec<_> = written.collect();
        let records = written
            .iter()
            .map(|(key, value)| (Some(key.as_str()), value.as_deref()));
        assert_eq!(topic::produce(library, topic, records), BTreeMap::new());
        newest.extend(written);
    }
    newest
}

/// Where each library put each key.
fn places(topic: &str) -> BTreeMap<String, BTreeMap<String, BTreeSet<i32>>> {
    let mut places: BTreeMap<String, BTreeMap<String, BTreeSet<i32>>> = BTreeMap::new();
    for record in topic::read(topic) {
        // Tombstones have no value that tells who wrote them.
        let Some(value) = &record.value else { continue };
        let (library, _) = value.split_once(' ').expect("a library and a turn");
        let of_library = places.entry(library.to_owned()).or_default();
        let of_key = of_library.entry(record.key).or_default();
        of_key.insert(record.partition);
    }
    places
}

async fn found_by_all(topic: &str, expected: &Found) {
    let others = [
        ("pyfluss", lookups::pyfluss()),
        ("fluss-client 1.0.0", lookups::java("1.0")),
        ("fluss-client 0.9.1", lookups::java("0.9")),
    ];
    // Side by side: most of their time is waiting.
    let others = others.map(|(client, program)| {
        let (topic, keys) = (topic.to_owned(), expected.keys().cloned());
        let keys: Vec<_> = keys.collect();
        let find = move || lookups::find_with(program, &topic, &keys);
        (client, tokio::task::spawn_blocking(find))
    });
    let table = Table::open(topic).await;
    assert_eq!(&table.find(expected.keys()).await, expected, "fluss-rs");
    for (client, found) in others {
        assert_eq!(&found.await.expect("an answer"), expected, "{client}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lookups_find_what_producers_with_different_partitioners_wrote_last() {
    let topic = topic::create(&[]).await;
    let expected = fill(&topic, &Library::ALL);
    let deleted = expected.values().filter(|value| value.is_none()).count();
    assert!(deleted > 5 && deleted < KEYS / 2, "{deleted} deletions");
    found_by_all(&topic, &expected).await;

    // What makes this worth a test: the same key lies in several partitions.
    let places = places(&topic);
    let of = |library: Library| &places[&format!("{library:?}")];
    for library in MURMUR2 {
        for (key, partitions) in of(library) {
            assert_eq!(partitions.len(), 1, "{library:?} {key}");
            if let Some(javas) = of(Library::Java).get(key) {
                assert_eq!(partitions, javas, "{library:?} {key}");
            }
        }
    }
    for other in [Library::Librdkafka, Library::Sarama] {
        let apart = of(other)
            .iter()
            .filter(|(key, places)| of(Library::Java).get(*key) != Some(*places));
        let (apart, all) = (apart.count(), of(other).len());
        assert!(apart > all / 2, "{other:?}: {apart} of {all} keys");
    }
    let used = places.values().flat_map(|keys| keys.values().flatten());
    let used: BTreeSet<_> = used.collect();
    assert_eq!(used.len(), PARTITIONS as usize);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_whose_function_is_known_takes_rows_from_both_wires() {
    let topic = topic::create(&[("vltava.key.partitioner", "murmur2")]).await;
    let mut expected = fill(&topic, &MURMUR2);
    // A row of a Fluss client goes where kafka-clients puts it, so the next record replaces it.
    let table = Table::open(&topic).await;
    let before = places(&topic);
    let keys: Vec<_> = before["Java"].keys().take(20).cloned().collect();
    for key in &keys {
        table.upsert(key, "fluss 0").await;
        expected.insert(key.clone(), Some("fluss 0".to_owned()));
    }
    found_by_all(&topic, &expected).await;
    let after = places(&topic);
    for key in &keys {
        assert_eq!(after["fluss"][key], before["Java"][key], "{key}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_library_writes_a_record_without_a_key() {
    let topic = topic::create(&[]).await;
    for library in Library::ALL {
        let failed = topic::produce(library, &topic, [(None, Some("lost"))]);
        let reason = failed
            .get(&0)
            .unwrap_or_else(|| panic!("{library:?}: written"));
        let expected = match library {
            Library::Java => "org.apache.kafka.common.InvalidRecordException",
            Library::Librdkafka => "INVALID_RECORD",
            Library::Sarama => "This record has failed the validation on broker",
            Library::FranzGo => "INVALID_RECORD",
            Library::KafkaJs => "This record has failed the validation on broker",
            Library::KafkaPython => "InvalidRecordError",
            // aiokafka 0.14.0 has no name for Kafka's error 87.
            Library::Aiokafka => "UnknownError",
        };
        assert!(reason.contains(expected), "{library:?}: {reason}");
    }
    assert_eq!(topic::read(&topic), []);
}
