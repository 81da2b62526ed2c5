//! Compression of the single buffers of an Arrow body.
//!
//! ```text
//! uncompressed length i64 (-1: stored as it is) | data
//! ```
//!
//! An empty buffer is empty, without the length. Facts: Arrow's `Message.fbs`, BodyCompression.

use std::io::{Read, Write};

use arrow_buffer::Buffer;
use thiserror::Error;

use super::arrow_message::BufferCodec;

const PREFIX_LEN: usize = 8;
const STORED: i64 = -1;

/// Why a buffer cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum BufferError {
    #[error("compressed buffer is shorter than its length field")]
    Cut,
    #[error("buffer claims {claimed} bytes, more than the {left} that are left of the limit")]
    TooLarge { claimed: i64, left: usize },
    #[error("buffer does not decompress to the {claimed} bytes that it claims")]
    Corrupt { claimed: usize },
}

/// Reads buffers, with the sum of their plain sizes bounded. Keeps its contexts between batches.
#[derive(Default)]
pub struct Decompressor {
    zstd: Option<zstd::bulk::Decompressor<'static>>,
}

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decompressor").finish_non_exhaustive()
    }
}

/// A buffer as it is stored: its plain bytes, or what they must be decompressed from.
enum Stored {
    Plain(usize),
    Compressed { plain_len: usize },
}

fn inspect(
    codec: Option<BufferCodec>,
    stored: &[u8],
    left: &mut usize,
) -> Result<Stored, BufferError> {
    let (kind, plain_len) = if codec.is_none() || stored.is_empty() {
        (Stored::Plain(0), stored.len())
    } else {
        let prefix = stored.first_chunk::<PREFIX_LEN>().ok_or(BufferError::Cut)?;
        match i64::from_le_bytes(*prefix) {
            STORED => (Stored::Plain(PREFIX_LEN), stored.len() - PREFIX_LEN),
            claimed => match usize::try_from(claimed) {
                Ok(plain_len) => (Stored::Compressed { plain_len }, plain_len),
                Err(_) => {
                    return Err(BufferError::TooLarge {
                        claimed,
                        left: *left,
                    });
                }
            },
        }
    };
    match left.checked_sub(plain_len) {
        Some(rest) => *left = rest,
        None => {
            let claimed = i64::try_from(plain_len).unwrap_or(i64::MAX);
            return Err(BufferError::TooLarge {
                claimed,
                left: *left,
            });
        }
    }
    Ok(kind)
}

impl Decompressor {
    /// The plain bytes of a stored buffer, in `scratch` where they had to be decompressed.
    /// `left` is how many plain bytes may still come; it is counted down.
    pub fn plain<'a>(
        &mut self,
        codec: Option<BufferCodec>,
        stored: &'a [u8],
        left: &mut usize,
        scratch: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], BufferError> {
        match inspect(codec, stored, left)? {
            Stored::Plain(skip) => Ok(&stored[skip..]),
            Stored::Compressed { plain_len } => {
                self.decompress(codec, &stored[PREFIX_LEN..], plain_len, scratch)?;
                Ok(scratch)
            }
        }
    }

    /// The same as an Arrow buffer, which shares the memory of `stored` where it can.
    pub fn plain_buffer(
        &mut self,
        codec: Option<BufferCodec>,
        stored: &Buffer,
        left: &mut usize,
    ) -> Result<Buffer, BufferError> {
        match inspect(codec, stored, left)? {
            Stored::Plain(skip) => Ok(stored.slice(skip)),
            Stored::Compressed { plain_len } => {
                let mut plain = Vec::new();
                self.decompress(codec, &stored[PREFIX_LEN..], plain_len, &mut plain)?;
                Ok(Buffer::from_vec(plain))
            }
        }
    }

    fn decompress(
        &mut self,
        codec: Option<BufferCodec>,
        data: &[u8],
        plain_len: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), BufferError> {
        let corrupt = BufferError::Corrupt { claimed: plain_len };
        out.clear();
        if plain_len == 0 {
            return Ok(());
        }
        let done = match codec {
            None => false,
            Some(BufferCodec::Zstd) => {
                out.reserve_exact(plain_len);
                let zstd = match &mut self.zstd {
                    Some(zstd) => zstd,
                    none => {
                        none.insert(zstd::bulk::Decompressor::new().map_err(|_| corrupt.clone())?)
                    }
                };
                zstd.decompress_to_buffer(data, out).is_ok()
            }
            Some(BufferCodec::Lz4Frame) => {
                // Grows with what really comes: an LZ4 frame expands at most 255 times.
                out.reserve(plain_len.min(data.len().saturating_mul(255)));
                let limit = plain_len as u64 + 1;
                lz4_flex::frame::FrameDecoder::new(data)
                    .take(limit)
                    .read_to_end(out)
                    .is_ok()
            }
        };
        if done && out.len() == plain_len {
            Ok(())
        } else {
            Err(corrupt)
        }
    }
}

