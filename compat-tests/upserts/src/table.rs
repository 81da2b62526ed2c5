//! The table that is written to, as a Fluss client sees it.

use fluss::client::{FlussConnection, Lookuper};
use fluss::config::Config;
use fluss::metadata::{DataTypes, Schema, TableDescriptor, TablePath};
use fluss::row::{DataGetters, GenericRow};
use harness::{addresses, names};

/// Buckets of the table: more than the partition that producers address.
const BUCKETS: i32 = 4;

/// A table `id INT` (the key), `n BIGINT`.
pub struct Table {
    lookup: Lookuper,
    topic: String,
}

impl Table {
    /// Makes a table with a name of its own.
    pub async fn create() -> Table {
        let config = Config {
            bootstrap_servers: addresses::fluss(),
            ..Config::default()
        };
        let connection = FlussConnection::new(config).await.expect("a connection");
        let path = TablePath::new("fluss", names::unique("upserts"));
        let schema = Schema::builder()
            .column("id", DataTypes::int())
            .column("n", DataTypes::bigint())
            .primary_key(["id"])
            .expect("a key");
        let table = TableDescriptor::builder()
            .schema(schema.build().expect("a schema"))
            .distributed_by(Some(BUCKETS), vec!["id".to_owned()])
            .build()
            .expect("a table");
        let admin = connection.get_admin().expect("an admin client");
        let created = admin.create_table(&path, &table, false).await;
        created.expect("created");
        let topic = format!("{}.{}", path.database(), path.table());
        let table = connection.get_table(&path).await.expect("a table");
        let lookup = table.new_lookup().expect("lookups").create_lookuper();
        Table {
            lookup: lookup.expect("lookups"),
            topic,
        }
    }

    /// Its name on the Kafka wire.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The value of `n` for a key; none without a row.
    pub async fn n(&mut self, id: i32) -> Option<i64> {
        let mut key = GenericRow::new(1);
        key.set_field(0, id);
        let found = self.lookup.lookup(&key).await.expect("an answer");
        let row = found.get_single_row().expect("a row that can be read")?;
        Some(row.get_long(1).expect("a BIGINT"))
    }
}
