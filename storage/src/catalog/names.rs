//! The two names of a table, and how one follows from the other.
//!
//! | made as | topic | table |
//! |---|---|---|
//! | topic `t` | `t` | `t` in the default database (`kafka`) |
//! | topic `d.t`, database `d` exists | `d.t` | `t` in `d` |
//! | topic `a.b`, no database `a` | `a.b` | `a__b`, or `a__b_<hash>` when that is taken |
//! | topic `__t`, or one of more than 200 characters | as it is | cut, always with `_<hash>` |
//! | table `t` in `d` | `d.t`; `t` in the default database | `t` in `d` |
//! | partition `p$q` of that table | `d.t.p.q` | – |
//! | table `t` in `vltava_system` | `__t` | as it is |
//!
//! The hash is the CRC-32C of the whole name in eight hexadecimal digits. A mapping is decided at
//! creation and stored: nothing here is asked again for a table that exists.
//!
//! Facts: Kafka `clients/.../common/internals/Topic.java`, Fluss `metadata/TablePath.java`.

use protocol::fluss::names::{NAME_BYTES_MAX, RESERVED_PREFIX};

/// Longest name of a database, a table or a partition value in Fluss, in characters.
pub const FLUSS_NAME_LENGTH_MAX: usize = NAME_BYTES_MAX;
/// Longest topic name in Kafka, in characters: a file name with room for a partition number.
pub const TOPIC_NAME_LENGTH_MAX: usize = 249;
/// The database that Fluss clients expect to find.
pub const FLUSS_DATABASE: &str = "fluss";
/// The database of topics made on the Kafka wire, unless the configuration names another.
pub const KAFKA_DATABASE: &str = "kafka";
/// The database of internal topics.
pub const SYSTEM_DATABASE: &str = "vltava_system";
/// Internal topics that Kafka's clients know by name: nobody else may take these names.
pub const RESERVED_TOPICS: [&str; 4] = [
    "__consumer_offsets",
    "__transaction_state",
    "__share_group_state",
    "__cluster_metadata",
];

/// `_` and eight hexadecimal digits.
const HASH_SUFFIX_LENGTH: usize = 9;

/// Why a name is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It is empty.
    #[error("the name is empty")]
    Empty,
    /// It has more characters than allowed.
    #[error("the name has {length} characters, more than {length_max}")]
    TooLong {
        /// Its length.
        length: usize,
        /// The limit.
        length_max: usize,
    },
    /// It is `.` or `..`.
    #[error("the name is a directory's")]
    Dots,
    /// It has a character that names do not have.
    #[error("the name contains {character:?}, which is none of the characters {allowed}")]
    Character {
        /// The first such character.
        character: char,
        /// What is allowed.
        allowed: &'static str,
    },
    /// It starts as only names of the system may.
    #[error("names that start with {RESERVED_PREFIX} are reserved")]
    Reserved,
}

/// Checks the name of a database or a table that a client wants to make.
pub fn check_fluss_name(name: &str) -> Result<(), NameError> {
    check(name, FLUSS_NAME_LENGTH_MAX, "a-z, A-Z, 0-9, _ and -", |c| {
        matches!(c, '_' | '-')
    })?;
    if name.starts_with(RESERVED_PREFIX) {
        Err(NameError::Reserved)
    } else {
        Ok(())
    }
}

/// Checks the name of a topic that a client wants to make.
pub fn check_topic_name(name: &str) -> Result<(), NameError> {
    check(
        name,
        TOPIC_NAME_LENGTH_MAX,
        "a-z, A-Z, 0-9, ., _ and -",
        |c| matches!(c, '.' | '_' | '-'),
    )
}

/// Checks the name of a partition: its values, joined by `$`.
pub fn check_partition_name(name: &str) -> Result<(), NameError> {
    let allowed = "a-z, A-Z, 0-9, _ and -";
    name.split('$').try_for_each(|v| {
        check(v, FLUSS_NAME_LENGTH_MAX, allowed, |c| {
            matches!(c, '_' | '-')
        })
    })
}

