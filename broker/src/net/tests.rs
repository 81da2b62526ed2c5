//! Connections over real sockets, with a small wire whose frames say what to do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::*;

/// Frames of this wire: a command byte, then anything. Answers echo the frame behind a length.
struct EchoWire {
    /// Each `w` request takes a permit before it answers.
    gate: Arc<Semaphore>,
    /// `t` requests whose turn has come.
    turns: Arc<AtomicUsize>,
}

impl Wire for EchoWire {
    type ConnectionState = u64;

    fn name(&self) -> &'static str {
        "echo"
    }

    fn connected(&self, _peer: &Peer) -> u64 {
        0
    }

    async fn start(&self, started: &mut u64, frame: Bytes) -> Started {
        *started += 1;
        let echo = echo(&frame);
        match frame.first() {
            Some(b'w') => Started::later(Order::InOrder, waiting(Arc::clone(&self.gate), echo)),
            Some(b't') => {
                let turns = Arc::clone(&self.turns);
                Started::later(Order::InTurn, async move {
                    turns.fetch_add(1, Ordering::Relaxed);
                    echo
                })
            }
            Some(b'a') => Started::later(Order::AnyOrder, waiting(Arc::clone(&self.gate), echo)),
            Some(b'n') => Started::now(Order::InOrder, Answer::Nothing),
            Some(b'h') => {
                let Answer::Chunks(chunks) = echo else {
                    unreachable!("an echo is chunks");
                };
                Started::now(Order::InOrder, Answer::Held(chunks, Hold::new(Wanted)))
            }
            Some(b'c') => Started::now(Order::InOrder, Answer::Close("asked to")),
            Some(b'p') => Started::later(Order::InOrder, async { panic!("on purpose, answering") }),
            Some(b'P') => panic!("on purpose, starting"),
            Some(b's') => {
                tokio::time::sleep(Duration::from_millis(5)).await;
                Started::now(Order::InOrder, echo)
            }
            Some(b'k') => Started::now(Order::InOrder, number(*started)),
            Some(b'f') => Started::now(Order::AnyOrder, echo),
            _ => Started::now(Order::InOrder, echo),
        }
    }

    fn answer_to_panic(&self, head: &[u8]) -> Answer {
        let mut text = b"panic:".to_vec();
        text.extend_from_slice(&head[..head.len().min(1)]);
        echo(&Bytes::from(text))
    }
}

/// Others wait for it.
struct Wanted;

impl Held for Wanted {
    fn is_wanted(&self) -> bool {
        true
    }
}

async fn waiting(gate: Arc<Semaphore>, answer: Answer) -> Answer {
    gate.acquire().await.expect("never closed").forget();
    answer
}

fn echo(frame: &Bytes) -> Answer {
    let prefix = u32::try_from(frame.len()).expect("small").to_be_bytes();
    Answer::Chunks(vec![Bytes::copy_from_slice(&prefix), frame.clone()])
}

fn number(value: u64) -> Answer {
    echo(&Bytes::copy_from_slice(&value.to_be_bytes()))
}

struct Running {
    network: Arc<Network>,
    address: SocketAddr,
    gate: Arc<Semaphore>,
    turns: Arc<AtomicUsize>,
}

async fn serve(limits: NetworkLimits) -> Running {
    let listener = Listener::bind("TEST", "127.0.0.1:0", &limits)
        .await
        .expect("a free port");
    let address = listener.local_address();
    let network = Network::new(limits);
    let gate = Arc::new(Semaphore::new(0));
    let turns = Arc::new(AtomicUsize::new(0));
    let wire = Arc::new(EchoWire {
        gate: Arc::clone(&gate),
        turns: Arc::clone(&turns),
    });
    listener.serve(&network, wire, NetworkMeters::none());
    Running {
        network,
        address,
        gate,
        turns,
    }
}

