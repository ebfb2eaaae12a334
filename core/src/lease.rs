//! Who holds which shard.
//!
//! The table decides and does nothing: what must be durable comes out of
//! [`LeaseTable::take_writes`], what must be done out of
//! [`LeaseTable::take_effects`]. A lease is lost in one place only,
//! [`LeaseTable::handle_timeout`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::id::{Epoch, SessionId, ShardId, WorkerId};
use crate::plan::Plan;
use crate::tick::Tick;
use crate::wire::{ResumePoint, ShardState};

mod restore;
#[cfg(test)]
mod tests;

/// How long after its deadline a lease is declared lost. Beats that lie in a
/// socket buffer when the deadline passes get this long to be read.
pub const LAPSE_GRACE: Duration = Duration::from_millis(250);

/// The process on whose behalf a lease is held.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holder {
    /// A process that registered by itself. It cannot be killed, only told.
    External,
    /// A process that the supervisor started. Its shards are handed on only
    /// when its process group is gone.
    Child(WorkerId),
}

impl Holder {
    pub fn child(&self) -> Option<&WorkerId> {
        match self {
            Self::External => None,
            Self::Child(worker) => Some(worker),
        }
    }
}

/// One shard handed to one holder.
#[derive(Debug)]
pub struct Lease {
    pub session: SessionId,
    pub epoch: Epoch,
    pub holder: Holder,
    /// The caller's name for its request, so that it may be repeated.
    pub key: Option<String>,
    pub granted_at: Tick,
    pub last_beat: Tick,
    /// Without a beat until here, the lease is lost.
    pub deadline: Tick,
    /// Where its entry among the timers is.
    timer: Tick,
    pub figures: Figures,
}

/// What the holder last said of its shard.
#[derive(Debug, Default)]
pub struct Figures {
    pub guild_count: Option<i64>,
    /// Seconds.
    pub latency: Option<f64>,
    pub extra: Option<Box<RawValue>>,
    pub state: Option<ShardState>,
    /// Seconds since the last gateway event, when the last beat was sent.
    pub last_event_age: Option<f64>,
    /// Seconds that the holder's own loop lagged behind.
    pub loop_lag: Option<f64>,
    /// The gateway close code that ended the last connection.
    pub close_code: Option<u16>,
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
    pub close_code: Option<u16>,
}

impl Figures {
    fn merge(&mut self, report: BeatReport) {
        fn keep<T>(slot: &mut Option<T>, new: Option<T>) {
            if new.is_some() {
                *slot = new;
            }
        }
        keep(&mut self.guild_count, report.guild_count);
        keep(&mut self.latency, report.latency);
        keep(&mut self.extra, report.extra);
        keep(&mut self.last_event_age, report.last_event_age);
        keep(&mut self.loop_lag, report.loop_lag);
        keep(&mut self.close_code, report.close_code);
        keep(&mut self.state, report.state);
    }
}

/// A request for the lowest free shard.
#[derive(Clone, Debug)]
pub struct Claim {
    pub holder: Holder,
    /// The name of the lease, if one is granted.
    pub session: SessionId,
    pub key: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    #[error("every planned shard is held")]
    NoShardFree,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BeatError {
    /// Unknown or lapsed session, a stale epoch, or another child's session.
    #[error("no lease has this session")]
    UnknownSession,
    /// The lease's shard is no longer planned; the lease is over.
    #[error("the shard is out of the plan")]
    OutOfPlan,
}

/// What an accepted beat changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beaten {
    pub shard: ShardId,
    /// The state before and after, where it changed.
    pub change: Option<(Option<ShardState>, ShardState)>,
    /// Whether the holder speaks the extended contract.
    pub carries_state: bool,
}

/// A lease as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRecord {
    pub shard: ShardId,
    pub session: SessionId,
    pub epoch: Epoch,
    pub holder: Holder,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Wall clock, milliseconds since 1970: when the holder's identify slot is.
    #[serde(default)]
    pub identify_at_ms: u64,
}

/// What must be on disk before anyone is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseWrite {
    Granted {
        shard: ShardId,
        session: SessionId,
        epoch: Epoch,
        holder: Holder,
        key: Option<String>,
        wait_ms: u64,
    },
    Ended {
        shard: ShardId,
        epoch: Epoch,
    },
}

/// Why a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// The holder gave it back.
    Released,
    /// No beat in time.
    Lapsed,
    /// Its process is gone.
    WorkerGone,
    /// Its shard left the plan.
    OutOfPlan,
    /// The grant never became durable, so nobody was told of it.
    Undone,
}

/// Something to act on or tell about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseEffect {
    Ended {
        shard: ShardId,
        epoch: Epoch,
        holder: Holder,
        cause: EndCause,
        silent_ms: u64,
    },
}

