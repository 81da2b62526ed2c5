//! What each library shows for records whose offsets it is not told, and that their rows are there.

use vltava_compat_upserts::{Library, Table, offsets};

/// Records of a run, which fit one batch.
const COUNT: usize = 5;

/// Sends records, compares the offsets, and looks the rows up.
async fn shows(library: Library, expected: [i64; COUNT]) {
    let mut table = Table::create().await;
    assert_eq!(offsets(library, table.topic(), COUNT).await, expected);
    for id in 0..COUNT {
        let (id, n) = (i32::try_from(id).expect("few"), id as i64);
        assert_eq!(table.n(id).await, Some(n));
    }
    assert_eq!(table.n(COUNT as i32).await, None);
}

#[tokio::test]
async fn librdkafka_counts_up() {
    shows(Library::Rdkafka, [-1, 0, 1, 2, 3]).await;
}

#[tokio::test]
async fn franz_go_shows_none() {
    shows(Library::Franz, [-1; COUNT]).await;
}

#[tokio::test]
async fn sarama_counts_up() {
    shows(Library::Sarama, [-1, 0, 1, 2, 3]).await;
}

#[tokio::test]
async fn kafkajs_shows_none() {
    shows(Library::KafkaJs, [-1; COUNT]).await;
}

#[tokio::test]
async fn kafka_python_shows_none() {
    shows(Library::KafkaPython, [-1; COUNT]).await;
}

#[tokio::test]
async fn aiokafka_counts_up() {
    shows(Library::Aiokafka, [-1, 0, 1, 2, 3]).await;
}
