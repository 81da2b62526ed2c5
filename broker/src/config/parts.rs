//! The settings that each part of the broker is handed.

use std::path::PathBuf;
use std::time::Duration;

use super::listeners::connections_override;
use super::settings::Config;
use super::value::Value;
use crate::net::NetworkLimits;
use storage::kv::index::rocks::RocksConfig;
use storage::kv::tablet::KvLimits;
use storage::transcode::TranscoderConfig;

/// Threads and patience of the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerConfig {
    /// Threads that serve connections; 0 takes one for each processor.
    pub workers: usize,
    /// Largest number of threads that may block.
    pub disk_threads: usize,
    /// How long a stopping broker waits for open requests.
    pub shutdown_timeout: Duration,
}

/// The broker's own log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggingConfig {
    /// A filter of `tracing`.
    pub level: String,
    /// The form of a line.
    pub format: LogFormat,
}

/// The form of the broker's own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What concerns all logs of the data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageConfig {
    /// Where everything lies.
    pub data_dir: PathBuf,
    /// Segment files held open at one time.
    pub open_files_max: usize,
    /// How often segments to delete are looked for.
    pub retention_check_interval: Duration,
    /// How often the point from which recovery starts is recorded.
    pub checkpoint_interval: Duration,
    /// Bytes of batches that may wait to be written to one log.
    pub append_queue_bytes: usize,
}

/// How the cleaner works.
#[derive(Debug, Clone, PartialEq)]
pub struct CleanerConfig {
    /// Whether it works at all.
    pub enabled: bool,
    /// Logs that are cleaned at the same time.
    pub threads: usize,
    /// How long it sleeps when no log needs it.
    pub backoff: Duration,
    /// Bytes read and written in a second by all threads together. `None`: no limit.
    pub bytes_per_second_max: Option<f64>,
    /// Memory of one thread for the newest offsets of keys.
    pub map_bytes: usize,
}

/// How topics and tables are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicCreationConfig {
    /// Partitions of a topic that does not say.
    pub partitions_default: u32,
    /// Whether asking for the metadata of a missing topic makes it.
    pub auto_create: bool,
    /// Whether Kafka clients may delete topics.
    pub delete_enabled: bool,
    /// Most partitions of a topic.
    pub partitions_max: usize,
    /// The database of topics that are made on the Kafka wire.
    pub kafka_database: String,
}

/// What concerns the Fluss wire alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlussConfig {
    /// Buckets of a table that does not say.
    pub buckets_default: u32,
    /// Most buckets of a table or of a partition of it.
    pub buckets_max: usize,
    /// Most partitions of a partitioned table.
    pub partitions_max: usize,
    /// Whether clients may create log tables.
    pub allow_create_log_tables: bool,
    /// Whether clients may create primary-key tables.
    pub allow_create_primary_key_tables: bool,
    /// How often partitions are created ahead and dropped.
    pub auto_partition_check_interval: Duration,
    /// Users of SASL/PLAIN.
    pub users: Vec<SaslUser>,
}

/// A user of SASL/PLAIN.
#[derive(Clone, PartialEq, Eq)]
pub struct SaslUser {
    /// The name.
    pub name: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for SaslUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SaslUser")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Reading, over either wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchConfig {
    /// Most bytes of one answer.
    pub answer_bytes_max: usize,
    /// Bytes of all answers that may be in the process.
    pub memory_bytes: usize,
    /// Fetch sessions that are remembered.
    pub sessions_max: usize,
    /// Most partitions in one answer to DescribeTopicPartitions.
    pub described_partitions_max: usize,
    /// Longest wait for data.
    pub wait_max: Duration,
}

/// Scans of the rows of primary-key tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScannerConfig {
    /// A scan that nobody goes on with is given up after this time.
    pub ttl: Duration,
    /// How often that is checked.
    pub check_interval: Duration,
    /// Most scans of one bucket at a time.
    pub bucket_max: usize,
    /// Most scans at a time.
    pub server_max: usize,
    /// Most bytes of one answer.
    pub batch_bytes_max: usize,
}

/// What a partition remembers of its producers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerConfig {
    /// A silent Kafka producer is forgotten after this time.
    pub kafka_expiration: Duration,
    /// A silent Fluss writer is forgotten after this time.
    pub fluss_expiration: Duration,
    /// How often that is checked.
    pub check_interval: Duration,
    /// Most of them in one partition.
    pub producers_max: usize,
}

/// The indexes of primary-key tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexConfig {
    /// What all of them share.
    pub rocks: RocksConfig,
    /// Threads that merge and apply.
    pub threads: usize,
    /// The bounds of one bucket.
    pub limits: KvLimits,
    /// Threads that bring the indexes of compacted topics up to their logs.
    pub topic_threads: usize,
}