/// All leases of one plan.
#[derive(Debug)]
pub struct LeaseTable {
    ttl: Duration,
    plan: Plan,
    next_epoch: Epoch,
    leases: BTreeMap<ShardId, Lease>,
    sessions: HashMap<SessionId, ShardId>,
    keys: HashMap<(Owner, String), ShardId>,
    free: BTreeSet<ShardId>,
    /// Lapsed shards of children whose process group may still run.
    held_back: BTreeMap<ShardId, WorkerId>,
    /// One entry a lease, at or before its deadline: beats move the deadline
    /// alone, and the entry follows when it comes up.
    timers: BTreeSet<(Tick, ShardId)>,
    writes: Vec<LeaseWrite>,
    effects: Vec<LeaseEffect>,
}

/// Whose key it is; `None` for every external caller.
type Owner = Option<WorkerId>;

impl LeaseTable {
    /// A table in which nothing is held. `ttl` is `MAX_SECONDS`.
    pub fn new(plan: Plan, ttl: Duration, next_epoch: Epoch) -> Self {
        let free = plan.iter().collect();
        Self {
            ttl,
            plan,
            next_epoch,
            leases: BTreeMap::new(),
            sessions: HashMap::new(),
            keys: HashMap::new(),
            free,
            held_back: BTreeMap::new(),
            timers: BTreeSet::new(),
            writes: Vec::new(),
            effects: Vec::new(),
        }
    }

    /// The shard that [`Self::claim`] would grant to a new caller.
    pub fn lowest_free(&self) -> Option<ShardId> {
        self.free.first().copied()
    }

    /// The live lease that this key was granted, if it is repeated.
    pub fn repeated(&self, holder: &Holder, key: &str) -> Option<(ShardId, &Lease)> {
        let shard = *self.keys.get(&(holder.child().cloned(), key.to_owned()))?;
        self.leases.get(&shard).map(|lease| (shard, lease))
    }

    /// Leases the lowest free shard. Its first deadline is the holder's wait
    /// for its identify slot and the time to live after it.
    pub fn claim(&mut self, claim: Claim, wait: Duration, now: Tick) -> Result<(ShardId, Epoch), ClaimError> {
        let shard = self.free.pop_first().ok_or(ClaimError::NoShardFree)?;
        assert!(self.plan.contains(shard), "a free shard is planned");
        assert!(!self.leases.contains_key(&shard), "a free shard has no lease");
        let epoch = self.next_epoch;
        self.next_epoch = epoch.next();
        self.writes.push(LeaseWrite::Granted {
            shard,
            session: claim.session,
            epoch,
            holder: claim.holder.clone(),
            key: claim.key.clone(),
            wait_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
        });
        let lease = Lease {
            session: claim.session,
            epoch,
            holder: claim.holder,
            key: claim.key,
            granted_at: now,
            last_beat: now,
            deadline: now + wait + self.ttl,
            timer: now + wait + self.ttl,
            figures: Figures::default(),
        };
        self.insert(shard, lease);
        Ok((shard, epoch))
    }

    /// Keeps a lease: a map look-up and a timestamp.
    pub fn beat(
        &mut self,
        caller: &Holder,
        session: SessionId,
        report: BeatReport,
        now: Tick,
    ) -> Result<Beaten, BeatError> {
        let shard = *self.sessions.get(&session).ok_or(BeatError::UnknownSession)?;
        let lease = self.leases.get_mut(&shard).expect("every session has a lease");
        if report.epoch.is_some_and(|epoch| epoch != lease.epoch) || !may_speak_for(caller, &lease.holder) {
            return Err(BeatError::UnknownSession);
        }
        if !self.plan.contains(shard) {
            self.end(shard, EndCause::OutOfPlan, now);
            return Err(BeatError::OutOfPlan);
        }
        let before = lease.figures.state;
        let carries_state = report.state.is_some();
        let change = report
            .state
            .filter(|after| before != Some(*after))
            .map(|after| (before, after));
        lease.last_beat = now;
        lease.deadline = lease.deadline.max(now + self.ttl);
        lease.figures.merge(report);
        Ok(Beaten {
            shard,
            change,
            carries_state,
        })
    }

    /// The holder gives its lease back: the shard is free at once.
    pub fn release(&mut self, caller: &Holder, session: SessionId, now: Tick) -> Result<ShardId, BeatError> {
        let shard = *self.sessions.get(&session).ok_or(BeatError::UnknownSession)?;
        let lease = self.leases.get(&shard).expect("every session has a lease");
        if !may_speak_for(caller, &lease.holder) {
            return Err(BeatError::UnknownSession);
        }
        self.end(shard, EndCause::Released, now);
        Ok(shard)
    }

    /// A grant could not be made durable: nobody was told, so it never was.
    pub fn undo(&mut self, session: SessionId, now: Tick) {
        if let Some(&shard) = self.sessions.get(&session) {
            self.end(shard, EndCause::Undone, now);
        }
    }

    /// The whole process group of a child is gone: whatever it held is free.
    /// Returns the shards that it still held.
    pub fn worker_gone(&mut self, worker: &WorkerId, now: Tick) -> Vec<ShardId> {
        let held = self.held_by(worker);
        for &shard in &held {
            self.end(shard, EndCause::WorkerGone, now);
        }
        let back: Vec<_> = self
            .held_back
            .iter()
            .filter(|(_, holder)| *holder == worker)
            .map(|(shard, _)| *shard)
            .collect();
        for shard in back {
            self.held_back.remove(&shard);
            self.set_free(shard);
        }
        held
    }

