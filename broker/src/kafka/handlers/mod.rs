//! A file per API: from the message to the core, and from its outcome to the answer.

pub mod api_versions;
pub mod fetch;
pub mod init_producer_id;
pub mod produce;
