//! Variable-length integers as records and flexible messages write them.
//!
//! Seven bits per byte, least significant group first; the top bit says that another byte
//! follows. Signed numbers are zigzag coded first. At most five bytes for 32 bits and ten for 64;
//! bits beyond the width are dropped, as Kafka's own readers do.

/// Reads an unsigned 32-bit number and moves `input` past it; `None` when it is cut off or longer
/// than five bytes.
#[inline]
pub fn read_unsigned(input: &mut &[u8]) -> Option<u32> {
    if let Some((&first, rest)) = input.split_first()
        && first < 0x80
    {
        *input = rest;
        return Some(u32::from(first));
    }
    let mut value = 0u32;
    for (index, &byte) in input.iter().take(5).enumerate() {
        value |= u32::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            *input = &input[index + 1..];
            return Some(value);
        }
    }
    None
}

/// Reads a zigzag-coded 32-bit number and moves `input` past it.
#[inline]
pub fn read_signed(input: &mut &[u8]) -> Option<i32> {
    let raw = read_unsigned(input)?;
    Some((raw >> 1) as i32 ^ -((raw & 1) as i32))
}

/// Reads a zigzag-coded 64-bit number and moves `input` past it.
#[inline]
pub fn read_signed_long(input: &mut &[u8]) -> Option<i64> {
    let mut raw = 0u64;
    for (index, &byte) in input.iter().take(10).enumerate() {
        raw |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            *input = &input[index + 1..];
            return Some((raw >> 1) as i64 ^ -((raw & 1) as i64));
        }
    }
    None
}

/// Appends an unsigned 32-bit number.
pub fn write_unsigned(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a zigzag-coded 32-bit number.
pub fn write_signed(out: &mut Vec<u8>, value: i32) {
    write_unsigned(out, (value << 1 ^ value >> 31) as u32);
}

/// Appends a zigzag-coded 64-bit number.
pub fn write_signed_long(out: &mut Vec<u8>, value: i64) {
    let mut raw = (value << 1 ^ value >> 63) as u64;
    while raw >= 0x80 {
        out.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}

/// Bytes that [`write_unsigned`] takes for a value.
pub const fn size_unsigned(value: u32) -> usize {
    // One byte per started group of seven bits; zero still takes one.
    (38 - (value | 1).leading_zeros() as usize) / 7
}

/// Bytes that [`write_signed`] takes for a value.
pub const fn size_signed(value: i32) -> usize {
    size_unsigned((value << 1 ^ value >> 31) as u32)
}

/// Bytes that [`write_signed_long`] takes for a value.
pub const fn size_signed_long(value: i64) -> usize {
    let raw = (value << 1 ^ value >> 63) as u64;
    (70 - (raw | 1).leading_zeros() as usize) / 7
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn zigzag_keeps_small_numbers_short() {
        for (value, bytes) in [
            (0, vec![0]),
            (-1, vec![1]),
            (1, vec![2]),
            (-64, vec![127]),
            (64, vec![128, 1]),
        ] {
            let mut out = Vec::new();
            write_signed(&mut out, value);
            assert_eq!(out, bytes, "{value}");
        }
    }

    #[test]
    fn a_number_that_never_ends_is_refused() {
        assert_eq!(read_unsigned(&mut &[0x80u8; 5][..]), None);
        assert_eq!(read_signed_long(&mut &[0xffu8; 11][..]), None);
        assert_eq!(read_unsigned(&mut &[0x80u8][..]), None);
        assert_eq!(read_unsigned(&mut &[][..]), None);
    }

    proptest! {
        #[test]
        fn every_number_comes_back(a: u32, b: i32, c: i64, shift in 0u32..64) {
            let (a, b, c) = (a >> (shift % 32), b >> (shift % 32), c >> shift);
            let mut out = Vec::new();
            write_unsigned(&mut out, a);
            write_signed(&mut out, b);
            write_signed_long(&mut out, c);
            prop_assert_eq!(out.len(), size_unsigned(a) + size_signed(b) + size_signed_long(c));
            let mut rest = &out[..];
            prop_assert_eq!(read_unsigned(&mut rest), Some(a));
            prop_assert_eq!(read_signed(&mut rest), Some(b));
            prop_assert_eq!(read_signed_long(&mut rest), Some(c));
            prop_assert!(rest.is_empty());
        }
    }
}
