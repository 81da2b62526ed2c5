use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use protocol::fluss::value::Value;
use protocol::ids::SchemaId;

use super::*;

fn put(row: &[u8]) -> KeyChange<'_> {
    KeyChange::Put(Value {
        schema_id: SchemaId::new(1),
        row,
    })
}

fn stored(row: &[u8]) -> Vec<u8> {
    [&[1, 0], row].concat()
}

/// A key and what the index gets for it.
type Entries = Vec<(Vec<u8>, Option<Vec<u8>>)>;

fn collect(buffer: &WriteBuffer, end: i64) -> (Applied, Entries) {
    let mut all = Vec::new();
    let applied = buffer.for_each_below(Offset::new(end), |key, value| {
        all.push((key.to_vec(), value.map(<[u8]>::to_vec)));
    });
    (applied, all)
}

#[test]
fn the_newest_value_is_seen_until_the_index_has_it() {
    let mut buffer = WriteBuffer::new(ValueLayout::Plain, 1 << 20);
    let one = buffer.begin(10).unwrap();
    buffer.put(b"a", put(b"1"), 0, 1, 0).unwrap();
    buffer.put(b"b", put(b"2"), 0, 1, 1).unwrap();
    buffer.put(b"a", put(b"3"), 0, 0, 3).unwrap();
    assert_eq!(buffer.get(b"a"), Some(Pending::Stored(&stored(b"3"))));
    assert_eq!(buffer.get(b"c"), None);
    let two = buffer.begin(10).unwrap();
    buffer.put(b"b", KeyChange::Remove, 0, -1, 0).unwrap();
    assert_eq!(buffer.get(b"b"), Some(Pending::Removed));
    // Nothing is applied before the log gave offsets.
    assert_eq!(collect(&buffer, i64::MAX).0.entries, 0);
    buffer.place(one, Offset::new(10));
    let (applied, entries) = collect(&buffer, 14);
    let expected = Applied {
        entries: 3,
        row_delta: 2,
    };
    assert_eq!(applied, expected);
    let expected = [
        (b"b".to_vec(), Some(stored(b"2"))),
        (b"a".to_vec(), Some(stored(b"3"))),
    ];
    assert_eq!(entries, expected);
    buffer.remove_below(Offset::new(14));
    assert_eq!(buffer.get(b"a"), None);
    assert_eq!(buffer.get(b"b"), Some(Pending::Removed));
    buffer.place(two, Offset::new(14));
    assert_eq!(collect(&buffer, 15).1, [(b"b".to_vec(), None)]);
    buffer.remove_below(Offset::new(15));
    assert_eq!((buffer.len(), buffer.bytes_len()), (0, 0));
}

#[test]
fn an_undone_batch_takes_the_later_ones_with_it() {
    let mut buffer = WriteBuffer::new(ValueLayout::Tagged, 1 << 20);
    let one = buffer.begin(10).unwrap();
    buffer.put(b"a", put(b"1"), 7, 1, 0).unwrap();
    buffer.place(one, Offset::new(0));
    let two = buffer.begin(10).unwrap();
    buffer.put(b"a", KeyChange::Remove, 7, -1, 0).unwrap();
    buffer.put(b"b", put(b"2"), 7, 1, 1).unwrap();
    let three = buffer.begin(10).unwrap();
    buffer.put(b"a", put(b"3"), 7, 1, 0).unwrap();
    assert_eq!(buffer.undo_from(two), 1);
    let value = [&7i64.to_be_bytes()[..], &stored(b"1")].concat();
    assert_eq!(buffer.get(b"a"), Some(Pending::Stored(&value)));
    assert_eq!(buffer.get(b"b"), None);
    // An id of what was undone names nothing, also when its number is used again.
    let again = buffer.begin(10).unwrap();
    assert_eq!((buffer.undo_from(three), buffer.undo_from(two)), (0, 0));
    buffer.place(two, Offset::new(1));
    assert_eq!(buffer.undo_from(again), 0);
    assert_eq!(buffer.len(), 1);
}

