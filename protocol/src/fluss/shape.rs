//! Decoding of messages with a bound on memory.
//!
//! Prost allocates a struct for each element of a repeated field, and on the wire an element may
//! take two bytes: a frame of a legal size could fill the memory. So the bytes are walked first,
//! against a table of all messages that the build script writes, and what decoding would allocate
//! is counted. The walk also finds absent required fields, which prost would silently take as zero
//! and Java peers refuse. It allocates nothing and skips over record bytes without reading them.

use bytes::{Buf, Bytes};
use prost::Message;
use thiserror::Error;

use super::messages;

/// What decoding one request may allocate, beside the frame itself: enough for a metadata request
/// over some 100,000 partitions, 1/32 of the smallest machine's memory.
pub const DECODED_BYTES_MAX: usize = 32 << 20;

/// How deep messages nest: deeper than any predicate that a planner makes, and a small stack.
const DEPTH_MAX: u32 = 64;

/// Why a body is not the message that it should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MessageError {
    /// The bytes are no protobuf message of this type.
    #[error("malformed {message}: {reason}")]
    Malformed {
        /// The message that was being read.
        message: &'static str,
        /// What is wrong.
        reason: &'static str,
    },
    /// A required field is absent.
    #[error("{message} lacks its required field {field}")]
    Missing {
        /// The message that was being read.
        message: &'static str,
        /// The absent field.
        field: &'static str,
    },
    /// Decoding would take more memory than the caller allows.
    #[error("request has too many elements")]
    TooLarge,
    /// Prost found what the walk did not, such as a string that is not UTF-8.
    #[error("malformed message")]
    Decode(#[from] prost::DecodeError),
}

/// A message with an entry in the table of shapes. Implemented for all of [`messages`].
pub trait Shaped {
    /// Its place in the table.
    const SHAPE: usize;
}

/// Decodes a whole body, allocating at most twice `memory_max` (vectors grow by doubling).
///
/// # Errors
/// The body is malformed, lacks a required field, or holds more elements than `memory_max` allows.
pub fn decode<M: Message + Default + Shaped>(
    body: Bytes,
    memory_max: usize,
) -> Result<M, MessageError> {
    let mut left = memory_max;
    walk(&SHAPES[M::SHAPE], &body, DEPTH_MAX, &mut left)?;
    Ok(M::decode(body)?)
}

/// What a message looks like on the wire and in memory.
struct Shape {
    name: &'static str,
    size: usize,
    /// Bit n is set when field n is required.
    required: u64,
    fields: &'static [Field],
}

struct Field {
    number: u32,
    name: &'static str,
    repeated: bool,
    kind: Kind,
}

enum Kind {
    /// A nested message, by its place in the table.
    Message(usize),
    /// Copied to the heap.
    Text,
    /// A slice of the frame.
    Bytes,
    /// A number with its size in memory; repeated ones may come packed.
    Scalar(usize),
}

include!(concat!(env!("OUT_DIR"), "/fluss_shapes.rs"));

fn walk(shape: &Shape, mut wire: &[u8], depth: u32, left: &mut usize) -> Result<(), MessageError> {
    let malformed = |reason| MessageError::Malformed {
        message: shape.name,
        reason,
    };
    let depth = depth
        .checked_sub(1)
        .ok_or_else(|| malformed("nested too deep"))?;
    let mut seen = 0u64;
    while !wire.is_empty() {
        let key = varint(&mut wire).ok_or_else(|| malformed("broken field key"))?;
        let number = u32::try_from(key >> 3).map_err(|_| malformed("field number out of range"))?;
        let payload: &[u8] = match key & 7 {
            0 => {
                varint(&mut wire).ok_or_else(|| malformed("broken number"))?;
                &[]
            }
            1 => split(&mut wire, 8).ok_or_else(|| malformed("cut short"))?,
            2 => varint(&mut wire)
                .and_then(|length| split(&mut wire, usize::try_from(length).ok()?))
                .ok_or_else(|| malformed("length beyond the end"))?,
            5 => split(&mut wire, 4).ok_or_else(|| malformed("cut short"))?,
            _ => return Err(malformed("unknown wire type")),
        };
        let Some(field) = shape.fields.iter().find(|field| field.number == number) else {
            continue;
        };
        seen |= 1 << number;
        let delimited = key & 7 == 2;
        let takes = match field.kind {
            Kind::Message(at) if delimited => {
                let nested = &SHAPES[at];
                walk(nested, payload, depth, left)?;
                nested.size
            }
            Kind::Text if delimited => size_of::<String>() + payload.len(),
            Kind::Bytes if delimited => size_of::<Bytes>(),
            Kind::Scalar(size) if !delimited => size,
            // Packed: at least one byte an element on the wire.
            Kind::Scalar(size) if field.repeated => size.saturating_mul(payload.len()),
            _ => return Err(malformed("field has another wire type")),
        };
        *left = left.checked_sub(takes).ok_or(MessageError::TooLarge)?;
    }
    match shape
        .fields
        .iter()
        .find(|field| shape.required & !seen & (1 << field.number) != 0)
    {
        Some(absent) => Err(MessageError::Missing {
            message: shape.name,
            field: absent.name,
        }),
        None => Ok(()),
    }
}

