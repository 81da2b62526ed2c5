//! What Kafka clients may send, made at random.

use super::*;

/// A record of a test: gap before it, key, value, time, headers.
pub(super) type Sent = (
    u8,
    Option<Vec<u8>>,
    Option<Vec<u8>>,
    i64,
    Vec<(String, Option<Vec<u8>>)>,
);

#[derive(Debug, Clone)]
pub(super) struct SentBatch {
    pub(super) codec: Codec,
    pub(super) control: bool,
    pub(super) gap_behind: u8,
    pub(super) pause_ms: u16,
    pub(super) records: Vec<Sent>,
}

pub(super) fn sent_batches() -> impl Strategy<Value = Vec<SentBatch>> {
    let bytes = || {
        prop_oneof![
            5 => proptest::collection::vec(any::<u8>(), 0..20),
            1 => (0usize..300_000).prop_map(|n| vec![b'x'; n]),
        ]
    };
    let headers = proptest::collection::vec(("[a-zé]{0,4}", proptest::option::of(bytes())), 0..3);
    let record = (
        prop_oneof![9 => Just(0u8), 1 => 1u8..4],
        proptest::option::of(bytes()),
        proptest::option::of(bytes()),
        0i64..1 << 45,
        headers,
    );
    let batch = (
        0usize..5,
        prop::bool::weighted(0.1),
        prop_oneof![5 => Just(0u8), 1 => 1u8..5],
        prop_oneof![3 => Just(0u16), 1 => 0u16..2000],
        proptest::collection::vec(record, 1..8),
    );
    let batch = batch.prop_map(
        |(codec, control, gap_behind, pause_ms, records)| SentBatch {
            codec: Codec::ALL[codec],
            control,
            gap_behind,
            pause_ms,
            records,
        },
    );
    proptest::collection::vec(batch, 1..25)
}

/// Appends it and returns the rows that a reader must see.
pub(super) fn send(world: &World, batches: &[SentBatch]) -> Vec<Row> {
    let mut rows = Vec::new();
    for batch in batches {
        world.pause(batch.pause_ms.into());
        let base = world.log.log().watermarks().log_end.value();
        let mut builder = BatchBuilder::new(BatchOptions {
            codec: batch.codec,
            control: batch.control,
            ..BatchOptions::default()
        });
        for (gap, key, value, time, headers) in &batch.records {
            let delta = builder.next_offset_delta() + i32::from(*gap);
            builder.append(
                delta,
                *time,
                key.as_deref(),
                value.as_deref(),
                headers.iter().map(|(key, value)| Header {
                    key: key.as_bytes(),
                    value: value.as_deref(),
                }),
            );
            if !batch.control {
                let offset = base + i64::from(delta);
                let change = ChangeType::AppendOnly;
                rows.push((
                    offset,
                    key.clone(),
                    value.clone(),
                    *time,
                    headers.clone(),
                    change,
                ));
            }
        }
        builder
            .set_last_offset_delta(builder.next_offset_delta() - 1 + i32::from(batch.gap_behind));
        world.append(builder.finish_unassigned(SCHEMA, 0));
    }
    rows
}
