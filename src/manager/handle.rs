//! What others ask of the manager, and what they get back.
//!
//! This file knows no status code and no JSON shape; `http` turns its answers
//! into both.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use shardman_core::count;
use shardman_core::identify::USE_WITHIN;
pub use shardman_core::lease::{BeatError, BeatReport};
use shardman_core::wire::{BeatAnswer, FleetView, PlanReport, PlanView, ResumePoint, Status};
use shardman_core::{Epoch, SessionId, ShardId, WorkerId};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::fleet::Fleet;
use super::keys::Keys;
use super::live::Live;
use super::pools::{self, Pools};
use super::reload::ReloadCall;
use super::request::{DiscordNews, Request};
use super::series::Seen;
use super::timeline::History;
use super::view::{self, Summary};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::supervisor::{Logs, Means, memory};

/// How long `POST /identify` is held before the caller is told to ask again:
/// shorter than what proxies and clients give up after.
const IDENTIFY_POLL: Duration = Duration::from_secs(25);

/// Who presented a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The fleet's shared secret: a worker that registers by itself.
    External,
    /// A credential that the supervisor gave to one run of a child.
    Child { worker: WorkerId, run: u64 },
    /// The operator's secret.
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
    /// These are there.
    #[error("there is no such pool")]
    UnknownPool { pools: Vec<String> },
    /// A child stays in the pool that it was started for.
    #[error("the caller is of the pool {own}")]
    OtherPool { own: String },
    /// The processes of the pool are given their slots, and nobody else is.
    #[error("the slots of the pool {pool} are given to its own processes")]
    Assigned { pool: String },
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
    /// Its pool is not `discord`.
    #[error("nothing of its pool identifies")]
    NoGateway,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RescaleError {
    /// Every reason why it is not safe.
    #[error("{0}")]
    Refused(String),
    #[error("nothing can be changed now: {reason}")]
    Unavailable { reason: String },
}

/// What the owner and its handles share.
#[derive(Debug)]
pub(super) struct Shared {
    /// Held for moments only, never across an `.await`: a beat costs a map
    /// look-up and a timestamp, not a trip through the owner's queue.
    pub(super) fleet: Mutex<Fleet>,
    /// The pools beside `discord`.
    pub(super) pools: Pools,
    pub(super) keys: Keys,
    pub(super) logs: Arc<Logs>,
    pub(super) means: Means,
    pub(super) clock: Clock,
    /// Something changed that the owner should look at.
    pub(super) wake: Notify,
    pub(super) summary: watch::Sender<Summary>,
    pub(super) history: History,
    pub(super) live: Live,
    pub(super) seen: Seen,
    pub(super) metrics: Arc<Metrics>,
    /// How often the owner has turned.
    pub(super) turns: AtomicU64,
    /// An operator wants the fleet and the manager to stop.
    pub(super) stop_asked: CancellationToken,
    /// Who reads the configuration again, where somebody can.
    pub(super) reloads: OnceLock<mpsc::Sender<ReloadCall>>,
}

impl Shared {
    pub(super) fn fleet(&self) -> MutexGuard<'_, Fleet> {
        // A panic under this lock has broken an invariant; the process ends.
        self.fleet.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A cheap, cloneable door to the manager.
#[derive(Clone, Debug)]
pub struct ManagerHandle {
    pub(super) shared: Arc<Shared>,
    pub(super) requests: mpsc::Sender<Request>,
}

impl ManagerHandle {
    /// Whose secret this is, compared in constant time.
    pub fn authorize(&self, secret: &[u8]) -> Option<Caller> {
        self.shared.keys.authorize(secret)
    }

    /// Leases the lowest free shard.
    pub async fn connect(&self, request: ConnectRequest) -> Result<Connection, ConnectError> {
        self.connect_to(None, request).await
    }

    /// Keeps a lease: a map look-up and a timestamp.
    pub fn beat(
        &self,
        caller: &Caller,
        session: SessionId,
        report: BeatReport,
    ) -> Result<BeatAnswer, BeatError> {
        let (answer, wake) = {
            let mut fleet = self.shared.of_session(caller, session);
            let now = self.shared.clock.now();
            (fleet.beat(caller, session, report, now), fleet.wants_a_turn())
        };
        if wake {
            self.shared.wake.notify_one();
        }
        self.shared.metrics.beat(&answer);
        answer.map(|told| BeatAnswer {
            directive: told.directive,
            heartbeat_seconds: told.heartbeat,
        })
    }

