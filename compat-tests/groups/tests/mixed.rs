//! Three members of three libraries in one group: one is killed, one is frozen and wakes again.

use harness::{addresses, names, wait};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::TopicPartitionList;
use std::path::Path;
use std::time::Duration;
use vltava_compat_groups::{Account, Library, Member};

const PARTITIONS: i32 = 6;
/// Session timeout of the members, rebalances, and a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);

fn config() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", addresses::kafka());
    config
}

fn topic() -> String {
    let name = names::unique("mixed");
    let admin: AdminClient<DefaultClientContext> = config().create().expect("an admin client");
    let wanted = NewTopic::new(&name, PARTITIONS, TopicReplication::Fixed(1));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let results = runtime
        .block_on(admin.create_topics([&wanted], &AdminOptions::new()))
        .expect("an answer");
    assert_eq!(results, [Ok(name.clone())]);
    // Apache Kafka answers the creation before the partitions have leaders.
    let reader: BaseConsumer = config().create().expect("a consumer");
    for partition in 0..PARTITIONS {
        let answers = wait::until(LIMIT, || {
            reader.fetch_watermarks(&name, partition, LIMIT).ok()
        });
        assert!(answers.is_some(), "{name}-{partition} has no leader");
    }
    name
}

/// Writes the same number of records to every partition.
struct Writer {
    producer: BaseProducer,
    topic: String,
    written: i64,
}

impl Writer {
    fn write(&mut self, each: i64) {
        for _ in 0..each {
            for partition in 0..PARTITIONS {
                let record = BaseRecord::<str, str>::to(&self.topic)
                    .partition(partition)
                    .payload("value");
                self.producer.send(record).expect("queued");
            }
            self.written += 1;
        }
        self.producer.flush(LIMIT).expect("written");
    }

    /// Writes a little at a time until the condition holds.
    fn write_until(&mut self, what: &str, mut condition: impl FnMut() -> bool) {
        let held = wait::until(LIMIT, || {
            self.write(5);
            condition().then_some(())
        });
        assert!(held.is_some(), "{what}: not within {LIMIT:?}");
    }
}

/// The group's committed offset of every partition.
fn committed(group: &str, topic: &str) -> Vec<i64> {
    let consumer: BaseConsumer = config()
        .set("group.id", group)
        .create()
        .expect("a consumer");
    let mut list = TopicPartitionList::new();
    list.add_partition_range(topic, 0, PARTITIONS - 1);
    let answer = consumer.committed_offsets(list, LIMIT).expect("an answer");
    answer
        .elements()
        .iter()
        .map(|element| element.offset().to_raw().unwrap_or(-1))
        .collect()
}

#[test]
fn members_of_three_libraries_lose_nothing_and_consume_nothing_twice() {
    let (topic, group) = (topic(), names::unique("group"));
    let start = |library| {
        let program = Path::new(env!("CARGO_BIN_EXE_member"));
        Member::start(library, program, &group, &topic).expect("a member")
    };
    let mut writer = Writer {
        producer: config().create().expect("a producer"),
        topic: topic.clone(),
        written: 0,
    };
    let mut killed = start(Library::Rdkafka);
    let frozen = start(Library::Franz);
    let steady = start(Library::Aiokafka);
    writer.write_until("all three take part", || {
        [&killed, &frozen, &steady]
            .iter()
            .all(|member| member.commits() >= 3)
    });

    killed.process.kill();
    frozen.process.freeze();
    // Neither of the others can answer: once their sessions are over, the third has all partitions.
    let mark = writer.written;
    writer.write_until("the third member takes over everything", || {
        committed(&group, &topic)
            .into_iter()
            .all(|offset| offset > mark)
    });

    let answered = frozen.commits();
    frozen.process.thaw();
    writer.write_until("the frozen member takes part again", || {
        frozen.commits() > answered + 3
    });
    let late = start(Library::Rdkafka);
    writer.write_until("a new member takes part", || late.commits() >= 3);
    let end = writer.written;
    let caught_up = wait::until(LIMIT, || {
        (committed(&group, &topic) == vec![end; PARTITIONS as usize]).then_some(())
    });
    assert!(
        caught_up.is_some(),
        "committed {:?} of {end}",
        committed(&group, &topic)
    );

    let mut account = Account::default();
    let mut unanswered = Vec::new();
    for (name, member) in [
        ("killed", killed),
        ("frozen", frozen),
        ("steady", steady),
        ("late", late),
    ] {
        let (committed, pending) = member.end();
        for range in committed {
            account.enter(name, range);
        }
        unanswered.extend(pending);
    }
    // A commit whose answer never reached its member counts when nobody else consumed those records.
    for range in unanswered {
        if account.is_free(range) {
            account.enter("unanswered", range);
        }
    }
    for partition in 0..PARTITIONS {
        assert_eq!(
            account.missing(partition, end),
            [],
            "partition {partition}: lost"
        );
    }
    for name in ["killed", "frozen", "steady", "late"] {
        assert!(account.count(name) > 0, "{name} took no part");
    }
}
