//! Fetch sessions (KIP-227): a consumer names its partitions once, then only what changes, and is
//! answered only about partitions that have something to say.
//!
//! The sessions are plain state behind one lock that is held for a lookup, never while waiting.

use std::collections::HashMap;

use indexmap::IndexMap;
use kafka_protocol::ResponseError;
use parking_lot::Mutex;
use storage::env::Randomness;

use super::topics::TopicRef;

/// A partition that a client fetches.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PartitionKey {
    /// The topic, by the name or the id that the client used.
    pub topic: TopicRef,
    /// The partition.
    pub index: i32,
}

/// What a client wants of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// The offset to read from.
    pub offset: i64,
    /// The epoch that the client believes in, -1 for none.
    pub leader_epoch: i32,
    /// The epoch of the last record it read, -1 for none.
    pub last_fetched_epoch: i32,
    /// Bytes at most.
    pub bytes_max: i32,
}

/// What the client was last told of a partition; it is told again only when something differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Told {
    high_watermark: i64,
    log_start: i64,
    failed: bool,
}

struct Session {
    epoch: i32,
    partitions: IndexMap<PartitionKey, (Wanted, Told)>,
    used: u64,
}

/// The session part of a Fetch request.
#[derive(Debug, Default)]
pub struct SessionRequest {
    /// 0 for none yet.
    pub id: i32,
    /// -1: no session; 0: a new one; else the next number of this one.
    pub epoch: i32,
    /// Partitions that are new or changed.
    pub partitions: Vec<(PartitionKey, Wanted)>,
    /// Partitions that are no longer wanted.
    pub forgotten: Vec<PartitionKey>,
}

/// What to fetch, and in which session to answer.
#[derive(Debug)]
pub struct FetchPlan {
    /// The session to answer in; 0 without one.
    pub session_id: i32,
    /// True when partitions without news are left out of the answer.
    pub incremental: bool,
    /// All partitions of the session, in the order in which they are read.
    pub partitions: Vec<(PartitionKey, Wanted)>,
}

/// All sessions of the broker.
pub struct FetchSessions {
    sessions_max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    sessions: HashMap<i32, Session>,
    clock: u64,
}

impl FetchSessions {
    /// Remembers at most `sessions_max` sessions; the one that was used longest ago makes room.
    pub fn new(sessions_max: usize) -> FetchSessions {
        FetchSessions {
            sessions_max,
            state: Mutex::default(),
        }
    }

    /// How many sessions there are, and how many partitions they hold.
    pub fn size(&self) -> (usize, usize) {
        let state = self.state.lock();
        (
            state.sessions.len(),
            state.sessions.values().map(|s| s.partitions.len()).sum(),
        )
    }

    /// Finds what to fetch.
    pub fn plan(
        &self,
        request: SessionRequest,
        randomness: &dyn Randomness,
    ) -> Result<FetchPlan, ResponseError> {
        let mut state = self.state.lock();
        state.clock += 1;
        if request.epoch <= 0 {
            state.sessions.remove(&request.id);
            return Ok(self.plan_full(&mut state, request, randomness));
        }
        let clock = state.clock;
        let session = state
            .sessions
            .get_mut(&request.id)
            .ok_or(ResponseError::FetchSessionIdNotFound)?;
        if session.epoch != request.epoch {
            return Err(ResponseError::InvalidFetchSessionEpoch);
        }
        session.epoch = if session.epoch == i32::MAX {
            1
        } else {
            session.epoch + 1
        };
        session.used = clock;
        for key in &request.forgotten {
            session.partitions.shift_remove(key);
        }
        for (key, wanted) in request.partitions {
            session.partitions.entry(key).or_default().0 = wanted;
        }
        let partitions = session
            .partitions
            .iter()
            .map(|(k, (w, _))| (k.clone(), *w))
            .collect();
        Ok(FetchPlan {
            session_id: request.id,
            incremental: true,
            partitions,
        })
    }

    fn plan_full(
        &self,
        state: &mut State,
        request: SessionRequest,
        randomness: &dyn Randomness,
    ) -> FetchPlan {
        let mut plan = FetchPlan {
            session_id: 0,
            incremental: false,
            partitions: request.partitions,
        };
        if request.epoch < 0 || self.sessions_max == 0 || plan.partitions.is_empty() {
            return plan;
        }
        if state.sessions.len() >= self.sessions_max {
            let oldest = state
                .sessions
                .iter()
                .min_by_key(|(_, s)| s.used)
                .map(|(id, _)| *id);
            oldest.map(|id| state.sessions.remove(&id));
        }
        let id = loop {
            let id = (randomness.next_u64() >> 33) as i32;
            if id > 0 && !state.sessions.contains_key(&id) {
                break id;
            }
        };
        let partitions = plan
            .partitions
            .iter()
            .map(|(k, w)| (k.clone(), (*w, Told::default())))
            .collect();
        let session = Session {
            epoch: 1,
            partitions,
            used: state.clock,
        };
        state.sessions.insert(id, session);
        plan.session_id = id;
        plan
    }

