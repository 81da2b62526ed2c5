//! Containers: 65,536 neighbouring values, in the form that takes the fewest bytes.
//!
//! ```text
//! array   u16 × values, ascending
//! bitmap  u64 × 1024
//! run     count u16 | (first u16, length - 1 u16) × count
//! ```

use super::{BitmapError, Input};

/// The largest number of values in an array.
pub(super) const ARRAY_MAX: u32 = 4096;
const BITMAP_LEN: usize = 8192;
const WORDS: usize = BITMAP_LEN / 8;

/// The form of a container. The numbers are those of 64-bit bitmaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Form {
    Run = 0,
    Bitmap = 1,
    Array = 2,
}

/// A container of serialized bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Container<'a> {
    pub(super) form: Form,
    /// Values in it; for bitmaps what the bytes say.
    pub(super) cardinality: u32,
    /// What the module's drawing shows.
    pub(super) bytes: &'a [u8],
}

impl<'a> Container<'a> {
    /// Reads a container whose form is known. `cardinality` is not used for runs.
    pub(super) fn read(
        form: Form,
        cardinality: u32,
        input: &mut Input<'a>,
    ) -> Result<Self, BitmapError> {
        let (cardinality, bytes) = match form {
            Form::Bitmap => (cardinality, input.bytes(BITMAP_LEN)?),
            Form::Array => {
                let len = usize::try_from(cardinality).map_err(|_| BitmapError::Cut)?;
                let len = len.checked_mul(2).ok_or(BitmapError::Cut)?;
                (cardinality, input.bytes(len)?)
            }
            Form::Run => {
                let count = input.clone().u16()?;
                let bytes = input.bytes(2 + 4 * usize::from(count))?;
                let mut cardinality = 0u32;
                for (first, more) in runs(bytes) {
                    if u32::from(first) + u32::from(more) > 0xffff {
                        return Err(BitmapError::Run);
                    }
                    cardinality = cardinality.saturating_add(u32::from(more) + 1);
                }
                (cardinality, bytes)
            }
        };
        Ok(Container {
            form,
            cardinality,
            bytes,
        })
    }
}

impl Container<'_> {
    /// True for an array in order that would not be smaller as runs: it may stay as it is.
    pub(super) fn is_best_array(&self) -> bool {
        if self.form != Form::Array {
            return false;
        }
        let mut run_count = 0u32;
        let mut last = None;
        for pair in self.bytes.as_chunks::<2>().0 {
            let value = u16::from_le_bytes(*pair);
            match last {
                Some(last) if value <= last => return false,
                Some(last) if value == last + 1 => {}
                _ => run_count += 1,
            }
            last = Some(value);
        }
        self.cardinality <= ARRAY_MAX && 2 + 4 * run_count >= 2 * self.cardinality
    }
}

/// The runs of a run container: first value, and how many follow it.
fn runs(bytes: &[u8]) -> impl Iterator<Item = (u16, u16)> {
    let (pairs, _) = bytes[2..].as_chunks::<4>();
    pairs.iter().map(|[a, b, c, d]| {
        let first = u16::from_le_bytes([*a, *b]);
        (first, u16::from_le_bytes([*c, *d]))
    })
}

/// A container that is being joined, as bits.
#[derive(Debug)]
pub(in super::super) struct Bits {
    words: Box<[u64; WORDS]>,
    /// A joined container was a run: Java then keeps runs where an array is as small.
    was_run: bool,
}

impl Default for Bits {
    fn default() -> Self {
        Bits {
            words: Box::new([0; WORDS]),
            was_run: false,
        }
    }
}

impl Bits {
    /// Begins with no values.
    pub(super) fn clear(&mut self) {
        self.words.fill(0);
        self.was_run = false;
    }

    /// Adds these values.
    pub(super) fn add(&mut self, container: Container<'_>) {
        match container.form {
            Form::Array => {
                for pair in container.bytes.as_chunks::<2>().0 {
                    let value = u16::from_le_bytes(*pair);
                    self.words[usize::from(value / 64)] |= 1 << (value % 64);
                }
            }
            Form::Bitmap => {
                let (words, _) = container.bytes.as_chunks::<8>();
                for (to, from) in self.words.iter_mut().zip(words) {
                    *to |= u64::from_le_bytes(*from);
                }
            }
            Form::Run => {
                self.was_run = true;
                for (first, more) in runs(container.bytes) {
                    self.set_range(usize::from(first), usize::from(first) + usize::from(more));
                }
            }
        }
    }

    fn set_range(&mut self, first: usize, last: usize) {
        let (from, to) = (first / 64, last / 64);
        let (low, high) = (u64::MAX << (first % 64), u64::MAX >> (63 - last % 64));
        if from == to {
            self.words[from] |= low & high;
            return;
        }
        self.words[from] |= low;
        self.words[from + 1..to].fill(u64::MAX);
        self.words[to] |= high;
    }

    /// Appends the values in their smallest form, and tells which that is and how many they are.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> (Form, u32) {
        let (mut cardinality, mut run_count) = (0u32, 0u32);
        let mut carry = 0;
        for word in self.words.iter() {
            cardinality += word.count_ones();
            // A run starts where a bit is set and the one before it is not.
            run_count += (word & !(word << 1 | carry)).count_ones();
            carry = word >> 63;
        }
        let as_run = 2 + 4 * run_count;
        let as_array = 2 * cardinality;
        let form = if cardinality > ARRAY_MAX {
            if as_run < BITMAP_LEN as u32 {
                Form::Run
            } else {
                Form::Bitmap
            }
        } else if as_run < as_array || self.was_run && as_run <= as_array + 2 {
            Form::Run
        } else {
            Form::Array
        };
        match form {
            Form::Bitmap => {
                for word in self.words.iter() {
                    out.extend_from_slice(&word.to_le_bytes());
                }
            }
            Form::Array => self.write_array(out),
            Form::Run => {
                let count = u16::try_from(run_count).expect("a container has 32,768 runs at most");
                out.extend_from_slice(&count.to_le_bytes());
                self.write_runs(out);
            }
        }
        (form, cardinality)
    }

    fn write_array(&self, out: &mut Vec<u8>) {
        for (base, word) in (0..=u16::MAX).step_by(64).zip(self.words.iter()) {
            let mut left = *word;
            while left != 0 {
                let value = base + left.trailing_zeros() as u16;
                out.extend_from_slice(&value.to_le_bytes());
                left &= left - 1;
            }
        }
    }

    fn write_runs(&self, out: &mut Vec<u8>) {
        let mut at = 0;
        while let Some(first) = self.next(at, false) {
            let end = self.next(first, true).unwrap_or(WORDS * 64);
            out.extend_from_slice(&(first as u16).to_le_bytes());
            out.extend_from_slice(&((end - first - 1) as u16).to_le_bytes());
            at = end;
        }
    }

    /// The first bit from `at` on that is set, or not set when `inverted`.
    fn next(&self, at: usize, inverted: bool) -> Option<usize> {
        let flip = if inverted { u64::MAX } else { 0 };
        let mut index = at / 64;
        let mut word = (self.words.get(index)? ^ flip) & (u64::MAX << (at % 64));
        while word == 0 {
            index += 1;
            word = self.words.get(index)? ^ flip;
        }
        Some(index * 64 + word.trailing_zeros() as usize)
    }
}
