use super::*;

#[test]
fn a_name_is_refused_on_both_wires_once_it_is_claimed_on_one() {
    let catalog = in_memory();
    catalog
        .create_database("d", None, StringMap::new())
        .unwrap();
    catalog.create_table(topic("t")).unwrap();
    catalog.create_table(topic("d.t")).unwrap();
    catalog.create_table(table("kafka", "u")).unwrap();
    catalog.create_table(table("d", "u")).unwrap();
    for again in [topic("t"), topic("d.t"), topic("u"), topic("d.u")] {
        let error = catalog.check_create_table(&again).unwrap_err();
        assert!(
            matches!(error, CreateTableError::AlreadyExists { .. }),
            "{error}"
        );
    }
    for again in [
        table("kafka", "t"),
        table("d", "t"),
        table("kafka", "u"),
        table("d", "u"),
    ] {
        let error = catalog.create_table(again).unwrap_err();
        assert!(
            matches!(error, CreateTableError::AlreadyExists { .. }),
            "{error}"
        );
    }
    // Another spelling of the table `kafka.t`.
    let error = catalog.create_table(topic("kafka.t")).unwrap_err();
    assert!(matches!(error, CreateTableError::Claimed { .. }), "{error}");
}

#[test]
fn a_partitioned_table_is_no_topic_and_keeps_its_topic_name_from_others() {
    let catalog = in_memory();
    let parent = catalog.create_table(partitioned("fluss", "days")).unwrap();
    assert_eq!(parent.topic, None);
    assert!(catalog.view().topic("fluss.days").is_none());
    let refused = catalog.create_table(topic("fluss.days")).unwrap_err();
    assert!(matches!(refused, CreateTableError::Claimed { .. }));

    let partition = catalog
        .create_partition(parent.id, values("2024$cz"))
        .unwrap();
    assert_eq!(partition.topic.name, "fluss.days.2024.cz");
    assert_eq!(partition.name(), "2024$cz");
    let view = catalog.view();
    let found = view.topic("fluss.days.2024.cz").unwrap();
    assert_eq!(found.partition.as_ref(), Some(&partition));
    assert_eq!(found.tablet(1).unwrap().table_partition, Some(partition.id));
    assert!(found.tablets().all(|tablet| view.has_tablet(tablet)));
    // Changes of the table are seen through its partitions' topics.
    let changes = TableChanges {
        comment: Some(Some("new".to_owned())),
        ..Default::default()
    };
    catalog
        .alter_table(parent.id, |_| Ok::<_, AlterTableError>(changes))
        .unwrap();
    let view = catalog.view();
    let topic = view.topic("fluss.days.2024.cz").unwrap();
    assert_eq!(topic.table.comment.as_deref(), Some("new"));
    assert_eq!(view.topic_by_id(partition.topic.id), Some(topic));
}

#[test]
fn partitions_are_checked() {
    let catalog = in_memory();
    let plain = catalog.create_table(table("fluss", "plain")).unwrap().id;
    let days = catalog
        .create_table(partitioned("fluss", "days"))
        .unwrap()
        .id;
    let refused = |table, name: &str| catalog.create_partition(table, values(name)).unwrap_err();
    assert!(matches!(
        refused(plain, "a$b"),
        CreatePartitionError::NotPartitioned(_)
    ));
    let nowhere = TableId::new(99);
    assert!(matches!(
        refused(nowhere, "a$b"),
        CreatePartitionError::UnknownTable(_)
    ));
    assert!(matches!(
        refused(days, "a"),
        CreatePartitionError::ValueCount { found: 1, .. }
    ));
    assert!(matches!(
        refused(days, "a$b.c"),
        CreatePartitionError::Name { .. }
    ));
    let dollar = catalog.create_partition(days, vec!["a$b".to_owned(), "c".to_owned()]);
    assert!(matches!(dollar, Err(CreatePartitionError::Name { .. })));
    catalog.create_table(topic("fluss.days.a.b")).unwrap();
    assert!(matches!(
        refused(days, "a$b"),
        CreatePartitionError::Claimed { .. }
    ));
    let made = catalog.create_partition(days, values("a$c")).unwrap();
    let CreatePartitionError::AlreadyExists { partition, .. } = refused(days, "a$c") else {
        panic!("made twice");
    };
    assert_eq!(partition, made.id);
    let raised = catalog.raise_partition_bucket_count(made.id, 5).unwrap();
    assert_eq!((raised.bucket_count, raised.topic.id), (5, made.topic.id));
    let lowered = catalog.raise_partition_bucket_count(made.id, 5);
    assert!(matches!(
        lowered,
        Err(AlterPartitionError::BucketCount {
            current: 5,
            asked: 5
        })
    ));
    catalog.drop_partition(made.id).unwrap();
    assert!(matches!(
        catalog.drop_partition(made.id),
        Err(AlterPartitionError::Unknown(_))
    ));
    assert!(catalog.view().topic("fluss.days.a.c").is_none());
    assert_ne!(
        catalog.create_partition(days, values("a$c")).unwrap().id,
        made.id
    );
}

