//! One connection: a small state machine that reads, starts, answers and writes in one task.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use metrics::Counter;
use storage::threads::wake_together;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::in_flight::{Head, InFlight, Outcome, Panicked, Ticket, poll_guarded};
use super::limits::{BYTE_RATE_MIN, DroppedMeters, NetworkLimits, NetworkMeters};
use super::memory::RequestMemory;
use super::reader::{Frame, FrameReader, ReadError};
use super::transport::Transport;
use super::wire::{Answer, Peer, Started, Wire};
use super::writer::AnswerQueue;

/// Above this, answers are written before more of them are collected.
const ANSWERS_BYTES_MAX: usize = 1 << 20;

/// Above this, answers are written before the next frame is started, so that a long row of
/// pipelined requests does not hold back the first answers.
const ANSWERS_BYTES_EAGER: usize = 64 * 1024;

/// Requests that are started in a row before their answers are written and the threads that they
/// gave work to are woken.
const STARTS_PER_WRITE: usize = 16;

/// Bytes of requests that are started in a row: what one read brings, or one large request.
const STARTS_BYTES_MAX: usize = 64 * 1024;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// The client closed it.
    #[error("closed by the client")]
    ByClient,
    /// The wire closed it.
    #[error("{0}")]
    ByWire(&'static str),
    /// Too long without a request.
    #[error("idle")]
    Idle,
    /// A frame did not arrive in time.
    #[error("a frame has not arrived in time")]
    FrameTimeout,
    /// The client did not take its answers.
    #[error("the client has not taken its answers in time")]
    WriteTimeout,
    /// The broker stops and all requests are answered.
    #[error("stopping")]
    Stopping,
    /// The frames cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The answers cannot be written.
    #[error("writing failed")]
    Write(#[source] io::Error),
}

impl Ended {
    /// Where it is counted, when it is the client's doing.
    pub(crate) fn meter<'a>(&self, meters: &'a DroppedMeters) -> Option<&'a Counter> {
        match self {
            Ended::Read(ReadError::FrameLength { .. }) => Some(&meters.frame_length),
            Ended::FrameTimeout => Some(&meters.frame_timeout),
            Ended::WriteTimeout => Some(&meters.write_timeout),
            Ended::Idle => Some(&meters.idle),
            Ended::ByWire(_) => Some(&meters.bad_request),
            Ended::ByClient | Ended::Stopping | Ended::Read(_) | Ended::Write(_) => None,
        }
    }
}

/// The task of one connection.
pub(crate) struct Connection<W: Wire, S> {
    stream: S,
    wire: Arc<W>,
    limits: Arc<NetworkLimits>,
    meters: NetworkMeters,
    reader: FrameReader,
    /// The wire's state; away while a request is being started.
    state: Option<W::ConnectionState>,
    starting: Option<Starting<W::ConnectionState>>,
    in_flight: InFlight,
    answers: AnswerQueue,
    /// Bytes of the requests that were begun in this round.
    started_bytes: usize,
    /// No more frames are read; ends when what is under way has left.
    draining: Option<Ended>,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    timer: Pin<Box<Sleep>>,
    /// When a frame last came or an answer last left.
    last_active: Instant,
    /// Something was read, and nothing written since that would acknowledge it.
    unacknowledged: bool,
    /// When the socket last took bytes, or the first that now wait were queued.
    last_written: Instant,
    /// Since when answers wait without a moment in which none did, and the bytes that the socket
    /// has taken since.
    writing: (Instant, u64),
}

struct Starting<T> {
    future: BoxFuture<'static, (T, Started)>,
    ticket: Option<Ticket>,
}

impl<W: Wire, S: Transport> Connection<W, S> {
    pub(crate) fn new(
        stream: S,
        wire: Arc<W>,
        peer: &Peer,
        limits: Arc<NetworkLimits>,
        memory: RequestMemory,
        meters: NetworkMeters,
        stop: CancellationToken,
    ) -> Self {
        let now = Instant::now();
        Self {
            stream,
            state: Some(wire.connected(peer)),
            wire,
            reader: FrameReader::new(memory, limits.frame_bytes_max),
            starting: None,
            in_flight: InFlight::default(),
            answers: AnswerQueue::default(),
            started_bytes: 0,
            draining: None,
            stop: Box::pin(stop.cancelled_owned()),
            timer: Box::pin(sleep_until(now + tick(&limits))),
            last_active: now,
            unacknowledged: false,
            last_written: now,
            writing: (now, 0),
            limits,
            meters,
        }
    }

