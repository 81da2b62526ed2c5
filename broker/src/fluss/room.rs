//! Memory for an answer that cannot be cut, and whose size is known when everything is found.
//!
//! ```text
//! Room::first    little, and more as long as that is there at once     most answers
//!    | NoRoom::Starved: everything found is let go of
//! Room::in_turn  one such answer at a time, which waits for memory     large ones, or under load
//!    | NoRoom::Full: it is too large for any
//! ```

use std::time::Duration;

use protocol::fluss::error::ErrorCode;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::error::Failure;
use super::wire::Context;
use crate::memory::{Grant, Turn};

/// How long a large answer waits for its turn and for memory; clients wait 30 s.
const TURN_WAIT: Duration = Duration::from_secs(20);

/// What a room grows by at least.
const STEP_BYTES: usize = 64 << 10;

/// Memory that grows with what is found.
pub struct Room {
    grant: Mutex<Grant>,
    bytes_max: usize,
    turn: Option<Turn>,
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
    /// So many bytes, or what one gets at first.
    ///
    /// # Errors
    /// The memory is spent, for seconds.
    pub async fn first(context: &Context, bytes: usize) -> Result<Room, Failure> {
        Ok(Room {
            grant: Mutex::new(context.memory(bytes).await?),
            bytes_max: context.broker().fetch_memory.whole_bytes_max(),
            turn: None,
            deadline: Instant::now(),
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
            turn: Some(turn),
            deadline,
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
    /// # Errors
    /// It stays as it is.
    pub async fn more(&self, wanted: usize) -> Result<usize, NoRoom> {
        let mut grant = self.grant.lock().await;
        let has = grant.bytes();
        let by = wanted.max(STEP_BYTES).min(self.bytes_max - has);
        if by == 0 {
            return Err(NoRoom::Full);
        }
        match &self.turn {
            None if grant.try_grow(has + by) => Ok(by),
            None => Err(NoRoom::Starved),
            Some(turn) => match grant.grow(has + by, self.deadline, turn).await {
                true => Ok(by),
                false => Err(NoRoom::Late),
            },
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
        "{what} take more than {bytes_max} bytes, the most that one answer may have (half of \
         vltava.fetch.memory.bytes): {instead}"
    );
    Failure::new(ErrorCode::RecordTooLarge, text)
}

/// That memory did not come in time. Clients try again.
pub fn late() -> Failure {
    let text = "too many answers wait for their clients";
    Failure::new(ErrorCode::RequestTimeOut, text)
}
