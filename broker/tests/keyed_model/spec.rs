//! The tables of a run: every merge engine, both images, all ways to delete, keys of one and of two
//! columns, numbers that the server gives, and compacted topics.

use std::collections::BTreeMap;

use protocol::batch::BatchFormat;
use protocol::fluss::options::KvFormat;
use protocol::kafka::partitioner::KeyPartitioner;
use protocol::raw::raw_schema;
use protocol::schema::{AggFunction, Schema, TypeKind};

use crate::cell::{Cell, Row};
use crate::common::keyed::Keyed;
use crate::rules::{Deletes, Engine, Function, Rules};

/// Who made a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A Fluss client.
    Table,
    /// A Kafka client, whose producers choose partitions like this, or each as it likes.
    Topic(Option<KeyPartitioner>),
}

/// A column that a table gets on the way.
#[derive(Debug, Clone)]
pub(crate) struct Added {
    pub(crate) name: &'static str,
    pub(crate) kind: TypeKind,
    pub(crate) function: Option<Function>,
}

/// A table as it is made.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) rules: Rules,
    /// So many columns lead as the bucket key.
    pub(crate) bucket_width: usize,
    pub(crate) buckets: i32,
    pub(crate) properties: Vec<(&'static str, &'static str)>,
    pub(crate) added: Option<Added>,
    /// What Kafka producers leave out keeps its value.
    pub(crate) kafka_partial: bool,
    columns: Vec<(&'static str, TypeKind)>,
}

impl Spec {
    /// `id INT` is the key; `a INT, b STRING, c BIGINT` are not.
    fn plain(name: &'static str, buckets: i32) -> Spec {
        Spec {
            name,
            kind: Kind::Table,
            rules: Rules {
                engine: Engine::Newest,
                deletes: Deletes::Allow,
                key_width: 1,
                counted: None,
            },
            bucket_width: 1,
            buckets,
            properties: Vec::new(),
            added: Some(Added {
                name: "d",
                kind: TypeKind::String,
                function: None,
            }),
            kafka_partial: false,
            columns: vec![
                ("id", TypeKind::Int),
                ("a", TypeKind::Int),
                ("b", TypeKind::String),
                ("c", TypeKind::BigInt),
            ],
        }
    }

    fn with(mut self, property: &'static str, value: &'static str) -> Spec {
        self.properties.push((property, value));
        self
    }

    fn deleting(mut self, deletes: Deletes) -> Spec {
        self.rules.deletes = deletes;
        self
    }

    /// A column for each function beside the key.
    fn aggregating(name: &'static str, buckets: i32, columns: &[(&'static str, Function)]) -> Spec {
        let mut spec = Spec::plain(name, buckets).with("table.merge-engine", "aggregation");
        let functions = columns.iter().map(|(_, function)| *function);
        spec.rules.engine =
            Engine::Aggregation([Function::Last].into_iter().chain(functions).collect());
        spec.columns.truncate(1);
        for (column, function) in columns {
            let kind = match function {
                Function::Sum | Function::Last | Function::Min => TypeKind::Int,
                Function::Product | Function::Max => TypeKind::BigInt,
                Function::LastNotNull | Function::FirstNotNull | Function::Join(_) => {
                    TypeKind::String
                }
                Function::And | Function::Or => TypeKind::Boolean,
                Function::Union => TypeKind::Bytes,
            };
            spec.columns.push((column, kind));
        }
        spec.added = Some(Added {
            name: "d",
            kind: TypeKind::BigInt,
            function: Some(Function::Sum),
        });
        spec
    }

    fn topic(name: &'static str, partitioner: Option<KeyPartitioner>) -> Spec {
        Spec {
            kind: Kind::Topic(partitioner),
            added: None,
            columns: Vec::new(),
            ..Spec::plain(name, 3)
        }
    }

    pub(crate) fn has_full_image(&self) -> bool {
        !self.properties.contains(&("table.changelog.image", "WAL"))
    }

    /// Of the changelog.
    pub(crate) fn log_format(&self) -> BatchFormat {
        let format = |(name, value): &(&str, &str)| match (*name, *value) {
            ("table.log.format", "COMPACTED") => Some(BatchFormat::FlussCompacted),
            ("table.log.format", "INDEXED") => Some(BatchFormat::FlussIndexed),
            _ => None,
        };
        let named = self.properties.iter().find_map(format);
        named.unwrap_or(BatchFormat::FlussArrow)
    }

    /// The schema, the newer one with the added column.
    pub(crate) fn keyed(&self, widened: bool) -> Keyed {
        let mut columns = self.columns.clone();
        if matches!(self.kind, Kind::Topic(_)) {
            let mut keyed = Keyed::new();
            keyed.schema = raw_schema(true);
            return keyed;
        }
        let added = self.added.as_ref().filter(|_| widened);
        columns.extend(added.map(|added| (added.name, added.kind.clone())));
        let key: Vec<&str> = columns[..self.rules.key_width]
            .iter()
            .map(|(name, _)| *name)
            .collect();
        let mut keyed = Keyed::of(&columns, &key);
        if widened {
            keyed.schema_id = 2;
        }
        if self.properties.contains(&("table.kv.format", "INDEXED")) {
            keyed.kv_format = KvFormat::Indexed;
        }
        if let Some(counted) = self.rules.counted {
            keyed = keyed.counting(columns[counted].0);
        }
        if let Engine::Aggregation(functions) = &self.rules.engine {
            let functions = functions
                .iter()
                .chain(added.and_then(|a| a.function.as_ref()));
            let columns = keyed.schema.columns.iter_mut().zip(functions);
            for (column, function) in columns.skip(1) {
                column.agg_function = Some(agg_function(*function));
            }
        }
        keyed
    }

    /// All keys that anyone may use.
    pub(crate) fn keys(&self) -> Vec<Row> {
        match (self.name, self.kind) {
            (_, Kind::Topic(_)) => {
                let key = |number| vec![Cell::Bytes(format!("key-{number}").into_bytes())];
                (0..12).map(key).collect()
            }
            ("carts", _) => {
                let users = ["ann", "anna", "bob", ""];
                let of = |user: &&str| {
                    let user = Cell::text(user);
                    (0..4).map(move |item| vec![user.clone(), Cell::Int(item)])
                };
                users.iter().flat_map(of).collect()
            }
            ("words", _) => (0..12)
                .map(|n| vec![Cell::Text(format!("word {n}"))])
                .collect(),
            _ => (0..10).map(|id| vec![Cell::Int(id)]).collect(),
        }
    }
}

