//! What the HTTP layer asks of the manager, and what it gets back.
//!
//! This file knows no status code and no JSON shape; `http` turns its answers
//! into both.

use serde_json::value::RawValue;
use shardman_core::wire::{Directive, ResumePoint, ShardState, Status};
use shardman_core::{Epoch, SessionId, ShardId, WorkerId};

/// Who presented a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The fleet's shared secret: a worker that registers by itself.
    External,
    /// A credential that the supervisor gave to one child.
    Child(WorkerId),
    /// The operator's secret (or the shared one, where there is no other).
    Operator,
}

/// How a holder means to come by the right to identify.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdentifyPlan {
    /// It sleeps `sleep_duration` seconds: a slot is reserved for it at once.
    #[default]
    Sleep,
    /// It will call `POST /identify` before it identifies: nothing is reserved.
    Ask,
}

/// `GET /connect`.
#[derive(Clone, Debug)]
pub struct ConnectRequest {
    pub caller: Caller,
    pub identify: IdentifyPlan,
    /// The `Idempotency-Key` header: a repeated request gets the same lease.
    pub idempotency_key: Option<String>,
}

/// A lease, freshly granted or repeated.
#[derive(Clone, Debug)]
pub struct Connection {
    pub shard: ShardId,
    pub session: SessionId,
    pub epoch: Epoch,
    /// Seconds until the shard's own identify slot.
    pub sleep_seconds: f64,
    pub heartbeat_seconds: f64,
    pub max_seconds: f64,
    pub gateway_url: Option<String>,
    pub resume: Option<ResumePoint>,
}

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("every planned shard is held")]
    NoShardFree,
    /// No count is known yet, or the disk takes no grant: try again later.
    #[error("no lease can be granted now: {reason}")]
    Unavailable { reason: String, retry_seconds: u64 },
}

/// The figures of one beat. `None` keeps what the last beat said.
#[derive(Debug, Default)]
pub struct BeatReport {
    pub guild_count: Option<i64>,
    pub latency: Option<f64>,
    pub extra: Option<Box<RawValue>>,
    pub state: Option<ShardState>,
    pub epoch: Option<Epoch>,
    pub gateway: Option<ResumePoint>,
    pub last_event_age: Option<f64>,
    pub loop_lag: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BeatError {
    /// Unknown or lapsed session, or one that belongs to another child.
    #[error("no lease has this session")]
    UnknownSession,
    /// The lease's shard is no longer planned.
    #[error("the shard is out of the plan")]
    OutOfPlan,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DisconnectError {
    #[error("no lease has this session")]
    UnknownSession,
    #[error("the lease cannot be released now: {reason}")]
    Unavailable { reason: String },
}

#[derive(Debug, Clone, PartialEq)]
pub enum IdentifyOutcome {
    /// IDENTIFY may be sent now. The permit stays open for `open_seconds`.
    Granted { permit: u64, open_seconds: f64 },
    /// Not yet; ask again at once to keep the place in the line.
    StillWaiting { wait_seconds: f64 },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentifyError {
    #[error("no lease has this session")]
    UnknownSession,
    #[error("the shard is out of the plan")]
    OutOfPlan,
}

/// A cheap, cloneable door to the manager.
#[derive(Clone, Debug)]
pub struct ManagerHandle {}

impl ManagerHandle {
    /// Whose secret this is, compared in constant time.
    pub fn authorize(&self, _secret: &[u8]) -> Option<Caller> {
        unimplemented!()
    }

    /// Leases the lowest free shard.
    pub async fn connect(&self, _request: ConnectRequest) -> Result<Connection, ConnectError> {
        unimplemented!()
    }

    /// Keeps a lease: a map look-up and a timestamp.
    pub fn beat(&self, _caller: &Caller, _session: SessionId, _report: BeatReport) -> Result<Directive, BeatError> {
        unimplemented!()
    }

    /// Releases a lease.
    pub async fn disconnect(&self, _caller: &Caller, _session: SessionId) -> Result<(), DisconnectError> {
        unimplemented!()
    }

    /// Waits, for a bounded time, for the permit to identify. Dropping the
    /// future gives the place in the line back.
    pub async fn identify(&self, _caller: &Caller, _session: SessionId) -> Result<IdentifyOutcome, IdentifyError> {
        unimplemented!()
    }

    /// What `GET /status` shows, by shard number.
    pub fn status(&self) -> Status {
        unimplemented!()
    }

    /// Whether leases can be granted and kept, or why not.
    pub fn readiness(&self) -> Result<(), String> {
        unimplemented!()
    }
}