/// Consumer groups and their log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupConfig {
    /// Shortest session timeout.
    pub session_timeout_min: Duration,
    /// Longest session timeout.
    pub session_timeout_max: Duration,
    /// Wait of a new group for further members.
    pub initial_rebalance_delay: Duration,
    /// Most members of a group.
    pub members_max: usize,
    /// How long offsets of an empty group are kept.
    pub offsets_retention: Duration,
    /// How often expired offsets are looked for.
    pub offsets_check_interval: Duration,
    /// Partitions of the log of groups.
    pub log_partitions: u32,
    /// Segment size of the log of groups.
    pub log_segment_bytes: u32,
    /// Longest note with an offset.
    pub metadata_bytes_max: usize,
    /// How long a commit may take to become durable.
    pub commit_timeout: Duration,
}

/// Of the memory, the caches take these parts unless they are told how much.
const BLOCK_CACHE_PART: u64 = 8;
const ROW_CACHE_PART: u64 = 32;
/// With less, the filters of a few files alone would fill the cache.
const BLOCK_CACHE_BYTES_MIN: usize = 8 << 20;
/// Of the block cache, what write buffers take by default, and what at least if half of it is more.
const WRITE_BUFFERS_PART: usize = 8;
const WRITE_BUFFERS_USUAL: usize = 96 << 20;
const WRITE_BUFFERS_BYTES_MIN: usize = 1 << 20;

fn write_buffers_of(cache_bytes_max: usize) -> usize {
    (cache_bytes_max / WRITE_BUFFERS_PART)
        .max(WRITE_BUFFERS_USUAL)
        .min(cache_bytes_max / 2)
}

impl Config {
    /// Threads and patience of the process.
    pub fn workers(&self) -> WorkerConfig {
        WorkerConfig {
            workers: self.count("vltava.worker.threads"),
            disk_threads: self.count("vltava.disk.threads"),
            shutdown_timeout: self.duration("vltava.shutdown.timeout.ms"),
        }
    }

    /// The broker's own log.
    pub fn logging(&self) -> LoggingConfig {
        LoggingConfig {
            level: self.text("vltava.log.level").to_owned(),
            format: match self.text("vltava.log.format") {
                "json" => LogFormat::Json,
                _ => LogFormat::Text,
            },
        }
    }

    /// The id of this server on both wires.
    pub fn node_id(&self) -> i32 {
        let id = self.integer("node.id").unwrap_or_default();
        i32::try_from(id).expect("the table limits it to 32 bits")
    }

    /// The rack of this server.
    pub fn rack(&self) -> Option<String> {
        Some(self.text("broker.rack").to_owned()).filter(|rack| !rack.is_empty())
    }

    /// Where HTTP is served, `host:port`.
    pub fn http_listen(&self) -> &str {
        self.text("vltava.http.listen")
    }

    /// What concerns all logs.
    pub fn storage(&self) -> StorageConfig {
        StorageConfig {
            data_dir: PathBuf::from(self.text("data.dir")),
            open_files_max: self.count("vltava.open.files.max"),
            retention_check_interval: self.duration("log.retention.check.interval.ms"),
            checkpoint_interval: self.duration("log.flush.offset.checkpoint.interval.ms"),
            append_queue_bytes: self.count("vltava.append.queue.bytes"),
        }
    }

    /// How the cleaner works.
    pub fn cleaner(&self) -> CleanerConfig {
        // No disk is as fast: Kafka's default, the largest number, means no limit too.
        const NO_LIMIT: f64 = 1e15;
        CleanerConfig {
            enabled: self.boolean("log.cleaner.enable"),
            threads: self.count("log.cleaner.threads"),
            backoff: self.duration("log.cleaner.backoff.ms"),
            bytes_per_second_max: match self.value("log.cleaner.io.max.bytes.per.second") {
                Value::Double(bytes) if *bytes > 0.0 && *bytes < NO_LIMIT => Some(*bytes),
                _ => None,
            },
            map_bytes: self.count("log.cleaner.dedupe.buffer.size"),
        }
    }

