//! Keys and values of the internal log of consumer groups, in the schemas of Kafka's own
//! `__consumer_offsets`, so that Kafka's tools read it.
//!
//! ```text
//! key    version i16 | fields            0, 1: committed offset   2: group metadata
//! value  version i16 | fields            absent: the key was removed (a tombstone)
//! ```
//!
//! Versions below 4 write strings with an i16 length and bytes with an i32 length; version 4 of
//! both values is *flexible*: lengths are unsigned varints plus one and each structure ends in
//! tagged fields, which are skipped. We write keys 1 and 2 and values 3 (offset value 1 when the
//! commit names its own expiry) and read all versions. Kafka 4.3 writes the same, but for offset
//! value 4, which adds the topic's id as a tagged field.

mod read;
mod write;

use bytes::{BufMut, Bytes, BytesMut};

use read::Reader;
use write::Fields;

/// Why a key or value of the log could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end inside a field.
    #[error("record ends inside a field")]
    Truncated,
    /// A length is negative or beyond the end.
    #[error("length of a field is out of range")]
    Length,
    /// A string is not UTF-8.
    #[error("string is not UTF-8")]
    Text,
    /// The value has a version that this broker does not know.
    #[error("unknown value version {0}")]
    Version(i16),
}

/// A name was too long for the i16 length that Kafka's schema gives it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("string is longer than 32767 bytes")]
pub struct TooLong;

/// What a record of the log speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    /// A committed offset.
    Offset(OffsetKey),
    /// The members of a group; the group's id.
    Group(String),
    /// A record of another kind (groups of the newer protocols), to be passed over.
    Other(i16),
}

/// Names a committed offset.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OffsetKey {
    /// The group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
}

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetValue {
    /// The offset to read next.
    pub offset: i64,
    /// Leader epoch of the last record read; -1 when the client gave none.
    pub leader_epoch: i32,
    /// What the client wanted to keep with it.
    pub metadata: String,
    /// When it was committed, epoch milliseconds.
    pub commit_time_ms: i64,
    /// When it expires, epoch milliseconds; -1 when the broker's retention decides.
    pub expire_time_ms: i64,
}

/// A group as it was when its leader's assignment was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupValue {
    /// `consumer`, `connect`, …; empty for groups that only store offsets.
    pub protocol_type: String,
    /// The generation.
    pub generation: i32,
    /// The chosen assignment protocol; absent for an empty group.
    pub protocol: Option<String>,
    /// Member id of the leader; absent for an empty group.
    pub leader: Option<String>,
    /// When the group entered its state, epoch milliseconds; -1 when unknown.
    pub state_time_ms: i64,
    /// The members.
    pub members: Vec<MemberValue>,
}

/// A member of a [`GroupValue`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberValue {
    /// Its id.
    pub member_id: String,
    /// Its instance id, for static members.
    pub group_instance_id: Option<String>,
    /// Client id of its last join.
    pub client_id: String,
    /// Address it joined from.
    pub client_host: String,
    /// Rebalance timeout in milliseconds; -1 when unknown (version 0).
    pub rebalance_timeout_ms: i32,
    /// Session timeout in milliseconds.
    pub session_timeout_ms: i32,
    /// Its metadata for the chosen protocol.
    pub subscription: Bytes,
    /// What the leader assigned to it.
    pub assignment: Bytes,
}

const OFFSET_KEY: i16 = 1;
const GROUP_KEY: i16 = 2;
const VALUE_VERSION: i16 = 3;
const OFFSET_VALUE_WITH_EXPIRY: i16 = 1;
const VALUE_VERSION_MAX: i16 = 4;

impl Key {
    /// Reads a key.
    ///
    /// # Errors
    /// When the bytes are not a key of their version; an unknown version is [`Key::Other`].
    pub fn decode(bytes: &[u8]) -> Result<Key, DecodeError> {
        let mut reader = Reader::new(bytes);
        match reader.int16()? {
            0 | OFFSET_KEY => Ok(Key::Offset(OffsetKey {
                group: reader.string()?,
                topic: reader.string()?,
                partition: reader.int32()?,
            })),
            GROUP_KEY => Ok(Key::Group(reader.string()?)),
            other => Ok(Key::Other(other)),
        }
    }
}

/// Writes the key of a group's metadata.
///
/// # Errors
/// When the id is longer than 32767 bytes.
pub fn encode_group_key(group: &str) -> Result<Bytes, TooLong> {
    let mut buffer = BytesMut::with_capacity(4 + group.len());
    buffer.put_i16(GROUP_KEY);
    buffer.string(group)?;
    Ok(buffer.freeze())
}

