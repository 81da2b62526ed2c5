//! 32-bit bitmaps, in the portable format.
//!
//! ```text
//! without runs: cookie 12346 u32 | containers u32
//! with runs:    cookie 12347 u16 | containers - 1 u16 | one bit per container: it is a run
//! (key u16, values - 1 u16) × containers
//! offset u32 × containers, unless there are runs and less than 4 containers
//! containers in the order of their keys
//! ```

use super::container::{ARRAY_MAX, Bits, Container, Form};
use super::{BitmapError, Input};

const COOKIE_NO_RUNS: u32 = 12346;
const COOKIE: u32 = 12347;
/// With fewer containers and runs there are no offsets.
const OFFSETS_FROM: usize = 4;

/// The containers of a bitmap, read one after the other.
struct Containers<'a> {
    count: usize,
    index: usize,
    last_key: Option<u16>,
    run_bits: &'a [u8],
    heads: &'a [[u8; 4]],
    input: Input<'a>,
}

impl<'a> Containers<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, BitmapError> {
        let mut input = Input::new(bytes);
        let cookie = input.u32()?;
        let (count, run_bits) = if cookie & 0xffff == COOKIE {
            let count = (cookie >> 16) as usize + 1;
            (count, input.bytes(count.div_ceil(8))?)
        } else if cookie == COOKIE_NO_RUNS {
            (input.u32()? as usize, &[][..])
        } else {
            return Err(BitmapError::Cookie(cookie));
        };
        if count > 1 << 16 {
            return Err(BitmapError::Containers);
        }
        let (heads, _) = input.bytes(count * 4)?.as_chunks();
        if run_bits.is_empty() || count >= OFFSETS_FROM {
            input.bytes(count * 4)?;
        }
        Ok(Containers {
            count,
            index: 0,
            last_key: None,
            run_bits,
            heads,
            input,
        })
    }

    fn next(&mut self) -> Result<Option<(u16, Container<'a>)>, BitmapError> {
        let Some([a, b, c, d]) = self.heads.get(self.index) else {
            return Ok(None);
        };
        let key = u16::from_le_bytes([*a, *b]);
        if self.last_key.is_some_and(|last| last >= key) {
            return Err(BitmapError::Containers);
        }
        let cardinality = u32::from(u16::from_le_bytes([*c, *d])) + 1;
        let run = self.run_bits.get(self.index / 8).copied().unwrap_or(0) >> (self.index % 8) & 1;
        let form = match run {
            1 => Form::Run,
            _ if cardinality > ARRAY_MAX => Form::Bitmap,
            _ => Form::Array,
        };
        self.index += 1;
        self.last_key = Some(key);
        Ok(Some((
            key,
            Container::read(form, cardinality, &mut self.input)?,
        )))
    }
}

/// Appends the union of two bitmaps to `out`.
pub(in super::super) fn union(
    old: &[u8],
    new: &[u8],
    bits: &mut Bits,
    out: &mut Vec<u8>,
) -> Result<(), BitmapError> {
    let (mut left, mut right) = (Containers::new(old)?, Containers::new(new)?);
    let mut heads: Vec<(u16, Form, u32, u32)> = Vec::with_capacity(left.count + right.count);
    let mut body = Vec::with_capacity(old.len() + new.len());
    let (mut a, mut b) = (left.next()?, right.next()?);
    loop {
        let key = match (&a, &b) {
            (None, None) => break,
            (Some((a, _)), Some((b, _))) => *a.min(b),
            (Some((key, _)), None) | (None, Some((key, _))) => *key,
        };
        let first = a.take_if(|(k, _)| *k == key);
        let second = b.take_if(|(k, _)| *k == key);
        let (reads_left, reads_right) = (first.is_some(), second.is_some());
        let at = body.len() as u32;
        let mut containers = first.into_iter().chain(second).map(|(_, c)| c);
        let (form, cardinality) = match (containers.next(), containers.next()) {
            (Some(only), None) if only.is_best_array() => {
                body.extend_from_slice(only.bytes);
                (only.form, only.cardinality)
            }
            (one, two) => {
                bits.clear();
                one.into_iter().chain(two).for_each(|c| bits.add(c));
                bits.write(&mut body)
            }
        };
        if reads_left {
            a = left.next()?;
        }
        if reads_right {
            b = right.next()?;
        }
        if cardinality == 0 {
            return Err(BitmapError::Containers);
        }
        heads.push((key, form, cardinality, at));
    }
    write(&heads, &body, out);
    Ok(())
}

fn write(heads: &[(u16, Form, u32, u32)], body: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let count = heads.len() as u32;
    let runs = heads.iter().any(|(_, form, ..)| *form == Form::Run);
    if runs {
        out.extend_from_slice(&(COOKIE | (count - 1) << 16).to_le_bytes());
        let bits = out.len();
        out.resize(bits + heads.len().div_ceil(8), 0);
        for (i, (_, form, ..)) in heads.iter().enumerate() {
            out[bits + i / 8] |= u8::from(*form == Form::Run) << (i % 8);
        }
    } else {
        out.extend_from_slice(&COOKIE_NO_RUNS.to_le_bytes());
        out.extend_from_slice(&count.to_le_bytes());
    }
    for (key, _, cardinality, _) in heads {
        out.extend_from_slice(&key.to_le_bytes());
        out.extend_from_slice(&((cardinality - 1) as u16).to_le_bytes());
    }
    if !runs || heads.len() >= OFFSETS_FROM {
        let body_at = (out.len() - start + 4 * heads.len()) as u32;
        for (.., at) in heads {
            out.extend_from_slice(&(body_at + at).to_le_bytes());
        }
    }
    out.extend_from_slice(body);
}
