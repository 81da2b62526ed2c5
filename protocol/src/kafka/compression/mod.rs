//! The five codecs of record batches, with bounded output.
//!
//! What Kafka's own readers accept is accepted here: gzip members, snappy raw or in the framing of
//! snappy-java, one LZ4 frame of independent blocks, zstd frames. Output never exceeds the
//! caller's limit, nor does any buffer that a codec sizes by a number from the input.

mod gzip;
mod lz4;
mod snappy;
mod zstd;

/// Bytes that a reused output buffer may keep, see [`trim_large`].
/// Four times Kafka's default `max.message.bytes`, rounded: larger batches are rare.
pub const KEPT_BYTES_MAX: usize = 4 << 20;

/// First guess at the output where the input does not tell.
const FIRST_GUESS_BYTES: usize = 64 << 10;

/// How the records of a batch are compressed. The numbers stand in every batch's attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are the codecs' own")]
pub enum Codec {
    None = 0,
    Gzip = 1,
    Snappy = 2,
    Lz4 = 3,
    Zstd = 4,
}

impl Codec {
    /// All codecs, by number.
    pub const ALL: [Codec; 5] = [
        Codec::None,
        Codec::Gzip,
        Codec::Snappy,
        Codec::Lz4,
        Codec::Zstd,
    ];

    /// The number in a batch's attributes.
    pub const fn id(self) -> u8 {
        self as u8
    }

    /// The codec of a number.
    pub fn from_id(id: u8) -> Option<Self> {
        Self::ALL.get(usize::from(id)).copied()
    }

    /// The name that `compression.type` uses; `none` is also written `uncompressed` there.
    pub const fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }

    /// The codec that a value of `compression.type` names; `None` for `producer` and unknown ones.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "uncompressed" => Some(Codec::None),
            name => Self::ALL.into_iter().find(|c| c.name() == name),
        }
    }

    /// The levels that Kafka's `compression.<codec>.level` accepts, with its default first; `None`
    /// for codecs without levels.
    pub const fn levels(self) -> Option<(i32, std::ops::RangeInclusive<i32>)> {
        match self {
            Codec::Gzip => Some((-1, -1..=9)),
            Codec::Lz4 => Some((9, 1..=17)),
            Codec::Zstd => Some((3, -131_072..=22)),
            Codec::None | Codec::Snappy => None,
        }
    }
}

/// Why compressed bytes do not become records.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecompressError {
    /// The output would be larger than the caller allows.
    #[error("decompressed records exceed {limit} bytes")]
    TooLarge {
        /// The caller's limit in bytes.
        limit: usize,
    },
    /// The bytes are not what the codec says.
    #[error("bad {} data: {reason}", codec.name())]
    Corrupt {
        /// The codec that read them.
        codec: Codec,
        /// What was wrong.
        reason: String,
    },
}

/// Decompresses, and keeps the codecs' working memory for the next batch.
#[derive(Default)]
pub struct Decompressor {
    zstd: Option<::zstd::zstd_safe::DCtx<'static>>,
    snappy: snap::raw::Decoder,
}

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decompressor").finish_non_exhaustive()
    }
}

impl Decompressor {
    /// A decompressor that has no working memory yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the contents of `out` by the decompressed `input`.
    ///
    /// `out` does not grow past `limit` bytes; a longer output is [`DecompressError::TooLarge`].
    /// Hand in the same `out` again to save the allocation.
    pub fn decompress(
        &mut self,
        codec: Codec,
        input: &[u8],
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), DecompressError> {
        out.clear();
        match codec {
            Codec::None if input.len() > limit => return Err(DecompressError::TooLarge { limit }),
            Codec::None => out.extend_from_slice(input),
            Codec::Gzip => gzip::decompress(input, limit, out)?,
            Codec::Snappy => snappy::decompress(&mut self.snappy, input, limit, out)?,
            Codec::Lz4 => lz4::decompress(input, limit, out)?,
            Codec::Zstd => zstd::decompress(self.zstd.get_or_insert_default(), input, limit, out)?,
        }
        Ok(())
    }
}

/// Decompresses once; see [`Decompressor::decompress`].
pub fn decompress(
    codec: Codec,
    input: &[u8],
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), DecompressError> {
    Decompressor::new().decompress(codec, input, limit, out)
}

/// Gives back the memory of a buffer that one large batch has grown past [`KEPT_BYTES_MAX`].
pub fn trim_large(buffer: &mut Vec<u8>) {
    if buffer.capacity() > KEPT_BYTES_MAX {
        *buffer = Vec::new();
    }
}

