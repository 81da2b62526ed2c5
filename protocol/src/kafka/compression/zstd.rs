//! Zstandard: any number of frames, of any window.
//!
//! Frames are decoded in one step into the output, which then serves as the window: what a frame
//! header claims about its window never becomes an allocation. Where the size is not known before,
//! the output grows and the step is repeated, never past the limit.

use zstd::zstd_safe::{self, CCtx, CParameter, DCtx, get_error_name};

use super::{Codec, DecompressError, FIRST_GUESS_BYTES, corrupt};

/// `ZSTD_error_dstSize_tooSmall`, as the library returns it.
const OUTPUT_TOO_SMALL: usize = 70usize.wrapping_neg();

pub(super) fn decompress(
    context: &mut DCtx<'_>,
    input: &[u8],
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), DecompressError> {
    if input.is_empty() {
        return Err(corrupt(Codec::Zstd, "cut off"));
    }
    let claimed = zstd_safe::get_frame_content_size(input)
        .map_err(|_| corrupt(Codec::Zstd, "no frame"))?
        .map(|size| usize::try_from(size).unwrap_or(usize::MAX));
    if claimed.is_some_and(|size| size > limit) {
        return Err(DecompressError::TooLarge { limit });
    }
    // A claim is believed up to what is usual; a true larger one costs a second step.
    let usual = input.len().saturating_mul(16).max(FIRST_GUESS_BYTES);
    let mut room = claimed
        .unwrap_or(input.len().saturating_mul(4).max(FIRST_GUESS_BYTES))
        .min(usual);
    loop {
        room = room.max(out.capacity()).min(limit);
        out.clear();
        out.reserve_exact(room);
        match context.decompress(out, input) {
            Ok(written) if written <= limit => return Ok(()),
            Ok(_) => return Err(DecompressError::TooLarge { limit }),
            Err(OUTPUT_TOO_SMALL) if out.capacity() < limit => room = room.max(1).saturating_mul(4),
            Err(OUTPUT_TOO_SMALL) => return Err(DecompressError::TooLarge { limit }),
            Err(code) => return Err(corrupt(Codec::Zstd, get_error_name(code))),
        }
    }
}

pub(super) fn compress(level: i32, input: &[u8], out: &mut Vec<u8>) {
    let mut context = CCtx::create();
    let mut compressed = Vec::with_capacity(zstd_safe::compress_bound(input.len()));
    context
        .set_parameter(CParameter::CompressionLevel(level))
        .expect("the level was clamped to the library's range");
    context
        .compress2(&mut compressed, input)
        .expect("the output has the size of compress_bound");
    out.extend_from_slice(&compressed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn unpack(input: &[u8], limit: usize) -> Result<Vec<u8>, DecompressError> {
        let mut out = Vec::new();
        decompress(&mut DCtx::create(), input, limit, &mut out).map(|()| out)
    }

    /// A frame without its content size, as the streaming writers of Java clients make it.
    fn stream(input: &[u8], window_log: u32) -> Vec<u8> {
        let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
        encoder
            .set_parameter(CParameter::WindowLog(window_log))
            .unwrap();
        encoder.write_all(input).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_frame_that_does_not_tell_its_size_is_read() {
        let input = vec![42u8; 3 << 20];
        assert_eq!(unpack(&stream(&input, 21), 4 << 20).as_ref(), Ok(&input));
        assert_eq!(
            unpack(&stream(&input, 21), 1 << 20),
            Err(DecompressError::TooLarge { limit: 1 << 20 })
        );
    }

    #[test]
    fn a_large_window_allocates_no_more_than_the_limit() {
        let mut out = Vec::new();
        let frame = stream(b"few bytes, window of 128 MiB", 27);
        decompress(&mut DCtx::create(), &frame, 1 << 16, &mut out).unwrap();
        assert_eq!(out, b"few bytes, window of 128 MiB");
        assert!(out.capacity() <= 1 << 16);
    }

    #[test]
    fn joined_frames_are_read() {
        let mut joined = stream(b"one", 20);
        compress(3, b"two", &mut joined);
        assert_eq!(unpack(&joined, 100).as_deref(), Ok(&b"onetwo"[..]));
    }
}
