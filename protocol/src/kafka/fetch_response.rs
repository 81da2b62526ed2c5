//! Fetch answers, versions 4 to 18, written around their records.
//!
//! The message crate would copy every record into its buffer. Here the fields are written into one
//! small buffer and the records stand between its pieces as they are.
//!
//! ```text
//!  throttle ms i32 | error i16, session id i32 (7+) | topics [ name (-12) or id (13+) | partitions [
//!    index i32 | error i16 | high watermark i64 | last stable offset i64 | log start i64 (5+)
//!    | aborted [ producer id i64 | first offset i64 ] | preferred replica i32 (11+) | records
//!    | tagged 0: diverging epoch, 1: current leader (12+) ] ] | tagged 0: node endpoints (16+)
//! ```

use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::kafka::response::{AnswerWriter, EncodeError};
use crate::kafka::varint::size_unsigned;

/// The first version with varint lengths and tagged fields.
const FLEXIBLE_SINCE: i16 = 12;
/// Bytes of a partition without aborted transactions, at most.
const PARTITION_BYTES: usize = 96;
const TOPIC_BYTES: usize = 64;

/// A Fetch answer.
#[derive(Debug, Clone, Default)]
pub struct FetchAnswer {
    /// How long the client was held back, milliseconds.
    pub throttle_time_ms: i32,
    /// An error of the whole request, such as an unknown session; 0 before version 7.
    pub error_code: i16,
    /// The fetch session; 0 without one and before version 7.
    pub session_id: i32,
    /// The topics, in the order in which they are written.
    pub topics: Vec<FetchTopicAnswer>,
    /// Where the leaders are that partitions name; ignored before version 16.
    pub node_endpoints: Vec<FetchEndpoint>,
}

/// A topic of a Fetch answer.
#[derive(Debug, Clone, Default)]
pub struct FetchTopicAnswer {
    /// The topic's name; ignored from version 13 on.
    pub name: StrBytes,
    /// The topic's id; ignored before version 13.
    pub id: Uuid,
    /// The partitions, in the order in which they are written.
    pub partitions: Vec<FetchPartitionAnswer>,
}

/// A partition of a Fetch answer. Fields that a version does not have are left out.
#[derive(Debug, Clone)]
pub struct FetchPartitionAnswer {
    /// The partition.
    pub index: i32,
    /// 0, or why there are no records.
    pub error_code: i16,
    /// The high watermark, -1 when unknown.
    pub high_watermark: i64,
    /// The last stable offset, -1 when unknown.
    pub last_stable_offset: i64,
    /// The log start offset, -1 when unknown.
    pub log_start_offset: i64,
    /// The largest epoch and its end offset that agree with the client's log (version 12).
    pub diverging_epoch: Option<(i32, i64)>,
    /// Leader id and epoch, when the client knows another (version 12).
    pub current_leader: Option<(i32, i32)>,
    /// Producer id and first offset of aborted transactions in the records; `None` is null, which
    /// is right for readers of uncommitted records.
    pub aborted_transactions: Option<Vec<(i64, i64)>>,
    /// The replica to read from next, -1 for none.
    pub preferred_read_replica: i32,
    /// Batches, in pieces that follow each other; empty for no records.
    pub records: Vec<Bytes>,
}

impl Default for FetchPartitionAnswer {
    fn default() -> Self {
        FetchPartitionAnswer {
            index: 0,
            error_code: 0,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            diverging_epoch: None,
            current_leader: None,
            aborted_transactions: None,
            preferred_read_replica: -1,
            records: Vec::new(),
        }
    }
}

/// Where a broker is reached.
#[derive(Debug, Clone, Default)]
pub struct FetchEndpoint {
    /// Its id.
    pub node_id: i32,
    /// Its host.
    pub host: StrBytes,
    /// Its port.
    pub port: i32,
    /// Its rack.
    pub rack: Option<StrBytes>,
}

impl FetchAnswer {
    /// The answer with length prefix and header, as chunks that follow each other; the records are
    /// among them by reference.
    pub fn encode(self, correlation_id: i32, version: i16) -> Result<Vec<Bytes>, EncodeError> {
        let partitions: usize = self.topics.iter().map(|t| t.partitions.len()).sum();
        let capacity = 32 + self.topics.len() * TOPIC_BYTES + partitions * PARTITION_BYTES;
        let flexible = version >= FLEXIBLE_SINCE;
        let mut out = AnswerWriter::new(correlation_id, flexible, capacity);
        out.i32(self.throttle_time_ms);
        if version >= 7 {
            out.i16(self.error_code);
            out.i32(self.session_id);
        }
        out.length(Some(self.topics.len()))?;
        for topic in self.topics {
            topic.encode(&mut out, version)?;
        }
        if flexible {
            encode_endpoints(&mut out, &self.node_endpoints, version)?;
        }
        out.finish()
    }