    /// Notes what a partition is about to be told and says whether there is any news in it. A
    /// partition with records goes to the end of the session's order, so that none starves.
    pub fn note(
        &self,
        session_id: i32,
        key: &PartitionKey,
        high_watermark: i64,
        log_start: i64,
        failed: bool,
        has_records: bool,
    ) -> bool {
        let mut state = self.state.lock();
        let Some(session) = state.sessions.get_mut(&session_id) else {
            return true;
        };
        let Some((_, told)) = session.partitions.get_mut(key) else {
            return true;
        };
        let now = Told {
            high_watermark,
            log_start,
            failed,
        };
        let news = has_records || failed || *told != now;
        *told = now;
        if has_records && let Some((key, value)) = session.partitions.shift_remove_entry(key) {
            session.partitions.insert(key, value);
        }
        news
    }
}

impl Default for Wanted {
    fn default() -> Self {
        Wanted {
            offset: 0,
            leader_epoch: -1,
            last_fetched_epoch: -1,
            bytes_max: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use storage::env::simulated::SeededRandomness;

    fn key(index: i32) -> PartitionKey {
        PartitionKey {
            topic: TopicRef::Name("t".into()),
            index,
        }
    }

    fn wanted(offset: i64) -> Wanted {
        Wanted {
            offset,
            bytes_max: 100,
            ..Wanted::default()
        }
    }

    fn request(id: i32, epoch: i32, partitions: &[(i32, i64)]) -> SessionRequest {
        let partitions = partitions
            .iter()
            .map(|(i, o)| (key(*i), wanted(*o)))
            .collect();
        SessionRequest {
            id,
            epoch,
            partitions,
            forgotten: Vec::new(),
        }
    }

    #[test]
    fn a_session_remembers_partitions_and_takes_changes() {
        let sessions = FetchSessions::new(10);
        let random = SeededRandomness::new(1);
        let first = sessions
            .plan(request(0, 0, &[(0, 5), (1, 6)]), &random)
            .unwrap();
        assert!(first.session_id > 0 && !first.incremental);
        let id = first.session_id;
        let mut change = request(id, 1, &[(1, 9)]);
        change.forgotten.push(key(0));
        let second = sessions.plan(change, &random).unwrap();
        assert!(second.incremental);
        assert_eq!(second.partitions, vec![(key(1), wanted(9))]);
    }

    #[test]
    fn a_wrong_epoch_or_id_is_refused() {
        let sessions = FetchSessions::new(10);
        let random = SeededRandomness::new(1);
        let id = sessions
            .plan(request(0, 0, &[(0, 5)]), &random)
            .unwrap()
            .session_id;
        let wrong = sessions.plan(request(id, 7, &[]), &random);
        assert_eq!(wrong.unwrap_err(), ResponseError::InvalidFetchSessionEpoch);
        let unknown = sessions.plan(request(id + 1, 1, &[]), &random);
        assert_eq!(unknown.unwrap_err(), ResponseError::FetchSessionIdNotFound);
    }

    #[test]
    fn the_session_used_longest_ago_makes_room() {
        let sessions = FetchSessions::new(2);
        let random = SeededRandomness::new(1);
        let a = sessions
            .plan(request(0, 0, &[(0, 0)]), &random)
            .unwrap()
            .session_id;
        let b = sessions
            .plan(request(0, 0, &[(0, 0)]), &random)
            .unwrap()
            .session_id;
        sessions.plan(request(a, 1, &[]), &random).unwrap();
        sessions.plan(request(0, 0, &[(0, 0)]), &random).unwrap();
        assert!(sessions.plan(request(a, 2, &[]), &random).is_ok());
        assert!(sessions.plan(request(b, 1, &[]), &random).is_err());
        assert_eq!(sessions.size().0, 2);
    }

    #[test]
    fn only_news_is_told_and_a_partition_with_records_goes_last() {
        let sessions = FetchSessions::new(2);
        let random = SeededRandomness::new(1);
        let id = sessions
            .plan(request(0, 0, &[(0, 0), (1, 0)]), &random)
            .unwrap()
            .session_id;
        assert!(sessions.note(id, &key(0), 10, 0, false, true));
        assert!(!sessions.note(id, &key(0), 10, 0, false, false));
        assert!(sessions.note(id, &key(0), 11, 0, false, false));
        assert!(sessions.note(id, &key(0), 11, 3, false, false));
        let order = sessions
            .plan(request(id, 1, &[]), &random)
            .unwrap()
            .partitions;
        assert_eq!(
            order.iter().map(|(k, _)| k.index).collect::<Vec<_>>(),
            [1, 0]
        );
    }

    #[test]
    fn a_fetch_without_session_leaves_nothing_behind() {
        let sessions = FetchSessions::new(2);
        let random = SeededRandomness::new(1);
        let plan = sessions.plan(request(0, -1, &[(0, 0)]), &random).unwrap();
        assert_eq!(plan.session_id, 0);
        assert_eq!(sessions.size(), (0, 0));
    }
}
