//! What is done with hostile bytes: for each decoder, the walk that the broker takes with what a
//! client sent or with what lies on disk.
//!
//! A target must return, whatever the bytes are, and must not take more memory than its limits
//! say. What it states with `assert!` is what the broker relies on: a batch that passed validation
//! decodes for ever.

mod fluss;
mod fluss_batch;
mod fluss_keyed;
mod json;
mod kafka;
mod reader;
mod schemas;
mod text;

pub use reader::Reader;
pub use schemas::schemas;

/// A decoder under attack.
pub struct Target {
    /// Its name, which is also that of its fuzzer.
    pub name: &'static str,
    /// Feeds it.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    target("kafka_request", kafka::request),
    target("kafka_group_blobs", kafka::group_blobs),
    target("kafka_batch", kafka::batch),
    target("kafka_compression", kafka::compression),
    target("kafka_offsets_log", kafka::offsets_log),
    target("fluss_request", fluss::request),
    target("fluss_batch", fluss_batch::batch),
    target("fluss_rows", fluss::rows),
    target("fluss_keyed", fluss_keyed::batch),
    target("fluss_arrow", fluss::arrow),
    target("fluss_statistics", fluss_batch::statistics),
    target("fluss_descriptors", text::descriptors),
    target("fluss_options", text::options),
    target("json_rows", json::rows),
    target("stored", kafka::stored),
];

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run }
}
