use proptest::prelude::*;
use protocol::columnar::Decoder;
use protocol::fluss::batch::{LogBatch, build_empty, build_rows};
use protocol::fluss::options::LogFormat;
use protocol::fluss::predicate::{LeafFunction, Literal, Predicate};

use super::fluss::{batches, from};
use super::*;
use crate::tablet::{ArrowCodec, FlussRead, FlussReadError, InvalidProjection};

fn columns(at: i64, fields: &[usize]) -> FlussRead {
    FlussRead {
        projection: Some(fields.into()),
        ..from(at)
    }
}

/// The rows of a projected batch.
fn decode(batch: &LogBatch, fields: &[usize]) -> RecordBatch {
    let mut sent = three_columns();
    sent.columns = fields.iter().map(|i| sent.columns[*i].clone()).collect();
    Decoder::default()
        .decode(batch, BatchFormat::FlussArrow, &sent, None)
        .unwrap()
        .rows
}

#[tokio::test]
async fn a_projection_gives_the_columns_of_each_batch() {
    let world = World::new(arrow_table(), LogConfig::default());
    let all = [rows(0, 3, 10), rows(3, 1, 100_000), rows(4, 2, 5)];
    for rows in &all {
        world.append(arrow_batch(rows)).await;
    }
    for fields in [&[0][..], &[1], &[2], &[0, 2], &[0, 1, 2]] {
        let answer = world.tablet.read_fluss(columns(0, fields)).await.unwrap();
        let found = batches(&answer);
        assert_eq!(found.len(), 3);
        for (batch, rows) in found.iter().zip(&all) {
            assert_eq!(decode(batch, fields), rows.project(fields).unwrap());
        }
        assert_eq!(found[1].header().base_offset(), 3);
        assert!(found[1].header().commit_time_ms() > 0);
        assert_eq!(answer.next_offset, offset(6));
    }
}

#[tokio::test]
async fn of_large_batches_only_the_wanted_columns_are_read() {
    let world = World::new(arrow_table(), LogConfig::default());
    let mut stored = 0;
    for first in 0..10 {
        let batch = arrow_batch(&rows(first, 1000, 1000));
        stored += batch.bytes.len() as u64;
        world.append(batch).await;
    }
    let read = world.tablet.read_fluss(columns(0, &[0, 2]));
    let (answer, reads, bytes) = world.reads(read).await;
    let answer = answer.unwrap();
    assert_eq!(batches(&answer).len(), 10);
    assert!(bytes < stored / 40, "{bytes} of {stored} bytes read");
    assert!(reads <= 30, "{reads} reads");
}

#[tokio::test]
async fn of_small_batches_many_are_taken_with_one_read() {
    let world = World::new(arrow_table(), LogConfig::default());
    for first in 0..200 {
        world.append(arrow_batch(&rows(first, 1, 10))).await;
    }
    let (answer, reads, _) = world.reads(world.tablet.read_fluss(columns(0, &[1]))).await;
    assert_eq!(batches(&answer.unwrap()).len(), 200);
    assert!(reads <= 3, "{reads} reads");
}

#[tokio::test]
async fn projected_sizes_count_and_the_first_batch_raises_the_limit_to_its_stored_size() {
    let world = World::new(arrow_table(), LogConfig::default());
    let batch = arrow_batch(&rows(0, 10, 1000));
    let stored = batch.bytes.len();
    for _ in 0..60 {
        world.append(batch.clone()).await;
    }
    let mut read = columns(0, &[0]);
    let whole = world.tablet.read_fluss(read.clone()).await.unwrap();
    let projected = batches(&whole)[0].bytes().len();
    assert_eq!(batches(&whole).len(), 60);
    // Fluss goes on until the limit holds no header, and never over it.
    let fit = |limit: usize| limit / projected;

    read.bytes_max = 5 * projected + 49;
    let answer = world.tablet.read_fluss(read.clone()).await.unwrap();
    assert_eq!(
        batches(&answer).len(),
        fit(stored),
        "raised to {stored} bytes"
    );

    read.at_least_one = false;
    let answer = world.tablet.read_fluss(read.clone()).await.unwrap();
    assert_eq!(batches(&answer).len(), 5);
    read.bytes_max = 48;
    let answer = world.tablet.read_fluss(read).await.unwrap();
    assert!(answer.chunks.is_empty());
    assert_eq!(answer.next_offset, offset(0));
}

