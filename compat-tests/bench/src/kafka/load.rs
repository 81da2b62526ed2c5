//! Loads of pre-encoded batches: the broker is their limit, not the client.

use super::batch::{Batch, contents};
use super::wire::{self, Connection, Frame};
use crate::error::Outcome;
use crate::latency::Latencies;
use std::collections::VecDeque;
use std::thread;
use std::time::{Duration, Instant};

/// What a load did.
#[derive(Debug, Default)]
pub struct Done {
    pub time: Duration,
    pub value_bytes: usize,
    pub records: usize,
    pub batches: usize,
    pub latencies: Latencies,
}

impl Done {
    fn merge(&mut self, other: Self) {
        self.value_bytes += other.value_bytes;
        self.records += other.records;
        self.batches += other.batches;
        self.latencies.merge(other.latencies);
    }
}

/// Requests under way on one connection, as Kafka's producers have it.
const IN_FLIGHT: usize = 5;

/// Produces `value_bytes` over `connections`. Each request carries one batch for every partition.
pub fn produce(
    address: &str,
    topic: &str,
    partitions: usize,
    batches: &[Batch],
    connections: usize,
    value_bytes: usize,
) -> Outcome<Done> {
    let frames = frames(topic, partitions, batches);
    let per_request: usize =
        batches.iter().map(|batch| batch.value_bytes).sum::<usize>() * partitions / batches.len();
    let requests = (value_bytes / connections).div_ceil(per_request).max(1);
    run(connections, |_| {
        let mut frames = frames.clone();
        let mut connection = Connection::open(address)?;
        let mut sent_at = VecDeque::with_capacity(IN_FLIGHT);
        let mut latencies = Latencies::default();
        for index in 0..requests {
            if sent_at.len() == IN_FLIGHT {
                acknowledged(&mut connection, &mut sent_at, &mut latencies)?;
            }
            let turn = index % frames.len();
            sent_at.push_back(Instant::now());
            connection.send(&mut frames[turn])?;
        }
        while !sent_at.is_empty() {
            acknowledged(&mut connection, &mut sent_at, &mut latencies)?;
        }
        let of_turns = |value: fn(&Batch) -> usize| {
            (0..requests)
                .map(|index| value(&batches[index % batches.len()]) * partitions)
                .sum()
        };
        Ok(Done {
            value_bytes: of_turns(|batch| batch.value_bytes),
            records: of_turns(|batch| batch.records),
            batches: requests * partitions,
            latencies,
            ..Done::default()
        })
    })
}

fn acknowledged(
    connection: &mut Connection,
    sent_at: &mut VecDeque<Instant>,
    latencies: &mut Latencies,
) -> Outcome<()> {
    wire::check_produced(connection.receive()?)?;
    if let Some(sent) = sent_at.pop_front() {
        latencies.note(sent.elapsed());
    }
    Ok(())
}

fn frames(topic: &str, partitions: usize, batches: &[Batch]) -> Vec<Frame> {
    let frame = |batch: &Batch| {
        let parts: Vec<_> = (0..partitions)
            .map(|partition| (partition as i32, batch.bytes.as_slice()))
            .collect();
        wire::produce(topic, &parts)
    };
    batches.iter().map(frame).collect()
}

