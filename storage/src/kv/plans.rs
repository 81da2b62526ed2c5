//! The plans of a table: made when a batch first needs them, and kept while the table keeps its
//! shape.

use std::sync::Arc;

use parking_lot::Mutex;
use protocol::fluss::options::{ChangelogImage, LogFormat};
use protocol::ids::SchemaId;

use super::changelog::{ChangelogError, ChangelogPlan};
use super::merge::{MergeMode, MergePlan, MergeTable, PlanError};

/// Merge plans that are kept: writers use one or two, a schema change doubles them for a while.
const PLANS_MAX: usize = 8;

/// What one shape of a table needs to write rows. Shared by its buckets.
#[derive(Debug)]
pub struct TablePlans {
    table: MergeTable,
    changelog: ChangelogPlan,
    /// The one used last comes first.
    merge: Mutex<Vec<(PlanKey, Arc<MergePlan>)>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct PlanKey {
    input: SchemaId,
    targets: Option<Box<[i32]>>,
    mode: MergeMode,
}

impl TablePlans {
    /// The plans of this table. `changelog_bytes_max` bounds the values of one log batch.
    ///
    /// # Errors
    /// The table was created wrong.
    pub fn new(
        table: MergeTable,
        image: ChangelogImage,
        log_format: LogFormat,
        changelog_bytes_max: usize,
    ) -> Result<Self, ChangelogError> {
        let changelog = ChangelogPlan::compile(&table, image, log_format, changelog_bytes_max)?;
        Ok(TablePlans {
            table,
            changelog,
            merge: Mutex::new(Vec::new()),
        })
    }

    /// What the plans were made from.
    pub fn table(&self) -> &MergeTable {
        &self.table
    }

    /// How changelogs are written.
    pub fn changelog(&self) -> &ChangelogPlan {
        &self.changelog
    }

    /// How a batch of this schema, target columns and merge mode is merged.
    ///
    /// # Errors
    /// The batch asks for what the table cannot do.
    pub fn merge(
        &self,
        input: SchemaId,
        targets: Option<&[i32]>,
        mode: MergeMode,
    ) -> Result<Arc<MergePlan>, PlanError> {
        let mut plans = self.merge.lock();
        let known = |(key, _): &(PlanKey, _)| {
            key.input == input && key.targets.as_deref() == targets && key.mode == mode
        };
        let plan = match plans.iter().position(known) {
            Some(at) => {
                plans[..=at].rotate_right(1);
                return Ok(plans[0].1.clone());
            }
            None => Arc::new(MergePlan::compile(&self.table, input, targets, mode)?),
        };
        let latest = self.table.schemas.get(&self.table.latest);
        let width = latest.map_or(0, |schema| schema.columns.len());
        if targets.is_some_and(|targets| targets.len() > width) {
            // Columns are named more than once, any number of times: nothing to keep in memory.
            return Ok(plan);
        }
        plans.truncate(PLANS_MAX - 1);
        let targets = targets.map(Box::from);
        let key = PlanKey {
            input,
            targets,
            mode,
        };
        plans.insert(0, (key, plan.clone()));
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use protocol::schema::TypeKind;

    use super::*;
    use crate::kv::fixtures::{ONE, TWO, table};

    #[test]
    fn a_plan_is_made_once_and_few_are_kept() {
        let names: Vec<String> = (0..20).map(|n| format!("c{n}")).collect();
        let columns = names.iter().map(|name| (&**name, TypeKind::Int, ""));
        let table = table(&columns.collect::<Vec<_>>(), 1);
        let plans = TablePlans::new(table, ChangelogImage::Full, LogFormat::Arrow, 1 << 20);
        let plans = plans.unwrap();
        let get = |input, targets: Option<&[i32]>| {
            let plan = plans.merge(input, targets, MergeMode::Engine);
            plan.unwrap()
        };
        let first = get(TWO, Some(&[0, 1]));
        assert!(!Arc::ptr_eq(&first, &get(ONE, Some(&[0, 1]))));
        assert!(!Arc::ptr_eq(&first, &get(TWO, None)));
        assert!(Arc::ptr_eq(&first, &get(TWO, Some(&[0, 1]))));
        let refused = plans.merge(TWO, Some(&[1]), MergeMode::Engine);
        assert!(matches!(refused, Err(PlanError::Targets(_))));
        let kept = plans.merge.lock().len();
        get(TWO, Some(&vec![0; 99]));
        assert_eq!(plans.merge.lock().len(), kept);
        for repeated in 2..20 {
            get(TWO, Some(&vec![0; repeated]));
        }
        assert_eq!(plans.merge.lock().len(), PLANS_MAX);
        assert!(!Arc::ptr_eq(&first, &get(TWO, Some(&[0, 1]))));
    }
}
