//! Random clients of both wires against the rules of the names.

use super::*;

/// What random clients of both wires do.
#[derive(Debug, Clone)]
enum Step {
    Topic(String),
    Table(String, String, bool),
    Partition(String, String, String),
    Database(String),
    DropDatabase(String),
    DropTopic(String),
    DropTable(String, String),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    // Few names, chosen to collide in every way that the mapping has.
    let part = prop::sample::select(vec!["a", "b", "a__b", "_a", "__a", "kafka", "a-b"]);
    let database = prop::sample::select(vec!["a", "b", "kafka", "fluss", "_a"]);
    let topic = prop::collection::vec(part.clone(), 1..4).prop_map(|parts| parts.join("."));
    let s = |s: &str| s.to_owned();
    prop_oneof![
        6 => topic.clone().prop_map(Step::Topic),
        4 => (database.clone(), part.clone(), any::<bool>())
            .prop_map(move |(d, t, p)| Step::Table(s(d), s(t), p)),
        3 => (database.clone(), part.clone(), part.clone())
            .prop_map(move |(d, t, v)| Step::Partition(s(d), s(t), s(v))),
        2 => database.clone().prop_map(move |d| Step::Database(s(d))),
        1 => database.clone().prop_map(move |d| Step::DropDatabase(s(d))),
        1 => topic.prop_map(Step::DropTopic),
        1 => (database, part).prop_map(move |(d, t)| Step::DropTable(s(d), s(t))),
        1 => Just(Step::Restart),
    ]
}

/// Does a step; refusals are as good as successes.
fn take(catalog: &Catalog, step: &Step) {
    let view = catalog.view();
    match step {
        Step::Topic(name) => drop(catalog.create_table(topic(name))),
        Step::Table(database, name, has_partitions) => {
            let mut new = table(database, name);
            if *has_partitions {
                new.partition_keys = vec!["day".to_owned()];
            }
            drop(catalog.create_table(new));
        }
        Step::Partition(database, name, value) => {
            if let Some(table) = view.table_by_path(database, name) {
                drop(catalog.create_partition(table.id, vec![value.clone()]));
            }
        }
        Step::Database(name) => drop(catalog.create_database(name, None, StringMap::new())),
        Step::DropDatabase(name) => drop(catalog.drop_database(name, true)),
        Step::DropTopic(name) => {
            if let Some(topic) = view.topic(name) {
                match &topic.partition {
                    Some(partition) => drop(catalog.drop_partition(partition.id)),
                    None => drop(catalog.drop_table(topic.table.id)),
                }
            }
        }
        Step::DropTable(database, name) => {
            if let Some(table) = view.table_by_path(database, name) {
                drop(catalog.drop_table(table.id));
            }
        }
        Step::Restart => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn no_two_tables_share_a_name_and_no_mapping_ever_changes(
        steps in prop::collection::vec(step(), 1..60)
    ) {
        let mut catalog = in_memory();
        let mut names_of: BTreeMap<TableId, (TablePath, Option<TopicName>)> = BTreeMap::new();
        for (number, step) in steps.iter().enumerate() {
            take(&catalog, step);
            if matches!(step, Step::Restart) {
                let records = records(&catalog);
                let before = contents(&catalog.view());
                let env = Simulation::new(100 + number as u64).env();
                let store = Box::new(MemoryStore::new(records));
                catalog = Catalog::open(store, env, CatalogSettings::default()).unwrap();
                prop_assert_eq!(contents(&catalog.view()), before);
            }
            let view = catalog.view();
            let mut paths = BTreeSet::new();
            let mut topics = BTreeSet::new();
            let mut topic_ids = BTreeSet::new();
            for table in view.tables() {
                prop_assert!(paths.insert(table.path.clone()));
                let names = (table.path.clone(), table.topic.clone());
                prop_assert_eq!(names_of.entry(table.id).or_insert_with(|| names.clone()), &names);
                let found = view.table_by_path(&table.path.database, &table.path.table);
                prop_assert_eq!(found, Some(table));
                let own = table.topic.iter();
                let partitions: Vec<_> = view.partitions_of(table.id).cloned().collect();
                for topic in own.chain(partitions.iter().map(|p| &p.topic)) {
                    prop_assert!(topics.insert(topic.name.clone()));
                    prop_assert!(topic_ids.insert(topic.id));
                    let found = view.topic(&topic.name).unwrap();
                    prop_assert_eq!(found.topic(), topic);
                    prop_assert_eq!(&found.table, table);
                    prop_assert_eq!(view.topic_by_id(topic.id), Some(found));
                }
            }
            prop_assert_eq!(view.topic_count(), topics.len());
        }
    }
}
