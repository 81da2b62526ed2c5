//! How Kafka clients choose a record's partition by its key.
//!
//! Every client library has a default of its own, and none tells the broker. Facts: Kafka
//! `BuiltInPartitioner.java` and `Utils.murmur2`; librdkafka `rd_kafka_msg_partitioner_consistent`
//! and `rd_crc32`; sarama `NewHashPartitioner`.

/// A function from key to partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyPartitioner {
    /// The Java clients' and librdkafka's `murmur2_random`.
    Murmur2,
    /// The default of librdkafka (`consistent_random`) and of clients that are made of it.
    Crc32,
    /// The default of sarama.
    Fnv1a,
}

impl KeyPartitioner {
    /// The partition of a key among `count`; none for keys that the clients send anywhere.
    ///
    /// # Panics
    /// When `count` is below 1.
    pub fn partition(self, key: &[u8], count: i32) -> Option<i32> {
        assert!(count > 0, "a topic has partitions");
        Some(match self {
            KeyPartitioner::Murmur2 => (murmur2(key) & i32::MAX) % count,
            // librdkafka takes an empty key for none.
            KeyPartitioner::Crc32 if key.is_empty() => return None,
            KeyPartitioner::Crc32 => (i64::from(crc32(key)) % i64::from(count)) as i32,
            KeyPartitioner::Fnv1a => (fnv1a(key).cast_signed() % count).abs(),
        })
    }
}

/// Kafka's Murmur2 of 32 bits.
fn murmur2(bytes: &[u8]) -> i32 {
    const M: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;
    // Kafka's lengths are i32.
    let mut hash = SEED ^ bytes.len() as u32;
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (i, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * i);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    (hash ^ (hash >> 15)).cast_signed()
}

/// The CRC of zlib.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_is_that_of_kafka() {
        // Kafka's UtilsTest.
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            (
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()), hash, "{key}");
        }
    }

    #[test]
    fn the_other_hashes_have_their_check_values() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(fnv1a(b""), 0x811c_9dc5);
        assert_eq!(fnv1a(b"foobar"), 0xbf9c_f968);
    }

    #[test]
    fn partitions_are_in_range_and_an_empty_key_goes_anywhere_with_librdkafka() {
        let all = [
            KeyPartitioner::Murmur2,
            KeyPartitioner::Crc32,
            KeyPartitioner::Fnv1a,
        ];
        for number in 0..10_000u32 {
            let key = number.to_be_bytes();
            for function in all {
                let partition = function.partition(&key, 7).unwrap();
                assert!((0..7).contains(&partition), "{function:?} {number}");
            }
        }
        assert_eq!(KeyPartitioner::Crc32.partition(b"", 7), None);
        assert!(KeyPartitioner::Murmur2.partition(b"", 7).is_some());
        assert!(KeyPartitioner::Fnv1a.partition(b"", 7).is_some());
    }
}