/// Appends the compressed `input` to `out`.
///
/// `level` is Kafka's `compression.<codec>.level`, its default when `None`; levels out of range
/// are clamped. LZ4 and snappy have one speed here: their level is ignored.
pub fn compress(codec: Codec, level: Option<i32>, input: &[u8], out: &mut Vec<u8>) {
    let level = codec
        .levels()
        .map(|(default, range)| level.unwrap_or(default).clamp(*range.start(), *range.end()));
    match codec {
        Codec::None => out.extend_from_slice(input),
        Codec::Gzip => gzip::compress(level.unwrap_or(-1), input, out),
        Codec::Snappy => snappy::compress(input, out),
        Codec::Lz4 => lz4::compress(input, out),
        Codec::Zstd => zstd::compress(level.unwrap_or(3), input, out),
    }
}

fn corrupt(codec: Codec, reason: impl std::fmt::Display) -> DecompressError {
    DecompressError::Corrupt {
        codec,
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: usize = 1 << 20;

    fn round_trip(
        codec: Codec,
        level: Option<i32>,
        input: &[u8],
    ) -> Result<Vec<u8>, DecompressError> {
        let mut compressed = Vec::new();
        compress(codec, level, input, &mut compressed);
        let mut out = Vec::new();
        decompress(codec, &compressed, LIMIT, &mut out).map(|()| out)
    }

    #[test]
    fn every_codec_gives_back_what_it_took() {
        let large: Vec<u8> = (0..300_000u32)
            .flat_map(|n| [(n % 251) as u8, (n / 1000) as u8])
            .collect();
        for codec in Codec::ALL {
            for input in [&b""[..], b"a", &b"hello ".repeat(1000), &large] {
                assert_eq!(
                    round_trip(codec, None, input).as_deref(),
                    Ok(input),
                    "{codec:?}"
                );
            }
        }
    }

    #[test]
    fn levels_out_of_range_are_clamped() {
        for codec in [Codec::Gzip, Codec::Zstd, Codec::Lz4] {
            for level in [i32::MIN, -1, 1, 5, 9, i32::MAX] {
                assert_eq!(
                    round_trip(codec, Some(level), b"some bytes").as_deref(),
                    Ok(&b"some bytes"[..])
                );
            }
        }
    }

    #[test]
    fn a_bomb_is_refused_before_it_is_unpacked() {
        let zeros = vec![0u8; 64 << 20];
        for codec in Codec::ALL {
            let mut bomb = Vec::new();
            compress(codec, None, &zeros, &mut bomb);
            let mut out = Vec::new();
            let result = decompress(codec, &bomb, LIMIT, &mut out);
            assert_eq!(
                result,
                Err(DecompressError::TooLarge { limit: LIMIT }),
                "{codec:?}"
            );
            assert!(
                out.capacity() <= LIMIT + FIRST_GUESS_BYTES,
                "{codec:?} took {}",
                out.capacity()
            );
        }
    }

    #[test]
    fn output_may_be_exactly_the_limit() {
        let input = vec![7u8; 100_000];
        for codec in Codec::ALL {
            let mut compressed = Vec::new();
            compress(codec, None, &input, &mut compressed);
            let mut out = Vec::new();
            assert_eq!(
                decompress(codec, &compressed, input.len(), &mut out),
                Ok(()),
                "{codec:?}"
            );
            assert_eq!(
                decompress(codec, &compressed, input.len() - 1, &mut out),
                Err(DecompressError::TooLarge {
                    limit: input.len() - 1
                }),
                "{codec:?}"
            );
        }
    }

    #[test]
    fn cut_off_data_is_corrupt() {
        let input: Vec<u8> = (0..5000u32).map(|n| (n * n % 255) as u8).collect();
        for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let mut compressed = Vec::new();
            compress(codec, None, &input, &mut compressed);
            compressed.truncate(compressed.len() / 2);
            let result = decompress(codec, &compressed, LIMIT, &mut Vec::new());
            assert!(
                matches!(result, Err(DecompressError::Corrupt { .. })),
                "{codec:?} {result:?}"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn arbitrary_bytes_never_panic_nor_pass_the_limit(bytes: Vec<u8>, id in 0u8..5) {
            let mut out = Vec::new();
            let _ = decompress(Codec::from_id(id).unwrap(), &bytes, 4096, &mut out);
            prop_assert!(out.capacity() <= 4096 + 1);
        }

        #[test]
        fn damaged_data_never_panics(
            input: Vec<u8>,
            id in 1u8..5,
            hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let codec = Codec::from_id(id).unwrap();
            let mut compressed = Vec::new();
            compress(codec, None, &input, &mut compressed);
            for (index, byte) in hits {
                let index = index.index(compressed.len().max(1));
                if let Some(place) = compressed.get_mut(index) {
                    *place = byte;
                }
            }
            let mut out = Vec::new();
            let _ = decompress(codec, &compressed, 1 << 16, &mut out);
            prop_assert!(out.capacity() <= (1 << 16) + 1);
        }
    }
}