    /// Limits of the connections.
    pub fn network(&self) -> NetworkLimits {
        let buffer = |name| {
            self.integer(name)
                .and_then(|bytes| u32::try_from(bytes).ok())
        };
        NetworkLimits {
            frame_bytes_max: self.count("socket.request.max.bytes"),
            request_memory_bytes: self.count("queued.max.request.bytes"),
            requests_per_connection_max: self.count("vltava.connection.requests.max"),
            connections_max: self.count("max.connections"),
            connections_per_ip_max: self.count("max.connections.per.ip"),
            connections_per_ip_overrides: self
                .list("max.connections.per.ip.overrides")
                .iter()
                .filter_map(|part| connections_override(part))
                .collect(),
            idle_max: self
                .integer("connections.max.idle.ms")
                .filter(|ms| *ms > 0)
                .map(|_| self.duration("connections.max.idle.ms")),
            frame_timeout: self.duration("vltava.connection.frame.timeout.ms"),
            write_timeout: self.duration("vltava.connection.write.timeout.ms"),
            write_timeout_wanted: NetworkLimits::default().write_timeout_wanted,
            send_buffer_bytes: buffer("socket.send.buffer.bytes"),
            receive_buffer_bytes: buffer("socket.receive.buffer.bytes"),
            backlog: self.count32("socket.listen.backlog.size"),
        }
    }

    /// How topics and tables are made.
    pub fn topic_creation(&self) -> TopicCreationConfig {
        TopicCreationConfig {
            partitions_default: self.count32("num.partitions"),
            auto_create: self.boolean("auto.create.topics.enable"),
            delete_enabled: self.boolean("delete.topic.enable"),
            partitions_max: self.count("vltava.partitions.per.topic.max"),
            kafka_database: self.text("vltava.kafka.database").to_owned(),
        }
    }

    /// What concerns the Fluss wire alone.
    pub fn fluss(&self) -> FlussConfig {
        FlussConfig {
            buckets_default: self.count32("default.bucket.number"),
            buckets_max: self.count("max.bucket.num"),
            partitions_max: self.count("max.partition.num"),
            allow_create_log_tables: self.boolean("allow.create.log.tables"),
            allow_create_primary_key_tables: self.boolean("allow.create.kv.tables"),
            auto_partition_check_interval: self.duration("auto-partition.check.interval"),
            users: users(self.value("security.sasl.plain.credentials")).unwrap_or_default(),
        }
    }

    /// Reading.
    pub fn fetch(&self) -> FetchConfig {
        FetchConfig {
            answer_bytes_max: self.count("fetch.max.bytes"),
            memory_bytes: self.count("vltava.fetch.memory.bytes"),
            sessions_max: self.count("max.incremental.fetch.session.cache.slots"),
            described_partitions_max: self.count("max.request.partition.size.limit"),
            wait_max: self.duration("vltava.fetch.wait.max.ms"),
        }
    }

    /// Scans of the rows of primary-key tables.
    pub fn scanners(&self) -> ScannerConfig {
        ScannerConfig {
            ttl: self.duration("kv.scanner.ttl"),
            check_interval: self.duration("kv.scanner.expiration-interval"),
            bucket_max: self.count("kv.scanner.max-per-bucket"),
            server_max: self.count("kv.scanner.max-per-server"),
            batch_bytes_max: self.count("kv.scanner.max-batch-size"),
        }
    }

    /// Bytes that produced batches may be decompressed to at one time.
    pub fn unpacking_bytes(&self) -> usize {
        self.count("vltava.unpacking.memory.bytes")
    }

    /// What a partition remembers of its producers.
    pub fn producers(&self) -> ProducerConfig {
        ProducerConfig {
            kafka_expiration: self.duration("producer.id.expiration.ms"),
            fluss_expiration: self.duration("server.writer-id.expiration-time"),
            check_interval: self.duration("server.writer-id.expiration-check-interval"),
            producers_max: self.count("vltava.producers.per.partition.max"),
        }
    }

    /// Consumer groups.
    pub fn groups(&self) -> GroupConfig {
        GroupConfig {
            session_timeout_min: self.duration("group.min.session.timeout.ms"),
            session_timeout_max: self.duration("group.max.session.timeout.ms"),
            initial_rebalance_delay: self.duration("group.initial.rebalance.delay.ms"),
            members_max: self.count("group.max.size"),
            offsets_retention: self.duration("offsets.retention.minutes"),
            offsets_check_interval: self.duration("offsets.retention.check.interval.ms"),
            log_partitions: self.count32("offsets.topic.num.partitions"),
            log_segment_bytes: self.count32("offsets.topic.segment.bytes"),
            metadata_bytes_max: self.count("offset.metadata.max.bytes"),
            commit_timeout: self.duration("offsets.commit.timeout.ms"),
        }
    }

    /// The transcoder.
    pub fn transcoder(&self) -> TranscoderConfig {
        TranscoderConfig {
            cache_bytes: self.count("vltava.transcoder.cache.bytes"),
            threads: self.count("vltava.transcoder.threads"),
            derived_bytes: self.count("vltava.transcoder.columnar.bytes") as u64,
        }
    }