    /// One round: starts what has arrived, collects what is answered, writes it. Returns whether
    /// there may be more to do.
    fn poll_round(&mut self, cx: &mut Context<'_>) -> Result<bool, Ended> {
        let progress = wake_together(|| self.poll_requests(cx))?;
        Ok(self.poll_write(cx)? | progress)
    }

    fn poll_requests(&mut self, cx: &mut Context<'_>) -> Result<bool, Ended> {
        let mut progress = false;
        self.started_bytes = 0;
        for _ in 0..STARTS_PER_WRITE {
            let mut more = self.poll_starting(cx) | self.poll_answers(cx);
            if self.started_bytes >= STARTS_BYTES_MAX {
                return Ok(true);
            }
            more |= self.poll_frames(cx)?;
            progress |= more;
            if !more || self.answers.bytes() >= ANSWERS_BYTES_EAGER {
                break;
            }
        }
        Ok(progress)
    }

    fn poll_starting(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(starting) = &mut self.starting else {
            return false;
        };
        let Poll::Ready(outcome) = poll_guarded(&mut starting.future, cx) else {
            return false;
        };
        let mut ticket = starting
            .ticket
            .take()
            .expect("taken once, when the stage is over");
        self.starting = None;
        match outcome {
            Ok((state, started)) => {
                self.state = Some(state);
                ticket.meter = started.meter.clone();
                if let Some((outcome, ticket)) = self.in_flight.push(cx, started, ticket) {
                    self.answered(outcome, ticket);
                }
            }
            Err(Panicked) => {
                self.answered(Err(Panicked), ticket);
                self.drain(Ended::ByWire("a request handler panicked"));
            }
        }
        true
    }

    fn poll_answers(&mut self, cx: &mut Context<'_>) -> bool {
        let mut progress = false;
        while self.answers.bytes() < ANSWERS_BYTES_MAX {
            let Poll::Ready((outcome, ticket)) = self.in_flight.poll_next(cx) else {
                break;
            };
            self.answered(outcome, ticket);
            progress = true;
        }
        progress
    }

    fn answered(&mut self, outcome: Outcome<Answer>, ticket: Ticket) {
        let was_empty = self.answers.bytes() == 0;
        let answer =
            outcome.unwrap_or_else(|Panicked| self.wire.answer_to_panic(ticket.head.as_slice()));
        let bytes_out = match answer {
            Answer::Chunks(chunks) => self.answers.push(chunks),
            Answer::Held(chunks, hold) => {
                let bytes = self.answers.push(chunks);
                self.answers.hold(hold);
                bytes
            }
            Answer::Nothing => 0,
            Answer::Close(reason) => {
                self.close(reason);
                0
            }
        };
        let now = Instant::now();
        self.last_active = now;
        if was_empty {
            self.last_written = now;
            self.writing = (now, 0);
        }
        if let Some(meter) = &ticket.meter {
            meter.answered(ticket.bytes_in, bytes_out, now - ticket.received);
        }
        drop(ticket.reservation);
    }

    /// Reads the next frame and begins to start it.
    fn poll_frames(&mut self, cx: &mut Context<'_>) -> Result<bool, Ended> {
        if self.draining.is_some() || self.starting.is_some() {
            return Ok(false);
        }
        if self.in_flight.len() >= self.limits.requests_per_connection_max
            || self.answers.bytes() >= ANSWERS_BYTES_MAX
        {
            self.reader.pause();
            return Ok(false);
        }
        let bytes_in = &self.meters.bytes_in;
        let unacknowledged = &mut self.unacknowledged;
        let mut count = |bytes: usize| {
            bytes_in.increment(bytes as u64);
            *unacknowledged = true;
        };
        let frame = match self.reader.poll_frame(cx, &mut self.stream, &mut count) {
            Poll::Ready(Ok(Some(frame))) => frame,
            Poll::Ready(Ok(None)) => return Err(Ended::ByClient),
            Poll::Ready(Err(error)) => {
                if matches!(error, ReadError::FrameLength { .. }) {
                    // Earlier requests of this client may be sound: they get their answers.
                    self.drain(Ended::Read(error));
                    return Ok(true);
                }
                return Err(error.into());
            }
            Poll::Pending => return Ok(false),
        };
        self.start(frame);
        Ok(true)
    }

