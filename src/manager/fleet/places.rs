//! How many children there should be, and what for: what `reconcile` is told,
//! and what is done about its answers.

use std::collections::BTreeMap;

use shardman_core::lease::Lease;
use shardman_core::reconcile::{Action, Desired, Observed, StopCause, WorkerView};
use shardman_core::rolling::Rolling;
use shardman_core::{Plan, ShardId, Tick, WorkerId};

use super::{Fleet, Run};
use crate::manager::settings::{Count, WorkerProgram};
use crate::manager::view::serves;

impl Fleet {
    /// Compares what should run with what runs.
    pub(super) fn reconcile(&mut self, now: Tick) {
        let views = self.views(now);
        let unwell = self.health.take_restarts();
        if self.stopping {
            return;
        }
        if self.settings.count == Count::Nothing {
            return self.stop_former();
        }
        let lapsed = self.lapsed_to_stop(now);
        let uncovered = if self.hands_out() {
            count(self.table.free_count())
        } else {
            0
        };
        let desired = self.desired();
        let observed = Observed {
            workers: &views,
            lapsed: &lapsed,
            unwell: &unwell,
            uncovered,
            // Not looked at where nothing follows from it.
            whole: count(self.running().count()) > desired.enough_workers() && self.is_whole(),
            may_restart: self.may_restart(),
        };
        self.assigning.begin_a_look();
        self.stop_unplanned();
        for action in self.reconciler.poll(&desired, &observed, now) {
            match action {
                Action::Start { worker, shards } if self.settings.assigns => {
                    self.start_assigned(worker, shards, now);
                }
                Action::Start { worker, shards } => self.start(worker, shards, Vec::new(), now),
                Action::Stop { worker, cause } => self.stop_if_it_may(worker, cause),
            }
        }
    }

    pub(super) fn reconcile_timeout(&self, now: Tick) -> Option<Tick> {
        if self.stopping {
            return None;
        }
        let held = self.table.children();
        let views = self
            .workers
            .iter()
            .map(|(id, worker)| (id.clone(), worker.view(held)))
            .collect();
        self.reconciler
            .poll_timeout(self.settings.register_within, &views, now)
    }

    /// Whether a child that asks for a shard gets one, if there is one.
    fn hands_out(&self) -> bool {
        self.waits_for_discord()
            .or_else(|| self.halted_because())
            .is_none()
    }

    /// Whether a child that runs may be stopped for the sake of order: it must
    /// be able to come back, and as good as before.
    pub(super) fn may_restart(&self) -> bool {
        self.store_trouble.is_none() && self.starts_used_up().is_none() && self.restart_paused().is_none()
    }

    /// Whether a place is started as soon as its turn comes.
    pub(super) fn may_start(&self, worker: &WorkerId) -> bool {
        let running = count(self.running().count());
        let startable =
            self.hands_out() && self.table.free_count() > 0 && running < self.desired().max_workers;
        startable && self.lacks_starts_of_its_own(worker, 0).is_none()
    }

    /// Who is given its shards is not stopped for the sake of order while it
    /// could not identify them again.
    pub(super) fn stop_if_it_may(&mut self, worker: WorkerId, cause: StopCause) {
        let more = match cause {
            StopCause::Unwell(_) => 0,
            // Others, or its next run, take up more than it holds.
            StopCause::Room | StopCause::Retired => self.desired().shards_per_worker,
            StopCause::NeverRegistered
            | StopCause::LeaseLapsed
            | StopCause::Surplus
            | StopCause::Restart
            | StopCause::Operator
            | StopCause::Shutdown => return self.stop(worker, cause),
        };
        match self.lacks_starts_of_its_own(&worker, more) {
            None => self.stop(worker, cause),
            Some(lack) => {
                self.assigning.lack(lack);
                if matches!(cause, StopCause::Unwell(_)) {
                    self.health.restart_undone(&worker);
                }
            }
        }
    }

    /// What the configuration and the plan ask for.
    fn desired(&self) -> Desired {
        let plan = self.table.plan();
        let (rescaling, target) = (self.is_rescaling(), self.target());
        let planned = count(plan.len());
        let mut shards_per_worker = self.settings.shards_per_worker(target);
        if rescaling {
            // What gives way has to fit until it does.
            shards_per_worker = shards_per_worker.max(self.settings.shards_per_worker(self.live.total()));
        }
        // While a rescale goes on, some guilds have two shards.
        let beside = match rescaling {
            true => plan.without(&self.live).len() + self.leases_outside(plan),
            false => 0,
        };
        let most = self.settings.max_workers(planned);
        let in_the_end = if rescaling { planned.max(target) } else { planned };
        Desired {
            pool: self.settings.pool.clone(),
            max_workers: match most {
                0 => 0,
                most => most.saturating_add(count(beside).div_ceil(shards_per_worker.max(1))),
            },
            shards_per_worker,
            shards: in_the_end.saturating_sub(self.held_by_externals()),
            rescaling,
            packs: matches!(self.settings.program, WorkerProgram::Bundled(_)),
            register_within: self.settings.register_within,
        }
    }

    /// The most shards of a plan of `planned` that can be held, as far as one
    /// knows: by children, and by the externals that hold some now.
    pub(super) fn places(&self, planned: u32) -> Option<u32> {
        let by_children = self.settings.places(planned)?;
        Some(by_children.saturating_add(self.held_by_externals()))
    }

    /// Leases of shards that have left the plan.
    fn leases_outside(&self, plan: &Plan) -> usize {
        let outside = |(shard, _): &(ShardId, &Lease)| !plan.contains(*shard);
        self.table.leases().filter(outside).count()
    }

    /// How many planned shards are held by workers that are not ours to start.
    fn held_by_externals(&self) -> u32 {
        let plan = self.table.plan();
        if self.is_rescaling() {
            let external = self
                .table
                .leases()
                .filter(|(shard, lease)| lease.holder.child().is_none() && plan.contains(*shard));
            return count(external.count());
        }
        // Every turn asks, so without a look at each lease.
        let by_nobody = self.table.free_count() + self.table.held_back().count();
        let by_children: u32 = self.table.children().values().sum();
        count(plan.len().saturating_sub(by_nobody)).saturating_sub(by_children)
    }

    /// Every planned shard is ready, and no planned restart is under way.
    fn is_whole(&self) -> bool {
        let rolls = self.rolling.as_ref().is_some_and(Rolling::active);
        let is_ready = |shard| self.table.lease(shard).is_some_and(serves);
        !rolls && self.hands_out() && self.live.iter().all(is_ready)
    }

    fn views(&mut self, now: Tick) -> BTreeMap<WorkerId, WorkerView> {
        let some_free = self.hands_out() && self.table.free_count() > 0;
        let rescaling = self.is_rescaling();
        let register_within = self.settings.register_within;
        let held = self.table.children();
        let mut views = BTreeMap::new();
        for (id, worker) in &mut self.workers {
            let holding = held.get(id).copied().unwrap_or(0);
            let serves = worker.run == Run::Running && worker.record.condemned.is_empty();
            let short = serves && holding < worker.record.shards;
            let since = |wanted: bool, since: Option<Tick>| wanted.then(|| since.unwrap_or(now));
            worker.short_since = since(short && some_free, worker.short_since);
            worker.idle_since = since(short && !some_free && !rescaling, worker.idle_since);
            let late = worker
                .short_since
                .is_some_and(|since| now >= since + register_within);
            worker.passes = holding <= worker.held && (worker.passes || late && holding > 0);
            worker.held = holding;
            if holding > 0 {
                worker.unregistered = None;
            }
            views.insert(id.clone(), worker.view(held));
        }
        views
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