/// Takes a base-128 number of at most ten bytes from the front.
fn varint(wire: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let byte = *wire.first()?;
        wire.advance(1);
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn split<'a>(wire: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (front, rest) = wire.split_at_checked(length)?;
    *wire = rest;
    Some(front)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::messages::*;
    use super::*;

    fn produce(buckets: usize, records: &'static [u8]) -> ProduceLogRequest {
        ProduceLogRequest {
            acks: -1,
            table_id: 7,
            timeout_ms: 30_000,
            buckets_req: (0..buckets)
                .map(|bucket| PbProduceLogReqForBucket {
                    bucket_id: bucket as i32,
                    records: Bytes::from_static(records),
                    ..Default::default()
                })
                .collect(),
        }
    }

    /// Decodes with a bound, and encodes again.
    fn again<M: Message + Default + Shaped>(body: Vec<u8>) -> Vec<u8> {
        decode::<M>(body.into(), 4096).unwrap().encode_to_vec()
    }

    #[test]
    fn what_java_sends_is_read_and_written_alike() {
        for line in include_str!("golden/requests.txt").lines() {
            let (name, hex) = line.split_once(' ').unwrap();
            let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            let body: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
            let read = body.clone();
            let written = match name {
                "ApiVersionsRequest" => again::<ApiVersionsRequest>(read),
                "MetadataRequest" => again::<MetadataRequest>(read),
                "ProduceLogRequest" => again::<ProduceLogRequest>(read),
                "FetchLogRequest" => again::<FetchLogRequest>(read),
                "ListOffsetsRequest" => again::<ListOffsetsRequest>(read),
                "AlterTableRequest" => again::<AlterTableRequest>(read),
                "AuthenticateRequest" => again::<AuthenticateRequest>(read),
                other => panic!("{other}"),
            };
            assert_eq!(written, body, "{name}");
        }
    }

    #[test]
    fn records_are_slices_of_the_frame() {
        let body = Bytes::from(produce(1, &[9; 64]).encode_to_vec());
        let range = body.as_ptr() as usize..body.as_ptr() as usize + body.len();
        let request: ProduceLogRequest = decode(body, 4096).unwrap();
        assert_eq!(request.buckets_req[0].records, vec![9; 64]);
        assert!(range.contains(&(request.buckets_req[0].records.as_ptr() as usize)));
    }

    #[test]
    fn elements_are_counted_before_they_are_decoded() {
        let body = Bytes::from(produce(1000, &[]).encode_to_vec());
        assert!(matches!(
            decode::<ProduceLogRequest>(body.clone(), 64 << 10),
            Err(MessageError::TooLarge)
        ));
        assert_eq!(
            decode::<ProduceLogRequest>(body, 1 << 20)
                .unwrap()
                .buckets_req
                .len(),
            1000
        );
        // Packed numbers take one byte each on the wire and eight in memory.
        let request = MetadataRequest {
            partitions_id: vec![1; 1000],
            ..Default::default()
        };
        let body = Bytes::from(request.encode_to_vec());
        assert!(matches!(
            decode::<MetadataRequest>(body, 7999),
            Err(MessageError::TooLarge)
        ));
    }

    #[test]
    fn record_bytes_do_not_count() {
        let body = Bytes::from(produce(1, &[0; 100_000]).encode_to_vec());
        assert!(decode::<ProduceLogRequest>(body, 1024).is_ok());
    }

    #[test]
    fn absent_required_fields_are_named() {
        assert_eq!(
            decode::<CreateTableRequest>(Bytes::new(), 1024),
            Err(MessageError::Missing {
                message: "CreateTableRequest",
                field: "table_path"
            })
        );
        // A nested one: field 4 of a produce request, an empty bucket.
        let mut body = produce(0, &[]).encode_to_vec();
        body.extend([0x22, 0x00]);
        assert_eq!(
            decode::<ProduceLogRequest>(body.into(), 1024),
            Err(MessageError::Missing {
                message: "PbProduceLogReqForBucket",
                field: "bucket_id"
            })
        );
    }

    #[test]
    fn numbers_are_read_packed_and_unpacked() {
        let packed = decode::<MetadataRequest>(Bytes::from_static(&[0x1a, 2, 5, 6]), 1024).unwrap();
        let unpacked =
            decode::<MetadataRequest>(Bytes::from_static(&[0x18, 5, 0x18, 6]), 1024).unwrap();
        assert_eq!(packed.partitions_id, vec![5, 6]);
        assert_eq!(packed, unpacked);
    }

    #[test]
    fn nesting_is_bounded() {
        let mut predicate = PbPredicate {
            r#type: 1,
            ..Default::default()
        };
        for _ in 0..200 {
            predicate = PbPredicate {
                r#type: 1,
                leaf: None,
                compound: Some(PbCompoundPredicate {
                    function: 0,
                    children: vec![predicate],
                }),
            };
        }
        let body = Bytes::from(predicate.encode_to_vec());
        assert!(matches!(
            decode::<PbPredicate>(body, 1 << 20),
            Err(MessageError::Malformed {
                reason: "nested too deep",
                ..
            })
        ));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let body = Bytes::from(bytes);
            let _ = decode::<FetchLogRequest>(body.clone(), 1 << 16);
            let _ = decode::<PbPredicate>(body.clone(), 1 << 16);
            let _ = decode::<AlterTableRequest>(body, 1 << 16);
        }

        #[test]
        fn bytes_beside_a_message_never_panic(
            at in 0usize..200, byte in any::<u8>(), buckets in 0usize..6,
        ) {
            let mut body = produce(buckets, b"records").encode_to_vec();
            let at = at % body.len();
            body[at] = byte;
            let _ = decode::<ProduceLogRequest>(body.into(), 1 << 16);
        }

        #[test]
        fn what_prost_writes_passes(buckets in 0usize..20, acks in -1i32..2) {
            let request = ProduceLogRequest { acks, ..produce(buckets, b"x") };
            let decoded = decode::<ProduceLogRequest>(request.encode_to_vec().into(), 1 << 16);
            prop_assert_eq!(decoded, Ok(request));
        }
    }
}
