//! Logs that both wires write to, readers that share, damage.

use super::*;

#[test]
fn a_read_ends_before_the_first_frame_of_its_own_wire() {
    let world = World::new(raw_shape(ArrowCodec::None), small_segments());
    world.append(kafka_batch_of(2, b"v"));
    let rows = vec![vec![Datum::Null, Datum::Null, Datum::Null, Datum::Null]];
    let (batch, _) = fluss_batch(
        &raw_schema(false),
        BatchFormat::FlussArrow,
        Changes::AppendOnly,
        &rows,
    );
    world.append(batch);
    world.append(kafka_batch_of(2, b"v"));
    assert_eq!(world.fluss(0, 1 << 20, None).next_offset, Offset::new(2));
    assert_eq!(world.kafka(2, 1 << 20).next_offset, Offset::new(3));
    assert_eq!(world.fluss(3, 1 << 20, None).next_offset, Offset::new(5));
}

#[test]
fn readers_of_one_span_share_one_transcoding() {
    let world = World::new(raw_shape(ArrowCodec::Zstd(3)), small_segments());
    for _ in 0..20 {
        world.append(kafka_batch_of(50, &[b'v'; 500]));
    }
    let read = || {
        let range = range(0, world.end(), 8 << 20);
        world
            .transcoder
            .fluss_from_kafka(&world.log, &world.shape, range, None)
    };
    let all = world
        .runtime
        .block_on(futures::future::join_all((0..16).map(|_| read())));
    let all: Vec<_> = all.into_iter().map(Result::unwrap).collect();
    for other in &all[1..] {
        assert_eq!(other.chunks[0].as_ptr(), all[0].chunks[0].as_ptr());
    }
}

#[test]
fn damage_in_the_log_is_an_error_and_not_an_answer() {
    let world = World::new(raw_shape(ArrowCodec::None), small_segments());
    world.append(kafka_batch_of(2, b"v"));
    let path = world.log.log().segments()[0].path().to_path_buf();
    let disk = &world.simulation.disk;
    let length = disk.contents(&path).unwrap().len() as u64;
    disk.flip_bit(&path, length - 20, 1).unwrap();
    let range = range(0, world.end(), 1 << 20);
    let read = world
        .transcoder
        .fluss_from_kafka(&world.log, &world.shape, range, None);
    let refused = world.runtime.block_on(read);
    assert!(matches!(refused, Err(ConvertError::Batch { .. })));
}

/// Appends rows as a Fluss client would, and returns the rows that a reader must see.
fn send_rows(world: &World, sent: &SentBatch) -> Vec<Row> {
    let base = world.log.log().watermarks().log_end.value();
    let mut rows = protocol::raw::RawBatchBuilder::new(RawColumns::ALL, false);
    let mut expected = Vec::new();
    for (i, (_, key, value, time, headers)) in sent.records.iter().enumerate() {
        let pairs = headers.iter().map(|(k, v)| (k.as_bytes(), v.as_deref()));
        rows.append(key.as_deref(), value.as_deref(), *time, pairs)
            .unwrap();
        expected.push((
            base + i as i64,
            key.clone(),
            value.clone(),
            *time,
            headers.clone(),
            ChangeType::AppendOnly,
        ));
    }
    let codec = if sent.gap_behind > 2 {
        ArrowCodec::Lz4
    } else {
        ArrowCodec::None
    };
    let bytes = build_arrow(
        &BatchSpec::new(SCHEMA),
        Changes::AppendOnly,
        &rows.finish(),
        &mut codec.compressor(),
    )
    .unwrap();
    let count = sent.records.len() as i32;
    world.append(unassigned(bytes, BatchFormat::FlussArrow, count, count - 1));
    expected
}

/// The rows that Kafka batches hold.
fn rows_of_kafka(chunks: &[Bytes]) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut scratch = protocol::kafka::validate::Scratch::new();
    for chunk in chunks {
        for batch in kafka_batch::Batches::new(chunk.clone()) {
            let batch = batch.unwrap();
            let view = BatchView::parse(&batch).unwrap();
            if view.is_control() {
                continue;
            }
            for record in scratch.records(&view, 1 << 30).unwrap() {
                let record = record.unwrap();
                let headers = record.headers.iter().map(|h| {
                    let key = String::from_utf8(h.key.to_vec()).unwrap();
                    (key, h.value.map(<[u8]>::to_vec))
                });
                rows.push((
                    view.base_offset() + i64::from(record.offset_delta),
                    record.key.map(<[u8]>::to_vec),
                    record.value.map(<[u8]>::to_vec),
                    view.record_time(record.timestamp_delta),
                    headers.collect(),
                    ChangeType::AppendOnly,
                ));
            }
        }
    }
    rows
}

