//! LZ4: one frame of independent blocks, as Kafka's Java client reads and writes it.
//!
//! ```text
//!  magic u32 | FLG | BD | content size u64, if flagged | header checksum
//!  { size u32, top bit: stored | block | xxHash32 of the block, if flagged } ... 0u32
//!  xxHash32 of the content, if flagged
//! ```
//!
//! Numbers are little endian. Blocks that refer to earlier ones and dictionaries are refused, as
//! in Kafka: a Java consumer could not read them.

use lz4_flex::block;
use twox_hash::XxHash32;

use super::{Codec, DecompressError, corrupt};

const MAGIC: u32 = 0x184D_2204;
const VERSION: u8 = 0b0100_0000;
const VERSION_MASK: u8 = 0b1100_0000;
const INDEPENDENT: u8 = 0b0010_0000;
const BLOCK_CHECKSUM: u8 = 0b0001_0000;
const CONTENT_SIZE: u8 = 0b0000_1000;
const CONTENT_CHECKSUM: u8 = 0b0000_0100;
const RESERVED: u8 = 0b0000_0011;
const STORED: u32 = 1 << 31;

/// Block size that we write; the Java client's default, code 4.
const BLOCK_BYTES: usize = 64 << 10;
const BLOCK_BYTES_CODE: u8 = 4;

pub(super) fn decompress(
    input: &[u8],
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), DecompressError> {
    let mut rest = input;
    let header = Header::read(&mut rest)?;
    loop {
        let size = u32::from_le_bytes(take(&mut rest)?);
        if size == 0 {
            break;
        }
        let stored = size & STORED != 0;
        // At most 31 bits: fits usize.
        let size = (size & !STORED) as usize;
        if size > header.block_bytes_max {
            return Err(bad("block larger than the frame allows"));
        }
        let (data, after) = rest.split_at_checked(size).ok_or_else(cut_off)?;
        rest = after;
        if header.block_checksum && xxhash(data) != u32::from_le_bytes(take(&mut rest)?) {
            return Err(bad("block checksum differs"));
        }
        if stored {
            grow(out, data.len(), limit)?;
            out.extend_from_slice(data);
        } else {
            decompress_block(data, header.block_bytes_max, limit, out)?;
        }
    }
    if header.content_checksum && xxhash(out) != u32::from_le_bytes(take(&mut rest)?) {
        return Err(bad("content checksum differs"));
    }
    Ok(())
}

fn decompress_block(
    data: &[u8],
    block_max: usize,
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), DecompressError> {
    let start = out.len();
    let left = limit - start;
    // A byte of LZ4 makes at most 255 bytes.
    let room = data.len().saturating_mul(255).min(block_max).min(left);
    grow(out, room, limit)?;
    out.resize(start + room, 0);
    match block::decompress_into(data, &mut out[start..]) {
        Ok(written) => {
            out.truncate(start + written);
            Ok(())
        }
        Err(block::DecompressError::OutputTooSmall { .. }) if room == left => {
            Err(DecompressError::TooLarge { limit })
        }
        Err(error) => Err(bad(error)),
    }
}

/// Makes room for `more` bytes, doubling but never past the limit.
fn grow(out: &mut Vec<u8>, more: usize, limit: usize) -> Result<(), DecompressError> {
    let length = out.len();
    if more > limit - length {
        return Err(DecompressError::TooLarge { limit });
    }
    if out.capacity() < length + more {
        out.reserve_exact(more.max(length).min(limit - length));
    }
    Ok(())
}

struct Header {
    block_bytes_max: usize,
    block_checksum: bool,
    content_checksum: bool,
}

