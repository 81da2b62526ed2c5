//! The suite as it was published, compiled here so that it shares this workspace's build of fluss-rs.

include!(concat!(env!("FLUSS_RS_TESTS"), "/test_fluss.rs"));
