//! Planned restarts of workers, one at a time: which one is stopped, and when.
//!
//! The next worker is stopped only while the fleet is whole: every planned
//! shard is ready, wherever it is held. So a new version that does not come up
//! takes one worker with it and never a second one.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::id::{ShardId, WorkerId};
use crate::tick::Tick;

mod canary;
mod parts;
mod replaced;
#[cfg(test)]
mod tests;

use canary::{Canary, OPERATOR};
pub use parts::{Current, Observed, RollingRecord, Standing, Step, WorkerRun};

/// How long the fleet has to stay whole after a restart before the next worker
/// is stopped: a new version that comes up and then falls over shows by then.
pub const SETTLE: Duration = Duration::from_secs(2);

/// The same for a fleet whose last restarted worker failed before.
pub const SETTLE_AFTER_FAILURE: Duration = Duration::from_secs(10);

/// A new process whose shards make no progress for so long has failed.
pub const READY_WITHIN: Duration = Duration::from_secs(60);

/// A restart of some workers, one after the other.
#[derive(Debug)]
pub struct Rolling {
    record: RollingRecord,
    /// Whether this process told the current worker to stop.
    told: bool,
    /// Since when the shards that are waited for are so few.
    progress: Option<(usize, Tick)>,
    whole_since: Option<Tick>,
    /// Since when others hold all that the current worker had, while no new
    /// process of it runs.
    replaced_since: Option<Tick>,
    waiting_for: Option<String>,
    canary: Canary,
}

impl Rolling {
    /// A restart of `runs`. With `at_once`, shards that are not ready now are
    /// not waited for before the first one is stopped.
    pub fn new(runs: Vec<WorkerRun>, at_once: bool, observed: &Observed, asked_at_ms: u64) -> Self {
        let excused = if at_once {
            observed.unready.clone()
        } else {
            BTreeSet::new()
        };
        Self::restore(RollingRecord {
            asked_at_ms,
            total: u32::try_from(runs.len()).unwrap_or(u32::MAX),
            queue: runs.into(),
            current: None,
            restarted: BTreeSet::new(),
            begun: false,
            excused,
            standing: Standing::Running,
            canary_ms: 0,
            on_hold: false,
        })
    }

    /// Goes on where the last process stopped.
    pub fn restore(record: RollingRecord) -> Self {
        Self {
            record,
            told: false,
            progress: None,
            whole_since: None,
            replaced_since: None,
            waiting_for: None,
            canary: Canary::default(),
        }
    }

    pub fn record(&self) -> &RollingRecord {
        &self.record
    }

    pub fn active(&self) -> bool {
        match self.record.standing {
            Standing::Running | Standing::Paused { .. } => true,
            Standing::Done | Standing::Cancelled => false,
        }
    }

    /// How many have been restarted, or were gone before their turn.
    pub fn done(&self) -> u32 {
        let left = self.record.queue.len() + usize::from(self.record.current.is_some());
        self.record
            .total
            .saturating_sub(u32::try_from(left).unwrap_or(u32::MAX))
    }

    /// What it waits for, in words.
    pub fn waiting_for(&self) -> Option<&str> {
        self.waiting_for.as_deref().filter(|_| self.active())
    }

    /// Why it does not go on, while the last restarted worker is the reason.
    pub fn paused(&self) -> Option<&str> {
        match &self.record.standing {
            Standing::Paused { reason, .. } => Some(reason),
            Standing::Running | Standing::Done | Standing::Cancelled => None,
        }
    }

    /// The worker that failed, while it keeps the restart from going on.
    pub fn failed(&self) -> Option<&WorkerId> {
        match &self.record.standing {
            Standing::Paused { worker, .. } => Some(worker),
            Standing::Running | Standing::Done | Standing::Cancelled => None,
        }
    }

    /// No further worker is stopped. The current one comes back all the same.
    pub fn cancel(&mut self) {
        self.record.standing = Standing::Cancelled;
    }

    /// A stop that this answered with did not happen.
    pub fn not_stopped(&mut self) {
        if let Some(current) = self.record.current.take() {
            self.record.queue.push_front(current.stopped);
            self.told = false;
        }
    }