fn check(
    name: &str,
    length_max: usize,
    allowed: &'static str,
    is_allowed: impl Fn(char) -> bool,
) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name == "." || name == ".." {
        return Err(NameError::Dots);
    }
    if let Some(character) = name
        .chars()
        .find(|c| !c.is_ascii_alphanumeric() && !is_allowed(*c))
    {
        return Err(NameError::Character { character, allowed });
    }
    if name.len() > length_max {
        return Err(NameError::TooLong {
            length: name.len(),
            length_max,
        });
    }
    Ok(())
}

/// Where a table is to be found on the Fluss wire.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TablePath {
    /// The database.
    pub database: String,
    /// The table in it.
    pub table: String,
}

impl TablePath {
    /// Puts the two together.
    pub fn new(database: impl Into<String>, table: impl Into<String>) -> Self {
        TablePath {
            database: database.into(),
            table: table.into(),
        }
    }
}

impl std::fmt::Display for TablePath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.database, self.table)
    }
}

/// The tables that a topic may become: the first one of these that is free.
pub(super) struct TableCandidates {
    pub(super) first: TablePath,
    /// Only for names that had to be changed: a name that fits as it is stands for itself.
    pub(super) otherwise: Option<TablePath>,
}

/// The table for a topic made on the Kafka wire. `topic` has been checked.
pub(super) fn table_of_topic(
    topic: &str,
    default_database: &str,
    database_exists: impl Fn(&str) -> bool,
) -> TableCandidates {
    let (database, rest) = match topic.split_once('.') {
        Some((database, rest)) if !rest.is_empty() && database_exists(database) => (database, rest),
        _ => (default_database, topic),
    };
    let path = |table: String| TablePath::new(database, table);
    let replaced = rest.replace('.', "__");
    let stripped = replaced.trim_start_matches('_');
    // One leading `_` is legal and stays.
    let is_cut = replaced.starts_with(RESERVED_PREFIX) || replaced.len() > FLUSS_NAME_LENGTH_MAX;
    let base = match (replaced.starts_with(RESERVED_PREFIX), stripped) {
        (false, _) => &replaced,
        (true, "") => "topic",
        (true, stripped) => stripped,
    };
    let hashed = path(cut_with_hash(base, topic, FLUSS_NAME_LENGTH_MAX));
    if is_cut {
        TableCandidates {
            first: hashed,
            otherwise: None,
        }
    } else {
        let is_changed = replaced != rest;
        TableCandidates {
            first: path(replaced),
            otherwise: is_changed.then_some(hashed),
        }
    }
}

/// The topic of a table made on the Fluss wire, or by the broker itself in the system database.
pub(super) fn topic_of_table(path: &TablePath, default_database: &str) -> String {
    if path.database == SYSTEM_DATABASE {
        return format!("{RESERVED_PREFIX}{}", path.table);
    }
    fit_topic(full_topic(path, default_database))
}

/// The topic of a table partition, whose name is its values joined by `$`.
pub(super) fn topic_of_partition(
    path: &TablePath,
    partition: &str,
    default_database: &str,
) -> String {
    let base = full_topic(path, default_database);
    fit_topic(format!("{base}.{}", partition.replace('$', ".")))
}

fn full_topic(path: &TablePath, default_database: &str) -> String {
    if path.database == default_database {
        path.table.clone()
    } else {
        path.to_string()
    }
}

fn fit_topic(name: String) -> String {
    if name.len() <= TOPIC_NAME_LENGTH_MAX {
        name
    } else {
        cut_with_hash(&name, &name, TOPIC_NAME_LENGTH_MAX)
    }
}

