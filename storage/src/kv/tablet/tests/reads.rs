use protocol::fluss::value::read_value_batch;

use super::*;

fn plain_values(batch: &[u8]) -> Vec<Bytes> {
    let plain = |value: &Value<'_>| {
        let mut out = Vec::new();
        value.write(&mut out);
        Bytes::from(out)
    };
    read_value_batch(batch).unwrap().iter().map(plain).collect()
}

#[tokio::test]
async fn rows_come_in_the_order_of_their_keys_within_bounds() {
    let mut fixture = Fixture::new(FlushMode::PageCache);
    let kv = fixture.open();
    let rows: Vec<_> = (0..20).rev().map(|n| (n, Some(n))).collect();
    fixture.put(&kv, None, &rows).answer().await.unwrap();
    let first = async |rows_max| {
        let found = kv.first_rows(rows_max, usize::MAX, Err).await.unwrap();
        plain_values(&found.unwrap())
    };
    let all = first(usize::MAX).await;
    assert_eq!(all.len(), 20);
    assert_eq!(first(3).await, all[..3]);
    assert!(first(0).await.is_empty());
    let keys: Vec<_> = (0..20).map(|n| Bytes::from(encoded(n))).collect();
    let whole: usize = all.iter().map(Bytes::len).sum();
    let found = kv.lookup(keys.clone(), whole).await.unwrap();
    assert_eq!(found.into_iter().flatten().collect::<Vec<_>>(), all);
    let large = kv.lookup(keys, whole - 1).await;
    assert!(matches!(large, Err(KvError::AnswerTooLarge { .. })));
    let prefixes = vec![Bytes::from(encoded(4)), Bytes::from(encoded(99))];
    let found = kv.prefix_lookup(prefixes.clone(), 1 << 20).await.unwrap();
    assert_eq!(found, [vec![all[4].clone()], Vec::new()]);
    let large = kv.prefix_lookup(prefixes, 3).await;
    assert!(matches!(large, Err(KvError::AnswerTooLarge { max: 3 })));
}
