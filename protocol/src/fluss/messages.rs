//! The messages of the Fluss wire, made from `proto/fluss.proto`.
//!
//! `bytes` fields are slices of the frame they came in when the body is given as `Bytes`. Decode
//! requests with [`super::shape::decode`], which bounds what a hostile body may allocate.

#![allow(missing_docs, reason = "the proto file describes the fields")]
#![allow(
    clippy::doc_markdown,
    clippy::doc_lazy_continuation,
    reason = "generated"
)]

include!(concat!(env!("OUT_DIR"), "/vltava.fluss.rs"));
