//! Which bucket a key belongs to.
//!
//! Facts: Fluss log format, bucket assignment; `bucketing/*.java`, `MurmurHashUtils.java`.

use super::key::LakeFormat;

const C1: u32 = 0xcc9e_2d51;
const C2: u32 = 0x1b87_3593;
/// The seed of Fluss's own hash and of Paimon's.
const FLUSS_SEED: u32 = 42;

/// How the bytes of a bucket key become a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BucketFunction {
    /// Fluss's own, also of Lance tables.
    Fluss,
    /// Paimon's.
    Paimon,
    /// Iceberg's bucket transform.
    Iceberg,
    /// Hudi's.
    Hudi,
}

impl BucketFunction {
    /// The function of a table that is tiered to this lake.
    pub fn of(lake: Option<LakeFormat>) -> Self {
        match lake {
            None | Some(LakeFormat::Lance) => BucketFunction::Fluss,
            Some(LakeFormat::Paimon) => BucketFunction::Paimon,
            Some(LakeFormat::Iceberg) => BucketFunction::Iceberg,
            Some(LakeFormat::Hudi) => BucketFunction::Hudi,
        }
    }

    /// The bucket of a key among `buckets`, which must be positive.
    ///
    /// # Panics
    /// When `buckets` is not positive.
    pub fn bucket(self, key: &[u8], buckets: i32) -> i32 {
        assert!(buckets > 0, "a table has at least one bucket");
        match self {
            BucketFunction::Fluss => {
                hash_of_int(word_hash(key, FLUSS_SEED).cast_signed()) % buckets
            }
            BucketFunction::Paimon => {
                (word_hash(key, FLUSS_SEED).cast_signed() % buckets).wrapping_abs()
            }
            BucketFunction::Iceberg => (murmur3(key, 0).cast_signed() & i32::MAX) % buckets,
            BucketFunction::Hudi => {
                let hash = key
                    .first_chunk()
                    .map_or(0, |bytes| i32::from_be_bytes(*bytes));
                (hash & i32::MAX) % buckets
            }
        }
    }
}

fn mix_k(word: u32) -> u32 {
    word.wrapping_mul(C1).rotate_left(15).wrapping_mul(C2)
}

fn mix_h(hash: u32, word: u32) -> u32 {
    (hash ^ mix_k(word))
        .rotate_left(13)
        .wrapping_mul(5)
        .wrapping_add(0xe654_6b64)
}

fn finish(mut hash: u32) -> u32 {
    hash ^= hash >> 16;
    hash = hash.wrapping_mul(0x85eb_ca6b);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

/// Murmur3 with a different end: each byte after the last whole word is mixed in as a word of its
/// own, sign included.
fn word_hash(bytes: &[u8], seed: u32) -> u32 {
    let words = bytes.chunks_exact(4);
    let rest = words.remainder();
    let hash = words.fold(seed, |h, w| {
        mix_h(h, u32::from_le_bytes([w[0], w[1], w[2], w[3]]))
    });
    let hash = rest.iter().fold(hash, |h, b| {
        mix_h(h, i32::from(b.cast_signed()).cast_unsigned())
    });
    finish(hash ^ bytes.len() as u32)
}

/// The standard 32-bit Murmur3 of x86.
fn murmur3(bytes: &[u8], seed: u32) -> u32 {
    let words = bytes.chunks_exact(4);
    let rest = words.remainder();
    let mut hash = words.fold(seed, |h, w| {
        mix_h(h, u32::from_le_bytes([w[0], w[1], w[2], w[3]]))
    });
    if !rest.is_empty() {
        let mut word = [0; 4];
        word[..rest.len()].copy_from_slice(rest);
        hash ^= mix_k(u32::from_le_bytes(word));
    }
    finish(hash ^ bytes.len() as u32)
}

/// The second hash of Fluss's own function, never negative.
fn hash_of_int(value: i32) -> i32 {
    let hash = finish(mix_h(0, value.cast_unsigned()) ^ 4).cast_signed();
    hash.checked_abs().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_equal_those_of_the_clients() {
        let uuid = b"2bb87d68-baf9-4e64-90f9-f80910419fa6";
        let fox = b"The quick brown fox jumps over the lazy dog";
        let keys: [(&[u8], i32); 4] = [(&[0, 10], 7), (&[0, 10, 10, 10], 12), (uuid, 16), (fox, 8)];
        for (function, expected) in [
            (BucketFunction::Fluss, [1, 0, 6, 6]),
            (BucketFunction::Paimon, [1, 11, 12, 0]),
            (BucketFunction::Iceberg, [3, 4, 12, 3]),
        ] {
            let buckets = keys.map(|(key, count)| function.bucket(key, count));
            assert_eq!(buckets, expected, "{function:?}");
        }
    }

    #[test]
    fn every_key_has_a_bucket() {
        for function in [
            BucketFunction::Fluss,
            BucketFunction::Paimon,
            BucketFunction::Iceberg,
            BucketFunction::Hudi,
        ] {
            for i in 0..2000u32 {
                let key = &i.to_be_bytes()[..(i % 5) as usize];
                assert!((0..7).contains(&function.bucket(key, 7)));
            }
        }
    }
}
