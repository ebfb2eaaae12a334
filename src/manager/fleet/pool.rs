//! What is otherwise in a pool beside `discord`: slots that children hold
//! without knowing, another number of them, children that have done their work.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use shardman_core::lease::{BeatError, BeatReport, Claim, Holder};
use shardman_core::reconcile::StopCause;
use shardman_core::{Epoch, Plan, SessionId, ShardId, Tick, WorkerId};
use tracing::{info, warn};

use super::{Alert, AlertKind, Dice, Effect, Fleet, Run, Told, Worker, holder};
use crate::clock::Clock;
use crate::manager::handle::Caller;
use crate::manager::settings::{Register, RestartRule, Settings, WorkerProgram};
use crate::store::{RestRecord, Saved, WorkerRecord, Write};
use crate::supervisor::{self, Exit, Processes};

impl Fleet {
    /// A pool as the last manager left it, with as many slots as there are to
    /// be now.
    pub(in crate::manager) fn restore_pool(
        settings: Arc<Settings>,
        clock: Clock,
        dice: Dice,
        processes: &dyn Processes,
        mut saved: Saved,
    ) -> Self {
        let size = settings.max_shards().unwrap_or(0);
        let renumbered = renumber(&mut saved, size);
        saved.next_epoch = saved.next_epoch.max(Epoch(1));
        saved.plan = Some(Plan::of_total(size));
        let rests = std::mem::take(&mut saved.rests);
        let mut fleet = Self::restore(settings, clock, dice, processes, saved);
        fleet.writes.splice(0..0, renumbered);
        for (worker, rest) in rests {
            fleet.restore_rest(worker, rest, clock.now());
        }
        // Nobody can tell them to leave.
        let beyond = |(shard, lease): &(ShardId, &shardman_core::lease::Lease)| {
            lease.assigned && !fleet.table.plan().contains(*shard)
        };
        let beyond = fleet.table.leases().filter(beyond);
        let beyond: Vec<_> = beyond
            .filter_map(|(_, lease)| lease.holder.child().cloned())
            .collect();
        for worker in beyond {
            fleet.stop(worker, StopCause::Surplus);
        }
        fleet
    }

    pub(in crate::manager) fn is_discord(&self) -> bool {
        self.settings.pool.is_discord()
    }

    /// A shard as people are told of it.
    pub(super) fn name(&self, shard: ShardId) -> String {
        match self.is_discord() {
            true => format!("shard {shard}"),
            false => format!("slot {} of {}", shard.number(), self.settings.pool),
        }
    }

    /// Without all that concerns a gateway.
    pub(super) fn beat_of_pool(
        &mut self,
        caller: &Caller,
        session: SessionId,
        report: BeatReport,
        now: Tick,
    ) -> Result<Told, BeatError> {
        let report = BeatReport {
            gateway: None,
            close_code: None,
            ..report
        };
        let beaten = self.table.beat(&holder(caller), session, report, now);
        self.changed |= match &beaten {
            Ok(beaten) => beaten.change.is_some(),
            Err(error) => *error == BeatError::OutOfPlan,
        };
        Ok(self.told(beaten?))
    }

    /// Whether this caller holds all it ever will.
    pub(super) fn has_its_slot(&self, caller: &Caller) -> bool {
        let is_child = matches!(caller, Caller::Child { .. });
        is_child && self.assigns_slots()
    }

    /// Whether the slots are given to processes that know nothing of us.
    pub(super) fn assigns_slots(&self) -> bool {
        self.settings.register == Register::Process
    }

    /// Takes a slot on behalf of a child that is about to start: that of its
    /// own number, if it is free.
    pub(super) fn assign_slot(&mut self, worker: &WorkerId, now: Tick) -> Option<(ShardId, SessionId)> {
        if !self.assigns_slots() {
            return None;
        }
        let own = worker.index().zip(self.settings.max_shards());
        let own = own.and_then(|(index, size)| ShardId::new(index, size).ok());
        let own = own.filter(|slot| self.is_free(*slot));
        let slot = own.or_else(|| self.table.lowest_free())?;
        let bits = u128::from(self.dice.roll()) << 64 | u128::from(self.dice.roll());
        let session = SessionId::from_random(bits);
        let claim = Claim {
            holder: Holder::Child(worker.clone()),
            session,
            key: None,
        };
        let epoch = self.table.assign(slot, claim, Duration::ZERO, now).ok()?;
        info!(shard.id = %slot, worker.id = %worker, "{} is held for worker {worker} (epoch {epoch})", self.name(slot));
        self.follow_leases(now);
        Some((slot, session))
    }

    /// Whether a place that ended like this is left alone.
    pub(super) fn rests_after(&self, exit: Option<&Exit>, stopped_for: Option<StopCause>) -> bool {
        match self.settings.restart {
            RestartRule::Always => false,
            RestartRule::OnFailure => exit == Some(&Exit::Code(0)) && stopped_for.is_none(),
            RestartRule::Never => true,
        }
    }