/// Names are ASCII: cutting at a byte is cutting at a character.
fn cut_with_hash(base: &str, hashed: &str, length_max: usize) -> String {
    let kept = &base[..base.len().min(length_max - HASH_SUFFIX_LENGTH)];
    format!("{kept}_{:08x}", crc32c::crc32c(hashed.as_bytes()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mapped(topic: &str) -> (String, Option<String>) {
        let candidates = table_of_topic(topic, "kafka", |d| ["d", "kafka"].contains(&d));
        (
            candidates.first.to_string(),
            candidates.otherwise.map(|p| p.to_string()),
        )
    }

    #[test]
    fn topics_become_tables() {
        for (topic, first, otherwise) in [
            ("orders", "kafka.orders", None),
            ("_orders", "kafka._orders", None),
            ("d.orders", "d.orders", None),
            ("kafka.orders", "kafka.orders", None),
            (
                "e.orders",
                "kafka.e__orders",
                Some("kafka.e__orders_ab14bdc4"),
            ),
            ("d.a.b", "d.a__b", Some("d.a__b_e42709cd")),
            ("d.", "kafka.d__", Some("kafka.d___b3b202f1")),
            ("__hidden", "kafka.hidden_8a357ac9", None),
            (".hidden", "kafka.hidden_288333df", None),
            ("d.__hidden", "d.hidden_841fef8f", None),
            ("___", "kafka.topic_b39fdf0a", None),
        ] {
            let (found, found_otherwise) = mapped(topic);
            assert_eq!(
                (found.as_str(), found_otherwise.as_deref()),
                (first, otherwise),
                "{topic}"
            );
        }
        let (long, none) = mapped(&"x".repeat(201));
        assert_eq!(long.len(), "kafka.".len() + 200);
        assert_eq!(none, None);
        assert_ne!(long, mapped(&"x".repeat(202)).0);
    }

    #[test]
    fn tables_and_partitions_become_topics() {
        let path = |database: &str, table: &str| TablePath::new(database, table);
        assert_eq!(topic_of_table(&path("d", "t"), "kafka"), "d.t");
        assert_eq!(topic_of_table(&path("kafka", "t"), "kafka"), "t");
        assert_eq!(topic_of_table(&path("kafka", "t"), "other"), "kafka.t");
        let system = path(SYSTEM_DATABASE, "consumer_offsets");
        assert_eq!(topic_of_table(&system, "kafka"), "__consumer_offsets");
        assert_eq!(
            topic_of_partition(&path("d", "t"), "2024$eu", "kafka"),
            "d.t.2024.eu"
        );
        assert_eq!(
            topic_of_partition(&path("kafka", "t"), "2024", "kafka"),
            "t.2024"
        );
        let long = topic_of_table(&path(&"d".repeat(200), &"t".repeat(200)), "kafka");
        assert_eq!((long.len(), check_topic_name(&long)), (249, Ok(())));
    }

    #[test]
    fn names_are_checked_as_their_wire_does() {
        assert_eq!(check_fluss_name("a-b_C9"), Ok(()));
        assert_eq!(check_fluss_name("__a"), Err(NameError::Reserved));
        assert_eq!(check_fluss_name(""), Err(NameError::Empty));
        assert!(matches!(
            check_fluss_name("a.b"),
            Err(NameError::Character { .. })
        ));
        assert!(matches!(
            check_fluss_name("ä"),
            Err(NameError::Character { .. })
        ));
        assert!(matches!(
            check_fluss_name(&"a".repeat(201)),
            Err(NameError::TooLong { .. })
        ));
        assert_eq!(check_topic_name("__a.b-c"), Ok(()));
        assert_eq!(check_topic_name(".."), Err(NameError::Dots));
        assert!(matches!(
            check_topic_name("a b"),
            Err(NameError::Character { .. })
        ));
        assert!(matches!(
            check_topic_name(&"a".repeat(250)),
            Err(NameError::TooLong { .. })
        ));
        assert_eq!(check_partition_name("2024-01$eu"), Ok(()));
        assert_eq!(check_partition_name("2024$"), Err(NameError::Empty));
    }

    proptest! {
        #[test]
        fn every_topic_becomes_legal_tables(topic in "[a-c._-]{1,249}", d in "[a-c_]{1,3}") {
            prop_assume!(check_topic_name(&topic).is_ok());
            let candidates = table_of_topic(&topic, "kafka", |name| name == d);
            for path in [Some(candidates.first), candidates.otherwise].into_iter().flatten() {
                prop_assert_eq!(check_fluss_name(&path.table), Ok(()));
                prop_assert!(path.database == "kafka" || path.database == d);
            }
        }

        #[test]
        fn every_table_and_partition_becomes_a_legal_topic(
            database in "[a-c_-]{1,200}",
            table in "[a-c_-]{1,200}",
            partition in "[a-c_-]{1,200}(\\$[a-c]{1,9}){0,2}",
        ) {
            let path = TablePath::new(database, table);
            prop_assert_eq!(check_topic_name(&topic_of_table(&path, "kafka")), Ok(()));
            let topic = topic_of_partition(&path, &partition, "kafka");
            prop_assert_eq!(check_topic_name(&topic), Ok(()));
        }
    }
}
