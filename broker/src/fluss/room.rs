//! Memory for an answer that cannot be cut, and whose size is known when everything is found.
//!
//! ```text
//! Room::first    little, and more as long as that is there at once     most answers
//!    | NoRoom::Starved: everything found is let go of
//! Room::in_turn  one such answer at a time, which waits for memory     large ones, or under load
//!    | NoRoom::Full: it is too large for any
//! ```

use std::ops::RangeInclusive;
use std::time::Duration;

use parking_lot::Mutex;
use protocol::fluss::error::ErrorCode;
use tokio::time::{Instant, timeout_at};

use super::error::Failure;
use super::wire::Context;
use crate::memory::{Grant, Turn};

/// How long a large answer waits for its turn and for memory; clients wait 30 s.
const TURN_WAIT: Duration = Duration::from_secs(20);

/// What a room grows by at least.
pub const STEP_BYTES: usize = 64 << 10;

/// Memory that grows with what is found.
pub struct Room {
    grant: Mutex<Grant>,
    bytes_max: usize,
    turn: Option<InTurn>,
}

/// Who has the turn keeps the others waiting, and has it not for ever.
struct InTurn {
    turn: Turn,
    deadline: Instant,
}

/// Why a room does not grow.
#[derive(Debug)]
pub enum NoRoom {
    /// Not without waiting: to be tried again [in turn](Room::in_turn).
    Starved,
    /// It has what one may have.
    Full,
    /// Nothing was given back in time.
    Late,
}

impl Room {
    /// The most of `bytes`, or what one gets at first, and that is the least.
    ///
    /// # Errors
    /// The memory is spent, for seconds.
    pub async fn first(context: &Context, bytes: RangeInclusive<usize>) -> Result<Room, Failure> {
        Ok(Room {
            grant: Mutex::new(context.memory_within(bytes).await?),
            bytes_max: context.broker().fetch_memory.whole_bytes_max(),
            turn: None,
        })
    }

    /// A room that may wait to grow. Nothing may be held by who asks for it.
    ///
    /// # Errors
    /// Others are before, for long.
    pub async fn in_turn(context: &Context) -> Result<Room, Failure> {
        let memory = &context.broker().fetch_memory;
        let deadline = Instant::now() + TURN_WAIT;
        let (turn, grant) = memory.turn(deadline).await.ok_or_else(late)?;
        Ok(Room {
            grant: Mutex::new(grant),
            bytes_max: memory.whole_bytes_max(),
            turn: Some(InTurn { turn, deadline }),
        })
    }

    /// True for a room that may wait.
    pub fn has_turn(&self) -> bool {
        self.turn.is_some()
    }

    /// Bytes that it has now.
    pub fn bytes(&mut self) -> usize {
        self.grant.get_mut().bytes()
    }

    /// Makes it larger by about `wanted`, or up to what one may have; returns by how much. Who asks
    /// for as much as he has asks rarely.
    ///
    /// In turn, one asks at a time.
    ///
    /// # Errors
    /// It stays as it is.
    pub async fn more(&self, wanted: usize) -> Result<usize, NoRoom> {
        let has = self.grant.lock().bytes();
        let by = wanted
            .max(STEP_BYTES)
            .min(self.bytes_max.saturating_sub(has));
        if by == 0 {
            return Err(NoRoom::Full);
        }
        let Some(InTurn { turn, deadline }) = &self.turn else {
            let grown = self.grant.lock().try_grow(by);
            return grown.then_some(by).ok_or(NoRoom::Starved);
        };
        let more = turn.more(by, *deadline).await.ok_or(NoRoom::Late)?;
        self.grant.lock().merge(more);
        Ok(by)
    }

    /// Does what the room is for; in turn, until others must have theirs.
    ///
    /// # Errors
    /// What `work` says, or that it took too long.
    pub async fn in_time<T>(&self, work: impl Future<Output = Result<T, Stop>>) -> Result<T, Stop> {
        match &self.turn {
            None => work.await,
            Some(InTurn { deadline, .. }) => timeout_at(*deadline, work)
                .await
                .unwrap_or(Err(Stop::NoRoom(NoRoom::Late))),
        }
    }

    /// What the answer holds until it has left; the turn goes.
    pub fn settle(self, bytes: usize) -> Grant {
        self.grant.into_inner().settle(bytes)
    }
}

/// Why an answer ends before it is whole.
#[derive(Debug)]
pub enum Stop {
    /// For want of memory.
    NoRoom(NoRoom),
    /// For another reason.
    Failed(Failure),
}

impl From<NoRoom> for Stop {
    fn from(no_room: NoRoom) -> Stop {
        Stop::NoRoom(no_room)
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Failed(failure)
    }
}

/// Why an answer is refused that is too large for any room.
pub fn too_large(context: &Context, what: &str, instead: &str) -> Failure {
    let bytes_max = context.broker().fetch_memory.whole_bytes_max();
    let text = format!(
        "{what} do not fit into {bytes_max} bytes, the most that one answer may have (half of \
         vltava.fetch.memory.bytes): {instead}"
    );
    Failure::new(ErrorCode::RecordTooLarge, text)
}

/// That memory did not come in time. Clients try again.
pub fn late() -> Failure {
    let text = "too many answers wait for their clients";
    Failure::new(ErrorCode::RequestTimeOut, text)
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use metrics::Gauge;

    use super::*;
    use crate::memory::FetchMemory;

    /// Rooms without and with the turn, which is over.
    async fn rooms() -> [Room; 2] {
        let memory = FetchMemory::new(16 << 20, Gauge::noop());
        let now = Instant::now();
        let first = memory.grant_whole(&memory.share(), STEP_BYTES, now).await;
        let (turn, grant) = memory.turn(now).await.expect("the turn");
        let room = |grant, turn| Room {
            grant: Mutex::new(grant),
            bytes_max: memory.whole_bytes_max(),
            turn,
        };
        let turn = InTurn {
            turn,
            deadline: now,
        };
        [room(first.expect("some"), None), room(grant, Some(turn))]
    }

    #[tokio::test]
    async fn only_work_that_has_the_turn_ends_with_its_time() {
        let [first, in_turn] = rooms().await;
        let never = std::future::pending::<Result<(), Stop>>;
        assert!(futures::poll!(pin!(first.in_time(never()))).is_pending());
        let late = in_turn.in_time(never()).await;
        assert!(matches!(late, Err(Stop::NoRoom(NoRoom::Late))), "{late:?}");
        let done = in_turn.in_time(async { Ok(7) }).await;
        assert!(matches!(done, Ok(7)), "{done:?}");
    }

    #[tokio::test]
    async fn a_room_grows_in_steps_up_to_what_one_may_have() {
        let [mut first, mut in_turn] = rooms().await;
        assert!(matches!(first.more(1).await, Ok(STEP_BYTES)));
        assert_eq!(first.bytes(), 2 * STEP_BYTES);
        let starved = first.more(2 << 20).await;
        assert!(matches!(starved, Err(NoRoom::Starved)), "{starved:?}");
        let has = in_turn.bytes();
        assert!(matches!(in_turn.more(usize::MAX).await, Ok(by) if has + by == 8 << 20));
        assert_eq!(in_turn.bytes(), 8 << 20);
        let full = in_turn.more(1).await;
        assert!(matches!(full, Err(NoRoom::Full)), "{full:?}");
    }
}