    /// The bytes that partitions take besides their records, for staying within a request's
    /// maximum; at least the real ones, without aborted transactions.
    pub const PARTITION_BYTES_MAX: usize = PARTITION_BYTES;
}

impl FetchTopicAnswer {
    fn encode(self, out: &mut AnswerWriter, version: i16) -> Result<(), EncodeError> {
        if version >= 13 {
            out.raw(self.id.as_bytes());
        } else {
            out.string(&self.name)?;
        }
        out.length(Some(self.partitions.len()))?;
        for partition in self.partitions {
            partition.encode(out, version)?;
        }
        if version >= FLEXIBLE_SINCE {
            out.unsigned(0);
        }
        Ok(())
    }
}

impl FetchPartitionAnswer {
    fn encode(self, out: &mut AnswerWriter, version: i16) -> Result<(), EncodeError> {
        let flexible = version >= FLEXIBLE_SINCE;
        out.i32(self.index);
        out.i16(self.error_code);
        out.i64(self.high_watermark);
        out.i64(self.last_stable_offset);
        if version >= 5 {
            out.i64(self.log_start_offset);
        }
        out.length(self.aborted_transactions.as_ref().map(Vec::len))?;
        for (producer_id, first_offset) in self.aborted_transactions.into_iter().flatten() {
            out.i64(producer_id);
            out.i64(first_offset);
            if flexible {
                out.unsigned(0);
            }
        }
        if version >= 11 {
            out.i32(self.preferred_read_replica);
        }
        out.placed(self.records)?;
        if flexible {
            let count = u32::from(self.diverging_epoch.is_some())
                + u32::from(self.current_leader.is_some());
            out.unsigned(count);
            if let Some((epoch, end_offset)) = self.diverging_epoch {
                tag(out, 0, 4 + 8 + 1);
                out.i32(epoch);
                out.i64(end_offset);
                out.unsigned(0);
            }
            if let Some((leader_id, leader_epoch)) = self.current_leader {
                tag(out, 1, 4 + 4 + 1);
                out.i32(leader_id);
                out.i32(leader_epoch);
                out.unsigned(0);
            }
        }
        Ok(())
    }
}

fn tag(out: &mut AnswerWriter, tag: u32, size: u32) {
    out.unsigned(tag);
    out.unsigned(size);
}

