//! Planned restarts of children, one at a time: what an operator asks for, and
//! the steps that follow.

use std::collections::BTreeSet;

use shardman_core::Tick;
use shardman_core::ledger::Spender;
use shardman_core::reconcile::StopCause;
use shardman_core::rolling::{Observed, Rolling, Step, WorkerRun};
use shardman_core::timeline::{Kind, Subject};
use shardman_core::{ShardId, WorkerId};
use tracing::{info, warn};

use super::{Alert, AlertKind, Effect, Fleet, Run};
use crate::manager::keys::run_of;
use crate::manager::restarts::{RestartError, RestartRequest};
use crate::manager::view::serves;
use crate::store::Write;

impl Fleet {
    /// An operator wants these workers restarted; none named means all. One
    /// that does not run is started at once, however often it failed, also
    /// while a restart waits for it. False when that was all there was to do.
    pub(super) fn restart(&mut self, request: &RestartRequest, now: Tick) -> Result<bool, RestartError> {
        if self.stopping {
            let reason = "the manager is shutting down".to_owned();
            return Err(RestartError::Unavailable { reason });
        }
        let all = request.is_of_all();
        let workers: BTreeSet<WorkerId> = if all {
            let running = self.running().filter(|worker| !self.stays_stopped(worker));
            running.cloned().collect()
        } else {
            self.named(request)?
        };
        if workers.is_empty() {
            return Err(RestartError::NothingRuns);
        }
        let observed = self.observed();
        let (running, resting): (Vec<_>, Vec<_>) = workers
            .into_iter()
            .partition(|worker| observed.runs.contains_key(worker));
        if !running.is_empty() && self.rolling.as_ref().is_some_and(Rolling::active) {
            return Err(RestartError::UnderWay);
        }
        for worker in &resting {
            self.start_soon(worker, now);
        }
        if running.is_empty() {
            return Ok(false);
        }
        let runs: Vec<_> = running
            .into_iter()
            .filter_map(|worker| {
                let run = *observed.runs.get(&worker)?;
                Some(WorkerRun { worker, run })
            })
            .collect();
        match runs.as_slice() {
            [one] => info!("an operator restarts worker {}", one.worker),
            several => info!("an operator restarts {} workers, one at a time", several.len()),
        }
        let text = match runs.as_slice() {
            [one] => format!("an operator restarts {}", one.worker),
            several => format!("an operator restarts {} workers, one at a time", several.len()),
        };
        self.note(Kind::RestartBegun, Subject::fleet(), text);
        let rolling = Rolling::new(runs, !all, &observed, self.clock.wall_ms());
        self.set_rolling(rolling.with_canary(request.canary.unwrap_or_default()));
        Ok(true)
    }

    /// The workers that are named, and those that hold the shards that are.
    /// While the number of shards changes, several shards may have one number.
    fn named(&self, request: &RestartRequest) -> Result<BTreeSet<WorkerId>, RestartError> {
        let mut found = BTreeSet::new();
        for name in &request.workers {
            let known = self.workers.keys().find(|known| known.as_str() == name);
            found.insert(known.cloned().ok_or(RestartError::UnknownWorker)?);
        }
        for number in &request.shards {
            let of_number = |shard: &ShardId| shard.number() == *number;
            let held = || self.table.leases().filter(|(shard, _)| of_number(shard));
            if held().next().is_none() && !self.table.plan().iter().any(|shard| of_number(&shard)) {
                return Err(RestartError::UnknownShard);
            }
            let children = held().filter_map(|(_, lease)| lease.holder.child().cloned());
            let children: Vec<_> = children.collect();
            if children.is_empty() {
                return Err(RestartError::NotHeld(*number));
            }
            found.extend(children);
        }
        Ok(found)
    }

