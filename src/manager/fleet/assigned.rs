//! Children that do not ask: the manager gives them their shards and starts
//! them when Discord would take what they identify.
//!
//! Such a child identifies by itself soon after its start, and reports nothing.
//! So its start is spaced as an IDENTIFY is: its shards are leased, its session
//! starts spent and its buckets closed in the commit that intends the start.

use std::time::Duration;

use shardman_core::identify::deadlines;
use shardman_core::lease::{Claim, Holder, Lease};
use shardman_core::ledger::{self, Spender};
use shardman_core::reconcile::StopCause;
use shardman_core::{SessionId, ShardId, Tick, WorkerId};
use tracing::info;

use super::{Alert, AlertKind, Effect, Fleet, Run};
use crate::manager::handle::Caller;

#[cfg(test)]
mod tests;

/// What the starts of such children wait for.
#[derive(Debug)]
pub(super) struct Assigning {
    /// When the buckets of the next one are likely to be open.
    opens_at: Option<Tick>,
    /// Why the next one gets no session starts, in words.
    too_few_starts: Option<String>,
    /// Some child may hold a shard that is out of the plan.
    look_for_unplanned: bool,
}

impl Default for Assigning {
    fn default() -> Self {
        Self {
            opens_at: None,
            too_few_starts: None,
            look_for_unplanned: true,
        }
    }
}

impl Assigning {
    /// What is waited for is found anew with every look.
    pub(super) fn begin_a_look(&mut self) {
        self.opens_at = None;
        self.too_few_starts = None;
    }

    /// Session starts are missing, in words.
    pub(super) fn lack(&mut self, words: String) {
        self.too_few_starts = Some(words);
    }

    pub(super) fn plan_changed(&mut self) {
        self.look_for_unplanned = true;
    }
}

impl Fleet {
    /// Starts a child with the lowest free shards, at most `most`, as soon as
    /// there are session starts and open buckets for all of them.
    pub(super) fn start_assigned(&mut self, worker: WorkerId, most: u32, now: Tick) {
        let shards = self.assignable(most);
        let needed = u32::try_from(shards.len()).unwrap_or(u32::MAX);
        if shards.is_empty() || !self.may_spend(&worker, needed) {
            return;
        }
        let opens_at = self.line.may_begin(&shards, now);
        if opens_at > now {
            let earlier = self.assigning.opens_at.unwrap_or(opens_at);
            self.assigning.opens_at = Some(earlier.min(opens_at));
            return;
        }
        let waits: Vec<_> = deadlines(shards.len(), self.settings.login_within).collect();
        let assigned = self.assign(&worker, shards.iter().copied().zip(waits.iter().copied()), now);
        self.start(worker.clone(), needed, assigned, now);
        let holder = Holder::Child(worker);
        for (shard, wait) in shards.into_iter().zip(waits) {
            self.line.begin(shard, now + wait);
            self.spend_start(shard, &holder, now, now);
        }
    }

    /// Leases these free shards to a child on its behalf, each with the time
    /// after which it counts as one that serves, in the commit of this turn.
    /// The leases last as long as its process group.
    pub(super) fn assign(
        &mut self,
        worker: &WorkerId,
        shards: impl Iterator<Item = (ShardId, Duration)>,
        now: Tick,
    ) -> Vec<(ShardId, SessionId)> {
        let mut assigned = Vec::new();
        for (shard, wait) in shards {
            let session =
                SessionId::from_random(u128::from(self.dice.roll()) << 64 | u128::from(self.dice.roll()));
            let claim = Claim {
                holder: Holder::Child(worker.clone()),
                session,
                key: None,
            };
            let Ok(epoch) = self.table.assign(shard, claim, wait, now) else {
                continue;
            };
            info!(shard.id = %shard, worker.id = %worker, "shard {shard} is given to worker {worker} (epoch {epoch})");
            self.effects.push(Effect::Alert(Alert {
                kind: AlertKind::Connect,
                shard: Some(shard),
                text: "a worker was given the shard".to_owned(),
                last_beat_ms: self.clock.wall_ms(),
            }));
            assigned.push((shard, session));
        }
        self.follow_leases(now);
        assigned
    }

