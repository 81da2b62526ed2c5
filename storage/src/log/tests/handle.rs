#![allow(
    clippy::await_holding_lock,
    reason = "a test holds the log still while it looks at what waits"
)]

use std::time::Duration;

use super::super::{
    AppendTicket, DataSignal, FlushMode, LogHandle, LogThreads, OfflineCause, Until,
};
use super::*;

const QUEUE_BYTES_MAX: usize = 10_000;

fn open_handle(simulation: &Simulation, config: LogConfig) -> LogHandle {
    LogHandle::open(
        context(simulation),
        LogThreads::start(2, 2, QUEUE_BYTES_MAX).unwrap(),
        tablet_id(),
        PathBuf::from(DIRECTORY),
        config,
        LeaderEpoch::new(1),
    )
    .unwrap()
}

async fn answer(ticket: AppendTicket) -> Result<Appended, AppendError> {
    let waiting = tokio::time::timeout(Duration::from_secs(20), ticket);
    waiting.await.expect("an answer in time").unwrap()
}

#[tokio::test]
async fn appends_of_one_caller_keep_their_order() {
    let simulation = Simulation::new(1);
    let log = open_handle(&simulation, config());
    let tickets: Vec<_> = (0..50)
        .map(|n| log.append(append_of([batch(n, 50, 1)]), Until::Durable))
        .collect();
    for (offset, ticket) in (0..).zip(tickets) {
        assert_eq!(
            answer(ticket).await.unwrap().base_offset,
            Offset::new(offset)
        );
    }
    assert_eq!(log.log().watermarks().high_watermark, Offset::new(50));
}

#[tokio::test]
async fn appends_that_arrive_during_a_sync_share_the_next_one() {
    let simulation = Simulation::new(1);
    let log = open_handle(&simulation, config());
    answer(log.append(append_of([batch(0, 10, 1)]), Until::Durable))
        .await
        .unwrap();
    let before = simulation.disk.counters().file_syncs;
    let turn = log.log().syncing.lock();
    let durable: Vec<_> = (1..=60)
        .map(|n| log.append(append_of([batch(n, 50, 1)]), Until::Durable))
        .collect();
    let last = log.append(append_of([batch(61, 50, 1)]), Until::Appended);
    assert_eq!(answer(last).await.unwrap().base_offset, Offset::new(61));
    assert_eq!(log.log().watermarks().high_watermark, Offset::new(1));
    drop(turn);
    for ticket in durable {
        answer(ticket).await.unwrap();
    }
    let syncs = simulation.disk.counters().file_syncs - before;
    assert!(syncs <= 2, "{syncs} syncs for 61 appends");
}

#[tokio::test]
async fn an_append_is_durable_only_when_the_high_watermark_passed_it() {
    let simulation = Simulation::new(1);
    let log = open_handle(&simulation, config());
    let turn = log.log().syncing.lock();
    let mut durable = log.append(append_of([batch(1, 10, 2)]), Until::Durable);
    let written = log.append(append_of([batch(2, 10, 1)]), Until::Appended);
    assert_eq!(answer(written).await.unwrap().base_offset, Offset::new(2));
    assert!(durable.try_recv().is_err(), "written, but not synced");
    drop(turn);
    assert_eq!(answer(durable).await.unwrap().last_offset, Offset::new(1));
}

#[tokio::test]
async fn a_fetch_wakes_when_there_is_something_to_see() {
    let simulation = Simulation::new(1);
    let log = open_handle(&simulation, config());
    let signal = DataSignal::new();
    log.wait_for_data(&signal);
    let turn = log.log().syncing.lock();
    let written = log.append(append_of([batch(1, 10, 1)]), Until::Appended);
    answer(written).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(30), signal.fired());
    assert!(early.await.is_err(), "written, but not visible");
    drop(turn);
    tokio::time::timeout(Duration::from_secs(20), signal.fired())
        .await
        .unwrap();
    assert!(log.log().has_data_from(Offset::ZERO));
}

