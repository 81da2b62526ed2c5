mod changes;
mod creation;
mod durability;
mod format;
mod names_model;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use protocol::ids::{BucketId, Offset, SchemaId, TableId, TablePartitionId, TabletId};
use protocol::schema::{AggFunction, Column, DataType, RowField, Schema, TypeKind};

use super::store::memory::MemoryStore;
use super::store::redb::RedbStore;
use super::*;
use crate::env::simulated::Simulation;

const SEED: u64 = 42;

fn column(id: i32, name: &str, data_type: DataType) -> Column {
    Column {
        name: name.to_owned(),
        data_type,
        comment: None,
        id,
        agg_function: None,
    }
}

fn schema() -> Schema {
    Schema {
        columns: vec![column(0, "id", DataType::not_null(TypeKind::BigInt))],
        primary_key: Vec::new(),
        auto_increment_column: None,
        highest_field_id: 0,
    }
}

/// Every type there is, nested ones included.
fn wide_schema() -> Schema {
    let field = |id, name: &str, kind| RowField {
        name: name.to_owned(),
        data_type: DataType::nullable(kind),
        description: (id == 8).then(|| "why".to_owned()),
        field_id: id,
    };
    let kinds = [
        TypeKind::Boolean,
        TypeKind::TinyInt,
        TypeKind::SmallInt,
        TypeKind::Int,
        TypeKind::Float,
        TypeKind::Double,
        TypeKind::Char { length: 3 },
        TypeKind::String,
        TypeKind::Binary { length: 4 },
        TypeKind::Bytes,
        TypeKind::Decimal {
            precision: 38,
            scale: 9,
        },
        TypeKind::Date,
        TypeKind::Time { precision: 0 },
        TypeKind::Timestamp { precision: 6 },
        TypeKind::TimestampLtz { precision: 9 },
        TypeKind::Array(Box::new(DataType::not_null(TypeKind::Int))),
        TypeKind::Map {
            key: Box::new(DataType::not_null(TypeKind::String)),
            value: Box::new(DataType::nullable(TypeKind::Row(vec![
                field(7, "x", TypeKind::Int),
                field(
                    8,
                    "y",
                    TypeKind::Array(Box::new(DataType::nullable(TypeKind::Bytes))),
                ),
            ]))),
        },
    ];
    let mut schema = Schema {
        primary_key: vec!["id".to_owned()],
        auto_increment_column: Some("c13".to_owned()),
        highest_field_id: 40,
        ..schema()
    };
    for (i, kind) in kinds.into_iter().enumerate() {
        let i = i32::try_from(i).unwrap() + 10;
        schema
            .columns
            .push(column(i, &format!("c{i}"), DataType::nullable(kind)));
    }
    schema.columns[1].comment = Some("a comment".to_owned());
    schema.columns[2].agg_function = Some(AggFunction {
        name: "listagg".to_owned(),
        parameters: BTreeMap::from([("delimiter".to_owned(), ";".to_owned())]),
    });
    schema
}

struct World {
    simulation: Simulation,
}

impl World {
    fn new() -> Self {
        World {
            simulation: Simulation::new(SEED),
        }
    }

    /// Opens the catalog on the simulated disk.
    fn open(&self) -> Catalog {
        let env = self.simulation.env();
        let store = RedbStore::open(env.disk.as_ref(), Path::new("/")).unwrap();
        Catalog::open(Box::new(store), env, CatalogSettings::default()).unwrap()
    }

    /// Opens the catalog as the next process does.
    fn reopen(&self, catalog: Catalog) -> Catalog {
        drop(catalog);
        self.simulation.disk.kill();
        self.open()
    }
}

/// What the store of a catalog holds.
fn records(catalog: &Catalog) -> Vec<(String, Vec<u8>)> {
    let writer = catalog.writer.lock();
    writer.store.as_ref().unwrap().load().unwrap()
}