impl Header {
    fn read(rest: &mut &[u8]) -> Result<Self, DecompressError> {
        if u32::from_le_bytes(take(rest)?) != MAGIC {
            return Err(bad("no frame"));
        }
        let descriptor = *rest;
        let [flags, block] = take(rest)?;
        if flags & VERSION_MASK != VERSION || flags & RESERVED != 0 || block & 0b1000_1111 != 0 {
            return Err(bad("unknown flags"));
        }
        if flags & INDEPENDENT == 0 {
            return Err(bad("dependent blocks are not supported"));
        }
        let block_bytes_max = match block >> 4 {
            code @ 4..=7 => 1 << (2 * code + 8),
            _ => return Err(bad("unknown block size")),
        };
        if flags & CONTENT_SIZE != 0 {
            let _content_size: [u8; 8] = take(rest)?;
        }
        let descriptor = &descriptor[..descriptor.len() - rest.len()];
        let [checksum] = take(rest)?;
        if (xxhash(descriptor) >> 8) as u8 != checksum {
            return Err(bad("header checksum differs"));
        }
        Ok(Header {
            block_bytes_max,
            block_checksum: flags & BLOCK_CHECKSUM != 0,
            content_checksum: flags & CONTENT_CHECKSUM != 0,
        })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], DecompressError> {
    let (taken, after) = rest.split_first_chunk::<N>().ok_or_else(cut_off)?;
    *rest = after;
    Ok(*taken)
}

fn xxhash(bytes: &[u8]) -> u32 {
    XxHash32::oneshot(0, bytes)
}

fn bad(reason: impl std::fmt::Display) -> DecompressError {
    corrupt(Codec::Lz4, reason)
}

fn cut_off() -> DecompressError {
    bad("cut off")
}

pub(super) fn compress(input: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&MAGIC.to_le_bytes());
    let descriptor = [VERSION | INDEPENDENT, BLOCK_BYTES_CODE << 4];
    out.extend_from_slice(&descriptor);
    out.push((xxhash(&descriptor) >> 8) as u8);
    for data in input.chunks(BLOCK_BYTES) {
        let at = out.len();
        out.resize(at + 4 + block::get_maximum_output_size(data.len()), 0);
        let written = block::compress_into(data, &mut out[at + 4..])
            .expect("the output has the size that get_maximum_output_size returned");
        let size = if written < data.len() {
            written as u32
        } else {
            out[at + 4..at + 4 + data.len()].copy_from_slice(data);
            data.len() as u32 | STORED
        };
        out[at..at + 4].copy_from_slice(&size.to_le_bytes());
        out.truncate(at + 4 + (size & !STORED) as usize);
    }
    out.extend_from_slice(&0u32.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    use std::io::{Read, Write};

    fn unpack(input: &[u8]) -> Result<Vec<u8>, DecompressError> {
        let mut out = Vec::new();
        decompress(input, 1 << 24, &mut out).map(|()| out)
    }

    fn pack(info: FrameInfo, input: &[u8]) -> Vec<u8> {
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(input).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn frames_of_other_writers_are_read() {
        let input = b"the same bytes again and again ".repeat(50_000);
        for size in [
            BlockSize::Max64KB,
            BlockSize::Max256KB,
            BlockSize::Max1MB,
            BlockSize::Max4MB,
        ] {
            for checksums in [false, true] {
                let info = FrameInfo::new()
                    .block_size(size)
                    .block_checksums(checksums)
                    .content_checksum(checksums)
                    .content_size(checksums.then_some(input.len() as u64));
                assert_eq!(unpack(&pack(info, &input)).as_ref(), Ok(&input));
            }
        }
    }

    #[test]
    fn other_readers_read_our_frames() {
        let input: Vec<u8> = (0..200_000u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        for input in [&input[..], b"", b"abcabcabcabcabcabcabcabc"] {
            let mut frame = Vec::new();
            compress(input, &mut frame);
            let mut out = Vec::new();
            lz4_flex::frame::FrameDecoder::new(&frame[..])
                .read_to_end(&mut out)
                .unwrap();
            assert_eq!(out, input);
        }
    }

    #[test]
    fn dependent_blocks_are_refused_as_kafka_does() {
        let frame = pack(FrameInfo::new().block_mode(BlockMode::Linked), b"linked");
        assert!(matches!(
            unpack(&frame),
            Err(DecompressError::Corrupt { .. })
        ));
    }

    #[test]
    fn a_wrong_checksum_is_noticed() {
        let mut frame = pack(FrameInfo::new().content_checksum(true), b"checked");
        *frame.last_mut().unwrap() ^= 1;
        assert!(matches!(
            unpack(&frame),
            Err(DecompressError::Corrupt { .. })
        ));
    }
}
