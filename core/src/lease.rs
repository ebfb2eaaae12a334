//! Who holds which shard.
//!
//! The table decides and does nothing: what must be durable comes out of
//! [`LeaseTable::take_writes`], what must be done out of
//! [`LeaseTable::take_effects`]. A lease is lost in one place only,
//! [`LeaseTable::handle_timeout`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use crate::id::{Epoch, SessionId, ShardId, WorkerId};
use crate::plan::Plan;
use crate::tick::Tick;

mod assign;
mod held_back;
mod parts;
mod restore;
#[cfg(test)]
mod tests;

use held_back::HeldBack;
pub use parts::{
    BeatError, BeatReport, Beaten, Claim, ClaimError, EndCause, Figures, Holder, Lease, LeaseEffect,
    LeaseRecord, LeaseWrite,
};
use parts::{may_speak_for, whole_ms};

/// How long after its deadline a lease is declared lost. Beats that lie in a
/// socket buffer when the deadline passes get this long to be read.
pub const LAPSE_GRACE: Duration = Duration::from_millis(250);

/// How long a holder that is told to drain may go on beating before its lease
/// ends all the same.
pub const DRAIN_WITHIN: Duration = Duration::from_secs(120);

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
    /// How many shards each child holds: every turn asks.
    children: BTreeMap<WorkerId, u32>,
    /// Lapsed shards of children whose process group may still run.
    held_back: HeldBack,
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
            children: BTreeMap::new(),
            held_back: HeldBack::default(),
            timers: BTreeSet::new(),
            writes: Vec::new(),
            effects: Vec::new(),
        }
    }

    /// The shard that [`Self::claim`] would grant to a new caller.
    pub fn lowest_free(&self) -> Option<ShardId> {
        self.free.first().copied()
    }

    /// The shard whose live lease this key was granted, if it is repeated. Who
    /// asks again got no answer, and counts its time from now.
    pub fn repeat(&mut self, holder: &Holder, key: &str, now: Tick) -> Option<ShardId> {
        let shard = *self.keys.get(&(holder.child().cloned(), key.to_owned()))?;
        let lease = self.leases.get_mut(&shard)?;
        lease.deadline = lease.deadline.max(now + lease.ttl);
        Some(shard)
    }

    /// Leases the lowest free shard. Its first deadline is the holder's wait
    /// for its identify slot and the time to live after it.
    pub fn claim(&mut self, claim: Claim, wait: Duration, now: Tick) -> Result<(ShardId, Epoch), ClaimError> {
        let shard = self.lowest_free().ok_or(ClaimError::NoShardFree)?;
        Ok((shard, self.grant(shard, claim, wait, false, now)))
    }

    fn grant(&mut self, shard: ShardId, claim: Claim, wait: Duration, assigned: bool, now: Tick) -> Epoch {
        assert!(self.plan.contains(shard), "a free shard is planned");
        assert!(!self.leases.contains_key(&shard), "a free shard has no lease");
        self.free.remove(&shard);
        let epoch = self.next_epoch;
        self.next_epoch = epoch.next();
        let silence = if assigned { Duration::ZERO } else { self.ttl };
        let deadline = now + wait + silence;
        self.writes.push(LeaseWrite::Granted {
            shard,
            session: claim.session,
            epoch,
            holder: claim.holder.clone(),
            key: claim.key.clone(),
            wait_ms: whole_ms(wait),
            ttl_ms: whole_ms(self.ttl),
            assigned,
        });
        let lease = Lease {
            session: claim.session,
            epoch,
            holder: claim.holder,
            key: claim.key,
            granted_at: now,
            identify_at: Some(now + wait),
            last_beat: now,
            // Nothing more will be heard of it than that it runs.
            heard: assigned && wait.is_zero(),
            assigned,
            beats: 0,
            ttl: self.ttl,
            deadline,
            unplanned_since: None,
            leaving: false,
            timer: deadline,
            figures: Figures::default(),
        };
        self.insert(shard, lease);
        epoch
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
        // Who understands directives is asked to leave; others are told.
        let drain = lease.unplanned_since;
        if let Some(since) = drain
            && (report.state.or(lease.figures.state).is_none() || now >= since + DRAIN_WITHIN)
        {
            self.end(shard, EndCause::OutOfPlan, now);
            return Err(BeatError::OutOfPlan);
        }
        lease.leaving = drain.is_some();
        let outdated = report.number.is_some_and(|number| number <= lease.beats);
        let report = if outdated { BeatReport::default() } else { report };
        lease.beats = lease.beats.max(report.number.unwrap_or(0));
        let before = lease.figures.state;
        let change = report
            .state
            .filter(|after| before != Some(*after))
            .map(|after| (before, after));
        let known = lease.figures.close_code;
        let closed = report
            .close_code
            .filter(|code| change.is_some() || known != Some(*code));
        lease.last_beat = now;
        lease.heard = true;
        lease.deadline = lease.deadline.max(now + lease.ttl);
        lease.figures.merge(report, now);
        Ok(Beaten {
            shard,
            change,
            closed,
            outdated,
            drain: drain.is_some(),
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
        for shard in self.held_back.take_of(worker) {
            self.set_free(shard);
        }
        held
    }

    /// Keeps a shard from being handed out until its former holder is gone. The
    /// session is not known any more, so nobody can give it up.
    pub fn hold_back(&mut self, shard: ShardId, worker: WorkerId) {
        if !self.leases.contains_key(&shard) {
            self.free.remove(&shard);
            self.held_back.insert(shard, worker, None);
        }
    }

    /// The holder waits for its turn, or has got it.
    pub fn set_identify_at(&mut self, shard: ShardId, at: Option<Tick>) {
        if let Some(lease) = self.leases.get_mut(&shard) {
            lease.identify_at = at;
        }
    }

    /// Takes on a new plan. Leases of shards that are not in it end at their
    /// holders' next beat, or when holders that understand have drained. Who
    /// was told to leave goes on leaving, whatever the new plan says.
    pub fn set_plan(&mut self, plan: Plan, now: Tick) {
        self.plan = plan;
        for (shard, lease) in &mut self.leases {
            let planned = self.plan.contains(*shard) && !lease.leaving;
            lease.unplanned_since = match planned {
                true => None,
                false => lease.unplanned_since.or(Some(now)),
            };
        }
        self.free = self
            .plan
            .iter()
            .filter(|shard| !self.leases.contains_key(shard) && !self.held_back.contains(*shard))
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
            if lease.assigned {
                // Its child's end is its only one.
                lease.heard = true;
                lease.deadline = lease.deadline.max(now + lease.ttl);
            }
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
        self.held_back.iter()
    }

    /// How many shards each child holds; who holds none is not there.
    pub fn children(&self) -> &BTreeMap<WorkerId, u32> {
        &self.children
    }

    fn insert(&mut self, shard: ShardId, lease: Lease) {
        assert!(lease.epoch < self.next_epoch, "an epoch is never used twice");
        self.timers.insert((lease.timer, shard));
        if let Some(key) = &lease.key {
            self.keys
                .insert((lease.holder.child().cloned(), key.clone()), shard);
        }
        if let Some(worker) = lease.holder.child() {
            *self.children.entry(worker.clone()).or_insert(0) += 1;
        }
        let twice = self.sessions.insert(lease.session, shard);
        assert!(twice.is_none(), "a session names one lease");
        let twice = self.leases.insert(shard, lease);
        assert!(twice.is_none(), "a shard has one lease");
    }

    fn end(&mut self, shard: ShardId, cause: EndCause, now: Tick) {
        let lease = self.leases.remove(&shard).expect("only a held shard ends");
        self.sessions.remove(&lease.session);
        if let Some(worker) = lease.holder.child() {
            let held = self.children.get_mut(worker).expect("a holder is counted");
            *held -= 1;
            if *held == 0 {
                self.children.remove(worker);
            }
        }
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
                let session = Some(lease.session);
                self.held_back.insert(shard, worker.clone(), session);
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