fn in_memory() -> Catalog {
    let env = Simulation::new(SEED).env();
    Catalog::open(
        Box::new(MemoryStore::default()),
        env,
        CatalogSettings::default(),
    )
    .unwrap()
}

fn topic(name: &str) -> NewTable {
    NewTable::log(NewName::Topic(name.to_owned()), schema(), 3)
}

fn table(database: &str, name: &str) -> NewTable {
    NewTable::log(NewName::Path(TablePath::new(database, name)), schema(), 2)
}

/// What gives a topic a key.
fn keyed() -> TableChanges {
    TableChanges {
        kind: Some(KindChange {
            kind: TableKind::PrimaryKey,
            schema: Schema {
                primary_key: vec!["id".to_owned()],
                ..schema()
            },
            bucket_keys: vec!["id".to_owned()],
        }),
        kafka_configs: BTreeMap::from([("cleanup.policy".to_owned(), Some("compact".to_owned()))]),
        ..TableChanges::default()
    }
}

fn partitioned(database: &str, name: &str) -> NewTable {
    NewTable {
        partition_keys: vec!["day".to_owned(), "land".to_owned()],
        ..table(database, name)
    }
}

fn strings(pairs: &[(&str, &str)]) -> StringMap {
    pairs
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

fn values(name: &str) -> Vec<String> {
    name.split('$').map(str::to_owned).collect()
}

/// All of a view that can be compared.
fn contents(view: &CatalogView) -> String {
    let databases: Vec<_> = view.databases().collect();
    let tables: BTreeMap<_, _> = view.tables().map(|t| (t.id, t)).collect();
    let partitions: Vec<_> = tables
        .keys()
        .flat_map(|id| view.partitions_of(*id))
        .collect();
    let topics: Vec<_> = view.topics().map(|t| t.topic()).collect();
    let dropped: Vec<_> = view.dropped().collect();
    format!("{databases:#?}{tables:#?}{partitions:#?}{topics:#?}{dropped:#?}")
}

/// One of everything that the catalog keeps.
fn fill(catalog: &Catalog) {
    catalog
        .create_database("sales", Some("text".to_owned()), strings(&[("a", "b")]))
        .unwrap();
    catalog.create_table(topic("plain")).unwrap();
    catalog.create_table(topic("sales.by.day")).unwrap();
    catalog.create_table(topic("__hidden")).unwrap();
    let internal = NewName::Internal("consumer_offsets".to_owned());
    catalog
        .create_table(NewTable::log(internal, schema(), 5))
        .unwrap();
    let wide = catalog
        .create_table(NewTable {
            kind: TableKind::PrimaryKey,
            schema: wide_schema(),
            bucket_keys: vec!["id".to_owned()],
            properties: strings(&[("table.log.ttl", "7d")]),
            custom_properties: strings(&[("owner", "me")]),
            comment: Some("wide".to_owned()),
            ..table("sales", "wide")
        })
        .unwrap();
    let changes = TableChanges {
        schema: Some(wide_schema()),
        bucket_count: Some(4),
        kafka_configs: BTreeMap::from([("retention.ms".to_owned(), Some("5".to_owned()))]),
        ..TableChanges::default()
    };
    catalog
        .alter_table(wide.id, |_| Ok::<_, AlterTableError>(changes))
        .unwrap();
    let days = catalog.create_table(partitioned("sales", "days")).unwrap();
    for name in ["2024$cz", "2024$de", "2025$cz"] {
        catalog.create_partition(days.id, values(name)).unwrap();
    }
    let gone = catalog
        .view()
        .partition_by_name(days.id, "2024$de")
        .unwrap()
        .id;
    catalog.drop_partition(gone).unwrap();
    let gone = catalog.create_table(table("fluss", "gone")).unwrap().id;
    catalog.drop_table(gone).unwrap();
    catalog.raise_broker_epoch().unwrap();
    catalog
        .raise_commit_time_floor_ms(1_700_000_123_456)
        .unwrap();
    catalog.next_producer_id().unwrap();
}
