//! Answers of many lookups in one piece of memory, which is used again.

use std::ops::Range;

use bytes::Bytes;

/// The stored values of keys that were looked up together.
#[derive(Debug, Clone, Default)]
pub struct FoundRows {
    bytes: Vec<u8>,
    rows: Vec<Option<Range<usize>>>,
}

impl FoundRows {
    /// Nothing found.
    pub fn new() -> Self {
        FoundRows::default()
    }

    /// Forgets all answers and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.rows.clear();
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
        self.rows[index] = value.map(|value| {
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
