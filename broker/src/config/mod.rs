//! Configuration: one table of settings, layered values, and a small struct for each part.
//!
//! The table ([`keys`]) says all about a setting once. From it come validation
//! ([`Config::load`]), `configs/vltava.toml` and `docs/configuration.md` ([`render`]), what Kafka's
//! DescribeConfigs and Fluss's DescribeClusterConfigs answer ([`describe`]), and the settings of a
//! topic ([`TopicConfig`]).
//!
//! *Invariant*: a [`Config`] is a value. Changing a setting makes a new one; nothing reads a global.

pub mod describe;
mod error;
mod key;
pub mod keys;
mod layers;
mod listeners;
mod parts;
pub mod render;
mod settings;
mod snapshots;
mod topic;
mod value;

pub use error::{ConfigError, Warning};
pub use key::{Key, Kind, Scope, Section, Unit, Width};
pub use layers::Layers;
pub use listeners::{AdvertisedAddress, ListenerConfig, Security};
pub use parts::{
    CleanerConfig, FetchConfig, FlussConfig, GroupConfig, LogFormat, LoggingConfig, ProducerConfig,
    SaslUser, ScannerConfig, StorageConfig, TopicCreationConfig, WorkerConfig,
};
pub use settings::{Config, Setting, Source};
pub use snapshots::{Announce, SnapshotConfig};
pub use topic::{
    CLEANUP_POLICY, Columnar, Compression, FlushMode, KEY_PARTITIONER, Owner, RetentionClock,
    TimestampType, TopicConfig, TopicConfigError,
};
pub use value::{Spelling, Unfit, Value};