/// The rows that a Fluss reader gets of the whole log.
fn rows_of_fluss(world: &World, tablet: &Tablet, bytes_max: usize, projected: bool) -> Vec<Row> {
    let (mut offset, mut seen) = (Offset::ZERO, Vec::new());
    let shape = tablet.shape();
    while offset < world.end() {
        let read = world.runtime.block_on(tablet.read_fluss(FlussRead {
            offset,
            bytes_max,
            at_least_one: true,
            projection: projected.then(|| Arc::from([0usize, 1, 2, 3])),
            filter: None,
        }));
        let read = read.unwrap();
        assert!(read.next_offset > offset);
        for batch in batches(&read.chunks) {
            let id = batch.header().schema_id();
            assert_eq!(shape.shown_schema(id), id);
            let rows = rows_of(&batch, &shape);
            seen.extend(rows.filter(|row| row.0 >= offset.value()));
        }
        offset = read.next_offset;
    }
    seen
}

/// The shape of a topic that was first without a key, then with one, and so on.
fn shape_after(kinds: i16) -> TableShape {
    let shape = |id: i16| TableShape::raw(SchemaId::new(id), id % 2 == 0);
    let schemas = (1..=kinds).flat_map(|id| shape(id).schemas);
    TableShape {
        schemas: schemas.collect(),
        ..shape(kinds)
    }
}

/// What a reader of a topic with a key sees of a row.
fn with_key(row: &Row) -> Option<Row> {
    let (offset, key, value, time, headers, _) = row.clone();
    let change = match value {
        Some(_) => ChangeType::UpdateAfter,
        None => ChangeType::Delete,
    };
    Some((offset, Some(key?), value, time, headers, change))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn both_wires_read_the_same_from_a_log_that_both_wrote(
        sent in sent_batches(),
        by_fluss in proptest::collection::vec(any::<bool>(), 25),
        bytes_max in prop_oneof![Just(100usize), Just(1 << 20)],
        projected in any::<bool>(),
    ) {
        let shape = raw_shape(ArrowCodec::Zstd(3));
        let world = World::with_files(shape, small_segments(), 1 << 30);
        let mut expected = Vec::new();
        for (batch, by_fluss) in sent.iter().zip(by_fluss) {
            if by_fluss {
                world.pause(batch.pause_ms.into());
                expected.extend(send_rows(&world, batch));
            } else {
                expected.extend(send(&world, std::slice::from_ref(batch)));
            }
        }
        let other: Arc<dyn OtherWire> = world.transcoder.clone();
        let tablet = Tablet::new(world.log.clone(), Arc::clone(&world.shape), other);
        let end = world.end();
        for round in 0..2 {
            let (mut offset, mut seen) = (Offset::ZERO, Vec::new());
            while offset < end {
                let read = world.runtime.block_on(tablet.read_kafka(KafkaRead {
                    offset,
                    bytes_max,
                    at_least_one: true,
                    committed_only: false,
                }));
                let read = read.unwrap();
                prop_assert!(read.next_offset > offset);
                let rows = rows_of_kafka(&read.chunks);
                seen.extend(rows.into_iter().filter(|row| row.0 >= offset.value()));
                offset = read.next_offset;
            }
            prop_assert!(seen == expected, "kafka, round {round}");
            let seen = rows_of_fluss(&world, &tablet, bytes_max, projected);
            prop_assert!(seen == expected, "fluss, round {round}");
            world.settle();
        }
        // The topic gets a key, loses it, and gets one again.
        let keyed: Vec<Row> = expected.iter().filter_map(with_key).collect();
        for kinds in [2, 3, 4] {
            tablet.set_shape(Arc::new(shape_after(kinds)));
            for round in 0..2 {
                let seen = rows_of_fluss(&world, &tablet, bytes_max, projected);
                let expected = if kinds % 2 == 0 { &keyed } else { &expected };
                prop_assert!(seen == *expected, "{kinds} kinds, round {round}");
                world.settle();
            }
        }
    }
}
