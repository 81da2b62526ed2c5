use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// `bits name old new union`, as RoaringBitmap 1.3.0 serializes them when it joins the way Fluss's
/// aggregation does: read both, or, run-optimise, write.
const GOLDEN: &str = include_str!("golden.txt");

/// Both took removals: Java's tree keeps garbage bytes where its children were.
const EQUAL_BUT_FOR_GARBAGE: [&str; 2] = ["after_removal", "after_removal_deep"];

fn hex(digits: &str) -> Vec<u8> {
    let nibble = |c: u8| (c as char).to_digit(16).unwrap() as u8;
    digits
        .as_bytes()
        .chunks(2)
        .map(|p| nibble(p[0]) << 4 | nibble(p[1]))
        .collect()
}

fn union(wide: bool, old: &[u8], new: &[u8]) -> Result<Vec<u8>, BitmapError> {
    let (mut bits, mut out) = (Bits::default(), Vec::new());
    match wide {
        true => union64(old, new, &mut bits, &mut out)?,
        false => union32(old, new, &mut bits, &mut out)?,
    }
    Ok(out)
}

fn golden() -> impl Iterator<Item = (bool, &'static str, [Vec<u8>; 3])> {
    GOLDEN.lines().map(|line| {
        let parts: Vec<_> = line.split(' ').collect();
        let bytes = [2, 3, 4].map(|i| hex(parts[i]));
        (parts[0] == "64", parts[1], bytes)
    })
}

#[test]
fn unions_equal_those_of_the_java_library() {
    for (wide, name, [old, new, expected]) in golden() {
        let found = union(wide, &old, &new).unwrap();
        if !EQUAL_BUT_FOR_GARBAGE.contains(&name) {
            assert_eq!(found, expected, "{wide} {name}");
        }
        // What was joined reads again and has nothing to gain.
        let again = union(wide, &found, &new).unwrap();
        assert_eq!(again, found, "{wide} {name}");
    }
}

#[test]
fn bytes_that_are_no_bitmap_are_refused() {
    assert_eq!(union(false, &[], &[]), Err(BitmapError::Cut));
    assert_eq!(
        union(false, &[1, 2, 3, 4], &[]),
        Err(BitmapError::Cookie(0x0403_0201))
    );
    assert_eq!(union(true, &[1], &[0]), Err(BitmapError::Cut));
    assert_eq!(union(true, &[0], &[0]).unwrap(), [0]);
}

/// A portable bitmap of arrays.
fn narrow(values: &BTreeSet<u32>) -> Vec<u8> {
    let mut containers = BTreeMap::<u16, Vec<u16>>::new();
    for value in values {
        let key = (value >> 16) as u16;
        containers.entry(key).or_default().push(*value as u16);
    }
    let count = containers.len();
    let mut out = [12346u32.to_le_bytes(), (count as u32).to_le_bytes()].concat();
    for (key, low) in &containers {
        out.extend(key.to_le_bytes());
        out.extend((low.len() as u16 - 1).to_le_bytes());
    }
    out.resize(out.len() + 4 * count, 0);
    out.extend(containers.values().flatten().flat_map(|v| v.to_le_bytes()));
    out
}

/// A 64-bit bitmap of one value.
fn single(value: u64) -> Vec<u8> {
    let mut out = vec![1];
    out.extend(1u64.to_le_bytes());
    out.extend([4, 0, 0, 0]);
    out.extend(&value.to_be_bytes()[..6]);
    out.extend(0u64.to_le_bytes());
    out.extend(1u32.to_le_bytes());
    out.push(0xfe);
    out.extend(1u32.to_le_bytes());
    out.extend([1, 2, 1, 0, 0, 0]);
    out.extend((value as u16).to_le_bytes());
    out.extend(1u64.to_le_bytes());
    out.extend([0; 8]);
    out
}

fn wide(values: impl IntoIterator<Item = u64>) -> Vec<u8> {
    values.into_iter().fold(vec![0], |all, value| {
        union(true, &all, &single(value)).unwrap()
    })
}

/// Values whose keys are near each other and far away, so that all node types come up.
fn wide_value() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0..600u64).prop_map(|v| v << 14),
        1 => (0..300u64).prop_map(|v| v << 24 | 0x0011_0000_0000_0000),
        1 => any::<u64>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_narrow_union_is_the_union_of_the_sets(
        a in proptest::collection::btree_set(0..300_000u32, 0..400),
        b in proptest::collection::btree_set(0..300_000u32, 0..400),
        from in 0..200_000u32,
        len in 0..3_000u32,
    ) {
        let a: BTreeSet<_> = a.into_iter().chain(from..from + len).collect();
        let all: BTreeSet<_> = a.union(&b).copied().collect();
        let joined = union(false, &narrow(&a), &narrow(&b)).unwrap();
        let empty = narrow(&BTreeSet::new());
        // Java keeps runs that came in, so the same set may have two forms.
        let canonical = union(false, &empty, &narrow(&all)).unwrap();
        prop_assert_eq!(union(false, &joined, &canonical).unwrap(), joined.clone());
        prop_assert_eq!(&joined, &canonical);
    }

    #[test]
    fn a_wide_union_has_the_values_of_both(
        mut values in vec(wide_value(), 1..120),
        cut in any::<prop::sample::Index>(),
    ) {
        let (left, right) = values.split_at(cut.index(values.len()));
        let joined = union(true, &wide(left.iter().copied()), &wide(right.iter().copied())).unwrap();
        for value in &values {
            prop_assert_eq!(&union(true, &joined, &single(*value)).unwrap(), &joined);
        }
        values.sort_unstable();
        values.dedup();
        let count = u64::from_le_bytes(joined[1..9].try_into().unwrap());
        values.dedup_by_key(|v| *v >> 16);
        prop_assert_eq!(count, values.len() as u64);
    }

    #[test]
    fn damaged_bytes_never_panic(
        case in any::<prop::sample::Index>(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let cases: Vec<_> = golden().filter(|(.., [a, _, _])| a.len() < 3000).collect();
        let (wide, _, [old, new, _]) = case.get(&cases);
        let mut broken = old.clone();
        for (at, byte) in damage {
            let at = at.index(broken.len());
            broken[at] = byte;
        }
        let _ = union(*wide, &broken, new);
        let _ = union(*wide, new, &broken);
        broken.truncate(cut.index(broken.len()));
        let _ = union(*wide, &broken, new);
    }
}
