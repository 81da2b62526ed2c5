use super::*;
use crate::kafka::builder::{BatchBuilder, BatchOptions, BatchProducer};
use proptest::prelude::*;

const NOW: i64 = 1_790_000_000_000;

fn config() -> ValidateConfig {
    ValidateConfig {
        schema_id: SchemaId::new(1),
        source_partition: 3,
        max_message_bytes: 1 << 20,
        max_decompressed_bytes: 1 << 20,
        key_required: false,
        allow_control: false,
        timestamp_type: TimestampType::CreateTime,
        now_ms: NOW,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: 3_600_000,
        compression: None,
    }
}

fn options(codec: Codec) -> BatchOptions {
    BatchOptions {
        codec,
        ..Default::default()
    }
}

/// A batch with one record per given time.
fn batch_of(options: BatchOptions, times: &[i64]) -> Bytes {
    let mut builder = BatchBuilder::new(options);
    for time in times {
        builder.append(
            builder.next_offset_delta(),
            *time,
            Some(b"key"),
            Some(b"value"),
            [],
        );
    }
    builder.finish()
}

/// Changes header bytes and makes the CRC right again.
fn patched(bytes: Bytes, at: usize, with: &[u8]) -> Bytes {
    let mut bytes = bytes.to_vec();
    bytes[at..at + with.len()].copy_from_slice(with);
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}

#[test]
fn a_good_batch_keeps_its_bytes_with_every_codec() {
    for codec in Codec::ALL {
        let bytes = batch_of(options(codec), &[NOW - 5, NOW, NOW - 1]);
        let batch = validate(bytes.clone(), &config()).unwrap();
        assert_eq!(batch.bytes.as_ptr(), bytes.as_ptr(), "{codec:?} was copied");
        assert_eq!(
            (
                batch.record_count,
                batch.last_offset_delta,
                batch.record_time_max
            ),
            (3, 2, NOW)
        );
        assert_eq!(
            (batch.source, batch.transactional, batch.control),
            (None, false, false)
        );
    }
}

#[test]
fn a_producer_becomes_a_source_block_and_wraps() {
    let producer = Some(BatchProducer {
        id: 8,
        epoch: 2,
        base_sequence: i32::MAX - 1,
    });
    let bytes = batch_of(
        BatchOptions {
            producer,
            ..Default::default()
        },
        &[NOW; 3],
    );
    let source = validate(bytes, &config()).unwrap().source.unwrap();
    assert_eq!(
        (
            source.producer_id,
            source.producer_epoch,
            source.source_partition
        ),
        (8, 2, 3)
    );
    assert_eq!(
        (source.first_sequence, source.last_sequence),
        (i32::MAX - 1, 0)
    );
}

