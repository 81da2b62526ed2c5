//! The records of format 1, one a line: key, version and CRC in hexadecimal, payload.
//!
//! Written once, by the first release. Later versions must open it; a version that writes
//! something else adds a file of its own.

use super::*;

const RECORDS: &str = include_str!("../fixtures/records-1.txt");
/// Written when tables learned to change their kind.
const KIND_RECORDS: &str = include_str!("../fixtures/records-1-kind.txt");

fn to_text(records: &[(String, Vec<u8>)]) -> String {
    let line = |(key, value): &(String, Vec<u8>)| {
        let header: String = value[..5].iter().map(|b| format!("{b:02x}")).collect();
        format!(
            "{key} {header} {}\n",
            std::str::from_utf8(&value[5..]).unwrap()
        )
    };
    records.iter().map(line).collect()
}

fn from_text(text: &str) -> MemoryStore {
    MemoryStore::new(text.lines().map(|line| {
        let mut parts = line.splitn(3, ' ');
        let (key, header, payload) = (
            parts.next().unwrap(),
            parts.next().unwrap(),
            parts.next().unwrap(),
        );
        let mut value: Vec<u8> = (0..header.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&header[i..i + 2], 16).unwrap())
            .collect();
        value.extend_from_slice(payload.as_bytes());
        (key.to_owned(), value)
    }))
}

#[allow(
    clippy::disallowed_methods,
    reason = "a fixture is written to the real disk"
)]
fn written(made: &Catalog, variable: &str) -> String {
    let text = to_text(&records(made));
    if let Some(path) = std::env::var_os(variable) {
        std::fs::write(path, &text).unwrap();
    }
    text
}

fn opened(text: &str) -> Catalog {
    let store = Box::new(from_text(text));
    Catalog::open(store, Simulation::new(7).env(), CatalogSettings::default()).unwrap()
}

#[test]
fn a_topic_that_was_compacted_opens_and_is_written_the_same() {
    let made = in_memory();
    let t = made.create_table(topic("t")).unwrap();
    made.alter_table(t.id, |_| Ok::<_, AlterTableError>(keyed()))
        .unwrap();
    let text = written(&made, "VLTAVA_WRITE_KIND_FIXTURE");
    assert!(contents(&opened(KIND_RECORDS).view()) == contents(&made.view()));
    assert!(text == KIND_RECORDS, "records are written differently");
}

#[test]
fn records_of_format_1_open_and_are_written_the_same() {
    let made = in_memory();
    fill(&made);
    let text = written(&made, "VLTAVA_WRITE_FIXTURE");
    let opened = opened(RECORDS);
    assert!(contents(&opened.view()) == contents(&made.view()));
    assert_eq!(opened.cluster_id(), made.cluster_id());
    assert_eq!(opened.broker_epoch().value(), 1);
    assert_eq!(opened.commit_time_floor_ms(), 1_700_000_123_456);
    assert_eq!(opened.next_producer_id().unwrap(), PRODUCER_ID_BLOCK);
    assert!(text == RECORDS, "records are written differently");
}

#[test]
fn a_data_directory_of_another_version_is_refused() {
    let meta = MetaRecord {
        data_format: 2,
        cluster_id: "x".to_owned(),
    };
    let error = open_records(vec![record::put("meta".to_owned(), &meta)])
        .err()
        .unwrap();
    assert!(matches!(
        error,
        OpenCatalogError::DataFormat {
            found: 2,
            supported: 1
        }
    ));
}

#[test]
fn damaged_and_contradicting_records_are_told_with_their_key() {
    let catalog = in_memory();
    let a = catalog.create_table(topic("a")).unwrap();
    let meta = MetaRecord {
        data_format: 1,
        cluster_id: "x".to_owned(),
    };
    let mut records = vec![
        record::put("meta".to_owned(), &meta),
        record::put(
            "database/kafka".to_owned(),
            &DatabaseRecord::from(&**catalog.view().database("kafka").unwrap()),
        ),
        counters::change(Counter::TableId, 50),
        record::put("table/1".to_owned(), &TableRecord::from(&*a)),
    ];
    assert!(open_records(records.clone()).is_ok());
    let missing = open_records(records[1..].to_vec()).err().unwrap();
    assert!(matches!(missing, OpenCatalogError::Corrupt { key, .. } if key == "meta"));
    let other = Table {
        id: TableId::new(2),
        ..Table::clone(&a)
    };
    let same_number = Table {
        path: TablePath::new("kafka", "b"),
        topic: Some(TopicName {
            name: "b".to_owned(),
            id: uuid::Uuid::from_u128(1),
        }),
        ..other.clone()
    };
    records.push(record::put(
        "table/2".to_owned(),
        &TableRecord::from(&same_number),
    ));
    let twice = open_records(records.clone()).err().unwrap();
    assert!(matches!(twice, OpenCatalogError::Corrupt { reason, .. } if reason.contains("number")));
    records.pop();
    records.push(record::put(
        "table/2".to_owned(),
        &TableRecord::from(&other),
    ));
    let twice = open_records(records.clone()).err().unwrap();
    assert!(matches!(twice, OpenCatalogError::Corrupt { key, .. } if key == "table/2"));
    let RecordChange::Put { value, .. } = &mut records[3] else {
        panic!("a put")
    };
    value[20] ^= 1;
    let damaged = open_records(records).err().unwrap();
    assert!(matches!(damaged, OpenCatalogError::Corrupt { key, .. } if key == "table/1"));
}

fn open_records(changes: Vec<RecordChange>) -> Result<Catalog, OpenCatalogError> {
    let store = MemoryStore::default();
    store.commit(&changes).unwrap();
    Catalog::open(
        Box::new(store),
        Simulation::new(1).env(),
        CatalogSettings::default(),
    )
}