    /// It is not started again by itself. That it failed is told.
    pub(super) fn rest(&mut self, worker: &WorkerId, how: &str, lines: &[String]) {
        if let Some(entry) = self.workers.get_mut(worker) {
            entry.run = Run::Resting;
            entry.last_exit = Some(how.to_owned());
        }
        let record = RestRecord {
            how: how.to_owned(),
            command: self.command_hash(),
        };
        self.writes.push(Write::Rest(worker.clone(), Some(record)));
        if how == Exit::Code(0).to_string() {
            info!(worker.id = %worker, "worker {worker} ended: {how}; it has done its work");
            return;
        }
        let text = format!("worker {worker} ended: {how}; it is not started again by itself");
        warn!(worker.id = %worker, "{text}");
        let text = format!("{text}\n{}", lines.join("\n"));
        let alert = Alert::new(AlertKind::Ended, text, self.clock.wall_ms());
        self.effects.push(Effect::Alert(alert.of_worker(worker)));
    }

    /// A run ended while no manager saw it.
    pub(super) fn ended_unseen(&mut self, record: WorkerRecord, now: Tick) {
        let worker = record.worker.clone();
        if self.settings.restart == RestartRule::Never && self.has_place(&worker) {
            self.workers
                .insert(worker.clone(), Worker::running(record, now, now));
            self.rest(&worker, "unknown exit (no manager ran)", &[]);
        }
    }

    fn restore_rest(&mut self, worker: WorkerId, rest: RestRecord, now: Tick) {
        let same = rest.command == self.command_hash() && self.settings.restart != RestartRule::Always;
        if !same || !self.has_place(&worker) || self.workers.contains_key(&worker) {
            self.writes.push(Write::Rest(worker, None));
            return;
        }
        let record = WorkerRecord {
            worker: worker.clone(),
            credential: String::new(),
            shards: 1,
            process: None,
            condemned: Vec::new(),
            started_at_ms: 0,
        };
        let mut entry = Worker::running(record, now, now);
        entry.run = Run::Resting;
        entry.last_exit = Some(rest.how);
        self.workers.insert(worker, entry);
    }

    /// It is started, whatever it did before.
    pub(super) fn rest_is_over(&mut self, worker: &WorkerId) {
        if self.settings.restart != RestartRule::Always {
            self.writes.push(Write::Rest(worker.clone(), None));
        }
    }

    /// Without the slots of those that have done their work: nobody waits for
    /// them.
    pub(super) fn without_rest(&self, mut unready: BTreeSet<ShardId>) -> BTreeSet<ShardId> {
        let rests = |run| run == Run::Resting || run == Run::Stopped && !self.is_discord();
        let resting = self.workers.values().filter(|worker| rests(worker.run));
        let resting = resting.count();
        if resting > 0 {
            let free: BTreeSet<_> = self.table.free().collect();
            // Whoever comes takes the lowest.
            let free = unready.iter().rev().filter(|slot| free.contains(slot));
            let left_alone: BTreeSet<_> = free.take(resting).copied().collect();
            unready.retain(|shard| !left_alone.contains(shard));
        }
        unready
    }

    /// Nothing is to run any more.
    pub(super) fn stop_former(&mut self) {
        let running = self.workers.iter();
        let running = running.filter(|(_, worker)| worker.run == Run::Running);
        let running: Vec<_> = running.map(|(worker, _)| worker.clone()).collect();
        for worker in running {
            self.stop(worker, StopCause::Surplus);
        }
    }

    fn is_free(&self, slot: ShardId) -> bool {
        self.table.free().any(|free| free == slot)
    }

    /// Whether this session has a lease here.
    pub(in crate::manager) fn knows(&self, session: SessionId) -> bool {
        self.table.by_session(&Holder::External, session).is_some()
    }

    pub(super) fn has_place(&self, worker: &WorkerId) -> bool {
        let size = self.settings.max_shards().unwrap_or(0);
        worker.index().is_some_and(|index| index < size)
    }

    fn command_hash(&self) -> String {
        let command = match &self.settings.program {
            WorkerProgram::Command(command) => command.as_str(),
            WorkerProgram::Bundled(_) => "",
        };
        supervisor::hash(command.as_bytes())
    }
}

/// A slot keeps its number and its holder when there are more or fewer of them
/// than before; those beyond the number are left to end.
fn renumber(saved: &mut Saved, size: u32) -> Vec<Write> {
    let mut writes = Vec::new();
    let now = |shard: ShardId| ShardId::new(shard.number(), size).unwrap_or(shard);
    for lease in &mut saved.leases {
        let renumbered = now(lease.shard);
        if renumbered != lease.shard {
            writes.push(Write::LeaseEnded(lease.shard));
            lease.shard = renumbered;
            writes.push(Write::Lease(lease.clone()));
        }
    }
    let condemned = saved.workers.iter_mut().flat_map(|worker| &mut worker.condemned);
    condemned.for_each(|shard| *shard = now(*shard));
    if let Some(rolling) = &mut saved.rolling {
        let held = rolling.current.iter_mut().flat_map(|current| &mut current.shards);
        held.for_each(|shard| *shard = now(*shard));
        rolling.excused = rolling.excused.iter().copied().map(now).collect();
    }
    writes
}
