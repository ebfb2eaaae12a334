//! How shards and workers stand, for those who ask.

use std::collections::BTreeMap;
use std::time::Duration;

use shardman_core::health::{Condition, Unwell, Watch, WorkerSigns};
use shardman_core::lease::{DRAIN_WITHIN, Lease};
use shardman_core::restart::RestartPolicy;
use shardman_core::{ShardId, Tick, WorkerId};

use super::super::{Fleet, Run, Worker};

/// One shard.
#[derive(Clone, Copy, Debug)]
pub(in crate::manager) struct Standing {
    pub(in crate::manager) condition: Condition,
    pub(in crate::manager) since: Option<Tick>,
    pub(in crate::manager) ends: Option<Tick>,
    pub(in crate::manager) deaf_after: Option<Duration>,
}

impl Fleet {
    pub(in crate::manager) fn standing(&self, shard: ShardId, now: Tick) -> Standing {
        let watch = self.health.watches.get(&shard);
        let Some(lease) = self.table.lease(shard) else {
            let held_back = self.table.held_back().any(|(held, _)| held == shard);
            let condition = if held_back {
                Condition::HeldBack
            } else {
                Condition::Free
            };
            return Standing {
                condition,
                since: Some(watch.map_or(self.started, Watch::since)),
                ends: None,
                deaf_after: None,
            };
        };
        let draining = !self.table.plan().contains(shard);
        let deaf = self.health.cases.get(&shard).map(|case| case.unwell) == Some(Unwell::Deaf);
        let unknown = Watch::new(lease.granted_at);
        let (condition, since, ends) = Condition::of_held(
            watch.unwrap_or(&unknown),
            lease,
            &self.health.limits,
            draining,
            deaf,
            now,
        );
        Standing {
            condition,
            since: Some(since),
            ends: ends.or_else(|| Some(lease.unplanned_since()? + DRAIN_WITHIN).filter(|_| draining)),
            deaf_after: self.deaf_after(shard, now),
        }
    }

    /// Whether the holder of this lease beats, hears, and has a loop that runs,
    /// as far as is known.
    pub(in crate::manager) fn is_well(&self, shard: ShardId, lease: &Lease, now: Tick) -> bool {
        let health = &self.health;
        let deaf = health.cases.get(&shard).map(|case| case.unwell) == Some(Unwell::Deaf);
        let unknown = Watch::new(lease.granted_at);
        let watch = health.watches.get(&shard).unwrap_or(&unknown);
        let (condition, ..) = Condition::of_held(watch, lease, &health.limits, false, deaf, now);
        !matches!(
            condition,
            Condition::Silent | Condition::Deaf | Condition::Blocked
        )
    }

    /// The silence after which a shard counts as deaf, beside others that hear.
    pub(super) fn deaf_after(&self, shard: ShardId, now: Tick) -> Option<Duration> {
        let floor = self.health.limits.deaf?;
        self.health.watches.get(&shard)?.hearing.shortest(floor, now)
    }

    /// Whether it may be started, and nobody needs it.
    pub(in crate::manager) fn is_spare(&self, worker: &Worker, now: Tick) -> bool {
        let due = matches!(worker.run, Run::BackingOff { until } if until <= now);
        let given_up = worker.record.shards == 0;
        due && !worker.restarts_at_once && (given_up || self.table.free_count() == 0)
    }

    /// What is known of every worker. A look at each lease, so for views alone.
    pub(in crate::manager) fn worker_signs(&self, now: Tick) -> BTreeMap<WorkerId, WorkerSigns> {
        let mut silent: BTreeMap<&WorkerId, u32> = BTreeMap::new();
        let mut blocked: BTreeMap<&WorkerId, u32> = BTreeMap::new();
        for (shard, lease) in self.table.leases() {
            let Some(worker) = lease.holder.child() else {
                continue;
            };
            match self.standing(shard, now).condition {
                Condition::Silent => *silent.entry(worker).or_insert(0) += 1,
                Condition::Blocked => *blocked.entry(worker).or_insert(0) += 1,
                Condition::Free
                | Condition::HeldBack
                | Condition::Registered
                | Condition::Assigned
                | Condition::Reported(_)
                | Condition::Draining
                | Condition::Deaf => {}
            }
        }
        let policy = RestartPolicy::default();
        let held = self.table.children();
        let count = |of: &BTreeMap<&WorkerId, u32>, worker| of.get(worker).copied().unwrap_or(0);
        let mut all = BTreeMap::new();
        for (id, worker) in &self.workers {
            let signs = WorkerSigns {
                runs: matches!(worker.run, Run::Running | Run::Stopping),
                stops: worker.run == Run::Stopping,
                halted: worker.run == Run::Halted,
                rests: worker.run == Run::Resting,
                stopped: worker.run == Run::Stopped,
                lapsed: worker.run == Run::Running && !worker.record.condemned.is_empty(),
                spare: self.is_spare(worker, now),
                crash_looping: worker.restarts.crash_looping(&policy),
                holding: held.get(id).copied().unwrap_or(0),
                silent: count(&silent, id),
                blocked: count(&blocked, id),
                until: match worker.run {
                    Run::BackingOff { until } => Some(until),
                    Run::Running | Run::Stopping | Run::Halted | Run::Resting | Run::Stopped => None,
                },
                registers_by: worker
                    .short_since
                    .map(|since| since + self.settings.register_within),
                killed_at: worker.killed_at,
            };
            all.insert(id.clone(), signs);
        }
        all
    }
}