fn encode_endpoints(
    out: &mut AnswerWriter,
    endpoints: &[FetchEndpoint],
    version: i16,
) -> Result<(), EncodeError> {
    if endpoints.is_empty() || version < 16 {
        out.unsigned(0);
        return Ok(());
    }
    let compact = |length: usize| {
        let length = u32::try_from(length).unwrap_or(u32::MAX - 1);
        size_unsigned(length + 1) + length as usize
    };
    let rack = |e: &FetchEndpoint| e.rack.as_ref().map_or(1, |rack| compact(rack.len()));
    let each = endpoints
        .iter()
        .map(|e| 4 + compact(e.host.len()) + 4 + rack(e) + 1);
    let size = size_unsigned(endpoints.len() as u32 + 1) + each.sum::<usize>();
    out.unsigned(1);
    tag(
        out,
        0,
        u32::try_from(size).map_err(|_| EncodeError::TooLong(size))?,
    );
    out.length(Some(endpoints.len()))?;
    for endpoint in endpoints {
        out.i32(endpoint.node_id);
        out.string(&endpoint.host)?;
        out.i32(endpoint.port);
        match &endpoint.rack {
            Some(rack) => out.string(rack)?,
            None => out.length(None)?,
        }
        out.unsigned(0);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::FetchResponse;
    use kafka_protocol::messages::fetch_response as wire;
    use kafka_protocol::protocol::Encodable;

    fn answer() -> FetchAnswer {
        let full = FetchPartitionAnswer {
            index: 7,
            high_watermark: 100,
            last_stable_offset: 90,
            log_start_offset: 3,
            diverging_epoch: Some((4, 55)),
            current_leader: Some((1, 6)),
            aborted_transactions: Some(vec![(5, 60), (6, 70)]),
            preferred_read_replica: 2,
            records: vec![
                Bytes::from_static(b"first batch"),
                Bytes::from_static(b"second"),
            ],
            ..Default::default()
        };
        let bare = FetchPartitionAnswer {
            index: 8,
            error_code: 3,
            ..Default::default()
        };
        let topic = |name, partitions| FetchTopicAnswer {
            name: StrBytes::from_static_str(name),
            id: Uuid::from_u128(name.len() as u128),
            partitions,
        };
        FetchAnswer {
            throttle_time_ms: 11,
            session_id: 12,
            error_code: 0,
            topics: vec![topic("orders", vec![full, bare]), topic("", vec![])],
            node_endpoints: vec![
                FetchEndpoint {
                    node_id: 1,
                    host: StrBytes::from_static_str("a"),
                    port: 9,
                    rack: None,
                },
                FetchEndpoint {
                    rack: Some(StrBytes::from_static_str("r")),
                    ..Default::default()
                },
            ],
        }
    }

    /// The same as the message crate writes it.
    fn crates_own(answer: &FetchAnswer, version: i16) -> FetchResponse {
        let partition = |p: &FetchPartitionAnswer| {
            let mut out = wire::PartitionData::default()
                .with_partition_index(p.index)
                .with_error_code(p.error_code)
                .with_high_watermark(p.high_watermark)
                .with_last_stable_offset(p.last_stable_offset)
                .with_aborted_transactions(p.aborted_transactions.as_ref().map(|aborted| {
                    let one = |(id, offset): &(i64, i64)| {
                        wire::AbortedTransaction::default()
                            .with_producer_id((*id).into())
                            .with_first_offset(*offset)
                    };
                    aborted.iter().map(one).collect()
                }))
                .with_records(Some(p.records.concat().into()));
            if version >= 5 {
                out.log_start_offset = p.log_start_offset;
            }
            if version >= 11 {
                out.preferred_read_replica = p.preferred_read_replica.into();
            }
            if let (12.., Some((epoch, end))) = (version, p.diverging_epoch) {
                out.diverging_epoch = wire::EpochEndOffset::default()
                    .with_epoch(epoch)
                    .with_end_offset(end);
            }
            if let (12.., Some((id, epoch))) = (version, p.current_leader) {
                out.current_leader = wire::LeaderIdAndEpoch::default()
                    .with_leader_id(id.into())
                    .with_leader_epoch(epoch);
            }
            out
        };
        let topic = |t: &FetchTopicAnswer| {
            let out = wire::FetchableTopicResponse::default()
                .with_partitions(t.partitions.iter().map(partition).collect());
            if version >= 13 {
                out.with_topic_id(t.id)
            } else {
                out.with_topic(t.name.clone().into())
            }
        };
        let endpoint = |e: &FetchEndpoint| {
            wire::NodeEndpoint::default()
                .with_node_id(e.node_id.into())
                .with_host(e.host.clone())
                .with_port(e.port)
                .with_rack(e.rack.clone())
        };
        let mut out = FetchResponse::default()
            .with_throttle_time_ms(answer.throttle_time_ms)
            .with_responses(answer.topics.iter().map(topic).collect());
        if version >= 7 {
            out = out
                .with_error_code(answer.error_code)
                .with_session_id(answer.session_id);
        }
        if version >= 16 {
            out = out.with_node_endpoints(answer.node_endpoints.iter().map(endpoint).collect());
        }
        out
    }

    #[test]
    fn every_version_is_what_the_message_crate_writes() {
        for version in 4..=18 {
            for answer in [answer(), FetchAnswer::default()] {
                let mut expected = vec![0; 4];
                expected.extend_from_slice(&77i32.to_be_bytes());
                if version >= 12 {
                    expected.push(0);
                }
                crates_own(&answer, version)
                    .encode(&mut expected, version)
                    .unwrap();
                let length = expected.len() as i32 - 4;
                expected[..4].copy_from_slice(&length.to_be_bytes());
                assert_eq!(
                    answer.encode(77, version).unwrap().concat(),
                    expected,
                    "version {version}"
                );
            }
        }
    }

    #[test]
    fn records_are_placed_without_a_copy() {
        let records = Bytes::from(vec![1; 100]);
        let mut answer = answer();
        answer.topics[0].partitions[0].records = vec![records.clone()];
        let chunks = answer.encode(1, 12).unwrap();
        assert_eq!(chunks.len(), 3);
        assert_eq!(chunks[1].as_ptr(), records.as_ptr());
    }

    #[test]
    fn a_partition_fits_what_is_reckoned_for_it() {
        let mut answer = answer();
        let without = answer.clone();
        let size = |answer: FetchAnswer, version| answer.encode(1, version).unwrap().concat().len();
        let mut partition = answer.topics[0].partitions[0].clone();
        partition.records = Vec::new();
        partition.aborted_transactions = None;
        answer.topics[1].partitions.push(partition);
        for version in 4..=18 {
            let more = size(answer.clone(), version) - size(without.clone(), version);
            assert!(
                more <= FetchAnswer::PARTITION_BYTES_MAX,
                "version {version}: {more}"
            );
        }
    }
}