#[tokio::test]
async fn a_batch_without_rows_costs_nothing() {
    let world = World::new(arrow_table(), LogConfig::default());
    let empty = build_empty(&BatchSpec::new(SCHEMA), true).unwrap();
    for _ in 0..5 {
        world
            .append(fluss_batch(empty.clone(), 0, BatchFormat::FlussArrow))
            .await;
    }
    let mut read = columns(0, &[0]);
    read.at_least_one = false;
    read.bytes_max = 49;
    let answer = world.tablet.read_fluss(read).await.unwrap();
    assert_eq!(batches(&answer).len(), 5);
    assert_eq!(answer.next_offset, offset(5));
}

#[tokio::test]
async fn wrong_projections_are_refused() {
    let world = World::new(arrow_table(), LogConfig::default());
    for fields in [&[][..], &[1, 0], &[1, 1], &[3]] {
        let error = world
            .tablet
            .read_fluss(columns(0, fields))
            .await
            .unwrap_err();
        assert!(matches!(
            error,
            FlussReadError::InvalidProjection(InvalidProjection::Fields { columns: 3, .. })
        ));
    }
    let mut shape = arrow_table();
    for format in [LogFormat::Indexed, LogFormat::Compacted] {
        shape.log_format = format;
        world.tablet.set_shape(Arc::new(shape.clone()));
        let error = world.tablet.read_fluss(columns(0, &[0])).await.unwrap_err();
        assert!(matches!(
            error,
            FlussReadError::InvalidProjection(InvalidProjection::NotArrow)
        ));
    }
}

#[tokio::test]
async fn rows_in_row_formats_are_read_whole() {
    let mut shape = arrow_table();
    shape.log_format = LogFormat::Compacted;
    let world = World::new(shape, LogConfig::default());
    let spec = BatchSpec::new(SCHEMA);
    let rows = [&b"any row"[..]];
    let bytes = build_rows(&spec, Changes::AppendOnly, rows.into_iter()).unwrap();
    world
        .append(fluss_batch(bytes.clone(), 1, BatchFormat::FlussCompacted))
        .await;
    // A filter is for Arrow batches only.
    let mut read = from(0);
    read.filter = Some(Arc::new(a_equals(5)));
    let answer = world.tablet.read_fluss(read).await.unwrap();
    assert_eq!(batches(&answer)[0].bytes()[21..], bytes[21..]);
}

#[tokio::test]
async fn columns_that_older_batches_lack_are_null() {
    let mut newer = three_columns();
    let mut column = newer.columns[2].clone();
    column.name = "d".to_owned();
    column.id = 3;
    newer.columns.push(column);
    let mut sent = newer.clone();
    sent.columns = vec![newer.columns[0].clone(), newer.columns[3].clone()];
    let mut shape = arrow_table();
    shape.schemas.insert(SchemaId::new(2), Arc::new(newer));
    shape.latest = SchemaId::new(2);

    for codec in [ArrowCodec::None, ArrowCodec::Lz4, ArrowCodec::Zstd(3)] {
        let world = World::new(arrow_table(), LogConfig::default());
        let all = [rows(0, 3, 10), rows(3, 2000, 40)];
        for rows in &all {
            let spec = BatchSpec::new(SCHEMA);
            let mut compressor = codec.compressor();
            let bytes = build_arrow(&spec, Changes::AppendOnly, rows, &mut compressor).unwrap();
            let batch = fluss_batch(bytes, rows.num_rows(), BatchFormat::FlussArrow);
            world.append(batch).await;
        }
        world.tablet.set_shape(Arc::new(shape.clone()));
        let answer = world.tablet.read_fluss(columns(0, &[0, 3])).await.unwrap();
        for (batch, rows) in batches(&answer).iter().zip(&all) {
            assert_eq!(batch.header().schema_id(), SCHEMA);
            let decoded = Decoder::default()
                .decode(batch, BatchFormat::FlussArrow, &sent, None)
                .unwrap();
            assert_eq!(decoded.rows.column(0), rows.column(0));
            assert_eq!(decoded.rows.column(1).null_count(), rows.num_rows());
        }
    }
}