#[test]
fn a_full_buffer_says_whether_waiting_helps() {
    let mut buffer = WriteBuffer::new(ValueLayout::Plain, 200);
    let one = buffer.begin(1000).unwrap();
    let alone = buffer.put(b"k", put(&[0; 300]), 0, 1, 0).unwrap_err();
    assert!(!alone.retriable);
    buffer.put(b"k", put(b"v"), 0, 1, 0).unwrap();
    let full = buffer.begin(200).unwrap_err();
    assert!(full.retriable);
    buffer.begin(1).unwrap();
    let full = buffer.put(b"l", put(&[0; 150]), 0, 1, 0).unwrap_err();
    assert!(full.retriable);
    buffer.undo_from(one);
    assert_eq!(buffer.bytes_len(), 0);
}

#[derive(Debug, Clone)]
enum Step {
    Batch(Vec<(u8, Option<u8>)>),
    Place,
    Undo(prop::sample::Index),
    Apply(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => vec((0..12u8, any::<Option<u8>>()), 0..8).prop_map(Step::Batch),
        3 => Just(Step::Place),
        1 => any::<prop::sample::Index>().prop_map(Step::Undo),
        2 => any::<u8>().prop_map(Step::Apply),
    ]
}

/// A batch of the model: its id, its base offset, its changes.
type Modelled = (BatchId, Option<i64>, Vec<(u8, Option<u8>)>);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn buffer_and_index_equal_a_plain_list_of_changes(steps in vec(step(), 1..60)) {
        let mut buffer = WriteBuffer::new(ValueLayout::Plain, 1 << 20);
        let mut index = BTreeMap::<Vec<u8>, Vec<u8>>::new();
        let mut rows = 0i64;
        let mut batches: Vec<Modelled> = Vec::new();
        let (mut placed, mut end, mut applied_to) = (0, 0i64, 0i64);
        for step in steps {
            match step {
                Step::Batch(changes) => {
                    let id = buffer.begin(64).unwrap();
                    for (delta, (key, value)) in (0..).zip(&changes) {
                        let row = value.map(|v| [v]);
                        let change = row.as_ref().map_or(KeyChange::Remove, |r| put(r));
                        buffer.put(&[*key], change, 0, if value.is_some() { 1 } else { -1 }, delta).unwrap();
                    }
                    batches.push((id, None, changes));
                }
                Step::Place if placed < batches.len() => {
                    let (id, base, changes) = &mut batches[placed];
                    buffer.place(*id, Offset::new(end));
                    *base = Some(end);
                    end += changes.len().max(1) as i64;
                    placed += 1;
                }
                // Only what the log does not have is taken back.
                Step::Undo(which) if placed < batches.len() => {
                    let which = placed + which.index(batches.len() - placed);
                    let later = buffer.undo_from(batches[which].0);
                    prop_assert_eq!(later, batches.len() - which - 1);
                    batches.truncate(which);
                }
                Step::Apply(part) => {
                    let to = applied_to + (end - applied_to) * i64::from(part) / 255;
                    let (applied, entries) = collect(&buffer, to);
                    rows += applied.row_delta;
                    for (key, value) in entries {
                        match value {
                            Some(value) => index.insert(key, value),
                            None => index.remove(&key),
                        };
                    }
                    buffer.remove_below(Offset::new(to));
                    applied_to = to;
                }
                Step::Place | Step::Undo(_) => {}
            }
            let mut expected = BTreeMap::new();
            let (mut waiting, mut applied_rows) = (0, 0i64);
            for (_, base, changes) in &batches {
                for (delta, (key, value)) in (0..).zip(changes) {
                    expected.insert(vec![*key], value.map(|v| stored(&[v])));
                    if base.is_some_and(|b| b + delta < applied_to) {
                        applied_rows += if value.is_some() { 1 } else { -1 };
                    } else {
                        waiting += 1;
                    }
                }
            }
            prop_assert_eq!(buffer.len(), waiting);
            prop_assert_eq!(rows, applied_rows);
            prop_assert_eq!(buffer.bytes_len() == 0, waiting == 0);
            for key in (0..12u8).map(|k| vec![k]) {
                let seen = match buffer.get(&key) {
                    Some(Pending::Removed) => None,
                    Some(Pending::Stored(value)) => Some(value.to_vec()),
                    None => index.get(&key).cloned(),
                };
                prop_assert_eq!(seen, expected.get(&key).cloned().flatten());
            }
        }
    }
}