fn agg_function(function: Function) -> AggFunction {
    let (name, parameter) = function.named();
    let parameter = parameter.map(|(key, value)| (key.to_owned(), value.to_owned()));
    AggFunction {
        name: name.to_owned(),
        parameters: parameter.into_iter().collect::<BTreeMap<_, _>>(),
    }
}

/// The type of a column.
pub(crate) fn kind_of(schema: &Schema, at: usize) -> &TypeKind {
    &schema.columns[at].data_type.kind
}

/// All tables of a run.
pub(crate) fn all() -> Vec<Spec> {
    let all_functions = [
        ("total", Function::Sum),
        ("product", Function::Product),
        ("largest", Function::Max),
        ("smallest", Function::Min),
        ("last", Function::Last),
        ("known", Function::LastNotNull),
        ("first", Function::FirstNotNull),
        ("list", Function::Join("-")),
        ("every", Function::And),
        ("any", Function::Or),
        ("set", Function::Union),
    ];
    let two_functions = [("total", Function::Sum), ("list", Function::Join(", "))];
    let mut versioned = Spec::plain("versioned", 2)
        .deleting(Deletes::Ignore)
        .with("table.merge-engine", "versioned")
        .with("table.merge-engine.versioned.ver-column", "c");
    versioned.rules.engine = Engine::Versioned(3);
    let mut versioned_wal = versioned.clone().with("table.changelog.image", "WAL");
    versioned_wal.name = "versioned_wal";
    versioned_wal.buckets = 1;
    let mut first = Spec::plain("first", 2)
        .deleting(Deletes::Ignore)
        .with("table.merge-engine", "first_row");
    first.rules.engine = Engine::First;
    let carts = Spec {
        bucket_width: 1,
        columns: vec![
            ("user", TypeKind::String),
            ("item", TypeKind::Int),
            ("n", TypeKind::BigInt),
            ("note", TypeKind::String),
        ],
        rules: Rules {
            key_width: 2,
            ..Spec::plain("", 1).rules
        },
        ..Spec::plain("carts", 3)
    };
    let words = Spec {
        columns: vec![
            ("word", TypeKind::String),
            ("number", TypeKind::Int),
            ("note", TypeKind::String),
        ],
        rules: Rules {
            counted: Some(1),
            ..Spec::plain("", 1).rules
        },
        ..Spec::plain("words", 2)
    };
    vec![
        Spec::plain("plain", 1),
        Spec::plain("wal", 2).with("table.changelog.image", "WAL"),
        Spec::plain("ignoring", 2)
            .deleting(Deletes::Ignore)
            .with("table.delete.behavior", "ignore")
            .with("table.kv.format", "INDEXED")
            .with("table.log.format", "INDEXED"),
        Spec::plain("disabling", 1)
            .deleting(Deletes::Disable)
            .with("table.delete.behavior", "disable")
            .with("table.log.format", "COMPACTED"),
        Spec {
            kafka_partial: true,
            ..Spec::plain("partial", 2)
        },
        first,
        versioned,
        versioned_wal,
        Spec::aggregating("aggregates", 2, &all_functions).with("table.delete.behavior", "allow"),
        Spec::aggregating("totals", 1, &two_functions).deleting(Deletes::Ignore),
        carts,
        words.with("table.auto-increment.cache-size", "3"),
        Spec::topic("probed", None),
        Spec::topic("hashed", Some(KeyPartitioner::Murmur2)),
    ]
}
