//! Answers of many lookups in one piece of memory, which is used again.

use std::ops::Range;

use bytes::Bytes;

/// What a holder keeps from one use to the next.
const KEPT_BYTES: usize = 1 << 20;

/// The stored values of keys that were looked up together.
#[derive(Debug, Clone)]
pub struct FoundRows {
    bytes: Vec<u8>,
    rows: Vec<Option<Range<usize>>>,
    bytes_max: usize,
    is_over: bool,
}

impl Default for FoundRows {
    fn default() -> Self {
        FoundRows::of_at_most(usize::MAX)
    }
}

impl FoundRows {
    /// Nothing found, and no bound on it.
    pub fn new() -> Self {
        FoundRows::default()
    }

    /// Nothing found. Takes values of so many bytes together; a value that goes over it is left out
    /// ([`FoundRows::is_over`]).
    pub fn of_at_most(bytes_max: usize) -> Self {
        FoundRows {
            bytes: Vec::new(),
            rows: Vec::new(),
            bytes_max,
            is_over: false,
        }
    }

    /// Begins again with another bound; of the memory it keeps what many small values need.
    pub fn restart(&mut self, bytes_max: usize) {
        self.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.rows
            .shrink_to(KEPT_BYTES / size_of::<Option<Range<usize>>>());
        self.bytes_max = bytes_max;
    }

    /// Forgets all answers and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.rows.clear();
        self.is_over = false;
    }

    /// True when a value was left out: nothing here is of use, and to look on is in vain.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// How many values like those so far may come; one at least.
    pub(crate) fn may_come(&self) -> usize {
        let usual = self.bytes.len() / self.rows.iter().flatten().count().max(1);
        ((self.bytes_max - self.bytes.len()) / usual.max(1)).max(1)
    }

    /// True when values are taken whatever their size.
    pub(crate) fn is_unbounded(&self) -> bool {
        self.bytes_max == usize::MAX
    }

    /// Adds the answer for the next key.
    pub fn push(&mut self, value: Option<&[u8]>) {
        self.rows.push(None);
        self.set(self.rows.len() - 1, value);
    }

    /// Replaces an answer that was added.
    ///
    /// # Panics
    /// There is none at `index`.
    pub fn set(&mut self, index: usize, value: Option<&[u8]>) {
        let start = self.bytes.len();
        let fits = |value: &&[u8]| value.len() <= self.bytes_max - start;
        self.is_over |= !value.as_ref().is_none_or(fits);
        self.rows[index] = value.filter(fits).map(|value| {
            self.bytes.extend_from_slice(value);
            start..self.bytes.len()
        });
    }

    /// Answers.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// True without answers.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The value of key `index`; none when it has no row.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let range = self.rows.get(index)?.clone()?;
        self.bytes.get(range)
    }

    /// All answers in order, without their first `skip` bytes, in one shared piece of memory.
    pub fn into_values(self, skip: usize) -> Vec<Option<Bytes>> {
        let bytes = Bytes::from(self.bytes);
        let value = |range: Range<usize>| {
            let start = range.end.min(range.start + skip);
            bytes.slice(start..range.end)
        };
        self.rows.into_iter().map(|row| row.map(value)).collect()
    }

    /// All answers in order.
    pub fn iter(&self) -> impl Iterator<Item = Option<&[u8]>> {
        (0..self.len()).map(|i| self.get(i))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_goes_over_the_bound_is_left_out_and_seen() {
        let mut found = FoundRows::of_at_most(4);
        found.push(Some(b"abc"));
        found.push(None);
        found.push(Some(b"d"));
        assert!(!found.is_over());
        found.push(Some(b"e"));
        assert!(found.is_over());
        assert_eq!((found.get(2), found.get(3)), (Some(&b"d"[..]), None));
        found.clear();
        assert!(!found.is_over());
        found.push(Some(b"efgh"));
        assert!(!found.is_over());
        assert_eq!(found.into_values(1), [Some(Bytes::from_static(b"fgh"))]);
    }
}
