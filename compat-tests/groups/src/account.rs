//! Which records were consumed, by whom.

use std::collections::BTreeMap;

/// Records of one partition, from `first` up to but not including `next`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    /// The partition.
    pub partition: i32,
    /// The first offset.
    pub first: i64,
    /// One past the last offset.
    pub next: i64,
}

/// What a member said about a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    Committing,
    Committed,
    Refused,
}

/// Reads a member's line; `None` for anything else that it may print.
pub(crate) fn line(text: &str) -> Option<(Word, Range)> {
    let mut parts = text.split_whitespace();
    let word = match parts.next()? {
        "committing" => Word::Committing,
        "committed" => Word::Committed,
        "refused" => Word::Refused,
        _ => return None,
    };
    let partition = parts.next()?.parse().ok()?;
    let first = parts.next()?.parse().ok()?;
    let next = parts.next()?.parse().ok()?;
    Some((
        word,
        Range {
            partition,
            first,
            next,
        },
    ))
}

/// All accepted commits of a group.
#[derive(Debug, Default)]
pub struct Account {
    consumed: BTreeMap<Range, String>,
}

impl Account {
    /// Enters what `member` committed.
    ///
    /// # Panics
    /// When another entry has a record of it: that record was read by two after a commit.
    pub fn enter(&mut self, member: &str, range: Range) {
        let overlap = self.consumed.iter().find(|(other, _)| {
            other.partition == range.partition
                && other.first < range.next
                && range.first < other.next
        });
        if let Some((other, owner)) = overlap {
            panic!("{member} committed {range:?}, and {owner} {other:?}");
        }
        self.consumed.insert(range, member.to_owned());
    }

    /// Whether `range` touches nothing entered so far.
    pub fn is_free(&self, range: Range) -> bool {
        !self.consumed.keys().any(|other| {
            other.partition == range.partition
                && other.first < range.next
                && range.first < other.next
        })
    }

    /// The offsets of a partition up to `end` that nobody consumed.
    pub fn missing(&self, partition: i32, end: i64) -> Vec<(i64, i64)> {
        let mut holes = Vec::new();
        let mut at = 0;
        for range in self
            .consumed
            .keys()
            .filter(|range| range.partition == partition)
        {
            if range.first > at {
                holes.push((at, range.first));
            }
            at = range.next;
        }
        if at < end {
            holes.push((at, end));
        }
        holes
    }

    /// How many records `member` consumed.
    pub fn count(&self, member: &str) -> i64 {
        self.consumed
            .iter()
            .filter(|(_, owner)| *owner == member)
            .map(|(range, _)| range.next - range.first)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: i64, next: i64) -> Range {
        Range {
            partition: 0,
            first,
            next,
        }
    }

    #[test]
    fn holes_are_found_at_both_ends_and_between() {
        let mut account = Account::default();
        account.enter("a", range(2, 4));
        account.enter("b", range(6, 8));
        assert_eq!(account.missing(0, 9), [(0, 2), (4, 6), (8, 9)]);
        assert_eq!(account.count("a"), 2);
        assert!(account.is_free(range(4, 6)));
        assert!(!account.is_free(range(3, 6)));
    }

    #[test]
    #[should_panic(expected = "committed")]
    fn a_record_consumed_twice_is_found() {
        let mut account = Account::default();
        account.enter("a", range(0, 4));
        account.enter("b", range(3, 5));
    }

    #[test]
    fn lines_of_members_are_read() {
        assert_eq!(
            line("committed 1 5 9"),
            Some((
                Word::Committed,
                Range {
                    partition: 1,
                    first: 5,
                    next: 9
                }
            ))
        );
        assert_eq!(line("WARN committed"), None);
    }
}
