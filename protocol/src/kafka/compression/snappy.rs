//! Snappy, raw or in the framing of snappy-java.
//!
//! ```text
//!  0x82 "SNAPPY" 0x00 | version i32 | compatible version i32 | { length i32 | raw block } ...
//! ```
//!
//! Kafka's Java clients and brokers write the framing, librdkafka writes raw blocks; both read
//! either. Headers may repeat where streams were joined.

use super::{Codec, DecompressError, corrupt};

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const VERSION: i32 = 1;
const FRAME_HEADER_LENGTH: usize = 16;
/// Uncompressed bytes per block that we write; snappy-java's default.
const BLOCK_BYTES: usize = 32 << 10;
/// The best a raw block can do: an element of three bytes that copies 64.
const EXPANSION_MAX: usize = 22;

pub(super) fn decompress(
    decoder: &mut snap::raw::Decoder,
    input: &[u8],
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), DecompressError> {
    if !input.starts_with(&MAGIC) {
        return decompress_block(decoder, input, limit, out);
    }
    let mut rest = input;
    while !rest.is_empty() {
        if rest.starts_with(&MAGIC) {
            rest = rest.get(FRAME_HEADER_LENGTH..).ok_or_else(cut_off)?;
            continue;
        }
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(cut_off)?;
        let length = usize::try_from(i32::from_be_bytes(*length))
            .map_err(|_| corrupt(Codec::Snappy, "negative block length"))?;
        let (block, after) = after.split_at_checked(length).ok_or_else(cut_off)?;
        decompress_block(decoder, block, limit, out)?;
        rest = after;
    }
    Ok(())
}

fn cut_off() -> DecompressError {
    corrupt(Codec::Snappy, "cut off")
}

fn decompress_block(
    decoder: &mut snap::raw::Decoder,
    block: &[u8],
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), DecompressError> {
    let claimed =
        snap::raw::decompress_len(block).map_err(|error| corrupt(Codec::Snappy, error))?;
    let start = out.len();
    // The claim is checked twice: it may neither pass the limit nor what the block can hold.
    if claimed > block.len().saturating_mul(EXPANSION_MAX) {
        return Err(corrupt(
            Codec::Snappy,
            format_args!("{} bytes claim to hold {claimed}", block.len()),
        ));
    }
    if claimed > limit - start {
        return Err(DecompressError::TooLarge { limit });
    }
    if out.capacity() < start + claimed {
        // Doubling, but never past the limit.
        out.reserve_exact(claimed.max(start).min(limit - start));
    }
    out.resize(start + claimed, 0);
    let written = decoder
        .decompress(block, &mut out[start..])
        .map_err(|error| corrupt(Codec::Snappy, error))?;
    out.truncate(start + written);
    Ok(())
}

pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&VERSION.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    for block in input.chunks(BLOCK_BYTES) {
        let at = out.len();
        let room = snap::raw::max_compress_len(block.len());
        out.resize(at + 4 + room, 0);
        let written = encoder
            .compress(block, &mut out[at + 4..])
            .expect("a block of 32 KiB fits what max_compress_len returned");
        let length = i32::try_from(written).expect("a compressed block is small");
        out[at..at + 4].copy_from_slice(&length.to_be_bytes());
        out.truncate(at + 4 + written);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpack(input: &[u8]) -> Result<Vec<u8>, DecompressError> {
        let mut out = Vec::new();
        decompress(&mut snap::raw::Decoder::new(), input, 1 << 20, &mut out).map(|()| out)
    }

    #[test]
    fn raw_blocks_of_librdkafka_are_read() {
        let raw = snap::raw::Encoder::new()
            .compress_vec(b"raw raw raw")
            .unwrap();
        assert_eq!(unpack(&raw).as_deref(), Ok(&b"raw raw raw"[..]));
    }

    #[test]
    fn joined_streams_are_read() {
        let mut joined = Vec::new();
        compress(b"one", &mut joined);
        compress(b"two", &mut joined);
        assert_eq!(unpack(&joined).as_deref(), Ok(&b"onetwo"[..]));
    }

    #[test]
    fn a_length_header_that_lies_is_refused_before_allocating() {
        // A raw block of six bytes that claims 1 MiB.
        let mut out = Vec::new();
        let lie = [0x80, 0x80, 0x40, 0, 0, 0];
        assert!(matches!(
            decompress(&mut snap::raw::Decoder::new(), &lie, 1 << 30, &mut out),
            Err(DecompressError::Corrupt { .. })
        ));
        assert_eq!(out.capacity(), 0);
    }
}