#[tokio::test]
async fn a_full_queue_refuses_and_takes_a_large_append_when_it_is_empty() {
    let simulation = Simulation::new(1);
    let log = open_handle(&simulation, config());
    let large = log.append(
        append_of([batch(1, 3 * QUEUE_BYTES_MAX, 1)]),
        Until::Appended,
    );
    answer(large).await.unwrap();
    let tail = log.log().tail.lock();
    // The lane takes the first one and waits for the tail; the others queue.
    let mut tickets = vec![log.append(append_of([batch(2, 100, 1)]), Until::Appended)];
    tokio::time::sleep(Duration::from_millis(50)).await;
    for _ in 0..4 {
        tickets.push(log.append(append_of([batch(3, 3_000, 1)]), Until::Appended));
    }
    drop(tail);
    let mut answers = Vec::new();
    for ticket in tickets {
        answers.push(answer(ticket).await);
    }
    assert!(matches!(answers[4], Err(AppendError::QueueFull)));
    assert!(answers[..4].iter().all(Result::is_ok));
    let again = log.append(append_of([batch(4, 100, 1)]), Until::Appended);
    assert_eq!(answer(again).await.unwrap().base_offset, Offset::new(5));
}

#[tokio::test]
async fn a_failed_sync_answers_everybody_who_waits() {
    let simulation = Simulation::new(1);
    let log = open_handle(&simulation, config());
    let signal = DataSignal::new();
    log.wait_for_data(&signal);
    simulation.disk.fail_sync_after(0);
    let durable = log.append(append_of([batch(1, 10, 1)]), Until::Durable);
    let refused = answer(durable).await;
    assert!(matches!(
        refused,
        Err(AppendError::Offline(OfflineCause::SyncFailed { .. }))
    ));
    tokio::time::timeout(Duration::from_secs(20), signal.fired())
        .await
        .unwrap();
    assert_eq!(log.log().watermarks().high_watermark, Offset::ZERO);
}

#[tokio::test]
async fn in_page_cache_mode_syncs_happen_behind_the_answers() {
    let simulation = Simulation::new(1);
    let config = LogConfig {
        flush_mode: FlushMode::PageCache,
        checkpoint_bytes: 2_000,
        ..config()
    };
    let log = open_handle(&simulation, config);
    let before = simulation.disk.counters().file_syncs;
    let turn = log.log().syncing.lock();
    for n in 0..10 {
        let ticket = log.append(append_of([batch(n, 500, 1)]), Until::Durable);
        answer(ticket).await.unwrap();
    }
    assert_eq!(simulation.disk.counters().file_syncs, before);
    drop(turn);
    let synced = async {
        while log.log().watermarks().synced_end < Offset::new(10) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), synced)
        .await
        .unwrap();
}

#[tokio::test]
async fn appends_wait_for_a_checkpoint_when_recovery_would_have_to_read_too_much() {
    let simulation = Simulation::new(1);
    let config = LogConfig {
        flush_mode: FlushMode::PageCache,
        ..config()
    };
    let log = open_handle(&simulation, config);
    log.log().debt.add(5 << 30);
    let ticket = log.append(append_of([batch(1, 500, 1)]), Until::Appended);
    answer(ticket).await.unwrap();
    let behind = log.log().bytes_behind();
    assert!(
        (1..1_000).contains(&behind),
        "the checkpoint came first: {behind}"
    );
}

#[tokio::test]
async fn the_head_of_a_frame_is_found_without_its_batch() {
    let simulation = Simulation::new(1);
    let log = open_handle(&simulation, config());
    for size in [100, 800_000, 100] {
        let ticket = log.append(append_of([batch(1, size, 2)]), Until::Durable);
        answer(ticket).await.unwrap();
    }
    let before = simulation.disk.counters().read_bytes;
    let head = log
        .head(Offset::new(3), Offset::new(6))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(head.base_offset, Offset::new(2));
    assert!(simulation.disk.counters().read_bytes - before < 10_000);
    assert!(
        log.head(Offset::new(3), Offset::new(3))
            .await
            .unwrap()
            .is_none()
    );
}
