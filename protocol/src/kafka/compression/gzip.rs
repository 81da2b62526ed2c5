//! Gzip: any number of members.

use std::io::Read;

use super::{Codec, DecompressError, FIRST_GUESS_BYTES, corrupt};

pub(super) fn decompress(
    input: &[u8],
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), DecompressError> {
    let mut reader = flate2::bufread::MultiGzDecoder::new(input);
    let mut filled = 0;
    loop {
        if filled == out.len() {
            if filled == limit {
                // Only the end may follow; one byte more is too many.
                return match reader.read(&mut [0]) {
                    Ok(0) => Ok(()),
                    Ok(_) => Err(DecompressError::TooLarge { limit }),
                    Err(error) => Err(corrupt(Codec::Gzip, error)),
                };
            }
            let room = filled
                .max(FIRST_GUESS_BYTES)
                .max(out.capacity() - filled)
                .min(limit - filled);
            out.reserve_exact(room);
            out.resize(filled + room, 0);
        }
        match reader.read(&mut out[filled..]) {
            Ok(0) => {
                out.truncate(filled);
                return Ok(());
            }
            Ok(read) => filled += read,
            Err(error) => return Err(corrupt(Codec::Gzip, error)),
        }
    }
}

pub(super) fn compress(level: i32, input: &[u8], out: &mut Vec<u8>) {
    let level = match u32::try_from(level) {
        Ok(level) => flate2::Compression::new(level),
        Err(_) => flate2::Compression::default(),
    };
    let mut encoder = flate2::bufread::GzEncoder::new(input, level);
    encoder
        .read_to_end(out)
        .expect("reading from memory does not fail");
}
