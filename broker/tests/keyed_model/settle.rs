//! What a kill left: each request that was under way is in the table, or is not, bucket by bucket.

use std::collections::BTreeMap;

use protocol::fluss::value::Value;

use crate::cell::{Cell, Row};
use crate::life::Clients;
use crate::rules::Rows;
use crate::spec::Kind;
use crate::table::{Effect, Sent, Table, Totals, touched};

impl Table {
    /// Finds out which requests under way were taken, in each bucket those up to one of them; and
    /// sends those of an idempotent writer again, which takes the rest.
    pub(crate) async fn settle(&mut self, clients: &mut Clients, totals: &mut Totals, about: &str) {
        let flight = std::mem::take(&mut self.in_flight);
        let mut buckets = BTreeMap::<i32, Vec<(bool, Effect)>>::new();
        for sent in &flight {
            for effect in &sent.effects {
                let effects = buckets.entry(effect.bucket).or_default();
                effects.push((sent.answer.is_some(), effect.clone()));
            }
        }
        let mut missing = BTreeMap::new();
        for (bucket, effects) in &buckets {
            let taken = self.find(clients, *bucket, effects, totals, about).await;
            missing.insert(*bucket, effects.len() - taken);
        }
        let idempotent = flight.iter().all(|sent| sent.writer.is_some());
        if !idempotent {
            let acknowledged = flight.into_iter().filter(|sent| sent.answer.is_some());
            acknowledged.for_each(|sent| self.acknowledge(sent));
            return;
        }
        // A Fluss client's batch comes to all buckets of a topic, to some of them without a record.
        let is_table = self.spec.kind == Kind::Table;
        let whole = missing
            .iter()
            .filter(|(_, missing)| **missing == 0 && is_table);
        let whole: Vec<i32> = whole.map(|(bucket, _)| *bucket).collect();
        for (bucket, missing) in missing {
            let effects = &buckets[&bucket];
            for (_, effect) in &effects[effects.len() - missing..] {
                self.apply(effect);
            }
        }
        let before = self.ends(clients).await;
        for mut sent in flight {
            let answer = self.send_again(clients, &sent, about).await;
            let first = sent.answer.replace(answer.clone());
            assert!(
                first.is_none_or(|first| first == answer),
                "{about}: another answer than before the kill to {sent:?}"
            );
            self.acknowledge(sent);
            totals.repeated += 1;
        }
        let after = self.ends(clients).await;
        for bucket in whole {
            let at = bucket as usize;
            assert_eq!(
                before[at], after[at],
                "{about}, bucket {bucket}: what was there was appended again"
            );
        }
    }

    async fn send_again(&self, clients: &mut Clients, sent: &Sent, about: &str) -> Vec<(i32, i64)> {
        let answer = clients.deliver(&sent.message).await;
        answer.unwrap_or_else(|code| panic!("{about}: error {code}, again {sent:?}"))
    }

    /// Takes as many effects into the model as the bucket has: at least those that were
    /// acknowledged. Gives how many.
    async fn find(
        &mut self,
        clients: &mut Clients,
        bucket: i32,
        effects: &[(bool, Effect)],
        totals: &mut Totals,
        about: &str,
    ) -> usize {
        let acknowledged = effects.iter().rposition(|(answered, _)| *answered);
        let acknowledged = acknowledged.map_or(0, |last| last + 1);
        let all: Vec<Effect> = effects.iter().map(|(_, effect)| effect.clone()).collect();
        let keys = touched(&self.spec, &all);
        let values = self.look_up(clients, bucket, &keys, about).await;
        let found = keys.iter().zip(&values).filter_map(|(key, value)| {
            let value = Value::parse(value.as_ref()?).expect("a value");
            let mut row = self.row_of(&value);
            if let Some(counted) = self.spec.rules.counted {
                row[counted] = Cell::Null;
            }
            Some((key.clone(), row))
        });
        let found: Rows = found.collect();
        let of_keys = |table: &Table| -> Rows {
            let row = |key: &Row| Some((key.clone(), table.rows.get(key)?.clone()));
            keys.iter().filter_map(row).collect()
        };
        let mut possible = Vec::new();
        for taken in 0..=all.len() {
            let here = of_keys(self);
            if taken >= acknowledged && here == found {
                totals.found += (taken - acknowledged) as u64;
                totals.lost += (all.len() - taken) as u64;
                return taken;
            }
            possible.push(here);
            if let Some(effect) = all.get(taken) {
                self.apply(effect);
            }
        }
        panic!(
            "{about}, bucket {bucket}: found {found:?} after the kill, {acknowledged} of {effects:?} \
             were acknowledged, which leaves {possible:?}"
        );
    }
}
