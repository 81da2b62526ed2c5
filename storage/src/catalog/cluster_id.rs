//! Ids in the form that Kafka gives them.

use uuid::{Builder, Uuid};

use crate::env::Randomness;

/// URL-safe base64 (RFC 4648, section 5).
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A new cluster id: a UUID in 22 characters of unpadded base64.
pub(super) fn new(randomness: &dyn Randomness) -> String {
    let bits = new_uuid(randomness).as_u128();
    // 21 groups of six bits, and the last two bits with four zeros after them.
    let group = |i: u32| {
        if i < 21 {
            bits >> (122 - 6 * i)
        } else {
            bits << 4
        }
    };
    (0..22)
        .map(|i| char::from(ALPHABET[(group(i) & 0x3f) as usize]))
        .collect()
}

/// A new random UUID whose base64 form does not start with a dash: Kafka makes none such either,
/// because tools would take it for an option.
pub(super) fn new_uuid(randomness: &dyn Randomness) -> Uuid {
    loop {
        let bits = u128::from(randomness.next_u64()) << 64 | u128::from(randomness.next_u64());
        let uuid = Builder::from_random_bytes(bits.to_be_bytes()).into_uuid();
        if ALPHABET[(uuid.as_u128() >> 122) as usize] != b'-' {
            return uuid;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::simulated::SeededRandomness;

    #[test]
    fn ids_have_22_characters_and_no_leading_dash() {
        let random = SeededRandomness::new(1);
        for _ in 0..1_000 {
            let id = new(&random);
            assert_eq!(id.len(), 22);
            assert!(!id.starts_with('-'), "{id}");
        }
        assert_ne!(new(&random), new(&random));
    }
}
