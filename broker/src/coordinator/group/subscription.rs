//! The one part of a member's metadata that the broker reads: the topics of a `consumer` group.
//!
//! ```text
//! version i16 | topic count i32 | (length i16, name)… | more, which versions above 0 append
//! ```

use std::collections::BTreeSet;

use super::names::TopicName;

/// The protocol type whose metadata has this form.
pub(super) const CONSUMER: &str = "consumer";

/// Adds the topics of a subscription to `topics`; `None` when the bytes have another form.
pub(super) fn add_topics(metadata: &[u8], topics: &mut BTreeSet<TopicName>) -> Option<()> {
    let (_version, rest) = metadata.split_first_chunk::<2>()?;
    let (count, mut rest) = rest.split_first_chunk::<4>()?;
    // Taken one by one: a count that lies runs into the end of the bytes.
    for _ in 0..u32::try_from(i32::from_be_bytes(*count)).ok()? {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let length = usize::try_from(i16::from_be_bytes(*length)).ok()?;
        let (name, after) = after.split_at_checked(length)?;
        topics.insert(TopicName::from(std::str::from_utf8(name).ok()?));
        rest = after;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn topics_are_read_from_the_front_of_any_version() {
        let bytes = [0, 3, 0, 0, 0, 2, 0, 1, b'a', 0, 2, b'b', b'c', 9, 9, 9];
        let mut topics = BTreeSet::new();
        assert!(add_topics(&bytes, &mut topics).is_some());
        assert_eq!(
            topics.iter().map(|t| t.to_string()).collect::<Vec<_>>(),
            ["a", "bc"]
        );
    }

    proptest! {
        #[test]
        fn arbitrary_metadata_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = add_topics(&bytes, &mut BTreeSet::new());
        }
    }
}
