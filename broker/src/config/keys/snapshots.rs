//! The remote directory, and the snapshots of indexes in it.

use crate::config::key::{Key, Kind, Section, Unit, fluss, int_from, long_from, ours};

pub(super) static KEYS: &[Key] = &[
    fluss(
        "remote.data.dir",
        Kind::Text,
        None,
        "Directory, as a path or a file: URI, that clients reach under the same name, on this \
         machine or a shared file system: snapshots of primary-key tables go there. One for each \
         cluster. Without it they go to the directory `remote` of `data.dir`, and clients are not \
         told of them.",
    )
    .within(Section::PrimaryKeys),
    fluss(
        "kv.snapshot.interval",
        long_from(0).of(Unit::Millis),
        Some("600000"),
        "How often a snapshot is made of the index of each bucket that has changed; 0 makes none, \
         and lets those go that were made before and that nobody has leased.",
    )
    .within(Section::PrimaryKeys),
    fluss(
        "kv.snapshot.num-retained",
        int_from(1),
        Some("2"),
        "Newest snapshots of a bucket that are kept. Those that a client has leased are kept as \
         well.",
    )
    .within(Section::PrimaryKeys),
    fluss(
        "kv.snapshot.transfer-thread-num",
        int_from(1),
        Some("4"),
        "Files of a snapshot that are copied at a time.",
    )
    .within(Section::PrimaryKeys),
    fluss(
        "kv.snapshot.lease.expiration-check-interval",
        long_from(1).of(Unit::Millis),
        Some("600000"),
        "How often it is looked for leases of snapshots whose time is over.",
    )
    .within(Section::PrimaryKeys),
    ours(
        "vltava.kv.snapshot.announce",
        Kind::Choice(&["auto", "local", "never"]),
        Some("auto"),
        "Who is told that there are snapshots: with `auto` all clients if `remote.data.dir` is set, \
         and none if it is not; with `local` those that connect over the loopback interface. \
         Others read changelogs from their start, which gives the same rows. A client that is told \
         and cannot read the directory fails.",
    )
    .within(Section::PrimaryKeys),
];