#[test]
fn answers_are_those_of_kafka() {
    let good = || batch_of(options(Codec::None), &[NOW, NOW]);
    let with = |at, bytes: &[u8]| patched(good(), at, bytes);
    let mut bad_crc = good().to_vec();
    *bad_crc.last_mut().unwrap() ^= 1;
    let control = batch_of(
        BatchOptions {
            control: true,
            ..Default::default()
        },
        &[NOW],
    );
    let no_sequence = BatchProducer {
        id: 5,
        epoch: 0,
        base_sequence: -1,
    };
    let no_sequence = batch_of(
        BatchOptions {
            producer: Some(no_sequence),
            ..Default::default()
        },
        &[NOW],
    );
    let transactional = batch_of(
        BatchOptions {
            transactional: true,
            ..Default::default()
        },
        &[NOW],
    );
    let cases: Vec<(&str, Bytes, ErrorClass)> = vec![
        ("empty", Bytes::new(), ErrorClass::InvalidRecord),
        ("magic 1", with(16, &[1]), ErrorClass::InvalidRecord),
        ("magic 0", with(16, &[0]), ErrorClass::InvalidRecord),
        ("magic 3", with(16, &[3]), ErrorClass::CorruptMessage),
        (
            "cut off",
            good().slice(..good().len() - 1),
            ErrorClass::InvalidRecord,
        ),
        (
            "two batches",
            [good(), good()].concat().into(),
            ErrorClass::InvalidRecord,
        ),
        ("crc", bad_crc.into(), ErrorClass::CorruptMessage),
        (
            "count 0",
            with(57, &0i32.to_be_bytes()),
            ErrorClass::InvalidRecord,
        ),
        (
            "count 3",
            with(57, &3i32.to_be_bytes()),
            ErrorClass::InvalidRecord,
        ),
        (
            "last delta 2",
            with(23, &2i32.to_be_bytes()),
            ErrorClass::InvalidRecord,
        ),
        (
            "base offset",
            with(0, &5i64.to_be_bytes()),
            ErrorClass::InvalidRecord,
        ),
        (
            "codec 5",
            with(21, &5i16.to_be_bytes()),
            ErrorClass::UnsupportedCompressionType,
        ),
        (
            "not gzip",
            with(21, &1i16.to_be_bytes()),
            ErrorClass::InvalidRecord,
        ),
        (
            "log append time",
            with(21, &8i16.to_be_bytes()),
            ErrorClass::InvalidTimestamp,
        ),
        ("control", control, ErrorClass::InvalidRecord),
        ("no sequence", no_sequence, ErrorClass::InvalidRecord),
        ("transactional", transactional, ErrorClass::InvalidRecord),
    ];
    for (name, bytes, class) in cases {
        match validate(bytes, &config()) {
            Err(error) => assert_eq!(error.class(), class, "{name}: {error}"),
            Ok(_) => panic!("{name} was accepted"),
        }
    }
}

#[test]
fn a_batch_above_the_maximum_is_too_large() {
    let bytes = batch_of(options(Codec::None), &[NOW; 100]);
    let limited = ValidateConfig {
        max_message_bytes: bytes.len() - 1,
        ..config()
    };
    assert_eq!(
        validate(bytes, &limited).unwrap_err().class(),
        ErrorClass::MessageTooLarge
    );
}

#[test]
fn a_refused_batch_leaves_nothing_behind() {
    let mut scratch = Scratch::new();
    let zeros = vec![0; 9 << 20];
    for codec in [Codec::Gzip, Codec::Lz4, Codec::Zstd] {
        let mut builder = BatchBuilder::new(options(codec));
        builder.append(0, NOW, None, Some(&zeros), []);
        let limits = ValidateConfig {
            max_decompressed_bytes: 8 << 20,
            ..config()
        };
        let refused = validate_with(builder.finish(), &limits, &mut scratch);
        assert!(refused.is_err());
        assert!(scratch.records.capacity() <= compression::KEPT_BYTES_MAX);
    }
}

#[test]
fn a_compression_bomb_is_too_large() {
    let mut builder = BatchBuilder::new(options(Codec::Zstd));
    builder.append(0, NOW, None, Some(&vec![0; 8 << 20]), []);
    let error = validate(builder.finish(), &config()).unwrap_err();
    assert_eq!(error.class(), ErrorClass::MessageTooLarge);
}

#[test]
fn records_without_key_are_named_where_keys_are_required() {
    for codec in Codec::ALL {
        let mut builder = BatchBuilder::new(options(codec));
        for index in 0..300 {
            builder.append(index, NOW, (index % 2 == 0).then_some(b"k"), Some(b"v"), []);
        }
        let keyed = ValidateConfig {
            key_required: true,
            ..config()
        };
        let error = validate(builder.finish(), &keyed).unwrap_err();
        assert_eq!(error.class(), ErrorClass::InvalidRecord);
        assert!(
            matches!(error, InvalidBatch::Records { total: 150, .. }),
            "{error}"
        );
        let listed = error.record_errors();
        assert_eq!(
            (listed.len(), listed[0].0, listed[1].0),
            (RECORD_ERRORS_MAX, 1, 3)
        );
    }
}

