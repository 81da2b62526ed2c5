use super::*;

#[test]
fn a_new_catalog_has_its_databases_and_keeps_its_cluster_id() {
    let world = World::new();
    let catalog = world.open();
    let names: Vec<String> = catalog.view().databases().map(|d| d.name.clone()).collect();
    assert_eq!(names, ["fluss", "kafka", "vltava_system"]);
    let id = catalog.cluster_id().to_owned();
    let catalog = world.reopen(catalog);
    assert_eq!(catalog.cluster_id(), id);
    for name in ["fluss", "kafka", "vltava_system"] {
        let refused = catalog.drop_database(name, true);
        assert!(matches!(refused, Err(DropDatabaseError::Protected(_))));
    }
}

#[test]
fn a_topic_is_found_by_all_its_names_and_survives_a_restart() {
    let world = World::new();
    let catalog = world.open();
    let made = catalog
        .create_table(NewTable {
            kafka_configs: strings(&[("retention.ms", "1000")]),
            ..topic("orders")
        })
        .unwrap();
    assert_eq!(made.path, TablePath::new("kafka", "orders"));
    assert_eq!(
        (made.origin, made.schema().id),
        (Origin::Kafka, SchemaId::new(1))
    );
    let catalog = world.reopen(catalog);
    let view = catalog.view();
    let found = view.topic("orders").unwrap();
    assert_eq!(found.table, made);
    assert_eq!(found.tablets().count(), 3);
    assert_eq!(found.tablet(3), None);
    assert_eq!(found.tablet(-1), None);
    assert_eq!(view.topic_by_id(found.topic().id), Some(found));
    assert_eq!(view.table(made.id), Some(&made));
    assert_eq!(view.table_by_path("kafka", "orders"), Some(&made));
    assert_eq!(
        view.tablets().collect::<Vec<_>>(),
        found.tablets().collect::<Vec<_>>()
    );
    assert!(found.tablets().all(|tablet| view.has_tablet(tablet)));
}

#[test]
fn everything_survives_a_restart_as_it_was() {
    let world = World::new();
    let catalog = world.open();
    fill(&catalog);
    let before = contents(&catalog.view());
    let catalog = world.reopen(catalog);
    assert_eq!(contents(&catalog.view()), before);
}

#[test]
fn row_numbers_are_handed_out_once_over_restarts_and_go_with_their_table() {
    let world = World::new();
    let mut catalog = world.open();
    let table = catalog.create_table(topic("numbered")).unwrap().id;
    let other = catalog.create_table(topic("other")).unwrap().id;
    assert_eq!(catalog.take_row_numbers(other, 7).unwrap(), 0);
    let mut next = 0;
    for count in [1, 100_000, 3] {
        assert_eq!(catalog.take_row_numbers(table, count).unwrap(), next);
        next += count;
        catalog = world.reopen(catalog);
    }
    assert_eq!(
        catalog.take_row_numbers(table, i64::MAX - next).unwrap(),
        next
    );
    let used_up = catalog.take_row_numbers(table, 1);
    assert!(matches!(used_up, Err(TakeRowNumbersError::Exhausted(id)) if id == table));
    catalog.drop_table(table).unwrap();
    let catalog = world.reopen(catalog);
    let gone = catalog.take_row_numbers(table, 1);
    assert!(matches!(gone, Err(TakeRowNumbersError::Unknown(id)) if id == table));
    assert_eq!(catalog.take_row_numbers(other, 1).unwrap(), 7);
}

#[test]
fn a_closed_catalog_may_be_opened_again_while_somebody_holds_it() {
    let world = World::new();
    let catalog = world.open();
    let made = catalog.create_table(topic("orders")).unwrap();
    catalog.close();
    let again = world.open();
    assert_eq!(again.view().table(made.id), Some(&made));
    let late = catalog.create_table(topic("late"));
    assert!(
        matches!(late, Err(CreateTableError::Write(WriteError::Offline))),
        "{late:?}"
    );
    assert_eq!(catalog.view().table(made.id), Some(&made));
    again.create_table(topic("late")).unwrap();
}

