//! A walk over the bytes of a message before the message crate decodes it.
//!
//! The crate sizes its vectors by counts from the wire: four bytes could ask for gigabytes. So
//! every message that comes from outside is first walked with a description of its fields: all
//! counts and lengths must fit the bytes that are there, and the memory that decoding will take is
//! added up and bounded. The walk allocates nothing. It does not judge what the decoder judges
//! itself (nulls, UTF-8).
//!
//! The descriptions are tables, one per message: fields in wire order, the versions that have
//! them, and from which version on the message is *flexible* (varint lengths, tagged fields).

mod cluster;
mod data;
mod groups;
mod topics;

use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::StrBytes;

use crate::kafka::varint;

/// Memory that one tagged field takes in the decoder's map: a key, a slice of the frame and the
/// map's own share.
const TAGGED_FIELD_MEMORY: usize = 64;

/// A message or a structure in it.
#[derive(Debug)]
pub struct Shape {
    flexible_since: i16,
    fields: &'static [Field],
    /// Bytes of the decoded structure itself.
    memory: usize,
}

/// A field of a message.
#[derive(Debug)]
struct Field {
    name: &'static str,
    kind: Kind,
    since: i16,
    until: i16,
    tag: Option<u32>,
}

/// How a field lies on the wire.
#[derive(Debug)]
enum Kind {
    /// So many bytes.
    Fixed(usize),
    /// A length and as many bytes; null is allowed.
    String,
    /// The same with a four-byte length where the message is not flexible.
    Bytes,
    /// A count and as many values; null is allowed.
    Array(&'static Kind),
    /// The fields of another shape.
    Struct(&'static Shape),
    /// The same behind a byte: 1, or negative for null.
    OptionalStruct(&'static Shape),
}

const BOOL: Kind = Kind::Fixed(1);
const INT8: Kind = Kind::Fixed(1);
const INT16: Kind = Kind::Fixed(2);
const INT32: Kind = Kind::Fixed(4);
const INT64: Kind = Kind::Fixed(8);
const UUID: Kind = Kind::Fixed(16);
/// For messages that are not flexible in any version.
const NEVER: i16 = i16::MAX;

const fn field(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        since: 0,
        until: i16::MAX,
        tag: None,
    }
}

impl Field {
    /// The first version that has the field.
    const fn since(mut self, version: i16) -> Self {
        self.since = version;
        self
    }

    /// The last version that has the field.
    const fn until(mut self, version: i16) -> Self {
        self.until = version;
        self
    }

    /// The field is a tagged one.
    const fn tagged(mut self, tag: u32) -> Self {
        self.tag = Some(tag);
        self
    }

    const fn is_in(&self, version: i16) -> bool {
        self.since <= version && version <= self.until
    }
}

impl Shape {
    /// The shape of what decodes to a `T`.
    const fn of<T>(flexible_since: i16, fields: &'static [Field]) -> Self {
        Shape {
            flexible_since,
            fields,
            memory: size_of::<T>(),
        }
    }

    /// The shape of the requests of an API, where this crate knows it.
    pub fn of_request(api: ApiKey) -> Option<&'static Shape> {
        Some(match api {
            ApiKey::Produce => &data::PRODUCE,
            ApiKey::Fetch => &data::FETCH,
            ApiKey::ListOffsets => &data::LIST_OFFSETS,
            ApiKey::OffsetForLeaderEpoch => &data::OFFSET_FOR_LEADER_EPOCH,
            ApiKey::DeleteRecords => &data::DELETE_RECORDS,
            ApiKey::InitProducerId => &data::INIT_PRODUCER_ID,
            ApiKey::Metadata => &topics::METADATA,
            ApiKey::CreateTopics => &topics::CREATE_TOPICS,
            ApiKey::DeleteTopics => &topics::DELETE_TOPICS,
            ApiKey::CreatePartitions => &topics::CREATE_PARTITIONS,
            ApiKey::DescribeTopicPartitions => &topics::DESCRIBE_TOPIC_PARTITIONS,
            ApiKey::DescribeConfigs => &topics::DESCRIBE_CONFIGS,
            ApiKey::AlterConfigs => &topics::ALTER_CONFIGS,
            ApiKey::IncrementalAlterConfigs => &topics::INCREMENTAL_ALTER_CONFIGS,
            ApiKey::FindCoordinator => &groups::FIND_COORDINATOR,
            ApiKey::JoinGroup => &groups::JOIN_GROUP,
            ApiKey::SyncGroup => &groups::SYNC_GROUP,
            ApiKey::Heartbeat => &groups::HEARTBEAT,
            ApiKey::LeaveGroup => &groups::LEAVE_GROUP,
            ApiKey::OffsetCommit => &groups::OFFSET_COMMIT,
            ApiKey::OffsetFetch => &groups::OFFSET_FETCH,
            ApiKey::OffsetDelete => &groups::OFFSET_DELETE,
            ApiKey::ListGroups => &groups::LIST_GROUPS,
            ApiKey::DescribeGroups => &groups::DESCRIBE_GROUPS,
            ApiKey::DeleteGroups => &groups::DELETE_GROUPS,
            ApiKey::ApiVersions => &cluster::API_VERSIONS,
            ApiKey::SaslHandshake => &cluster::SASL_HANDSHAKE,
            ApiKey::SaslAuthenticate => &cluster::SASL_AUTHENTICATE,
            ApiKey::DescribeCluster => &cluster::DESCRIBE_CLUSTER,
            ApiKey::DescribeLogDirs => &cluster::DESCRIBE_LOG_DIRS,
            ApiKey::DescribeProducers => &cluster::DESCRIBE_PRODUCERS,
            _ => return None,
        })
    }

    /// The shape of the metadata with which a consumer joins its group, behind its version.
    pub fn of_subscription() -> &'static Shape {
        &groups::CONSUMER_PROTOCOL_SUBSCRIPTION
    }