#[tokio::test]
async fn a_projected_read_that_must_wait_for_the_disk_gives_the_same() {
    let config = LogConfig {
        segment_bytes_max: 300_000,
        ..LogConfig::default()
    };
    let world = World::new(arrow_table(), config);
    for first in 0..10 {
        world.append(arrow_batch(&rows(first, 100, 1000))).await;
    }
    let cached = world
        .tablet
        .read_fluss(columns(150, &[0, 2]))
        .await
        .unwrap();
    world.simulation.disk.pretend_uncached(true);
    world.tablet.log().log().unload_indexes();
    let waited = world
        .tablet
        .read_fluss(columns(150, &[0, 2]))
        .await
        .unwrap();
    assert_eq!(cached.chunks.concat(), waited.chunks.concat());
    assert_eq!(waited.next_offset, offset(1000));
}

#[tokio::test]
async fn kafka_frames_between_projected_ones_go_through_the_transcoder() {
    let world = World::new(arrow_table(), LogConfig::default());
    world.append(arrow_batch(&rows(0, 2, 10))).await;
    world.append(kafka_batch(&[1, 2], 10)).await;
    world.append(arrow_batch(&rows(4, 2, 10))).await;
    let answer = world.tablet.read_fluss(columns(0, &[0])).await.unwrap();
    assert_eq!(answer.chunks.len(), 3);
    assert_eq!(&answer.chunks[1][..], b"[2-3]");
    assert_eq!(answer.next_offset, offset(6));
    let read = world.tablet.read_fluss(columns(3, &[0])).await.unwrap();
    assert_eq!(&read.chunks[0][..], b"[2-3]");
}

fn a_equals(value: i64) -> Predicate {
    Predicate::Leaf {
        column_id: 0,
        function: LeafFunction::Equal,
        literals: vec![Literal::Int(value)],
    }
}

/// A batch of version 1 whose statistics say that column `a` lies in `min..=max`.
fn with_statistics(rows: &RecordBatch, min: i32, max: i32) -> UnassignedBatch {
    let v0 = arrow_batch(rows).bytes;
    let mut block = vec![1, 1, 0, 0, 0];
    block.extend(0i32.to_le_bytes());
    for bound in [min, max] {
        block.extend(16i32.to_le_bytes());
        block.extend([0; 8]);
        block.extend(i64::from(bound as u32).to_le_bytes());
    }
    let mut bytes = v0[..48].to_vec();
    bytes[12] = 1;
    bytes.extend((block.len() as i32).to_le_bytes());
    bytes.extend(&block);
    bytes.extend(&v0[48..]);
    let length = bytes.len() as i32 - 12;
    bytes[8..12].copy_from_slice(&length.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[25..]);
    bytes[21..25].copy_from_slice(&crc.to_le_bytes());
    fluss_batch(bytes, rows.num_rows(), BatchFormat::FlussArrow)
}

