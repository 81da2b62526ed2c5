//! 64-bit bitmaps, as Java's `Roaring64Bitmap` writes them.
//!
//! ```text
//! 0, when the bitmap is empty; else
//! 1 | keys u64 | tree | arrays u32 = 1 | 0xfe | places u32 | places
//!   | containers u64 | last array u32 = 0 | last place used u32
//! place:  0 for none, or 1 | form u8 | values u32 | container
//! ```
//!
//! The number of places is the capacity of a Java array, which grows by half.

use super::art::{Key, Node};
use super::container::{Bits, Container, Form};
use super::{BitmapError, Input};

const NOT_TRIMMED: u8 = 0xfe;
/// Containers that are joined in one value: 2^20 of them are larger than any batch.
const PLACES_MAX: usize = 1 << 20;

/// What stands in a place of the result.
#[derive(Debug, Clone, Copy)]
enum Place<'a> {
    Free,
    One(Container<'a>),
    Two(Container<'a>, Container<'a>),
}

/// A bitmap that is not empty.
struct Bitmap<'a> {
    tree: Node,
    keys: Vec<(Key, u64)>,
    places: Vec<Place<'a>>,
    last: usize,
}

impl<'a> Bitmap<'a> {
    fn read(bytes: &'a [u8]) -> Result<Option<Self>, BitmapError> {
        let mut input = Input::new(bytes);
        if input.u8()? == 0 {
            return Ok(None);
        }
        let key_count = input.u64()?;
        let mut keys = Vec::new();
        let tree = Node::read(&mut input, &mut Vec::new(), &mut |key, index| {
            keys.push((key, index));
            Ok(())
        })?;
        if input.u32()? != 1 {
            return Err(BitmapError::Containers);
        }
        input.u8()?;
        let place_count = input.u32()? as usize;
        if place_count > PLACES_MAX {
            return Err(BitmapError::TooLarge);
        }
        let mut places = Vec::new();
        for _ in 0..place_count {
            places.push(read_place(&mut input)?);
        }
        let container_count = input.u64()?;
        let last_array = input.u32()?;
        let last = input.u32()? as usize;
        let used = places.iter().filter(|p| matches!(p, Place::One(_)));
        let counts = [key_count, container_count, used.count() as u64];
        if counts != [keys.len() as u64; 3] || last_array != 0 || last >= places.len() {
            return Err(BitmapError::Containers);
        }
        // Every key has a container of its own.
        let mut seen = vec![false; places.len()];
        for (_, index) in &keys {
            let index = usize::try_from(*index).map_err(|_| BitmapError::Containers)?;
            match (places.get(index), seen.get_mut(index)) {
                (Some(Place::One(_)), Some(seen)) if !*seen && index <= last => *seen = true,
                _ => return Err(BitmapError::Containers),
            }
        }
        Ok(Some(Bitmap {
            tree,
            keys,
            places,
            last,
        }))
    }

    /// Adds a container under a key that is not there, where Java's array would have it.
    fn append(&mut self, key: Key, container: Container<'a>) -> Result<(), BitmapError> {
        self.last += 1;
        if self.last >= PLACES_MAX {
            return Err(BitmapError::TooLarge);
        }
        if self.last >= self.places.len() {
            let grown = self.places.len() + self.places.len() / 2;
            self.places.resize(grown.max(self.last + 1), Place::Free);
        }
        self.places[self.last] = Place::One(container);
        self.tree.insert(key, self.last as u64, 0);
        self.keys.push((key, self.last as u64));
        Ok(())
    }

    fn write(&self, bits: &mut Bits, out: &mut Vec<u8>) {
        let count = self.keys.len() as u64;
        out.push(1);
        out.extend_from_slice(&count.to_le_bytes());
        self.tree.write(out);
        out.extend_from_slice(&1u32.to_le_bytes());
        out.push(NOT_TRIMMED);
        out.extend_from_slice(&(self.places.len() as u32).to_le_bytes());
        for place in &self.places {
            write_place(*place, bits, out);
        }
        out.extend_from_slice(&count.to_le_bytes());
        out.extend_from_slice(&0u32.to_le_bytes());
        out.extend_from_slice(&(self.last as u32).to_le_bytes());
    }
}

fn read_place<'a>(input: &mut Input<'a>) -> Result<Place<'a>, BitmapError> {
    match input.u8()? {
        0 => return Ok(Place::Free),
        1 => {}
        _ => return Err(BitmapError::Containers),
    }
    let form = match input.u8()? {
        0 => Form::Run,
        1 => Form::Bitmap,
        2 => Form::Array,
        other => return Err(BitmapError::ContainerType(other)),
    };
    let cardinality = input.u32()?;
    if cardinality > 1 << 16 {
        return Err(BitmapError::Containers);
    }
    Container::read(form, cardinality, input).map(Place::One)
}

fn write_place(place: Place<'_>, bits: &mut Bits, out: &mut Vec<u8>) {
    match place {
        Place::Free => return out.push(0),
        // Java looks for a better form of runs only where it joins.
        Place::One(one) if one.form == Form::Run || one.is_best_array() => {
            out.extend_from_slice(&[1, one.form as u8]);
            out.extend_from_slice(&one.cardinality.to_le_bytes());
            return out.extend_from_slice(one.bytes);
        }
        Place::One(one) => {
            bits.clear();
            bits.add(one);
        }
        Place::Two(one, two) => {
            bits.clear();
            bits.add(one);
            bits.add(two);
        }
    }
    let head = out.len();
    out.extend_from_slice(&[1, 0, 0, 0, 0, 0]);
    let (form, cardinality) = bits.write(out);
    out[head + 1] = form as u8;
    out[head + 2..head + 6].copy_from_slice(&cardinality.to_le_bytes());
}

/// Appends the union of two bitmaps to `out`. Containers of `old` keep their places, those that
/// only `new` has follow them in key order, as in Java.
pub(in super::super) fn union(
    old: &[u8],
    new: &[u8],
    bits: &mut Bits,
    out: &mut Vec<u8>,
) -> Result<(), BitmapError> {
    let (old, new) = (Bitmap::read(old)?, Bitmap::read(new)?);
    let Some(new) = new else {
        match old {
            Some(old) => old.write(bits, out),
            None => out.push(0),
        }
        return Ok(());
    };
    let mut result = old;
    for (key, index) in &new.keys {
        let Some(Place::One(container)) = new.places.get(*index as usize).copied() else {
            return Err(BitmapError::Containers);
        };
        let Some(result) = &mut result else {
            result = Some(Bitmap {
                tree: Node::leaf(*key, 0),
                keys: vec![(*key, 0)],
                places: vec![Place::One(container)],
                last: 0,
            });
            continue;
        };
        match result.tree.find(key, 0) {
            Some(at) => {
                let place = &mut result.places[at as usize];
                if let Place::One(own) = *place {
                    *place = Place::Two(own, container);
                }
            }
            None => result.append(*key, container)?,
        }
    }
    if let Some(result) = result {
        result.write(bits, out);
    }
    Ok(())
}
