//! The settings of the coordinator. Where Kafka has the key, the default is Kafka's.

/// What the coordinator needs to know. Made from the broker's configuration.
#[derive(Debug, Clone)]
pub struct GroupConfig {
    /// Partitions of the internal log, and so shards (`offsets.topic.num.partitions`). Must not
    /// change once groups exist: a group is found by its hash.
    pub shard_count: u32,
    /// `group.initial.rebalance.delay.ms`: how long the first members of an empty group wait for
    /// others.
    pub initial_rebalance_delay_ms: u32,
    /// `group.min.session.timeout.ms`.
    pub session_timeout_min_ms: u32,
    /// `group.max.session.timeout.ms`.
    pub session_timeout_max_ms: u32,
    /// `group.max.size`: members of one group.
    pub group_size_max: usize,
    /// `offsets.retention.minutes`, in milliseconds.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_retention_check_interval_ms: u32,
    /// `offset.metadata.max.bytes`; Kafka counts UTF-16 units, and so do we.
    pub offset_metadata_max: usize,
    /// `offsets.commit.timeout.ms`: how long a commit or a deletion may take to become durable before
    /// the client is told to try again. It may become durable later.
    pub commit_timeout_ms: u32,
    /// How long a new member may wait in a join before it has to ask again; Kafka's is fixed at
    /// five minutes. It bounds joins whose client is gone.
    pub new_member_join_timeout_ms: u32,
    /// Groups of one shard. Kafka has no limit; ours keeps a client that invents group ids from
    /// filling memory.
    pub groups_per_shard_max: usize,
    /// Members of one group that were given an id and have not come back with it.
    pub pending_members_max: usize,
    /// Bytes of a member's metadata, over all its protocols.
    pub member_metadata_bytes_max: usize,
    /// Bytes of all assignments of one SyncGroup.
    pub assignment_bytes_max: usize,
    /// Requests that wait for one shard's task; more are answered as "loading", which clients
    /// retry.
    pub queued_requests_max: usize,
    /// Records appended to a shard after which a checkpoint is made: it bounds replay.
    pub checkpoint_records: u64,
}

impl Default for GroupConfig {
    fn default() -> Self {
        GroupConfig {
            shard_count: 50,
            initial_rebalance_delay_ms: 3_000,
            session_timeout_min_ms: 6_000,
            session_timeout_max_ms: 1_800_000,
            group_size_max: 10_000,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1000,
            offsets_retention_check_interval_ms: 600_000,
            offset_metadata_max: 4_096,
            commit_timeout_ms: 5_000,
            new_member_join_timeout_ms: 5 * 60 * 1000,
            groups_per_shard_max: 2_000,
            pending_members_max: 1_000,
            member_metadata_bytes_max: 1 << 20,
            assignment_bytes_max: 16 << 20,
            queued_requests_max: 1_024,
            checkpoint_records: 20_000,
        }
    }
}

impl From<&crate::config::GroupConfig> for GroupConfig {
    fn from(settings: &crate::config::GroupConfig) -> Self {
        let ms =
            |duration: std::time::Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
        GroupConfig {
            shard_count: settings.log_partitions,
            initial_rebalance_delay_ms: ms(settings.initial_rebalance_delay),
            session_timeout_min_ms: ms(settings.session_timeout_min),
            session_timeout_max_ms: ms(settings.session_timeout_max),
            group_size_max: settings.members_max,
            offsets_retention_ms: i64::try_from(settings.offsets_retention.as_millis())
                .unwrap_or(i64::MAX),
            offsets_retention_check_interval_ms: ms(settings.offsets_check_interval),
            offset_metadata_max: settings.metadata_bytes_max,
            commit_timeout_ms: ms(settings.commit_timeout),
            ..GroupConfig::default()
        }
    }
}
