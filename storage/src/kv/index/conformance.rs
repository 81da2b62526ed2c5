//! What every index does. `run` takes an empty one.

use std::ops::ControlFlow;

use protocol::ids::{LeaderEpoch, Offset};

use super::{FoundRows, Index, IndexState, LogEnds, Rebuild, check};

/// A log without records of any epoch, but with offsets; or with records of one epoch.
pub(crate) struct Ends {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) epoch: Option<i32>,
}

impl LogEnds for Ends {
    fn log_start(&self) -> Offset {
        Offset::new(self.start)
    }

    fn log_end(&self) -> Offset {
        Offset::new(self.end)
    }

    fn epoch_at(&self, _: Offset) -> Option<LeaderEpoch> {
        self.epoch.map(LeaderEpoch::new)
    }
}

fn state(applied: i64, row_count: i64) -> IndexState {
    IndexState {
        applied: Offset::new(applied),
        epoch: None,
        row_count: Some(row_count),
    }
}

fn get(index: &dyn Index, keys: &[&[u8]]) -> Vec<Option<Vec<u8>>> {
    let mut found = FoundRows::new();
    found.push(Some(b"from before"));
    index.get_many(keys, &mut found).unwrap();
    assert_eq!(found.len(), keys.len());
    found.iter().map(|v| v.map(<[u8]>::to_vec)).collect()
}

fn with_prefix(index: &dyn Index, prefix: &[u8], limit: usize) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    let visited = index.scan_prefixes(&[prefix], true, &mut |_, key, _| {
        keys.push(key.to_vec());
        if keys.len() == limit {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    visited.unwrap();
    keys
}

/// Lookups stop at their bound, whatever answers them: 60 rows of 10 bytes, and some that are not
/// there.
fn bounded(index: &dyn Index) {
    let keys: Vec<Vec<u8>> = (0..70u8).map(|i| vec![b'x', b'x', i]).collect();
    let mut batch = index.start();
    for key in &keys[..60] {
        batch.put(key, b"ten bytes.");
    }
    let state = index.state();
    batch.commit(state).unwrap();
    let slices: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    // The last round is answered by what the one before it left in memory.
    for round in 0..3 {
        for (bytes_max, fits) in [(0, false), (99, false), (599, false), (600, true)] {
            let mut found = FoundRows::of_at_most(bytes_max);
            match round {
                0 => index.get_many(&slices, &mut found).unwrap(),
                1 => index.look_up(&slices, &mut found).unwrap(),
                _ => assert!(index.look_up_cached(&slices, &mut found).unwrap()),
            }
            assert_eq!(found.is_over(), !fits, "{round}: {bytes_max}");
            let bytes: usize = found.iter().flatten().map(<[u8]>::len).sum();
            assert!(bytes <= bytes_max, "{round}: {bytes}");
            if fits {
                assert_eq!((found.len(), bytes), (70, 600));
            }
        }
    }
    let mut batch = index.start();
    for key in &keys {
        batch.remove(key);
    }
    batch.commit(state).unwrap();
}

/// Runs all checks. Keys have prefixes of two bytes, but for those that are not looked up so.
pub(crate) fn run(index: &dyn Index) {
    assert_eq!(index.state(), state(0, 0));
    assert_eq!(get(index, &[b"aa1"]), [None]);
    assert!(get(index, &[]).is_empty());

    let mut batch = index.start();
    batch.put(b"aa1", b"one");
    batch.put(b"aa2", b"");
    batch.put(b"ab1", b"three");
    batch.put(b"aa1", b"uno");
    batch.put(b"gone", b"x");
    batch.remove(b"gone");
    batch.remove(b"never there");
    // Nothing is seen before the commit.
    assert_eq!(get(index, &[b"aa1"]), [None]);
    batch.commit(state(7, 3)).unwrap();
    assert_eq!(index.state(), state(7, 3));
    let found = get(index, &[b"ab1", b"gone", b"aa1", b"aa2", b"aa1"]);
    let uno = Some(b"uno".to_vec());
    let expected = [
        Some(b"three".to_vec()),
        None,
        uno.clone(),
        Some(Vec::new()),
        uno,
    ];
    assert_eq!(found, expected);

    // A batch that is dropped leaves nothing.
    let mut dropped = index.start();
    dropped.put(b"ac1", b"x");
    drop(dropped);
    assert_eq!(get(index, &[b"ac1"]), [None]);

    assert_eq!(with_prefix(index, b"aa", 9), [b"aa1", b"aa2"]);
    assert_eq!(with_prefix(index, b"aa", 1), [b"aa1"]);
    assert_eq!(with_prefix(index, b"ab", 9), [b"ab1"]);
    assert!(with_prefix(index, b"zz", 9).is_empty());

    // A view stays as it was.
    let view = index.view().unwrap();
    let mut batch = index.start();
    batch.remove(b"aa1");
    batch.put(b"ab1", b"later");
    batch.put(b"\xff\xff", b"last");
    batch.commit(state(9, 3)).unwrap();
    assert_eq!(view.state(), state(7, 3));
    let mut seen = Vec::new();
    let scanned = view.scan(None, &mut |key, value| {
        seen.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    });
    scanned.unwrap();
    let row = |key: &[u8], value: &[u8]| (key.to_vec(), value.to_vec());
    let expected = [row(b"aa1", b"uno"), row(b"aa2", b""), row(b"ab1", b"three")];
    assert_eq!(seen, expected);
    // A scan goes on behind a key, whether it is there or not.
    for after in [&b"aa1"[..], b"aa1x"] {
        let mut first = None;
        let scanned = view.scan(Some(after), &mut |key, _| {
            first = Some(key.to_vec());
            ControlFlow::Break(())
        });
        scanned.unwrap();
        assert_eq!(first.as_deref(), Some(&b"aa2"[..]));
    }
    drop(view);

    bounded(index);
    index.flush().unwrap();
    assert_eq!(index.state(), state(9, 3));
    assert_eq!(with_prefix(index, b"aa", 9), [b"aa2"]);
    assert_eq!(with_prefix(index, b"\xff\xff", 9), [b"\xff\xff"]);
}

#[test]
fn an_index_is_replayed_where_the_log_still_has_what_it_lacks() {
    let at = |applied| state(applied, 0);
    let log = |epoch| Ends {
        start: 10,
        end: 20,
        epoch,
    };
    assert_eq!(check(at(10), &log(None)), Ok(()));
    assert_eq!(check(at(20), &log(None)), Ok(()));
    assert!(matches!(
        check(at(9), &log(None)),
        Err(Rebuild::Behind { .. })
    ));
    assert!(matches!(
        check(at(21), &log(None)),
        Err(Rebuild::Ahead { .. })
    ));
    // The tail was lost, and others came in its place.
    assert!(matches!(
        check(at(20), &log(Some(4))),
        Err(Rebuild::Diverged { .. })
    ));
    let of_epoch = |epoch| IndexState {
        epoch: Some(LeaderEpoch::new(epoch)),
        ..at(20)
    };
    assert_eq!(check(of_epoch(4), &log(Some(4))), Ok(()));
    assert!(check(of_epoch(3), &log(Some(4))).is_err());
    assert!(check(of_epoch(3), &log(None)).is_err());
}