    /// A run ended. `how` says in which way.
    pub fn ended(&mut self, ended: &WorkerRun, how: &str) -> Option<Step> {
        let new_run =
            |current: &Current| current.stopped.worker == ended.worker && current.stopped.run != ended.run;
        let failed = self.record.current.as_ref().is_some_and(new_run)
            || self.record.restarted.contains(&ended.worker);
        if !failed || !self.active() {
            return None;
        }
        self.whole_since = None;
        if self.paused().is_some() {
            return None;
        }
        let reason = format!("worker {} ended after its restart: {how}", ended.worker);
        Some(self.pause(ended.worker.clone(), reason))
    }

    /// The worker whose turn is next.
    pub fn next(&self) -> Option<&WorkerId> {
        self.record.queue.front().map(|run| &run.worker)
    }

    /// Says what is due. `held` tells the shards that a worker holds.
    pub fn poll(
        &mut self,
        observed: &Observed,
        held: impl Fn(&WorkerId) -> Vec<ShardId>,
        now: Tick,
    ) -> Vec<Step> {
        let mut steps = Vec::new();
        if !self.active() {
            return steps;
        }
        // Who was replaced meanwhile, or is gone, has nothing old to stop.
        self.record
            .queue
            .retain(|queued| observed.runs.get(&queued.worker) == Some(&queued.run));
        if let Some(current) = &self.record.current
            && observed.runs.get(&current.stopped.worker) == Some(&current.stopped.run)
        {
            let stopped = current.stopped.clone();
            self.waiting_for = Some(format!("worker {} to stop", stopped.worker));
            if !std::mem::replace(&mut self.told, true) {
                steps.push(Step::Stop(stopped));
            }
            return steps;
        }
        let missing = self.missing(observed);
        steps.extend(self.excuse_before_the_first(&missing, now));
        let failure = self.failure(&missing, now).or_else(|| self.fallen(&missing));
        if let Some((worker, reason)) = failure {
            steps.push(self.pause(worker, reason));
        }
        if matches!(self.record.standing, Standing::Paused { canary: true, .. }) {
            self.waiting_for = Some(OPERATOR.to_owned());
            return steps;
        }
        let missing = self.missing(observed);
        if !missing.is_empty() {
            self.whole_since = None;
            self.waiting_for = Some(words(&missing));
            return steps;
        }
        if self.failed_and_gone(observed) {
            self.whole_since = None;
            return steps;
        }
        if self.not_run_again(observed) {
            let Some(step) = self.without_a_new_run(now) else {
                return steps;
            };
            steps.push(step);
            if self.record.current.is_some() {
                return steps;
            }
        }
        self.replaced_since = None;
        let whole_since = *self.whole_since.get_or_insert(now);
        let settles = self.record.current.is_some() || self.paused().is_some();
        if settles && now < whole_since + self.settle() {
            self.waiting_for = Some(self.settle_words());
            return steps;
        }
        if self.paused().is_some() {
            self.record.standing = Standing::Running;
            steps.push(Step::GoesOn);
        }
        if let Some(current) = self.record.current.take() {
            let worker = current.stopped.worker;
            self.record.restarted.insert(worker.clone());
            steps.push(Step::Back(worker));
        }
        if self.record.queue.is_empty() {
            self.record.standing = Standing::Done;
            steps.push(Step::Done);
        } else if self.record.on_hold {
            self.waiting_for = Some(OPERATOR.to_owned());
        } else if let Some(hold) = &observed.hold {
            self.waiting_for = Some(hold.clone());
        } else {
            steps.extend(self.stop_next(held));
        }
        steps
    }

    /// When to look again although nothing changed.
    pub fn poll_timeout(&self, now: Tick) -> Option<Tick> {
        if !self.active() {
            return None;
        }
        let settled = self.whole_since.map(|since| since + self.settle());
        let failed = self.progress.map(|(_, since)| since + READY_WITHIN);
        let replaced = self.replaced_since.map(|since| since + READY_WITHIN);
        let due = settled.into_iter().chain(failed).chain(replaced);
        due.filter(|at| *at > now).min()
    }

