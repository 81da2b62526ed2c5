//! KV batches and lookups as no client makes them.

use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use prost::Message;
use protocol::fluss::error::ErrorCode;
use protocol::fluss::kv_batch::{KvBatchBuilder, KvRecord};
use protocol::fluss::messages::LimitScanRequest;
use protocol::ids::SchemaId;
use storage::env::Randomness;
use storage::env::simulated::SeededRandomness;

use crate::broker_under_attack::UnderAttack;
use crate::common::fluss::{Client, path};
use crate::common::keyed::{Keyed, lookup, put, row};

/// Batches with some bytes changed, and a sound CRC.
const DAMAGED: u64 = 400;
/// The largest batch of smallest records: they take many times their bytes while they are merged.
const BATCH_BYTES: usize = 4 << 20;
/// Values of rows that are looked up and not taken.
const VALUE_BYTES: usize = 100 << 10;
const ROWS: i32 = 40;
const LOOKUPS: usize = 20;
const CONNECTIONS: usize = 20;

/// Puts and lookups, each of which must be answered or refused.
pub async fn all(broker: &UnderAttack) {
    let keyed = Keyed::new();
    let mut client = Client::connect(broker.fluss()).await;
    let described = keyed.table(1, &[]);
    let table = client.create_table(&path("keyed"), &described).await;
    damaged(&mut client, &keyed, table).await;
    tiny_records(&mut client, table).await;
    not_taken(broker, &mut client, &keyed, table).await;
    let keys = vec![
        Bytes::from_static(b"\xff\xff\xff\xff\xff\xff"),
        Bytes::new(),
    ];
    let found = client.look_up(lookup(table, 0, keys)).await;
    assert_eq!(found, Ok(vec![None, None]), "no keys, so there is no row");
    let parts = ["refused a bucket", "client=127.0.0.1:", "fluss.keyed"];
    broker.lines.must_have(&parts);
    let missing = LimitScanRequest {
        table_id: table,
        bucket_id: 9,
        limit: 1,
        ..LimitScanRequest::default()
    };
    let counted = async || {
        let name = "fluss_tabletserver_request_errors_total";
        broker.metric(name, "LIMIT_SCAN").await
    };
    let before = counted().await;
    let refused = client.refusal(missing).await;
    assert_eq!(refused, ErrorCode::UnknownTableOrBucket);
    assert!((counted().await - before - 1.0).abs() < 0.1, "counted once");
    let parts = ["refused a bucket", "api=LIMIT_SCAN", "fluss.keyed"];
    broker.lines.must_have(&parts);
}

async fn damaged(client: &mut Client, keyed: &Keyed, table: i64) {
    let rows: Vec<_> = (0..8).map(|id| row(id, "name", 7)).collect();
    let sound = keyed.upserts(None, &rows);
    let random = SeededRandomness::new(1);
    let mut refused = 0;
    for _ in 0..DAMAGED {
        let mut batch = sound.to_vec();
        for _ in 0..1 + random.next_u64() % 3 {
            let at = 9 + random.next_u64() as usize % (batch.len() - 9);
            batch[at] = random.next_u64() as u8;
        }
        let crc = crc32c::crc32c(&batch[9..]);
        batch[5..9].copy_from_slice(&crc.to_le_bytes());
        match client.put(put(table, 0, batch.into())).await {
            Ok(_) => {}
            // Of a schema that the table does not have, or of a writer that did not begin at 0.
            Err(
                ErrorCode::CorruptRecord
                | ErrorCode::SchemaNotExist
                | ErrorCode::OutOfOrderSequence
                | ErrorCode::UnknownWriterId,
            ) => refused += 1,
            Err(code) => panic!("{code:?}"),
        }
    }
    assert!(refused > DAMAGED / 4, "{refused}");
    client.put(put(table, 0, sound)).await.expect("put");
}

/// Keys that are not there are deleted, as many as fit.
async fn tiny_records(client: &mut Client, table: i64) {
    let mut batch = KvBatchBuilder::new(SchemaId::new(1), None);
    for _ in 0..BATCH_BYTES / 5 {
        batch.append(KvRecord {
            key: b"",
            row: None,
        });
    }
    client
        .put(put(table, 0, batch.finish()))
        .await
        .expect("put");
}

/// Connections that ask for large rows again and again, and take no answer.
async fn not_taken(broker: &UnderAttack, client: &mut Client, keyed: &Keyed, table: i64) {
    let name = "x".repeat(VALUE_BYTES);
    let rows: Vec<_> = (0..ROWS).map(|id| row(id, &name, 0)).collect();
    let batch = keyed.upserts(None, &rows);
    client.put(put(table, 0, batch)).await.expect("put");
    let keys = rows.iter().map(|row| keyed.key(row)).collect();
    let request = lookup(table, 0, keys).encode_to_vec();
    let ask = async || {
        let mut client = Client::connect(broker.fluss()).await;
        for _ in 0..LOOKUPS {
            // The broker may drop it meanwhile.
            if client.try_send(1017, 1, &request).await.is_err() {
                break;
            }
        }
        client
    };
    let asking = join_all((0..CONNECTIONS).map(|_| ask()));
    let clients = tokio::time::timeout(Duration::from_secs(60), asking).await;
    drop(clients.expect("small requests are taken"));
}
