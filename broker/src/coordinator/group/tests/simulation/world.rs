//! The world of a simulation run and what must always hold in it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::client::{Client, Phase};
use crate::coordinator::group::error::GroupError;
use crate::coordinator::group::names::{InstanceId, MemberId};
use crate::coordinator::group::request::*;
use crate::coordinator::group::state::GroupState;
use crate::coordinator::group::test_support::{GROUP, Rig, SUBSCRIPTION};
use crate::coordinator::group::turn::ReplyId;

const PARTITIONS: i32 = 6;
const CLIENTS_MAX: usize = 7;
const SESSION_MS: u64 = 10_000;

pub(super) struct World {
    seed: u64,
    random: StdRng,
    rig: Rig,
    clients: Vec<Client>,
    next_instance: u32,
    next_commit: u64,
    /// Owner of each partition by generation, as assignments were handed out.
    owners: BTreeMap<(i32, i32), String>,
    /// Members by generation, as joins were answered.
    joined: BTreeMap<i32, BTreeSet<MemberId>>,
    /// Number of the newest commit that was seen, or acknowledged, by partition.
    newest: BTreeMap<i32, u64>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let delay_ms = [0, 3_000][random.random_range(0..2)];
        let mut rig = Rig::new(|config| config.initial_rebalance_delay_ms = delay_ms);
        rig.hold_writes = true;
        World {
            seed,
            random,
            rig,
            clients: Vec::new(),
            next_instance: 0,
            next_commit: 1,
            owners: BTreeMap::new(),
            joined: BTreeMap::new(),
            newest: BTreeMap::new(),
        }
    }

    pub(super) fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..30 => self.pass_time(3_000),
            30..65 => self.act(),
            65..85 => self.finish_write(),
            85..89 => self.add_client(),
            89..91 => self.freeze(),
            91..93 => self.kill(),
            93..95 => self.leave(),
            95..97 => self.crash(),
            _ => self.check_offsets(),
        }
    }

    /// Nothing goes wrong any more: the group must come to rest with every partition owned once.
    pub(super) fn settle(&mut self) {
        self.clients.retain(|c| !matches!(c.phase, Phase::Fenced));
        if self.clients.is_empty() {
            self.clients.push(Client::new(None));
        }
        for client in &mut self.clients {
            client.frozen_until = Duration::ZERO;
        }
        for _ in 0..400 {
            self.rig.finish_writes(Ok(()));
            for index in 0..self.clients.len() {
                self.act_as(index);
            }
            self.rig.pass(500);
        }
        self.check_offsets();
        assert_eq!(self.rig.state(), GroupState::Stable, "seed {}", self.seed);
        let generation = self.rig.generation();
        let mut owned: Vec<i32> = Vec::new();
        // Who is fenced has stopped: a client under the same instance id goes on.
        for client in self
            .clients
            .iter()
            .filter(|c| !matches!(c.phase, Phase::Fenced))
        {
            assert!(
                matches!(client.phase, Phase::Member),
                "seed {}: {}",
                self.seed,
                client.id
            );
            assert_eq!(client.generation, generation, "seed {}", self.seed);
            owned.extend(&client.partitions);
        }
        owned.sort_unstable();
        assert_eq!(
            owned,
            (0..PARTITIONS).collect::<Vec<_>>(),
            "seed {}",
            self.seed
        );
    }

    fn pass_time(&mut self, ms_max: u64) {
        let ms = self.random.random_range(0..ms_max);
        self.rig.pass(ms);
    }

    fn add_client(&mut self) {
        if self.clients.len() < CLIENTS_MAX {
            let instance = self.random.random_bool(0.3).then(|| {
                self.next_instance += 1;
                InstanceId::from(format!("instance-{}", self.next_instance))
            });
            self.clients.push(Client::new(instance));
        }
    }

    fn pick(&mut self) -> Option<usize> {
        (!self.clients.is_empty()).then(|| self.random.random_range(0..self.clients.len()))
    }

    fn freeze(&mut self) {
        if let Some(index) = self.pick() {
            let ms = self.random.random_range(0..3 * SESSION_MS);
            self.clients[index].frozen_until = self.rig.now.monotonic + Duration::from_millis(ms);
        }
    }

    /// A client is gone without a word. A static one comes back under its name, sometimes while
    /// the old process is only thought dead.
    fn kill(&mut self) {
        let Some(index) = self.pick() else { return };
        let client = self.clients.swap_remove(index);
        if client.instance.is_some() {
            self.clients.push(Client::new(client.instance.clone()));
            if self.random.random_bool(0.3) && self.clients.len() < CLIENTS_MAX {
                self.clients.push(client);
            }
        }
    }

    fn leave(&mut self) {
        let Some(index) = self.pick() else { return };
        let client = self.clients.swap_remove(index);
        let request = LeaveRequest {
            group: GROUP.into(),
            members: vec![(client.id, client.instance)],
        };
        self.rig.ask(Request::Leave(request));
    }

    fn finish_write(&mut self) {
        let failed = self.random.random_bool(0.05);
        let outcome = if failed {
            Err(GroupError::NotAvailable)
        } else {
            Ok(())
        };
        self.rig.finish_one_write(outcome);
    }

    /// The coordinator dies. Some writes that it did not learn of are in the log.
    fn crash(&mut self) {
        let durable = self.random.random_range(0..=self.rig.held.len());
        for write in self.rig.held.drain(..durable) {
            self.rig.log.extend(write.records);
        }
        self.rig.restart();
        for client in &mut self.clients {
            client.committing = None;
            match client.phase {
                Phase::Joining(_) | Phase::Syncing(_) | Phase::Fetching(_) => {
                    client.start_over(false)
                }
                Phase::Out | Phase::Member | Phase::Fenced => {}
            }
        }
        self.check_offsets();
    }

    fn act(&mut self) {
        if let Some(index) = self.pick() {
            self.act_as(index);
        }
    }

    fn act_as(&mut self, index: usize) {
        let client = &self.clients[index];
        if client.frozen_until > self.rig.now.monotonic {
            return;
        }
        match client.phase {
            Phase::Out => self.join(index),
            Phase::Joining(reply) => self.after_join(index, reply),
            Phase::Syncing(reply) => self.after_sync(index, reply),
            Phase::Fetching(reply) => {
                if self.rig.answer(reply).is_some() {
                    self.clients[index].phase = Phase::Member;
                }
            }
            Phase::Member => self.consume(index),
            Phase::Fenced => {}
        }
    }

    fn join(&mut self, index: usize) {
        let id = self.clients[index].id.clone();
        let mut request = self.rig.join_request(&id, &[("range", SUBSCRIPTION)]);
        request.instance_id = self.clients[index].instance.clone();
        // Shorter than the session: frozen static members stay behind in an old generation.
        request.rebalance_timeout_ms = 4_000;
        let reply = self.rig.ask(Request::Join(request));
        self.clients[index].phase = Phase::Joining(reply);
    }

    fn after_join(&mut self, index: usize, reply: ReplyId) {
        let Some(Answer::Join(answer)) = self.rig.answer(reply).cloned() else {
            return;
        };
        let client = &mut self.clients[index];
        match answer.outcome {
            Ok(joined) => {
                client.id = answer.member_id;
                client.generation = joined.generation;
                self.joined
                    .entry(joined.generation)
                    .or_default()
                    .insert(client.id.clone());
                self.sync(index, &joined);
            }
            Err(error) => {
                if error == GroupError::MemberIdRequired {
                    client.id = answer.member_id;
                }
                self.refused(index, error);
            }
        }
    }

    fn sync(&mut self, index: usize, joined: &Joined) {
        let client = &self.clients[index];
        let mut assignments: Vec<(MemberId, Vec<u8>)> = joined
            .members
            .iter()
            .map(|m| (m.member_id.clone(), Vec::new()))
            .collect();
        if joined.skip_assignment || joined.leader != client.id {
            assignments.clear();
        }
        let count = assignments.len();
        if count > 0 {
            for partition in 0..PARTITIONS {
                let place = usize::try_from(partition).unwrap() % count;
                assignments[place].1.push(u8::try_from(partition).unwrap());
            }
        }
        let request = SyncRequest {
            group: GROUP.into(),
            generation: client.generation,
            member_id: client.id.clone(),
            instance_id: client.instance.clone(),
            protocol_type: None,
            protocol_name: None,
            assignments: assignments
                .into_iter()
                .map(|(id, bytes)| (id, Bytes::from(bytes)))
                .collect(),
        };
        let reply = self.rig.ask(Request::Sync(request));
        self.clients[index].phase = Phase::Syncing(reply);
    }

    fn after_sync(&mut self, index: usize, reply: ReplyId) {
        let Some(Answer::Sync(answer)) = self.rig.answer(reply).cloned() else {
            return;
        };
        match answer {
            Err(error) => self.refused(index, error),
            Ok(synced) => {
                let client = &mut self.clients[index];
                client.partitions = synced.assignment.iter().map(|p| i32::from(*p)).collect();
                let name = client.name();
                for partition in &client.partitions {
                    let place = (client.generation, *partition);
                    let owner = self.owners.entry(place).or_insert_with(|| name.clone());
                    assert_eq!(*owner, name, "seed {}: two owners of {place:?}", self.seed);
                }
                let request = self.rig.fetch_request(true);
                let reply = self.rig.ask(Request::FetchOffsets(request));
                self.clients[index].phase = Phase::Fetching(reply);
            }
        }
    }

    /// What a client does about an error.
    fn refused(&mut self, index: usize, error: GroupError) {
        let client = &mut self.clients[index];
        match error {
            GroupError::FencedInstance => client.phase = Phase::Fenced,
            GroupError::UnknownMember => client.start_over(true),
            _ => client.start_over(false),
        }
    }

    fn consume(&mut self, index: usize) {
        if let Some((reply, number)) = self.clients[index].committing {
            let Some(Answer::Partitions(outcome)) = self.rig.answer(reply).cloned() else {
                return;
            };
            self.clients[index].committing = None;
            match outcome {
                Ok(topics) => {
                    for (partition, _) in &topics[0].partitions {
                        let newest = self.newest.entry(*partition).or_default();
                        *newest = number.max(*newest);
                    }
                }
                Err(error) => return self.refused(index, error),
            }
        }
        if self.random.random_bool(0.5) && !self.clients[index].partitions.is_empty() {
            self.commit(index);
        } else if self.clients[index].next_heartbeat <= self.rig.now.monotonic {
            self.heartbeat(index);
        }
    }

    fn commit(&mut self, index: usize) {
        let number = self.next_commit;
        self.next_commit += 1;
        let client = &self.clients[index];
        let (id, generation) = (client.id.clone(), client.generation);
        let commit = |partition: &i32| CommitPartition {
            partition: *partition,
            offset: i64::try_from(number).unwrap(),
            leader_epoch: -1,
            metadata: number.to_string().into(),
        };
        let mut request = self.rig.commit_request(&id, generation, 0);
        request.instance_id = client.instance.clone();
        request.topics[0].partitions = client.partitions.iter().map(commit).collect();
        let writes = self.rig.held.len();
        let reply = self.rig.ask(Request::Commit(request));
        if self.rig.held.len() > writes {
            assert_eq!(
                self.rig.generation(),
                generation,
                "seed {}: an old generation commits",
                self.seed
            );
            assert!(
                self.joined[&generation].contains(&id),
                "seed {}: a stranger commits",
                self.seed
            );
        }
        self.clients[index].committing = Some((reply, number));
    }

    fn heartbeat(&mut self, index: usize) {
        let client = &mut self.clients[index];
        client.next_heartbeat = self.rig.now.monotonic + Duration::from_secs(3);
        let request = HeartbeatRequest {
            group: GROUP.into(),
            generation: client.generation,
            member_id: client.id.clone(),
            instance_id: client.instance.clone(),
        };
        let reply = self.rig.ask(Request::Heartbeat(request));
        if let Some(Answer::Heartbeat(Err(error))) = self.rig.answer(reply) {
            let error = *error;
            self.refused(index, error);
        }
    }

    /// What is committed is never older than what was seen or acknowledged before.
    fn check_offsets(&mut self) {
        let request = FetchOffsetsRequest {
            group: GROUP.into(),
            topics: Some(vec![("t".into(), (0..PARTITIONS).collect())]),
            require_stable: false,
        };
        let reply = self.rig.ask(Request::FetchOffsets(request));
        let Some(Answer::Offsets(Ok(topics))) = self.rig.answer(reply) else {
            panic!()
        };
        for (partition, offset) in &topics[0].partitions {
            let number = offset
                .as_ref()
                .unwrap()
                .as_ref()
                .map_or(0, |o| o.metadata.parse().unwrap());
            let newest = self.newest.entry(*partition).or_default();
            assert!(
                number >= *newest,
                "seed {}: partition {partition} went back to {number}",
                self.seed
            );
            *newest = number;
        }
    }
}
