//! Heartbeat: keeps a session alive and carries the news of a rebalance.

use super::error::GroupError;
use super::request::HeartbeatRequest;
use super::state::{Group, GroupState};
use super::turn::Turn;

impl Group {
    /// Handles a heartbeat.
    pub(super) fn heartbeat(
        &mut self,
        turn: &mut Turn<'_>,
        request: &HeartbeatRequest,
    ) -> Result<(), GroupError> {
        self.check_generation(
            &request.member_id,
            request.instance_id.as_ref(),
            request.generation,
        )?;
        self.restart_session(turn, &request.member_id);
        match self.state {
            GroupState::PreparingRebalance => Err(GroupError::RebalanceInProgress),
            GroupState::CompletingRebalance | GroupState::Stable => Ok(()),
            GroupState::Empty | GroupState::Dead => Err(GroupError::UnknownMember),
        }
    }
}