    fn start(&mut self, frame: Frame) {
        self.last_active = Instant::now();
        self.started_bytes += frame.bytes.len();
        let ticket = Ticket {
            head: Head::of(&frame.bytes),
            received: self.last_active,
            bytes_in: frame.bytes.len(),
            reservation: frame.reservation,
            meter: None,
        };
        let wire = Arc::clone(&self.wire);
        let mut state = self
            .state
            .take()
            .expect("the state is here while nothing is starting");
        let bytes = frame.bytes;
        let future = Box::pin(async move {
            let started = wire.start(&mut state, bytes).await;
            (state, started)
        });
        self.starting = Some(Starting {
            future,
            ticket: Some(ticket),
        });
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<bool, Ended> {
        let mut progress = false;
        while self.answers.bytes() > 0 {
            match self.answers.poll_write(cx, &mut self.stream) {
                Poll::Ready(Ok(written)) => {
                    self.meters.bytes_out.increment(written as u64);
                    self.writing.1 += written as u64;
                    self.last_written = Instant::now();
                    self.last_active = self.last_written;
                    self.unacknowledged = false;
                    progress = true;
                }
                Poll::Ready(Err(error)) => return Err(Ended::Write(error)),
                Poll::Pending => break,
            }
        }
        Ok(progress)
    }

    /// Reads no more frames and ends when all that was begun has been answered.
    fn drain(&mut self, ended: Ended) {
        if self.draining.is_none() {
            self.draining = Some(ended);
        }
    }

    /// Ends when what waits in the queue is written; later answers are dropped.
    fn close(&mut self, reason: &'static str) {
        self.draining = Some(Ended::ByWire(reason));
        self.starting = None;
        self.in_flight = InFlight::default();
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Result<(), Ended> {
        loop {
            let now = Instant::now();
            if self.answers.bytes() > 0 && now >= self.write_deadline() {
                return Err(Ended::WriteTimeout);
            }
            if let Some(deadline) = self.reader.deadline(self.limits.frame_timeout)
                && now >= deadline
            {
                return Err(Ended::FrameTimeout);
            }
            let wake = if self.is_busy() {
                now + tick(&self.limits)
            } else {
                match self.limits.idle_max {
                    Some(idle_max) if now >= self.last_active + idle_max => {
                        return Err(Ended::Idle);
                    }
                    Some(idle_max) => self.last_active + idle_max,
                    None => now + FAR_AWAY,
                }
            };
            // The timer is moved only when it would come too late: most requests never touch it.
            if self.timer.deadline() > wake + tick(&self.limits) || self.timer.is_elapsed() {
                self.timer.as_mut().reset(wake);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Ok(());
            }
        }
    }

    /// When a client that takes its answers too slowly is given up: one that takes nothing, or
    /// drops at a time.
    fn write_deadline(&self) -> Instant {
        let (since, taken) = self.writing;
        let earned = Duration::from_millis(taken.saturating_mul(1000) / BYTE_RATE_MIN);
        let timeout = match self.answers.is_wanted() {
            true => self.limits.write_timeout_wanted,
            false => self.limits.write_timeout,
        };
        self.last_written.min(since + earned) + timeout.min(self.limits.write_timeout)
    }

    /// True while a timeout shorter than the idle one may strike.
    fn is_busy(&self) -> bool {
        self.answers.bytes() > 0
            || self.starting.is_some()
            || self.in_flight.len() > 0
            || self.reader.deadline(Duration::ZERO).is_some()
    }
}

/// An idle connection without a limit still needs some moment for its timer.
const FAR_AWAY: Duration = Duration::from_secs(24 * 3600);

/// How exactly the timeouts of a busy connection are kept.
fn tick(limits: &NetworkLimits) -> Duration {
    (limits.frame_timeout.min(limits.write_timeout) / 8)
        .clamp(Duration::from_millis(5), Duration::from_secs(5))
}

impl<W: Wire, S: Transport> Future for Connection<W, S> {
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        let this = &mut *self;
        if this.draining.is_none() && this.stop.as_mut().poll(cx).is_ready() {
            this.drain(Ended::Stopping);
        }
        loop {
            match this.poll_round(cx) {
                Ok(true) => {}
                Ok(false) => break,
                Err(ended) => return Poll::Ready(ended),
            }
        }
        if this.starting.is_none()
            && this.in_flight.len() == 0
            && this.answers.bytes() == 0
            && let Some(ended) = this.draining.take()
        {
            return Poll::Ready(ended);
        }
        if std::mem::take(&mut this.unacknowledged) && this.wire.acknowledges_at_once() {
            this.stream.acknowledge_now();
        }
        match this.poll_timer(cx) {
            Ok(()) => Poll::Pending,
            Err(ended) => Poll::Ready(ended),
        }
    }
}

// Nothing in it is pinned in place: streams are `Unpin`, the rest is boxed.
impl<W: Wire, S> Unpin for Connection<W, S> {}
