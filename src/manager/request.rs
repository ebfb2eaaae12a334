//! What the owner is asked for, and the answers it owes.

use std::sync::Arc;

use shardman_core::identify::Permit;
use shardman_core::reload::ReloadEffect;
use shardman_core::rescale::Rescale;
use shardman_core::wire::PlanReport;
use shardman_core::{PoolId, SessionId};
use tokio::sync::oneshot;

use super::fleet::Counting;
use super::handle::{
    Caller, ConnectError, ConnectRequest, Connection, DisconnectError, IdentifyError, RescaleError,
};
use super::restarts::{RestartError, RestartRequest};
use super::settings::Settings;
use crate::store::DiscordFacts;
use crate::supervisor::WorkerEvent;

/// One request to the single owner.
#[derive(Debug)]
pub(super) enum Request {
    Connect {
        request: ConnectRequest,
        reply: oneshot::Sender<Result<Connection, ConnectError>>,
    },
    Disconnect {
        caller: Caller,
        session: SessionId,
        reply: oneshot::Sender<Result<(), DisconnectError>>,
    },
    Identify {
        caller: Caller,
        session: SessionId,
        reply: oneshot::Sender<Result<Permit, IdentifyError>>,
    },
    Worker(WorkerEvent),
    Discord(DiscordNews),
    /// An operator asks for another number of shards. `memory` is that of one
    /// shard and what the host has left, in bytes.
    Rescale {
        target: u32,
        memory: Option<(u64, u64)>,
        reply: oneshot::Sender<Result<PlanReport, RescaleError>>,
    },
    /// The reserve of session starts may be used, and shares be exceeded.
    SpendReserve,
    /// The cause of a halt is gone.
    Resume {
        reply: oneshot::Sender<Result<bool, DisconnectError>>,
    },
    /// Restart some workers one after the other.
    Restart {
        request: RestartRequest,
        reply: oneshot::Sender<Result<bool, RestartError>>,
    },
    /// Restart no further worker for now, or go on.
    HoldRestart {
        hold: bool,
        reply: oneshot::Sender<Result<bool, RestartError>>,
    },
    /// Restart no further worker.
    CancelRestart {
        reply: oneshot::Sender<Result<bool, RestartError>>,
    },
    /// An operator stops a worker, until one wants it to run again.
    Want {
        worker: String,
        wanted: bool,
        reply: oneshot::Sender<Result<bool, RestartError>>,
    },
    /// Other settings, from now on. Answered with the workers that are no
    /// longer halted.
    Reload {
        settings: Arc<Settings>,
        changes: Vec<(String, ReloadEffect)>,
        reply: oneshot::Sender<Vec<String>>,
    },
    /// Stop every child; a second time, kill them.
    Stop,
    /// For another pool than `discord`.
    In(PoolId, Box<Request>),
}

/// What the watch on Discord's REST API found.
#[derive(Debug)]
pub enum DiscordNews {
    Facts(DiscordFacts),
    /// It cannot be asked now: known counts stay in force.
    Unreachable {
        reason: String,
        retry_seconds: u64,
    },
}

/// An answer that must wait until what it says is durable.
#[derive(Debug)]
pub(super) enum Answer {
    Connect {
        grant: Option<Grant>,
        connection: Connection,
        reply: oneshot::Sender<Result<Connection, ConnectError>>,
    },
    Disconnect {
        reply: oneshot::Sender<Result<(), DisconnectError>>,
    },
    Rescale {
        /// What was under way and wanted before.
        before: Box<(Option<Rescale>, Counting)>,
        report: PlanReport,
        reply: oneshot::Sender<Result<PlanReport, RescaleError>>,
    },
    Resume {
        resumed: bool,
        reply: oneshot::Sender<Result<bool, DisconnectError>>,
    },
    Restart {
        /// Whether one begins; false for what needs no waiting.
        begins: bool,
        reply: oneshot::Sender<Result<bool, RestartError>>,
    },
}

impl Answer {
    pub(super) fn begins_a_restart(&self) -> bool {
        matches!(self, Self::Restart { begins: true, .. })
    }

    /// What it says is durable.
    pub(super) fn send(self) {
        // A caller that went away finds its lease by its key, or loses it.
        match self {
            Self::Connect {
                connection, reply, ..
            } => drop(reply.send(Ok(connection))),
            Self::Disconnect { reply } => drop(reply.send(Ok(()))),
            Self::Rescale { report, reply, .. } => drop(reply.send(Ok(report))),
            Self::Resume { resumed, reply } => drop(reply.send(Ok(resumed))),
            Self::Restart { begins, reply } => drop(reply.send(Ok(begins))),
        }
    }

    /// The new lease that it tells of.
    pub(super) fn grant(&self) -> Option<Grant> {
        match self {
            Self::Connect { grant, .. } => *grant,
            Self::Disconnect { .. } | Self::Rescale { .. } | Self::Resume { .. } | Self::Restart { .. } => {
                None
            }
        }
    }

    /// It could not be made durable, and the leases of `undone` never were.
    pub(super) fn refuse(self, reason: &str, undone: &[SessionId]) {
        let reason = reason.to_owned();
        match self {
            Self::Connect {
                connection, reply, ..
            } if undone.contains(&connection.session) => {
                drop(reply.send(Err(ConnectError::Unavailable {
                    reason,
                    retry_seconds: RETRY_SECONDS,
                })));
            }
            // A repeated request asks for what is durable already.
            repeated @ Self::Connect { .. } => repeated.send(),
            Self::Disconnect { reply } => drop(reply.send(Err(DisconnectError::Unavailable { reason }))),
            Self::Rescale { reply, .. } => drop(reply.send(Err(RescaleError::Unavailable { reason }))),
            Self::Resume { reply, .. } => drop(reply.send(Err(DisconnectError::Unavailable { reason }))),
            Self::Restart { reply, .. } => drop(reply.send(Err(RestartError::Unavailable { reason }))),
        }
    }
}

/// A new lease that an answer tells of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant {
    pub(super) session: SessionId,
    /// Whether a session start was set aside for it.
    pub(super) spent: bool,
}

/// What a caller is told to wait when the manager cannot serve it now.
pub(super) const RETRY_SECONDS: u64 = 5;
