//! Kafka records on the Fluss wire.

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn kafka_records_are_the_same_on_the_fluss_wire(
        sent in sent_batches(),
        codec in 0usize..3,
        bytes_max in prop_oneof![Just(100usize), Just(1 << 20), Just(16 << 20)],
    ) {
        let codec = [ArrowCodec::None, ArrowCodec::Lz4, ArrowCodec::Zstd(3)][codec];
        let world = World::new(raw_shape(codec), small_segments());
        let expected = send(&world, &sent);
        prop_assert_eq!(world.fluss_rows(0, bytes_max), &expected[..]);
        let end = world.end().value();
        for from in [end / 3, end / 2, end - 1] {
            let seen = world.fluss_rows(from, bytes_max);
            let rest = expected.iter().filter(|row| row.0 >= from);
            prop_assert!(seen.iter().eq(rest), "from {from}");
        }
    }
}

/// The offsets of the batches that a read returns.
fn bounds(read: &Converted) -> Vec<(i64, i64)> {
    batches(&read.chunks)
        .iter()
        .map(|batch| (batch.header().base_offset(), batch.last_offset()))
        .collect()
}

#[test]
fn boundaries_do_not_depend_on_where_a_read_begins() {
    let world = World::new(raw_shape(ArrowCodec::None), small_segments());
    for i in 0..150u64 {
        world.append(kafka_batch_of(3, &vec![7; (i as usize * 977) % 30_000]));
        world.pause(if i % 17 == 0 { 1500 } else { 20 });
    }
    let all = bounds(&world.fluss(0, 64 << 20, None));
    assert!(all.len() > 10 && all.len() < 60, "{} batches", all.len());
    assert!(
        all.iter().any(|(base, last)| last - base > 20),
        "frames merge"
    );
    for offset in 0..world.end().value() {
        // A transcoder that remembers nothing.
        let world = World {
            transcoder: transcoder(0, 0),
            runtime: runtime(),
            log: world.log.clone(),
            shape: Arc::clone(&world.shape),
            simulation: world.simulation.clone(),
        };
        let found = bounds(&world.fluss(offset, 1, None))[0];
        let closed = all[..all.len() - 1].iter().any(|b| b.1 >= offset);
        if closed {
            assert!(all.contains(&found), "{found:?} from {offset}");
        } else {
            assert!(found.1 >= offset && found.0 <= offset);
        }
    }
}

#[test]
fn a_reader_that_follows_the_log_gets_small_spans() {
    let world = World::new(raw_shape(ArrowCodec::None), small_segments());
    for i in 0..50 {
        world.append(kafka_batch_of(2, b"value"));
        let read = world.fluss(i * 2, 1 << 20, None);
        assert_eq!(bounds(&read), [(i * 2, i * 2 + 1)]);
    }
}

#[test]
fn a_projected_read_has_only_the_wanted_columns() {
    let world = World::new(raw_shape(ArrowCodec::None), small_segments());
    world.append(kafka_batch_of(100, &[b'v'; 1000]));
    let check = |world: &World| {
        let read = world.fluss(0, 1 << 20, Some(&[2]));
        assert!(read.bytes < 2000, "{} bytes", read.bytes);
        let batch = &batches(&read.chunks)[0];
        let mut schema = raw_schema(false);
        schema.columns = vec![schema.columns[2].clone()];
        let decoded = Decoder::default()
            .decode(batch, BatchFormat::FlussArrow, &schema, None)
            .unwrap();
        assert_eq!(decoded.rows.num_rows(), 100);
    };
    check(&world);
    assert!(world.fluss(0, 1 << 20, None).bytes > 100_000);
    world.transcoder.forget(world.log.log().id());
    // With all columns at hand the wanted buffers are copied from there.
    let all = world.fluss(0, 1 << 20, None).bytes;
    let held = world.transcoder.inner.cache.bytes();
    assert!(all > 100_000 && held > all);
    check(&world);
    assert_eq!(world.transcoder.inner.cache.bytes(), held);
}

#[test]
fn columns_that_were_added_after_the_records_are_null() {
    let mut wider = raw_schema(false);
    wider.columns.push(protocol::schema::Column {
        name: "added".to_owned(),
        data_type: DataType::nullable(TypeKind::BigInt),
        comment: None,
        id: 6,
        agg_function: None,
    });
    let mut shape = raw_shape(ArrowCodec::None);
    shape.latest = SchemaId::new(2);
    shape.schemas.insert(shape.latest, Arc::new(wider.clone()));
    let world = World::new(shape, small_segments());
    world.append(kafka_batch_of(3, b"v"));
    let read = world.fluss(0, 1 << 20, Some(&[1, 4]));
    let batch = &batches(&read.chunks)[0];
    wider.columns = vec![wider.columns[1].clone(), wider.columns[4].clone()];
    let decoded = Decoder::default()
        .decode(batch, BatchFormat::FlussArrow, &wider, None)
        .unwrap();
    assert_eq!(decoded.rows.num_rows(), 3);
    assert_eq!(decoded.rows.column(1).null_count(), 3);
}

#[test]
fn a_compacted_topic_shows_updates_and_deletes() {
    let shape = TableShape::raw(SCHEMA, true);
    let world = World::new(shape, small_segments());
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.append(0, 5, Some(b"a"), Some(b"1"), []);
    builder.append(1, 6, None, Some(b"no key"), []);
    builder.append(2, 7, Some(b"a"), None, []);
    world.append(builder.finish_unassigned(SCHEMA, 0));
    let rows = world.fluss_rows(0, 1 << 20);
    let seen: Vec<_> = rows.iter().map(|row| (row.0, row.5)).collect();
    assert_eq!(
        seen,
        [(0, ChangeType::UpdateAfter), (2, ChangeType::Delete)]
    );
}

#[test]
fn deleted_records_are_not_shown_and_not_kept() {
    let world = World::new(raw_shape(ArrowCodec::None), small_segments());
    for _ in 0..10 {
        world.append(kafka_batch_of(10, b"value"));
    }
    world.fluss(0, 1 << 20, None);
    assert!(world.transcoder.inner.cache.bytes() > 0);
    let start = world.log.log().delete_before(Offset::new(25)).unwrap();
    world.transcoder.forget_below(world.log.log().id(), start);
    assert_eq!(world.transcoder.inner.cache.bytes(), 0);
    let rows = world.fluss_rows(25, 1 << 20);
    assert_eq!(rows.first().unwrap().0, 25);
    let read = world.fluss(25, 1 << 20, None);
    assert_eq!(bounds(&read)[0].0, 25, "nothing below the start leaves");
}

#[test]
fn frames_that_decompress_to_much_are_taken_in_pieces() {
    let world = World::new(raw_shape(ArrowCodec::None), small_segments());
    for _ in 0..12 {
        let mut builder = BatchBuilder::new(BatchOptions {
            codec: Codec::Zstd,
            ..BatchOptions::default()
        });
        for delta in 0..40 {
            builder.append(delta, 1, None, Some(&vec![0; 100_000]), []);
        }
        world.append(builder.finish_unassigned(SCHEMA, 0));
    }
    let rows = world.fluss_rows(0, 1 << 20);
    assert_eq!(rows.len(), 480);
    let rows = world.fluss_rows(470, 1 << 20);
    assert_eq!(rows.len(), 10);
}