    /// The indexes of primary-key tables, on a machine with so many bytes of memory.
    pub fn indexes(&self, memory_bytes: u64) -> IndexConfig {
        let share = |name, part: u64, at_least: usize| match self.integer(name) {
            None | Some(..0) => usize::try_from(memory_bytes / part)
                .unwrap_or(usize::MAX)
                .max(at_least),
            // More could not be used, and the block cache reserves room for as much as it is told.
            Some(bytes) => {
                usize::try_from(memory_bytes.min(bytes.unsigned_abs())).unwrap_or(usize::MAX)
            }
        };
        let rate = self.count("kv.rocksdb.shared-rate-limiter.bytes-per-sec") as u64;
        let small = |name| u16::try_from(self.count(name)).unwrap_or(u16::MAX);
        let cache = "kv.rocksdb.shared-block-cache.size";
        let cache_bytes_max = share(cache, BLOCK_CACHE_PART, 256 << 20).max(BLOCK_CACHE_BYTES_MIN);
        let write_buffers = self.integer("kv.rocksdb.shared-write-buffer.size");
        let write_buffers = write_buffers.and_then(|bytes| usize::try_from(bytes).ok());
        IndexConfig {
            rocks: RocksConfig {
                cache_bytes_max,
                row_cache_bytes_max: share("vltava.kv.row.cache.bytes", ROW_CACHE_PART, 64 << 20),
                write_buffers_bytes_max: write_buffers
                    .unwrap_or_else(|| write_buffers_of(cache_bytes_max))
                    .max(WRITE_BUFFERS_BYTES_MIN),
                write_buffer_bytes_max: self.count("kv.rocksdb.writebuffer.size"),
                background_threads: small("kv.rocksdb.thread.num"),
                compaction_bytes_per_second_max: (rate > 0).then_some(rate),
                files_open_max: small("kv.rocksdb.files.open"),
            },
            threads: self.count("vltava.kv.threads"),
            topic_threads: self.count("vltava.topic.index.threads"),
            limits: self.kv_limits(),
        }
    }

    /// What one bucket of a primary-key table may hold.
    pub fn kv_limits(&self) -> KvLimits {
        KvLimits {
            queue_bytes_max: self.count("vltava.kv.queue.bytes"),
            buffer_bytes_max: self.count("vltava.kv.buffer.bytes"),
            batch_bytes_max: self.count("socket.request.max.bytes"),
            replay_bytes_max: self.count("vltava.kv.replay.bytes") as u64,
        }
    }

    /// A time that the table gives a default and no negative values.
    pub(super) fn duration(&self, name: &str) -> Duration {
        let ms = self.millis(name).unwrap_or_default();
        Duration::from_millis(u64::try_from(ms).unwrap_or_default())
    }

    fn count32(&self, name: &str) -> u32 {
        u32::try_from(self.count(name)).unwrap_or(u32::MAX)
    }
}

/// The users of `user:password,user:password`; `None` when it is written otherwise.
pub(super) fn users(value: &Value) -> Option<Vec<SaslUser>> {
    let Value::Text(text) = value else {
        return Some(Vec::new());
    };
    let parts = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (name, password) = part.split_once(':')?;
            (!name.is_empty() && !password.is_empty()).then(|| SaslUser {
                name: name.to_owned(),
                password: password.to_owned(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_finds_its_settings() {
        let config = Config::default();
        assert_eq!(config.workers().disk_threads, 32);
        assert_eq!(config.logging().format, LogFormat::Text);
        assert_eq!(config.node_id(), 0);
        assert_eq!(config.rack(), None);
        assert_eq!(config.http_listen(), "127.0.0.1:9180");
        assert_eq!(config.storage().data_dir, PathBuf::from("vltava-data"));
        assert_eq!(
            config.network(),
            crate::net::NetworkLimits {
                connections_per_ip_max: 2_147_483_647,
                ..crate::net::NetworkLimits::default()
            }
        );
        assert!(config.topic_creation().auto_create);
        assert_eq!(config.fluss().users, []);
        assert_eq!(config.fetch().answer_bytes_max, 57_671_680);
        assert_eq!(
            config.producers().kafka_expiration,
            Duration::from_secs(86_400)
        );
        let groups = config.groups();
        assert_eq!(groups.offsets_retention, Duration::from_secs(604_800));
        assert_eq!(groups.log_segment_bytes, 104_857_600);
        assert_eq!(config.transcoder().threads, 2);
    }

    #[test]
    fn users_are_read_and_their_passwords_are_not_shown() {
        let credentials = "admin:admin-secret, alice:with:colon";
        let config = Config::with([("security.sasl.plain.credentials", credentials)]);
        let users = config.expect("sound").fluss().users;
        assert_eq!(users[1].password, "with:colon");
        assert!(!format!("{users:?}").contains("secret"));
    }
}
