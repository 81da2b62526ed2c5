use super::*;

#[test]
fn a_table_is_altered_by_who_sees_it_as_it_is() {
    let world = World::new();
    let catalog = world.open();
    let made = catalog
        .create_table(NewTable {
            properties: strings(&[("a", "1"), ("b", "2")]),
            ..topic("t")
        })
        .unwrap();
    world.simulation.clock.advance(Duration::from_secs(5));
    let altered = catalog
        .alter_table(made.id, |table| {
            assert_eq!(*table, *made);
            Ok::<_, AlterTableError>(TableChanges {
                properties: BTreeMap::from([
                    ("a".to_owned(), None),
                    ("c".to_owned(), Some("3".to_owned())),
                ]),
                schema: Some(wide_schema()),
                bucket_count: Some(7),
                ..TableChanges::default()
            })
        })
        .unwrap();
    assert_eq!(altered.properties, strings(&[("b", "2"), ("c", "3")]));
    assert_eq!(altered.schema().id, SchemaId::new(2));
    assert_eq!(altered.schema_of(SchemaId::new(1)), Some(&schema()));
    assert_eq!((altered.bucket_count, altered.bucket_count_epoch), (7, 1));
    assert_eq!(altered.modified_ms, made.created_ms + 5_000);
    assert_eq!(
        (altered.topic.as_ref(), &altered.path),
        (made.topic.as_ref(), &made.path)
    );
    assert_eq!(
        world.reopen(catalog).view().topic("t").unwrap().table,
        altered
    );
}

#[test]
fn a_topic_that_gets_a_key_is_another_table_to_fluss_and_keeps_the_rest() {
    let world = World::new();
    let catalog = world.open();
    let made = catalog.create_table(topic("t")).unwrap();
    let other = catalog.create_table(topic("other")).unwrap();
    let altered = catalog
        .alter_table(made.id, |_| Ok::<_, AlterTableError>(keyed()))
        .unwrap();
    assert_eq!((altered.id, &altered.topic), (made.id, &made.topic));
    assert_eq!(altered.kind, TableKind::PrimaryKey);
    assert!(altered.fluss_id > other.fluss_id);
    assert_eq!(altered.schema().id, SchemaId::new(2));
    assert_eq!(altered.schema_of(SchemaId::new(1)), Some(&schema()));
    assert_eq!(altered.kafka_configs["cleanup.policy"], "compact");

    let catalog = world.reopen(catalog);
    let view = catalog.view();
    assert_eq!(view.table_of_fluss(altered.fluss_id), Some(&altered));
    assert_eq!(view.table_of_fluss(made.fluss_id), None);
    assert_eq!(view.table(made.id), Some(&altered));
    assert_eq!(view.table_of_fluss(other.fluss_id), Some(&other));
    // Numbers never come back, not even the one that nobody has any more.
    let next = catalog.create_table(topic("next")).unwrap();
    assert!(next.id > altered.fluss_id);
    catalog.drop_table(made.id).unwrap();
    assert_eq!(catalog.view().table_of_fluss(altered.fluss_id), None);
}

#[test]
fn a_table_of_a_fluss_client_keeps_its_kind() {
    let catalog = in_memory();
    let id = catalog.create_table(table("fluss", "t")).unwrap().id;
    let refused = catalog.alter_table(id, |_| Ok::<_, AlterTableError>(keyed()));
    assert!(matches!(refused, Err(AlterTableError::Kind(_))));
}