    /// The shape of the assignment that a group's leader gives a consumer, behind its version.
    pub fn of_assignment() -> &'static Shape {
        &groups::CONSUMER_PROTOCOL_ASSIGNMENT
    }

    /// Walks a message of a version that the caller knows to exist. All bytes must belong to it.
    ///
    /// Returns the bytes that the decoded message will take in memory, besides the slices of the
    /// frame that it holds.
    pub fn walk(
        &'static self,
        version: i16,
        bytes: &[u8],
        decoded_bytes_max: usize,
    ) -> Result<usize, ShapeError> {
        match self.walk_some(version, bytes, decoded_bytes_max)? {
            (memory, []) => Ok(memory),
            (_, rest) => Err(ShapeError {
                field: "",
                fault: ShapeFault::Trailing(rest.len()),
            }),
        }
    }

    /// Walks a message that other bytes may follow, and returns how many do; see [`Shape::walk`].
    pub fn walk_prefix(
        &'static self,
        version: i16,
        bytes: &[u8],
        decoded_bytes_max: usize,
    ) -> Result<usize, ShapeError> {
        self.walk_some(version, bytes, decoded_bytes_max)
            .map(|(_, rest)| rest.len())
    }

    fn walk_some<'a>(
        &'static self,
        version: i16,
        bytes: &'a [u8],
        decoded_bytes_max: usize,
    ) -> Result<(usize, &'a [u8]), ShapeError> {
        let mut walk = Walk {
            rest: bytes,
            version,
            memory_left: decoded_bytes_max,
            field: "",
        };
        match walk.structure(self) {
            Ok(()) => Ok((decoded_bytes_max - walk.memory_left, walk.rest)),
            Err(fault) => Err(ShapeError {
                field: walk.field,
                fault,
            }),
        }
    }
}

/// Why bytes are not a message of a shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{fault} (field {field:?})")]
pub struct ShapeError {
    /// The field that was read; empty behind the last one.
    pub field: &'static str,
    /// What was wrong.
    pub fault: ShapeFault,
}

/// What can be wrong with the bytes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShapeFault {
    /// A field, or what a length or count announces, ends behind the bytes.
    #[error("message is cut off")]
    CutOff,
    /// A length or count below -1.
    #[error("negative length")]
    Negative,
    /// The decoded message would take more memory than the caller allows.
    #[error("decoded message takes too much memory")]
    Memory,
    /// The byte that says whether a structure follows is neither 1 nor negative.
    #[error("presence byte is neither 1 nor negative")]
    Presence,
    /// A tagged field does not fill the size that is written before it.
    #[error("tagged field does not have its size")]
    TagSize,
    /// So many bytes follow the message.
    #[error("{0} bytes follow the message")]
    Trailing(usize),
}

struct Walk<'a> {
    rest: &'a [u8],
    version: i16,
    memory_left: usize,
    /// The field that is being read, for the error.
    field: &'static str,
}

impl<'a> Walk<'a> {
    fn structure(&mut self, shape: &'static Shape) -> Result<(), ShapeFault> {
        let flexible = self.version >= shape.flexible_since;
        for field in shape.fields {
            if field.tag.is_none() && field.is_in(self.version) {
                self.field = field.name;
                self.value(&field.kind, flexible)?;
            }
        }
        if flexible {
            self.tagged_fields(shape)?;
        }
        Ok(())
    }