async fn connect(running: &Running) -> TcpStream {
    TcpStream::connect(running.address)
        .await
        .expect("the listener accepts")
}

fn frame(bytes: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(bytes.len())
        .expect("small")
        .to_be_bytes()
        .to_vec();
    frame.extend_from_slice(bytes);
    frame
}

async fn send(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(&frame(bytes)).await.expect("sent");
}

/// The next answer, or `None` when the broker has closed the connection.
async fn receive(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let length = stream.read_u32().await.ok()?;
    let mut answer = vec![0; length as usize];
    stream.read_exact(&mut answer).await.ok()?;
    Some(answer)
}

async fn answers(stream: &mut TcpStream, frames: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for frame in frames {
        send(stream, frame).await;
    }
    for _ in frames {
        all.push(receive(stream).await.expect("an answer"));
    }
    all
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let running = serve(NetworkLimits::default()).await;
    let mut stream = connect(&running).await;
    let got = answers(&mut stream, &[b"1", b"slow", b"", b"2"]).await;
    assert_eq!(
        got,
        [b"1".to_vec(), b"slow".to_vec(), b"".to_vec(), b"2".to_vec()]
    );
}

#[tokio::test]
async fn the_state_of_a_connection_lives_on_between_requests() {
    let running = serve(NetworkLimits::default()).await;
    let mut stream = connect(&running).await;
    let got = answers(&mut stream, &[b"k", b"k", b"k"]).await;
    assert_eq!(got, [1u64, 2, 3].map(|count| count.to_be_bytes().to_vec()));
}

#[tokio::test]
async fn an_answer_in_order_waits_for_the_one_before_it() {
    let running = serve(NetworkLimits::default()).await;
    let mut stream = connect(&running).await;
    send(&mut stream, b"wait").await;
    send(&mut stream, b"2").await;
    let early = tokio::time::timeout(Duration::from_millis(50), stream.readable()).await;
    assert!(early.is_err(), "nothing may leave before the first answer");
    running.gate.add_permits(1);
    assert_eq!(receive(&mut stream).await.as_deref(), Some(&b"wait"[..]));
    assert_eq!(receive(&mut stream).await.as_deref(), Some(&b"2"[..]));
}