    /// Releases a lease.
    pub async fn disconnect(&self, caller: &Caller, session: SessionId) -> Result<(), DisconnectError> {
        let gone = || DisconnectError::Unavailable {
            reason: STOPPED.to_owned(),
        };
        let (reply, answer) = oneshot::channel();
        let request = Request::Disconnect {
            caller: caller.clone(),
            session,
            reply,
        };
        let request = self.to_its_pool(caller, session, request);
        self.requests.send(request).await.map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Waits, for a bounded time, for the permit to identify. Dropping the
    /// future gives the place in the line back.
    pub async fn identify(
        &self,
        caller: &Caller,
        session: SessionId,
    ) -> Result<IdentifyOutcome, IdentifyError> {
        if !self.shared.of_session(caller, session).is_discord() {
            return Err(IdentifyError::NoGateway);
        }
        let (reply, mut answer) = oneshot::channel();
        let request = Request::Identify {
            caller: caller.clone(),
            session,
            reply,
        };
        self.requests
            .send(request)
            .await
            .map_err(|_| IdentifyError::UnknownSession)?;
        match tokio::time::timeout(IDENTIFY_POLL, &mut answer).await {
            Ok(Ok(permit)) => permit.map(|permit| IdentifyOutcome::Granted {
                permit: permit.number,
                open_seconds: USE_WITHIN.as_secs_f64(),
            }),
            // The lease ended while its holder waited.
            Ok(Err(_)) => Err(IdentifyError::UnknownSession),
            Err(_) => Ok(IdentifyOutcome::StillWaiting {
                wait_seconds: self
                    .shared
                    .fleet()
                    .identify_wait(session, self.shared.clock.now())
                    .as_secs_f64(),
            }),
        }
    }

    /// What `GET /status` shows, by shard number.
    pub fn status(&self) -> Status {
        view::status(&self.shared.fleet(), &self.shared.clock)
    }

    /// What `GET /fleet` shows: every planned shard and every worker.
    pub fn fleet(&self) -> FleetView {
        self.shared.view()
    }

    /// Whether leases can be granted and kept, or why not.
    pub fn readiness(&self) -> Result<(), String> {
        view::readiness(&self.shared.fleet())
    }

    /// Counts that change as the fleet does.
    pub fn summary(&self) -> watch::Receiver<Summary> {
        self.shared.summary.subscribe()
    }

    /// What the watch on Discord found.
    pub async fn discord(&self, news: DiscordNews) {
        // Nobody needs to know once the manager is gone.
        let _ = self.requests.send(Request::Discord(news)).await;
    }

    /// Whether this caller may steer the fleet: whoever has the operator's
    /// secret, or the shared one where operators have none of their own.
    pub fn may_operate(&self, caller: &Caller) -> bool {
        match caller {
            Caller::Operator => true,
            Caller::External => !self.shared.keys.has_operator(),
            Caller::Child { .. } => false,
        }
    }

    /// The cause of a halt is gone. False when nothing was halted.
    pub async fn resume_fleet(&self) -> Result<bool, DisconnectError> {
        let gone = || DisconnectError::Unavailable {
            reason: STOPPED.to_owned(),
        };
        let mut any = false;
        for pool in self.shared.every_pool() {
            let (reply, answer) = oneshot::channel();
            let request = pools::within(pool, Request::Resume { reply });
            self.requests.send(request).await.map_err(|_| gone())?;
            any |= answer.await.unwrap_or_else(|_| Err(gone()))?;
        }
        Ok(any)
    }

    /// The plan, and what becomes of it.
    pub fn plan(&self) -> PlanView {
        self.shared.fleet().plan_view(self.shared.clock.now())
    }

    /// What a change to `target` shards costs, and what speaks against it.
    pub fn price(&self, target: u32) -> PlanReport {
        let memory = self.memory();
        let question = self.shared.fleet().question(target, memory);
        count::price(&question)
    }

    /// Changes the number of shards, if that is safe.
    pub async fn rescale(&self, target: u32) -> Result<PlanReport, RescaleError> {
        let gone = || RescaleError::Unavailable {
            reason: STOPPED.to_owned(),
        };
        let (reply, answer) = oneshot::channel();
        let request = Request::Rescale {
            target,
            memory: self.memory(),
            reply,
        };
        self.requests.send(request).await.map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Read while nobody waits for the fleet.
    fn memory(&self) -> Option<(u64, u64)> {
        let holding = view::holding(&self.shared.fleet());
        memory::of(&holding)
    }

    /// Whether anything runs or is held, in any pool.
    pub fn is_in_use(&self) -> bool {
        let used = |fleet: &Fleet| fleet.running().next().is_some() || fleet.table.leases().next().is_some();
        used(&self.shared.fleet()) || self.shared.pools.iter().any(|(_, fleet)| used(&fleet))
    }

    /// Lets the fleet use the reserve of session starts.
    pub async fn spend_reserve(&self) {
        let _ = self.requests.send(Request::SpendReserve).await;
    }

    /// Stops every child; a second time, kills them.
    pub async fn stop_fleet(&self) {
        let _ = self.requests.send(Request::Stop).await;
    }
}

pub(super) const STOPPED: &str = "the manager is shutting down";