#[test]
fn dotted_topics_take_the_plain_table_name_when_it_is_free() {
    let catalog = in_memory();
    let path = |name: &str| catalog.create_table(topic(name)).unwrap().path.to_string();
    assert_eq!(path("a.b"), "kafka.a__b");
    assert_eq!(path("a..b"), "kafka.a____b");
    // `a__b` stands for itself alone, and its table is taken.
    let taken = catalog.create_table(topic("a__b")).unwrap_err();
    assert!(matches!(taken, CreateTableError::Claimed { .. }), "{taken}");
    assert_eq!(path("c__d"), "kafka.c__d");
    assert!(path("c.d").starts_with("kafka.c__d_"));
}

#[test]
fn names_of_the_broker_are_reserved() {
    let catalog = in_memory();
    for name in [
        "__consumer_offsets",
        "__transaction_state",
        "vltava_system.x",
    ] {
        let refused = catalog.create_table(topic(name)).unwrap_err();
        assert!(
            matches!(refused, CreateTableError::Reserved(_)),
            "{name}: {refused}"
        );
    }
    let refused = catalog
        .create_table(table("vltava_system", "x"))
        .unwrap_err();
    assert!(matches!(refused, CreateTableError::Reserved(_)));
    let internal = NewName::Internal("consumer_offsets".to_owned());
    let made = catalog
        .create_table(NewTable::log(internal, schema(), 5))
        .unwrap();
    assert_eq!(made.path.to_string(), "vltava_system.consumer_offsets");
    assert_eq!(made.topic.as_ref().unwrap().name, "__consumer_offsets");
    assert!(matches!(
        catalog.drop_table(made.id),
        Err(DropTableError::Protected(_))
    ));
}

#[test]
fn illegal_creations_are_refused_with_their_reason() {
    let catalog = in_memory();
    let refused = |new| catalog.create_table(new).unwrap_err();
    assert!(matches!(
        refused(topic("a b")),
        CreateTableError::Name { .. }
    ));
    assert!(matches!(
        refused(topic(&"x".repeat(250))),
        CreateTableError::Name { .. }
    ));
    assert!(matches!(
        refused(table("fluss", "a.b")),
        CreateTableError::Name { .. }
    ));
    assert!(matches!(
        refused(table("nowhere", "a")),
        CreateTableError::UnknownDatabase(_)
    ));
    let without = NewTable {
        bucket_count: 0,
        ..topic("a")
    };
    assert!(matches!(refused(without), CreateTableError::BucketCount(0)));
    let many = NewTable {
        bucket_count: u32::MAX,
        ..topic("a")
    };
    assert!(matches!(refused(many), CreateTableError::BucketCount(_)));
    let mut broken = schema();
    broken.primary_key = vec!["missing".to_owned()];
    let broken = NewTable {
        schema: broken,
        ..topic("a")
    };
    assert!(matches!(refused(broken), CreateTableError::Schema(_)));
    assert_eq!(catalog.view().tables().count(), 0);
    let name = catalog.create_database("a.b", None, StringMap::new());
    assert!(matches!(name, Err(CreateDatabaseError::Name { .. })));
    let twice = catalog.create_database("fluss", None, StringMap::new());
    assert!(matches!(twice, Err(CreateDatabaseError::AlreadyExists(_))));
}

#[test]
fn a_configured_default_database_takes_the_topics() {
    let settings = CatalogSettings {
        default_database: "streams".to_owned(),
    };
    let env = Simulation::new(1).env();
    let catalog = Catalog::open(Box::new(MemoryStore::default()), env, settings).unwrap();
    let path = |new| catalog.create_table(new).unwrap().path.to_string();
    assert_eq!(path(topic("t")), "streams.t");
    let made = catalog.create_table(table("streams", "u")).unwrap();
    assert_eq!(made.topic.as_ref().unwrap().name, "u");
    assert!(matches!(
        catalog.drop_database("streams", true),
        Err(DropDatabaseError::Protected(_))
    ));
    let settings = CatalogSettings {
        default_database: "a.b".to_owned(),
    };
    let env = Simulation::new(1).env();
    let refused = Catalog::open(Box::new(MemoryStore::default()), env, settings)
        .err()
        .unwrap();
    assert!(matches!(refused, OpenCatalogError::DefaultDatabase { .. }));
}
