//! The coordinators: parts of the broker that decide for many clients at once and keep their
//! state in an internal log.

pub mod group;
pub mod group_log;