    /// No further worker is stopped for now, or it goes on.
    pub(super) fn hold_restart(&mut self, hold: bool) -> Result<(), RestartError> {
        let rolling = self.rolling.as_mut().filter(|rolling| rolling.active());
        let rolling = rolling.ok_or(RestartError::NotUnderWay)?;
        let (kind, text) = if hold {
            rolling.hold();
            (
                Kind::RestartPaused,
                "an operator holds the restart of the workers",
            )
        } else {
            rolling.go_on();
            (
                Kind::RestartContinued,
                "an operator lets the restart of the workers go on",
            )
        };
        info!("{text}");
        self.note(kind, Subject::fleet(), text);
        self.rolling_unsaved = true;
        self.changed = true;
        Ok(())
    }

    /// No further worker is stopped.
    pub(super) fn cancel_restart(&mut self) -> Result<(), RestartError> {
        let rolling = self.rolling.as_mut().filter(|rolling| rolling.active());
        rolling.ok_or(RestartError::NotUnderWay)?.cancel();
        self.rolling_unsaved = true;
        let text = "an operator cancelled the restart of the workers";
        info!("{text}");
        self.note(Kind::RestartCancelled, Subject::fleet(), text);
        Ok(())
    }

    /// Takes the next step of a restart, if one is due.
    pub(super) fn roll(&mut self, now: Tick) {
        if !self.stopping
            && let Some(mut rolling) = self.rolling.take_if(|rolling| rolling.active())
        {
            let steps = rolling.poll(&self.observed(), |worker| self.table.held_by(worker), now);
            let (done, total) = (rolling.done(), rolling.record().total);
            self.rolling = Some(rolling);
            for step in steps {
                self.rolling_unsaved = true;
                self.take_step(step, (done, total), &[]);
            }
        }
        // In the same commit as what follows from it: a worker is stopped only
        // once the disk has shown that it takes the start of the next run.
        if std::mem::take(&mut self.rolling_unsaved)
            && let Some(rolling) = &self.rolling
        {
            self.writes.push(Write::Rolling(rolling.record().clone()));
        }
    }

    /// `lines` are what a worker whose end led to this printed last.
    fn take_step(&mut self, step: Step, (done, total): (u32, u32), lines: &[String]) {
        self.note_restart(&step, (done, total));
        match step {
            Step::Excused(what) => warn!("the restart waited in vain for {what} and begins all the same"),
            Step::Stop(WorkerRun { worker, .. }) => {
                info!(worker.id = %worker, "worker {worker} is restarted ({} of {total})", done + 1);
                self.wanted_again(&worker);
                let Some(entry) = self.workers.get_mut(&worker) else {
                    return;
                };
                entry.restarts_at_once = true;
                // A second request to stop would kill it at once.
                if entry.run == Run::Running {
                    self.stop(worker, StopCause::Restart);
                }
            }
            Step::Back(worker) => {
                info!(worker.id = %worker, "worker {worker} was restarted and the fleet is whole ({done} of {total})");
            }
            Step::Replaced(worker) => {
                info!(worker.id = %worker, "worker {worker} was stopped and not started again: others hold its shards ({done} of {total})");
            }
            Step::Paused(reason) => {
                let rolling = self.rolling.as_ref();
                let left = rolling.map_or(0, |rolling| rolling.record().queue.len());
                let next = match rolling.is_some_and(Rolling::needs_an_operator) {
                    true => "It was the canary: `shardman restart --continue` goes on all the same",
                    false => "It goes on by itself once the fleet is whole",
                };
                let mut text = format!(
                    "the restart is paused, workers left alone: {left} of {total}. {reason}. {next}; `shardman restart --cancel` ends it"
                );
                warn!("{text}");
                for line in lines {
                    text.push('\n');
                    text.push_str(line);
                }
                self.effects.push(Effect::Alert(Alert {
                    kind: AlertKind::Paused,
                    shard: None,
                    worker: None,
                    pool: None,
                    text,
                    last_beat_ms: self.clock.wall_ms(),
                }));
            }
            Step::GoesOn => info!("the restart goes on"),
            Step::Done => info!("the restart is done ({done} of {total})"),
        }
    }

