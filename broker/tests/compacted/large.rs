//! Rows of compacted topics that take more than one answer may have.

use protocol::fluss::error::ErrorCode;

use super::*;

#[tokio::test]
async fn large_rows_of_a_topic_are_all_found_or_refused() {
    // A connection's share of the memory is 2 MiB, an answer may have 8 MiB.
    let broker = TestBroker::start_with([("vltava.fetch.memory.bytes", "16777216")]).await;
    let mut clients = Clients::connect(&broker).await;
    let table = clients.compacted("t", 1, "murmur2").await;
    let large = "x".repeat(700_000);
    let names: Vec<String> = (0..14).map(|i| format!("k{i:02}")).collect();
    for name in &names {
        let row = record(name, Some(&large), 1);
        clients.produce("t", 0, &[row]).await;
    }
    let asked: Vec<&str> = names.iter().map(String::as_str).collect();
    let found = clients.values(table, 0, &asked[..11]).await;
    assert!(found.iter().all(|value| value.as_ref() == Some(&large)));
    let rows = clients.limited(table, 0, 11).await;
    let keys: Vec<_> = rows.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, asked[..11]);
    let keys = asked.iter().map(|key| encoded(key.as_bytes())).collect();
    let refused = clients.fluss.look_up(lookup(table, 0, keys)).await;
    assert_eq!(refused, Err(ErrorCode::RecordTooLarge));
    let scan = LimitScanRequest {
        table_id: table,
        limit: 14,
        ..LimitScanRequest::default()
    };
    let refused = clients.fluss.refusal(scan).await;
    assert_eq!(refused, ErrorCode::RecordTooLarge);
    broker.stop().await;
}
