//! Partitions by time: made ahead, and dropped when retention no longer wants them.
//!
//! Facts: Fluss server semantics, section 1.7. A table's first partitions come with the table; a
//! check in the background makes the next ones. Tables by day make theirs at a random time of the
//! day, a fixed one for each table, so that not all of them come at midnight.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use protocol::fluss::error::ErrorCode;
use protocol::fluss::options::{TableConfig, TimeUnit};
use protocol::fluss::partition::{AutoPartition, PartitionValues};
use protocol::ids::TableId;
use storage::catalog::Table;
use storage::env::Randomness;

use super::handlers::partitions::create_one;
use super::wire::Shared;

/// The zone of tables that were altered to follow the time and name none.
const ZONE_DEFAULT: &str = "UTC";
const DAY_MINUTES: u64 = 24 * 60;

/// How the partitions of a table follow the time, if they do.
pub fn rules_of(table: &Table) -> Option<AutoPartition> {
    let config = TableConfig::parse(&table.properties).ok()?;
    // What does not fit was refused when the table was made or altered.
    AutoPartition::new(&config.auto_partition, &table.partition_keys, ZONE_DEFAULT).ok()?
}

/// Makes the partitions that should exist `delay_ms` ago. Waits for the disk.
pub fn create_ahead(shared: &Shared, table: &Table, delay_ms: i64) {
    let Some(rules) = rules_of(table) else {
        return;
    };
    // With several keys the values of the others are not known.
    if table.partition_keys.len() != 1 {
        return;
    }
    let now_ms = shared.broker.env.clock.wall_ms();
    let earliest = rules.earliest_kept(now_ms);
    for value in rules.values_to_create(now_ms - delay_ms) {
        let values = PartitionValues::new(vec![value]);
        if earliest
            .as_deref()
            .is_some_and(|earliest| rules.is_expired(&values, earliest))
        {
            continue;
        }
        match create_one(shared, table, &values) {
            Ok(()) => {
                tracing::info!(table = %table.path, partition = values.name(), "made a partition ahead");
            }
            Err(failure) if failure.code == ErrorCode::PartitionAlreadyExists => {}
            Err(failure) => {
                let partition = values.name();
                tracing::warn!(table = %table.path, partition, cause = failure.message, "cannot make a partition ahead");
                return;
            }
        }
    }
}

/// Drops the partitions of a table that retention no longer wants; true when there was one.
fn drop_expired(shared: &Shared, table: &Table) -> bool {
    let broker = &shared.broker;
    let Some(rules) = rules_of(table) else {
        return false;
    };
    let Some(earliest) = rules.earliest_kept(broker.env.clock.wall_ms()) else {
        return false;
    };
    let mut dropped = false;
    for partition in broker.catalog.view().partitions_of(table.id) {
        let values = PartitionValues::new(partition.values.clone());
        if !rules.is_expired(&values, &earliest) {
            continue;
        }
        let name = values.name();
        match broker.catalog.drop_partition(partition.id) {
            Ok(()) => {
                tracing::info!(table = %table.path, partition = name, "dropped an expired partition");
                dropped = true;
            }
            Err(error) => {
                tracing::warn!(table = %table.path, partition = name, %error, "cannot drop an expired partition");
            }
        }
    }
    dropped
}

/// The time of the day at which each table by day makes its next partition.
#[derive(Debug, Default)]
struct Delays(HashMap<TableId, i64>);

impl Delays {
    fn delay_ms(&mut self, table: &Table, randomness: &dyn Randomness) -> i64 {
        let config = TableConfig::parse(&table.properties).map(|config| config.auto_partition);
        if !config.is_ok_and(|config| config.enabled && config.time_unit == TimeUnit::Day) {
            return 0;
        }
        let draw = || {
            let minutes = randomness.next_u64() % DAY_MINUTES;
            i64::try_from(minutes * 60_000).expect("a day has fewer milliseconds")
        };
        *self.0.entry(table.id).or_insert_with(draw)
    }
}

/// Checks all tables again and again, until it is dropped.
pub async fn keep(shared: Arc<Shared>) {
    let mut delays = Delays::default();
    loop {
        let interval = shared.broker.config().fluss().auto_partition_check_interval;
        tokio::time::sleep(interval.max(Duration::from_millis(1))).await;
        let shared = Arc::clone(&shared);
        let round = tokio::task::spawn_blocking(move || {
            check_all(&shared, &mut delays);
            delays
        });
        delays = match round.await {
            Ok(delays) => delays,
            Err(error) => {
                tracing::error!(%error, "the check of partitions by time failed");
                Delays::default()
            }
        };
    }
}

/// Makes and drops the partitions of all tables. Waits for the disk.
fn check_all(shared: &Shared, delays: &mut Delays) {
    let broker = &shared.broker;
    let view = broker.catalog.view();
    delays.0.retain(|id, _| view.table(*id).is_some());
    let mut dropped = false;
    for table in view.tables().filter(|table| table.is_partitioned()) {
        let delay_ms = delays.delay_ms(table, &*broker.env.randomness);
        create_ahead(shared, table, delay_ms);
        dropped |= drop_expired(shared, table);
    }
    if dropped {
        broker.tablets.delete_dropped();
    }
}
