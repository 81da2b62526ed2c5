//! Requests on their way in: from a frame to a header and a decoded message.
//!
//! ```text
//!  api key i16 | version i16 | correlation id i32 | client id, i16 length or null
//!  | tagged fields, where the request is flexible | body
//! ```
//!
//! The body is walked by its [`Shape`] before the message crate decodes it. Strings and records of
//! the decoded message are slices of the frame.

use bytes::{Buf, Bytes};
use kafka_protocol::messages::{ApiKey, ConsumerProtocolAssignment, ConsumerProtocolSubscription};
use kafka_protocol::protocol::{Decodable, Message, Request, StrBytes};

use crate::kafka::api::{self, Api};
use crate::kafka::shape::{Shape, ShapeError};
use crate::kafka::varint;

/// A bound for the memory of a decoded request that suits all but unusual ones: a request that
/// names 100,000 partitions takes about this much.
pub const DECODED_BYTES_MAX: usize = 16 << 20;

/// Why a frame is not a request. Kafka closes the connection in all these cases; only an
/// ApiVersions request of an unknown version is answered, see [`RequestFrame::is_served`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum RequestError {
    #[error("request header is cut off")]
    Header,
    #[error("unknown api key {key}")]
    UnknownApi { key: i16 },
    #[error("{api:?} has no version {version}")]
    UnsupportedVersion { api: ApiKey, version: i16 },
    #[error("client id is not UTF-8")]
    ClientId,
    #[error("bad {api:?} request of version {version}: {source}")]
    Shape {
        api: ApiKey,
        version: i16,
        source: ShapeError,
    },
    #[error("bad {api:?} request of version {version}: {reason}")]
    Message {
        api: ApiKey,
        version: i16,
        reason: String,
    },
}

/// A request whose header is read and whose body is not decoded yet.
#[derive(Debug, Clone)]
pub struct RequestFrame {
    /// The API's row.
    pub api: &'static Api,
    /// The version in which the body is written and the answer is expected.
    pub version: i16,
    /// Goes back with the answer.
    pub correlation_id: i32,
    /// What the client calls itself; `None` is null.
    pub client_id: Option<StrBytes>,
    /// The bytes behind the header.
    pub body: Bytes,
}

impl RequestFrame {
    /// Reads the header of a frame, which comes without its length prefix.
    ///
    /// An ApiVersions request of a version that we do not serve is returned nevertheless, without
    /// client id and body.
    pub fn read(mut frame: Bytes) -> Result<Self, RequestError> {
        let Some((fixed, _)) = frame.split_first_chunk::<8>() else {
            return Err(RequestError::Header);
        };
        let [k0, k1, v0, v1, c0, c1, c2, c3] = *fixed;
        let key = i16::from_be_bytes([k0, k1]);
        let version = i16::from_be_bytes([v0, v1]);
        let correlation_id = i32::from_be_bytes([c0, c1, c2, c3]);
        let api = api::find(key).ok_or(RequestError::UnknownApi { key })?;
        if !api.serves(version) {
            if api.key != ApiKey::ApiVersions {
                return Err(RequestError::UnsupportedVersion {
                    api: api.key,
                    version,
                });
            }
            let (client_id, body) = (None, Bytes::new());
            return Ok(RequestFrame {
                api,
                version,
                correlation_id,
                client_id,
                body,
            });
        }
        frame.advance(fixed.len());
        let client_id = read_client_id(&mut frame)?;
        if api.key.request_header_version(version) >= 2 {
            skip_tagged_fields(&mut frame)?;
        }
        Ok(RequestFrame {
            api,
            version,
            correlation_id,
            client_id,
            body: frame,
        })
    }

    /// False only for an ApiVersions request that wants the answer
    /// [`api::unsupported_api_versions`].
    pub fn is_served(&self) -> bool {
        self.api.serves(self.version)
    }