#[test]
fn epochs_ids_and_the_commit_time_floor_never_go_back() {
    let world = World::new();
    let mut catalog = world.open();
    let mut ids = BTreeSet::new();
    for epoch in 1..4 {
        assert_eq!(catalog.raise_broker_epoch().unwrap().value(), epoch);
        assert_eq!(catalog.broker_epoch().value(), epoch);
        for _ in 0..1_500 {
            let id = catalog.next_producer_id().unwrap();
            assert!(ids.last().is_none_or(|last| *last < id), "{id}");
            ids.insert(id);
        }
        let floor = i64::from(epoch) * 100;
        catalog.raise_commit_time_floor_ms(floor).unwrap();
        catalog.raise_commit_time_floor_ms(floor - 50).unwrap();
        catalog = world.reopen(catalog);
        assert_eq!(catalog.commit_time_floor_ms(), floor);
    }
}

#[test]
fn a_failed_sync_takes_the_catalog_offline_for_changes_until_the_next_start() {
    let world = World::new();
    let catalog = world.open();
    catalog.create_table(topic("a")).unwrap();
    world.simulation.disk.fail_sync_after(0);
    let failed = catalog.create_table(topic("b")).unwrap_err();
    assert!(matches!(
        failed,
        CreateTableError::Write(WriteError::Store(_))
    ));
    let offline = catalog.create_table(topic("c")).unwrap_err();
    assert!(matches!(
        offline,
        CreateTableError::Write(WriteError::Offline)
    ));
    assert_eq!(catalog.view().topic_count(), 1);
    let catalog = world.reopen(catalog);
    assert!(catalog.view().topic("a").is_some());
    catalog.create_table(topic("c")).unwrap();
}

#[test]
fn a_full_disk_refuses_a_change_and_no_more() {
    let world = World::new();
    let catalog = world.open();
    let disk = &world.simulation.disk;
    disk.set_capacity_bytes(disk.used_bytes());
    let large = NewTable {
        comment: Some("x".repeat(8 << 20)),
        ..topic("large")
    };
    let full = catalog.create_table(large).unwrap_err();
    assert!(
        matches!(full, CreateTableError::Write(WriteError::Full(_))),
        "{full:?}"
    );
    disk.set_capacity_bytes(1 << 30);
    catalog.create_table(topic("small")).unwrap();
    let view = world.reopen(catalog).view();
    assert_eq!(
        view.topics()
            .map(|t| t.topic().name.clone())
            .collect::<Vec<_>>(),
        ["small"]
    );
}

#[test]
fn what_was_answered_survives_every_power_loss() {
    for seed in 0..60 {
        let world = World::new();
        let mut answered: BTreeMap<String, Option<TableId>> = BTreeMap::new();
        for life in 0..3 {
            world
                .simulation
                .disk
                .cut_power_after(20 + (seed * 13 + life * 17) % 90);
            let env = world.simulation.env();
            let opened = RedbStore::open(env.disk.as_ref(), Path::new("/"))
                .map_err(OpenCatalogError::from)
                .and_then(|store| Catalog::open(Box::new(store), env, CatalogSettings::default()));
            if let Ok(catalog) = opened {
                check_answered(&catalog, &answered, seed);
                for i in 0.. {
                    let name = format!("t{life}-{i}");
                    let Ok(table) = catalog.create_table(topic(&name)) else {
                        answered.insert(name, None);
                        break;
                    };
                    answered.insert(name, Some(table.id));
                }
            }
            world.simulation.disk.crash(seed * 3 + life);
        }
        check_answered(&world.open(), &answered, seed);
    }
}

/// `None` stands for a table that may be there or not.
fn check_answered(catalog: &Catalog, answered: &BTreeMap<String, Option<TableId>>, seed: u64) {
    let view = catalog.view();
    for topic in view.topics() {
        assert!(answered.contains_key(&topic.topic().name), "seed {seed}");
    }
    for (name, id) in answered
        .iter()
        .filter_map(|(name, id)| Some((name, (*id)?)))
    {
        assert_eq!(
            view.topic(name).map(|t| t.table.id),
            Some(id),
            "seed {seed}, {name}"
        );
    }
}