#[test]
fn an_alteration_that_is_refused_or_empty_changes_nothing() {
    let catalog = in_memory();
    let id = catalog.create_table(topic("t")).unwrap().id;
    let version = catalog.view().version();
    let fewer = TableChanges {
        bucket_count: Some(3),
        ..TableChanges::default()
    };
    let refused = catalog.alter_table(id, |_| Ok::<_, AlterTableError>(fewer));
    assert!(matches!(
        refused,
        Err(AlterTableError::BucketCount {
            current: 3,
            asked: 3
        })
    ));
    let own_error = catalog.alter_table(id, |_| Err(AlterTableError::TooManySchemas(id)));
    assert!(matches!(own_error, Err(AlterTableError::TooManySchemas(_))));
    catalog
        .alter_table(id, |_| Ok::<_, AlterTableError>(TableChanges::default()))
        .unwrap();
    assert_eq!(catalog.view().version(), version);
    let unknown = catalog.alter_table(TableId::new(99), |_| {
        Ok::<_, AlterTableError>(TableChanges::default())
    });
    assert!(matches!(unknown, Err(AlterTableError::Unknown(_))));
}

#[test]
fn a_dropped_table_waits_for_its_deletion_and_its_ids_never_come_back() {
    let world = World::new();
    let catalog = world.open();
    let first = catalog.create_table(topic("t")).unwrap();
    catalog.drop_table(first.id).unwrap();
    assert!(matches!(
        catalog.drop_table(first.id),
        Err(DropTableError::Unknown(_))
    ));
    assert!(catalog.view().topic("t").is_none());
    let catalog = world.reopen(catalog);
    let view = catalog.view();
    let dropped: Vec<_> = view.dropped().collect();
    assert_eq!(dropped.len(), 1);
    assert_eq!((dropped[0].table, dropped[0].bucket_count), (first.id, 3));
    let second = catalog.create_table(topic("t")).unwrap();
    assert_ne!(second.id, first.id);
    assert_ne!(second.topic, first.topic);
    catalog.forget_dropped(first.id, None).unwrap();
    assert_eq!(world.reopen(catalog).view().dropped().count(), 0);
}

#[test]
fn a_database_goes_only_when_it_is_empty_or_with_all_in_it() {
    let catalog = in_memory();
    catalog
        .create_database("d", None, StringMap::new())
        .unwrap();
    catalog.create_table(topic("d.t")).unwrap();
    let days = catalog.create_table(partitioned("d", "days")).unwrap().id;
    catalog.create_partition(days, values("2024$cz")).unwrap();
    let full = catalog.drop_database("d", false);
    assert!(matches!(
        full,
        Err(DropDatabaseError::NotEmpty { table_count: 2, .. })
    ));
    catalog.drop_database("d", true).unwrap();
    assert!(matches!(
        catalog.drop_database("d", true),
        Err(DropDatabaseError::Unknown(_))
    ));
    let view = catalog.view();
    assert_eq!(
        (
            view.topic_count(),
            view.tables().count(),
            view.dropped().count()
        ),
        (0, 0, 2)
    );
    assert!(view.database("d").is_none() && view.tables_of("d").is_none());
}

#[test]
fn databases_are_altered() {
    let catalog = in_memory();
    catalog
        .create_database("d", Some("x".to_owned()), strings(&[("a", "1")]))
        .unwrap();
    let changes = BTreeMap::from([
        ("a".to_owned(), None),
        ("b".to_owned(), Some("2".to_owned())),
    ]);
    let altered = catalog.alter_database("d", Some(None), changes).unwrap();
    assert_eq!(
        (altered.comment.as_ref(), &altered.custom_properties),
        (None, &strings(&[("b", "2")]))
    );
    let unknown = catalog.alter_database("e", None, MapChanges::new());
    assert!(matches!(unknown, Err(AlterDatabaseError::Unknown(_))));
}

#[test]
fn subscribers_are_woken_by_every_change() {
    let catalog = in_memory();
    let mut views = catalog.subscribe();
    assert!(!views.has_changed().unwrap());
    let id = catalog.create_table(topic("t")).unwrap().id;
    assert!(views.has_changed().unwrap());
    assert!(views.borrow_and_update().topic("t").is_some());
    let old = catalog.view();
    catalog.drop_table(id).unwrap();
    assert!(views.has_changed().unwrap());
    assert!(
        old.topic("t").is_some(),
        "a view that someone holds does not change"
    );
}