#[test]
fn times_out_of_range_are_named() {
    let narrow = ValidateConfig {
        timestamp_before_max_ms: 1_000,
        timestamp_after_max_ms: 1_000,
        ..config()
    };
    let times = [NOW - 1_001, NOW - 1_000, NOW + 1_000, NOW + 1_001, NO_TIME];
    let bytes = batch_of(options(Codec::Lz4), &times);
    let error = validate(bytes.clone(), &narrow).unwrap_err();
    assert_eq!(error.class(), ErrorClass::InvalidTimestamp);
    let indexes: Vec<i32> = error.record_errors().iter().map(|e| e.0).collect();
    assert_eq!(indexes, [0, 3]);
    // The log's own time makes the producer's irrelevant.
    let stamped = ValidateConfig {
        timestamp_type: TimestampType::LogAppendTime,
        ..narrow
    };
    assert_eq!(validate(bytes, &stamped).unwrap().record_time_max, NO_TIME);
}

#[test]
fn a_wrong_max_timestamp_is_corrected() {
    let bytes = patched(
        batch_of(options(Codec::Snappy), &[NOW - 9, NOW]),
        35,
        &(NOW - 9).to_be_bytes(),
    );
    let batch = validate(bytes, &config()).unwrap();
    let view = BatchView::parse(&batch.bytes).unwrap();
    assert_eq!(
        (
            view.max_timestamp(),
            batch.record_time_max,
            view.crc_is_valid()
        ),
        (NOW, NOW, true)
    );
}

#[test]
fn offset_deltas_must_count_up() {
    for codec in Codec::ALL {
        let mut builder = BatchBuilder::new(options(codec));
        builder.append(0, NOW, None, None, []);
        builder.append(2, NOW, None, None, []);
        let bytes = patched(builder.finish(), 23, &1i32.to_be_bytes());
        assert_eq!(
            validate(bytes, &config()).unwrap_err(),
            InvalidBatch::OffsetDelta { index: 1, delta: 2 }
        );
    }
}

#[test]
fn the_broker_may_write_control_batches() {
    let own = ValidateConfig {
        allow_control: true,
        ..config()
    };
    let producer = Some(BatchProducer {
        id: 1,
        epoch: 0,
        base_sequence: -1,
    });
    let marker = batch_of(
        BatchOptions {
            control: true,
            transactional: true,
            producer,
            ..Default::default()
        },
        &[NOW],
    );
    assert!(validate(marker, &own).unwrap().control);
}

#[test]
fn every_codec_is_brought_to_every_other() {
    for from in Codec::ALL {
        for codec in Codec::ALL {
            let bytes = batch_of(options(from), &[NOW, NOW + 1]);
            let target = TargetCompression { codec, level: None };
            let stored = validate(
                bytes.clone(),
                &ValidateConfig {
                    compression: Some(target),
                    ..config()
                },
            )
            .unwrap()
            .bytes;
            assert_eq!(
                recompress(bytes, target, 1 << 20, &mut Scratch::new()).unwrap(),
                stored
            );
            let view = BatchView::parse(&stored).unwrap();
            assert_eq!(
                (view.codec(), view.total_length()),
                (Some(codec), stored.len())
            );
            assert_eq!(validate(stored, &config()).unwrap().record_count, 2);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn damaged_batches_never_panic(
        id in 0u8..5,
        at: prop::sample::Index,
        byte: u8,
        fix_crc: bool,
    ) {
        let bytes = batch_of(options(Codec::from_id(id).unwrap()), &[NOW, NOW + 1, NOW + 2]);
        let at = at.index(bytes.len());
        let damaged = if fix_crc && at >= 21 {
            patched(bytes, at, &[byte])
        } else {
            let mut copy = bytes.to_vec();
            copy[at] = byte;
            copy.into()
        };
        if let Ok(batch) = validate(damaged, &config()) {
            let mut scratch = Scratch::new();
            let view = BatchView::parse(&batch.bytes).unwrap();
            prop_assert!(view.crc_is_valid());
            prop_assert!(scratch.records(&view, 1 << 20).unwrap().all(|r| r.is_ok()));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        let _ = validate(bytes.into(), &config());
    }
}