#[test]
fn what_a_job_left_is_kept_until_it_expires_or_is_forgotten() {
    let world = World::new();
    let id = |table| TabletId {
        table: TableId::new(table),
        table_partition: (table > 1).then(|| TablePartitionId::new(9)),
        bucket: BucketId::new(2),
    };
    let offsets = |offset| BTreeMap::from([(id(1), offset), (id(2), 0)]);
    let catalog = world.open();
    assert!(
        catalog
            .register_producer_offsets("job", offsets(5), 1_000)
            .unwrap()
    );
    assert!(
        !catalog
            .register_producer_offsets("job", offsets(6), 1_000)
            .unwrap()
    );
    assert!(
        catalog
            .register_producer_offsets("other", offsets(7), 5_000)
            .unwrap()
    );
    let refused = catalog.register_producer_offsets("a/b", offsets(1), 1_000);
    assert!(matches!(refused, Err(ProducerOffsetsError::Name(_))));
    assert!(catalog.producer_offsets("a/b").is_err());
    let refused = catalog.forget_producer_offsets("a/b");
    assert!(matches!(refused, Err(ProducerOffsetsError::Name(_))));

    let left = |catalog: &Catalog, producer: &str| catalog.producer_offsets(producer).unwrap();
    let catalog = world.reopen(catalog);
    assert_eq!(left(&catalog, "job").unwrap().offsets, offsets(5));
    assert_eq!(left(&catalog, "nobody"), None);
    world.simulation.clock.advance(Duration::from_secs(2));
    assert_eq!(left(&catalog, "job"), None);
    assert!(
        catalog
            .register_producer_offsets("job", offsets(8), 1_000)
            .unwrap()
    );
    assert_eq!(left(&catalog, "job").unwrap().offsets, offsets(8));
    catalog.forget_producer_offsets("other").unwrap();
    catalog.forget_producer_offsets("other").unwrap();
    assert_eq!(left(&world.reopen(catalog), "other"), None);
}

#[test]
fn snapshots_and_leases_survive_a_restart_and_their_tables() {
    let world = World::new();
    let catalog = world.open();
    let table = catalog.create_table(topic("t")).unwrap().id;
    let tablet = |partition| TabletId {
        table,
        table_partition: partition,
        bucket: BucketId::new(2),
    };
    let partition = Some(TablePartitionId::new(7));
    let entry = |id| SnapshotEntry {
        id,
        log_offset: Offset::new(10 * id),
        database: "one".to_owned(),
        bytes: 5,
    };
    let bucket = |ids: &[i64]| BucketSnapshots {
        directory: "kv/d/t-1/2".to_owned(),
        next_id: 9,
        snapshots: ids.iter().map(|id| entry(*id)).collect(),
    };
    let lease = SnapshotLease {
        expires_ms: 1_000,
        snapshots: [(tablet(None), 3), (tablet(partition), 8)].into(),
    };
    catalog
        .put_snapshots(tablet(None), Some(&bucket(&[3, 4])))
        .unwrap();
    catalog
        .put_snapshots(tablet(partition), Some(&bucket(&[8])))
        .unwrap();
    catalog
        .put_snapshots(tablet(partition), Some(&bucket(&[])))
        .unwrap();
    catalog.put_snapshot_lease("a/b ä", Some(&lease)).unwrap();
    catalog.put_snapshot_lease("gone", Some(&lease)).unwrap();
    catalog.put_snapshot_lease("gone", None).unwrap();
    // Its files are yet to go.
    catalog.drop_table(table).unwrap();
    let expected = SnapshotRecords {
        buckets: [
            (tablet(None), bucket(&[3, 4])),
            (tablet(partition), bucket(&[])),
        ]
        .into(),
        leases: [("a/b ä".to_owned(), lease)].into(),
    };
    assert_eq!(catalog.snapshots(), expected);
    let catalog = world.reopen(catalog);
    assert_eq!(catalog.snapshots(), expected);
    catalog.put_snapshots(tablet(None), None).unwrap();
    catalog.put_snapshots(tablet(partition), None).unwrap();
    catalog.put_snapshot_lease("a/b ä", None).unwrap();
    let catalog = world.reopen(catalog);
    assert_eq!(catalog.snapshots(), SnapshotRecords::default());
}