/// Writes the key of a committed offset.
///
/// # Errors
/// When a name is longer than 32767 bytes.
pub fn encode_offset_key(group: &str, topic: &str, partition: i32) -> Result<Bytes, TooLong> {
    let mut buffer = BytesMut::with_capacity(10 + group.len() + topic.len());
    buffer.put_i16(OFFSET_KEY);
    buffer.string(group)?;
    buffer.string(topic)?;
    buffer.put_i32(partition);
    Ok(buffer.freeze())
}

impl OffsetValue {
    /// Writes the value.
    ///
    /// # Errors
    /// When the metadata is longer than 32767 bytes.
    pub fn encode(&self) -> Result<Bytes, TooLong> {
        let mut buffer = BytesMut::with_capacity(32 + self.metadata.len());
        if self.expire_time_ms >= 0 {
            // Only version 1 has a place for an expiry; it has none for the epoch.
            buffer.put_i16(OFFSET_VALUE_WITH_EXPIRY);
            buffer.put_i64(self.offset);
            buffer.string(&self.metadata)?;
            buffer.put_i64(self.commit_time_ms);
            buffer.put_i64(self.expire_time_ms);
        } else {
            buffer.put_i16(VALUE_VERSION);
            buffer.put_i64(self.offset);
            buffer.put_i32(self.leader_epoch);
            buffer.string(&self.metadata)?;
            buffer.put_i64(self.commit_time_ms);
        }
        Ok(buffer.freeze())
    }

    /// Reads a value of any version.
    ///
    /// # Errors
    /// When the bytes are not such a value.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let version = reader.version(VALUE_VERSION_MAX)?;
        let value = OffsetValue {
            offset: reader.int64()?,
            leader_epoch: if version >= 3 { reader.int32()? } else { -1 },
            metadata: reader.string()?,
            commit_time_ms: reader.int64()?,
            expire_time_ms: if version == OFFSET_VALUE_WITH_EXPIRY {
                reader.int64()?
            } else {
                -1
            },
        };
        reader.tagged_fields()?;
        Ok(value)
    }
}

impl GroupValue {
    /// Writes the value.
    ///
    /// # Errors
    /// When a string is longer than 32767 bytes.
    pub fn encode(&self) -> Result<Bytes, TooLong> {
        let members: usize = self
            .members
            .iter()
            .map(|m| 128 + m.subscription.len() + m.assignment.len())
            .sum();
        let mut buffer = BytesMut::with_capacity(64 + members);
        buffer.put_i16(VALUE_VERSION);
        buffer.string(&self.protocol_type)?;
        buffer.put_i32(self.generation);
        buffer.nullable_string(self.protocol.as_deref())?;
        buffer.nullable_string(self.leader.as_deref())?;
        buffer.put_i64(self.state_time_ms);
        buffer.count(self.members.len())?;
        for member in &self.members {
            buffer.string(&member.member_id)?;
            buffer.nullable_string(member.group_instance_id.as_deref())?;
            buffer.string(&member.client_id)?;
            buffer.string(&member.client_host)?;
            buffer.put_i32(member.rebalance_timeout_ms);
            buffer.put_i32(member.session_timeout_ms);
            buffer.blob(&member.subscription)?;
            buffer.blob(&member.assignment)?;
        }
        Ok(buffer.freeze())
    }

    /// Reads a value of any version.
    ///
    /// # Errors
    /// When the bytes are not such a value.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let version = reader.version(VALUE_VERSION_MAX)?;
        let mut value = GroupValue {
            protocol_type: reader.string()?,
            generation: reader.int32()?,
            protocol: reader.nullable_string()?,
            leader: reader.nullable_string()?,
            state_time_ms: if version >= 2 { reader.int64()? } else { -1 },
            members: Vec::new(),
        };
        // Members are pushed one by one: a count that lies runs into the end of the bytes.
        for _ in 0..reader.count()? {
            value.members.push(MemberValue {
                member_id: reader.string()?,
                group_instance_id: if version >= 3 {
                    reader.nullable_string()?
                } else {
                    None
                },
                client_id: reader.string()?,
                client_host: reader.string()?,
                rebalance_timeout_ms: if version >= 1 { reader.int32()? } else { -1 },
                session_timeout_ms: reader.int32()?,
                subscription: reader.blob()?,
                assignment: reader.blob()?,
            });
            reader.tagged_fields()?;
        }
        reader.tagged_fields()?;
        Ok(value)
    }
}

#[cfg(test)]
mod tests;