#[tokio::test]
async fn batches_that_a_filter_leaves_out_are_passed_with_a_look_at_their_statistics() {
    let world = World::new(arrow_table(), LogConfig::default());
    for first in [0, 100, 200, 300] {
        let rows = rows(first, 100, 1000);
        world
            .append(with_statistics(&rows, first, first + 99))
            .await;
    }
    let filtered = |value, at| FlussRead {
        filter: Some(Arc::new(a_equals(value))),
        ..from(at)
    };
    let bases = |answer: &crate::tablet::FlussBatches| -> Vec<i64> {
        batches(answer)
            .iter()
            .map(|b| b.header().base_offset())
            .collect()
    };
    // The last batches are left out: the reader is told where to go on.
    let answer = world.tablet.read_fluss(filtered(150, 0)).await.unwrap();
    assert_eq!(bases(&answer), [100]);
    assert_eq!(answer.filtered_end_offset, Some(offset(400)));
    assert_eq!(answer.next_offset, offset(400));
    assert!(batches(&answer)[0].crc_holds());
    // Left out before one that is returned: nothing to tell.
    let answer = world.tablet.read_fluss(filtered(350, 0)).await.unwrap();
    assert_eq!(bases(&answer), [300]);
    assert_eq!(answer.filtered_end_offset, None);
    // All left out.
    let (answer, _, bytes) = world
        .reads(world.tablet.read_fluss(filtered(999, 50)))
        .await;
    let answer = answer.unwrap();
    assert!(answer.chunks.is_empty());
    assert_eq!(answer.filtered_end_offset, Some(offset(400)));
    assert!(bytes < 40 << 10, "{bytes} bytes read");
    // With a projection besides, and a limit that the second batch does not fit.
    let mut read = filtered(350, 0);
    read.projection = Some([0].into());
    read.bytes_max = 1;
    let answer = world.tablet.read_fluss(read).await.unwrap();
    assert_eq!(bases(&answer), [300]);
    // Without statistics a batch is kept.
    world.append(arrow_batch(&rows(400, 1, 10))).await;
    let answer = world.tablet.read_fluss(filtered(999, 0)).await.unwrap();
    assert_eq!(bases(&answer), [400]);
    assert_eq!(answer.filtered_end_offset, None);
}

#[derive(Debug, Clone)]
struct Written {
    rows: usize,
    text_bytes: usize,
    codec: ArrowCodec,
}

fn written() -> impl Strategy<Value = Written> {
    let codec = prop_oneof![
        Just(ArrowCodec::None),
        Just(ArrowCodec::Lz4),
        Just(ArrowCodec::Zstd(3))
    ];
    (0usize..30, prop_oneof![0usize..100, 0usize..8000], codec).prop_map(
        |(rows, text_bytes, codec)| Written {
            rows,
            text_bytes,
            codec,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn projected_reads_equal_decoding_and_selecting(
        written in proptest::collection::vec(written(), 1..15),
        bits in 1u8..8,
        start in any::<prop::sample::Index>(),
        bytes_max in 0usize..200_000,
        segment_bytes_max in 200u64..500_000,
        uncached in any::<bool>(),
    ) {
        let fields: Vec<usize> = (0..3).filter(|i| bits & (1 << i) != 0).collect();
        runtime().block_on(async {
            let config = LogConfig { segment_bytes_max, ..LogConfig::default() };
            let world = World::new(arrow_table(), config);
            let mut expected = Vec::new();
            for batch in &written {
                let rows = rows(expected.len() as i32, batch.rows, batch.text_bytes);
                let bytes = build_arrow(
                    &BatchSpec::new(SCHEMA),
                    Changes::AppendOnly,
                    &rows,
                    &mut batch.codec.compressor(),
                ).unwrap();
                let sent = fluss_batch(bytes, batch.rows, BatchFormat::FlussArrow);
                let appended = world.append(sent).await;
                expected.push((appended, rows.project(&fields).unwrap()));
            }
            let end = expected.last().unwrap().0.last_offset.value() + 1;
            let start = start.index(end as usize) as i64;
            world.simulation.disk.pretend_uncached(uncached);
            let first = expected.partition_point(|(a, _)| a.last_offset.value() < start);
            let mut read = columns(start, &fields);
            read.bytes_max = bytes_max;
            let mut at = first;
            loop {
                let answer = world.tablet.read_fluss(read.clone()).await.unwrap();
                let found = batches(&answer);
                prop_assert!(!found.is_empty());
                for batch in &found {
                    let (appended, rows) = &expected[at];
                    prop_assert_eq!(batch.header().base_offset(), appended.base_offset.value());
                    prop_assert_eq!(batch.last_offset(), appended.last_offset.value());
                    prop_assert_eq!(&decode(batch, &fields), rows);
                    at += 1;
                }
                prop_assert_eq!(answer.next_offset, expected[at - 1].0.last_offset.next());
                if answer.next_offset == offset(end) {
                    break;
                }
                read.offset = answer.next_offset;
            }
            prop_assert_eq!(at, expected.len());
            Ok(())
        })?;
    }
}