    /// Takes on a new plan. Leases of shards that are not in it end at their
    /// holders' next beat.
    pub fn set_plan(&mut self, plan: Plan) {
        self.plan = plan;
        self.free = self
            .plan
            .iter()
            .filter(|shard| !self.leases.contains_key(shard) && !self.held_back.contains_key(shard))
            .collect();
    }

    /// Adds the manager's own stall to every lease: a starved host must not
    /// look like dead workers.
    pub fn forgive(&mut self, stall: Duration) {
        for lease in self.leases.values_mut() {
            lease.deadline = lease.deadline + stall;
        }
    }

    /// When to call [`Self::handle_timeout`] next.
    pub fn poll_timeout(&self) -> Option<Tick> {
        self.timers.first().map(|(at, _)| *at + LAPSE_GRACE)
    }

    /// The only place where a lease is lost for want of a beat.
    pub fn handle_timeout(&mut self, now: Tick) {
        while let Some(&(at, shard)) = self.timers.first() {
            if at + LAPSE_GRACE > now {
                break;
            }
            let lease = self.leases.get_mut(&shard).expect("every timer has a lease");
            let deadline = lease.deadline;
            assert!(at <= deadline, "a timer is never later than its deadline");
            if deadline + LAPSE_GRACE > now {
                lease.timer = deadline;
                self.timers.remove(&(at, shard));
                self.timers.insert((deadline, shard));
            } else {
                self.end(shard, EndCause::Lapsed, now);
            }
        }
    }

    pub fn take_writes(&mut self) -> Vec<LeaseWrite> {
        std::mem::take(&mut self.writes)
    }

    pub fn take_effects(&mut self) -> Vec<LeaseEffect> {
        std::mem::take(&mut self.effects)
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    pub fn next_epoch(&self) -> Epoch {
        self.next_epoch
    }

    /// All leases, by shard.
    pub fn leases(&self) -> impl Iterator<Item = (ShardId, &Lease)> {
        self.leases.iter().map(|(shard, lease)| (*shard, lease))
    }

    pub fn lease(&self, shard: ShardId) -> Option<&Lease> {
        self.leases.get(&shard)
    }

    /// The lease that a session names, if its caller may speak for it.
    pub fn by_session(&self, caller: &Holder, session: SessionId) -> Option<(ShardId, &Lease)> {
        let shard = *self.sessions.get(&session)?;
        let lease = self.leases.get(&shard)?;
        may_speak_for(caller, &lease.holder).then_some((shard, lease))
    }

    pub fn free_count(&self) -> usize {
        self.free.len()
    }

    pub fn held_back(&self) -> impl Iterator<Item = (ShardId, &WorkerId)> {
        self.held_back.iter().map(|(shard, worker)| (*shard, worker))
    }

    /// The shards that a child holds now.
    pub fn held_by(&self, worker: &WorkerId) -> Vec<ShardId> {
        self.leases()
            .filter(|(_, lease)| lease.holder.child() == Some(worker))
            .map(|(shard, _)| shard)
            .collect()
    }

    fn insert(&mut self, shard: ShardId, lease: Lease) {
        assert!(lease.epoch < self.next_epoch, "an epoch is never used twice");
        self.timers.insert((lease.timer, shard));
        if let Some(key) = &lease.key {
            self.keys
                .insert((lease.holder.child().cloned(), key.clone()), shard);
        }
        let twice = self.sessions.insert(lease.session, shard);
        assert!(twice.is_none(), "a session names one lease");
        let twice = self.leases.insert(shard, lease);
        assert!(twice.is_none(), "a shard has one lease");
    }

    fn end(&mut self, shard: ShardId, cause: EndCause, now: Tick) {
        let lease = self.leases.remove(&shard).expect("only a held shard ends");
        self.sessions.remove(&lease.session);
        if let Some(key) = &lease.key {
            let key = (lease.holder.child().cloned(), key.clone());
            if self.keys.get(&key) == Some(&shard) {
                self.keys.remove(&key);
            }
        }
        let timed = self.timers.remove(&(lease.timer, shard));
        assert!(timed, "every lease has a timer");
        match (cause, lease.holder.child()) {
            (EndCause::Lapsed, Some(worker)) => {
                self.held_back.insert(shard, worker.clone());
            }
            _ => self.set_free(shard),
        }
        self.writes.push(LeaseWrite::Ended {
            shard,
            epoch: lease.epoch,
        });
        self.effects.push(LeaseEffect::Ended {
            shard,
            epoch: lease.epoch,
            holder: lease.holder,
            cause,
            silent_ms: now.ms_since(lease.last_beat),
        });
    }

    fn set_free(&mut self, shard: ShardId) {
        if self.plan.contains(shard) {
            self.free.insert(shard);
        }
    }
}

/// A child speaks for itself alone; whoever knows the shared secret may speak
/// for every lease, as in the published API.
fn may_speak_for(caller: &Holder, holder: &Holder) -> bool {
    match caller {
        Holder::External => true,
        Holder::Child(_) => caller == holder,
    }
}
