//! What must hold after a kill.

use std::collections::HashMap;

use crate::common::process::Broker;
use crate::reader::read_all;
use crate::writer::writer_of;
use crate::{Subject, Totals, Wire};

/// Reads the table over both wires and compares it with what its writers and readers know.
pub(crate) async fn verify(subject: &mut Subject, broker: &Broker, totals: &mut Totals) {
    let table = &subject.table;
    let topic = &table.topic;
    let there = read_all(Wire::Kafka, table, broker.kafka, broker.fluss).await;
    let on_fluss = read_all(Wire::Fluss, table, broker.kafka, broker.fluss).await;
    assert_eq!(there.len(), on_fluss.len(), "{topic}: the wires differ");
    assert_eq!(there, on_fluss, "{topic}: the wires differ");

    let mut newest = HashMap::new();
    for (offset, record) in &there {
        let before = newest.insert(writer_of(*record), *record);
        // Twice and out of order in one: a writer's numbers only grow.
        assert!(
            before.is_none_or(|before| before < *record),
            "{topic}: record {record} at {offset} comes after {before:?}"
        );
    }
    for (offset, record) in &subject.seen {
        let found = there.get(offset);
        assert_eq!(found, Some(record), "{topic}: a reader saw offset {offset}");
    }
    for writer in &mut subject.writers {
        totals.resent += std::mem::take(&mut writer.resent);
        for batch in &writer.acknowledged {
            for n in 0..batch.count {
                let found = there.get(&(batch.base + n)).copied();
                assert_eq!(
                    found,
                    Some(batch.first + n),
                    "{topic}: {batch:?} was acknowledged"
                );
            }
        }
        totals.batches += writer.acknowledged.len() as u64;
        let records: i64 = writer.acknowledged.iter().map(|batch| batch.count).sum();
        totals.records += records as u64;
        // From now on it counts as seen.
        for batch in writer.acknowledged.drain(..) {
            let numbers = (0..batch.count).map(|n| (batch.base + n, batch.first + n));
            subject.seen.extend(numbers);
        }
    }
}