    fn stop_next(&mut self, held: impl Fn(&WorkerId) -> Vec<ShardId>) -> Option<Step> {
        let next = self.record.queue.pop_front()?;
        self.waiting_for = Some(format!("worker {} to stop", next.worker));
        self.record.current = Some(Current {
            shards: held(&next.worker),
            stopped: next.clone(),
        });
        self.record.begun = true;
        self.told = true;
        self.progress = None;
        self.whole_since = None;
        self.replaced_since = None;
        Some(Step::Stop(next))
    }

    /// The shards that have to be ready before anything else is stopped. One
    /// that was not ready before and is now is waited for from now on.
    fn missing(&mut self, observed: &Observed) -> BTreeSet<ShardId> {
        self.record
            .excused
            .retain(|shard| observed.unready.contains(shard));
        observed
            .unready
            .difference(&self.record.excused)
            .copied()
            .collect()
    }

    /// A shard that is stuck for reasons of its own must not keep every worker
    /// from its restart: that may be what cures it.
    fn excuse_before_the_first(&mut self, missing: &BTreeSet<ShardId>, now: Tick) -> Option<Step> {
        if self.record.begun || !self.stands_still(missing.len(), now) {
            return None;
        }
        self.record.excused.extend(missing);
        self.progress = None;
        Some(Step::Excused(words(missing)))
    }

    /// Others may have taken the shards of a worker that failed: that says
    /// nothing of the new version.
    fn failed_and_gone(&mut self, observed: &Observed) -> bool {
        let Some(worker) = self.failed() else {
            return false;
        };
        let gone = !observed.runs.contains_key(worker);
        if gone {
            self.waiting_for = Some(format!("worker {worker} to run"));
        }
        gone
    }

    fn settle(&self) -> Duration {
        if self.paused().is_some() {
            SETTLE_AFTER_FAILURE
        } else if self.is_canary() {
            SETTLE.max(Duration::from_millis(self.record.canary_ms))
        } else {
            SETTLE
        }
    }

    /// Why the current worker has failed, once it has.
    fn failure(&mut self, missing: &BTreeSet<ShardId>, now: Tick) -> Option<(WorkerId, String)> {
        let current = self.record.current.as_ref()?;
        let own = current.shards.iter().filter(|shard| missing.contains(shard));
        let own: BTreeSet<_> = own.copied().collect();
        let worker = current.stopped.worker.clone();
        let failed = self.stands_still(own.len(), now) && self.record.standing == Standing::Running;
        let seconds = READY_WITHIN.as_secs();
        let reason = format!(
            "worker {worker} is not ready {seconds} s after its restart: it waits for {}",
            words(&own)
        );
        failed.then_some((worker, reason))
    }

    /// Whether so many have been missing, and not fewer, for too long.
    fn stands_still(&mut self, missing: usize, now: Tick) -> bool {
        if missing == 0 {
            self.progress = None;
            return false;
        }
        let (fewest, since) = *self.progress.get_or_insert((missing, now));
        if missing < fewest {
            self.progress = Some((missing, now));
        }
        missing >= fewest && now >= since + READY_WITHIN
    }

    fn pause(&mut self, worker: WorkerId, reason: String) -> Step {
        let current = self.record.current.as_ref();
        let of_current = current.is_some_and(|current| current.stopped.worker == worker);
        let canary = of_current && self.is_canary();
        self.canary = Canary::default();
        self.record.standing = Standing::Paused {
            worker,
            reason: reason.clone(),
            canary,
        };
        Step::Paused(reason)
    }
}

/// The first few shards by name, the rest by number.
fn words(shards: &BTreeSet<ShardId>) -> String {
    const NAMED: usize = 3;
    let names: Vec<_> = shards.iter().take(NAMED).map(ToString::to_string).collect();
    let names = names.join(", ");
    match shards.len() {
        0 => "nothing".to_owned(),
        1 => format!("shard {names} to be ready"),
        2..=NAMED => format!("shards {names} to be ready"),
        more => format!("shards {names} and {} more to be ready", more - NAMED),
    }
}