    /// Decodes the body, whose memory besides the frame may be `decoded_bytes_max` bytes.
    ///
    /// Bytes behind the message are passed over, as Kafka does: librdkafka leaves three there when
    /// it asks for the metadata of all topics in version 9 or later.
    ///
    /// # Panics
    /// When `M` is not the request of this frame's API: a mistake of the dispatch.
    pub fn decode<M: Request>(&self, decoded_bytes_max: usize) -> Result<M, RequestError> {
        let (api, version) = (self.api.key, self.version);
        assert_eq!(
            M::KEY,
            api as i16,
            "the dispatch decodes a request as what it is"
        );
        let shape = Shape::of_request(api).expect("every API of the table has a shape");
        let trailing = shape
            .walk_prefix(version, &self.body, decoded_bytes_max)
            .map_err(|source| RequestError::Shape {
                api,
                version,
                source,
            })?;
        let broken = |reason| RequestError::Message {
            api,
            version,
            reason,
        };
        let mut body = self.body.clone();
        let message = M::decode(&mut body, version).map_err(|e| broken(e.to_string()))?;
        // The same fact on a second path: the walk has found where the message ends.
        if body.len() != trailing {
            let (left, walked) = (body.len(), trailing);
            return Err(broken(format!("{left} bytes are left instead of {walked}")));
        }
        Ok(message)
    }
}

fn read_client_id(frame: &mut Bytes) -> Result<Option<StrBytes>, RequestError> {
    let length = frame.try_get_i16().map_err(|_| RequestError::Header)?;
    let Ok(length) = usize::try_from(length) else {
        // Only -1 is null; Kafka reads every other negative length as a broken header.
        return if length == -1 {
            Ok(None)
        } else {
            Err(RequestError::Header)
        };
    };
    if frame.len() < length {
        return Err(RequestError::Header);
    }
    StrBytes::from_utf8(frame.split_to(length))
        .map(Some)
        .map_err(|_| RequestError::ClientId)
}

fn skip_tagged_fields(frame: &mut Bytes) -> Result<(), RequestError> {
    let mut rest = &frame[..];
    let count = varint::read_unsigned(&mut rest).ok_or(RequestError::Header)?;
    // Each takes two bytes at least, so this loop ends with the bytes.
    for _ in 0..count {
        let _tag = varint::read_unsigned(&mut rest).ok_or(RequestError::Header)?;
        let size = varint::read_unsigned(&mut rest).ok_or(RequestError::Header)?;
        rest = rest.get(size as usize..).ok_or(RequestError::Header)?;
    }
    let skipped = frame.len() - rest.len();
    frame.advance(skipped);
    Ok(())
}

/// Why the bytes that group members exchange are not what consumers write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// There is no version in front, or a negative one.
    #[error("no version")]
    Version,
    /// A count or length does not fit.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// The message crate refuses it.
    #[error("{0}")]
    Message(String),
}

/// Decodes the metadata with which a consumer joins its group (protocol type `consumer`).
///
/// Versions above those we know are read as the highest one, as Kafka does: new fields come last.
pub fn decode_subscription(
    blob: Bytes,
    decoded_bytes_max: usize,
) -> Result<ConsumerProtocolSubscription, BlobError> {
    decode_blob(Shape::of_subscription(), blob, decoded_bytes_max)
}

/// Decodes the assignment that a leader gives a consumer; see [`decode_subscription`].
pub fn decode_assignment(
    blob: Bytes,
    decoded_bytes_max: usize,
) -> Result<ConsumerProtocolAssignment, BlobError> {
    decode_blob(Shape::of_assignment(), blob, decoded_bytes_max)
}

fn decode_blob<M: Decodable + Message>(
    shape: &'static Shape,
    mut blob: Bytes,
    decoded_bytes_max: usize,
) -> Result<M, BlobError> {
    let version = blob.try_get_i16().map_err(|_| BlobError::Version)?;
    if version < 0 {
        return Err(BlobError::Version);
    }
    let version = version.min(M::VERSIONS.max);
    shape.walk_prefix(version, &blob, decoded_bytes_max)?;
    M::decode(&mut blob, version).map_err(|error| BlobError::Message(error.to_string()))
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