/// Writes buffers. Keeps its contexts between buffers.
pub struct Compressor {
    codec: Option<BufferCodec>,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    level: i32,
    scratch: Vec<u8>,
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor")
            .field("codec", &self.codec)
            .finish_non_exhaustive()
    }
}

/// The level of `table.log.arrow.compression.zstd.level` when it is not set.
pub const ZSTD_LEVEL_DEFAULT: i32 = 3;

impl Compressor {
    /// A compressor of this codec; `None` stores buffers as they are.
    pub fn new(codec: Option<BufferCodec>) -> Self {
        Compressor::with_level(codec, ZSTD_LEVEL_DEFAULT)
    }

    /// The same with a Zstandard level, 1 to 22; other codecs have none.
    pub fn with_level(codec: Option<BufferCodec>, level: i32) -> Self {
        Compressor {
            codec,
            zstd: None,
            level,
            scratch: Vec::new(),
        }
    }

    /// The codec, as the message's metadata has to name it.
    pub fn codec(&self) -> Option<BufferCodec> {
        self.codec
    }

    /// Appends one buffer as it is stored, without padding.
    pub fn append(&mut self, plain: &[u8], out: &mut Vec<u8>) {
        let Some(codec) = self.codec else {
            out.extend_from_slice(plain);
            return;
        };
        if plain.is_empty() {
            return;
        }
        let start = out.len();
        out.extend_from_slice(&(plain.len() as u64).to_le_bytes());
        let compressed = match codec {
            BufferCodec::Zstd => self.zstd(plain, out),
            BufferCodec::Lz4Frame => lz4(plain, out),
        };
        // What does not shrink is stored, as the peers do.
        if !compressed || out.len() - start > plain.len() {
            out.truncate(start);
            out.extend_from_slice(&STORED.to_le_bytes());
            out.extend_from_slice(plain);
        }
    }

    fn zstd(&mut self, plain: &[u8], out: &mut Vec<u8>) -> bool {
        let zstd = match &mut self.zstd {
            Some(zstd) => zstd,
            none => match zstd::bulk::Compressor::new(self.level) {
                Ok(zstd) => none.insert(zstd),
                Err(_) => return false,
            },
        };
        // Room for no more than the plain size: a buffer that needs more is stored anyway.
        self.scratch.clear();
        self.scratch.reserve(plain.len());
        let done = zstd.compress_to_buffer(plain, &mut self.scratch).is_ok();
        if done {
            out.extend_from_slice(&self.scratch);
        }
        done
    }
}

fn lz4(plain: &[u8], out: &mut Vec<u8>) -> bool {
    let mut encoder = lz4_flex::frame::FrameEncoder::new(out);
    encoder.write_all(plain).is_ok() && encoder.finish().is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CODECS: [Option<BufferCodec>; 3] =
        [None, Some(BufferCodec::Lz4Frame), Some(BufferCodec::Zstd)];

    proptest! {
        #[test]
        fn buffers_round_trip(
            plain in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..300),
                (0usize..5000).prop_map(|n| vec![7u8; n]),
            ],
        ) {
            for codec in CODECS {
                let mut stored = Vec::new();
                Compressor::new(codec).append(&plain, &mut stored);
                let (mut left, mut scratch) = (plain.len(), Vec::new());
                let mut reader = Decompressor::default();
                let back = reader.plain(codec, &stored, &mut left, &mut scratch);
                prop_assert_eq!(back, Ok(&plain[..]));
                prop_assert_eq!(left, 0);
                let back = reader.plain_buffer(codec, &Buffer::from(&stored[..]), &mut plain.len());
                let back = back.unwrap();
                prop_assert_eq!(back.as_slice(), &plain[..]);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(stored in proptest::collection::vec(any::<u8>(), 0..200)) {
            for codec in CODECS {
                let (mut left, mut scratch) = (1 << 16, Vec::new());
                let _ = Decompressor::default().plain(codec, &stored, &mut left, &mut scratch);
                prop_assert!(scratch.capacity() <= 1 << 20);
            }
        }
    }

    #[test]
    fn a_bomb_is_refused_before_it_is_unpacked() {
        for codec in [Some(BufferCodec::Lz4Frame), Some(BufferCodec::Zstd)] {
            let mut stored = Vec::new();
            Compressor::new(codec).append(&vec![0u8; 1 << 20], &mut stored);
            let (mut left, mut scratch) = (1 << 16, Vec::new());
            let read = Decompressor::default().plain(codec, &stored, &mut left, &mut scratch);
            assert!(matches!(read, Err(BufferError::TooLarge { .. })));

            // The same bomb that claims to be small.
            stored[..8].copy_from_slice(&100i64.to_le_bytes());
            let mut scratch = Vec::new();
            let read = Decompressor::default().plain(codec, &stored, &mut left, &mut scratch);
            assert_eq!(read, Err(BufferError::Corrupt { claimed: 100 }));
            assert!(scratch.capacity() < 1 << 16);
        }
    }
}
