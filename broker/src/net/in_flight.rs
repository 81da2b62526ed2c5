//! Requests that were started and are not yet answered.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use futures::stream::{FuturesOrdered, FuturesUnordered, Stream};
use tokio::time::Instant;

use super::memory::Reservation;
use super::wire::{Answer, HEAD_BYTES, Order, Pending, Started};
use crate::metrics::ApiMeter;

/// What is remembered of a request until it is answered.
pub(crate) struct Ticket {
    /// The first bytes of the frame, for the answer to a panic.
    pub(crate) head: Head,
    /// When the frame was complete.
    pub(crate) received: Instant,
    /// Length of the frame.
    pub(crate) bytes_in: usize,
    /// The part of the budget that the frame takes.
    pub(crate) reservation: Reservation,
    /// Where the request is counted.
    pub(crate) meter: Option<Arc<ApiMeter>>,
}

/// The first bytes of a frame.
#[derive(Clone, Copy)]
pub(crate) struct Head {
    bytes: [u8; HEAD_BYTES],
    length: u8,
}

impl Head {
    pub(crate) fn of(frame: &[u8]) -> Self {
        let mut bytes = [0; HEAD_BYTES];
        let length = frame.len().min(HEAD_BYTES);
        bytes[..length].copy_from_slice(&frame[..length]);
        Self {
            bytes,
            length: u8::try_from(length).expect("at most HEAD_BYTES"),
        }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// The outcome of a stage: what it returned, or that it panicked.
pub(crate) type Outcome<T> = Result<T, Panicked>;

/// A handler panicked; the panic hook has logged where.
pub(crate) struct Panicked;

/// The answers of a connection, some in order and some not.
#[derive(Default)]
pub(crate) struct InFlight {
    ordered: FuturesOrdered<Answering>,
    /// Behind `ordered`, and not begun: the first waits for its turn.
    behind: VecDeque<(Order, Answering)>,
    free: FuturesUnordered<Answering>,
}

impl InFlight {
    /// Requests that wait for their answer.
    pub(crate) fn len(&self) -> usize {
        self.ordered.len() + self.behind.len() + self.free.len()
    }

    /// Takes a started request. When its answer is there and may leave, it comes straight back.
    pub(crate) fn push(
        &mut self,
        cx: &mut Context<'_>,
        started: Started,
        ticket: Ticket,
    ) -> Option<(Outcome<Answer>, Ticket)> {
        let first = self.ordered.is_empty() && self.behind.is_empty();
        let may_leave = started.order == Order::AnyOrder || first;
        let mut answering = Answering {
            answer: Some(started.answer),
            ticket: Some(ticket),
        };
        // Polled here once: most answers are there at once and never see a queue.
        if may_leave && let Poll::Ready(done) = Pin::new(&mut answering).poll(cx) {
            return Some(done);
        }
        match started.order {
            Order::AnyOrder => self.free.push(answering),
            Order::InOrder if self.behind.is_empty() => self.ordered.push_back(answering),
            Order::InTurn if first => self.ordered.push_back(answering),
            order => self.behind.push_back((order, answering)),
        }
        None
    }

    /// The next answer that may leave; pending when there is none.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<(Outcome<Answer>, Ticket)> {
        if self.ordered.is_empty() {
            self.next_turn();
        }
        if !self.ordered.is_empty()
            && let Poll::Ready(Some(done)) = Pin::new(&mut self.ordered).poll_next(cx)
        {
            return Poll::Ready(done);
        }
        if !self.free.is_empty()
            && let Poll::Ready(Some(done)) = Pin::new(&mut self.free).poll_next(cx)
        {
            return Poll::Ready(done);
        }
        Poll::Pending
    }

    /// Begins the next answer that waits for its turn, and those in order up to the one after it.
    fn next_turn(&mut self) {
        if let Some((_, first)) = self.behind.pop_front() {
            self.ordered.push_back(first);
        }
        while let Some((_, next)) = self
            .behind
            .pop_front_if(|(order, _)| *order == Order::InOrder)
        {
            self.ordered.push_back(next);
        }
    }
}

/// An answer on its way, with its request's ticket.
struct Answering {
    answer: Option<Pending>,
    ticket: Option<Ticket>,
}

impl Future for Answering {
    type Output = (Outcome<Answer>, Ticket);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = match self.answer.take().expect("not polled after it was ready") {
            Pending::Now(answer) => Ok(answer),
            Pending::Later(mut future) => match poll_guarded(&mut future, cx) {
                Poll::Ready(outcome) => outcome,
                Poll::Pending => {
                    self.answer = Some(Pending::Later(future));
                    return Poll::Pending;
                }
            },
        };
        Poll::Ready((
            outcome,
            self.ticket.take().expect("not polled after it was ready"),
        ))
    }
}

/// Polls a stage of a request so that its panic stays its own.
pub(crate) fn poll_guarded<T>(
    future: &mut BoxFuture<'static, T>,
    cx: &mut Context<'_>,
) -> Poll<Outcome<T>> {
    match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(_) => Poll::Ready(Err(Panicked)),
    }
}