    /// A run of a child ended. Whether a restart is paused because of it.
    pub(super) fn rolling_ended(&mut self, worker: &WorkerId, how: &str, lines: &[String]) -> bool {
        let Some(run) = self.run_of_worker(worker) else {
            return false;
        };
        let Some(rolling) = self.rolling.as_mut() else {
            return false;
        };
        let ended = WorkerRun {
            worker: worker.clone(),
            run,
        };
        let step = rolling.ended(&ended, how);
        let told = rolling.failed() == Some(worker);
        let figures = (rolling.done(), rolling.record().total);
        if let Some(step) = step {
            self.rolling_unsaved = true;
            self.take_step(step, figures, lines);
        }
        told
    }

    /// A stop was decided, but the decision could not be made durable.
    pub(super) fn restart_undone(&mut self, worker: &WorkerId) {
        self.stop_undone(worker);
        if let Some(rolling) = &mut self.rolling {
            rolling.not_stopped();
        }
    }

    /// Why a restart does not go on, where its own last step is to blame.
    pub(in crate::manager) fn restart_paused(&self) -> Option<String> {
        let rolling = self.rolling.as_ref()?;
        let reason = rolling.paused()?;
        let goes_on = match rolling.needs_an_operator() {
            true => "`shardman restart --continue` goes on, ",
            false => "",
        };
        Some(format!(
            "the restart is paused: {reason}; {goes_on}`shardman restart --cancel` ends it"
        ))
    }

    fn set_rolling(&mut self, rolling: Rolling) {
        self.rolling = Some(rolling);
        self.rolling_unsaved = true;
    }

    pub(super) fn start_soon(&mut self, worker: &WorkerId, now: Tick) {
        self.wanted_again(worker);
        if let Some(entry) = self.workers.get_mut(worker) {
            info!(worker.id = %worker, "an operator starts worker {worker}");
            entry.restarts.exits = 0;
            entry.run = Run::BackingOff { until: now };
            let text = format!("an operator starts {worker}");
            self.note(Kind::WorkerStartAsked, Subject::worker(worker), text);
        }
    }

    fn run_of_worker(&self, worker: &WorkerId) -> Option<u64> {
        run_of(&self.workers.get(worker)?.record.credential)
    }

    fn observed(&self) -> Observed {
        let run = |worker: &WorkerId| Some((worker.clone(), self.run_of_worker(worker)?));
        let unready = self
            .live
            .iter()
            .filter(|shard| !self.table.lease(*shard).is_some_and(serves));
        let hold = self.halted_because().or_else(|| self.waits_for_discord());
        let hold = hold.or_else(|| self.store_trouble.clone());
        let next = self.rolling.as_ref().and_then(Rolling::next);
        Observed {
            runs: self.running().filter_map(run).collect(),
            unready: self.without_rest(unready.collect()),
            // A shard whose RESUME is refused could not identify.
            hold: hold
                .or_else(|| self.starts_used_up())
                .or_else(|| self.lacks_starts(next?))
                .or_else(|| self.rescale_before(next)),
        }
    }

    /// Why a worker's shards could not all identify again, those that have
    /// nothing to resume.
    fn lacks_starts(&self, worker: &WorkerId) -> Option<String> {
        let shards = self.table.held_by(worker);
        let needed = shards.iter().filter(|shard| !self.owes(**shard)).count();
        let shares = self.shares();
        let left = shares
            .left(&Spender::Child(worker.clone()))
            .min(self.starts_free());
        // One at least, for a RESUME that is refused.
        (usize::try_from(left).unwrap_or(usize::MAX) < needed.max(1)).then(|| {
            format!("worker {worker} needs {needed} session starts and may use {left}; `shardman start --spend-reserve` lifts that")
        })
    }

    /// A rescale goes first, unless it waits for this very worker.
    fn rescale_before(&self, next: Option<&WorkerId>) -> Option<String> {
        let words = self.rescale_words()?;
        let waits = self.waiting_for(self.clock.now());
        let holds = |worker| {
            let held = self.table.held_by(worker);
            held.iter().any(|shard| waits.contains(shard))
        };
        (!next.is_some_and(holds)).then_some(words)
    }
}