/// Many producers that wait for each record: `producers` connections with one record of one partition under way each.
/// One thread serves sixteen of them, so that the client's threads are not what is measured.
pub fn produce_singly(
    address: &str,
    topic: &str,
    partitions: usize,
    batch: &Batch,
    producers: usize,
    records: usize,
) -> Outcome<Done> {
    const PER_THREAD: usize = 16;
    let threads = producers.div_ceil(PER_THREAD);
    let rounds = records.div_ceil(producers).max(1);
    run(threads, |thread| {
        let mut ring = Vec::new();
        for index in 0..PER_THREAD.min(producers - thread * PER_THREAD) {
            let partition = ((thread * PER_THREAD + index) % partitions) as i32;
            let frame = wire::produce(topic, &[(partition, &batch.bytes)]);
            ring.push((Connection::open(address)?, frame, Instant::now()));
        }
        let mut done = Done::default();
        for round in 0..=rounds {
            for (connection, frame, sent) in &mut ring {
                if round > 0 {
                    wire::check_produced(connection.receive()?)?;
                    done.latencies.note(sent.elapsed());
                    done.value_bytes += batch.value_bytes;
                    done.records += batch.records;
                    done.batches += 1;
                }
                if round < rounds {
                    *sent = Instant::now();
                    connection.send(frame)?;
                }
            }
        }
        Ok(done)
    })
}

/// `consumers` readers, each of the whole topic, each with one fetch under way.
pub fn consume(
    address: &str,
    topic: &str,
    partitions: usize,
    value_size: usize,
    consumers: usize,
    records: usize,
) -> Outcome<Done> {
    run(consumers, |_| {
        let mut connection = Connection::open(address)?;
        let mut positions: Vec<(i32, i64)> = (0..partitions)
            .map(|partition| (partition as i32, 0))
            .collect();
        let mut done = Done::default();
        let began = Instant::now();
        while done.records < records {
            let asked = Instant::now();
            let mut request = wire::fetch(topic, &positions);
            wire::fetched(connection.ask(&mut request)?, |partition, batches| {
                let found = contents(batches);
                done.records += found.records;
                if let (Some(next), Some(position)) =
                    (found.next_offset, positions.get_mut(partition as usize))
                {
                    position.1 = next;
                }
            })?;
            done.latencies.note(asked.elapsed());
            if began.elapsed() > Duration::from_secs(120) {
                return Err(format!("{} of {records} records came", done.records).into());
            }
        }
        // A broker may answer fewer partitions when the answer is full: the next request begins behind them.
        done.value_bytes = done.records * value_size;
        Ok(done)
    })
}

/// One record at a time: from before it is produced to when a waiting consumer has it.
pub fn ping_pong(address: &str, topic: &str, batch: &Batch, rounds: usize) -> Outcome<Done> {
    let mut producer = Connection::open(address)?;
    let mut consumer = Connection::open(address)?;
    let mut record = wire::produce(topic, &[(0, &batch.bytes)]);
    let mut done = Done::default();
    let mut position = 0;
    let began = Instant::now();
    for _ in 0..rounds {
        consumer.send(&mut wire::fetch(topic, &[(0, position)]))?;
        // The fetch should wait at the broker before the record comes, as a consumer that is up to date does.
        thread::sleep(Duration::from_micros(50));
        let sent = Instant::now();
        producer.send(&mut record)?;
        let target = position + 1;
        loop {
            wire::fetched(consumer.receive()?, |_, batches| {
                position = contents(batches).next_offset.unwrap_or(position);
            })?;
            if position >= target {
                break;
            }
            consumer.send(&mut wire::fetch(topic, &[(0, position)]))?;
        }
        done.latencies.note(sent.elapsed());
        wire::check_produced(producer.receive()?)?;
        done.records += 1;
    }
    done.value_bytes = done.records * batch.value_bytes;
    done.batches = done.records;
    done.time = began.elapsed();
    Ok(done)
}

/// Runs `work` on threads and adds up what they did; the time is that of all together.
fn run(threads: usize, work: impl Fn(usize) -> Outcome<Done> + Sync) -> Outcome<Done> {
    let began = Instant::now();
    let mut done = Done::default();
    let work = &work;
    thread::scope(|scope| -> Outcome<()> {
        let running: Vec<_> = (0..threads)
            .map(|index| scope.spawn(move || work(index)))
            .collect();
        for thread in running {
            done.merge(thread.join().map_err(|_| "a client thread panicked")??);
        }
        Ok(())
    })?;
    done.time = began.elapsed();
    Ok(done)
}