    fn tagged_fields(&mut self, shape: &'static Shape) -> Result<(), ShapeFault> {
        self.field = "tagged fields";
        let count = self.unsigned()?;
        // Each takes two bytes at least, so this loop ends with the bytes.
        for _ in 0..count {
            let tag = self.unsigned()?;
            let size = self.unsigned()? as usize;
            let value = self.take(size)?;
            self.remember(TAGGED_FIELD_MEMORY)?;
            let known = |f: &&Field| f.tag == Some(tag) && f.is_in(self.version);
            if let Some(field) = shape.fields.iter().find(known) {
                self.field = field.name;
                let behind = std::mem::replace(&mut self.rest, value);
                self.value(&field.kind, true)?;
                if !self.rest.is_empty() {
                    return Err(ShapeFault::TagSize);
                }
                self.rest = behind;
            }
        }
        Ok(())
    }

    fn value(&mut self, kind: &'static Kind, flexible: bool) -> Result<(), ShapeFault> {
        match kind {
            Kind::Fixed(size) => self.take(*size).map(drop),
            Kind::String => {
                let length = self.length(flexible, LengthField::Short)?;
                self.take(length.unwrap_or(0)).map(drop)
            }
            Kind::Bytes => {
                let length = self.length(flexible, LengthField::Long)?;
                self.take(length.unwrap_or(0)).map(drop)
            }
            Kind::Array(element) => self.array(element, flexible),
            Kind::Struct(shape) => self.structure(shape),
            Kind::OptionalStruct(shape) => match i8::from_be_bytes(self.array_of()?) {
                i8::MIN..=-1 => Ok(()),
                1 => self.structure(shape),
                // The decoder would take it for null, Kafka for a structure.
                _ => Err(ShapeFault::Presence),
            },
        }
    }

    fn array(&mut self, element: &'static Kind, flexible: bool) -> Result<(), ShapeFault> {
        let Some(count) = self.length(flexible, LengthField::Long)? else {
            return Ok(());
        };
        // Every element takes a byte at least.
        if count > self.rest.len() {
            return Err(ShapeFault::CutOff);
        }
        self.remember(count.saturating_mul(element.memory()))?;
        if let Kind::Fixed(size) = element {
            return self.take(count.saturating_mul(*size)).map(drop);
        }
        let name = self.field;
        for _ in 0..count {
            self.field = name;
            self.value(element, flexible)?;
        }
        Ok(())
    }

    /// Reads a length or a count; `None` is null.
    fn length(&mut self, flexible: bool, field: LengthField) -> Result<Option<usize>, ShapeFault> {
        if flexible {
            // Compact lengths are one more than the length, so that null is 0.
            return Ok((self.unsigned()? as usize).checked_sub(1));
        }
        let length = match field {
            LengthField::Short => i64::from(i16::from_be_bytes(self.array_of()?)),
            LengthField::Long => i64::from(i32::from_be_bytes(self.array_of()?)),
        };
        match length {
            -1 => Ok(None),
            length => usize::try_from(length)
                .map(Some)
                .map_err(|_| ShapeFault::Negative),
        }
    }

    fn unsigned(&mut self) -> Result<u32, ShapeFault> {
        varint::read_unsigned(&mut self.rest).ok_or(ShapeFault::CutOff)
    }

    fn array_of<const N: usize>(&mut self) -> Result<[u8; N], ShapeFault> {
        let (taken, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(ShapeFault::CutOff)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn take(&mut self, size: usize) -> Result<&'a [u8], ShapeFault> {
        let (taken, rest) = self.rest.split_at_checked(size).ok_or(ShapeFault::CutOff)?;
        self.rest = rest;
        Ok(taken)
    }

    fn remember(&mut self, memory: usize) -> Result<(), ShapeFault> {
        self.memory_left = self
            .memory_left
            .checked_sub(memory)
            .ok_or(ShapeFault::Memory)?;
        Ok(())
    }
}

/// The width of a length where the message is not flexible.
#[derive(Clone, Copy)]
enum LengthField {
    /// Two bytes.
    Short,
    /// Four bytes.
    Long,
}

impl Kind {
    /// Bytes that an element of this kind takes in a decoded vector.
    const fn memory(&self) -> usize {
        match self {
            Kind::Fixed(size) => *size,
            Kind::String | Kind::Bytes => size_of::<Option<StrBytes>>(),
            Kind::Array(_) => size_of::<Vec<u8>>(),
            Kind::Struct(shape) | Kind::OptionalStruct(shape) => shape.memory,
        }
    }
}

#[cfg(test)]
mod tests;