    /// The lowest free shards, all of one total: a process knows only one.
    fn assignable(&self, most: u32) -> Vec<ShardId> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let total = self.table.lowest_free().map(ShardId::total);
        let free = self.table.free().filter(|shard| Some(shard.total()) == total);
        free.take(most).collect()
    }

    /// Whether a child may identify so many shards now, as far as budget and
    /// shares go; if not, that is said.
    fn may_spend(&mut self, worker: &WorkerId, needed: u32) -> bool {
        let free = self.starts_free();
        if free < needed {
            self.assigning.too_few_starts = Some(format!(
                "worker {worker} needs {needed} session starts and {free} may be used; `shardman start --spend-reserve` uses the reserve"
            ));
            return false;
        }
        if self.left_of_its_share(worker, needed) < needed {
            self.refuse_over_share(Spender::Child(worker.clone()));
            return false;
        }
        true
    }

    /// What a child may still spend if it is given `needed` shards.
    fn left_of_its_share(&self, worker: &WorkerId, needed: u32) -> u32 {
        let spender = Spender::Child(worker.clone());
        let shares = self.shares();
        let limit = shares
            .total
            .map(|total| ledger::limit(total, shares.percent, needed));
        let limit = limit.max(shares.limit(&spender));
        let spent = self.starts.ledger.spent(&spender);
        limit.map_or(u32::MAX, |limit| limit.saturating_sub(spent))
    }

    /// Why a child that is given its shards could not identify what it holds
    /// or was started for, at least `least` shards, in a next run. Nothing of
    /// it is resumed.
    pub(super) fn lacks_starts_of_its_own(&self, worker: &WorkerId, least: u32) -> Option<String> {
        if !self.settings.assigns {
            return None;
        }
        let started_for = self.workers.get(worker).map_or(0, |entry| entry.record.shards);
        let needed = started_for.max(least).max(1);
        let left = self.starts_free().min(self.left_of_its_share(worker, needed));
        (left < needed).then(|| {
            format!(
                "worker {worker} is not restarted: it needs {needed} session starts and may use {left}; `shardman start --spend-reserve` lifts that"
            )
        })
    }

    /// The process was never there: nothing was identified.
    pub(super) fn unspend_assigned(&mut self, worker: &WorkerId) {
        let of_worker =
            |(_, lease): &(ShardId, &Lease)| lease.assigned && lease.holder.child() == Some(worker);
        let sessions: Vec<_> = self
            .table
            .leases()
            .filter(of_worker)
            .map(|(_, lease)| lease.session)
            .collect();
        for session in sessions {
            self.refund_start(session);
        }
    }

    /// Whether it is a child that may hold only what it was given.
    pub(super) fn is_given_shards(&self, caller: &Caller) -> bool {
        self.settings.assigns && matches!(caller, Caller::Child { .. })
    }

    /// The shards that leave with this one, because one process was given them
    /// all.
    pub(super) fn assigned_together(&self, shard: ShardId) -> Vec<ShardId> {
        let holder = self.table.lease(shard).filter(|lease| lease.assigned);
        let worker = holder.and_then(|lease| lease.holder.child());
        worker.map_or_else(Vec::new, |worker| self.table.held_by(worker))
    }

    /// Nobody can tell such a child that a shard of it has left the plan: it is
    /// stopped, and what it held besides is handed on.
    pub(super) fn stop_unplanned(&mut self) {
        if !self.assigning.look_for_unplanned {
            return;
        }
        let unplanned = |(_, lease): (ShardId, &Lease)| {
            let child = lease.holder.child().cloned();
            child.filter(|_| lease.assigned && lease.is_unplanned())
        };
        let mut holders: Vec<_> = self.table.leases().filter_map(unplanned).collect();
        holders.dedup();
        self.assigning.look_for_unplanned = !holders.is_empty();
        for worker in holders {
            let runs = |worker| self.workers.get(worker).map(|entry| entry.run) == Some(Run::Running);
            if runs(&worker) {
                self.stop(worker, StopCause::Surplus);
            }
        }
    }

    /// Why such a child is not started, where session starts are the reason.
    pub(in crate::manager) fn assigned_trouble(&self) -> Option<String> {
        let used_up = self.starts_free() == 0;
        self.assigning.too_few_starts.clone().filter(|_| !used_up)
    }

    /// When such a child may be started.
    pub(super) fn assigned_timeout(&self, now: Tick) -> Option<Tick> {
        let wall = self.clock.wall_ms();
        let facts = self.discord.as_ref();
        let renewed = facts.filter(|_| self.assigning.too_few_starts.is_some());
        let renewed = renewed
            .map(|facts| facts.starts.resets_at_ms.saturating_sub(wall))
            .filter(|left| *left > 0)
            .map(|left| now + Duration::from_millis(left));
        self.assigning.opens_at.into_iter().chain(renewed).min()
    }
}
