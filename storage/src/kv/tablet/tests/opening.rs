//! Opening the index.

use super::*;

/// Bytes of each value of [`large`].
const VALUE_BYTES: usize = 512 << 10;
/// The same key gets a value again after so many rows.
const KEYS: i32 = 24;

/// One batch of many large rows: inserts, then updates, and a delete between them.
fn large(fixture: &Fixture) -> Bytes {
    let mut builder = KvBatchBuilder::new(TWO, None);
    let value = "x".repeat(VALUE_BYTES);
    for number in 0..2 * KEYS {
        let key = number % KEYS;
        let values = [Datum::Int(key), Datum::Int(number), Datum::String(&value)];
        let deleted = number == KEYS + 7;
        let row = row(&fixture.table, TWO, &values);
        builder.append(KvRecord {
            key: &encoded(key),
            row: (!deleted).then_some(&row),
        });
    }
    builder.finish()
}

#[tokio::test]
async fn a_replay_writes_much_in_parts_and_goes_on_after_each() {
    let mut fixture = Fixture::new(FlushMode::Fsync);
    fixture.table = table(&[("a", TypeKind::Int, ""), ("b", TypeKind::String, "")], 1);
    let kv = fixture.open();
    let put = kv.check(large(&fixture), &[], MergeMode::Engine).unwrap();
    kv.put(put, Until::Durable).answer().await.unwrap();
    let whole = kv.state().await.unwrap();
    assert_eq!(whole.row_count, Some(i64::from(KEYS - 1)));
    let rows = kv.first_rows(usize::MAX, usize::MAX).await.unwrap();
    power_off(kv);
    // From nothing: no write has much more than 4 MiB.
    *fixture.store.index.lock() = None;
    fixture.store.commits.bytes.lock().clear();
    let kv = fixture.open();
    assert_eq!(kv.state().await.unwrap(), whole);
    power_off(kv);
    let parts = fixture.store.commits.bytes.lock().clone();
    assert!(parts.len() > 4, "{parts:?}");
    let most = (4 << 20) + 2 * VALUE_BYTES;
    assert!(parts.iter().all(|bytes| *bytes < most), "{parts:?}");
    // After a crash between any two of them the rest is replayed, once.
    for kept in 0..parts.len() {
        *fixture.store.index.lock() = None;
        let kv = fixture.open();
        kv.state().await.unwrap();
        power_off(kv);
        let partly = {
            let index = fixture.store.index.lock();
            let index = index.as_ref().unwrap();
            assert_eq!(index.unflushed(), parts.len());
            index.crash(kept);
            index.state()
        };
        assert!(partly.applied < whole.applied, "{partly:?}");
        assert_eq!(partly.applied == Offset::ZERO, kept == 0);
        fixture.store.commits.bytes.lock().clear();
        let kv = fixture.open();
        assert_eq!(kv.state().await.unwrap(), whole, "after {partly:?}");
        let found = kv.first_rows(usize::MAX, usize::MAX).await.unwrap();
        assert!(found == rows, "after {partly:?}");
        assert_eq!(*fixture.store.commits.bytes.lock(), parts[kept..]);
        power_off(kv);
    }
}