#[tokio::test]
async fn an_answer_in_turn_is_not_begun_before_those_in_front_of_it_have_left() {
    let running = serve(NetworkLimits::default()).await;
    let mut stream = connect(&running).await;
    for command in [b"w1", b"t2", b"x3", b"t4", b"w5", b"f6"] {
        send(&mut stream, command).await;
    }
    // The last one was started and has overtaken: so all were started.
    assert_eq!(receive(&mut stream).await.as_deref(), Some(&b"f6"[..]));
    assert_eq!(running.turns.load(Ordering::Relaxed), 0);
    running.gate.add_permits(2);
    for command in [b"w1", b"t2", b"x3", b"t4", b"w5"] {
        assert_eq!(receive(&mut stream).await.as_deref(), Some(&command[..]));
    }
    assert_eq!(running.turns.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn an_answer_in_any_order_overtakes() {
    let running = serve(NetworkLimits::default()).await;
    let mut stream = connect(&running).await;
    send(&mut stream, b"any").await;
    send(&mut stream, b"wait").await;
    send(&mut stream, b"fast").await;
    assert_eq!(receive(&mut stream).await.as_deref(), Some(&b"fast"[..]));
    running.gate.add_permits(2);
    let mut rest = [receive(&mut stream).await, receive(&mut stream).await];
    rest.sort();
    assert_eq!(rest, [Some(b"any".to_vec()), Some(b"wait".to_vec())]);
}

#[tokio::test]
async fn a_request_without_an_answer_does_not_hold_up_the_next() {
    let running = serve(NetworkLimits::default()).await;
    let mut stream = connect(&running).await;
    send(&mut stream, b"nothing").await;
    send(&mut stream, b"2").await;
    assert_eq!(receive(&mut stream).await.as_deref(), Some(&b"2"[..]));
}

#[tokio::test]
async fn a_close_lets_earlier_answers_out() {
    let running = serve(NetworkLimits::default()).await;
    let mut stream = connect(&running).await;
    stream
        .write_all(&[frame(b"1"), frame(b"close"), frame(b"2")].concat())
        .await
        .expect("sent");
    assert_eq!(receive(&mut stream).await.as_deref(), Some(&b"1"[..]));
    assert_eq!(receive(&mut stream).await, None);
}

#[tokio::test]
async fn a_panic_while_answering_is_answered_and_the_connection_goes_on() {
    let running = serve(NetworkLimits::default()).await;
    let mut stream = connect(&running).await;
    let got = answers(&mut stream, &[b"p", b"1"]).await;
    assert_eq!(got, [b"panic:p".to_vec(), b"1".to_vec()]);
}

#[tokio::test]
async fn a_panic_while_starting_is_answered_and_closes_only_its_own_connection() {
    let running = serve(NetworkLimits::default()).await;
    let mut other = connect(&running).await;
    let mut stream = connect(&running).await;
    send(&mut stream, b"P").await;
    assert_eq!(receive(&mut stream).await.as_deref(), Some(&b"panic:P"[..]));
    assert_eq!(receive(&mut stream).await, None);
    assert_eq!(answers(&mut other, &[b"1"]).await, [b"1".to_vec()]);
}

#[tokio::test]
async fn large_frames_arrive_whole() {
    let running = serve(NetworkLimits::default()).await;
    let mut stream = connect(&running).await;
    for length in [
        16_383,
        16_384,
        65_531,
        65_532,
        65_533,
        65_536,
        131_072,
        1 << 20,
        5_000_001,
    ] {
        let sent: Vec<u8> = (0..length).map(|i: u32| (i % 251) as u8).collect();
        let (mut read, mut write) = stream.split();
        let whole = frame(&sent);
        let ((), got) = tokio::join!(
            async { write.write_all(&whole).await.expect("sent") },
            async {
                let length = read.read_u32().await.expect("an answer");
                let mut answer = vec![0; length as usize];
                read.read_exact(&mut answer).await.expect("all of it");
                answer
            }
        );
        assert!(got == sent, "a frame of {length} bytes came back changed");
    }
    assert_eq!(running.network.memory().free_bytes(), 256 << 20);
}

#[tokio::test]
async fn frames_wait_for_the_budget_and_all_come_through() {
    let limits = NetworkLimits {
        request_memory_bytes: 100_000,
        ..NetworkLimits::default()
    };
    let running = serve(limits).await;
    let clients = (0..8u8).map(|i| {
        let address = running.address;
        tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await.expect("accepted");
            let sent = vec![i; 90_000 + usize::from(i) * 10_000];
            for _ in 0..5 {
                let (mut read, mut write) = stream.split();
                let whole = frame(&sent);
                let send = async { write.write_all(&whole).await.expect("sent") };
                let receive = async {
                    let length = read.read_u32().await.expect("an answer");
                    let mut answer = vec![0; length as usize];
                    read.read_exact(&mut answer).await.expect("all of it");
                    answer
                };
                let ((), got) = tokio::join!(send, receive);
                assert!(got == sent);
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.expect("no client failed");
    }
    assert_eq!(running.network.memory().free_bytes(), 100_000);
}

#[tokio::test]
async fn a_frame_over_the_limit_closes_the_connection_behind_earlier_answers() {
    let limits = NetworkLimits {
        frame_bytes_max: 1000,
        ..NetworkLimits::default()
    };
    let running = serve(limits).await;
    for length in [1001i32, i32::MAX, -1, i32::MIN] {
        let mut stream = connect(&running).await;
        let bytes = [frame(b"1"), length.to_be_bytes().to_vec()].concat();
        stream.write_all(&bytes).await.expect("sent");
        assert_eq!(receive(&mut stream).await.as_deref(), Some(&b"1"[..]));
        assert_eq!(receive(&mut stream).await, None, "length {length}");
    }
}

#[tokio::test]
async fn a_frame_that_never_completes_is_given_up() {
    let limits = NetworkLimits {
        frame_timeout: Duration::from_millis(60),
        ..NetworkLimits::default()
    };
    let running = serve(limits).await;
    for begun in [&[0u8, 0][..], &[0, 0, 0, 9, b'x'], &[6, 0, 0, 0, b'x']] {
        let mut stream = connect(&running).await;
        stream.write_all(begun).await.expect("sent");
        let ended = tokio::time::timeout(Duration::from_secs(5), receive(&mut stream)).await;
        assert_eq!(ended.expect("closed in time"), None);
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_waiting_one_is_not() {
    let limits = NetworkLimits {
        idle_max: Some(Duration::from_millis(80)),
        ..NetworkLimits::default()
    };
    let running = serve(limits).await;
    let mut idle = connect(&running).await;
    let mut waiting = connect(&running).await;
    send(&mut waiting, b"wait").await;
    let ended = tokio::time::timeout(Duration::from_secs(5), receive(&mut idle)).await;
    assert_eq!(ended.expect("closed in time"), None);
    running.gate.add_permits(1);
    assert_eq!(receive(&mut waiting).await.as_deref(), Some(&b"wait"[..]));
}

#[tokio::test]
async fn a_client_that_takes_no_answers_is_disconnected() {
    let limits = NetworkLimits {
        write_timeout: Duration::from_millis(100),
        send_buffer_bytes: Some(8192),
        ..NetworkLimits::default()
    };
    let running = serve(limits).await;
    let mut stream = connect(&running).await;
    let large = frame(&vec![b'x'; 1 << 20]);
    let mut sent = 0;
    let ended = tokio::time::timeout(Duration::from_secs(20), async {
        while stream.write_all(&large).await.is_ok() {
            sent += 1;
        }
    });
    ended.await.expect("disconnected in time");
    assert!(sent < 1000, "the broker took {sent} MiB without being read");
}

#[tokio::test]
async fn a_client_that_takes_no_answers_is_disconnected_sooner_when_others_want_the_memory() {
    let limits = NetworkLimits {
        frame_timeout: Duration::from_millis(100),
        write_timeout: Duration::from_secs(3600),
        write_timeout_wanted: Duration::from_millis(100),
        send_buffer_bytes: Some(8192),
        ..NetworkLimits::default()
    };
    let running = serve(limits).await;
    let mut stream = connect(&running).await;
    let large = frame(&vec![b'h'; 1 << 20]);
    let ended = tokio::time::timeout(Duration::from_secs(20), async {
        while stream.write_all(&large).await.is_ok() {}
    });
    ended.await.expect("disconnected in time");
}

#[tokio::test]
async fn only_so_many_requests_of_a_connection_are_started() {
    let limits = NetworkLimits {
        requests_per_connection_max: 3,
        ..NetworkLimits::default()
    };
    let running = serve(limits).await;
    let mut stream = connect(&running).await;
    for _ in 0..3 {
        send(&mut stream, b"any").await;
    }
    send(&mut stream, b"fast").await;
    let early = tokio::time::timeout(Duration::from_millis(50), stream.readable()).await;
    assert!(early.is_err(), "the fourth request is not yet started");
    running.gate.add_permits(3);
    let mut got = Vec::new();
    for _ in 0..4 {
        got.push(receive(&mut stream).await.expect("an answer"));
    }
    assert!(got.contains(&b"fast".to_vec()));
}

#[tokio::test]
async fn connections_over_a_limit_are_refused() {
    let limits = NetworkLimits {
        connections_per_ip_max: 2,
        ..NetworkLimits::default()
    };
    let running = serve(limits).await;
    let mut first = connect(&running).await;
    let mut second = connect(&running).await;
    assert_eq!(answers(&mut first, &[b"1"]).await.len(), 1);
    assert_eq!(answers(&mut second, &[b"1"]).await.len(), 1);
    let mut third = connect(&running).await;
    assert_eq!(receive(&mut third).await, None);
    drop(first);
    while running.network.connections() > 1 {
        tokio::task::yield_now().await;
    }
    let mut fourth = connect(&running).await;
    assert_eq!(answers(&mut fourth, &[b"1"]).await.len(), 1);
}

#[tokio::test]
async fn stopping_answers_what_was_begun() {
    let running = serve(NetworkLimits::default()).await;
    let mut idle = connect(&running).await;
    let mut stream = connect(&running).await;
    assert_eq!(answers(&mut stream, &[b"1"]).await.len(), 1);
    send(&mut stream, b"wait").await;
    while running.network.memory().free_bytes() == 256 << 20 {
        tokio::task::yield_now().await;
    }
    let network = Arc::clone(&running.network);
    let stop = tokio::spawn(async move { network.stop(Duration::from_secs(10)).await });
    assert_eq!(receive(&mut idle).await, None);
    running.gate.add_permits(1);
    assert_eq!(receive(&mut stream).await.as_deref(), Some(&b"wait"[..]));
    assert_eq!(receive(&mut stream).await, None);
    assert_eq!(stop.await.expect("no panic"), 0);
    assert!(
        TcpStream::connect(running.address).await.is_err(),
        "nobody listens any more"
    );
}

#[tokio::test]
async fn stopping_does_not_wait_for_ever() {
    let running = serve(NetworkLimits::default()).await;
    let mut stream = connect(&running).await;
    send(&mut stream, b"wait").await;
    while running.network.memory().free_bytes() == 256 << 20 {
        tokio::task::yield_now().await;
    }
    assert_eq!(running.network.stop(Duration::from_millis(20)).await, 1);
    assert_eq!(receive(&mut stream).await, None);
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let limits = NetworkLimits::default();
    let first = Listener::bind("TEST", "127.0.0.1:0", &limits)
        .await
        .expect("a free port");
    let address = first.local_address().to_string();
    let second = Listener::bind("TEST", &address, &limits).await;
    let Err(error @ BindError::InUse { .. }) = second else {
        panic!("bound twice")
    };
    assert_eq!(
        error.to_string(),
        format!("{address} is in use by another process")
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn frames_survive_any_split(
        frames in prop::collection::vec((0usize..40_000, any::<u8>()), 1..12),
        cuts in prop::collection::vec(1usize..30_000, 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()
            .expect("a runtime");
        runtime.block_on(async {
            let running = serve(NetworkLimits::default()).await;
            let mut stream = connect(&running).await;
            stream.set_nodelay(true).expect("a socket option");
            let mut bytes = BytesMut::new();
            for (length, fill) in &frames {
                // Digits only: the test wire has no command for them.
                bytes.put_u32(u32::try_from(*length).expect("small"));
                bytes.put_bytes(b'0' + fill % 10, *length);
            }
            let expected = bytes.clone().freeze();
            let (mut read, mut write) = stream.split();
            let send = async {
                let mut cuts = cuts.iter().cycle();
                while !bytes.is_empty() {
                    let cut = bytes.len().min(*cuts.next().expect("endless"));
                    write.write_all(&bytes.split_to(cut)).await.expect("sent");
                    tokio::task::yield_now().await;
                }
            };
            let receive = async {
                let mut got = vec![0; expected.len()];
                read.read_exact(&mut got).await.expect("all answers");
                got
            };
            let ((), got) = tokio::join!(send, receive);
            assert!(got == expected, "the echo differs");
            assert_eq!(running.network.memory().free_bytes(), 256 << 20);
        });
    }
}
